//! The conditions of a ScaledObject, with KEDA's types, reasons and messages.

/// A condition's type, in the order in which KEDA lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    Ready,
    Active,
    Fallback,
    Paused,
    /// Only present once the HPA has reported about itself.
    HpaActive,
}

impl ConditionType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Active => "Active",
            Self::Fallback => "Fallback",
            Self::Paused => "Paused",
            Self::HpaActive => "HPAActive",
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
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            ready: Condition::default(),
            active: Condition::default(),
            fallback: Condition::default(),
            paused: Condition { status: ConditionStatus::False, ..Condition::default() },
            hpa_active: None,
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
        ]
        .into_iter()
        .filter_map(|(kind, condition)| condition.map(|condition| (kind, condition)))
    }
}
