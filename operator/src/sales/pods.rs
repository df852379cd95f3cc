//! What a target's pods show: how long they take to become Ready, how many are, and what keeps others from it. Listed when it is
//! needed, by the target's own selector, and never watched.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Pod, PodCondition};
use kube::ResourceExt;
use sakidori_engine::PodsSeen;
use sakidori_engine::prescale::Obstacle;

use crate::target::{Target, Targets, replicas};

/// So many of the youngest pods tell how long a start takes.
const SAMPLES: usize = 50;

/// Looks once; `None` where the API server doesn't tell.
pub async fn look(targets: &Targets, target: &Target) -> Option<PodsSeen> {
    let scale = targets.scale(target).await.ok()?;
    let pods = targets.pods(target, &scale).await.ok()?;
    let mut seen = seen(&pods);
    let there = pods.iter().filter(|pod| is_alive(pod)).count();
    let missing = i32::try_from(there).is_ok_and(|there| there < replicas(&scale));
    if seen.obstacle.is_none() && missing {
        seen.obstacle = refused(targets, target, &pods).await;
    }
    Some(seen)
}

/// What refuses the pods that are not there. A Deployment says so in its status; of a StatefulSet, and of what makes the pods of other
/// kinds, only Events tell.
async fn refused(targets: &Targets, target: &Target, pods: &[Pod]) -> Option<Obstacle> {
    let is_quota = |message: &String| message.contains("exceeded quota");
    if let Some(message) = targets.replica_failure(target).await.filter(is_quota) {
        return Some(Obstacle::QuotaExceeded { message });
    }
    if target.resource.kind == "Deployment" {
        return None;
    }
    let events = targets.failed_creations(&target.namespace).await;
    let since = pods
        .iter()
        .filter_map(|pod| Some(pod.metadata.creation_timestamp.as_ref()?.0))
        .max();
    let message = latest_failure(events, &makers(target, pods), since).filter(is_quota)?;
    Some(Obstacle::QuotaExceeded { message })
}

/// Who makes the target's pods: itself, or the controllers of those that are there.
fn makers(target: &Target, pods: &[Pod]) -> BTreeSet<(String, String)> {
    let controllers = pods.iter().flat_map(|pod| pod.owner_references());
    controllers
        .filter(|owner| owner.controller == Some(true))
        .map(|owner| (owner.kind.clone(), owner.name.clone()))
        .chain([(target.resource.kind.clone(), target.name.clone())])
        .collect()
}

/// The last that was told of pods which could not be made, unless one was made since.
fn latest_failure(
    events: Vec<Event>,
    makers: &BTreeSet<(String, String)>,
    since: Option<Timestamp>,
) -> Option<String> {
    let told_at = |event: &Event| {
        let series = event.series.as_ref();
        let in_series = series.and_then(|series| series.last_observed_time.as_ref());
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        in_series
            .map(|time| time.0)
            .or(last)
            .or_else(|| event.event_time.as_ref().map(|time| time.0))
    };
    events
        .into_iter()
        .filter(|event| {
            let regarding = &event.involved_object;
            let maker = (
                regarding.kind.clone().unwrap_or_default(),
                regarding.name.clone().unwrap_or_default(),
            );
            makers.contains(&maker)
        })
        .filter_map(|event| Some((told_at(&event)?, event.message?)))
        .filter(|(at, _)| since.is_none_or(|since| *at >= since))
        .max_by_key(|(at, _)| *at)
        .map(|(_, message)| message)
}

/// Neither on its way out nor over: what a controller counts among the replicas.
fn is_alive(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn seen(pods: &[Pod]) -> PodsSeen {
    let alive = || pods.iter().filter(|pod| is_alive(pod));
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

    #[test]
    fn the_last_failure_counts_until_a_pod_was_made() {
        let event = |kind: &str, name: &str, at: &str, message: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {}, "involvedObject": {"kind": kind, "name": name},
                "lastTimestamp": at, "message": message,
            }))
            .unwrap()
        };
        let events = || {
            vec![
                event("StatefulSet", "web", "2026-11-24T10:00:00Z", "first"),
                event("StatefulSet", "web", "2026-11-24T10:00:09Z", "second"),
                event("StatefulSet", "other", "2026-11-24T10:00:30Z", "another's"),
            ]
        };
        let makers = BTreeSet::from([("StatefulSet".to_owned(), "web".to_owned())]);
        let latest = |since: Option<&str>| {
            let since = since.map(|text| text.parse().unwrap());
            latest_failure(events(), &makers, since)
        };
        assert_eq!(latest(None).as_deref(), Some("second"));
        assert_eq!(
            latest(Some("2026-11-24T10:00:09Z")).as_deref(),
            Some("second")
        );
        assert_eq!(latest(Some("2026-11-24T10:00:10Z")), None);
    }
}
