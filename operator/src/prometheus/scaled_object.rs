//! Why each ScaledObject has its replicas: series of our own, made at a scrape.

use jiff::{SignedDuration, Timestamp};
use sakidori_api::defaults;
use sakidori_engine::condition_reasons::OF_SCALED_OBJECTS;
use sakidori_engine::{COMPOSITE_METRIC, ObjectKey, TargetType};
use sakidori_scalers::MetricType;

use super::decision::{self, Grounds, decision};
use super::facts::{Facts, MetricFacts};
use super::objects::{self, has};
use super::text::{Family, Labels, Page};
use super::view::Live;

const REPLICAS: Family = Family::gauge(
    "sakidori_scaled_object_replicas",
    "The target's replicas, as last polled",
);
const DESIRED: Family = Family::gauge(
    "sakidori_scaled_object_desired_replicas",
    "The replicas that the HPA wants, by its status",
);
const MIN: Family = Family::gauge(
    "sakidori_scaled_object_min_replicas",
    "The HPA's minimum as it is now, with the floor of a sale in it",
);
const MAX: Family = Family::gauge(
    "sakidori_scaled_object_max_replicas",
    "The HPA's maximum as it is now",
);
const DECISION: Family = Family::gauge(
    "sakidori_scaled_object_decision",
    "1 for the reason of what was decided last",
);
const CONDITION: Family = Family::gauge(
    "sakidori_scaled_object_condition",
    "1 for each condition of the status, with what it says now",
);
const FALLBACK: Family = Family::gauge(
    "sakidori_scaled_object_fallback",
    "1 while a fallback counts instead of a trigger that fails",
);
const COOLDOWN: Family = Family::gauge(
    "sakidori_scaled_object_cooldown_seconds",
    "How much of the cooldown is left; 0 where none runs",
);
const LAST_ACTIVE: Family = Family::gauge(
    "sakidori_scaled_object_last_active_timestamp_seconds",
    "When the ScaledObject was last active, in Unix time",
);
const TRIGGER: Family = Family::gauge(
    "sakidori_trigger_info",
    "1 for each metric of a trigger, with the type of the trigger",
);
const TRIGGER_DESIRED: Family = Family::gauge(
    "sakidori_trigger_desired_replicas",
    "The replicas for which the last value of each trigger asks",
);
const TRIGGER_TARGET: Family = Family::gauge(
    "sakidori_trigger_target",
    "The value of each trigger for one replica, or for the whole with metricType Value",
);
const TRIGGER_CARRIED: Family = Family::gauge(
    "sakidori_trigger_carried",
    "The value of each trigger that the present replicas carry: above it, the HPA adds some",
);
const TRIGGER_FAILING: Family = Family::gauge(
    "sakidori_trigger_failing",
    "1 where the last read of the trigger failed",
);
const TRIGGER_AGE: Family = Family::gauge(
    "sakidori_trigger_age_seconds",
    "How long ago the last value of each trigger was read",
);

/// Writes our series of one object.
pub fn write(page: &mut Page, key: &ObjectKey, facts: &Facts, live: &Live, now: Timestamp) {
    let labels = Labels::new([("namespace", &*key.namespace), ("scaledObject", &key.name)]);
    let numbers = [
        (REPLICAS, facts.replicas),
        (DESIRED, live.desired),
        (MIN, live.bounds.map(|(min, _)| min)),
        (MAX, live.bounds.map(|(_, max)| max)),
    ];
    for (family, number) in numbers {
        if let Some(number) = number {
            page.sample(family, &labels, number.into());
        }
    }
    write_status(page, key, facts, live, now);
    for metric in facts
        .metrics
        .iter()
        .filter(|metric| has(Some(live), metric))
    {
        write_metric(page, key, facts, live, metric);
    }
}

fn write_status(page: &mut Page, key: &ObjectKey, facts: &Facts, live: &Live, now: Timestamp) {
    let labels = Labels::new([("namespace", &*key.namespace), ("scaledObject", &key.name)]);
    let status = live.object.status.as_ref();
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let grounds = Grounds {
        paused: live.object.pause().is_some(),
        floor: facts.shown.as_ref().is_some_and(|shown| shown.floor > 0),
        activation_forced: live.object.switches().activation_forced,
    };
    let reason = decision(grounds, conditions);
    let decided = Labels::new([
        ("namespace", &*key.namespace),
        ("reason", reason),
        ("scaledObject", &key.name),
    ]);
    page.whether(DECISION, &decided, true);
    let of = |kind: &str| conditions.iter().find(|one| one.type_ == kind);
    for (kind, _) in OF_SCALED_OBJECTS {
        let Some(condition) = of(kind) else { continue };
        let (status, reason) = decision::shown(condition);
        let labels = Labels::new([
            ("condition", *kind),
            ("namespace", &key.namespace),
            ("reason", reason),
            ("scaledObject", &key.name),
            ("status", status),
        ]);
        page.whether(CONDITION, &labels, true);
    }
    let falls_back = of("Fallback").is_some_and(|one| one.status == "True");
    page.whether(FALLBACK, &labels, falls_back);
    let last_active = status.and_then(|status| status.last_active_time.as_ref());
    if let Some(at) = last_active {
        page.sample(LAST_ACTIVE, &labels, at.0.as_second() as f64);
    }
    let left = match (reason, last_active) {
        ("Cooldown", Some(at)) => {
            let period = live.object.spec.cooldown_period;
            let period = period.map_or(defaults::COOLDOWN_PERIOD, |seconds| {
                SignedDuration::from_secs(seconds.into())
            });
            let left = period - now.duration_since(at.0);
            left.as_secs_f64().max(0.0)
        }
        _ => 0.0,
    };
    page.sample(COOLDOWN, &labels, left);
}

fn write_metric(
    page: &mut Page,
    key: &ObjectKey,
    facts: &Facts,
    live: &Live,
    metric: &MetricFacts,
) {
    // What is never read, as the HPA reads it.
    if metric.errors.is_none() {
        return;
    }
    let labels = objects::labels(key, metric);
    let kind = match metric.scaler == COMPOSITE_METRIC {
        true => None,
        false => facts.trigger_types.get(metric.trigger_index),
    };
    if let Some(kind) = kind {
        let index = metric.trigger_index.to_string();
        let labels = Labels::new([
            ("metric", &*metric.metric),
            ("namespace", &key.namespace),
            ("scaledObject", &key.name),
            ("scaler", &metric.scaler),
            ("trigger", kind),
            ("triggerIndex", &index),
            ("type", "scaledobject"),
        ]);
        page.whether(TRIGGER, &labels, true);
    }
    page.whether(TRIGGER_FAILING, &labels, metric.failing);
    if let Some(asked) = metric.asked {
        page.sample(TRIGGER_AGE, &labels, asked.elapsed().as_secs_f64());
    }
    let Some((target, target_type)) = target(live, metric) else {
        return;
    };
    page.sample(TRIGGER_TARGET, &labels, target);
    if let Some(carried) = carried(target, target_type, facts.replicas) {
        page.sample(TRIGGER_CARRIED, &labels, carried);
    }
    let wish = metric
        .value
        .and_then(|value| wish(value, target, target_type, facts.replicas));
    if let Some(wish) = wish {
        page.sample(TRIGGER_DESIRED, &labels, wish);
    }
}

/// What the HPA compares the metric with. With a formula, it sees no trigger by itself.
fn target(live: &Live, metric: &MetricFacts) -> Option<(f64, TargetType)> {
    let prepared = live.prepared.as_ref()?;
    if let Some(modifiers) = &prepared.modifiers {
        return (metric.scaler == COMPOSITE_METRIC)
            .then_some((modifiers.target, modifiers.target_type));
    }
    let trigger = prepared.triggers.get(metric.trigger_index)?;
    let metrics = trigger.source.metrics().iter();
    let spec = metrics
        .into_iter()
        .find(|spec| spec.name == metric.metric)?;
    let target_type = match spec.target_type {
        MetricType::Value => TargetType::Value,
        _ => TargetType::AverageValue,
    };
    Some((spec.target.to_f64(), target_type))
}

/// The value at which an HPA keeps the replicas.
fn carried(target: f64, target_type: TargetType, replicas: Option<i32>) -> Option<f64> {
    match target_type {
        TargetType::AverageValue => replicas.map(|replicas| target * f64::from(replicas)),
        TargetType::Value => Some(target),
    }
}

/// The replicas that an HPA computes from one value, before its bounds, its tolerance and its behavior.
fn wish(value: f64, target: f64, target_type: TargetType, replicas: Option<i32>) -> Option<f64> {
    if !value.is_finite() || target <= 0.0 {
        return None;
    }
    let share = value / target;
    match target_type {
        TargetType::AverageValue => Some(share.ceil()),
        TargetType::Value => replicas.map(|replicas| (share * f64::from(replicas)).ceil()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_asks_for_replicas_as_the_hpa_computes_them() {
        use TargetType::{AverageValue, Value};
        for (value, target, target_type, replicas, expected) in [
            (100.0, 10.0, AverageValue, None, Some(10.0)),
            (101.0, 10.0, AverageValue, Some(3), Some(11.0)),
            (0.0, 10.0, AverageValue, Some(3), Some(0.0)),
            (30.0, 10.0, Value, Some(2), Some(6.0)),
            (30.0, 10.0, Value, None, None),
            (30.0, 0.0, AverageValue, None, None),
            (f64::NAN, 10.0, AverageValue, None, None),
        ] {
            assert_eq!(wish(value, target, target_type, replicas), expected);
        }
    }

    #[test]
    fn replicas_carry_the_target_each_or_all_together() {
        use TargetType::{AverageValue, Value};
        for (target_type, replicas, expected) in [
            (AverageValue, Some(3), Some(60.0)),
            (AverageValue, Some(0), Some(0.0)),
            (AverageValue, None, None),
            (Value, Some(3), Some(20.0)),
            (Value, None, Some(20.0)),
        ] {
            assert_eq!(carried(20.0, target_type, replicas), expected);
        }
    }
}
