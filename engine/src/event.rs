//! What can happen: everything the engine is told.

use jiff::{SignedDuration, Timestamp};

use crate::conditions::{Condition, Conditions};
use crate::fallback::MetricHealth;
use crate::object::{ObjectKey, PollId, ScaledObject};
use crate::prescale::PrescaleStatus;
use crate::quantity::Quantity;
use crate::sales::{PodsSeen, SaleTrigger};

/// One thing that happened. The time at which it happened comes in beside it.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "events are passed one at a time and never stored in bulk"
)]
pub enum Event {
    /// A ScaledObject appeared or changed. `remembered` is what its status says; it is used when the engine does
    /// not know the object yet (first sight, or after a restart) and ignored otherwise: the engine is the only
    /// writer of what it holds.
    Applied {
        key: ObjectKey,
        object: ScaledObject,
        remembered: Remembered,
    },
    /// A ScaledObject is gone or is being deleted.
    Deleted { key: ObjectKey },
    /// Something that the object refers to changed (a Secret, a TriggerAuthentication, the target's template):
    /// it has to be prepared anew before its next poll.
    ReferenceChanged { key: ObjectKey },
    /// The answer to [`crate::Effect::Prepare`].
    Prepared {
        key: ObjectKey,
        generation: i64,
        outcome: PrepareOutcome,
    },
    /// Someone waits for a reading newer than the last one (the HPA): poll now unless a poll is under way.
    ReadingWanted { key: ObjectKey },
    /// The source of the trigger with this index told by itself that there is work (`external-push`): poll now, and count the
    /// trigger as active in that poll. `metric` is the external metric under which it is shown as active.
    Pushed {
        key: ObjectKey,
        trigger: usize,
        metric: String,
    },
    /// The answer to [`crate::Effect::Poll`].
    Polled {
        key: ObjectKey,
        poll: PollId,
        outcome: PollOutcome,
    },
    /// The answer to [`crate::Effect::Scale`].
    Scaled {
        key: ObjectKey,
        outcome: ScaleOutcome,
    },
    /// The `sale-calendar` triggers of the object, with what their calendars say now. Comes before the answer to each preparation of an
    /// object that has such triggers or had them, and whenever a calendar changes.
    SalesKnown {
        key: ObjectKey,
        triggers: Vec<SaleTrigger>,
    },
    /// The answer to [`crate::Effect::ReadPods`]; `None` where they can't be read.
    PodsSeen {
        key: ObjectKey,
        pods: Option<PodsSeen>,
    },
    /// The answer to [`crate::Effect::KeepRoom`].
    RoomKept {
        key: ObjectKey,
        outcome: RoomOutcome,
    },
    /// The HPA's own `ScalingActive` condition, when it changes.
    HpaObserved {
        key: ObjectKey,
        status: bool,
        reason: String,
        message: String,
    },
    /// What has become of resizing the object's pods in place, when it changes; `None` where they are not to be resized any more.
    ResizeObserved {
        key: ObjectKey,
        condition: Option<Condition>,
    },
    /// Nothing but time passed: the agenda is looked at.
    Woke,
}

/// What the object's status said when the engine first saw it: all that survives a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    pub last_active_time: Option<Timestamp>,
    pub conditions: Conditions,
    /// `status.pausedReplicaCount`: the number that a pause has set the target to already.
    pub paused_replicas: Option<i32>,
    /// `status.health`, by metric.
    pub health: Vec<(String, MetricHealth)>,
    /// `status.sakidori.prescaling`.
    pub prescale: PrescaleStatus,
    /// True where the status shows that the object was brought up before: its first poll is then spread.
    pub seen_before: bool,
}

/// How preparing an object went: resolving its target and its authentication, building its scalers, applying its HPA.
#[derive(Clone, Debug, PartialEq)]
pub enum PrepareOutcome {
    /// All is in place. `problems` names what does not work but does not stop the other triggers either (a missing
    /// TriggerAuthentication): it keeps Ready at False. `target_replicas` orders first polls: zero comes first.
    Done {
        target_replicas: i32,
        problems: Vec<String>,
        /// The external metrics of each trigger, in the order of `spec.triggers`.
        metrics: Vec<Vec<MetricTarget>>,
    },
    /// The object is paused: its HPA is gone, nothing is there to be polled. `target_replicas` are read where the pause
    /// asks for a number of replicas.
    Paused { target_replicas: Option<i32> },
    /// The object can't be scaled as it stands: `message` names the object, the field and the value, and says what to do.
    /// Triggers that could be built are still polled if `pollable`.
    Failed { message: String, pollable: bool },
}

/// An external metric as it stands in the HPA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricTarget {
    /// The full name, `s<index>-<name>`.
    pub metric: String,
    pub target: Quantity,
    pub target_type: TargetType,
}

/// What an HPA compares with a metric's target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetType {
    /// The value, divided by the replicas.
    #[default]
    AverageValue,
    /// The value as it is.
    Value,
}

/// What one poll of one object brought.
#[derive(Clone, Debug, PartialEq)]
pub struct PollOutcome {
    /// The target's current `spec.replicas`, or why it can't be had.
    pub replicas: Result<i32, String>,
    /// One outcome per trigger, in the order of `spec.triggers`.
    pub triggers: Vec<TriggerOutcome>,
    /// The target's Ready pods, where a fallback may need them; `None` where it doesn't, or where they can't be counted.
    pub ready_pods: Option<i32>,
    /// How long before this poll the oldest of its answers was asked for: zero unless one was shared with another object.
    pub age: SignedDuration,
}

/// What one trigger answered.
#[derive(Clone, Debug, PartialEq)]
pub enum TriggerOutcome {
    Read(Vec<Reading>),
    /// The scaler could not read its source; the message holds no secret.
    Failed {
        message: String,
    },
    /// A `cpu` or `memory` trigger: the HPA reads it from metrics-server, so there is nothing to poll.
    Resource,
}

/// One metric's value as its scaler read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The external metric's full name, `s<index>-<name>`.
    pub metric: String,
    pub value: f64,
    /// Value above the activation threshold, by the scaler's own rule.
    pub active: bool,
}

/// How a write of replicas went.
#[derive(Clone, Debug, PartialEq)]
pub enum ScaleOutcome {
    Done {
        from: i32,
        to: i32,
    },
    /// Someone else changed the target between the poll and the write: nothing was written; poll again.
    Conflict,
    Failed {
        from: i32,
        to: i32,
        message: String,
    },
}

/// What became of a CapacityBuffer that was asked for, or of its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomOutcome {
    /// It stands as it was asked for.
    Stands {
        /// Its nodes are there, as far as its status says.
        provisioned: bool,
        /// What its status says is in the way; may be empty.
        message: String,
    },
    Gone,
    /// The cluster has no such kind.
    Unsupported,
    Failed {
        message: String,
    },
}

/// Anything the shell wants to feed, with its time: the form in which traces are kept in tests.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    pub at: Timestamp,
    pub event: Event,
}
