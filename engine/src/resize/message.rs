//! What the resizing of one object's pods is told, and what it asks for.

use std::sync::Arc;

use jiff::SignedDuration;

use super::pod::Pod;
use super::policy::{Holding, Settings};
use super::remembered::Remembered;
use super::report::{Decision, Report, ResizeResult};
use super::resources::Resources;

/// What can happen. `attempt` is that of the effect which is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum ResizeEvent {
    /// What the ScaledObject asks for. Nothing is done before this, `Holding` (or `Ended`) and `Listed` have come once.
    Wanted(Settings),
    /// Which policies hold from now on. Not to be sent while that is unknown.
    Holding(Holding),
    /// Whether the object is paused: then its pods are left as they are, whatever holds. Not paused until this says so.
    Paused(bool),
    /// All pods of the workload; others are gone.
    Listed(Vec<Pod>),
    /// A watch shows a pod, as it is or as it was a while ago.
    Seen(Box<Pod>),
    Gone {
        uid: Arc<str>,
    },
    /// The answer to the effect with this `attempt`; `seen` is the pod as it was last read or written for it.
    Answered {
        attempt: u64,
        seen: Option<Box<Pod>>,
        outcome: ResizeOutcome,
    },
    /// Whether anything can be resized at all, as it was looked up before anything is asked: `Done`, `Unsupported` or `NotAllowed`.
    Foreseen(ResizeOutcome),
    /// Something changed that may make room for what was refused, and that pods don't show: a quota, a LimitRange, a node.
    Reconsider,
    /// The ScaledObject is being deleted, or asks for nothing any more: all pods go back, then comes `Finished`.
    Ended,
    /// The time of `next_wakeup` has come.
    Woke,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum ResizeOutcome {
    /// It was carried out. For a read: the pod is there.
    Done,
    /// There is no such pod any more.
    Gone,
    /// The pod had another resource version.
    Conflict,
    /// The API server will not do that: 403 or 422.
    Refused { why: Refusal, message: String },
    /// 404 or 405 for the subresource: this cluster has none.
    Unsupported,
    /// 403 since the operator may not.
    NotAllowed { message: String },
    /// No answer, or one that says nothing of the request: 429, 5xx. For an eviction also that the disruption budget
    /// does not allow it now.
    Failed {
        message: String,
        retry_after: Option<SignedDuration>,
    },
}

impl ResizeOutcome {
    /// What it is where nothing can be resized at all, whichever pod was asked.
    pub fn stops(&self) -> Option<ResizeResult> {
        match self {
            Self::Unsupported => Some(ResizeResult::Unsupported),
            Self::NotAllowed { .. } => Some(ResizeResult::NotAllowed),
            _ => None,
        }
    }
}

/// Why the API server refuses a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node never has as much.
    NodeTooSmall,
    /// This API server lowers no memory limits: before Kubernetes 1.34.
    LowersNoMemory,
    /// LimitRange, ResourceQuota, a webhook, or whatever else.
    Admission,
}

/// Which pod is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

impl From<&Pod> for PodRef {
    fn from(pod: &Pod) -> Self {
        Self {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        }
    }
}

/// The resources of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerResize {
    pub name: String,
    /// It stands among `initContainers`.
    pub sidecar: bool,
    pub resources: Resources,
}

/// What the resizing asks for. Each effect with an `attempt` is to be answered with [`ResizeEvent::Answered`].
#[derive(Clone, Debug, PartialEq)]
pub enum ResizeEffect {
    /// Write `remember` into the pod's annotation, provided that it still has this version; then patch `containers` through
    /// `pods/resize`, provided that it still has the version that the first write gave it.
    Ask {
        attempt: u64,
        pod: PodRef,
        version: String,
        remember: Remembered,
        containers: Vec<ContainerResize>,
    },
    /// Write the annotation, or remove it, provided that the pod still has this version.
    Remember {
        attempt: u64,
        pod: PodRef,
        version: String,
        remember: Option<Remembered>,
    },
    /// Evict the pod through the eviction API, which keeps to its disruption budget.
    Evict { attempt: u64, pod: PodRef },
    /// Read the pod from the API server, not from a cache.
    Read { attempt: u64, pod: PodRef },
    /// One decision: a line in the log, an Event, and one more in `sakidori_resize_total`.
    Tell(Decision),
    /// The condition and the counts, whenever they change.
    Show(Report),
    /// After [`ResizeEvent::Ended`]: all pods are back, or can't be brought back.
    Finished,
}
