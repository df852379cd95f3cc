//! SaleCalendar and ClusterSaleCalendar: when sales start and end, and where that is written.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::trigger::AuthenticationRef;

/// When sales start and end. All parts are merged.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "sakidori.dev",
    version = "v1alpha1",
    kind = "SaleCalendar",
    plural = "salecalendars",
    shortname = "sale",
    namespaced,
    status = "SaleCalendarStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A SaleCalendar says when sales start and end, for the sale-calendar triggers of its namespace.",
    printcolumn = r#"{"name": "Next", "type": "string", "jsonPath": ".status.occurrences[0].name"}"#,
    printcolumn = r#"{"name": "Starts", "type": "string", "jsonPath": ".status.occurrences[0].start"}"#,
    printcolumn = r#"{"name": "Source", "type": "string", "jsonPath": ".status.occurrences[0].source"}"#,
    printcolumn = r#"{"name": "Stale", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Stale\")].status"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct SaleCalendarSpec {
    /// The IANA time zone of everything that says none itself, such as `Asia/Tokyo`; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Sales with one start and one end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<SaleEvent>,
    /// Sales that come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recurring: Vec<RecurringSale>,
    /// Calendars that are kept elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<CalendarSource>,
}

// A type of its own because kube ties a kind to the type of its spec.
/// When sales start and end, for services of every namespace. ConfigMaps, Secrets and authentications are those of the cluster
/// object namespace (`KEDA_CLUSTER_OBJECT_NAMESPACE`, else the operator's own).
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema,
)]
#[serde(transparent)]
#[kube(
    group = "sakidori.dev",
    version = "v1alpha1",
    kind = "ClusterSaleCalendar",
    plural = "clustersalecalendars",
    shortname = "csale",
    status = "SaleCalendarStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A ClusterSaleCalendar says when sales start and end, for the sale-calendar triggers of every namespace.",
    printcolumn = r#"{"name": "Next", "type": "string", "jsonPath": ".status.occurrences[0].name"}"#,
    printcolumn = r#"{"name": "Starts", "type": "string", "jsonPath": ".status.occurrences[0].start"}"#,
    printcolumn = r#"{"name": "Source", "type": "string", "jsonPath": ".status.occurrences[0].source"}"#,
    printcolumn = r#"{"name": "Stale", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Stale\")].status"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct ClusterSaleCalendarSpec(pub SaleCalendarSpec);

/// A sale with one start and one end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaleEvent {
    /// Unique in this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `2027-01-02T00:00:00` (wall time in `timeZone`), the same with an offset (`+09:00`, `Z`), or a date.
    pub start: String,
    /// In the same forms; a date is included. Either this or `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Such as `3d`, `2h30m` or `PT2H30M`. A day is a day of the calendar, an hour is 60 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What triggers select by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The expected demand against a normal day, as text, such as "3.5".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "multiplier")]
    pub multiplier: Option<String>,
}

/// A sale that comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecurringSale {
    /// Unique in this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Five fields, such as `0 20 * * FRI`. Either this or `rrule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// A rule of RFC 5545, such as `FREQ=WEEKLY;BYDAY=FR;BYHOUR=20`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rrule: Option<String>,
    /// Where an `rrule` begins; gives the time of day, and the day where the rule names none. Needed with INTERVAL and COUNT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// How long each lasts, such as `2h`.
    pub duration: String,
    /// Dates (`2027-01-01`) or starts that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// What triggers select by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The expected demand against a normal day, as text, such as "3.5".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "multiplier")]
    pub multiplier: Option<String>,
}

/// A calendar that is kept elsewhere: by `url`, `configMapKeyRef` or `secretKeyRef`, or for `postgresql` by `query`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CalendarSource {
    /// Unique in this object: what the status, Events and metrics call it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What is read.
    #[schemars(extend("enum" = ["ics", "csv", "json", "postgresql"]))]
    pub format: String,
    /// Where it is fetched from, by http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// `postgresql`: a query with the columns name, starts_at, ends_at, labels and multiplier; the last two may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Credentials for the URL or the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
    /// How often it is read again; `5m` if absent, `30s` at least. ConfigMaps and Secrets are read as soon as they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<String>,
}

/// A key of a ConfigMap or Secret in the calendar's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// The name of the object.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1))]
    pub key: String,
}

/// What is known about a calendar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaleCalendarStatus {
    /// `Ready`: all events can be read. `Stale`: a source could not be read, and its last copy counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The next 20 occurrences, with those that run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub occurrences: Vec<NextOccurrence>,
    /// Per source, how its last refresh went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStatus>,
    /// The events that are left out, or of which a part is, the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// The coming 7 days of the sources, so that a restart while one is down still prescales.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remembered: Vec<RememberedEvent>,
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// An occurrence that runs or comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextOccurrence {
    /// The event's name.
    pub name: String,
    /// When it starts.
    pub start: Time,
    /// When it ends.
    pub end: Time,
    /// The source's name; `spec` for events of the object itself.
    pub source: String,
}

/// How the last refresh of a source went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The source's name.
    pub name: String,
    /// When it was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refresh_time: Option<Time>,
    /// Since when it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Time>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One event of a source with its occurrences of the coming days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RememberedEvent {
    /// The source's name.
    pub source: String,
    /// The event's id, where it is not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The event's name.
    pub name: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its multiplier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<String>,
    /// `start/end`; with `#` where the event recurs, and the planned start behind it where the occurrence was moved.
    pub times: Vec<String>,
}

/// A positive decimal number as text.
fn multiplier(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "The expected demand against a normal day, as text, such as \"3.5\".",
        "type": "string",
        "pattern": r"^[0-9]{1,7}(\.[0-9]{1,6})?$",
    })
}
