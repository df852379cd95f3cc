//! What a `sale-calendar` trigger asks for.

use jiff::SignedDuration;

use super::multiplier::Multiplier;

/// The parameters of one `sale-calendar` trigger. No duration is negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub wish: Wish,
    pub baseline: Baseline,
    pub lead_time: LeadTime,
    pub ramp_up: SignedDuration,
    pub hold_after: SignedDuration,
    pub ramp_down: SignedDuration,
    /// The HPA's maximum while an occurrence has a floor, where it is above `maxReplicaCount`.
    pub max_replicas: Option<i32>,
    pub overlap: Overlap,
    pub nodes: Nodes,
}

/// What an occurrence means for the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A floor of so many replicas.
    Replicas(i32),
    /// A floor of so many times the baseline.
    Times(Factor),
    /// No more replicas than this.
    Limit(i32),
}

/// By what the baseline is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// What the event says; an event that says nothing brings the normal demand.
    OfEvent,
    Fixed(Multiplier),
}

/// The replicas of a normal day: what a floor climbs from, and what is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    Replicas(i32),
    /// The median of the replicas over so long a time before the ramp.
    Observed(SignedDuration),
}

/// How long before the start the floor is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadTime {
    Fixed(SignedDuration),
    /// As long as the workload's pods need to become Ready: see [`super::lead_from`].
    Auto,
}

/// What sales that run together make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// The highest floor.
    #[default]
    Max,
    /// The sum of the floors.
    Sum,
}

/// Whether room for pods is asked for before there are pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nodes {
    /// Pods that find no room make nodes come.
    #[default]
    WithPods,
    /// A CapacityBuffer makes nodes come before the ramp begins.
    First,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            wish: Wish::Times(Factor::OfEvent),
            baseline: Baseline::Observed(SignedDuration::from_hours(1)),
            lead_time: LeadTime::Auto,
            ramp_up: SignedDuration::from_mins(10),
            hold_after: SignedDuration::from_mins(10),
            ramp_down: SignedDuration::from_mins(30),
            max_replicas: None,
            overlap: Overlap::Max,
            nodes: Nodes::WithPods,
        }
    }
}
