//! One metric out of all triggers, by a formula (`spec.advanced.scalingModifiers`).
//!
//! KEDA: pkg/scaling/modifiers. There a formula that can't be evaluated is logged and then counts as "nothing to do", which
//! scales to zero; here it is a failure like any other.

use crate::activation::Activity;
use crate::event::{TargetType, TriggerOutcome};
use crate::fallback::{Fallback, Settled};
use crate::formula::Formula;
use crate::quantity::Quantity;

/// The metric's name, also in `status.compositeScalerName` and in Prometheus metrics.
pub const COMPOSITE_METRIC: &str = "composite-metric";

/// `spec.advanced.scalingModifiers`.
#[derive(Clone, Debug, PartialEq)]
pub struct Modifiers {
    /// Over one name for each trigger, empty for those without; or what is wrong with it.
    pub formula: Result<Formula, String>,
    /// What the formula's result is compared with; above zero.
    pub target: f64,
    pub target_type: TargetType,
    /// The object is active above this.
    pub activation_target: f64,
}

impl Modifiers {
    /// The composite metric's value after one poll, or why there is none.
    pub(crate) fn value(
        &self,
        settled: &Settled,
        fallback: Option<&Fallback>,
    ) -> Result<Quantity, String> {
        // KEDA: as soon as one trigger has fallen back, the formula counts no more, whatever the others do.
        if let Some(value) = settled.composite {
            return Ok(value);
        }
        let failures: Vec<String> = settled.failures().collect();
        if !failures.is_empty() {
            return Err(failures.join("; "));
        }
        let values: Vec<Option<f64>> = settled
            .triggers
            .iter()
            .map(|trigger| match trigger {
                // KEDA: of several metrics of one trigger, the last one.
                TriggerOutcome::Read(readings) => readings.last().map(|reading| reading.value),
                _ => None,
            })
            .collect();
        match (
            self.formula
                .as_ref()
                .map_err(Clone::clone)?
                .evaluate(&values)?,
            fallback,
        ) {
            (Some(value), _) => Ok(Quantity::of_formula(value)),
            (None, Some(fallback)) => Ok(Quantity::of_formula(
                f64::from(fallback.replicas) * self.target,
            )),
            (None, None) => Err("the formula gives nil, and there is no fallback".to_owned()),
        }
    }

    /// Whether the object is active, by the composite metric alone.
    pub(crate) fn activity(&self, settled: &Settled, value: &Result<Quantity, String>) -> Activity {
        let failing = value.is_err() || settled.failures().next().is_some();
        let only_resources = settled
            .triggers
            .iter()
            .all(|trigger| *trigger == TriggerOutcome::Resource);
        // KEDA: while any trigger fails, not even a value from a fallback makes the object active.
        let above = value
            .as_ref()
            .is_ok_and(|value| value.to_f64() > self.activation_target);
        let active = !failing && above;
        Activity {
            active: active || only_resources && !failing,
            failing,
            metrics: active
                .then(|| COMPOSITE_METRIC.to_owned())
                .into_iter()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reading;
    use crate::fallback::FallbackBehavior;

    fn read(value: f64) -> TriggerOutcome {
        TriggerOutcome::Read(vec![Reading {
            metric: "s0-queue".into(),
            value,
            active: false,
        }])
    }

    fn fails() -> TriggerOutcome {
        TriggerOutcome::Failed {
            message: "refused".into(),
        }
    }

    /// The composite value and whether the object is active, with triggers `a` and `b`.
    fn composed(
        formula: &str,
        triggers: Vec<TriggerOutcome>,
        nil: &[usize],
        composite: Option<i64>,
    ) -> (Result<String, String>, bool, bool) {
        let modifiers = Modifiers {
            formula: Formula::compile(formula, &["a", "b"]).map_err(|error| error.to_string()),
            target: 10.0,
            target_type: TargetType::AverageValue,
            activation_target: 5.0,
        };
        let settled = Settled {
            triggers,
            nil: nil.to_vec(),
            composite: composite.map(Quantity::from_integer),
        };
        let fallback = Fallback {
            failure_threshold: 0,
            replicas: 3,
            behavior: FallbackBehavior::ScalingModifiers,
        };
        let value = modifiers.value(&settled, Some(&fallback));
        let activity = modifiers.activity(&settled, &value);
        (
            value.map(|value| value.to_string()),
            activity.active,
            activity.failing,
        )
    }

    #[test]
    fn the_formula_makes_one_metric_which_alone_says_whether_the_object_is_active() {
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            composed("a + b", vec![read(2.0), read(3.5)], &[], None),
            (ok("5500m"), true, false)
        );
        assert_eq!(
            composed("a + b", vec![read(2.0), read(3.0)], &[], None),
            (ok("5"), false, false)
        );
        assert_eq!(
            composed("a - b", vec![read(2.0), read(3.5)], &[], None),
            (ok("-1500m"), false, false)
        );
        // A trigger that the formula doesn't name has to work, too.
        assert_eq!(
            composed("a", vec![read(6.0), fails()], &[], None),
            (Err("refused".into()), false, true)
        );
        let by_zero = Err("the formula gives inf: expected a number".into());
        assert_eq!(
            composed("a / b", vec![read(6.0), read(0.0)], &[], None),
            (by_zero, false, true)
        );
    }

    #[test]
    fn a_trigger_that_has_fallen_back_is_nil_in_the_formula() {
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            composed("a ?? b", vec![fails(), read(7.0)], &[0], None),
            (ok("7"), true, false)
        );
        // Nil as a whole: the fallback's replicas, 3, times the target.
        assert_eq!(
            composed("a ?? b", vec![fails(), fails()], &[0, 1], None),
            (ok("30"), true, false)
        );
        let nil = Err("+ needs numbers, got nil".into());
        assert_eq!(
            composed("a + b", vec![fails(), read(7.0)], &[0], None),
            (nil, false, true)
        );
    }

    #[test]
    fn a_fallback_counts_instead_of_the_formula() {
        let fallen = vec![read(30.0), read(1.0)];
        assert_eq!(
            composed("a + b", fallen, &[], Some(30)),
            (Ok("30".into()), true, false)
        );
        // Another that fails below its threshold keeps the object from being activated, but not the HPA from its value.
        assert_eq!(
            composed("a + b", vec![read(30.0), fails()], &[], Some(30)),
            (Ok("30".into()), false, true)
        );
    }
}
