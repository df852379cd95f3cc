//! What the demo makes: three nodes, one of them full, a service of six pods, a sale, and the ScaledObject that prepares for it.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use sakidori_test_cluster::nodes::{RESIZE_TIME_ANNOTATION, RUNNING_AFTER_ANNOTATION};
use sakidori_test_cluster::{Cluster, ClusterOptions, NodeSize};
use sakidori_tests::manifests;
use sakidori_tests::pod_sizes::{PodSizes, live};
use serde_json::{Value, json};

pub const NAMESPACE: &str = "shop";
pub const NAME: &str = "web";

/// The node without room to grow, and its size. The others have room for all.
pub const FULL_NODE: &str = "node-0";
pub const NODES: [&str; 3] = [FULL_NODE, "node-1", "node-2"];
const SMALL: &str = "2";
const LARGE: &str = "8";

/// Pods on a normal day, of which two are on the full node, and in the sale.
pub const PODS: usize = 6;
pub const PODS_ON_FULL_NODE: usize = 2;
pub const FLOOR: usize = 9;
/// `cpu memory` that they request, and are to have for the sale.
pub const OWN: &str = "500m 256Mi";
pub const GROWN: &str = "1 384Mi";
pub const MAX_CONCURRENT: usize = 3;

/// From the floor's completeness to the start, and how long it climbs before that. A step of the ramp is 10 s, so that pods grow between two.
pub const LEAD_SECONDS: i64 = 15;
pub const RAMP_SECONDS: i64 = 30;
pub const HOLD_SECONDS: i64 = 5;

const STARTED_WITHIN: Duration = Duration::from_secs(90);

pub fn options() -> ClusterOptions {
    ClusterOptions {
        hpa_sync_period: Duration::from_secs(2),
        hpa_downscale_stabilization: Some(Duration::ZERO),
        // The others come when this one is full.
        nodes: 1,
        node: NodeSize {
            cpu: SMALL.to_owned(),
            ..NodeSize::default()
        },
        pod_start_time: Duration::from_secs(3),
        acts_out_resizes: true,
        ..ClusterOptions::default()
    }
}

/// Six Ready pods: two on the full node, whose other pod takes what they leave.
pub async fn open(cluster: &Cluster) -> Result<PodSizes> {
    let client = cluster.client();
    cluster.create_namespace(NAMESPACE).await?;
    let watching = PodSizes::watch(&client, NAMESPACE).await?;
    apply(cluster, deployment(PODS_ON_FULL_NODE)).await?;
    until_ready(&watching, PODS_ON_FULL_NODE).await?;
    // In another namespace: it is not of the service.
    manifests::apply_objects(&client, "default", &[serde_json::from_value(neighbour())?]).await?;
    let size = NodeSize {
        cpu: LARGE.to_owned(),
        ..NodeSize::default()
    };
    for name in NODES.iter().filter(|name| **name != FULL_NODE) {
        cluster.add_node(name, &size).await?;
    }
    apply(cluster, deployment(PODS)).await?;
    until_ready(&watching, PODS).await?;
    let courses = watching.courses()?;
    let full = live(&courses).filter(|(_, look)| look.node.as_deref() == Some(FULL_NODE));
    let full = full.count();
    ensure!(full == PODS_ON_FULL_NODE, "{full} pods are on {FULL_NODE}");
    Ok(watching)
}

async fn until_ready(watching: &PodSizes, count: usize) -> Result<()> {
    let what = format!("{count} Ready pods");
    watching
        .until(&what, STARTED_WITHIN, |all| {
            live(all)
                .filter(|(_, look)| look.ready && !look.is_under_way())
                .count()
                == count
        })
        .await
        .map(drop)
}

/// The sale, and who prepares for it.
pub async fn announce(cluster: &Cluster, start: Timestamp, end: Timestamp) -> Result<()> {
    apply(cluster, calendar(start, end)).await?;
    apply(cluster, scaled_object()).await
}

async fn apply(cluster: &Cluster, object: Value) -> Result<()> {
    let object = serde_json::from_value(object)?;
    manifests::apply_objects(&cluster.client(), NAMESPACE, &[object]).await?;
    Ok(())
}

fn deployment(replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {
                    "labels": {"app": NAME},
                    "annotations": {RESIZE_TIME_ANNOTATION: "1s", RUNNING_AFTER_ANNOTATION: "1s"},
                },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": "app",
                        "image": "example.org/shop:1",
                        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}},
                    }],
                },
            },
        },
    })
}

/// A pod of somebody else's, which leaves a tenth of a CPU.
fn neighbour() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "batch"},
        "spec": {
            "nodeName": FULL_NODE,
            "containers": [{
                "name": "job", "image": "example.org/batch:1", "resources": {"requests": {"cpu": "900m", "memory": "1Gi"}},
            }],
        },
    })
}

fn calendar(start: Timestamp, end: Timestamp) -> Value {
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": "SaleCalendar",
        "metadata": {"name": "sales"},
        "spec": {"events": [{"name": "new-year", "start": start.to_string(), "end": end.to_string()}]},
    })
}

fn scaled_object() -> Value {
    let policy = json!({"container": "app", "when": "prescale", "cpu": "x2", "memory": "+128Mi"});
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": NAME},
        "spec": {
            "scaleTargetRef": {"name": NAME},
            "minReplicaCount": PODS,
            "maxReplicaCount": FLOOR,
            "advanced": {"sakidori": {"inPlaceResize": {"policies": [policy], "maxConcurrent": MAX_CONCURRENT}}},
            "triggers": [{
                "type": "sale-calendar",
                "metadata": {
                    "calendar": "sales",
                    "calendarKind": "SaleCalendar",
                    "baseline": PODS.to_string(),
                    "desiredReplicas": FLOOR.to_string(),
                    "leadTime": format!("{LEAD_SECONDS}s"),
                    "rampUp": format!("{RAMP_SECONDS}s"),
                    "holdAfter": format!("{HOLD_SECONDS}s"),
                    "rampDown": "0",
                },
            }],
        },
    })
}
