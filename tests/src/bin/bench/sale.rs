//! One sale for many services: how long after the instant their floors are set, and what that costs.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, ResourceExt};
use sakidori_api::{ClusterSaleCalendar, ScaledObject};
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_tests::{Operator, processor};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::objects::{NAMESPACE, create_all, create_deployments, until_hpas_exist};
use super::report::{OPERATOR, Writes};
use super::sale_report::SaleReport;

/// What the sale asks for; without it every service has one replica.
const FLOOR: i32 = 2;
/// From the calendar's change to the floors: time for the operator to take the change in, and to be at rest again.
const AHEAD: SignedDuration = SignedDuration::from_secs(30);
/// After the instant, until pods are Ready and all of that is told.
const FIRST: SignedDuration = SignedDuration::from_secs(30);
/// By then the floors are set, or never.
const WITHIN: Duration = Duration::from_secs(120);

pub async fn measure(services: u32) -> Result<SaleReport> {
    println!("{services} services with a sale-calendar trigger on one ClusterSaleCalendar");
    let options = ClusterOptions {
        hpa_sync_period: Duration::from_secs(15),
        pod_start_time: Duration::from_millis(100),
        nodes: services.div_ceil(50).max(2),
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await?;
    let client = cluster.client();
    let operator = Operator::install(&cluster).await?;
    create_deployments(&cluster, services).await?;
    println!("{services} Deployments with one Ready pod each; now the ScaledObjects");
    let calendars: Api<ClusterSaleCalendar> = Api::all(client.clone());
    let empty = serde_json::from_value(calendar(None))?;
    calendars.create(&PostParams::default(), &empty).await?;
    create_all::<ScaledObject>(&client, services, scaled_object).await?;
    until_hpas_exist(&client, services).await?;
    timeout(WITHIN, until_hpas_are_looked_at(&client, services))
        .await
        .context("the HPA controller has not looked at all HPAs")??;
    at_rest(&cluster).await?;
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), NAMESPACE);

    let pid = operator.pid().context("the operator has ended")?;
    let earlier = cluster.write_log()?.len();
    let before = processor::time_of(pid)?;
    // Calendars have whole seconds.
    let instant = Timestamp::from_second((Timestamp::now() + AHEAD).as_second())?;
    let sale = calendar(Some(instant));
    let params = PatchParams::default();
    calendars
        .patch("sales", &params, &Patch::Merge(&sale))
        .await?;
    println!(
        "the calendar has a sale now; its floors are due in {} s",
        AHEAD.as_secs()
    );
    // All of this is over long before the instant, or counts there.
    until(instant - SignedDuration::from_secs(2)).await?;
    let taken_in = processor::time_of(pid)? - before;
    let writes_before = Writes::of(&cluster.write_log()?[earlier..], OPERATOR);

    let earlier = cluster.write_log()?.len();
    let before = processor::time_of(pid)?;
    let late = timeout(WITHIN, until_floors(hpas, services, instant))
        .await
        .context("the floors are not set")??;
    let to_floors = processor::time_of(pid)? - before;
    println!("floors are set; measuring until half a minute after their instant");
    until(instant + FIRST).await?;
    let in_first = processor::time_of(pid)? - before;
    Ok(SaleReport {
        services: services as usize,
        taken_in,
        writes_before: writes_before.objects.total(),
        late,
        to_floors,
        in_first,
        writes: Writes::of(&cluster.write_log()?[earlier..], OPERATOR),
        memory: operator.memory()?,
    })
}

/// How long after `instant` each HPA had the floor, ascending. A negative time is too early.
async fn until_floors(
    hpas: Api<HorizontalPodAutoscaler>,
    services: u32,
    instant: Timestamp,
) -> Result<Vec<SignedDuration>> {
    let mut set = HashMap::new();
    let mut events = pin!(watcher(hpas, Config::default()));
    while set.len() < services as usize {
        let event = events
            .next()
            .await
            .context("the watch of HPAs has ended")??;
        if let Event::Apply(hpa) | Event::InitApply(hpa) = event
            && hpa.spec.as_ref().and_then(|spec| spec.min_replicas) == Some(FLOOR)
        {
            set.entry(hpa.name_any())
                .or_insert_with(|| Timestamp::now().duration_since(instant));
        }
    }
    let mut late: Vec<_> = set.into_values().collect();
    late.sort_unstable();
    Ok(late)
}

async fn until(instant: Timestamp) -> Result<()> {
    let left = instant.duration_since(Timestamp::now());
    tokio::time::sleep(Duration::try_from(left.max(SignedDuration::ZERO))?).await;
    Ok(())
}

/// Waits until all statuses tell what the HPA controller says of its HPA. It looks for the first time 15 s after an HPA was made, and the
/// status has it with the poll after that: a moment in between, in which nobody writes, is no rest.
async fn until_hpas_are_looked_at(client: &Client, services: u32) -> Result<()> {
    let objects: Api<ScaledObject> = Api::namespaced(client.clone(), NAMESPACE);
    let tells = |object: &ScaledObject| {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|condition| condition.type_ == "HPAActive")
    };
    let mut told = HashSet::new();
    let mut events = pin!(watcher(objects, Config::default()));
    while told.len() < services as usize {
        let event = events
            .next()
            .await
            .context("the watch of ScaledObjects has ended")??;
        if let Event::Apply(object) | Event::InitApply(object) = event
            && tells(&object)
        {
            told.insert(object.name_any());
        }
    }
    Ok(())
}

/// Waits until the operator has written nothing for five seconds.
async fn at_rest(cluster: &Cluster) -> Result<()> {
    let mut seen = 0;
    let mut since = Timestamp::now();
    eventually("API server at rest", Duration::from_secs(300), async || {
        let log = cluster.write_log()?;
        let count = log
            .iter()
            .filter(|write| write.username == OPERATOR)
            .count();
        if count != seen {
            (seen, since) = (count, Timestamp::now());
        }
        Ok((Timestamp::now().duration_since(since) > SignedDuration::from_secs(5)).then_some(()))
    })
    .await
}

/// With a sale whose floors are complete at `instant`, or without one.
fn calendar(instant: Option<Timestamp>) -> Value {
    let events: Vec<Value> = instant
        .iter()
        .map(|start| json!({"name": "sale", "start": start.to_string(), "duration": "2h"}))
        .collect();
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": "ClusterSaleCalendar",
        "metadata": {"name": "sales"},
        "spec": {"events": events},
    })
}

fn scaled_object(name: &str) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": 1,
            "triggers": [{
                "type": "sale-calendar",
                "metadata": {
                    "calendar": "sales",
                    "desiredReplicas": FLOOR.to_string(),
                    "baseline": "1",
                    "leadTime": "0",
                    "rampUp": "0",
                },
            }],
        },
    })
}
