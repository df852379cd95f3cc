//! What people are told of one object: Events, which are logged too, and what only the log tells.

use crate::activation;
use crate::conditions::{Condition, ConditionStatus};
use crate::cooldown;
use crate::effect::{Effect, EventType, ScaleDirection, Scaled, Told};
use crate::engine::Turn;
use crate::event::{ScaleOutcome, TriggerOutcome};
use crate::modifiers::COMPOSITE_METRIC;
use crate::reasons;
use crate::spell::Spell;
use crate::tracked::{Scaling, Tracked};

/// What fails and was told.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    /// Of each trigger, and of the formula behind them.
    triggers: Vec<Spell>,
    reading_replicas: Spell,
    writing_replicas: Spell,
}

impl Tracked {
    /// Tells a failure when it begins and when its message changes, but not at every poll, and that it is over: of each trigger, and
    /// of a formula while no trigger fails.
    pub(crate) fn tell_failures(
        &mut self,
        turn: &mut Turn<'_>,
        triggers: &[TriggerOutcome],
        composite: Option<&String>,
    ) {
        let mut failures: Vec<Option<String>> = triggers.iter().map(activation::failure).collect();
        let formula = composite.filter(|_| failures.iter().all(Option::is_none));
        failures.push(formula.map(|problem| format!("{COMPOSITE_METRIC}: {problem}")));
        // KEDA's two words for it.
        let reason = match self.wanted.modifiers {
            Some(_) => "KEDAMetricSourceFailed",
            None => reasons::SCALER_FAILED,
        };
        self.failing
            .triggers
            .resize(failures.len(), Spell::default());
        for (index, failure) in failures.into_iter().enumerate() {
            let spell = &mut self.failing.triggers[index];
            match failure {
                Some(message) => {
                    if spell.fails(turn.now, &message) {
                        publish(turn, EventType::Warning, reason, message);
                    }
                }
                None => {
                    if spell.works() {
                        let message = format!("{} works again", self.name_of(index));
                        log(turn, EventType::Normal, reasons::TRIGGER_RECOVERED, message);
                    }
                }
            }
        }
    }

    /// A trigger by its place and metrics; what comes behind the last of them is the formula.
    fn name_of(&self, index: usize) -> String {
        match self.metrics.get(index) {
            Some(metrics) => {
                let names: Vec<_> = metrics.iter().map(|one| one.metric.as_str()).collect();
                format!("trigger {index} ({})", names.join(", "))
            }
            None => COMPOSITE_METRIC.to_owned(),
        }
    }

    /// Tells that the target's replicas can't be read, and that they can be again.
    pub(crate) fn tell_replicas(&mut self, turn: &mut Turn<'_>, replicas: &Result<i32, String>) {
        match replicas {
            Err(error) => {
                if self.failing.reading_replicas.fails(turn.now, error) {
                    let message = Condition::replicas_unknown(error).message;
                    let reason = reasons::REPLICAS_UNKNOWN;
                    log(turn, EventType::Warning, reason, message);
                }
            }
            Ok(_) => {
                if self.failing.reading_replicas.works() {
                    let message = "The target's replicas can be read again".to_owned();
                    let reason = reasons::REPLICAS_KNOWN_AGAIN;
                    log(turn, EventType::Normal, reason, message);
                }
            }
        }
    }

    /// Shows and tells whether some metric has fallen back.
    pub(crate) fn tell_fallback(&mut self, turn: &mut Turn<'_>) {
        let Some(fallback) = self
            .polled_as
            .as_ref()
            .and_then(|object| object.fallback.as_ref())
        else {
            self.health.clear();
            self.status.current.health.clear();
            return;
        };
        self.status.current.health = self.health.shown();
        let condition = &mut self.status.current.conditions.fallback;
        let was_falling_back = condition.status == ConditionStatus::True;
        let falls_back = self.health.exceeds(fallback.failure_threshold);
        *condition = if falls_back {
            Condition::falling_back()
        } else {
            Condition::no_fallback()
        };
        if falls_back && !was_falling_back {
            let message = "ScaledObject fallback is active".into();
            publish(
                turn,
                EventType::Normal,
                reasons::FALLBACK_ACTIVATED,
                message,
            );
        } else if was_falling_back && !falls_back {
            let message = "ScaledObject fallback is no longer active".into();
            publish(
                turn,
                EventType::Normal,
                "ScaledObjectFallbackDeactivated",
                message,
            );
        }
    }

    /// Tells what became of a write of replicas.
    pub(crate) fn tell_scaled(
        &mut self,
        turn: &mut Turn<'_>,
        outcome: ScaleOutcome,
        scaling: Scaling,
    ) {
        use ScaleDirection::{Activate, Deactivate, HoldPaused, RaiseToMinimum};
        let namespace = &turn.key.namespace;
        let target = format!(
            "{} {namespace}/{}",
            self.wanted.target_kind, self.wanted.target_name
        );
        let Scaling {
            direction,
            reason: cause,
            ..
        } = scaling;
        let (from, to, failure) = match outcome {
            ScaleOutcome::Conflict => {
                if direction != HoldPaused && self.polled_as.is_some() {
                    self.polling.poll_after_conflict(turn, self.interval());
                }
                return;
            }
            // The complaint about the pause tells it.
            ScaleOutcome::Failed { .. } if direction == HoldPaused => return,
            ScaleOutcome::Failed { from, to, message } => (from, to, Some(message)),
            ScaleOutcome::Done { from, to } => (from, to, None),
        };
        let change = format!("{target} from {from} to {to}");
        let (kind, reason, message) = match (&failure, direction) {
            (None, Deactivate) => (
                EventType::Normal,
                "KEDAScaleTargetDeactivated",
                format!("Deactivated {change}"),
            ),
            (None, Activate) => {
                self.status.current.last_active_time = Some(cooldown::whole_second(turn.now));
                (
                    EventType::Normal,
                    "KEDAScaleTargetActivated",
                    format!("Scaled {change}, {cause}"),
                )
            }
            (None, RaiseToMinimum) => (
                EventType::Normal,
                reasons::RAISED_TO_MINIMUM,
                format!("Scaled {change}, {cause}"),
            ),
            (None, HoldPaused) => (
                EventType::Normal,
                reasons::SET_TO_PAUSED_REPLICAS,
                format!("Scaled {change}, {cause}"),
            ),
            (Some(error), Deactivate) => (
                EventType::Warning,
                "KEDAScaleTargetDeactivationFailed",
                format!("Failed to deactivate {change}: {error}"),
            ),
            (Some(error), _) => (
                EventType::Warning,
                "KEDAScaleTargetActivationFailed",
                format!("Failed to scale {change}: {error}"),
            ),
        };
        match &failure {
            // Each poll tries again, and would tell it again.
            Some(_) => {
                if !self.failing.writing_replicas.fails(turn.now, &message) {
                    return;
                }
            }
            // That the writes work again is told by this one.
            None => drop(self.failing.writing_replicas.works()),
        }
        let told = Told {
            kind,
            reason,
            message,
            scaled: Some(Scaled { from, to, cause }),
        };
        let key = turn.key.clone();
        // KEDA has no Event for the other two.
        turn.effects.push(match direction {
            RaiseToMinimum | HoldPaused if failure.is_none() => Effect::Log { key, told },
            _ => Effect::Publish { key, told },
        });
    }
}

/// Publishes an Event, and logs it.
pub(crate) fn publish(turn: &mut Turn<'_>, kind: EventType, reason: &'static str, message: String) {
    let key = turn.key.clone();
    let told = told(kind, reason, message);
    turn.effects.push(Effect::Publish { key, told });
}

/// Logs what KEDA has no Event for.
fn log(turn: &mut Turn<'_>, kind: EventType, reason: &'static str, message: String) {
    let key = turn.key.clone();
    let told = told(kind, reason, message);
    turn.effects.push(Effect::Log { key, told });
}

fn told(kind: EventType, reason: &'static str, message: String) -> Told {
    Told {
        kind,
        reason,
        message,
        scaled: None,
    }
}
