//! What judging a pod takes, and what it comes to.

use jiff::Timestamp;

use super::policy::{Holding, Settings};
use super::remembered::{RefusedBy, Remembered};
use super::report::PodState;
use super::resources::{ResourceList, Sizes};

/// What judging a pod takes beside the pod.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub now: Timestamp,
    pub settings: &'a Settings,
    pub holding: Holding,
    /// All pods go back.
    pub ended: bool,
    /// The pod was Ready at some time.
    pub was_ready: bool,
    /// What was refused may be asked for again.
    pub reconsidered: bool,
    /// What another actor has taken back.
    pub undone: Option<&'a Sizes>,
    /// What the object's other pods on its node request.
    pub beside_on_node: ResourceList,
    /// What the others requested when admission refused one of them again, after this one was refused.
    pub refused_beside: Option<ResourceList>,
    /// What all the object's other pods request.
    pub beside: ResourceList,
}

/// What a pod is in, and what is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub state: PodState,
    /// What the state is due to, where it is none that was wished for.
    pub message: String,
    /// It is under way as one of a wave.
    pub in_wave: bool,
    pub todo: Option<Todo>,
    /// When it may be judged otherwise without anything happening.
    pub wake: Option<Timestamp>,
    /// What policies ask for in vain, in words.
    pub skipped: Vec<String>,
    /// It is to have its own resources.
    pub homeward: bool,
    /// It stays so for as long as the pod lives.
    pub for_good: bool,
    /// It is resized apart from the waves, as it starts.
    pub apart: bool,
}

#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for a pod that has something to do"
)]
pub(super) enum Todo {
    Ask(Box<Asking>),
    Remember(Option<Remembered>),
    /// These resources are more than its node will ever have.
    Evict(Sizes),
}

/// What a pod is to be asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asking {
    pub sizes: Sizes,
    /// What policies make of it, which may be more.
    pub target: Sizes,
    pub remember: Remembered,
    /// The next wave with room takes it.
    pub in_wave: bool,
    /// It requests no more of anything than it does.
    pub homeward: bool,
    pub why: String,
}

impl Verdict {
    /// A pod that waits to be taken back, as its node has no room: what is noted with that is what the others request when it is asked.
    pub(super) fn is_outdated(&self, situation: &Situation<'_>) -> bool {
        let Some(Todo::Ask(asking)) = &self.todo else {
            return false;
        };
        let refused = asking.remember.refused.as_ref();
        refused.is_some_and(|it| it.by == RefusedBy::Room && it.beside != situation.beside_on_node)
    }

    pub(super) fn of(state: PodState, message: impl Into<String>) -> Self {
        Self {
            state,
            message: message.into(),
            in_wave: false,
            todo: None,
            wake: None,
            skipped: Vec::new(),
            homeward: false,
            for_good: false,
            apart: false,
        }
    }
}
