//! What the engine needs to know of a ScaledObject, and how objects and polls are named.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::fallback::Fallback;
use crate::modifiers::Modifiers;

/// Names one ScaledObject. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectKey {
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Numbers the polls of the whole engine, so that a late answer of an old poll is told from the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PollId(pub u64);

/// A ScaledObject's specification with KEDA's defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaledObject {
    /// Seeds the spread of first polls after a restart.
    pub uid: String,
    /// `metadata.generation`: answers that belong to an older one are dropped.
    pub generation: i64,
    pub created_at: Timestamp,
    /// `pollingInterval`, 30 s by default, at least 1 s.
    pub polling_interval: SignedDuration,
    /// `cooldownPeriod`, 300 s by default.
    pub cooldown_period: SignedDuration,
    /// `initialCooldownPeriod`, 0 by default.
    pub initial_cooldown_period: SignedDuration,
    /// `idleReplicaCount`; `None` switches idle mode off.
    pub idle_replicas: Option<i32>,
    /// `minReplicaCount`, 0 by default.
    pub min_replicas: i32,
    /// `maxReplicaCount`, 100 by default.
    pub max_replicas: i32,
    /// `"apps/v1.Deployment"`: how Events name the target's kind (`status.scaleTargetKind`).
    pub target_kind: String,
    /// `spec.scaleTargetRef.name`.
    pub target_name: String,
    /// Number of `spec.triggers`.
    pub trigger_count: usize,
    /// `spec.fallback`.
    pub fallback: Option<Fallback>,
    /// `spec.advanced.scalingModifiers`.
    pub modifiers: Option<Modifiers>,
    /// What the object's annotations switch.
    pub switches: Switches,
}

/// What a person switches by annotation, while the specification stays as it is. The default is: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Nothing is polled and there is no HPA.
    pub pause: Option<Pause>,
    /// `autoscaling.keda.sh/paused-scale-in`: neither to zero nor to idle.
    pub scale_in_paused: bool,
    /// `autoscaling.keda.sh/paused-scale-out`: neither from zero nor from idle.
    pub scale_out_paused: bool,
    /// `autoscaling.keda.sh/force-activation`: active whatever the triggers say.
    pub activation_forced: bool,
}

impl Switches {
    /// Whether the object is shown as paused. KEDA: also where only one direction is.
    pub fn shown_as_paused(&self) -> bool {
        self.pause.is_some() || self.scale_in_paused || self.scale_out_paused
    }
}

/// What happens to the target's replicas while the object is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// `autoscaling.keda.sh/paused`: they stay.
    Whole,
    /// `autoscaling.keda.sh/paused-replicas`: they are set to this number once, and then stay.
    At(i32),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// KEDA's defaults and one trigger.
    pub(crate) fn object() -> ScaledObject {
        ScaledObject {
            uid: "4b0c1f0e-0000-4000-8000-000000000001".into(),
            generation: 1,
            created_at: Timestamp::UNIX_EPOCH,
            polling_interval: SignedDuration::from_secs(30),
            cooldown_period: SignedDuration::from_secs(300),
            initial_cooldown_period: SignedDuration::ZERO,
            idle_replicas: None,
            min_replicas: 0,
            max_replicas: 100,
            target_kind: "apps/v1.Deployment".into(),
            target_name: "web".into(),
            trigger_count: 1,
            fallback: None,
            modifiers: None,
            switches: Switches::default(),
        }
    }
}
