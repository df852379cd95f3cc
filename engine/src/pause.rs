//! Pausing one object: nothing is polled, its HPA goes, and its target keeps the replicas it has, or is set once to those
//! that the pause asks for.
//!
//! KEDA: `handlePause`. There each look at a paused object (a restart, an edit) sets the target to the pause's number
//! again; here it is set once, so that what a person does to a paused target stays.

use crate::activation::ScaleRequest;
use crate::condition_reasons::{PAUSED, UNPAUSED};
use crate::conditions::{Condition, ConditionStatus, PAUSED_MESSAGE, UNPAUSED_MESSAGE};
use crate::effect::{EventType, ScaleDirection};
use crate::engine::Turn;
use crate::event::ScaleOutcome;
use crate::object::Pause;
use crate::reasons;
use crate::telling::publish;
use crate::tracked::Tracked;

impl Tracked {
    /// Takes in what the annotations switch now, before anything is prepared: a pause ends polling at once.
    pub(crate) fn follow_switches(&mut self, turn: &mut Turn<'_>) {
        let switches = self.wanted.switches;
        let conditions = &mut self.status.current.conditions;
        let was_paused = conditions.paused.status == ConditionStatus::True;
        if switches.shown_as_paused() {
            conditions.paused = Condition::paused();
            if !was_paused {
                publish(turn, EventType::Normal, PAUSED, PAUSED_MESSAGE.into());
            }
        } else if was_paused {
            conditions.paused = Condition::unpaused();
            publish(turn, EventType::Normal, UNPAUSED, UNPAUSED_MESSAGE.into());
        }
        if switches.pause.is_some() {
            if self.polled_as.take().is_some() {
                let message = reasons::SCALERS_STOPPED_MESSAGE.into();
                publish(turn, EventType::Normal, reasons::SCALERS_STOPPED, message);
            }
            self.pushes.clear();
            self.polling.outdate();
            self.polling.stop(turn);
            self.preparation.start_over();
        } else {
            self.status.current.paused_replicas = None;
        }
    }

    /// Whether this is all that has to be known of the target while the object is paused as it is wanted now.
    pub(crate) fn is_answered(&self, target_replicas: Option<i32>) -> bool {
        match self.wanted.switches.pause {
            Some(Pause::At(_)) => target_replicas.is_some(),
            Some(Pause::Whole) => true,
            None => false,
        }
    }

    /// The HPA is gone.
    pub(crate) fn pause_prepared(&mut self, turn: &mut Turn<'_>, target_replicas: Option<i32>) {
        self.preparation.failed = false;
        match (self.missing_hold(), target_replicas) {
            (Some(to), Some(from)) if from != to => self.scale(
                turn,
                ScaleRequest {
                    from,
                    to,
                    direction: ScaleDirection::HoldPaused,
                    reason: format!("paused at {to} replicas"),
                },
            ),
            _ => self.pause_done(turn),
        }
    }

    /// What became of setting the target to the pause's replicas. KEDA has no Event for it but that of a failed check.
    pub(crate) fn held(&mut self, turn: &mut Turn<'_>, outcome: ScaleOutcome) {
        match (self.missing_hold(), outcome) {
            // Unpaused meanwhile: a poll may have been told the replicas of before.
            (None, _) => {
                if self.polled_as.is_some() {
                    self.polling.poll_after_conflict(turn, self.interval());
                }
            }
            (Some(wanted), ScaleOutcome::Done { to, .. }) if to == wanted => self.pause_done(turn),
            (Some(_), ScaleOutcome::Failed { message, .. }) if !self.preparation.is_under_way() => {
                self.prepare_failed(
                    turn,
                    format!("{}: {message}", reasons::PAUSE_REPLICAS_FAILED),
                    false,
                );
            }
            // Another number is wanted by now, or somebody else changed the target: look again.
            (Some(_), _) => self.prepare(turn),
        }
    }

    /// The replicas that the pause asks for, until the target was set to them.
    pub(crate) fn missing_hold(&self) -> Option<i32> {
        match self.wanted.switches.pause {
            Some(Pause::At(replicas)) if self.status.current.paused_replicas != Some(replicas) => {
                Some(replicas)
            }
            _ => None,
        }
    }

    fn pause_done(&mut self, turn: &mut Turn<'_>) {
        self.status.current.paused_replicas = match self.wanted.switches.pause {
            Some(Pause::At(replicas)) => Some(replicas),
            _ => None,
        };
        self.preparation.backoff.reset();
        self.preparation.complaint = None;
        let was_ready = self.is_ready();
        self.status.current.conditions.ready = Condition::ready_while_paused();
        self.tell_ready(turn, was_ready);
        self.status.release();
        // A CapacityBuffer that a restart finds goes with the rest.
        self.prescale(turn);
    }
}
