//! A first installation, what `helm test` says of it, and its end.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::handbook::Handbook;
use super::stage::{
    API_SERVICES, CRDS, EXTERNAL_METRICS, FIRST, NAMESPACE, OTHER, RELEASE, Stage, WEBHOOKS,
};

const PAGE: &str = "docs/install.md";

/// Whatever the chart tells the pods is what their processes are started with.
#[test]
fn what_helm_installs_scales_and_passes_helm_test() {
    FIRST.play(async |stage: &Stage| {
        let handbook = Handbook::open()?;
        let said = handbook
            .follow(&stage.helm, PAGE, "## Install", &[])
            .await?;
        ensure!(said.contains("STATUS: deployed"), "{said}");
        // What is told to do next can be done.
        ensure!(said.contains("helm -n keda test keda"), "{said}");
        stage.available().await?;
        pods_run_as_they_say(stage).await?;

        let shop = stage.scaled_shop().await?;
        shop.until_read().await?;

        let mut bad = shop.scaled_object();
        bad["metadata"]["name"] = json!("bad");
        bad["spec"]["triggers"][0]["metadata"] = json!({"url": "http://127.0.0.1"});
        let refused = shop.scene.apply(bad).await.err().context("it was stored")?;
        let refused = format!("{refused:#}");
        ensure!(refused.contains("valueLocation"), "{refused}");

        let said = handbook
            .follow(&stage.helm, PAGE, "## Check it", &[])
            .await?;
        for part in [
            "Succeeded",
            "POD LOGS: keda-operator-test",
            "ok      leader: ",
        ] {
            ensure!(said.contains(part), "{said}");
        }
        Ok(())
    });
}

async fn pods_run_as_they_say(stage: &Stage) -> Result<()> {
    let lines = stage.kubelet.command_lines();
    let pods = stage.pods().await?;
    ensure!(pods.len() == 2, "{} pods", pods.len());
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().context("a name")?;
        let container = &pod["spec"]["containers"][0];
        let words = |field: &str| container[field].as_array().cloned().unwrap_or_default();
        let said = Value::from([words("command"), words("args")].concat());
        ensure!(
            json!(lines.get(name)) == said,
            "{:?} runs, and the pod says {said}",
            lines.get(name)
        );
    }
    Ok(())
}

#[test]
fn helm_test_says_what_is_broken() {
    OTHER.play(async |stage: &Stage| {
        stage.install(&[]).await?;
        stage.available().await?;
        // As somebody's mistake would: the Service leads nowhere.
        let nowhere = json!({"spec": {"selector": {"app": "nobody"}}});
        let service = "keda-operator-metrics-apiserver";
        stage
            .patch_own("api/v1/services", service, &nowhere)
            .await?;
        stage.until_available("False").await?;
        // The pod asks for a minute.
        let line = [
            "test",
            RELEASE,
            "-n",
            NAMESPACE,
            "--logs",
            "--timeout",
            "90s",
        ];
        let failed = stage.helm.run(&line).await.err().context("it passed")?;
        let told = format!("{failed:#}");
        for part in [
            "FAILED  APIService v1beta1.external.metrics.k8s.io: the API server doesn't reach it",
            "ok      leader: ",
            "ok      admission webhooks: ",
        ] {
            ensure!(told.contains(part), "{told}");
        }
        Ok(())
    });
}

/// A webhook or an API that is registered and not served would hold up what others do in the cluster.
#[test]
fn an_uninstalled_release_leaves_workloads_as_they_are_and_the_next_one_finds_them() {
    FIRST.play(async |stage: &Stage| {
        stage.install(&[]).await?;
        stage.available().await?;
        let shop = stage.scaled_shop().await?;
        let before = shop.as_it_is().await?;
        let definitions = stage.list(CRDS).await?.len();

        let handbook = Handbook::open()?;
        handbook
            .follow(&stage.helm, PAGE, "## Uninstall", &[])
            .await?;
        shop.is_still(&before).await?;
        ensure!(
            stage.list(CRDS).await?.len() == definitions,
            "a definition is gone"
        );
        ensure!(stage.get(API_SERVICES, EXTERNAL_METRICS).await?.is_null());
        ensure!(stage.get(WEBHOOKS, "keda-admission").await?.is_null());
        ensure!(stage.pods().await?.is_empty(), "pods are left");
        stage.a_namespace_comes_and_goes("meanwhile").await?;
        // Nobody stands in the way of those who apply objects, or delete them.
        shop.scene.apply(shop.scaled_object()).await?;

        stage.install(&[]).await?;
        stage.available().await?;
        shop.scene.ready("web").await?;
        shop.is_still(&before).await?;
        shop.scale_to(4).await
    });
}
