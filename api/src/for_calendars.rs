//! Between the API's calendars and what reads them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sakidori_calendars::{
    Book, Compact, EventSpec, Events, Length, RecurringSpec, SourceState, UnknownZone, time_zone,
};
use sakidori_engine::prescale::Occurrence;

use crate::sale_calendar::{
    CalendarSource, NextOccurrence, RecurringSale, RememberedEvent, SaleCalendarSpec,
    SaleCalendarStatus, SaleEvent, SourceStatus,
};

/// How often a source is read where it says nothing.
const REFRESH_INTERVAL: SignedDuration = SignedDuration::from_mins(5);
/// The shortest `refreshInterval`: a calendar is not polled like a queue.
const SHORTEST_REFRESH: SignedDuration = SignedDuration::from_secs(30);
/// The occurrences and problems that a status shows.
const SHOWN: usize = 20;
/// The source of what stands in the object itself, as a status shows it.
const SPEC: &str = "spec";

/// What is wrong with one field of a calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarProblem {
    /// Such as `spec.events[3].end`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for CalendarProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl SaleCalendarSpec {
    /// The zone of everything that says none itself.
    ///
    /// # Errors
    /// Names the nearest zone that exists.
    pub fn zone(&self) -> Result<TimeZone, UnknownZone> {
        time_zone(self.time_zone.as_deref().unwrap_or("UTC"))
    }

    /// The events that stand in the object itself.
    pub fn inline_events(&self, zone: &TimeZone) -> Events {
        let events: Vec<EventSpec> = self.events.iter().map(Into::into).collect();
        let recurring: Vec<RecurringSpec> = self.recurring.iter().map(Into::into).collect();
        Events::from_specs(&events, &recurring, zone)
    }

    /// Everything for which admission rejects the object, in the order of the fields.
    pub fn problems(&self) -> Vec<CalendarProblem> {
        let mut problems = Vec::new();
        let zone = self.zone().unwrap_or_else(|error| {
            problems.push(CalendarProblem {
                path: "spec.timeZone".to_owned(),
                message: error.to_string(),
            });
            TimeZone::UTC
        });
        let events = self.inline_events(&zone).problems.into_iter();
        problems.extend(events.map(|problem| CalendarProblem {
            path: format!("spec.{}", problem.path),
            message: problem.message,
        }));
        let mut names = BTreeSet::new();
        for (index, source) in self.sources.iter().enumerate() {
            let mut refuse = |field: &str, message: String| {
                problems.push(CalendarProblem {
                    path: format!("spec.sources[{index}].{field}"),
                    message,
                });
            };
            if source.name == SPEC || source.name.contains([':', '/', '#']) {
                let message = format!(
                    "{:?}: expected a name other than {SPEC}, without : / #",
                    source.name
                );
                refuse("name", message);
            }
            if !names.insert(&source.name) {
                refuse(
                    "name",
                    format!("{:?} is the name of an earlier source", source.name),
                );
            }
            source.check(&mut refuse);
        }
        problems
    }

    /// The limit that the events of the object itself are past at `now`. Sources are read later, and may be past it then.
    pub fn past_limit(&self, now: Timestamp) -> Option<CalendarProblem> {
        let zone = self.zone().ok()?;
        let inline = Book::new(self.inline_events(&zone), [], &[]);
        let error = inline.occurrences(now).err()?;
        // So many single events don't fit into one object: it is a rule.
        let path = match self.recurring.len() {
            1 => "spec.recurring[0]",
            _ => "spec.recurring",
        };
        Some(CalendarProblem {
            path: path.to_owned(),
            message: error.to_string(),
        })
    }
}

impl CalendarSource {
    /// # Errors
    /// For what is no duration, or too short.
    pub fn refresh_interval(&self) -> Result<SignedDuration, String> {
        let Some(text) = &self.refresh_interval else {
            return Ok(REFRESH_INTERVAL);
        };
        let interval = Length::parse(text)?.as_duration();
        if interval < SHORTEST_REFRESH {
            return Err(format!("{text:?} is shorter than 30s"));
        }
        Ok(interval)
    }

    fn check(&self, refuse: &mut impl FnMut(&str, String)) {
        let places = [
            ("url", self.url.is_some()),
            ("configMapKeyRef", self.config_map_key_ref.is_some()),
            ("secretKeyRef", self.secret_key_ref.is_some()),
        ];
        let given: Vec<_> = places
            .iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| *name)
            .collect();
        match (self.format.as_str(), &given[..]) {
            ("postgresql", [place, ..]) => {
                refuse(
                    place,
                    "a database is not there: give authenticationRef and query".into(),
                );
            }
            ("postgresql", []) => {
                if self
                    .query
                    .as_deref()
                    .is_none_or(|query| query.trim().is_empty())
                {
                    refuse("query", "missing: postgresql needs a query".into());
                }
                if self.authentication_ref.is_none() {
                    let message = "missing: postgresql needs one that gives its connection";
                    refuse("authenticationRef", message.into());
                }
            }
            ("ics" | "csv" | "json", []) => {
                refuse(
                    "url",
                    "missing: give url, configMapKeyRef or secretKeyRef".into(),
                );
            }
            ("ics" | "csv" | "json", [_]) => {
                if self.query.is_some() {
                    refuse("query", "only postgresql has a query".into());
                }
            }
            ("ics" | "csv" | "json", [first, second, ..]) => {
                refuse(second, format!("excludes {first}: keep one"));
            }
            (other, _) => {
                refuse(
                    "format",
                    format!("{other:?}: expected ics, csv, json or postgresql"),
                );
            }
        }
        if let Some(url) = &self.url
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            // The text itself is not repeated: it may hold a password.
            refuse("url", "expected https:// or http://".into());
        }
        if let Some(reference) = &self.authentication_ref {
            if reference.name.is_empty() {
                refuse("authenticationRef.name", "missing".into());
            }
            let kinds = ["TriggerAuthentication", "ClusterTriggerAuthentication"];
            if let Some(kind) = reference.kind.as_deref()
                && !kind.is_empty()
                && !kinds.contains(&kind)
            {
                refuse(
                    "authenticationRef.kind",
                    format!("{kind:?}: expected {}", kinds.join(" or ")),
                );
            }
        }
        if let Err(message) = self.refresh_interval() {
            refuse("refreshInterval", message);
        }
    }
}

impl From<&SaleEvent> for EventSpec {
    fn from(event: &SaleEvent) -> Self {
        Self {
            name: event.name.clone(),
            start: event.start.clone(),
            end: event.end.clone(),
            duration: event.duration.clone(),
            labels: event.labels.clone(),
            multiplier: event.multiplier.clone(),
        }
    }
}

impl From<&RecurringSale> for RecurringSpec {
    fn from(sale: &RecurringSale) -> Self {
        Self {
            name: sale.name.clone(),
            cron: sale.cron.clone(),
            rrule: sale.rrule.clone(),
            start: sale.start.clone(),
            duration: sale.duration.clone(),
            except: sale.except.clone(),
            labels: sale.labels.clone(),
            multiplier: sale.multiplier.clone(),
        }
    }
}

impl From<Compact> for RememberedEvent {
    fn from(compact: Compact) -> Self {
        Self {
            source: compact.source,
            id: compact.id,
            name: compact.name,
            labels: compact.labels,
            multiplier: compact.multiplier.map(|multiplier| multiplier.to_string()),
            times: compact.times,
        }
    }
}

impl SaleCalendarStatus {
    /// What a [`sakidori_calendars::Book`] starts with after a restart.
    pub fn to_calendars(&self) -> Vec<Compact> {
        self.remembered
            .iter()
            .map(|event| Compact {
                source: event.source.clone(),
                id: event.id.clone(),
                name: event.name.clone(),
                labels: event.labels.clone(),
                // What an older version wrote and this one can't read must not cost the occurrence.
                multiplier: event.multiplier.as_ref().and_then(|text| text.parse().ok()),
                times: event.times.clone(),
            })
            .collect()
    }
}

/// The occurrences that a status shows: those that run and the next ones. `occurrences` are ordered by start.
pub fn next_occurrences(occurrences: &[Arc<Occurrence>], now: Timestamp) -> Vec<NextOccurrence> {
    occurrences
        .iter()
        .filter(|one| one.end > now)
        .take(SHOWN)
        .map(|one| NextOccurrence {
            name: one.name.clone(),
            start: Time(one.start),
            end: Time(one.end),
            source: if one.source.is_empty() {
                SPEC.to_owned()
            } else {
                one.source.clone()
            },
        })
        .collect()
}

/// What a status says of one source.
pub fn source_status(name: &str, state: &SourceState) -> SourceStatus {
    SourceStatus {
        name: name.to_owned(),
        last_refresh_time: state.refreshed_at.map(Time),
        stale_since: state.stale_since.map(Time),
        error: state.error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sale_calendar::{ClusterSaleCalendar, SaleCalendar};

    fn spec(value: serde_json::Value) -> SaleCalendarSpec {
        serde_json::from_value(value).unwrap()
    }

    fn texts(spec: &SaleCalendarSpec) -> Vec<String> {
        spec.problems().iter().map(ToString::to_string).collect()
    }

    const EXAMPLE: &str = r#"
apiVersion: sakidori.dev/v1alpha1
kind: ClusterSaleCalendar
metadata: {name: sales}
spec:
  timeZone: Asia/Tokyo
  events:
  - name: new-year-sale
    start: 2027-01-02T00:00:00
    end: 2027-01-04T23:59:59
    labels: {tier: S, category: fashion}
    multiplier: "3.5"
  recurring:
  - name: friday-coupon
    cron: "0 20 * * FRI"
    duration: 2h
    except: ["2027-01-01"]
    labels: {tier: B}
  sources:
  - {name: marketing, format: ics, url: "https://calendar.example/sales.ics", authenticationRef: {name: cal}}
  - {name: drops, format: csv, configMapKeyRef: {name: drops, key: drops.csv}}
  - {name: shop-db, format: postgresql, query: "select name, starts_at, ends_at, labels, multiplier from sales", authenticationRef: {name: db}}
"#;

    #[test]
    fn the_example_has_no_problem_and_survives_a_round_trip() {
        let calendar: ClusterSaleCalendar = serde_saphyr::from_str(EXAMPLE).unwrap();
        let spec = &calendar.spec.0;
        assert_eq!(spec.problems(), []);
        assert_eq!(spec.inline_events(&spec.zone().unwrap()).events.len(), 2);
        assert_eq!(
            spec.sources[0].refresh_interval(),
            Ok(SignedDuration::from_mins(5))
        );
        let text = serde_json::to_string(&calendar).unwrap();
        assert_eq!(
            serde_json::from_str::<ClusterSaleCalendar>(&text).unwrap(),
            calendar
        );
        let namespaced: SaleCalendar =
            serde_saphyr::from_str(&EXAMPLE.replace("ClusterSaleCalendar", "SaleCalendar"))
                .unwrap();
        assert_eq!(&namespaced.spec, spec);
    }

    #[test]
    fn every_problem_has_the_path_of_its_field() {
        let spec = spec(json!({
            "timeZone": "Asia/Tokio",
            "events": [
                {"name": "a", "start": "2027-01-02", "end": "2027-01-01"},
                {"name": "a", "start": "2027-01-02", "duration": "1d"},
                {"name": "a", "start": "2027-02-02", "duration": "1d"},
            ],
            "recurring": [{"name": "b", "cron": "0 20 * * 7", "duration": "2h"}],
            "sources": [
                {"name": "x", "format": "ics"},
                {"name": "x", "format": "csv", "url": "ftp://user:secret@host/x"},
                {"name": "y", "format": "json", "url": "https://host", "secretKeyRef": {"name": "s", "key": "k"}},
                {"name": "z", "format": "postgresql", "refreshInterval": "1s"},
                {"name": "spec", "format": "xml", "url": "https://host", "authenticationRef": {"name": "", "kind": "Secret"}},
            ],
        }));
        assert_eq!(
            texts(&spec),
            [
                "spec.timeZone: unknown time zone Asia/Tokio, did you mean Asia/Tokyo?",
                "spec.events[0].end: \"2027-01-01\" is not after the start (\"2027-01-02\")",
                "spec.events[2].name: \"a\" is the name of an earlier event: give each its own",
                "spec.recurring[0].cron: end of range (7) above maximum (6): \"7\" in the day of week field; Sunday is 0 or SUN",
                "spec.sources[0].url: missing: give url, configMapKeyRef or secretKeyRef",
                "spec.sources[1].name: \"x\" is the name of an earlier source",
                "spec.sources[1].url: expected https:// or http://",
                "spec.sources[2].secretKeyRef: excludes url: keep one",
                "spec.sources[3].query: missing: postgresql needs a query",
                "spec.sources[3].authenticationRef: missing: postgresql needs one that gives its connection",
                "spec.sources[3].refreshInterval: \"1s\" is shorter than 30s",
                "spec.sources[4].name: \"spec\": expected a name other than spec, without : / #",
                "spec.sources[4].format: \"xml\": expected ics, csv, json or postgresql",
                "spec.sources[4].authenticationRef.name: missing",
                "spec.sources[4].authenticationRef.kind: \"Secret\": expected TriggerAuthentication or ClusterTriggerAuthentication",
            ]
        );
    }

    #[test]
    fn all_that_is_wrong_with_one_event_is_told_at_once() {
        let spec = spec(json!({
            "events": [
                {"name": "", "start": "2027-02-30", "end": "soon", "multiplier": "much"},
                {"name": "b", "start": "2027-02-20", "end": "2027-02-21", "duration": "1d", "labels": {"tier": "S S", "-": "a"}},
                {"name": "c", "start": "2027-02-20", "end": "2027-02-21", "labels": {"tier": "S S", "-": "a"}},
            ],
            "recurring": [
                {"name": "d", "cron": "0 25 * * *", "rrule": "FREQ=DAILY", "duration": "never", "except": ["2027-02-20", "a", "2027-02-31"]},
                {"name": "e", "cron": "0 20 * *", "start": "2027-02-20", "duration": "2h"},
                {"name": "f", "rrule": "FREQ=SOMETIMES", "start": "then", "duration": "2h"},
            ],
        }));
        assert_eq!(
            texts(&spec),
            [
                "spec.events[0].name: missing",
                "spec.events[0].multiplier: \"much\" is no multiplier: expected a number above 0 and up to 1000000, such as 3.5",
                "spec.events[0].start: \"2027-02-30\": there is no 2027-02-30",
                "spec.events[0].end: \"soon\" is no time: expected 2027-01-02T20:00:00 (the calendar's time zone), 2027-01-02T20:00:00+09:00, or 2027-01-02",
                "spec.events[1].duration: end and duration exclude each other: keep one",
                "spec.events[2].labels[-]: \"-\" is no label key: expected [prefix/]name, such as scaledobject.keda.sh/name",
                "spec.events[2].labels[tier]: \"S S\" is no label value: expected at most 63 letters, digits, '-', '_' or '.', a letter or digit at both ends",
                "spec.recurring[0].rrule: cron and rrule exclude each other: keep one",
                "spec.recurring[0].duration: \"never\" is no duration: expected 2h30m, 3d or PT2H30M",
                "spec.recurring[0].except[1]: \"a\" is no time: expected 2027-01-02T20:00:00 (the calendar's time zone), 2027-01-02T20:00:00+09:00, or 2027-01-02",
                "spec.recurring[0].except[2]: \"2027-02-31\": there is no 2027-02-31",
                "spec.recurring[1].start: only an rrule has a start",
                "spec.recurring[1].cron: expected exactly 5 fields, found 4: 0 20 * *: write minute, hour, day of month, month and day of week",
                "spec.recurring[2].rrule: FREQ=SOMETIMES: expected YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY or SECONDLY",
                "spec.recurring[2].start: \"then\" is no time: expected 2027-01-02T20:00:00 (the calendar's time zone), 2027-01-02T20:00:00+09:00, or 2027-01-02",
            ]
        );
        // A label that no selector can name doesn't cost the event.
        assert_eq!(spec.inline_events(&TimeZone::UTC).events.len(), 1);
    }

    #[test]
    fn a_limit_is_told_of_the_rule_that_passes_it() {
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let past = |recurring: serde_json::Value| {
            let found = spec(json!({"recurring": recurring})).past_limit(now);
            found.map(|problem| problem.to_string())
        };
        let minutely = json!({"name": "a", "cron": "* * * * *", "duration": "1m"});
        let daily = json!({"name": "b", "cron": "0 20 * * *", "duration": "1h"});
        let text = "more than the limit of 10000 occurrences within 400 days: make rules sparser, or split the calendar";
        assert_eq!(
            past(json!([minutely])),
            Some(format!("spec.recurring[0]: {text}"))
        );
        assert_eq!(
            past(json!([daily, minutely])),
            Some(format!("spec.recurring: {text}"))
        );
        assert_eq!(past(json!([daily])), None);
    }

    #[test]
    fn a_status_gives_back_what_it_remembers() {
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let occurrences: Vec<_> = (0i64..30)
            .map(|n| {
                let start = now + SignedDuration::from_hours(n - 2);
                Arc::new(Occurrence {
                    id: format!("shop:drop/{start}"),
                    source: "shop".to_owned(),
                    name: "drop".to_owned(),
                    start,
                    end: start + SignedDuration::from_hours(1),
                    labels: [("tier".to_owned(), "S".to_owned())].into(),
                    multiplier: Some("3.5".parse().unwrap()),
                })
            })
            .collect();
        let shown = next_occurrences(&occurrences, now);
        assert_eq!((shown.len(), shown[0].start.0), (20, now));
        let compact = sakidori_calendars::Book::compact(&occurrences, now);
        let status = SaleCalendarStatus {
            remembered: compact.iter().cloned().map(Into::into).collect(),
            ..SaleCalendarStatus::default()
        };
        let text = serde_json::to_string(&status).unwrap();
        let read: SaleCalendarStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(read.to_calendars(), compact);
    }

    #[test]
    fn the_kinds_have_their_columns_and_descriptions() {
        use kube::CustomResourceExt;
        for crd in [SaleCalendar::crd(), ClusterSaleCalendar::crd()] {
            let version = &crd.spec.versions[0];
            let columns: Vec<_> = version
                .additional_printer_columns
                .iter()
                .flatten()
                .map(|column| column.name.as_str())
                .collect();
            assert_eq!(
                columns,
                ["Next", "Starts", "Source", "Stale", "Ready", "Age"]
            );
            assert!(version.subresources.as_ref().unwrap().status.is_some());
            let text = serde_json::to_string(&version.schema).unwrap();
            assert!(text.contains("configMapKeyRef") && text.contains("remembered"));
        }
    }
}
