//! What can be wrong with a ScaledObject by itself, without a look at the cluster or at the triggers' parameters.

use std::collections::BTreeSet;

use crate::annotations;
use crate::reasons;
use crate::scaled_object::ScaledObject;
use crate::trigger::Trigger;

/// The longest name that fits into a label's value, in bytes (Kubernetes).
const LABEL_VALUE_LIMIT: usize = 63;

/// One thing wrong with a ScaledObject. The texts are KEDA's, in which its admission and its Ready condition agree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("ScaledObject.spec.scaleTargetRef.name is missing")]
    NoTargetName,
    #[error("MinReplicaCount={min} must be less than MaxReplicaCount={max}")]
    MinAboveMax { min: i32, max: i32 },
    #[error("IdleReplicaCount={idle} must be less than MinReplicaCount={min}")]
    IdleNotBelowMin { idle: i32, min: i32 },
    #[error("no triggers defined in the ScaledObject/ScaledJob")]
    NoTriggers,
    #[error("property \"useCachedMetrics\" is not supported for {trigger_type:?} scaler")]
    NotCacheable { trigger_type: String },
    #[error(
        "triggerName {name:?} is defined multiple times in the ScaledObject/ScaledJob, but it must be unique"
    )]
    DuplicateTriggerName { name: String },
    #[error(
        "FailureThreshold={failure_threshold} & Replicas={replicas} must both be greater than or equal to 0"
    )]
    NegativeFallback {
        failure_threshold: i32,
        replicas: i32,
    },
    #[error(
        "at least one trigger (that is not cpu or memory) has to have the `AverageValue` type for the fallback to be enabled"
    )]
    NothingToFallBackFrom,
    #[error("error ScalingModifiers.Formula is mandatory")]
    NoFormula,
    #[error("error validating formula in ScalingModifiers: formula is given but target is empty")]
    NoFormulaTarget,
    #[error("error validating formula in ScalingModifiers: {problem}")]
    WrongFormula { problem: String },
    #[error(
        "error validating target in ScalingModifiers: error converting target for scalingModifiers (string->float) to valid target: {target:?} is no number above 0"
    )]
    WrongFormulaTarget { target: String },
    #[error("scalingModifiers.ActivationTarget parsing error: {target:?} is no number")]
    WrongActivationTarget { target: String },
    #[error(
        "error validating target in ScalingModifiers: error trigger type is Utilization, but it needs to be AverageValue or Value for external metrics"
    )]
    FormulaUtilization,
    #[error("scalingModifiers fallback behavior requires scalingModifiers.formula to be defined")]
    FallbackWithoutFormula,
    #[error(
        "scaledobject name {name:?} is {} characters long; must be no more than {LABEL_VALUE_LIMIT} characters because it is used as the {:?} label value",
        name.len(),
        annotations::SCALED_OBJECT_NAME
    )]
    NameTooLong { name: String },
    #[error(
        "HPA name {name:?} derived from scaledobject is {} characters long; must be no more than {LABEL_VALUE_LIMIT} characters; set spec.advanced.horizontalPodAutoscalerConfig.name to a shorter name or shorten the scaledobject name",
        name.len()
    )]
    HpaNameTooLong { name: String },
}

impl Problem {
    /// How the Ready condition's message begins for a problem that keeps the object from being scaled; `None` for one
    /// that only admission refuses. KEDA scales an object that was stored before admission knew the rule.
    pub fn stops_scaling(&self) -> Option<&'static str> {
        match self {
            Self::NoTargetName => Some(reasons::WRONG_TARGET),
            Self::MinAboveMax { .. } | Self::IdleNotBelowMin { .. } => {
                Some(reasons::WRONG_REPLICA_COUNTS)
            }
            Self::NoTriggers | Self::NotCacheable { .. } | Self::DuplicateTriggerName { .. } => {
                Some(reasons::WRONG_TRIGGERS)
            }
            Self::NoFormula
            | Self::NoFormulaTarget
            | Self::WrongFormula { .. }
            | Self::WrongFormulaTarget { .. }
            | Self::WrongActivationTarget { .. }
            | Self::FormulaUtilization => Some(reasons::HPA_FAILED),
            Self::NegativeFallback { .. }
            | Self::NothingToFallBackFrom
            | Self::FallbackWithoutFormula
            | Self::NameTooLong { .. }
            | Self::HpaNameTooLong { .. } => None,
        }
    }

    /// The `reason` label of `keda_webhook_scaled_object_validation_errors_total`, with which KEDA's admission counts it.
    pub fn reason(&self) -> &'static str {
        match self {
            // KEDA's CRD refuses this one, so it has no label.
            Self::NoTargetName => "incorrect-target",
            Self::MinAboveMax { .. } | Self::IdleNotBelowMin { .. } => "incorrect-replicas",
            Self::NoTriggers | Self::NotCacheable { .. } | Self::DuplicateTriggerName { .. } => {
                "incorrect-triggers"
            }
            Self::NegativeFallback { .. } | Self::NothingToFallBackFrom => "incorrect-fallback",
            Self::NoFormula
            | Self::NoFormulaTarget
            | Self::WrongFormula { .. }
            | Self::WrongFormulaTarget { .. }
            | Self::WrongActivationTarget { .. }
            | Self::FormulaUtilization => "scaling-modifiers",
            Self::FallbackWithoutFormula => "scaling-modifiers-fallback",
            Self::NameTooLong { .. } => "name-too-long",
            Self::HpaNameTooLong { .. } => "hpa-name-too-long",
        }
    }
}

/// What is wrong with the triggers of any kind that has some, without a look at their parameters (KEDA: ValidateTriggers).
pub fn problems_of_triggers(triggers: &[Trigger]) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_triggers(triggers, &mut problems);
    problems
}

impl ScaledObject {
    /// All that is wrong with the object by itself, in the order in which KEDA looks. KEDA stops at the first.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.spec.scale_target_ref.name.is_empty() {
            problems.push(Problem::NoTargetName);
        }
        self.check_replica_counts(&mut problems);
        check_triggers(&self.spec.triggers, &mut problems);
        self.check_fallback(&mut problems);
        problems.extend(self.modifier_problems());
        self.check_names(&mut problems);
        problems
    }

    fn check_replica_counts(&self, problems: &mut Vec<Problem>) {
        // A minimum that is written out counts as at least 1, as in the HPA; one that is left out as 0. So idling at 0
        // works with `minReplicaCount: 0` and is refused without it (KEDA: CheckReplicaCountBoundsAreValid).
        let min = self.spec.min_replica_count.map_or(0, |min| min.max(1));
        let max = self.max_replicas();
        if min > max {
            problems.push(Problem::MinAboveMax { min, max });
        }
        if let Some(idle) = self.spec.idle_replica_count.filter(|idle| *idle >= min) {
            problems.push(Problem::IdleNotBelowMin { idle, min });
        }
    }

    fn check_fallback(&self, problems: &mut Vec<Problem>) {
        let Some(fallback) = &self.spec.fallback else {
            return;
        };
        if fallback.failure_threshold < 0 || fallback.replicas < 0 {
            let (failure_threshold, replicas) = (fallback.failure_threshold, fallback.replicas);
            problems.push(Problem::NegativeFallback {
                failure_threshold,
                replicas,
            });
        }
        let can_fail = |trigger: &Trigger| !matches!(&*trigger.type_, "cpu" | "memory");
        if !self.has_formula() && !self.spec.triggers.iter().any(can_fail) {
            problems.push(Problem::NothingToFallBackFrom);
        }
    }

    fn check_names(&self, problems: &mut Vec<Problem>) {
        let name = self.metadata.name.clone().unwrap_or_default();
        if name.len() > LABEL_VALUE_LIMIT {
            problems.push(Problem::NameTooLong { name });
        }
        let name = self.hpa_name();
        if name.len() > LABEL_VALUE_LIMIT {
            problems.push(Problem::HpaNameTooLong { name });
        }
    }
}

/// KEDA: ValidateTriggers. Every name and type is reported once, however often it is wrong.
fn check_triggers(triggers: &[Trigger], problems: &mut Vec<Problem>) {
    if triggers.is_empty() {
        problems.push(Problem::NoTriggers);
    }
    let (mut types, mut names, mut repeated) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for trigger in triggers {
        // The HPA reads cpu and memory by itself, and a cron trigger costs nothing to read.
        if trigger.use_cached_metrics == Some(true)
            && matches!(&*trigger.type_, "cpu" | "memory" | "cron")
            && types.insert(&trigger.type_)
        {
            problems.push(Problem::NotCacheable {
                trigger_type: trigger.type_.clone(),
            });
        }
        if let Some(name) = trigger.name.as_ref().filter(|name| !name.is_empty())
            && !names.insert(name)
            && repeated.insert(name)
        {
            problems.push(Problem::DuplicateTriggerName { name: name.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A ScaledObject named `orders` whose spec is a sound one changed by `change`.
    fn changed(change: Value) -> ScaledObject {
        let mut spec = json!({
            "scaleTargetRef": { "name": "orders" },
            "triggers": [{ "type": "rabbitmq", "metadata": {} }],
        });
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        ScaledObject::new("orders", serde_json::from_value(spec).unwrap())
    }

    fn texts(object: &ScaledObject) -> Vec<String> {
        object.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn replica_counts_are_checked_as_keda_does() {
        let cases = [
            (json!({}), ""),
            (json!({ "minReplicaCount": 5, "maxReplicaCount": 5 }), ""),
            (
                json!({ "minReplicaCount": 101 }),
                "MinReplicaCount=101 must be less than MaxReplicaCount=100",
            ),
            (
                json!({ "minReplicaCount": 3, "maxReplicaCount": 2 }),
                "MinReplicaCount=3 must be less than MaxReplicaCount=2",
            ),
            // Left out, the minimum is 0; written out, it counts as 1.
            (
                json!({ "idleReplicaCount": 0 }),
                "IdleReplicaCount=0 must be less than MinReplicaCount=0",
            ),
            (json!({ "idleReplicaCount": 0, "minReplicaCount": 0 }), ""),
            (
                json!({ "idleReplicaCount": 1, "minReplicaCount": 0 }),
                "IdleReplicaCount=1 must be less than MinReplicaCount=1",
            ),
            (json!({ "idleReplicaCount": 2, "minReplicaCount": 3 }), ""),
        ];
        for (change, expected) in cases {
            assert_eq!(
                texts(&changed(change.clone())).join("; "),
                expected,
                "{change}"
            );
        }
    }

    #[test]
    fn triggers_are_checked_as_keda_does() {
        let trigger = |kind: &str, name: &str, cached: bool| json!({ "type": kind, "name": name, "useCachedMetrics": cached, "metadata": {} });
        let cases = [
            (
                json!([]),
                "no triggers defined in the ScaledObject/ScaledJob",
            ),
            (
                json!([
                    trigger("rabbitmq", "", true),
                    trigger("rabbitmq", "", true),
                    trigger("cron", "", false)
                ]),
                "",
            ),
            (
                json!([
                    trigger("cron", "", true),
                    trigger("cpu", "", true),
                    trigger("cron", "", true)
                ]),
                "property \"useCachedMetrics\" is not supported for \"cron\" scaler; property \"useCachedMetrics\" is not supported for \"cpu\" scaler",
            ),
            (
                json!([
                    trigger("cron", "a", false),
                    trigger("kafka", "a", false),
                    trigger("kafka", "a", false)
                ]),
                "triggerName \"a\" is defined multiple times in the ScaledObject/ScaledJob, but it must be unique",
            ),
        ];
        for (triggers, expected) in cases {
            assert_eq!(
                texts(&changed(json!({ "triggers": triggers }))).join("; "),
                expected,
                "{triggers}"
            );
        }
    }

    #[test]
    fn a_fallback_needs_a_trigger_that_can_fail_or_a_formula() {
        let fallback = json!({ "failureThreshold": 3, "replicas": 2 });
        let cpu =
            json!([{ "type": "cpu", "metricType": "Utilization", "metadata": { "value": "50" } }]);
        assert_eq!(changed(json!({ "fallback": fallback })).problems(), []);
        assert_eq!(
            changed(json!({ "fallback": fallback, "triggers": cpu })).problems(),
            [Problem::NothingToFallBackFrom]
        );
        let formula = json!({ "scalingModifiers": { "formula": "1", "target": "1" } });
        assert_eq!(
            changed(json!({ "fallback": fallback, "triggers": cpu, "advanced": formula }))
                .problems(),
            []
        );
        assert_eq!(
            texts(&changed(
                json!({ "fallback": { "failureThreshold": -1, "replicas": 0 } })
            )),
            ["FailureThreshold=-1 & Replicas=0 must both be greater than or equal to 0"]
        );
    }

    #[test]
    fn names_have_to_fit_into_labels() {
        let mut object = changed(json!({}));
        object.metadata.name = Some("o".repeat(54));
        assert_eq!(object.problems(), [], "keda-hpa- and 54 characters are 63");
        object.metadata.name = Some("o".repeat(55));
        let [problem] = &object.problems()[..] else {
            panic!("{:?}", object.problems())
        };
        assert!(
            problem
                .to_string()
                .contains("is 64 characters long; must be no more than 63 characters; set spec."),
            "{problem}"
        );
        object.metadata.name = Some("o".repeat(64));
        object.spec.advanced = Some(
            serde_json::from_value(json!({ "horizontalPodAutoscalerConfig": { "name": "short" } }))
                .unwrap(),
        );
        let [problem] = &object.problems()[..] else {
            panic!("{:?}", object.problems())
        };
        assert!(
            problem
                .to_string()
                .ends_with("because it is used as the \"scaledobject.keda.sh/name\" label value"),
            "{problem}"
        );
    }

    #[test]
    fn all_problems_are_told_at_once_and_those_of_stored_objects_do_not_stop_them() {
        let mut object = changed(
            json!({ "minReplicaCount": 3, "maxReplicaCount": 2, "idleReplicaCount": 3, "triggers": [] }),
        );
        object.spec.scale_target_ref.name.clear();
        object.metadata.name = Some("o".repeat(64));
        let stops: Vec<_> = object
            .problems()
            .iter()
            .map(Problem::stops_scaling)
            .collect();
        assert_eq!(
            stops,
            [
                Some(reasons::WRONG_TARGET),
                Some(reasons::WRONG_REPLICA_COUNTS),
                Some(reasons::WRONG_REPLICA_COUNTS),
                Some(reasons::WRONG_TRIGGERS),
                None,
                None
            ]
        );
    }
}
