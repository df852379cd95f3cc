//! What may make room for pods that were refused, and that the pods don't show: quotas, LimitRanges, nodes that grow, others' pods that leave
//! a node. It is looked at every few seconds as long as pods are refused, and never otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{LimitRange, Node, ResourceQuota};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use sakidori_engine::Quantity;
use sakidori_engine::resize::Resource;
use tokio::time::timeout;

use super::pod::{ResizablePod, requested};

/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// So many of the nodes that are too small are looked at.
const MOST_NODES: usize = 20;

/// What there is room for, as far as it can be read: what can't be is `None`, and no news.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Room {
    /// What quotas leave, by quota and resource, in thousandths.
    quotas: Option<BTreeMap<(String, String), i128>>,
    /// The LimitRanges' versions; they hardly ever change.
    limit_ranges: Option<BTreeMap<String, String>>,
    /// CPU and memory of nodes that are too small, in thousandths.
    nodes: BTreeMap<(String, &'static str), i128>,
    /// What all pods of full nodes request of both, in thousandths.
    requested: BTreeMap<(String, Resource), i128>,
}

/// Nodes on which pods were refused.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    /// They never have as much.
    pub too_small: BTreeSet<String>,
    /// They had no room, and pods were taken back.
    pub full: BTreeSet<String>,
}

impl Room {
    /// Looks at a namespace and at some nodes.
    pub async fn look(client: &Client, namespace: &str, nodes: &Nodes) -> Self {
        let look = async {
            let all = ListParams::default();
            let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
            let ranges: Api<LimitRange> = Api::namespaced(client.clone(), namespace);
            let node_api: Api<Node> = Api::all(client.clone());
            let (quotas, ranges) = tokio::join!(quotas.list(&all), ranges.list(&all));
            let mut room = Self {
                quotas: quotas.ok().map(|list| list.iter().flat_map(left).collect()),
                limit_ranges: ranges.ok().map(|list| {
                    let versions = list.iter().map(|range| {
                        let version = range.resource_version().unwrap_or_default();
                        (range.name_any(), version)
                    });
                    versions.collect()
                }),
                ..Self::default()
            };
            for name in nodes.too_small.iter().take(MOST_NODES) {
                if let Ok(node) = node_api.get(name).await {
                    room.add_node(&node);
                }
            }
            let pods: Api<ResizablePod> = Api::all(client.clone());
            for name in nodes.full.iter().take(MOST_NODES) {
                let there = ListParams::default().fields(&format!("spec.nodeName={name}"));
                if let Ok(pods) = pods.list(&there).await {
                    room.add_pods(name, &pods.items);
                }
            }
            room
        };
        timeout(LOOK_WITHIN, look).await.unwrap_or_default()
    }

    /// What is known after a newer look: of what that could not read, what was known before.
    pub fn updated(self, newer: Self) -> Self {
        Self {
            quotas: newer.quotas.or(self.quotas),
            limit_ranges: newer.limit_ranges.or(self.limit_ranges),
            nodes: newer.nodes,
            requested: newer.requested,
        }
    }

    fn add_node(&mut self, node: &Node) {
        let status = node.status.as_ref();
        for resource in ["cpu", "memory"] {
            let amount = status.and_then(|status| status.allocatable.as_ref()?.get(resource));
            if let Some(amount) = amount.and_then(|it| it.0.parse::<Quantity>().ok()) {
                self.nodes
                    .insert((node.name_any(), resource), amount.milli());
            }
        }
    }

    fn add_pods(&mut self, node: &str, pods: &[ResizablePod]) {
        for resource in Resource::ALL {
            let all = pods.iter().map(|pod| requested(pod, resource).milli());
            self.requested
                .insert((node.to_owned(), resource), all.sum());
        }
    }

    /// Whether something may fit now that did not before: more is left of a quota, a quota or LimitRange is gone or another, a node grew, or
    /// pods left it.
    pub fn has_grown_since(&self, before: &Self) -> bool {
        let quotas = before.quotas.as_ref().zip(self.quotas.as_ref());
        let less_bound = quotas.is_some_and(|(before, now)| {
            let mut before = before.iter();
            before.any(|(place, left)| now.get(place).is_none_or(|now| now > left))
        });
        let larger = self
            .nodes
            .iter()
            .any(|(place, now)| before.nodes.get(place).is_some_and(|was| now > was));
        let ranges = before.limit_ranges.as_ref().zip(self.limit_ranges.as_ref());
        let other_ranges = ranges.is_some_and(|(before, now)| {
            let mut before = before.iter();
            before.any(|(name, version)| now.get(name) != Some(version))
        });
        let emptier = self
            .requested
            .iter()
            .any(|(place, now)| before.requested.get(place).is_some_and(|was| now < was));
        less_bound || larger || other_ranges || emptier
    }
}

/// What a quota leaves of each resource.
fn left(quota: &ResourceQuota) -> Vec<((String, String), i128)> {
    let milli = |text: &str| text.parse::<Quantity>().ok().map(Quantity::milli);
    let Some(status) = &quota.status else {
        return Vec::new();
    };
    let bounds = status.hard.iter().flatten().filter_map(|(resource, hard)| {
        let used = status.used.as_ref().and_then(|used| used.get(resource));
        let used = used.and_then(|used| milli(&used.0)).unwrap_or_default();
        let place = (quota.name_any(), resource.clone());
        Some((place, milli(&hard.0)?.saturating_sub(used)))
    });
    bounds.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(name: &str, hard: &str, used: &str) -> Room {
        let quota = json!({
            "metadata": {"name": name},
            "status": {"hard": {"requests.cpu": hard}, "used": {"requests.cpu": used}},
        });
        Room {
            quotas: Some(
                left(&serde_json::from_value(quota).unwrap())
                    .into_iter()
                    .collect(),
            ),
            ..no_bounds()
        }
    }

    fn no_bounds() -> Room {
        Room {
            quotas: Some(BTreeMap::new()),
            limit_ranges: Some(BTreeMap::new()),
            ..Room::default()
        }
    }

    fn node(cpu: &str) -> Room {
        let node = json!({"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi"}}});
        let mut room = Room::default();
        room.add_node(&serde_json::from_value(node).unwrap());
        room
    }

    fn crowd(requests: &[&str]) -> Room {
        let pods = requests.iter().map(|cpu| {
            let containers = json!([{"name": "app", "resources": {"requests": {"cpu": cpu}}}]);
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": containers}}))
        });
        let mut room = Room::default();
        room.add_pods("n1", &pods.collect::<Result<Vec<_>, _>>().unwrap());
        room
    }

    fn range(version: &str) -> Room {
        Room {
            limit_ranges: Some([("limits".to_owned(), version.to_owned())].into()),
            ..no_bounds()
        }
    }

    #[test]
    fn room_grows_where_less_is_in_the_way() {
        let (none, unknown) = (no_bounds(), Room::default());
        let half = quota("team", "4", "3500m");
        for (before, now, grown) in [
            (&half, quota("team", "4", "3500m"), false),
            (&half, quota("team", "4", "3800m"), false),
            (&half, quota("team", "4", "3"), true),
            (&half, quota("team", "5", "3500m"), true),
            // Gone, or another one instead.
            (&half, none.clone(), true),
            (&half, quota("other", "4", "4"), true),
            // A new one makes no room.
            (&none, half.clone(), false),
            (&node("4"), node("4"), false),
            (&node("4"), node("3"), false),
            (&node("4"), node("8"), true),
            (&none, node("8"), false),
            (&crowd(&["1", "500m"]), crowd(&["1", "500m"]), false),
            (&crowd(&["1", "500m"]), crowd(&["1", "600m"]), false),
            (&crowd(&["1", "500m"]), crowd(&["1"]), true),
            (&crowd(&["1"]), none.clone(), false),
            (&range("7"), range("7"), false),
            (&range("7"), range("8"), true),
            (&range("7"), none.clone(), true),
            (&none, range("8"), false),
            // What could not be read says nothing.
            (&half, unknown.clone(), false),
            (&range("7"), unknown.clone(), false),
            (&unknown, half.clone(), false),
        ] {
            assert_eq!(now.has_grown_since(before), grown, "{before:?} {now:?}");
        }
    }

    #[test]
    fn what_a_look_could_not_read_is_as_it_was_known() {
        let half = quota("team", "4", "3500m");
        let known = Room::default()
            .updated(half.clone())
            .updated(Room::default());
        assert!(!half.has_grown_since(&known));
        assert!(quota("team", "5", "3500m").has_grown_since(&known));
    }
}
