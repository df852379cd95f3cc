//! One start and one end of an event, as far as prescaling needs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::multiplier::Multiplier;

/// One sale, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Occurrence {
    /// Stays the same as long as it is the same sale to the calendar, also when it is moved, made longer or shorter.
    pub id: String,
    /// The source that it comes from, such as `marketing`; empty for what stands in the calendar object itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The event's name, such as `new-year-sale`.
    pub name: String,
    pub start: Timestamp,
    /// Later than the start.
    pub end: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The demand against a normal day, where the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<Multiplier>,
}

/// What is known of the occurrences that a trigger's selector picks. The default is nothing: the operator has just started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrences {
    /// Ordered by start.
    pub known: Arc<[Arc<Occurrence>]>,
    /// An occurrence that is not among the known ones was removed. Otherwise a source of the calendar has not been heard of
    /// yet, and sales that run go on as remembered.
    pub complete: bool,
}

impl Default for Occurrences {
    fn default() -> Self {
        Self {
            known: Arc::new([]),
            complete: false,
        }
    }
}
