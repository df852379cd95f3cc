//! Annotation and label keys, the finalizer, and names made from an object's name: KEDA's, as users have them in
//! manifests, selectors and scripts.
//!
//! An annotation that switches something is true for any value but those that Go's `strconv.ParseBool` reads as
//! false (`0`, `f`, `F`, `false`, `False`, `FALSE`).

/// Annotation of a ScaledObject or ScaledJob: stop scaling. The HPA goes, the replicas stay.
pub const PAUSED: &str = "autoscaling.keda.sh/paused";
/// Annotation of a ScaledObject: stop scaling and hold the target at this number of replicas. Its presence pauses,
/// whatever its value, and it wins over [`PAUSED`].
pub const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// Annotation of a ScaledObject: never remove replicas.
pub const PAUSED_SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";
/// Annotation of a ScaledObject: never add replicas.
pub const PAUSED_SCALE_OUT: &str = "autoscaling.keda.sh/paused-scale-out";
/// Annotation of a ScaledObject: treat it as active whatever its triggers say.
pub const FORCE_ACTIVATION: &str = "autoscaling.keda.sh/force-activation";

/// Annotation of a ScaledObject: `"true"` lets it take over the existing HPA that
/// `advanced.horizontalPodAutoscalerConfig.name` names.
pub const TRANSFER_HPA_OWNERSHIP: &str = "scaledobject.keda.sh/transfer-hpa-ownership";
/// Annotation of a ScaledObject: label keys, joined by commas, that its HPA does not get.
pub const HPA_EXCLUDED_LABELS: &str = "scaledobject.keda.sh/hpa-excluded-labels";
/// Annotation of an HPA: `"false"` keeps admission from finding a conflict with it. It reaches the HPAs of
/// ScaledObjects too, since these hand their annotations on.
pub const VALIDATE_HPA_OWNERSHIP: &str = "validations.keda.sh/hpa-ownership";

/// Label of a ScaledObject and its HPA, and the label by which the HPA selects its external metrics: the name of the
/// ScaledObject.
pub const SCALED_OBJECT_NAME: &str = "scaledobject.keda.sh/name";

/// Annotation of a ServiceAccount: the AWS role of its pods.
pub const AWS_ROLE_ARN: &str = "eks.amazonaws.com/role-arn";

/// The finalizer that KEDA sets on everything it reconciles. Objects taken over from KEDA carry it, so it has to be
/// removed from them when they are deleted.
pub const FINALIZER: &str = "finalizer.keda.sh";

/// What the name of an HPA begins with, before the name of its ScaledObject.
pub const HPA_NAME_PREFIX: &str = "keda-hpa-";

/// `status.compositeScalerName`, and the external metric's name, where a formula makes one metric of all triggers.
pub use sakidori_engine::COMPOSITE_METRIC;
