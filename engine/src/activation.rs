//! What one poll of one object means: is it active, is it Ready, are its replicas to be written.
//!
//! KEDA: `RequestScale`, in its order. Between min and max the HPA scales; the engine only writes 0 -> 1, idle -> min,
//! N -> 0, N -> idle, and raises what is below min. It leaves what is above max to the HPA.

use jiff::Timestamp;

use crate::conditions::Condition;
use crate::cooldown;
use crate::effect::ScaleDirection;
use crate::event::{PollOutcome, TriggerOutcome};
use crate::object::ScaledObject;

/// What the triggers said together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Activity {
    /// Some trigger is active, or there are only `cpu` and `memory` triggers.
    pub(crate) active: bool,
    /// Some trigger gave no usable answer.
    pub(crate) failing: bool,
    /// The metrics that are active, in the order of the triggers.
    pub(crate) metrics: Vec<String>,
}

/// A write of replicas that the poll asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScaleRequest {
    pub(crate) from: i32,
    pub(crate) to: i32,
    pub(crate) direction: ScaleDirection,
    pub(crate) reason: String,
}

/// What follows from one poll.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) ready: Condition,
    /// `None` leaves the condition as it is.
    pub(crate) active: Option<Condition>,
    pub(crate) scale: Option<ScaleRequest>,
}

/// Whether this trigger gave no usable answer. No reading at all, and a reading that is no number, are failures too:
/// taking them for "nothing to do" would scale in.
pub(crate) fn failure(trigger: &TriggerOutcome) -> Option<String> {
    match trigger {
        TriggerOutcome::Failed { message } => Some(message.clone()),
        TriggerOutcome::Read(readings) if readings.is_empty() => {
            Some("the scaler gave no reading".into())
        }
        TriggerOutcome::Read(readings) => readings
            .iter()
            .find(|reading| !reading.value.is_finite())
            .map(|reading| format!("{} is {}, expected a number", reading.metric, reading.value)),
        TriggerOutcome::Resource => None,
    }
}

/// OR over all readings. `cpu` and `memory` don't count beside others (they never bring a target back from zero), but
/// an object that has nothing else is always active (KEDA: unless a trigger fails).
pub(crate) fn activity(object: &ScaledObject, triggers: &[TriggerOutcome]) -> Activity {
    let failing = triggers.len() != object.trigger_count
        || triggers.iter().any(|trigger| failure(trigger).is_some());
    let metrics: Vec<String> = triggers
        .iter()
        .filter_map(|trigger| {
            if let TriggerOutcome::Read(readings) = trigger {
                Some(readings)
            } else {
                None
            }
        })
        .flatten()
        .filter(|reading| reading.active)
        .map(|reading| reading.metric.clone())
        .collect();
    let only_resources = !failing
        && triggers
            .iter()
            .all(|trigger| *trigger == TriggerOutcome::Resource);
    Activity {
        active: only_resources || !metrics.is_empty(),
        failing,
        metrics,
    }
}

/// Decides one poll. `may_scale_in` is false while the object's preparation is failing or superseded.
pub(crate) fn decide(
    object: &ScaledObject,
    outcome: &PollOutcome,
    activity: &Activity,
    last_active: Option<Timestamp>,
    may_scale_in: bool,
    now: Timestamp,
) -> Decision {
    let current = match &outcome.replicas {
        Ok(replicas) => *replicas,
        Err(error) => {
            return Decision {
                ready: Condition::replicas_unknown(error),
                active: None,
                scale: None,
            };
        }
    };
    if activity.active || object.switches.activation_forced {
        decide_active(object, current, activity)
    } else {
        decide_inactive(object, current, activity, last_active, may_scale_in, now)
    }
}

fn decide_active(object: &ScaledObject, current: i32, activity: &Activity) -> Decision {
    let forced = object.switches.activation_forced;
    let active = Some(if forced {
        Condition::active_by_force()
    } else {
        Condition::active()
    });
    let is_idle = object.idle_replicas.is_some() && current < object.min_replicas;
    if is_idle || current == 0 {
        let to = object.min_replicas.max(1);
        let reason = if forced {
            "caused by forced activation annotation".to_owned()
        } else {
            format!("triggered by {}", activity.metrics.join(";"))
        };
        let scale = if object.switches.scale_out_paused {
            None
        } else {
            raise(object, current, to, ScaleDirection::Activate, reason)
        };
        return Decision {
            ready: Condition::ready(),
            active,
            scale,
        };
    }
    let ready = if activity.failing {
        Condition::some_triggers_fail()
    } else {
        Condition::ready()
    };
    Decision {
        ready,
        active,
        scale: None,
    }
}

fn decide_inactive(
    object: &ScaledObject,
    current: i32,
    activity: &Activity,
    last_active: Option<Timestamp>,
    may_scale_in: bool,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision {
        ready: Condition::ready(),
        active: Some(Condition::not_active()),
        scale: None,
    };
    let min = object.min_replicas;
    if activity.failing {
        // KEDA: with a fallback, a failure is what it is there for.
        if object.fallback.is_none() {
            decision.ready = Condition::triggers_fail();
        }
    } else if object.idle_replicas.is_some_and(|idle| current > idle) || (current > 0 && min == 0) {
        if object.switches.scale_in_paused {
            // KEDA doesn't look at the cooldown then.
        } else if !cooldown::is_over(object, last_active, now) {
            decision.active = Some(Condition::cooling_down());
        } else if may_scale_in {
            decision.scale = deactivate(object, current, last_active);
        }
    } else if object.idle_replicas.is_none() && current < min {
        // KEDA: in spite of paused-scale-out; the HPA does it too.
        let reason = format!("{current} replicas are fewer than minReplicaCount {min}");
        decision.scale = raise(object, current, min, ScaleDirection::RaiseToMinimum, reason);
    }
    decision
}

/// A write that raises, never above `maxReplicaCount`.
fn raise(
    object: &ScaledObject,
    from: i32,
    to: i32,
    direction: ScaleDirection,
    reason: String,
) -> Option<ScaleRequest> {
    let to = to.min(object.max_replicas);
    (to > from).then_some(ScaleRequest {
        from,
        to,
        direction,
        reason,
    })
}

fn deactivate(
    object: &ScaledObject,
    from: i32,
    last_active: Option<Timestamp>,
) -> Option<ScaleRequest> {
    let to = object.idle_replicas.unwrap_or(0);
    let reason = match last_active {
        Some(time) => {
            let cooldown = object.cooldown_period.as_secs();
            format!("no trigger was active since {time}, longer than cooldownPeriod {cooldown} s")
        }
        None => "no trigger was ever active".into(),
    };
    (to < from).then_some(ScaleRequest {
        from,
        to,
        direction: ScaleDirection::Deactivate,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reading;
    use crate::object::tests::object;

    fn read(value: f64) -> TriggerOutcome {
        let reading = Reading {
            metric: "s0-queue".into(),
            value,
            active: value > 0.0,
        };
        TriggerOutcome::Read(vec![reading])
    }

    fn fails() -> TriggerOutcome {
        TriggerOutcome::Failed {
            message: "refused".into(),
        }
    }

    /// Ready's and Active's reasons and the write that follow from a poll long after the last activity.
    fn poll(
        (idle, min, current): (Option<i32>, i32, i32),
        triggers: Vec<TriggerOutcome>,
    ) -> (String, Option<String>, Option<(i32, ScaleDirection)>) {
        let object = ScaledObject {
            idle_replicas: idle,
            min_replicas: min,
            max_replicas: 10,
            trigger_count: triggers.len(),
            ..object()
        };
        let activity = activity(&object, &triggers);
        let outcome = PollOutcome {
            replicas: Ok(current),
            triggers,
            ready_pods: None,
            age: jiff::SignedDuration::ZERO,
        };
        let now = Timestamp::from_second(1_000_000).unwrap();
        let decision = decide(&object, &outcome, &activity, None, true, now);
        let active = decision.active.map(|condition| condition.reason);
        (
            decision.ready.reason,
            active,
            decision.scale.map(|scale| (scale.to, scale.direction)),
        )
    }

    #[test]
    fn polls_are_decided_in_kedas_order() {
        use ScaleDirection::{Activate, Deactivate, RaiseToMinimum};
        const READY: &str = "ScaledObjectReady";
        const PARTIAL: &str = "PartialTriggerError";
        const ERROR: &str = "TriggerError";
        const YES: &str = "ScalerActive";
        const NO: &str = "ScalerNotActive";
        let cases = [
            // Active: only zero and idle are left by the engine, the rest is the HPA's.
            (
                (None, 0, 0),
                vec![read(1.0)],
                READY,
                YES,
                Some((1, Activate)),
            ),
            (
                (None, 3, 0),
                vec![read(1.0)],
                READY,
                YES,
                Some((3, Activate)),
            ),
            (
                (Some(1), 3, 1),
                vec![read(1.0)],
                READY,
                YES,
                Some((3, Activate)),
            ),
            (
                (Some(0), 3, 2),
                vec![read(1.0)],
                READY,
                YES,
                Some((3, Activate)),
            ),
            ((None, 3, 2), vec![read(1.0)], READY, YES, None),
            ((None, 0, 20), vec![read(1.0)], READY, YES, None),
            // One that fails beside one that is active does not stop the activation.
            (
                (None, 0, 0),
                vec![read(1.0), fails()],
                READY,
                YES,
                Some((1, Activate)),
            ),
            ((None, 0, 2), vec![read(1.0), fails()], PARTIAL, YES, None),
            // Inactive.
            (
                (None, 0, 5),
                vec![read(0.0)],
                READY,
                NO,
                Some((0, Deactivate)),
            ),
            ((None, 0, 0), vec![read(0.0)], READY, NO, None),
            (
                (Some(1), 3, 5),
                vec![read(0.0)],
                READY,
                NO,
                Some((1, Deactivate)),
            ),
            ((Some(1), 3, 1), vec![read(0.0)], READY, NO, None),
            ((None, 3, 5), vec![read(0.0)], READY, NO, None),
            (
                (None, 3, 1),
                vec![read(0.0)],
                READY,
                NO,
                Some((3, RaiseToMinimum)),
            ),
            (
                (None, 3, 0),
                vec![read(0.0)],
                READY,
                NO,
                Some((3, RaiseToMinimum)),
            ),
            ((None, 3, 20), vec![read(0.0)], READY, NO, None),
            // Inactive as far as is known: nothing is scaled, in neither direction.
            ((None, 0, 5), vec![fails()], ERROR, NO, None),
            ((None, 3, 1), vec![fails()], ERROR, NO, None),
            ((None, 0, 5), vec![read(0.0), fails()], ERROR, NO, None),
            ((None, 0, 5), vec![read(f64::NAN)], ERROR, NO, None),
            ((None, 0, 5), vec![read(f64::NEG_INFINITY)], ERROR, NO, None),
            (
                (None, 0, 5),
                vec![TriggerOutcome::Read(vec![])],
                ERROR,
                NO,
                None,
            ),
            // cpu and memory.
            (
                (None, 1, 2),
                vec![TriggerOutcome::Resource],
                READY,
                YES,
                None,
            ),
            (
                (None, 0, 2),
                vec![TriggerOutcome::Resource, read(0.0)],
                READY,
                NO,
                Some((0, Deactivate)),
            ),
            (
                (None, 0, 0),
                vec![TriggerOutcome::Resource, read(0.0)],
                READY,
                NO,
                None,
            ),
            (
                (None, 0, 2),
                vec![TriggerOutcome::Resource, fails()],
                ERROR,
                NO,
                None,
            ),
        ];
        for (bounds, triggers, ready, active, scale) in cases {
            let told = format!("{bounds:?} {triggers:?}");
            assert_eq!(
                poll(bounds, triggers),
                (ready.into(), Some(active.into()), scale),
                "{told}"
            );
        }
    }

    #[test]
    fn a_trigger_without_an_answer_counts_as_failing() {
        let activity = activity(&object(), &[]);
        assert_eq!(
            activity,
            Activity {
                active: false,
                failing: true,
                metrics: vec![]
            }
        );
    }

    #[test]
    fn nothing_is_written_above_the_maximum_even_for_bounds_that_contradict_each_other() {
        let object = ScaledObject {
            min_replicas: 20,
            max_replicas: 10,
            ..object()
        };
        let outcome = PollOutcome {
            replicas: Ok(0),
            triggers: vec![read(1.0)],
            ready_pods: None,
            age: jiff::SignedDuration::ZERO,
        };
        let activity = activity(&object, &outcome.triggers);
        let decision = decide(
            &object,
            &outcome,
            &activity,
            None,
            true,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(decision.scale.map(|scale| scale.to), Some(10));
    }
}
