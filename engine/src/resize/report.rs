//! What is told of resizing: what pods are in, and each decision.

use std::fmt;

use super::message::PodRef;
use crate::conditions::Condition;

/// What a pod is in; the label `state` of `sakidori_resize_pods`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodState {
    /// It has its own resources, and is to have them.
    Template,
    /// It is to be resized, and not asked yet.
    Waiting,
    /// It was asked, and its node has not carried it out.
    UnderWay,
    /// It has what the policies give.
    Resized,
    /// Its node has no room.
    Deferred,
    /// Its node will never have room.
    Infeasible,
    /// The API server refused: LimitRange, ResourceQuota, admission.
    Refused,
    /// Its node tried, and failed.
    Failed,
    /// Nothing was heard of it for too long.
    Silent,
    /// It has less again, but for memory that is in use.
    MemoryKept,
    /// No container of it can get what a policy gives.
    LeftAlone,
    /// Another actor sets its resources.
    Foreign,
}

impl PodState {
    pub const ALL: [Self; 12] = [
        Self::Template,
        Self::Waiting,
        Self::UnderWay,
        Self::Resized,
        Self::Deferred,
        Self::Infeasible,
        Self::Refused,
        Self::Failed,
        Self::Silent,
        Self::MemoryKept,
        Self::LeftAlone,
        Self::Foreign,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Waiting => "waiting",
            Self::UnderWay => "under_way",
            Self::Resized => "resized",
            Self::Deferred => "deferred",
            Self::Infeasible => "infeasible",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::MemoryKept => "memory_kept",
            Self::LeftAlone => "left_alone",
            Self::Foreign => "foreign",
        }
    }

    /// What a pod's getting there counts as, beside having been asked.
    pub(super) fn result(self) -> Option<ResizeResult> {
        Some(match self {
            Self::Template => ResizeResult::Restored,
            Self::Resized => ResizeResult::Resized,
            Self::Deferred => ResizeResult::Deferred,
            Self::Infeasible => ResizeResult::Infeasible,
            Self::Refused => ResizeResult::Refused,
            Self::Failed => ResizeResult::Failed,
            Self::Silent => ResizeResult::Silent,
            Self::MemoryKept => ResizeResult::MemoryKept,
            Self::Foreign => ResizeResult::Foreign,
            Self::Waiting | Self::UnderWay | Self::LeftAlone => return None,
        })
    }
}

/// What became of a resize; the label `result` of `sakidori_resize_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResizeResult {
    Asked,
    Resized,
    Restored,
    Deferred,
    Infeasible,
    Refused,
    Failed,
    Silent,
    MemoryKept,
    Foreign,
    Evicted,
    /// The request could not be made, or nobody knows what became of it; it is made again.
    Error,
    Unsupported,
    NotAllowed,
}

impl ResizeResult {
    pub const ALL: [Self; 14] = [
        Self::Asked,
        Self::Resized,
        Self::Restored,
        Self::Deferred,
        Self::Infeasible,
        Self::Refused,
        Self::Failed,
        Self::Silent,
        Self::MemoryKept,
        Self::Foreign,
        Self::Evicted,
        Self::Error,
        Self::Unsupported,
        Self::NotAllowed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Resized => "resized",
            Self::Restored => "restored",
            Self::Deferred => "deferred",
            Self::Infeasible => "infeasible",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::MemoryKept => "memory_kept",
            Self::Foreign => "foreign",
            Self::Evicted => "evicted",
            Self::Error => "error",
            Self::Unsupported => "unsupported",
            Self::NotAllowed => "not_allowed",
        }
    }

    /// Something that somebody may have to look at.
    pub fn is_problem(self) -> bool {
        !matches!(
            self,
            Self::Asked | Self::Resized | Self::Restored | Self::Evicted
        )
    }
}

/// One decision, or what became of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// `None` where it is about all pods.
    pub pod: Option<PodRef>,
    pub result: ResizeResult,
    /// Why, or what was told: one line without the pod's name.
    pub message: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.result {
            ResizeResult::Asked => "is resized",
            ResizeResult::Resized => "has what it was asked to have",
            ResizeResult::Restored => "has its own resources again",
            ResizeResult::Deferred => "waits for room on its node",
            ResizeResult::Infeasible => "can't be resized on its node",
            ResizeResult::Refused => "may not be resized",
            ResizeResult::Failed => "could not be resized by its node",
            ResizeResult::Silent => "is not resized by its node",
            ResizeResult::MemoryKept => "keeps its memory",
            ResizeResult::Foreign => "is left to another actor",
            ResizeResult::Evicted => "is evicted",
            ResizeResult::Error => "is asked again later",
            ResizeResult::Unsupported | ResizeResult::NotAllowed => "can't be resized",
        };
        match &self.pod {
            Some(pod) => write!(f, "Pod {} {verb}", pod.name)?,
            None => write!(f, "No pod {verb}", verb = verb.replace("can't", "can"))?,
        }
        if self.message.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.message)
    }
}

/// What an object's status and metrics show of resizing.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The condition `Resized`. Its message does not change with every pod of a wave.
    pub condition: Condition,
    /// How many pods are in each state, in the order of [`PodState::ALL`].
    pub pods: [usize; PodState::ALL.len()],
}

impl Report {
    /// Pods in this state.
    pub fn count(&self, state: PodState) -> usize {
        let place = PodState::ALL.iter().position(|it| *it == state);
        place
            .and_then(|place| self.pods.get(place))
            .copied()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_words_of_their_own() {
        let mut states: Vec<_> = PodState::ALL.iter().map(|it| it.as_str()).collect();
        states.sort_unstable();
        states.dedup();
        assert_eq!(states.len(), PodState::ALL.len());
        let mut results: Vec<_> = ResizeResult::ALL.iter().map(|it| it.as_str()).collect();
        results.sort_unstable();
        results.dedup();
        assert_eq!(results.len(), ResizeResult::ALL.len());
    }

    #[test]
    fn a_decision_reads_as_a_sentence() {
        let pod = PodRef {
            name: "web-1".into(),
            uid: "u".into(),
        };
        let decision = |pod: Option<&PodRef>, result, message: &str| {
            Decision {
                pod: pod.cloned(),
                result,
                message: message.into(),
            }
            .to_string()
        };
        assert_eq!(
            decision(
                Some(&pod),
                ResizeResult::Asked,
                "app: cpu 500m -> 2 (prescale)"
            ),
            "Pod web-1 is resized: app: cpu 500m -> 2 (prescale)"
        );
        assert_eq!(
            decision(Some(&pod), ResizeResult::Restored, ""),
            "Pod web-1 has its own resources again"
        );
        assert_eq!(
            decision(
                None,
                ResizeResult::Unsupported,
                "this cluster has no pods/resize"
            ),
            "No pod can be resized: this cluster has no pods/resize"
        );
    }
}
