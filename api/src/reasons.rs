//! Reasons and messages of Kubernetes Events that are published around the engine's decisions, and the beginnings of
//! the messages of a ScaledObject that can't be scaled. They are KEDA's, since alerts and scripts match on them.
//!
//! The conditions, and the Events that tell of a scaling, belong to the engine, which words them where it decides.

pub use sakidori_engine::reasons::{
    FALLBACK_ACTIVATED, PAUSE_REPLICAS_FAILED, SCALED_OBJECT_CHECK_FAILED, SCALER_FAILED,
    SCALERS_STARTED, SCALERS_STOPPED, SCALERS_STOPPED_MESSAGE,
};

/// Warning: the status could not be written, or the target's kind is unknown.
pub const SCALED_OBJECT_UPDATE_FAILED: &str = "ScaledObjectUpdateFailed";
/// Warning: the object is gone.
pub const SCALED_OBJECT_DELETED: &str = "ScaledObjectDeleted";
/// Message of [`SCALED_OBJECT_DELETED`].
pub const SCALED_OBJECT_DELETED_MESSAGE: &str = "ScaledObject was deleted";
/// Normal or Warning: a scaler has something to tell, such as a deprecated parameter.
pub const SCALER_INFO: &str = "KEDAScalerInfo";

/// Normal: a TriggerAuthentication was created.
pub const TRIGGER_AUTHENTICATION_ADDED: &str = "TriggerAuthenticationAdded";
/// Normal: a TriggerAuthentication is gone.
pub const TRIGGER_AUTHENTICATION_DELETED: &str = "TriggerAuthenticationDeleted";
/// Normal: a ClusterTriggerAuthentication was created.
pub const CLUSTER_TRIGGER_AUTHENTICATION_ADDED: &str = "ClusterTriggerAuthenticationAdded";
/// Normal: a ClusterTriggerAuthentication is gone.
pub const CLUSTER_TRIGGER_AUTHENTICATION_DELETED: &str = "ClusterTriggerAuthenticationDeleted";
/// Normal: a TriggerAuthentication or a ClusterTriggerAuthentication was changed. KEDA names the cluster's kind in
/// both cases; whoever matches on it does too.
pub const CLUSTER_TRIGGER_AUTHENTICATION_UPDATED: &str = "ClusterTriggerAuthenticationUpdated";

/// Warning: a source of a calendar can't be read; its last copy counts.
pub const CALENDAR_STALE: &str = "CalendarStale";
/// Normal: all sources of a calendar can be read again.
pub const CALENDAR_FRESH: &str = "CalendarFresh";
/// Warning: events of a calendar are left out, or it is past a limit.
pub const CALENDAR_INVALID: &str = "CalendarInvalid";

/// Message of the Event [`SCALED_OBJECT_CHECK_FAILED`] for a target that does not exist.
pub const TARGET_NOT_FOUND_MESSAGE: &str = "Target resource doesn't exist";
/// Message of the Event [`SCALED_OBJECT_CHECK_FAILED`] for a target without a `/scale` subresource.
pub const TARGET_NOT_SCALABLE_MESSAGE: &str = "Target resource doesn't expose /scale subresource";

/// How the Ready condition's message begins (`<beginning>: <cause>`) when the scale target is wrong
/// (KEDA: scaledobject_controller.go and message.go, for this and the following).
pub const WRONG_TARGET: &str = "ScaledObject doesn't have correct scaleTargetRef specification";
/// The same for replica counts that contradict each other.
pub const WRONG_REPLICA_COUNTS: &str =
    "ScaledObject doesn't have correct Idle/Min/Max Replica Counts specification";
/// The same for triggers that contradict each other.
pub const WRONG_TRIGGERS: &str = "ScaledObject doesn't have correct triggers specification";
/// The same for an HPA that can't be made, which includes triggers whose scalers can't be built.
pub const HPA_FAILED: &str = "failed to ensure HPA is correctly created for ScaledObject";
/// The same for a paused object whose HPA can't be removed.
pub const PAUSE_HPA_FAILED: &str = "failed to delete HPA for paused ScaledObject";

/// The conditions of a calendar and their reasons. Each has a page in docs/reasons/.
pub const OF_CALENDARS: &[(&str, &[&str])] = &[
    (
        "Ready",
        &[
            CALENDAR_READY,
            CALENDAR_EVENTS_LEFT_OUT,
            CALENDAR_LIMIT_EXCEEDED,
        ],
    ),
    ("Stale", &[CALENDAR_SOURCES_READ, CALENDAR_SOURCE_FAILED]),
];
/// True: all that stands in the calendar counts.
pub const CALENDAR_READY: &str = "CalendarReady";
/// False: what is wrong with some events leaves them out; the others count.
pub const CALENDAR_EVENTS_LEFT_OUT: &str = "EventsLeftOut";
/// False: it is past a limit, so what was known before counts.
pub const CALENDAR_LIMIT_EXCEEDED: &str = "LimitExceeded";
/// False: every source could be read the last time.
pub const CALENDAR_SOURCES_READ: &str = "SourcesRead";
/// True: a source can't be read; its last copy counts.
pub const CALENDAR_SOURCE_FAILED: &str = "SourceFailed";
