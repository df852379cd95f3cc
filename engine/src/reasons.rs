//! Reasons and messages that the engine decides about and that others tell too: KEDA's (eventreason.go, message.go), since
//! alerts and scripts match on them.

use crate::condition_reasons;

/// Normal: the object went from not ready to ready. The Ready condition has this reason, too.
pub const SCALED_OBJECT_READY: &str = condition_reasons::READY;
/// Message of the Event [`SCALED_OBJECT_READY`]. The Ready condition's is longer.
pub const SCALED_OBJECT_READY_MESSAGE: &str = "ScaledObject is ready for scaling";
/// Warning: the object can't be scaled as it stands. The Ready condition has this reason, too.
pub const SCALED_OBJECT_CHECK_FAILED: &str = condition_reasons::CHECK_FAILED;
/// Normal: the triggers of an object are polled from now on, or one scaler of it is built.
pub const SCALERS_STARTED: &str = "KEDAScalersStarted";
/// Message of [`SCALERS_STARTED`] for the object.
pub const SCALERS_STARTED_MESSAGE: &str = "Started scalers watch";
/// Normal: the triggers of an object are not polled any longer.
pub const SCALERS_STOPPED: &str = "KEDAScalersStopped";
/// Message of [`SCALERS_STOPPED`].
pub const SCALERS_STOPPED_MESSAGE: &str = "Stopped scalers watch";
/// Warning: a scaler can't be built or can't read its source.
pub const SCALER_FAILED: &str = "KEDAScalerFailed";
/// Normal: some metric of the object falls back.
pub const FALLBACK_ACTIVATED: &str = "ScaledObjectFallbackActivated";
/// How the Ready condition's message begins for a paused object whose target can't be set to the replicas that the pause asks for.
pub const PAUSE_REPLICAS_FAILED: &str = "failed to scale target to paused replica count";

// Reasons of what only the log tells: KEDA has no Event for it.

/// Normal: a trigger, or the formula, that failed works again.
pub const TRIGGER_RECOVERED: &str = "TriggerRecovered";
/// Normal: the target had fewer replicas than `minReplicaCount`.
pub const RAISED_TO_MINIMUM: &str = "RaisedToMinimum";
/// Normal: the target was set to the replicas that a pause asks for.
pub const SET_TO_PAUSED_REPLICAS: &str = "SetToPausedReplicas";
/// Warning: the target's replicas can't be read. The Ready condition has this reason, too.
pub const REPLICAS_UNKNOWN: &str = condition_reasons::REPLICAS_UNKNOWN;
/// Normal: they can be read again.
pub const REPLICAS_KNOWN_AGAIN: &str = "ReplicasKnownAgain";
