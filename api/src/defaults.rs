//! What holds for a field that a manifest leaves out. KEDA fills these in when it reads an object, so its CRD does not
//! know them and a stored object stays as it was written.

use jiff::SignedDuration;

/// `spec.pollingInterval` (KEDA: withtriggers_types.go).
pub const POLLING_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
/// `spec.cooldownPeriod` (KEDA: scale_executor.go).
pub const COOLDOWN_PERIOD: SignedDuration = SignedDuration::from_secs(300);
/// `spec.initialCooldownPeriod` (KEDA: scale_executor.go).
pub const INITIAL_COOLDOWN_PERIOD: SignedDuration = SignedDuration::ZERO;
/// `spec.minReplicaCount`. The HPA's minimum is 1 even so: it can't scale to zero.
pub const MIN_REPLICAS: i32 = 0;
/// `spec.maxReplicaCount` (KEDA: scaledobject_types.go). The CRD's rule on min and max repeats it.
pub const MAX_REPLICAS: i32 = 100;
/// `spec.scaleTargetRef.apiVersion` (KEDA: gvkr.go).
pub const TARGET_API_VERSION: &str = "apps/v1";
/// `spec.scaleTargetRef.kind` (KEDA: gvkr.go).
pub const TARGET_KIND: &str = "Deployment";
/// `spec.triggers[].authenticationRef.kind` (KEDA: scaletriggers_types.go).
pub const AUTHENTICATION_KIND: &str = "TriggerAuthentication";
