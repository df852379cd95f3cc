//! What counts instead of a trigger that can't be read, where the object says so (`spec.fallback`).
//!
//! KEDA: pkg/fallback. There each look at a failing trigger counts, the HPA's too; here at most one in each polling
//! interval, so that the fallback comes after as many intervals as the threshold says. A fallback may lower replicas: it is
//! the one case where a failure does, since the user wrote down how many there are to be.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::activation::failure;
use crate::event::{MetricTarget, PollOutcome, Reading, TargetType, TriggerOutcome};
use crate::modifiers::Modifiers;
use crate::quantity::Quantity;
use crate::time::after;

/// `spec.fallback`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// More failures in a row than this switch the fallback on.
    pub failure_threshold: i32,
    /// The replicas to fall back to.
    pub replicas: i32,
    pub behavior: FallbackBehavior,
}

/// How `replicas` and the current replicas make those to fall back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FallbackBehavior {
    /// `replicas`.
    #[default]
    Static,
    /// Those the target has.
    CurrentReplicas,
    /// Those the target has, at least `replicas`.
    CurrentReplicasIfHigher,
    /// Those the target has, at most `replicas`.
    CurrentReplicasIfLower,
    /// The formula gets nil for the trigger.
    ScalingModifiers,
}

impl FallbackBehavior {
    /// Reads `spec.fallback.behavior`. KEDA: anything else, which the CRD refuses, counts as `static`.
    pub fn of(text: Option<&str>) -> Self {
        match text {
            Some("currentReplicas") => Self::CurrentReplicas,
            Some("currentReplicasIfHigher") => Self::CurrentReplicasIfHigher,
            Some("currentReplicasIfLower") => Self::CurrentReplicasIfLower,
            Some("scalingModifiers") => Self::ScalingModifiers,
            _ => Self::Static,
        }
    }
}

/// `status.health` of one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricHealth {
    /// Failures since the last success.
    pub failures: i32,
    /// The last answer was a failure.
    pub failing: bool,
}

/// The health of all metrics of one object, and when the next failure of each counts.
#[derive(Debug, Default)]
pub(crate) struct Health {
    metrics: BTreeMap<String, (MetricHealth, Option<Timestamp>)>,
}

/// Of a polling interval, how much earlier than it a failure may count: polls are not exactly that far apart.
const EARLY: i32 = 10;

impl Health {
    /// What the object's status remembers.
    pub(crate) fn remembered(metrics: &[(String, MetricHealth)]) -> Self {
        let metrics = metrics.iter().cloned();
        Self {
            metrics: metrics
                .map(|(name, health)| (name, (health, None)))
                .collect(),
        }
    }

    /// For the status, by name.
    pub(crate) fn shown(&self) -> Vec<(String, MetricHealth)> {
        let metrics = self.metrics.iter();
        metrics
            .map(|(name, (health, _))| (name.clone(), *health))
            .collect()
    }

    pub(crate) fn clear(&mut self) {
        self.metrics.clear();
    }

    /// Some metric fails for longer than `threshold`.
    pub(crate) fn exceeds(&self, threshold: i32) -> bool {
        self.metrics
            .values()
            .any(|(health, _)| health.failing && health.failures > threshold)
    }

    fn worked(&mut self, metric: &str) {
        self.metrics.insert(metric.to_owned(), Default::default());
    }

    /// Counts a failure, unless one counted in this interval already. Says how many there were in a row.
    fn failed(&mut self, metric: &str, now: Timestamp, interval: SignedDuration) -> i32 {
        let (health, next) = self.metrics.entry(metric.to_owned()).or_default();
        health.failing = true;
        let due = next.unwrap_or(now);
        if now >= after(due, -(interval / EARLY)) {
            health.failures = health.failures.saturating_add(1);
            // From the time that was due rather than from now, so that a late poll doesn't delay all that follow.
            let following = after(due, interval);
            *next = Some(if following > now {
                following
            } else {
                after(now, interval)
            });
        }
        health.failures
    }

    /// Forgets metrics that the object doesn't have any more.
    fn retain(&mut self, metrics: &[Vec<MetricTarget>]) {
        self.metrics.retain(|name, _| {
            metrics
                .iter()
                .flatten()
                .any(|metric| metric.metric == *name)
        });
    }
}

/// A poll's answers with what counts instead of those that failed.
#[derive(Debug, PartialEq)]
pub(crate) struct Settled {
    /// In the order of the triggers. One that fell back has readings, which are active, as in KEDA.
    pub(crate) triggers: Vec<TriggerOutcome>,
    /// The triggers that are nil in the formula.
    pub(crate) nil: Vec<usize>,
    /// The value that counts instead of the formula's, where a trigger fell back.
    pub(crate) composite: Option<Quantity>,
}

impl Settled {
    /// As they were read.
    pub(crate) fn unchanged(outcome: &PollOutcome) -> Self {
        Self {
            triggers: outcome.triggers.clone(),
            nil: Vec::new(),
            composite: None,
        }
    }

    /// Why a trigger gave nothing usable, where nothing else counts instead.
    pub(crate) fn failures(&self) -> impl Iterator<Item = String> {
        let triggers = self.triggers.iter().enumerate();
        triggers
            .filter(|(index, _)| !self.nil.contains(index))
            .filter_map(|(_, trigger)| failure(trigger))
    }
}

/// Everything of an object that a fallback depends on.
pub(crate) struct Falling<'a> {
    pub(crate) fallback: &'a Fallback,
    pub(crate) modifiers: Option<&'a Modifiers>,
    /// What each trigger publishes.
    pub(crate) metrics: &'a [Vec<MetricTarget>],
    pub(crate) interval: SignedDuration,
    pub(crate) now: Timestamp,
}

impl Falling<'_> {
    /// Counts a poll's failures and puts in what counts instead.
    pub(crate) fn settle(&self, outcome: &PollOutcome, health: &mut Health) -> Settled {
        health.retain(self.metrics);
        let mut settled = Settled {
            triggers: Vec::with_capacity(outcome.triggers.len()),
            nil: Vec::new(),
            composite: None,
        };
        for (index, trigger) in outcome.triggers.iter().enumerate() {
            let metrics = self.metrics.get(index).map_or(&[][..], Vec::as_slice);
            let Some(message) = failure(trigger) else {
                for metric in metrics {
                    health.worked(&metric.metric);
                }
                settled.triggers.push(trigger.clone());
                continue;
            };
            let failures = metrics
                .iter()
                .map(|metric| health.failed(&metric.metric, self.now, self.interval));
            if failures
                .min()
                .is_none_or(|failures| failures <= self.fallback.failure_threshold)
            {
                settled.triggers.push(TriggerOutcome::Failed { message });
                continue;
            }
            if self.fallback.behavior == FallbackBehavior::ScalingModifiers {
                // Without a formula, which admission refuses, there is nothing that could take nil.
                if self.modifiers.is_some() {
                    settled.nil.push(index);
                }
                settled.triggers.push(TriggerOutcome::Failed { message });
                continue;
            }
            settled
                .triggers
                .push(match self.readings(metrics, outcome) {
                    Ok(readings) => {
                        let value = readings
                            .first()
                            .map(|reading| Quantity::of_metric(reading.value));
                        settled.composite = settled.composite.or(value);
                        TriggerOutcome::Read(readings)
                    }
                    Err(problem) => TriggerOutcome::Failed {
                        message: format!("{message}; no fallback: {problem}"),
                    },
                });
        }
        settled
    }

    /// The value of each metric that makes the HPA want the replicas to fall back to.
    fn readings(
        &self,
        metrics: &[MetricTarget],
        outcome: &PollOutcome,
    ) -> Result<Vec<Reading>, String> {
        let replicas = self.replicas(outcome)?;
        let reading = |metric: &MetricTarget| {
            let (target, kind) = match self.modifiers {
                Some(modifiers) => (modifiers.target, modifiers.target_type),
                None => (metric.target.to_f64(), metric.target_type),
            };
            // The HPA multiplies a Value by the pods that are Ready.
            let share = match kind {
                TargetType::AverageValue => 1.0,
                TargetType::Value => match outcome.ready_pods {
                    Some(0) => return Err("no pod of the target is Ready".to_owned()),
                    Some(pods) => f64::from(pods),
                    None => return Err("the target's Ready pods can't be counted".to_owned()),
                },
            };
            Ok(Reading {
                metric: metric.metric.clone(),
                value: target * f64::from(replicas) / share,
                active: true,
            })
        };
        metrics.iter().map(reading).collect()
    }

    fn replicas(&self, outcome: &PollOutcome) -> Result<i32, String> {
        let wanted = self.fallback.replicas;
        let current = || match &outcome.replicas {
            Ok(current) => Ok(*current),
            Err(error) => Err(format!("the target's replicas can't be read: {error}")),
        };
        Ok(match self.fallback.behavior {
            FallbackBehavior::CurrentReplicas => current()?,
            FallbackBehavior::CurrentReplicasIfHigher => current()?.max(wanted),
            FallbackBehavior::CurrentReplicasIfLower => current()?.min(wanted),
            FallbackBehavior::Static | FallbackBehavior::ScalingModifiers => wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(target_type: TargetType) -> MetricTarget {
        MetricTarget {
            metric: "s0-queue".into(),
            target: "2500m".parse().unwrap(),
            target_type,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// What a failing trigger of one metric settles to, beyond its threshold.
    fn fallen(
        behavior: FallbackBehavior,
        target_type: TargetType,
        replicas: Result<i32, String>,
        ready_pods: Option<i32>,
    ) -> TriggerOutcome {
        let fallback = Fallback {
            failure_threshold: 0,
            replicas: 4,
            behavior,
        };
        let falling = Falling {
            fallback: &fallback,
            modifiers: None,
            metrics: &[vec![metric(target_type)]],
            interval: SignedDuration::from_secs(30),
            now: at(0),
        };
        let outcome = PollOutcome {
            replicas,
            triggers: vec![TriggerOutcome::Failed {
                message: "refused".into(),
            }],
            ready_pods,
            age: SignedDuration::ZERO,
        };
        falling
            .settle(&outcome, &mut Health::default())
            .triggers
            .remove(0)
    }

    #[test]
    fn the_value_makes_the_hpa_want_the_replicas() {
        use FallbackBehavior::{
            CurrentReplicas, CurrentReplicasIfHigher, CurrentReplicasIfLower, Static,
        };
        use TargetType::{AverageValue, Value};
        // With a target of 2.5 for each replica.
        for (behavior, target_type, current, ready, value) in [
            (Static, AverageValue, 7, None, 10.0),
            (CurrentReplicas, AverageValue, 7, None, 17.5),
            (CurrentReplicasIfHigher, AverageValue, 7, None, 17.5),
            (CurrentReplicasIfHigher, AverageValue, 2, None, 10.0),
            (CurrentReplicasIfLower, AverageValue, 7, None, 10.0),
            (CurrentReplicasIfLower, AverageValue, 2, None, 5.0),
            // Of 5 Ready pods, the HPA wants 5 * value / target.
            (Static, Value, 7, Some(5), 2.0),
            (CurrentReplicas, Value, 7, Some(7), 2.5),
        ] {
            let expected = Reading {
                metric: "s0-queue".into(),
                value,
                active: true,
            };
            let told = format!("{behavior:?} {target_type:?} {current}");
            assert_eq!(
                fallen(behavior, target_type, Ok(current), ready),
                TriggerOutcome::Read(vec![expected]),
                "{told}"
            );
        }
    }

    #[test]
    fn without_what_it_needs_there_is_no_fallback() {
        let unknown = || Err("forbidden".to_owned());
        for (behavior, target_type, replicas, ready, problem) in [
            (
                FallbackBehavior::CurrentReplicas,
                TargetType::AverageValue,
                unknown(),
                None,
                "refused; no fallback: the target's replicas can't be read: forbidden",
            ),
            (
                FallbackBehavior::Static,
                TargetType::Value,
                Ok(1),
                Some(0),
                "refused; no fallback: no pod of the target is Ready",
            ),
            (
                FallbackBehavior::Static,
                TargetType::Value,
                Ok(1),
                None,
                "refused; no fallback: the target's Ready pods can't be counted",
            ),
        ] {
            let message = problem.to_owned();
            assert_eq!(
                fallen(behavior, target_type, replicas, ready),
                TriggerOutcome::Failed { message }
            );
        }
        let static_needs_no_replicas = fallen(
            FallbackBehavior::Static,
            TargetType::AverageValue,
            unknown(),
            None,
        );
        assert!(matches!(static_needs_no_replicas, TriggerOutcome::Read(_)));
    }

    #[test]
    fn failures_count_once_in_an_interval_however_often_the_hpa_asks() {
        let mut health = Health::default();
        let interval = SignedDuration::from_secs(30);
        let mut counts = Vec::new();
        for second in [0, 10, 20, 29, 40, 59, 60, 200, 229, 231] {
            counts.push((second, health.failed("s0-queue", at(second), interval)));
        }
        assert_eq!(
            counts,
            [
                (0, 1),
                (10, 1),
                (20, 1),
                (29, 2),
                (40, 2),
                (59, 3),
                (60, 3),
                (200, 4),
                (229, 5),
                (231, 5)
            ]
        );
        health.worked("s0-queue");
        assert_eq!(health.failed("s0-queue", at(300), interval), 1);
        assert!(health.exceeds(0) && !health.exceeds(1));
    }
}
