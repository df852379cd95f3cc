//! The chart before a real API server, which takes what is made of each set of values, field by field. Nothing is installed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::core::DynamicObject;
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_tests::chart::helm;
use sakidori_tests::manifests;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use super::{sets, with};

/// API groups of others, which no API server has by itself.
const OF_OTHERS: [&str; 3] = ["cert-manager.io/", "cilium.io/", "monitoring.coreos.com/"];

/// Namespaces that the sets name.
const NAMESPACES: [&str; 4] = ["keda", "monitoring", "shop", "web"];

/// A client lives as long as the runtime that it was made on, and the cases share one.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

fn play(case: impl AsyncFnOnce(&'static Cluster) -> Result<()>) {
    let played = RUNTIME.block_on(async {
        let start = async || {
            let options = ClusterOptions {
                audit: false,
                ..ClusterOptions::default()
            };
            let cluster = Cluster::start(options).await?;
            for namespace in NAMESPACES {
                cluster.create_namespace(namespace).await?;
            }
            anyhow::Ok(cluster)
        };
        case(CLUSTER.get_or_try_init(start).await?).await
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

#[test]
fn an_api_server_takes_everything_as_it_is_written() {
    play(async |cluster| {
        let mut kinds = BTreeSet::new();
        for (set, values) in sets() {
            let template = ["template", "keda", "--namespace", "keda"];
            let text = helm(&template, &values).await?;
            for object in manifests::parse(&text)? {
                let types = object.types.clone().context("it is of no kind")?;
                let mut others = OF_OTHERS.iter();
                if others.any(|group| types.api_version.starts_with(group)) {
                    continue;
                }
                let taken = take(cluster, &object).await;
                taken.with_context(|| format!("{set}: {}", types.kind))?;
                kinds.insert(types.kind);
            }
        }
        ensure!(kinds.len() > 12, "{kinds:?}");
        Ok(())
    });
}

/// Helm deletes what the next chart of a release doesn't have, and with a definition go its objects.
#[test]
fn an_upgrade_from_kedas_chart_deletes_no_definition_unasked() {
    play(async |cluster| {
        let config = cluster.kubeconfig().display().to_string();
        let upgrade = [
            "template",
            "keda",
            "--namespace=keda",
            "--is-upgrade",
            "--dry-run=server",
            "--kubeconfig",
            &config,
        ];
        let values = with(&[]);
        for (release, policy, refused) in [
            ("keda", Value::Null, true),
            ("keda", json!("keep"), false),
            ("another", Value::Null, false),
        ] {
            let mut annotations = json!({
                "meta.helm.sh/release-name": release,
                "meta.helm.sh/release-namespace": "keda",
            });
            if let Value::String(policy) = &policy {
                annotations["helm.sh/resource-policy"] = policy.as_str().into();
            }
            let definition = scaled_jobs(&annotations)?;
            manifests::apply_objects(&cluster.client(), "", &[definition]).await?;
            let said = match helm(&upgrade, &values).await {
                Err(error) => format!("{error:#}"),
                Ok(_) => String::new(),
            };
            let told = "kubectl annotate crd scaledjobs.keda.sh helm.sh/resource-policy=keep";
            ensure!(
                said.contains(told) == refused && said.is_empty() != refused,
                "{release} {policy}: {said}"
            );
        }
        Ok(())
    });
}

/// KEDA's definition of ScaledJobs, as a release of its chart left it.
fn scaled_jobs(annotations: &Value) -> Result<DynamicObject> {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    Ok(serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledjobs.keda.sh", "annotations": annotations},
        "spec": {
            "group": "keda.sh",
            "names": {"kind": "ScaledJob", "plural": "scaledjobs"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    }))?)
}

/// Applies it as a dry run, in which a field that the kind doesn't have is an error. A ServiceAccount is made: a pod needs its own.
async fn take(cluster: &Cluster, object: &DynamicObject) -> Result<()> {
    let name = object.metadata.name.clone().context("it has no name")?;
    let (api, kind) = manifests::api_of(&cluster.client(), "keda", object).await?;
    let parameters = PatchParams {
        dry_run: kind.kind != "ServiceAccount",
        force: true,
        field_manager: Some(manifests::FIELD_MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    api.patch(&name, &parameters, &Patch::Apply(object))
        .await
        .with_context(|| name.clone())?;
    Ok(())
}
