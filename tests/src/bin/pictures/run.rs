//! The run that the pictures show: what is started, and what happens in its ten minutes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::core::DynamicObject;
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_test_servers::{Answer, HttpSource, Job, Prometheus};
use sakidori_tests::demo::step;
use sakidori_tests::manifests;
use sakidori_tests::replicas::Replicas;
use sakidori_tests::webhooks::{self, WebhookSettings};
use serde_json::{Value, json};

use crate::shop::{self, NAMESPACE};

/// Pods that take a while, so that a floor is there before they are.
const PODS_START_IN: Duration = Duration::from_secs(4);
/// How often the work changes.
const TICK: Duration = Duration::from_secs(1);

/// Plays it, and has `draw` draw its length from the Prometheus at a URL before all is stopped.
///
/// # Errors
/// If something doesn't start, or `draw` fails.
pub async fn play(draw: impl AsyncFnOnce(&str, Duration) -> Result<()>) -> Result<()> {
    let options = ClusterOptions {
        pod_start_time: PODS_START_IN,
        acts_out_resizes: true,
        ..ClusterOptions::default()
    };
    let cluster = step("control plane", Cluster::start(options)).await?;
    let mut replicas = step(
        "two replicas of the operator",
        Replicas::install(&cluster, 2, |_| {}),
    )
    .await?;
    let client = cluster.client();
    cluster.create_namespace(NAMESPACE).await?;
    admission(&client, &mut replicas).await?;
    let targets = [0, 1].map(|number| replicas.operator(number).metrics_address());
    let prometheus = step("Prometheus", Prometheus::scraping(&[job(&targets)])).await?;
    let source = HttpSource::start()?;
    let mut calendar = HttpSource::start()?;
    calendar.set("/fairs.json", Answer::json(&json!([])));
    shop::work(&source, SignedDuration::ZERO);

    let start = Timestamp::now();
    let objects = shop::objects(&source, &calendar, start);
    apply(&client, objects).await.context("the ScaledObjects")?;
    println!("  the run takes {} minutes", shop::ENDS.as_mins());
    let mut told = Told::default();
    loop {
        let since = Timestamp::now().duration_since(start);
        if since >= shop::ENDS {
            break;
        }
        shop::work(&source, since);
        if told.first(
            since,
            shop::STOPS_A_REPLICA,
            "the replica that leads is stopped, and starts again",
        ) {
            let leader = replicas.leader()?;
            replicas
                .operator(leader)
                .terminate(Duration::from_secs(10))
                .await?;
            replicas.operator(leader).restart()?;
        }
        if told.first(
            since,
            shop::IS_REFUSED,
            "a second ScaledObject for web is refused",
        ) {
            let applied = apply(&client, vec![shop::refused(&source)]).await;
            ensure!(applied.is_err(), "it was let through");
        }
        if told.first(since, shop::PAUSES, "reports is paused") {
            pause(&client).await?;
        }
        if told.first(
            since,
            shop::CALENDAR_STOPS,
            "the calendar's server is stopped",
        ) {
            calendar.stop();
        }
        tokio::time::sleep(TICK).await;
    }
    let length = Duration::try_from(shop::ENDS)?;
    draw(&prometheus.url(), length).await
}

/// What has happened already.
#[derive(Default)]
struct Told(Vec<&'static str>);

impl Told {
    /// Whether `when` has come, for the first time; says so.
    fn first(&mut self, since: SignedDuration, when: SignedDuration, what: &'static str) -> bool {
        if since < when || self.0.contains(&what) {
            return false;
        }
        println!("  {:>5.0} s  {what}", since.as_secs_f64());
        self.0.push(what);
        true
    }
}

/// As a PodMonitor has the operators' pods read.
fn job(targets: &[SocketAddr]) -> Job {
    Job {
        name: "keda-operator".to_owned(),
        targets: targets.to_vec(),
        labels: vec![("namespace".to_owned(), "keda".to_owned())],
        honor_labels: true,
    }
}

/// The API server asks the second replica, which isn't stopped.
async fn admission(client: &Client, replicas: &mut Replicas<'_>) -> Result<()> {
    let operator = replicas.operator(1);
    let authority = operator.authority().to_owned();
    let settings = WebhookSettings {
        name: "keda-admission",
        address: operator.webhook_address(),
        authority: Some(&authority),
        failure_policy: "Ignore",
        timeout_seconds: 10,
        namespace: NAMESPACE,
        cluster_scoped: true,
    };
    webhooks::configure(client, &settings).await
}

async fn apply(client: &Client, objects: Vec<Value>) -> Result<()> {
    let objects: Result<Vec<DynamicObject>, _> =
        objects.into_iter().map(serde_json::from_value).collect();
    manifests::apply_objects(client, NAMESPACE, &objects?).await?;
    Ok(())
}

/// As `kubectl annotate` does.
async fn pause(client: &Client) -> Result<()> {
    let path = format!("/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects/reports");
    let annotation = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
    let request = http::Request::patch(path)
        .header("Content-Type", "application/merge-patch+json")
        .body(serde_json::to_vec(&annotation)?)?;
    client.request::<Value>(request).await?;
    Ok(())
}
