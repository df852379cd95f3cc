//! Reasons and messages that the engine decides about and that others tell too: KEDA's (eventreason.go, message.go), since
//! alerts and scripts match on them.

/// Normal: the object went from not ready to ready. The Ready condition has this reason, too.
pub const SCALED_OBJECT_READY: &str = "ScaledObjectReady";
/// Message of the Event [`SCALED_OBJECT_READY`]. The Ready condition's is longer.
pub const SCALED_OBJECT_READY_MESSAGE: &str = "ScaledObject is ready for scaling";
/// Warning: the object can't be scaled as it stands. The Ready condition has this reason, too.
pub const SCALED_OBJECT_CHECK_FAILED: &str = "ScaledObjectCheckFailed";
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
/// How the Ready condition's message begins for a paused object whose target can't be set to the replicas that the pause asks for.
pub const PAUSE_REPLICAS_FAILED: &str = "failed to scale target to paused replica count";
