//! Metrics: what a trigger publishes to the HPA, and one value of it.

use sakidori_engine::Quantity;

use crate::scaler::{BuildError, Trigger};

/// One external metric of the HPA.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    /// `s<index>-<name>`, normalised as KEDA does.
    pub name: String,
    pub target_type: MetricType,
    pub target: Quantity,
}

impl MetricSpec {
    /// A metric with a whole number as its target (KEDA: `GetMetricTarget`). `name` is without the `s<index>-`.
    ///
    /// # Errors
    /// For `metricType: Utilization`, which only `cpu` and `memory` have.
    pub fn integer(trigger: &Trigger, name: &str, target: i64) -> Result<Self, BuildError> {
        Self::external(trigger, name, Quantity::from_integer(target))
    }

    /// A metric whose target has thousandths (KEDA: `GetMetricTargetMili`). `name` is without the `s<index>-`.
    ///
    /// # Errors
    /// As [`MetricSpec::integer`].
    pub fn milli(trigger: &Trigger, name: &str, target: f64) -> Result<Self, BuildError> {
        Self::external(trigger, name, quantity(target))
    }

    fn external(trigger: &Trigger, name: &str, target: Quantity) -> Result<Self, BuildError> {
        let target_type = match trigger.metric_type.unwrap_or_default() {
            MetricType::Utilization => return Err(BuildError::Invalid(UTILIZATION.to_owned())),
            target_type => target_type,
        };
        Ok(Self {
            name: metric_name(trigger.index, name),
            target_type,
            target,
        })
    }
}

/// KEDA's words, on which users' searches match.
const UTILIZATION: &str = "'Utilization' metric type is unsupported for external metrics, allowed values are 'Value' or 'AverageValue'";

/// How the HPA compares a metric with its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricType {
    #[default]
    AverageValue,
    Value,
    /// `cpu` and `memory` only.
    Utilization,
}

/// One metric's value.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Equals [`MetricSpec::name`].
    pub metric: String,
    pub value: f64,
    /// Above the activation threshold, by the trigger type's own rule.
    pub active: bool,
}

/// The full name of a trigger's metric: `s0-cron-...`.
///
/// ```
/// assert_eq!(sakidori_scalers::metric_name(2, "metric-api-queue.length"), "s2-metric-api-queue-length");
/// ```
pub fn metric_name(index: usize, name: &str) -> String {
    format!("s{index}-{}", normalize(name))
}

/// KEDA's `NormalizeString`: what may not stand in the path of the metrics API becomes a dash. Everything else stays,
/// `{` and `"` too.
fn normalize(name: &str) -> String {
    name.replace(['/', '.', ':', '%', '(', ')'], "-")
}

/// Rounded to thousandths; what is negative or no number counts as nothing (KEDA: `quantityFromFloat64`).
fn quantity(value: f64) -> Quantity {
    // Every f64 from 2^53 on is whole, and a target of 10^30 is reached as little as any greater one.
    const GREATEST: f64 = 1e30;
    if value.is_nan() || value.is_infinite() || value < 0.0 {
        return Quantity::default();
    }
    // Formatting rounds the exact decimal value, as KEDA's "%.3f" does; value * 1000.0 would round twice.
    let digits = format!("{:.3}", value.min(GREATEST)).replace('.', "");
    Quantity::from_milli(digits.parse().unwrap_or(i128::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kedas() {
        assert_eq!(
            metric_name(0, "a/b.c:d%e(f)g_h{i}"),
            "s0-a-b-c-d-e-f-g_h{i}"
        );
    }

    #[test]
    fn targets_are_rounded_to_thousandths() {
        for (value, milli) in [
            (5.0, 5000),
            (0.0005, 1),
            (2.3456, 2346),
            (1e15, 10i128.pow(18)),
            (-1.0, 0),
            (f64::NAN, 0),
            (f64::INFINITY, 0),
        ] {
            assert_eq!(quantity(value).milli(), milli, "{value}");
        }
        assert!(quantity(f64::MAX).milli() > 10i128.pow(32));
    }

    #[test]
    fn utilization_is_refused_for_external_metrics() {
        let mut trigger = Trigger::new("queue");
        trigger.metric_type = Some(MetricType::Utilization);
        let refused = MetricSpec::integer(&trigger, "queue", 1).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("'Utilization' metric type is unsupported")
        );
        trigger.metric_type = Some(MetricType::Value);
        assert_eq!(
            MetricSpec::integer(&trigger, "queue", 1)
                .unwrap()
                .target_type,
            MetricType::Value
        );
        trigger.metric_type = None;
        assert_eq!(
            MetricSpec::milli(&trigger, "queue", 1.5)
                .unwrap()
                .target_type,
            MetricType::AverageValue
        );
    }
}
