//! The resizing of one object's pods as a state machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::message::{PodRef, Refusal, ResizeEffect, ResizeEvent, ResizeOutcome};
use super::pod::Pod;
use super::policy::{Holding, Settings};
use super::record::{FlightKind, Record, Unknown};
use super::remembered::RefusedBy;
use super::report::{Decision, PodState, Report, ResizeResult};
use super::resources::{ResourceList, Sizes};
use crate::time::after;

/// How long a cluster without the subresource is left alone: it may be upgraded.
const UNSUPPORTED_FOR: SignedDuration = SignedDuration::from_hours(1);
/// How long nothing is asked that the operator may not do: somebody may grant it.
const NOT_ALLOWED_FOR: SignedDuration = SignedDuration::from_mins(1);
/// How long an object that ends waits for a cluster in which nothing can be resized, and for memory that is in use.
pub(super) const ENDED_PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// The resizing of the pods of one ScaledObject.
///
/// ```
/// use jiff::Timestamp;
/// use sakidori_engine::resize::{Holding, ResizeEffect, ResizeEvent, Resizing, Settings};
///
/// let mut resizing = Resizing::default();
/// let now = Timestamp::UNIX_EPOCH;
/// resizing.handle(now, ResizeEvent::Wanted(Settings::default()));
/// resizing.handle(now, ResizeEvent::Holding(Holding::default()));
/// let effects = resizing.handle(now, ResizeEvent::Listed(Vec::new()));
/// assert!(matches!(&effects[..], [ResizeEffect::Show(report)] if report.condition.reason == "NoPolicyHolds"));
/// assert_eq!(resizing.handle(now, ResizeEvent::Ended).last(), Some(&ResizeEffect::Finished));
/// ```
#[derive(Debug, Default)]
pub struct Resizing {
    pub(super) settings: Option<Settings>,
    pub(super) holding: Option<Holding>,
    pub(super) paused: bool,
    pub(super) listed: bool,
    pub(super) ended: Option<Timestamp>,
    pub(super) finished: bool,
    pub(super) gave_up: bool,
    pub(super) pods: BTreeMap<Arc<str>, Record>,
    pub(super) attempt: u64,
    /// Nothing is asked for now, but by one request that tries whether it is possible again.
    pub(super) stopped: Option<Stopped>,
    /// The API server wants to be left alone until then.
    pub(super) not_before: Option<Timestamp>,
    /// What was evicted in vain if pods that came later can't have it either, and since when.
    pub(super) evicted_for: Option<(Sizes, Timestamp)>,
    pub(super) shown: Option<Report>,
    pub(super) wake: Option<Timestamp>,
}

/// Why nothing is asked for.
#[derive(Clone, Debug)]
pub(super) struct Stopped {
    pub result: ResizeResult,
    pub message: String,
    pub until: Timestamp,
    /// It is said to be possible by now; one request is to show it, if there is any to make.
    pub lifted: bool,
}

impl Resizing {
    /// When `handle(.., ResizeEvent::Woke)` is to be called next, if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.wake.filter(|_| !self.finished)
    }

    /// All pods are back after [`ResizeEvent::Ended`].
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Nothing is asked for, but by one request that tries whether it is possible again: the cluster can't, or the operator may not.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Finished though pods may not be back: nothing could be resized, or nobody could list them.
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// The pods that are in this state.
    pub fn pods_in(&self, state: PodState) -> impl Iterator<Item = &Pod> {
        let records = self.pods.values().filter(move |record| {
            let verdict = record.verdict.as_ref();
            record.pod.is_live() && verdict.is_some_and(|verdict| verdict.state == state)
        });
        records.map(|record| &record.pod)
    }

    /// Takes in one event and says what is to be done, in this order.
    pub fn handle(&mut self, now: Timestamp, event: ResizeEvent) -> Vec<ResizeEffect> {
        self.handle_all(now, [event])
    }

    /// The same for several that have happened meanwhile: what follows is decided once, since that looks at every pod.
    pub fn handle_all(
        &mut self,
        now: Timestamp,
        events: impl IntoIterator<Item = ResizeEvent>,
    ) -> Vec<ResizeEffect> {
        let mut effects = Vec::new();
        for event in events {
            self.take_in(now, event, &mut effects);
        }
        if !self.finished {
            self.decide(now, &mut effects);
        }
        effects
    }

    fn take_in(&mut self, now: Timestamp, event: ResizeEvent, effects: &mut Vec<ResizeEffect>) {
        match event {
            ResizeEvent::Wanted(settings) => {
                (self.ended, self.finished, self.gave_up) = (None, false, false);
                if self.settings.as_ref() != Some(&settings) {
                    self.settings = Some(settings);
                    self.evicted_for = None;
                    self.judge_anew();
                }
            }
            ResizeEvent::Holding(holding) => {
                if self.holding.replace(holding) != Some(holding) {
                    self.judge_anew();
                }
            }
            ResizeEvent::Paused(paused) => self.paused = paused,
            ResizeEvent::Listed(pods) => self.list(pods),
            ResizeEvent::Seen(pod) => self.see(*pod),
            ResizeEvent::Gone { uid } => {
                let record = self.pods.remove(&uid);
                if let Some(record) = record
                    && let Some(FlightKind::Evict { why, .. }) = record.flight.map(|it| it.kind)
                {
                    // Its going overtook the answer.
                    effects.push(ResizeEffect::Tell(Decision {
                        pod: Some(PodRef::from(&record.pod)),
                        result: ResizeResult::Evicted,
                        message: why,
                    }));
                }
            }
            ResizeEvent::Answered {
                attempt,
                seen,
                outcome,
            } => {
                self.answered(now, attempt, seen, outcome, effects);
            }
            ResizeEvent::Foreseen(outcome) => {
                // What a request has shown already says more.
                let known = self.stopped.as_ref().filter(|it| !it.lifted);
                if known.is_none_or(|it| outcome.stops() != Some(it.result)) {
                    self.foresee(now, outcome, effects);
                }
            }
            ResizeEvent::Reconsider => {
                for record in self.pods.values_mut() {
                    record.reconsidered = true;
                }
                self.judge_anew();
            }
            ResizeEvent::Ended => {
                if self.ended.is_none() {
                    self.ended = Some(now);
                    // It is tried once more at once: this is the last chance.
                    if let Some(stopped) = &mut self.stopped {
                        stopped.until = now;
                    }
                    self.pods.values_mut().for_each(Record::give_last_chance);
                    self.judge_anew();
                }
            }
            ResizeEvent::Woke => {}
        }
    }

    pub(super) fn judge_anew(&mut self) {
        for record in self.pods.values_mut() {
            record.verdict = None;
        }
    }

    fn list(&mut self, pods: Vec<Pod>) {
        self.listed = true;
        let mut before = std::mem::take(&mut self.pods);
        for pod in pods {
            if let Some(record) = before.remove(&pod.uid) {
                self.pods.insert(pod.uid.clone(), record);
            }
            self.see(pod);
        }
    }

    pub(super) fn see(&mut self, pod: Pod) {
        match self.pods.get_mut(&pod.uid) {
            Some(record) => record.see(pod),
            None => {
                let mut record = Record::new(pod);
                record.reconsidered = self.ended.is_some();
                self.pods.insert(record.pod.uid.clone(), record);
            }
        }
    }

    /// Requests of the object's pods: on each node, and of all.
    pub(super) fn loads(&self) -> (BTreeMap<Arc<str>, ResourceList>, ResourceList) {
        let mut nodes: BTreeMap<Arc<str>, ResourceList> = BTreeMap::new();
        let mut all = ResourceList::default();
        for record in self.pods.values().filter(|it| it.pod.is_live()) {
            all = all.plus(&record.requested);
            if let Some(node) = &record.pod.node {
                let on_node = nodes.entry(node.clone()).or_default();
                *on_node = on_node.plus(&record.requested);
            }
        }
        (nodes, all)
    }

    fn answered(
        &mut self,
        now: Timestamp,
        attempt: u64,
        seen: Option<Box<Pod>>,
        outcome: ResizeOutcome,
        effects: &mut Vec<ResizeEffect>,
    ) {
        let beside_all = self.loads().1;
        let asked = self.pods.values_mut().find(|record| {
            record
                .flight
                .as_ref()
                .is_some_and(|it| it.attempt == attempt)
        });
        let Some(record) = asked else {
            // Its answer was given up, but what it shows of the pod is news.
            if let Some(pod) = seen.filter(|pod| self.pods.contains_key(&pod.uid)) {
                self.see(*pod);
            }
            return;
        };
        let Some(flight) = record.flight.take() else {
            return;
        };
        let was_unknown = record.unknown.is_some_and(|it| it.in_wave);
        // One of the same name is another pod.
        let gone = seen.as_ref().is_some_and(|pod| pod.uid != record.pod.uid);
        if let Some(pod) = seen.filter(|_| !gone) {
            record.see(*pod);
        }
        record.verdict = None;
        let asks = matches!(flight.kind, FlightKind::Ask { .. });
        let possible = match outcome {
            _ if gone => {
                let uid = record.pod.uid.clone();
                self.pods.remove(&uid);
                false
            }
            ResizeOutcome::Gone => {
                let uid = record.pod.uid.clone();
                self.pods.remove(&uid);
                false
            }
            ResizeOutcome::Done => {
                record.answered_well();
                match flight.kind {
                    FlightKind::Ask { target, remember } => {
                        (record.note, record.reconsidered) = (None, flight.outdated);
                        record.refused_beside = record.refused_beside.filter(|_| record.asked_home);
                        record.conflicts = 0;
                        if !record.asked_home && record.pod.sizes() == remember.before {
                            // A webhook made nothing of it.
                            record.undone = Some(target);
                        }
                    }
                    FlightKind::Remember => record.note = None,
                    FlightKind::Evict { why, .. } => {
                        record.evicted = Some(now);
                        effects.push(ResizeEffect::Tell(Decision {
                            pod: Some(PodRef::from(&record.pod)),
                            result: ResizeResult::Evicted,
                            message: why,
                        }));
                    }
                    FlightKind::Read => {}
                }
                asks
            }
            ResizeOutcome::Conflict => {
                // Somebody wrote in between: look first. Until then it may still count.
                record.unknown = Some(Unknown {
                    in_wave: flight.in_wave || was_unknown,
                });
                record.conflicts = record.conflicts.saturating_add(1);
                if record.conflicts > 1 {
                    // Whoever writes so often is not to be raced with.
                    record.back_off(now, None);
                }
                false
            }
            ResizeOutcome::Refused { why, message } => match flight.kind {
                FlightKind::Ask { .. } => {
                    let beside = beside_all.minus(&record.requested);
                    record.answered_well();
                    record.conflicts = 0;
                    let again = std::mem::take(&mut record.retrying) && why == Refusal::Admission;
                    record.note_refusal(flight.kind, why, &message, beside);
                    if again {
                        self.refuse_again();
                    }
                    true
                }
                FlightKind::Remember => {
                    if let Some(note) = &mut record.note {
                        note.unwritable = true;
                    }
                    record.back_off(now, None);
                    tell_error(record, ResizeResult::Error, message, effects);
                    false
                }
                FlightKind::Evict { .. } | FlightKind::Read => {
                    record.back_off(now, None);
                    tell_error(record, ResizeResult::Error, message, effects);
                    false
                }
            },
            ResizeOutcome::Failed {
                message,
                retry_after,
            } => {
                if let FlightKind::Evict { sizes, .. } = &flight.kind {
                    let of_this = (sizes.clone(), flight.sent);
                    self.evicted_for.take_if(|it| *it == of_this);
                }
                record.back_off(now, retry_after);
                if let Some(wait) = retry_after {
                    self.not_before = Some(after(now, wait));
                }
                if asks || was_unknown {
                    record.unknown = Some(Unknown {
                        in_wave: flight.in_wave || was_unknown,
                    });
                }
                tell_error(record, ResizeResult::Error, message, effects);
                false
            }
            ResizeOutcome::Unsupported | ResizeOutcome::NotAllowed { .. } if !asks => {
                let message = match outcome {
                    ResizeOutcome::NotAllowed { message } => message,
                    _ => "the API server does not know it".to_owned(),
                };
                // An API server that has just started knows no roles for a moment; the pod's place in its wave is not to wait longer for that.
                record.back_off(now, None);
                tell_error(record, ResizeResult::NotAllowed, message, effects);
                false
            }
            ResizeOutcome::Unsupported | ResizeOutcome::NotAllowed { .. } => {
                self.foresee(now, outcome, effects);
                false
            }
        };
        if possible && self.stopped.take().is_some() {
            self.judge_anew();
        }
    }

    /// What is to be expected of the next request, whichever pod it is for.
    fn foresee(&mut self, now: Timestamp, outcome: ResizeOutcome, effects: &mut Vec<ResizeEffect>) {
        match outcome {
            ResizeOutcome::Unsupported => {
                let message = "this cluster has no pods/resize, which comes with Kubernetes 1.33";
                self.stop(
                    now,
                    ResizeResult::Unsupported,
                    message,
                    UNSUPPORTED_FOR,
                    effects,
                );
            }
            ResizeOutcome::NotAllowed { message } => {
                self.stop(
                    now,
                    ResizeResult::NotAllowed,
                    &message,
                    NOT_ALLOWED_FOR,
                    effects,
                );
            }
            ResizeOutcome::Done => {
                if let Some(stopped) = &mut self.stopped {
                    (stopped.until, stopped.lifted) = (now, true);
                    self.judge_anew();
                }
            }
            // Of one pod, or of one moment.
            ResizeOutcome::Gone
            | ResizeOutcome::Conflict
            | ResizeOutcome::Refused { .. }
            | ResizeOutcome::Failed { .. } => {}
        }
    }

    /// One was refused again: what has changed since the others were refused makes no difference to them either.
    fn refuse_again(&mut self) {
        let all = self.loads().1;
        for record in self.pods.values_mut() {
            let refused = record.refused();
            if refused.is_some_and(|it| it.by == RefusedBy::Admission) {
                record.refused_beside = Some(all.minus(&record.requested));
                (record.reconsidered, record.verdict) = (false, None);
            }
        }
    }

    fn stop(
        &mut self,
        now: Timestamp,
        result: ResizeResult,
        message: &str,
        wait: SignedDuration,
        effects: &mut Vec<ResizeEffect>,
    ) {
        // The message may name another pod each time.
        if self.stopped.as_ref().is_none_or(|it| it.result != result) {
            effects.push(ResizeEffect::Tell(Decision {
                pod: None,
                result,
                message: message.to_owned(),
            }));
        }
        let wait = if self.ended.is_some() {
            NOT_ALLOWED_FOR
        } else {
            wait
        };
        self.stopped = Some(Stopped {
            result,
            message: message.to_owned(),
            until: after(now, wait),
            lifted: false,
        });
        self.judge_anew();
    }
}

/// The same error in a row is told once.
fn tell_error(
    record: &mut Record,
    result: ResizeResult,
    message: String,
    effects: &mut Vec<ResizeEffect>,
) {
    if record.error.as_ref() != Some(&message) {
        effects.push(ResizeEffect::Tell(Decision {
            pod: Some(PodRef::from(&record.pod)),
            result,
            message: message.clone(),
        }));
        record.error = Some(message);
    }
}
