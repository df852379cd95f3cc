//! Why an object has its replicas, in one word.

use sakidori_api::Condition;
use sakidori_engine::condition_reasons as reasons;

/// What decides about an object's replicas now; the first that holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grounds {
    /// Nothing is polled.
    pub paused: bool,
    /// A sale sets a floor.
    pub floor: bool,
    pub activation_forced: bool,
}

/// docs/metrics.md has a table of them.
pub fn decision(grounds: Grounds, conditions: &[Condition]) -> &'static str {
    let condition = |kind: &str| conditions.iter().find(|one| one.type_ == kind);
    let reason = |kind: &str| condition(kind).map_or("", |one| one.reason.as_str());
    let holds = |kind: &str| condition(kind).is_some_and(|one| one.status == "True");
    let ready = reason("Ready");
    if grounds.paused {
        "Paused"
    } else if ready == reasons::CHECK_FAILED {
        "NotPrepared"
    } else if ready == reasons::REPLICAS_UNKNOWN {
        "ReplicasUnknown"
    } else if grounds.floor {
        "Sale"
    } else if holds("Fallback") {
        "Fallback"
    } else if holds("Active") && grounds.activation_forced {
        "ForcedActive"
    } else if holds("Active") {
        "Active"
    } else if ready == reasons::TRIGGERS_FAIL {
        "TriggersFail"
    } else if reason("Active") == reasons::COOLING_DOWN {
        "Cooldown"
    } else if reason("Active") == reasons::NOT_ACTIVE {
        "Inactive"
    } else {
        "Unknown"
    }
}

/// The HPA controller's reasons for its own condition ScalingActive, beside those that the engine knows.
const OF_HPAS: &[&str] = &[
    "FailedGetExternalMetric",
    "FailedGetResourceMetric",
    "FailedGetContainerResourceMetric",
    "FailedGetObjectMetric",
    "FailedGetPodsMetric",
    "InvalidMetricSourceType",
    "InvalidSelector",
    "AmbiguousSelector",
    "FailedConvertHPA",
];

const STATUSES: &[&str] = &["True", "False", "Unknown"];

/// What is shown of a condition: its status and its reason, as far as they are known words. What somebody else wrote into a status is no
/// label.
pub fn shown(condition: &Condition) -> (&'static str, &'static str) {
    let of_objects = reasons::OF_SCALED_OBJECTS.iter();
    let known = of_objects.flat_map(|(_, reasons)| *reasons).chain(OF_HPAS);
    let empty = match condition.reason.is_empty() {
        true => "",
        false => "Other",
    };
    (
        find(STATUSES, &condition.status).unwrap_or("Unknown"),
        find(known, &condition.reason).unwrap_or(empty),
    )
}

/// The word that is `word`.
fn find(
    words: impl IntoIterator<Item = &'static &'static str>,
    word: &str,
) -> Option<&'static str> {
    words.into_iter().find(|one| **one == word).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
        }
    }

    #[test]
    fn the_first_that_holds_is_the_reason() {
        let none = Grounds::default();
        let paused = Grounds {
            paused: true,
            ..none
        };
        let floor = Grounds {
            floor: true,
            ..none
        };
        let forced = Grounds {
            activation_forced: true,
            ..none
        };
        let ready = |reason| condition("Ready", "True", reason);
        let active = |status, reason| condition("Active", status, reason);
        let falls = condition("Fallback", "True", "FallbackExists");
        let fine = || ready("ScaledObjectReady");
        for (grounds, conditions, expected) in [
            (none, vec![], "Unknown"),
            (none, vec![fine(), active("Unknown", "")], "Unknown"),
            (
                paused,
                vec![fine(), active("True", "ScalerActive")],
                "Paused",
            ),
            (floor, vec![ready("ScaledObjectCheckFailed")], "NotPrepared"),
            (
                none,
                vec![ready("ErrorGettingCurrentReplicas")],
                "ReplicasUnknown",
            ),
            (floor, vec![fine(), active("True", "ScalerActive")], "Sale"),
            (
                none,
                vec![fine(), active("True", "ScalerActive"), falls],
                "Fallback",
            ),
            (none, vec![fine(), active("True", "ScalerActive")], "Active"),
            (
                forced,
                vec![fine(), active("True", "ScalerActive")],
                "ForcedActive",
            ),
            (
                none,
                vec![ready("TriggerError"), active("False", "ScalerNotActive")],
                "TriggersFail",
            ),
            (
                none,
                vec![fine(), active("False", "ScalerCooldown")],
                "Cooldown",
            ),
            (
                none,
                vec![fine(), active("False", "ScalerNotActive")],
                "Inactive",
            ),
        ] {
            assert_eq!(decision(grounds, &conditions), expected, "{conditions:?}");
        }
    }

    #[test]
    fn what_somebody_wrote_into_a_status_is_no_label() {
        for (status, reason, expected) in [
            ("True", "ScaledObjectReady", ("True", "ScaledObjectReady")),
            ("Unknown", "", ("Unknown", "")),
            ("maybe", "made-up-7", ("Unknown", "Other")),
        ] {
            assert_eq!(shown(&condition("Ready", status, reason)), expected);
        }
    }
}
