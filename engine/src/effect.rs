//! What is to be done: everything the engine can ask for. Every effect carries its reason.

use jiff::{SignedDuration, Timestamp};

use crate::conditions::Conditions;
use crate::fallback::MetricHealth;
use crate::object::{ObjectKey, PollId};
use crate::prescale::{PrescaleStatus, Report};
use crate::quantity::Quantity;

/// One thing to do. The shell carries effects out in order per object.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few effects at a time, carried out at once"
)]
pub enum Effect {
    /// Resolve target and authentication, build the scalers, apply the HPA; for a paused object, remove the HPA. Answer
    /// with `Event::Prepared`.
    Prepare { key: ObjectKey, generation: i64 },
    /// Read the target's replicas and all triggers at once; answer with `Event::Polled`. `late` is by how much its time has
    /// passed already. What another object asked the same source less than `within` ago may be taken for an answer.
    /// `for_hpa` where it is because an HPA reads.
    Poll {
        key: ObjectKey,
        poll: PollId,
        late: SignedDuration,
        within: SignedDuration,
        for_hpa: bool,
    },
    /// From now on answer the HPA's reads of these metrics so, until the next poll: what counts is not what their scalers read. It is
    /// made of answers that were asked for `age` ago.
    Serve {
        key: ObjectKey,
        metrics: Vec<Served>,
        age: SignedDuration,
    },
    /// Write the target's `/scale`, if it still has `from` replicas; answer with `Event::Scaled`.
    Scale {
        key: ObjectKey,
        from: i32,
        to: i32,
        direction: ScaleDirection,
        reason: String,
    },
    /// Write the part of the status that the engine owns, together with what preparation found. After each
    /// preparation one comes even if the engine's part is as it was, so that what preparation found gets written: drop
    /// it if the object's status already says all of it (after a restart that is the rule).
    WriteStatus {
        key: ObjectKey,
        status: ObjectStatus,
    },
    /// From now on these are the bounds of the object's HPA, instead of those of the specification: also at every later
    /// preparation. To be kept until the API server has them, or until the next one.
    SetBounds {
        key: ObjectKey,
        min: i32,
        max: i32,
        reason: String,
        /// They are made of what only the status brings back after a restart, so it has to be written first.
        after_status: bool,
    },
    /// Make the object's CapacityBuffer keep room for so many pods, or be gone; answer with `Event::RoomKept`. Comes again while it is
    /// wanted, so that one that somebody deletes is made anew. One at a time for each object.
    KeepRoom {
        key: ObjectKey,
        pods: Option<i32>,
        reason: String,
    },
    /// Look at the target's pods; answer with `Event::PodsSeen`.
    ReadPods { key: ObjectKey },
    /// What the sales of the object come to, for whoever watches.
    ShowPrescale { key: ObjectKey, shown: Shown },
    /// Publish a Kubernetes Event on the ScaledObject, and log the same sentence.
    Publish { key: ObjectKey, told: Told },
    /// Log a sentence that KEDA has no Event for.
    Log { key: ObjectKey, told: Told },
}

/// A sentence for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub kind: EventType,
    /// One word, which users match on.
    pub reason: &'static str,
    pub message: String,
    /// Where it tells of a write of replicas.
    pub scaled: Option<Scaled>,
}

/// A write of replicas that was made, or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    pub from: i32,
    pub to: i32,
    /// Why. KEDA's sentences don't always say.
    pub cause: String,
}

/// What the sales of an object come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub floor: i32,
    /// A sale holds: from the first instant of its ramp to the end of its hold. `None` while a pause leaves that open.
    pub holds: Option<bool>,
    /// Ready pods, where they are known.
    pub ready: Option<usize>,
    /// The target's replicas, where they are known.
    pub replicas: Option<i32>,
    /// The reason of the condition `Prescaled`, while there is one.
    pub reason: Option<String>,
    /// `PrescaleLate` was told of a sale whose replicas are not all Ready yet.
    pub late: bool,
    pub next_start: Option<Timestamp>,
    /// Of the sales that are over now.
    pub reports: Vec<Report>,
}

/// Which kind of write to `/scale` this is; the Event reasons differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleDirection {
    /// From zero or idle to at least one: KEDAScaleTargetActivated.
    Activate,
    /// To zero or idle after the cooldown: KEDAScaleTargetDeactivated.
    Deactivate,
    /// From below `minReplicaCount` up to it.
    RaiseToMinimum,
    /// To the number of replicas that a pause asks for.
    HoldPaused,
}

/// The type of a Kubernetes Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Normal,
    Warning,
}

/// The part of `status` that the engine owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectStatus {
    pub conditions: Conditions,
    pub last_active_time: Option<Timestamp>,
    /// `status.triggersActivity`: metric name and whether it is active, in the order of the triggers.
    pub triggers_activity: Vec<(String, bool)>,
    /// `status.pausedReplicaCount`: the number that the target was set to when it was paused.
    pub paused_replicas: Option<i32>,
    /// `status.health`: each metric, by name, where the object has a fallback.
    pub health: Vec<(String, MetricHealth)>,
    /// `status.sakidori.prescaling`.
    pub prescale: PrescaleStatus,
}

/// What the HPA is told of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    pub metric: String,
    /// The value, or why there is none: then the HPA keeps the replicas.
    pub value: Result<Quantity, String>,
}
