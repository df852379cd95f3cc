//! What a target's pods show: how long they take to become Ready, how many are, and what keeps others from it. Listed when it is
//! needed, by the target's own selector, and never watched.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use sakidori_engine::PodsSeen;
use sakidori_engine::prescale::Obstacle;

use crate::target::{Target, Targets};

/// So many of the youngest pods tell how long a start takes.
const SAMPLES: usize = 50;

/// Looks once; `None` where the API server doesn't tell.
pub async fn look(targets: &Targets, target: &Target) -> Option<PodsSeen> {
    let scale = targets.scale(target).await.ok()?;
    let pods = targets.pods(target, &scale).await.ok()?;
    let mut seen = seen(&pods);
    if seen.obstacle.is_none() {
        seen.obstacle = targets
            .replica_failure(target)
            .await
            .filter(|message| message.contains("exceeded quota"))
            .map(|message| Obstacle::QuotaExceeded { message });
    }
    Some(seen)
}

fn seen(pods: &[Pod]) -> PodsSeen {
    let alive = || {
        pods.iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
    };
    let mut samples: Vec<(Timestamp, SignedDuration)> = alive()
        .filter(|pod| restarts(pod) == 0)
        .filter_map(|pod| {
            let created = pod.metadata.creation_timestamp.as_ref()?.0;
            Some((created, ready_since(pod)?.duration_since(created)))
        })
        .collect();
    samples.sort_unstable_by_key(|(created, _)| std::cmp::Reverse(*created));
    let unschedulable: Vec<&PodCondition> = alive()
        .filter_map(|pod| condition(pod, "PodScheduled"))
        .filter(|one| one.status == "False" && one.reason.as_deref() == Some("Unschedulable"))
        .collect();
    PodsSeen {
        startups: samples
            .into_iter()
            .take(SAMPLES)
            .map(|(_, took)| took)
            .collect(),
        ready_since: alive().filter_map(ready_since).collect(),
        placed: alive().filter(|pod| has_node(pod)).count(),
        obstacle: unschedulable.first().map(|first| Obstacle::Unschedulable {
            pods: unschedulable.len(),
            message: first.message.clone().unwrap_or_default(),
        }),
    }
}

/// It has a node and needs it: one that has ended frees its place.
fn has_node(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_some_and(|node| !node.is_empty()) && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|one| one.restart_count)
        .sum()
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == kind)
}

/// Since when the pod is Ready, if it is.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|one| one.status == "True")?;
    let created = pod.metadata.creation_timestamp.as_ref();
    let since = ready.last_transition_time.as_ref().or(created)?;
    Some(since.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(created: &str, conditions: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"creationTimestamp": created},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn pods_tell_when_they_were_ready_and_what_is_in_the_way() {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T10:00:40Z"}]);
        let stuck = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]);
        let seen = seen(&[
            pod("2026-11-24T10:00:00Z", ready),
            pod("2026-11-24T10:00:00Z", stuck.clone()),
            pod("2026-11-24T10:00:00Z", stuck),
        ]);
        assert_eq!(seen.startups, [SignedDuration::from_secs(40)]);
        assert_eq!(seen.ready_since, ["2026-11-24T10:00:40Z".parse().unwrap()]);
        let obstacle = Obstacle::Unschedulable {
            pods: 2,
            message: "0/3 nodes".into(),
        };
        assert_eq!(seen.obstacle, Some(obstacle));
    }
}
