//! The condition `Prescaled`: whether the replicas of the floor are Ready, and if not, why.

use super::timeline::{Bounds, Level};
use crate::condition_reasons as reasons;
use crate::conditions::{Condition, ConditionStatus};

/// What keeps pods from coming up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A ResourceQuota refuses pods; with its own words.
    QuotaExceeded { message: String },
    /// No node has room for so many pods; with the scheduler's words.
    Unschedulable { pods: usize, message: String },
    /// The user has paused scaling out.
    ScaleOutPaused,
}

impl Obstacle {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::QuotaExceeded { .. } => reasons::QUOTA_EXCEEDED,
            Self::Unschedulable { .. } => reasons::UNSCHEDULABLE,
            Self::ScaleOutPaused => reasons::FLOOR_PAUSED,
        }
    }

    pub(super) fn words(&self) -> String {
        match self {
            Self::QuotaExceeded { message } => format!("a ResourceQuota is in the way: {message}"),
            Self::Unschedulable { pods, message } => {
                format!("{pods} pods find no node with room: {message}")
            }
            Self::ScaleOutPaused => {
                "scaling out is paused (autoscaling.keda.sh/paused-scale-out), so the floor does not rise".to_owned()
            }
        }
    }
}

/// The condition at a level that has a floor. `ready` is the number of Ready pods, where it is known.
pub(super) fn prescaled(
    level: &Level,
    bounds: Bounds,
    ready: Option<usize>,
    obstacle: Option<&Obstacle>,
) -> Condition {
    let floor = level.floor;
    let name = level
        .cause
        .as_ref()
        .map_or("a sale", |cause| cause.name.as_str());
    if let Some(message) = limited(level, bounds) {
        return Condition {
            status: ConditionStatus::False,
            reason: reasons::LIMITED.to_owned(),
            message,
        };
    }
    let wanted = usize::try_from(floor).unwrap_or(0);
    let numbers = match ready {
        Some(ready) => format!("{ready} of {floor} replicas for {name} are Ready"),
        None => format!("how many of the {floor} replicas for {name} are Ready is not known"),
    };
    let (status, reason, message) = match (ready, obstacle) {
        (Some(ready), _) if ready >= wanted => {
            (ConditionStatus::True, reasons::FLOOR_READY, numbers)
        }
        (_, Some(obstacle)) => (
            ConditionStatus::False,
            obstacle.reason(),
            format!("{numbers}: {}", obstacle.words()),
        ),
        _ => (ConditionStatus::False, reasons::PODS_NOT_READY, numbers),
    };
    Condition {
        status,
        reason: reason.to_owned(),
        message,
    }
}

/// The condition at a level that has a floor, of an object that is paused. It says the same as long as the sale is the same.
pub(crate) fn paused(level: &Level) -> Option<Condition> {
    let cause = level.cause.as_ref().filter(|_| level.active)?;
    Some(Condition {
        status: ConditionStatus::False,
        reason: reasons::FLOOR_PAUSED.to_owned(),
        message: format!(
            "{} starts at {}, and its floor is not applied while the object is paused",
            cause.name, cause.start
        ),
    })
}

/// Why the whole floor can't be, where a maximum or a limit is below it.
pub(super) fn limited(level: &Level, bounds: Bounds) -> Option<String> {
    if level.floor <= bounds.max {
        return None;
    }
    let floor = level.floor;
    let name = level
        .cause
        .as_ref()
        .map_or("a sale", |cause| cause.name.as_str());
    let why = match &level.limit {
        Some((limit, occurrence)) if *limit <= bounds.max => {
            format!("limitReplicas {limit} for {} wins over it", occurrence.name)
        }
        _ => format!(
            "the maximum is {}: raise maxReplicaCount, or set maxReplicas in the trigger",
            bounds.max
        ),
    };
    Some(format!(
        "the floor for {name} is {floor} replicas, but {why}"
    ))
}
