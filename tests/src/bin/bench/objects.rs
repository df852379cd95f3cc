//! What the benchmarks create.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use sakidori_test_cluster::{Cluster, eventually};
use serde_json::json;

pub const NAMESPACE: &str = "bench";

/// Requests that create objects at the same time.
const CREATE_AT_ONCE: usize = 32;

/// Deployments `object-0` and so on, each with one pod, which is Ready when this returns.
pub async fn create_deployments(cluster: &Cluster, objects: u32) -> Result<()> {
    let client = cluster.client();
    cluster.create_namespace(NAMESPACE).await?;
    create_all::<Deployment>(&client, objects, deployment).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    eventually(
        "Ready pods for all Deployments",
        // Five thousand take a machine with two cores most of that.
        Duration::from_secs(900),
        async || {
            let list = deployments.list(&ListParams::default()).await?;
            let ready = |deployment: &&Deployment| {
                deployment
                    .status
                    .as_ref()
                    .and_then(|status| status.ready_replicas)
                    == Some(1)
            };
            let count = list.items.iter().filter(ready).count();
            ensure!(count == objects as usize, "{count} of {objects} are Ready");
            Ok(Some(()))
        },
    )
    .await?;
    Ok(())
}

/// Creates `object-0` and so on, several at a time.
pub async fn create_all<K>(
    client: &Client,
    count: u32,
    object: impl Fn(&str) -> serde_json::Value,
) -> Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    K: serde::de::DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    stream::iter(0..count)
        .map(|number| {
            let object = object(&name(number));
            let api = &api;
            async move {
                let object: K = serde_json::from_value(object)
                    .context("an object of the benchmark's own is wrong")?;
                api.create(&PostParams::default(), &object).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(CREATE_AT_ONCE)
        .try_collect::<()>()
        .await
}

/// Waits until there are as many HPAs as ScaledObjects.
pub async fn until_hpas_exist(client: &Client, objects: u32) -> Result<()> {
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), NAMESPACE);
    eventually(
        "HPA for every ScaledObject",
        Duration::from_secs(300),
        async || {
            let count = hpas
                .list_metadata(&ListParams::default())
                .await?
                .items
                .len();
            ensure!(count == objects as usize, "{count} of {objects} exist");
            Ok(Some(()))
        },
    )
    .await
}

pub fn name(number: u32) -> String {
    format!("object-{number}")
}

fn deployment(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "worker", "image": "worker" }] },
            },
        },
    })
}
