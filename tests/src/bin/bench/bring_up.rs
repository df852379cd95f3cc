//! Many ScaledObjects at once: how long it takes until their HPAs exist, and what a minute of them costs.

use std::time::Duration;

use anyhow::{Context, Result};
use sakidori_api::ScaledObject;
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::{Operator, processor};
use serde_json::json;
use tokio::time::Instant;

use super::objects::{create_all, create_deployments, name, until_hpas_exist};
use super::report::{HPA_CONTROLLER, OPERATOR, Report, Writes};

/// What the source says, and the trigger's target: one replica is right, so that nothing scales while it is measured.
const VALUE: u32 = 5;

pub async fn measure(objects: u32) -> Result<Report> {
    println!(
        "{objects} ScaledObjects with a metrics-api trigger, created at once; pollingInterval 30 s, as the default is"
    );
    let options = ClusterOptions {
        // Kubernetes' own: the HPA controller's writes are part of the figures.
        hpa_sync_period: Duration::from_secs(15),
        pod_start_time: Duration::from_millis(100),
        // Half full, so that the scheduler finds room without looking far.
        nodes: objects.div_ceil(500).max(2),
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

    create_deployments(&cluster, objects).await?;
    println!("{objects} Deployments with one Ready pod each; now the ScaledObjects");

    let earlier = cluster.write_log()?.len();
    let pid = operator.pid().context("the operator is gone")?;
    let before = processor::time_of(pid)?;
    let first_create = Instant::now();
    create_all::<ScaledObject>(&client, objects, |name| {
        scaled_object(name, &source.url(&path(name)))
    })
    .await?;
    let last_create = Instant::now();
    println!("created in {:.1} s", first_create.elapsed().as_secs_f64());

    until_hpas_exist(&client, objects).await?;
    let until_hpas = last_create.elapsed();
    let writes_until_hpas = Writes::of(&cluster.write_log()?[earlier..], OPERATOR);
    let reads_until_hpas = source.all_requests();
    println!(
        "HPAs exist {:.1} s later; measuring a minute of that, and another of nothing but polls",
        until_hpas.as_secs_f64()
    );

    tokio::time::sleep_until(first_create + Duration::from_secs(60)).await;
    let log = &cluster.write_log()?[earlier..];
    let reads_in_first_minute = source.all_requests();
    let memory = operator.memory()?;
    let after_a_minute = processor::time_of(pid)?;
    // From here on, since bringing up thousands takes more than the first minute.
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(Report {
        objects: objects as usize,
        until_hpas,
        writes_until_hpas,
        operator_in_first_minute: Writes::of(log, OPERATOR),
        hpa_controller_in_first_minute: Writes::of(log, HPA_CONTROLLER),
        reads_until_hpas,
        reads_in_first_minute,
        memory,
        processor_in_first_minute: after_a_minute.saturating_sub(before),
        processor_in_second_minute: processor::time_of(pid)?.saturating_sub(after_a_minute),
    })
}

/// Where the source answers for an object.
fn path(name: &str) -> String {
    format!("/objects/{name}")
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
