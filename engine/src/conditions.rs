//! The conditions of a ScaledObject, with KEDA's types, reasons and messages.

use crate::condition_reasons as reasons;

/// A condition's type, in the order in which KEDA lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    Ready,
    Active,
    Fallback,
    Paused,
    /// Only present once the HPA has reported about itself.
    HpaActive,
    /// Only present while a sale has a floor. Not one of KEDA's.
    Prescaled,
    /// Only present where pods are to be resized in place. Not one of KEDA's.
    Resized,
}

impl ConditionType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Active => "Active",
            Self::Fallback => "Fallback",
            Self::Paused => "Paused",
            Self::HpaActive => "HPAActive",
            Self::Prescaled => "Prescaled",
            Self::Resized => "Resized",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    #[default]
    Unknown,
}

impl ConditionStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One condition's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub status: ConditionStatus,
    pub reason: String,
    pub message: String,
}

/// All conditions of one object. The default is KEDA's initial state: all Unknown but Paused, which is False.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    pub ready: Condition,
    pub active: Condition,
    pub fallback: Condition,
    pub paused: Condition,
    pub hpa_active: Option<Condition>,
    pub prescaled: Option<Condition>,
    pub resized: Option<Condition>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            ready: Condition::default(),
            active: Condition::default(),
            fallback: Condition::default(),
            paused: Condition {
                status: ConditionStatus::False,
                ..Condition::default()
            },
            hpa_active: None,
            prescaled: None,
            resized: None,
        }
    }
}

impl Conditions {
    /// The conditions in the order in which KEDA writes them into `status.conditions`.
    pub fn iter(&self) -> impl Iterator<Item = (ConditionType, &Condition)> {
        [
            (ConditionType::Ready, Some(&self.ready)),
            (ConditionType::Active, Some(&self.active)),
            (ConditionType::Fallback, Some(&self.fallback)),
            (ConditionType::Paused, Some(&self.paused)),
            (ConditionType::HpaActive, self.hpa_active.as_ref()),
            (ConditionType::Prescaled, self.prescaled.as_ref()),
            (ConditionType::Resized, self.resized.as_ref()),
        ]
        .into_iter()
        .filter_map(|(kind, condition)| condition.map(|condition| (kind, condition)))
    }
}

// KEDA's reasons and messages: users match on them.
impl Condition {
    fn new(status: ConditionStatus, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }

    pub(crate) fn ready() -> Self {
        let message = "ScaledObject is defined correctly and is ready for scaling";
        Self::new(ConditionStatus::True, reasons::READY, message)
    }

    /// KEDA: a paused object is ready, and says that it is paused.
    pub(crate) fn ready_while_paused() -> Self {
        Self::new(ConditionStatus::True, reasons::READY, PAUSED_MESSAGE)
    }

    pub(crate) fn paused() -> Self {
        Self::new(ConditionStatus::True, reasons::PAUSED, PAUSED_MESSAGE)
    }

    pub(crate) fn unpaused() -> Self {
        Self::new(ConditionStatus::False, reasons::UNPAUSED, UNPAUSED_MESSAGE)
    }

    pub(crate) fn check_failed(message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::False, reasons::CHECK_FAILED, message)
    }

    pub(crate) fn replicas_unknown(error: &str) -> Self {
        let message = format!("Error getting current replicas count for ScaleTarget: {error}");
        Self::new(ConditionStatus::False, reasons::REPLICAS_UNKNOWN, message)
    }

    pub(crate) fn some_triggers_fail() -> Self {
        let message = "Some triggers defined in ScaledObject are not working correctly";
        Self::new(
            ConditionStatus::Unknown,
            reasons::SOME_TRIGGERS_FAIL,
            message,
        )
    }

    pub(crate) fn triggers_fail() -> Self {
        let message = "Triggers defined in ScaledObject are not working correctly";
        Self::new(ConditionStatus::False, reasons::TRIGGERS_FAIL, message)
    }

    pub(crate) fn active() -> Self {
        let message = "Scaling is performed because triggers are active";
        Self::new(ConditionStatus::True, reasons::ACTIVE, message)
    }

    pub(crate) fn active_by_force() -> Self {
        let message = "Scaling is performed because activation is being forced by annotation";
        Self::new(ConditionStatus::True, reasons::ACTIVE, message)
    }

    pub(crate) fn not_active() -> Self {
        let message = "Scaling is not performed because triggers are not active";
        Self::new(ConditionStatus::False, reasons::NOT_ACTIVE, message)
    }

    pub(crate) fn cooling_down() -> Self {
        let message = "Scaler cooling down because triggers are not active";
        Self::new(ConditionStatus::False, reasons::COOLING_DOWN, message)
    }

    pub(crate) fn activity_unknown() -> Self {
        Self::new(
            ConditionStatus::Unknown,
            reasons::ACTIVITY_UNKNOWN,
            "ScaledObject check failed",
        )
    }

    pub(crate) fn falling_back() -> Self {
        let message = "At least one trigger is falling back on this scaled object";
        Self::new(ConditionStatus::True, reasons::FALLING_BACK, message)
    }

    pub(crate) fn no_fallback() -> Self {
        let message = "No fallbacks are active on this scaled object";
        Self::new(ConditionStatus::False, reasons::NO_FALLBACK, message)
    }

    /// The HPA's own `ScalingActive` condition as KEDA mirrors it. An HPA that switched itself off at zero replicas
    /// is as it should be.
    pub(crate) fn of_hpa(scaling_active: bool, reason: &str, message: &str) -> Self {
        match (scaling_active, reason) {
            (true, _) => Self::new(
                ConditionStatus::True,
                reasons::HPA_ACTIVE,
                "HPA is actively scaling",
            ),
            (false, reasons::SCALING_DISABLED) => {
                Self::new(ConditionStatus::True, reasons::SCALING_DISABLED, message)
            }
            (false, _) => {
                let reason = if reason.is_empty() {
                    reasons::HPA_METRICS_UNAVAILABLE
                } else {
                    reason
                };
                Self::new(
                    ConditionStatus::False,
                    reason,
                    format!("HPA is not actively scaling: {message}"),
                )
            }
        }
    }

    /// Never set, or set because preparing failed or the object was paused: what a preparation without problems sets anew.
    pub(crate) fn waits_for_preparation(&self) -> bool {
        self.reason.is_empty()
            || self.reason == reasons::CHECK_FAILED
            || self.message == PAUSED_MESSAGE
    }
}

/// Messages of the Paused condition, and of the Events that come with it.
pub(crate) const PAUSED_MESSAGE: &str = "ScaledObject is paused";
pub(crate) const UNPAUSED_MESSAGE: &str = "pause annotation removed for ScaledObject";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_conditions_are_kedas() {
        let conditions = Conditions::default();
        let listed: Vec<_> = conditions
            .iter()
            .map(|(kind, condition)| (kind.as_str(), condition.status.as_str()))
            .collect();
        assert_eq!(
            listed,
            [
                ("Ready", "Unknown"),
                ("Active", "Unknown"),
                ("Fallback", "Unknown"),
                ("Paused", "False")
            ]
        );
    }

    #[test]
    fn the_hpas_condition_is_mirrored() {
        let cases = [
            (
                (true, "ValidMetricFound", "found"),
                ("True", "HPAActive", "HPA is actively scaling"),
            ),
            (
                (false, "ScalingDisabled", "scaling is disabled"),
                ("True", "ScalingDisabled", "scaling is disabled"),
            ),
            (
                (false, "FailedGetExternalMetric", "no metric"),
                (
                    "False",
                    "FailedGetExternalMetric",
                    "HPA is not actively scaling: no metric",
                ),
            ),
            (
                (false, "", "no metric"),
                (
                    "False",
                    "HPAMetricsUnavailable",
                    "HPA is not actively scaling: no metric",
                ),
            ),
        ];
        for ((status, reason, message), expected) in cases {
            let condition = Condition::of_hpa(status, reason, message);
            assert_eq!(
                (
                    condition.status.as_str(),
                    &*condition.reason,
                    &*condition.message
                ),
                expected
            );
        }
    }
}
