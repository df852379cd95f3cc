//! KEDA's release is there, with a workload that it scales, and Sakidori takes its place; and the way back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_tests::manifests;
use serde_json::{Value, json};

use super::handbook::Handbook;
use super::keda_chart;
use super::shop::{AsItWas, Shop};
use super::stage::{CRDS, NAMESPACE, OTHER, Stage};
use crate::scene::{DEPLOYMENTS, SCALED_OBJECTS};

/// KEDA keeps the Lease when it ends, so that it has to run out (15 s) before anybody else leads.
const LED: Duration = Duration::from_secs(60);

/// What would be deleted with KEDA's chart, and has no counterpart.
const KEDAS_OWN: [&str; 3] = [
    "scaledjobs.keda.sh",
    "cloudeventsources.eventing.keda.sh",
    "clustercloudeventsources.eventing.keda.sh",
];

/// Installs the stand-in for KEDA, and a workload as KEDA leaves it.
async fn keda<'s>(stage: &'s Stage, folder: &Path, more: &[&str]) -> Result<Shop<'s>> {
    let chart = keda_chart::write(folder)?;
    stage.install_from(&chart, more).await?;
    let shop = stage.shop("shop").await?;
    shop.as_keda_left_it(4).await?;
    Ok(shop)
}

/// Waits until the workload is scaled by Sakidori, and holds that nothing was scaled until then.
async fn taken_over(stage: &Stage, shop: &Shop<'_>, before: &AsItWas) -> Result<()> {
    stage.available().await?;
    eventually("an HPA that Sakidori writes", LED, async || {
        let writers = shop.writers_of_hpa().await?;
        ensure!(writers.contains("\"sakidori-operator\""), "{writers}");
        Ok(Some(()))
    })
    .await?;
    shop.scene.ready("web").await?;
    // The HPA's uid, too: it was never away.
    shop.is_still(before).await?;
    shop.scale_to(5).await
}

/// Plays a story in which KEDA's operator leads for as long as it has pods: it renews the Lease without saying where it is found, and doesn't
/// give it up at the end.
async fn while_keda_leads(stage: &Stage, story: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        told = story => told,
        failed = lead(stage) => failed,
    }
}

/// Ends only when it fails.
async fn lead(stage: &Stage) -> Result<()> {
    let of_keda = |pod: &Value| pod["spec"]["containers"][0]["image"] == keda_chart::IMAGE;
    let mut led = false;
    loop {
        let pods = stage.pods().await?;
        match pods.iter().find(|pod| of_keda(pod)) {
            Some(pod) => {
                led = true;
                renew(stage, &pod["metadata"]["name"]).await?;
            }
            None if led => return std::future::pending().await,
            None => {}
        }
        // As often as client-go does it.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn renew(stage: &Stage, holder: &Value) -> Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "operator.keda.sh"},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 15,
            "renewTime": now.to_string(),
        },
    });
    let lease = serde_json::from_value(lease)?;
    manifests::apply_objects(&stage.cluster.client(), NAMESPACE, &[lease]).await?;
    Ok(())
}

const PAGE: &str = "docs/migration/from-keda.md";

#[test]
fn a_release_of_keda_is_upgraded_and_rolled_back_and_nothing_scales() {
    OTHER.play(async |stage: &Stage| while_keda_leads(stage, upgraded(stage)).await);
}

async fn upgraded(stage: &Stage) -> Result<()> {
    let handbook = Handbook::open()?;
    let debug = ["--set", "logging.operator.level=debug"];
    let shop = keda(stage, handbook.folder(), &debug).await?;
    let before = shop.as_it_is().await?;
    let upgrade = "## Upgrade the release";

    // Helm would delete what the new chart doesn't have, and with it every ScaledJob.
    let hasty = [("kubectl annotate crd", "echo")];
    let refused = handbook.follow(&stage.helm, PAGE, upgrade, &hasty).await;
    let refused = format!("{:#}", refused.err().context("it was upgraded")?);
    let told = "kubectl annotate crd scaledjobs.keda.sh helm.sh/resource-policy=keep";
    ensure!(refused.contains(told), "{refused}");

    handbook.follow(&stage.helm, PAGE, upgrade, &[]).await?;
    for definition in KEDAS_OWN {
        let there = !stage.get(CRDS, definition).await?.is_null();
        ensure!(there, "{definition} is gone");
    }
    taken_over(stage, &shop, &before).await?;
    handbook.follow(&stage.helm, PAGE, "## After", &[]).await?;
    let pods = stage.pods().await?;
    let args = pods[0]["spec"]["containers"][0]["args"].to_string();
    ensure!(args.contains("debug"), "the values were not kept: {args}");

    let before = shop.as_it_is().await?;
    let back = "## Back to KEDA";
    handbook.follow(&stage.helm, PAGE, back, &[]).await?;
    shop.is_still(&before).await?;
    let pods = stage.pods().await?;
    let image = &pods[0]["spec"]["containers"][0]["image"];
    ensure!(image == keda_chart::IMAGE, "{image}");
    for name in ["keda-admission-webhooks", "keda-operator-metrics-apiserver"] {
        let there = !stage.own(DEPLOYMENTS, name).await?.is_null();
        ensure!(there, "there is no {name}");
    }
    Ok(())
}

#[test]
fn after_an_uninstalled_keda_a_release_of_another_name_takes_over_and_nothing_scales() {
    OTHER.play(async |stage: &Stage| while_keda_leads(stage, replaced(stage)).await);
}

async fn replaced(stage: &Stage) -> Result<()> {
    let handbook = Handbook::open()?;
    let shop = keda(stage, handbook.folder(), &[]).await?;
    let before = shop.as_it_is().await?;
    let chart = handbook.folder().join("keda").display().to_string();
    let here = [("kedacore/keda --version 2.20.2", chart.as_str())];
    let way = "## Or uninstall KEDA and install";
    let said = handbook.follow(&stage.helm, PAGE, way, &here).await?;
    ensure!(
        said.lines().any(|line| line == "6"),
        "not all are kept: {said}"
    );
    taken_over(stage, &shop, &before).await?;
    // Nobody is left who would take KEDA's finalizer away.
    shop.scene.delete(SCALED_OBJECTS, "web").await?;
    shop.scene.until_gone(SCALED_OBJECTS, "web").await
}
