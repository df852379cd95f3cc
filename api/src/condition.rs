//! One entry of `status.conditions`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A condition as KEDA writes it: without transition time or generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Active`, `Fallback`, `Paused` or `HPAActive`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One CamelCase word: why the condition is as it is. Empty and absent are the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same for a human. Empty and absent are the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
