//! What is seen of a pod.

use std::sync::Arc;

use jiff::Timestamp;

use super::remembered::Memory;
use super::resources::{ResourceList, Resources, Sizes, requested};
use crate::quantity::Quantity;

/// A pod of the object's workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: Arc<str>,
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `metadata.generation`, 0 where there is none.
    pub generation: i64,
    /// `status.observedGeneration`: which generation the kubelet has seen.
    pub observed_generation: Option<i64>,
    pub created: Timestamp,
    /// `status.startTime`: the kubelet has taken the pod in. Before that, a resize would count when it does, and a pod
    /// that doesn't fit then fails.
    pub started: Option<Timestamp>,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// Succeeded or Failed.
    pub finished: bool,
    /// It has a `deletionTimestamp`.
    pub deleting: bool,
    /// The condition Ready is True.
    pub ready: bool,
    /// `lastTransitionTime` of the condition Ready.
    pub ready_changed: Option<Timestamp>,
    /// `status.qosClass`.
    pub qos: Qos,
    /// It has `spec.resources`, which bound those of its containers.
    pub has_pod_resources: bool,
    /// All but ephemeral ones.
    pub containers: Vec<Container>,
    /// The condition `PodResizePending`, if True.
    pub pending: Option<Pending>,
    /// The condition `PodResizeInProgress`, if True.
    pub in_progress: Option<InProgress>,
    /// What [`super::REMEMBERED_ANNOTATION`] says.
    pub memory: Memory,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub name: String,
    pub kind: ContainerKind,
    /// `resources` of its specification.
    pub resources: Resources,
    /// `resources` of its status; `None` where the kubelet doesn't tell.
    pub actual: Option<Resources>,
    /// `resizePolicy` says RestartContainer.
    pub cpu_restarts: bool,
    pub memory_restarts: bool,
    /// What it uses of its memory, where that is known.
    pub memory_used: Option<Quantity>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    App,
    /// An init container that runs on (`restartPolicy: Always`).
    Sidecar,
    /// An init container that ends; its resources never change.
    Init,
}

/// Quality of service, Kubernetes' class of a pod, which never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// The node has not taken a resize on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub why: PendingReason,
    pub message: String,
    /// `lastTransitionTime`; it may be that of an earlier resize.
    pub since: Timestamp,
    /// `observedGeneration` of the condition.
    pub generation: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingReason {
    /// There is no room now.
    Deferred,
    /// There never is.
    Infeasible,
}

/// The node is resizing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProgress {
    /// The message where the reason is Error.
    pub error: Option<String>,
    pub since: Timestamp,
    pub generation: Option<i64>,
}

impl Pod {
    /// It runs, or will.
    pub(super) fn is_live(&self) -> bool {
        !self.deleting && !self.finished
    }

    /// The resources of the specification of all containers that can be resized.
    pub fn sizes(&self) -> Sizes {
        let resizable = self.containers.iter();
        resizable
            .filter(|container| container.kind != ContainerKind::Init)
            .map(|container| (container.name.clone(), container.resources))
            .collect()
    }

    pub(super) fn requested(&self) -> ResourceList {
        requested(&self.sizes())
    }

    /// It was Ready at some time: it is, or the condition changed after the kubelet wrote it first, which it does
    /// together with `startTime`.
    pub(super) fn has_been_ready(&self) -> bool {
        const FIRST_WRITE: i64 = 5;
        let changed_late = match (self.started, self.ready_changed) {
            (Some(started), Some(changed)) => {
                changed.duration_since(started).as_secs() > FIRST_WRITE
            }
            _ => false,
        };
        self.ready || changed_late
    }

    /// What the kubelet made of the specification as it stands.
    pub(super) fn progress(&self) -> Progress<'_> {
        let of_this = |generation: Option<i64>| generation.is_none_or(|it| it >= self.generation);
        if let Some(pending) = self.pending.as_ref().filter(|it| of_this(it.generation)) {
            return match pending.why {
                PendingReason::Infeasible => Progress::Infeasible(&pending.message),
                PendingReason::Deferred => Progress::Deferred(&pending.message),
            };
        }
        if let Some(under_way) = self.in_progress.as_ref() {
            return match &under_way.error {
                Some(message) if of_this(under_way.generation) => {
                    Progress::Failing(message, under_way.since)
                }
                _ => Progress::UnderWay,
            };
        }
        let observed = of_this(self.observed_generation);
        let actual = self
            .containers
            .iter()
            .filter(|container| container.kind != ContainerKind::Init)
            .all(|container| container.actual.is_none_or(|it| it == container.resources));
        if observed && actual && self.pending.is_none() {
            Progress::Actual
        } else {
            Progress::UnderWay
        }
    }

    /// Whether this was read before `other`, as far as can be told. Since Kubernetes 1.35 resource versions are
    /// promised to be numbers that grow, and they always were.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        match (self.version.parse::<u64>(), other.version.parse::<u64>()) {
            (Ok(own), Ok(others)) => own < others,
            _ => self.generation < other.generation,
        }
    }
}

/// How far a resize has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress<'a> {
    Actual,
    UnderWay,
    Deferred(&'a str),
    Infeasible(&'a str),
    Failing(&'a str, Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::tests::{at, pod, sizes};

    #[test]
    fn a_resize_is_actual_once_the_kubelet_says_so_of_this_generation() {
        let base = Pod {
            generation: 4,
            observed_generation: Some(4),
            ..pod("a", "500m 1Gi")
        };
        let pending = |why, generation| {
            let since = at(0);
            let message = "no".to_owned();
            Some(Pending {
                why,
                message,
                since,
                generation,
            })
        };
        let in_progress = |error: Option<&str>, generation| {
            let error = error.map(str::to_owned);
            Some(InProgress {
                error,
                since: at(9),
                generation,
            })
        };
        let mut resized = base.clone();
        resized.containers[0].resources = sizes("2 1Gi")["app"];
        use PendingReason::{Deferred, Infeasible};
        for (name, seen, progress) in [
            ("at rest", base.clone(), Progress::Actual),
            (
                "not observed",
                Pod {
                    observed_generation: Some(3),
                    ..base.clone()
                },
                Progress::UnderWay,
            ),
            (
                "no observed generation",
                Pod {
                    observed_generation: None,
                    ..base.clone()
                },
                Progress::Actual,
            ),
            ("not actual", resized.clone(), Progress::UnderWay),
            (
                "deferred",
                Pod {
                    pending: pending(Deferred, Some(4)),
                    ..resized.clone()
                },
                Progress::Deferred("no"),
            ),
            (
                "infeasible",
                Pod {
                    pending: pending(Infeasible, Some(4)),
                    ..resized.clone()
                },
                Progress::Infeasible("no"),
            ),
            (
                "infeasible before",
                Pod {
                    pending: pending(Infeasible, Some(3)),
                    ..resized.clone()
                },
                Progress::UnderWay,
            ),
            (
                "infeasible before, as it runs",
                Pod {
                    pending: pending(Infeasible, Some(3)),
                    ..base.clone()
                },
                Progress::UnderWay,
            ),
            (
                "in progress",
                Pod {
                    in_progress: in_progress(None, Some(4)),
                    ..base.clone()
                },
                Progress::UnderWay,
            ),
            (
                "failing",
                Pod {
                    in_progress: in_progress(Some("oom"), Some(4)),
                    ..resized.clone()
                },
                Progress::Failing("oom", at(9)),
            ),
            (
                "failed before",
                Pod {
                    in_progress: in_progress(Some("oom"), Some(3)),
                    ..resized.clone()
                },
                Progress::UnderWay,
            ),
            // A new one waits while an older one fails.
            (
                "both",
                Pod {
                    pending: pending(Deferred, None),
                    in_progress: in_progress(Some("oom"), Some(3)),
                    ..resized
                },
                Progress::Deferred("no"),
            ),
        ] {
            assert_eq!(seen.progress(), progress, "{name}");
        }
    }

    #[test]
    fn a_pod_that_lost_its_readiness_was_ready() {
        let seen = |ready, started: Option<i64>, changed: Option<i64>| {
            let (started, ready_changed) = (started.map(at), changed.map(at));
            Pod {
                ready,
                started,
                ready_changed,
                ..pod("a", "1")
            }
            .has_been_ready()
        };
        assert!(!seen(false, None, None));
        assert!(!seen(false, Some(10), Some(10)));
        assert!(!seen(false, Some(10), None));
        assert!(seen(false, Some(10), Some(40)));
        assert!(seen(true, Some(10), Some(12)));
    }
}
