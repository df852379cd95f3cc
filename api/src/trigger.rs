//! A trigger: what is read, and with whose credentials. Shared by every kind that scales.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of `spec.triggers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// The type of the trigger, such as `rabbitmq`: it names the scaler.
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    pub type_: String,
    /// A name for the trigger, unique within its object; formulas of `scalingModifiers` call it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Serve the value of the last poll to the HPA instead of reading the source again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_cached_metrics: Option<bool>,
    /// The trigger's parameters. Their values are always texts.
    pub metadata: BTreeMap<String, String>,
    /// Where the trigger's credentials come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
    /// `AverageValue` (the default), `Value`, or for `cpu` and `memory` also `Utilization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<String>,
}

/// Names the TriggerAuthentication or ClusterTriggerAuthentication of a trigger.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationRef {
    /// The name of the object.
    pub name: String,
    /// `TriggerAuthentication` (the default) or `ClusterTriggerAuthentication`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["TriggerAuthentication", "ClusterTriggerAuthentication"]))]
    pub kind: Option<String>,
}
