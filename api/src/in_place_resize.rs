//! `spec.advanced.sakidori`: what a ScaledObject can ask for and KEDA has nothing of.
//!
//! The CRD refuses what is missing or of another type; the types read it all the same, so that [`ScaledObject::resize_settings`] can
//! tell of it with everything else.
//!
//! [`ScaledObject::resize_settings`]: crate::ScaledObject::resize_settings

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `spec.advanced.sakidori`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SakidoriOptions {
    /// Gives the pods that are there more CPU and memory while a policy holds, without replacing them. Needs Kubernetes 1.33.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_resize: Option<InPlaceResize>,
}

/// When pods get more, and how many at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["policies"]))]
pub struct InPlaceResize {
    /// What containers get, and while what holds; at least one. Where several hold, each resource gets the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub policies: Vec<ResizePolicy>,
    /// How many pods may be under way at a time: a number, or a share of the pods such as `10%`, at least one; `25%` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::max_concurrent")]
    pub max_concurrent: Option<Value>,
    /// What becomes of a pod whose node can never hold it: `Skip` (the default) leaves it as it is, `Evict` has it replaced, as far as
    /// its disruption budget allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Skip", "Evict"]))]
    pub on_infeasible: Option<String>,
    /// Resize containers, too, whose `resizePolicy` restarts them for it; for all policies that don't say themselves. False if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_restart: Option<bool>,
}

/// One container's resources while something holds: of `cpu` and `memory` one at least.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["container", "when"]))]
pub struct ResizePolicy {
    /// The name of the container in the pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1))]
    pub container: String,
    /// `prescale`: from the first instant of a sale's ramp to the end of its hold. `saturated`: while the HPA wants more replicas than
    /// its maximum. `starting`: from a pod's creation until it is Ready.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["prescale", "saturated", "starting"]))]
    pub when: String,
    /// A number or text: so many CPUs (`2`, `500m`), more (`+500m`, `+100%`) or times (`x3`) what the template requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::amount")]
    pub cpu: Option<Value>,
    /// A number or text: so much memory (`1Gi`), more (`+1Gi`, `+50%`) or times (`x2`) what the template requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::amount")]
    pub memory: Option<Value>,
    /// Resize the container, too, where its `resizePolicy` restarts it for it; as `inPlaceResize` says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_restart: Option<bool>,
}
