//! The pods of one workload while they are resized: the engine's state machine with what it is told by.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use sakidori_api::ScaleTargetRef;
use sakidori_engine::resize::{
    Holding, Memory, Pod, PodRef, PodState, Report, ResizeEffect, ResizeEvent, Resizing, Settings,
};
use sakidori_engine::{Condition, ObjectKey};
use tokio_util::task::AbortOnDropHandle;

use super::room::{Nodes, Room};
use super::tell::{self, Telling};
use crate::hpa_index::Saturation;

/// Names a workload among all that there ever are, so that an answer never reaches another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadId {
    pub key: ObjectKey,
    pub number: u64,
}

/// A condition that says the same with other numbers is written so often at most.
const SHOWN_EVERY: SignedDuration = SignedDuration::from_secs(5);
/// Pods whose memory is looked at in one go.
const MOST_LOOKS: usize = 50;
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
    /// Looks up whether its pods can be resized at all.
    pub foreseeing: Option<AbortOnDropHandle<()>>,
    /// So often in a row a request has shown that they can't.
    pub stops: u32,
    /// What there was room for when it was last looked at.
    pub room: Option<Room>,
    /// So many of those were looked at whose memory is in use.
    looked_at: usize,
    /// Looks for room while pods are refused.
    pub looking: Option<AbortOnDropHandle<()>>,
    pub report: Option<Report>,
    pub telling: Telling,
    /// The condition as it was last shown, and when.
    shown: Option<(Timestamp, Condition)>,
    /// It is another one by now.
    unshown: bool,
    /// In the agenda.
    pub planned: Option<Timestamp>,
}

/// What is known of what holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct KnownHolding {
    /// `None` until the engine has told of the object's sales, and again while it is paused.
    sale: Option<bool>,
    saturated: bool,
    /// The HPA doesn't want too much any more, which counts from then on.
    lingers_until: Option<Timestamp>,
    sent: Option<Holding>,
}

fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.saturating_add(time).unwrap_or(at)
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
            foreseeing: None,
            stops: 0,
            looking: None,
            room: None,
            looked_at: 0,
            report: None,
            telling: Telling::default(),
            shown: None,
            unshown: false,
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

    /// What the HPA says of its maximum. Pods get smaller no sooner than the HPA would have fewer of them.
    pub fn saturated(&mut self, now: Timestamp, saturation: Saturation) -> Vec<ResizeEffect> {
        let holding = &mut self.holding;
        match saturation.now {
            true => (holding.saturated, holding.lingers_until) = (true, None),
            false if holding.saturated && holding.lingers_until.is_none() => {
                let until = now.saturating_add(saturation.lingers);
                holding.lingers_until = Some(until.unwrap_or(now));
            }
            false => {}
        }
        self.woke(now)
    }

    /// Time has passed.
    pub fn woke(&mut self, now: Timestamp) -> Vec<ResizeEffect> {
        let holding = &mut self.holding;
        if holding.lingers_until.is_some_and(|until| until <= now) {
            (holding.saturated, holding.lingers_until) = (false, None);
        }
        let mut effects = self.tell_holding(now);
        effects.extend(self.handle(now, ResizeEvent::Woke));
        effects
    }

    /// The condition, if it is to be shown now. Where it turns that is at once; numbers in its message change with each pod, and are shown
    /// now and then.
    pub fn take_unshown(&mut self, now: Timestamp) -> Option<Condition> {
        let report = self.report.as_ref()?;
        let condition = tell::condition(report, self.invalid.as_deref());
        let soon = self.shown.as_ref().is_some_and(|(at, before)| {
            let same = before.reason == condition.reason && before.status == condition.status;
            same && now < after(*at, SHOWN_EVERY)
        });
        let same = self
            .shown
            .as_ref()
            .is_some_and(|(_, before)| *before == condition);
        self.unshown = soon && !same;
        if soon || same {
            return None;
        }
        self.shown = Some((now, condition.clone()));
        Some(condition)
    }

    /// When `woke` is to be called, if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let shown = self.shown.as_ref().filter(|_| self.unshown);
        let show = shown.map(|(at, _)| after(*at, SHOWN_EVERY));
        let due = self.resizing.next_wakeup().into_iter();
        due.chain(self.holding.lingers_until).chain(show).min()
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

    /// The nodes on which pods were refused.
    pub fn nodes(&self) -> Nodes {
        let node = |pod: &Pod| pod.node.as_deref().map(str::to_owned);
        let infeasible = self.resizing.pods_in(PodState::Infeasible);
        // Those that wait still are taken on by their kubelets as soon as there is room.
        let deferred = self.resizing.pods_in(PodState::Deferred);
        let taken_back = deferred.filter(|pod| pod.pending.is_none());
        Nodes {
            too_small: infeasible.filter_map(node).collect(),
            full: taken_back.filter_map(node).collect(),
        }
    }

    /// Pods whose memory is kept since somebody told that it is in use, a part of them at a time. What a node or the API server refused to
    /// lower is asked for again when its time comes.
    pub fn memory_in_use(&mut self) -> Vec<PodRef> {
        let in_use = |pod: &&Pod| match &pod.memory {
            Memory::Known(remembered) => remembered.memory_kept.is_none(),
            Memory::Nothing | Memory::Unreadable => true,
        };
        let pods = self.resizing.pods_in(PodState::MemoryKept).filter(in_use);
        let mut pods: Vec<_> = pods.map(PodRef::from).collect();
        let from = self.looked_at;
        self.looked_at = match from + MOST_LOOKS < pods.len() {
            true => from + MOST_LOOKS,
            false => 0,
        };
        pods.drain(..from.min(pods.len()));
        pods.truncate(MOST_LOOKS);
        pods
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn saturation_lingers_as_long_as_the_hpa_would_keep_its_replicas() {
        let says = |now| Saturation {
            now,
            lingers: Duration::from_secs(40),
        };
        let target = ScaleTargetRef::default();
        let mut workload = Workload::new("u1".into(), target, ObjectReference::default());
        workload.want(at(0), Settings::default());
        workload.sale(at(0), Some(false));
        let mut sent = |second: i64, saturation: Option<Saturation>| {
            match saturation {
                Some(saturation) => workload.saturated(at(second), saturation),
                None => workload.woke(at(second)),
            };
            let next = workload.next_wakeup().map(Timestamp::as_second);
            (workload.holding.sent.unwrap().saturated, next)
        };
        assert_eq!(sent(1, Some(says(false))), (false, None));
        assert_eq!(sent(2, Some(says(true))), (true, None));
        assert_eq!(sent(10, Some(says(false))), (true, Some(50)));
        // It wants too much again, and then not.
        assert_eq!(sent(20, Some(says(true))), (true, None));
        assert_eq!(sent(30, Some(says(false))), (true, Some(70)));
        assert_eq!(sent(40, Some(says(false))), (true, Some(70)));
        assert_eq!(sent(70, None), (false, None));
    }

    #[test]
    fn numbers_in_the_condition_are_shown_now_and_then_and_its_turns_at_once() {
        let target = ScaleTargetRef::default();
        let mut workload = Workload::new("u1".into(), target, ObjectReference::default());
        let mut shown = |second: i64, reason: &str, message: &str| {
            workload.report = Some(Report {
                condition: Condition {
                    reason: reason.into(),
                    message: message.into(),
                    ..Condition::default()
                },
                pods: [0; PodState::ALL.len()],
            });
            let shown = workload.take_unshown(at(second)).is_some();
            (shown, workload.next_wakeup().map(Timestamp::as_second))
        };
        assert_eq!(shown(0, "Refused", "2"), (true, None));
        assert_eq!(shown(1, "Refused", "2"), (false, None));
        assert_eq!(shown(2, "Refused", "3"), (false, Some(5)));
        assert_eq!(shown(3, "Resizing", "3"), (true, None));
        assert_eq!(shown(4, "Resizing", "4"), (false, Some(8)));
        assert_eq!(shown(8, "Resizing", "4"), (true, None));
    }
}
