//! What containers use of their memory, where the cluster has somebody who tells (metrics-server): a limit is not lowered below that.
//!
//! It is asked for when a limit is about to be lowered, and again while one is kept up. A kubelet looks, too, before it lowers a limit,
//! since Kubernetes 1.34; where nobody tells, that alone protects.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::Client;
use sakidori_engine::Quantity;
use serde::Deserialize;
use tokio::time::timeout;

use crate::lock::lock;

/// Nobody waits longer for metrics than a kubelet needs to look itself.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// What was used longer ago says nothing of now.
const COUNTS_FOR: Duration = Duration::from_secs(120);

type Containers = BTreeMap<String, Quantity>;
type Pods = HashMap<Arc<str>, (Instant, Containers)>;

/// What was last told, by the pods' uids. Cheap to clone.
#[derive(Clone, Default)]
pub struct Used(Arc<Mutex<Pods>>);

impl Used {
    pub fn saw(&self, uid: &str, containers: Containers) {
        let mut known = lock(&self.0);
        known.retain(|_, (at, _)| at.elapsed() < COUNTS_FOR);
        known.insert(uid.into(), (Instant::now(), containers));
    }

    pub fn of(&self, uid: &str) -> Containers {
        let known = lock(&self.0);
        let counts = known.get(uid).filter(|(at, _)| at.elapsed() < COUNTS_FOR);
        counts
            .map(|(_, containers)| containers.clone())
            .unwrap_or_default()
    }
}

/// `PodMetrics` of metrics.k8s.io/v1beta1.
#[derive(Deserialize)]
struct PodMetrics {
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, String>,
}

/// What the containers of a pod use of their memory; empty where nobody tells.
pub async fn ask(client: &Client, namespace: &str, pod: &str) -> Containers {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{pod}");
    let Ok(request) = http::Request::get(path).body(Vec::new()) else {
        return Containers::new();
    };
    match timeout(TOLD_WITHIN, client.request::<PodMetrics>(request)).await {
        Ok(Ok(metrics)) => memory_of(metrics),
        Ok(Err(_)) | Err(_) => Containers::new(),
    }
}

fn memory_of(metrics: PodMetrics) -> Containers {
    let containers = metrics.containers.into_iter();
    let memory = containers.filter_map(|one| {
        let used = one.usage.get("memory")?.parse().ok()?;
        Some((one.name, used))
    });
    memory.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_known_by_container() {
        let metrics = serde_json::json!({
            "kind": "PodMetrics", "timestamp": "2026-11-30T10:00:00Z", "window": "15s",
            "containers": [{"name": "app", "usage": {"cpu": "3m", "memory": "700Mi"}}, {"name": "log", "usage": {}}],
        });
        let used = Used::default();
        used.saw("u1", memory_of(serde_json::from_value(metrics).unwrap()));
        assert_eq!(used.of("u1").get("app"), Some(&"700Mi".parse().unwrap()));
        assert_eq!(used.of("u1").len(), 1);
        assert!(used.of("u2").is_empty());
    }
}
