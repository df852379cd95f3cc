//! Calendars as JSON: a list of events, or an object with `events` and `recurring` as a SaleCalendar's spec has them.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::limits::{LimitError, check_entries, check_problems, check_text, shorten};
use crate::problem::FieldError;
use crate::spec::{EventSpec, Events, Reading, RecurringSpec};

/// A text that is no calendar.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnreadableText {
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error("{0}")]
    Malformed(String),
}

impl UnreadableText {
    /// What it quotes is cut where it is long.
    pub(crate) fn malformed(mut why: String) -> Self {
        shorten(&mut why);
        Self::Malformed(why)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonEvent {
    #[serde(default)]
    name: String,
    #[serde(default)]
    start: Option<String>,
    #[serde(default)]
    end: Option<String>,
    #[serde(default)]
    duration: Option<String>,
    #[serde(default)]
    cron: Option<String>,
    #[serde(default)]
    rrule: Option<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// A number or a text.
    #[serde(default)]
    multiplier: Option<Value>,
}

/// Reads a JSON text.
///
/// # Errors
/// For a text that is too long or no JSON of this form. What is wrong with single events is in the result.
pub fn read(text: &str, zone: &TimeZone) -> Result<Events, UnreadableText> {
    check_text(text)?;
    let malformed = UnreadableText::malformed;
    let value: Value =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            let error = error.to_string();
            // The library tells its own limit in words alone.
            malformed(match error.starts_with("recursion limit exceeded") {
                true => "it nests deeper than 128 levels".to_owned(),
                false => format!("no JSON: {error}"),
            })
        })?;
    let lists = match value {
        Value::Array(list) => vec![("events", list)],
        Value::Object(mut object) => {
            let mut lists = Vec::new();
            for key in ["events", "recurring"] {
                match object.remove(key) {
                    Some(Value::Array(list)) => lists.push((key, list)),
                    None | Some(Value::Null) => {}
                    Some(_) => return Err(malformed(format!("{key} is no list"))),
                }
            }
            if lists.is_empty() {
                return Err(malformed(
                    "an object with neither events nor recurring".to_owned(),
                ));
            }
            lists
        }
        _ => {
            return Err(malformed(
                "neither a list of events nor an object with events".to_owned(),
            ));
        }
    };
    check_entries(lists.iter().map(|(_, list)| list.len()).sum())?;
    let mut reading = Reading::default();
    for (key, list) in lists {
        for (index, value) in list.into_iter().enumerate() {
            let name = value
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let event = serde_json::from_value::<JsonEvent>(value)
                .map_err(|error| vec![FieldError::new("", error.to_string())])
                .and_then(|event| event.read(zone));
            reading.take(index, &name, &format!("{key}[{index}]"), event);
        }
    }
    Ok(check_problems(reading.events)?)
}

impl JsonEvent {
    fn read(self, zone: &TimeZone) -> Result<crate::Event, Vec<FieldError>> {
        let multiplier = match self.multiplier {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        };
        if self.cron.is_some() || self.rrule.is_some() {
            return RecurringSpec {
                name: self.name,
                cron: self.cron,
                rrule: self.rrule,
                start: self.start,
                duration: self.duration.unwrap_or_default(),
                except: self.except,
                labels: self.labels,
                multiplier,
            }
            .read(zone);
        }
        EventSpec {
            name: self.name,
            start: self.start.unwrap_or_default(),
            end: self.end,
            duration: self.duration,
            labels: self.labels,
            multiplier,
        }
        .read(zone)
    }
}
