//! ScaledObject: scales anything that has a `/scale` subresource.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::in_place_resize::SakidoriOptions;
use crate::trigger::Trigger;

/// What a ScaledObject asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    plural = "scaledobjects",
    shortname = "so",
    namespaced,
    status = "ScaledObjectStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A ScaledObject scales a workload by what its triggers read, down to zero and back.",
    printcolumn = r#"{"name": "ScaleTargetKind", "type": "string", "jsonPath": ".status.scaleTargetKind"}"#,
    printcolumn = r#"{"name": "ScaleTargetName", "type": "string", "jsonPath": ".spec.scaleTargetRef.name"}"#,
    printcolumn = r#"{"name": "Min", "type": "integer", "jsonPath": ".spec.minReplicaCount"}"#,
    printcolumn = r#"{"name": "Max", "type": "integer", "jsonPath": ".spec.maxReplicaCount"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Active", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Active\")].status"}"#,
    printcolumn = r#"{"name": "Fallback", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Fallback\")].status"}"#,
    printcolumn = r#"{"name": "Paused", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Paused\")].status"}"#,
    printcolumn = r#"{"name": "Triggers", "type": "string", "jsonPath": ".status.triggersTypes"}"#,
    printcolumn = r#"{"name": "Authentications", "type": "string", "jsonPath": ".status.authenticationsTypes"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = Rule::new(
    "!has(self.minReplicaCount) || self.minReplicaCount <= (has(self.maxReplicaCount) ? self.maxReplicaCount : 100)"
).message("minReplicaCount must be less than or equal to maxReplicaCount"))]
pub struct ScaledObjectSpec {
    /// What is scaled.
    pub scale_target_ref: ScaleTargetRef,
    /// Seconds between two polls of the triggers; 30 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub polling_interval: Option<i32>,
    /// Seconds after the object's creation in which the target is not scaled to zero; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub initial_cooldown_period: Option<i32>,
    /// Seconds without activity before the target is scaled to zero; 300 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cooldown_period: Option<i32>,
    /// Replicas while nothing is active, below `minReplicaCount`; absent switches idle mode off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub idle_replica_count: Option<i32>,
    /// The fewest replicas; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_replica_count: Option<i32>,
    /// The most replicas; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replica_count: Option<i32>,
    /// Options that few objects need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advanced: Option<Advanced>,
    /// What is read; at least one.
    #[schemars(length(min = 1))]
    pub triggers: Vec<Trigger>,
    /// What to do when triggers can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

/// Names the workload that is scaled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// The name of the workload, in the object's own namespace.
    #[schemars(length(min = 1))]
    pub name: String,
    /// `apps/v1` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `Deployment` if absent; any kind with a `/scale` subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The container whose environment triggers may refer to; the first one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_source_container_name: Option<String>,
}

/// `spec.advanced`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Advanced {
    /// How the HPA is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizontal_pod_autoscaler_config: Option<HorizontalPodAutoscalerConfig>,
    /// When the object is deleted, give the target the replicas it had before; false if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_to_original_replica_count: Option<bool>,
    /// One formula over all triggers instead of one metric per trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_modifiers: Option<ScalingModifiers>,
    /// What KEDA does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sakidori: Option<SakidoriOptions>,
}

/// How the HPA is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HorizontalPodAutoscalerConfig {
    /// Handed to the HPA as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::hpa_behavior")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
    /// The HPA's name; `keda-hpa-<name of the ScaledObject>` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One formula over all triggers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingModifiers {
    /// The formula, over the names of the triggers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// The target of the formula's result: a number above zero, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The result above which the object is active: a number, as text; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_target: Option<String>,
    /// `AverageValue` (the default) or `Value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["AverageValue", "Value"]))]
    pub metric_type: Option<String>,
}

/// What to do when triggers can't be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// So many failures in a row switch the fallback on.
    #[schemars(range(min = 0))]
    pub failure_threshold: i32,
    /// The replicas to fall back to.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// How `replicas` and the current replicas make the result; `static` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "default" = "static",
        "enum" = ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower", "scalingModifiers"]
    ))]
    pub behavior: Option<String>,
}

/// What is known about a ScaledObject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectStatus {
    /// The target's kind in the form `apps/v1.Deployment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_kind: Option<String>,
    /// The target's kind and resource in parts.
    #[serde(
        default,
        rename = "scaleTargetGVKR",
        skip_serializing_if = "Option::is_none"
    )]
    pub scale_target_gvkr: Option<GroupVersionKindResource>,
    /// The target's replicas when the object first saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_replica_count: Option<i32>,
    /// When a trigger was last seen active, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_active_time: Option<Time>,
    /// The names under which the HPA reads the triggers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_metric_names: Vec<String>,
    /// The resources (`cpu`, `memory`) that the HPA reads by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_metric_names: Vec<String>,
    /// `composite-metric` where a formula makes one metric of all triggers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composite_scaler_name: Option<String>,
    /// Ready, Active, Fallback, Paused and, once the HPA told about itself, HPAActive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Failures by metric name, where the object has a fallback.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub health: BTreeMap<String, HealthStatus>,
    /// Activity by metric name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub triggers_activity: BTreeMap<String, TriggerActivity>,
    /// The replicas that the annotation `autoscaling.keda.sh/paused-replicas` holds the target at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_replica_count: Option<i32>,
    /// The name of the object's HPA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hpa_name: Option<String>,
    /// The types of the triggers, each once, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers_types: Option<String>,
    /// The names of the triggers' authentications, each once, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentications_types: Option<String>,
    /// What KEDA does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sakidori: Option<SakidoriStatus>,
}

/// What is known of a ScaledObject beyond what KEDA knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SakidoriStatus {
    /// The sales of the object's `sale-calendar` triggers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prescaling: Option<PrescalingStatus>,
    /// Whose pods are resized, or have been and may not all be back: the target, and those that the object had before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resized_targets: Vec<ResizedTarget>,
}

/// A workload in the object's namespace whose pods may be resized.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResizedTarget {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The sales whose floors live, and what became of the last ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrescalingStatus {
    /// What the floors of now are made of, so that a restart changes none. Not for reading by others: its form may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::any_objects")]
    pub runs: Vec<serde_json::Value>,
    /// What became of the last sales, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<PrescaleReport>,
    /// What the object's CapacityBuffer was last asked for; there as long as one may stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomStatus>,
}

/// What a CapacityBuffer was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomStatus {
    /// How many pods it keeps room for.
    pub pods: i32,
    /// The ramp before which room has to be there; absent once it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Time>,
}

/// What became of one sale.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrescaleReport {
    /// The event's name.
    pub name: String,
    /// When the sale started.
    pub start: Option<Time>,
    /// The replicas that were there for it.
    pub floor: i32,
    /// The most replicas that the object's other triggers asked for while the sale ran.
    pub needed_by_others: i32,
    /// Seconds from the moment when all replicas of the floor were Ready until the start: negative is late, absent is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_seconds_before_start: Option<i64>,
    /// Replica hours of the floor, with one decimal.
    pub pod_hours: String,
    /// The sale was taken out of the calendar, put off or ended early while it ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// Group, version, kind and resource of a scale target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupVersionKindResource {
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// The plural in the API server's paths, such as `deployments`.
    pub resource: String,
}

/// How often a metric failed in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthStatus {
    /// Failures since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_failures: Option<i32>,
    /// `Happy` or `Failing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Whether a metric is above its activation threshold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerActivity {
    /// Written even where it is false, as KEDA does.
    #[serde(default)]
    pub is_active: bool,
}
