//! The pods of one workload while they are resized: the engine's state machine with what it is told by.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use sakidori_api::ScaleTargetRef;
use sakidori_engine::ObjectKey;
use sakidori_engine::resize::{
    Holding, PodRef, PodState, Report, ResizeEffect, ResizeEvent, Resizing, Settings,
};
use tokio_util::task::AbortOnDropHandle;

use super::room::Room;
use super::tell::Telling;

/// Names a workload among all that there ever are, so that an answer never reaches another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadId {
    pub key: ObjectKey,
    pub number: u64,
}

/// States of pods in which something outside of them may make a difference.
const IN_TROUBLE: [PodState; 4] = [
    PodState::Refused,
    PodState::Infeasible,
    PodState::Deferred,
    PodState::MemoryKept,
];

/// What a ScaledObject resizes, or has resized and is putting back.
pub struct Workload {
    /// The ScaledObject's.
    pub uid: String,
    pub target: ScaleTargetRef,
    pub object: ObjectReference,
    pub resizing: Resizing,
    /// It is resized for its object, rather than put back for the last time.
    pub wanted: bool,
    /// Why its policies can't be understood; the last ones that could hold on.
    pub invalid: Option<String>,
    has_policies: bool,
    /// The object is paused.
    paused: bool,
    holding: KnownHolding,
    /// Follows its pods, once the object has its finalizer.
    pub following: Option<AbortOnDropHandle<()>>,
    /// What there was room for when it was last looked at.
    pub room: Option<Room>,
    /// Looks for room while pods are refused.
    pub looking: Option<AbortOnDropHandle<()>>,
    pub report: Option<Report>,
    pub telling: Telling,
    /// In the agenda.
    pub planned: Option<Timestamp>,
}

/// What is known of what holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct KnownHolding {
    /// `None` until the engine has told of the object's sales, and again while it is paused.
    sale: Option<bool>,
    saturated: bool,
    sent: Option<Holding>,
}

impl Workload {
    pub fn new(uid: String, target: ScaleTargetRef, object: ObjectReference) -> Self {
        Self {
            uid,
            target,
            object,
            resizing: Resizing::default(),
            wanted: true,
            invalid: None,
            has_policies: false,
            paused: false,
            holding: KnownHolding::default(),
            following: None,
            looking: None,
            room: None,
            report: None,
            telling: Telling::default(),
            planned: None,
        }
    }

    pub fn handle(&mut self, now: Timestamp, event: ResizeEvent) -> Vec<ResizeEffect> {
        self.resizing.handle(now, event)
    }

    /// Its pods are resized by these policies.
    pub fn want(&mut self, now: Timestamp, settings: Settings) -> Vec<ResizeEffect> {
        (self.wanted, self.has_policies, self.invalid) = (true, true, None);
        self.handle(now, ResizeEvent::Wanted(settings))
    }

    /// Its pods go back for the last time.
    pub fn end(&mut self, now: Timestamp) -> Vec<ResizeEffect> {
        (self.wanted, self.invalid) = (false, None);
        let mut effects = Vec::new();
        if !std::mem::replace(&mut self.has_policies, true) {
            // A process before this one knew them.
            effects = self.handle(now, ResizeEvent::Wanted(Settings::default()));
        }
        effects.extend(self.handle(now, ResizeEvent::Ended));
        effects
    }

    pub fn pause(&mut self, now: Timestamp, paused: bool) -> Vec<ResizeEffect> {
        self.paused = paused;
        self.tell_paused(now)
    }

    pub fn sale(&mut self, now: Timestamp, holds: Option<bool>) -> Vec<ResizeEffect> {
        self.holding.sale = holds;
        let mut effects = self.tell_holding(now);
        effects.extend(self.tell_paused(now));
        effects
    }

    pub fn saturated(&mut self, now: Timestamp, saturated: bool) -> Vec<ResizeEffect> {
        self.holding.saturated = saturated;
        self.tell_holding(now)
    }

    /// After a pause, what held before it is not carried out before it is known what holds now.
    fn tell_paused(&mut self, now: Timestamp) -> Vec<ResizeEffect> {
        let is_open = self.holding.sale.is_none() && self.holding.sent.is_some();
        self.handle(now, ResizeEvent::Paused(self.paused || is_open))
    }

    /// Nothing is told before it is known whether a sale holds: a restart within one would take pods back.
    fn tell_holding(&mut self, now: Timestamp) -> Vec<ResizeEffect> {
        let Some(prescale) = self.holding.sale else {
            return Vec::new();
        };
        let holding = Holding {
            prescale,
            saturated: self.holding.saturated,
        };
        if self.holding.sent.replace(holding) == Some(holding) {
            return Vec::new();
        }
        self.handle(now, ResizeEvent::Holding(holding))
    }

    /// Pods are refused what something else may make room for.
    pub fn is_in_trouble(&self) -> bool {
        let report = self.report.as_ref();
        report.is_some_and(|report| IN_TROUBLE.iter().any(|state| report.count(*state) > 0))
    }

    /// Nodes of pods that have no room there.
    pub fn small_nodes(&self) -> Vec<String> {
        let pods = self.resizing.pods_in(PodState::Infeasible);
        let mut nodes: Vec<String> = pods
            .filter_map(|pod| pod.node.as_deref().map(str::to_owned))
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Pods whose memory is kept since it is in use.
    pub fn memory_kept(&self) -> Vec<PodRef> {
        let pods = self.resizing.pods_in(PodState::MemoryKept);
        pods.map(PodRef::from).collect()
    }
}
