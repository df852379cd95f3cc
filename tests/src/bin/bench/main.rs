//! `make bench`: how long it takes, and what it costs the API server and the operator, to bring up many ScaledObjects.

mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use sakidori_api::ScaledObject;
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::Operator;
use serde_json::json;
use tokio::time::Instant;

use report::{HPA_CONTROLLER, OPERATOR, Report, Writes};

/// Create many ScaledObjects at once, and measure until their HPAs exist and for a minute.
///
/// Starts a Kubernetes control plane, the operator and an HTTP source on 127.0.0.1. Fails if the operator writes more
/// than it promises; times and memory are printed only.
#[derive(Parser)]
#[command(
    name = "bench",
    after_help = "Example:\n  make bench\n  make bench ARGS=\"--objects 1000\""
)]
struct Arguments {
    /// How many ScaledObjects are created.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    objects: u32,
}

const NAMESPACE: &str = "bench";

/// What the source says, and the trigger's target: one replica is right, so that nothing scales while it is measured.
const VALUE: u32 = 5;

/// Requests that create objects at the same time.
const CREATE_AT_ONCE: usize = 32;

#[tokio::main]
async fn main() -> ExitCode {
    let verdict = async {
        let report = measure(Arguments::parse().objects).await?;
        println!("\n{report}");
        report.judge()
    };
    match verdict.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(objects: u32) -> Result<Report> {
    println!(
        "{objects} ScaledObjects with a metrics-api trigger, created at once; pollingInterval 30 s, as the default is"
    );
    let options = ClusterOptions {
        // Kubernetes' own: the HPA controller's writes are part of the figures.
        hpa_sync_period: Duration::from_secs(15),
        pod_start_time: Duration::from_millis(100),
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await?;
    let client = cluster.client();
    let source = HttpSource::start()?;
    for number in 0..objects {
        source.set(
            &path(&name(number)),
            Answer::json(&json!({ "tasks": VALUE })),
        );
    }
    let operator = Operator::install(&cluster).await?;

    cluster.create_namespace(NAMESPACE).await?;
    create_all::<Deployment>(&client, objects, deployment).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    eventually(
        "Ready pods for all Deployments",
        Duration::from_secs(300),
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
    println!("{objects} Deployments with one Ready pod each; now the ScaledObjects");

    let earlier = cluster.write_log()?.len();
    let first_create = Instant::now();
    create_all::<ScaledObject>(&client, objects, |name| {
        scaled_object(name, &source.url(&path(name)))
    })
    .await?;
    let last_create = Instant::now();
    println!("created in {:.1} s", first_create.elapsed().as_secs_f64());

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
    .await?;
    let until_hpas = last_create.elapsed();
    let writes_until_hpas = Writes::of(&cluster.write_log()?[earlier..], OPERATOR);
    let reads_until_hpas = source.all_requests();
    println!(
        "HPAs exist {:.1} s later; measuring until a minute after the first create",
        until_hpas.as_secs_f64()
    );

    tokio::time::sleep_until(first_create + Duration::from_secs(60)).await;
    let log = &cluster.write_log()?[earlier..];
    Ok(Report {
        objects: objects as usize,
        until_hpas,
        writes_until_hpas,
        operator_in_first_minute: Writes::of(log, OPERATOR),
        hpa_controller_in_first_minute: Writes::of(log, HPA_CONTROLLER),
        reads_until_hpas,
        reads_in_first_minute: source.all_requests(),
        memory: operator.memory()?,
    })
}

/// Creates `object-0` and so on, several at a time.
async fn create_all<K>(
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

fn name(number: u32) -> String {
    format!("object-{number}")
}

/// Where the source answers for an object.
fn path(name: &str) -> String {
    format!("/objects/{name}")
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

fn scaled_object(name: &str, url: &str) -> serde_json::Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": { "name": name },
        "spec": {
            "scaleTargetRef": { "name": name },
            "minReplicaCount": 1,
            "triggers": [{
                "type": "metrics-api",
                "metadata": {
                    "url": url,
                    "valueLocation": "tasks",
                    "targetValue": VALUE.to_string(),
                },
            }],
        },
    })
}
