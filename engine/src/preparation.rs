//! Preparing one object: resolving what it refers to, building its scalers, applying its HPA. One preparation is
//! under way at a time; it is repeated when something changes, and tried again, ever more slowly, when it fails.

use jiff::SignedDuration;

use crate::agenda::{Task, Ticket};
use crate::backoff::{self, Backoff};
use crate::conditions::{Condition, ConditionStatus};
use crate::effect::{Effect, EventType};
use crate::engine::Turn;
use crate::event::PrepareOutcome;
use crate::reasons;
use crate::telling::publish;
use crate::time::{after, share};
use crate::tracked::{ANSWER_OVERDUE, Tracked};

/// How long the status of a new object waits for the first poll's answer.
const FIRST_POLL_PATIENCE: SignedDuration = SignedDuration::from_secs(2);
/// First polls after a restart are spread over time: this much for each object that there is, so 200 a second. Fifty objects are polled
/// in a quarter of a second, when a new leader has to be quick, and thousands don't fall upon their sources.
const SPREAD_EACH: SignedDuration = SignedDuration::from_millis(5);
/// At most over the polling interval, and over this.
const LONGEST_SPREAD: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Preparation {
    /// Some while preparing is under way (when its answer is overdue) or to be tried again (when).
    planned: Option<Ticket>,
    under_way: bool,
    /// Something changed while it was under way.
    again: bool,
    /// It never succeeded in this life of the engine.
    first: bool,
    /// The status shows that it succeeded before this life of the engine.
    seen_before: bool,
    /// It failed the last time: nothing is scaled in.
    pub(crate) failed: bool,
    /// What keeps Ready at False: the failure, or the problems of a success.
    pub(crate) complaint: Option<String>,
    pub(crate) backoff: Backoff,
}

impl Preparation {
    /// Nothing is prepared yet. `seen_before` and `complaint` are what the object's status says.
    pub(crate) fn new(seen_before: bool, complaint: Option<String>) -> Self {
        Self {
            first: true,
            seen_before,
            complaint,
            ..Self::default()
        }
    }

    /// The object is paused: once it is not any more, it starts as one that was never seen, with a poll at once.
    pub(crate) fn start_over(&mut self) {
        self.first = true;
        self.seen_before = false;
    }

    /// It never succeeded in this life of the engine.
    pub(crate) fn is_first(&self) -> bool {
        self.first
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// What comes next, or is under way, does not count: prepare once more.
    pub(crate) fn repeat(&mut self) {
        self.again = true;
    }

    /// Takes it off the agenda.
    pub(crate) fn stop(&mut self, turn: &mut Turn<'_>) {
        if let Some(ticket) = self.planned.take() {
            turn.agenda.cancel(ticket);
        }
    }
}

impl Tracked {
    /// Prepares now, or once more after the preparation that is under way.
    pub(crate) fn prepare(&mut self, turn: &mut Turn<'_>) {
        if self.preparation.under_way {
            self.preparation.again = true;
            return;
        }
        self.preparation.under_way = true;
        self.preparation.again = false;
        self.plan_preparation(turn, ANSWER_OVERDUE);
        turn.effects.push(Effect::Prepare {
            key: turn.key.clone(),
            generation: self.wanted.generation,
        });
    }

    /// It is to be tried again, or its answer is overdue.
    pub(crate) fn preparation_due(&mut self, turn: &mut Turn<'_>) {
        self.preparation.planned = None;
        self.preparation.under_way = false;
        self.prepare(turn);
    }

    fn plan_preparation(&mut self, turn: &mut Turn<'_>, wait: SignedDuration) {
        let ticket = turn
            .agenda
            .add(after(turn.now, wait), Task::Prepare, turn.key);
        if let Some(old) = self.preparation.planned.replace(ticket) {
            turn.agenda.cancel(old);
        }
    }

    pub(crate) fn prepared(
        &mut self,
        turn: &mut Turn<'_>,
        generation: i64,
        outcome: PrepareOutcome,
    ) {
        let outdated = generation != self.wanted.generation;
        if outdated && !self.preparation.again {
            // Of an object of the same name that is gone: this one's answer is still to come.
            return;
        }
        self.preparation.under_way = false;
        self.preparation.stop(turn);
        if !outdated {
            if self.wanted.fallback.is_none() {
                self.status.current.conditions.fallback = Condition::no_fallback();
            }
            match outcome {
                PrepareOutcome::Done {
                    target_replicas,
                    problems,
                    metrics,
                } if self.wanted.switches.pause.is_none() => {
                    self.metrics = metrics;
                    self.prepare_done(turn, target_replicas, problems)
                }
                // What was read before a change may be older than the pause that is wanted now.
                PrepareOutcome::Paused { target_replicas }
                    if self.is_answered(target_replicas) && !self.preparation.again =>
                {
                    self.pause_prepared(turn, target_replicas)
                }
                // It was paused, or the pause taken away, while it was prepared.
                PrepareOutcome::Done { .. } | PrepareOutcome::Paused { .. } => {
                    self.preparation.repeat();
                }
                PrepareOutcome::Failed { message, pollable } => {
                    self.prepare_failed(turn, message, pollable)
                }
            }
        }
        if self.preparation.again {
            self.prepare(turn);
        }
    }

    fn prepare_done(&mut self, turn: &mut Turn<'_>, target_replicas: i32, problems: Vec<String>) {
        self.preparation.failed = false;
        self.preparation.backoff.reset();
        let was_ready = self.is_ready();
        if problems.is_empty() {
            self.preparation.complaint = None;
            if self.status.current.conditions.ready.waits_for_preparation() {
                self.status.current.conditions.ready = Condition::ready();
            }
        } else {
            self.complain(turn, joined(problems));
        }
        let first = std::mem::take(&mut self.preparation.first);
        if first && !self.preparation.seen_before {
            publish(
                turn,
                EventType::Normal,
                reasons::SCALERS_STARTED,
                reasons::SCALERS_STARTED_MESSAGE.into(),
            );
        }
        self.tell_ready(turn, was_ready);

        self.poll_as_wanted(turn);
        self.status.hold_for_first_poll();
        if self.sales.is_known() {
            // A ramp that has begun may wait for it: the first poll after a restart takes its time.
            self.sales.saw(turn.now, target_replicas);
            self.prescale(turn);
        }
        // A sale that runs does not wait for the first polls' spread to come up from zero.
        let urgent = target_replicas == 0 && self.sales.is_active();
        let restarted = first && self.preparation.seen_before && !urgent;
        if restarted {
            self.polling.plan(
                turn,
                after(turn.now, self.spread(turn.objects, target_replicas)),
            );
        } else {
            self.polling.poll_now(turn, self.interval());
            self.plan_status(turn, after(turn.now, FIRST_POLL_PATIENCE));
        }
    }

    pub(crate) fn prepare_failed(&mut self, turn: &mut Turn<'_>, message: String, pollable: bool) {
        let pollable = pollable && self.wanted.switches.pause.is_none();
        if !std::mem::replace(&mut self.preparation.failed, true) || !pollable {
            self.status.current.conditions.active = Condition::activity_unknown();
        }
        self.complain(turn, message);
        let wait = self.preparation.backoff.next(&self.wanted.uid);
        self.plan_preparation(turn, wait);
        if pollable {
            self.poll_as_wanted(turn);
            if !self.polling.is_planned() {
                self.polling.poll_now(turn, self.interval());
            }
        } else {
            self.polled_as = None;
            self.polling.outdate();
            self.polling.stop(turn);
        }
        self.status.release();
        self.flush(turn);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.status.current.conditions.ready.status == ConditionStatus::True
    }

    /// Tells that the object became ready.
    pub(crate) fn tell_ready(&self, turn: &mut Turn<'_>, was_ready: bool) {
        if !was_ready && self.is_ready() {
            publish(
                turn,
                EventType::Normal,
                reasons::SCALED_OBJECT_READY,
                reasons::SCALED_OBJECT_READY_MESSAGE.into(),
            );
        }
    }

    /// From now on polls are about the object as it is wanted; those under way are about the object as it was.
    fn poll_as_wanted(&mut self, turn: &mut Turn<'_>) {
        if !self.preparation.failed || self.polled_as.as_ref() != Some(&self.wanted) {
            self.polling.outdate();
        }
        if self
            .polled_as
            .as_ref()
            .is_some_and(|old| old.polling_interval != self.wanted.polling_interval)
        {
            self.polling.stop(turn);
        }
        self.polled_as = Some(self.wanted.clone());
    }

    /// Keeps Ready at False with `message`, and tells it once.
    fn complain(&mut self, turn: &mut Turn<'_>, message: String) {
        self.status.current.conditions.ready = Condition::check_failed(message.clone());
        if self.preparation.complaint.as_ref() != Some(&message) {
            let reason = reasons::SCALED_OBJECT_CHECK_FAILED;
            publish(turn, EventType::Warning, reason, message.clone());
            self.preparation.complaint = Some(message);
        }
    }

    /// How long the first poll after a restart waits: objects at zero replicas, which nobody but the engine scales,
    /// come in the first fifth.
    fn spread(&self, objects: usize, target_replicas: i32) -> SignedDuration {
        let objects = i32::try_from(objects).unwrap_or(i32::MAX);
        let window = SPREAD_EACH.saturating_mul(objects);
        let window = window.min(self.interval()).min(LONGEST_SPREAD);
        let thousandth = backoff::hash(&self.wanted.uid, 0) % 1000;
        if target_replicas == 0 {
            share(window, thousandth, 5000)
        } else {
            share(window, 1000 + thousandth * 4, 5000)
        }
    }
}

/// All problems in their order, each once.
fn joined(problems: Vec<String>) -> String {
    let mut distinct: Vec<String> = Vec::with_capacity(problems.len());
    for problem in problems {
        if !distinct.contains(&problem) {
            distinct.push(problem);
        }
    }
    distinct.join("; ")
}
