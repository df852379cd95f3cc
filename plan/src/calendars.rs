//! What calendars say: the events in the objects, the texts of their sources, and what a status remembers of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sakidori_api::{CalendarSource, KeyRef};
use sakidori_calendars::{Book, Events, Refresh, csv, ics, json, limits};
use sakidori_engine::prescale::Occurrence;

use crate::finding::{Finding, Severity};
use crate::manifests::{Kept, Manifests, Origin};

/// Texts that stand for sources, by the names of calendar and source.
pub type Given = BTreeMap<(String, String), String>;

/// The occurrences of every calendar, by namespace (`None` for the cluster's) and name.
#[derive(Debug, Default)]
pub struct Calendars {
    occurrences: BTreeMap<(Option<String>, String), Vec<Arc<Occurrence>>>,
}

impl Calendars {
    /// Reads all calendars of the manifests, for the time from `from` to `to`.
    pub fn read(
        manifests: &Manifests,
        given: &Given,
        (from, to): (Timestamp, Timestamp),
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut all = Self::default();
        for (calendar, source) in given.keys() {
            let known = manifests.calendars.iter().any(|kept| {
                kept.name == *calendar && kept.spec.sources.iter().any(|one| one.name == *source)
            });
            if !known {
                findings.push(Finding {
                    severity: Severity::Error,
                    origin: Origin::Document {
                        file: format!("--source {calendar}/{source}"),
                        number: 1,
                    },
                    object: String::new(),
                    message: "no calendar of that name has a source of that name".into(),
                });
            }
        }
        for kept in &manifests.calendars {
            let mut reading = Reading {
                manifests,
                given,
                kept,
                findings,
            };
            let occurrences = reading.occurrences((from, to));
            let key = (kept.namespace.clone(), kept.name.clone());
            if all.occurrences.insert(key, occurrences).is_some() {
                reading.tell(
                    Severity::Error,
                    "there is an earlier one of that name: this one counts".into(),
                );
            }
        }
        all
    }

    /// `None` where there is no such calendar.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<&[Arc<Occurrence>]> {
        let key = (namespace.map(str::to_owned), name.to_owned());
        self.occurrences.get(&key).map(Vec::as_slice)
    }

    /// The names of the calendars that a trigger in `namespace` might have meant.
    pub fn names(&self, namespace: Option<&str>) -> impl Iterator<Item = &str> {
        self.occurrences
            .keys()
            .filter(move |(own, _)| own.as_deref() == namespace)
            .map(|(_, name)| name.as_str())
    }
}

struct Reading<'a> {
    manifests: &'a Manifests,
    given: &'a Given,
    kept: &'a Kept,
    findings: &'a mut Vec<Finding>,
}

impl Reading<'_> {
    fn tell(&mut self, severity: Severity, message: String) {
        self.findings.push(Finding {
            severity,
            origin: self.kept.origin.clone(),
            object: self.kept.called(),
            message,
        });
    }

    fn occurrences(&mut self, (from, to): (Timestamp, Timestamp)) -> Vec<Arc<Occurrence>> {
        let kept = self.kept;
        for problem in kept.spec.problems() {
            self.tell(Severity::Error, problem.to_string());
        }
        let zone = kept.spec.zone().unwrap_or(TimeZone::UTC);
        let inline = kept.spec.inline_events(&zone);
        let names = kept.spec.sources.iter().map(|source| source.name.as_str());
        let mut book = Book::new(inline, names, &kept.status.to_calendars());
        for (index, source) in kept.spec.sources.iter().enumerate() {
            let path = format!("spec.sources[{index}] ({:?})", source.name);
            if let Some(text) = self.text(source, &path) {
                self.read(&mut book, source, &path, &text, &zone, from);
            }
        }
        book.occurrences_in(from, to).unwrap_or_else(|error| {
            self.tell(Severity::Error, error.to_string());
            Vec::new()
        })
    }

    fn read(
        &mut self,
        book: &mut Book,
        source: &CalendarSource,
        path: &str,
        text: &str,
        zone: &TimeZone,
        now: Timestamp,
    ) {
        let events = limits::check_text(text)
            .map_err(|error| error.to_string())
            .and_then(|()| events(&source.format, text, zone));
        let events = match events {
            Ok(events) => events,
            Err(message) => return self.tell(Severity::Error, format!("{path}: {message}")),
        };
        for problem in &events.problems {
            // The rest of the source counts, as it does in the cluster.
            self.tell(Severity::Error, format!("{path}: {problem}"));
        }
        book.refreshed(&source.name, now, Refresh::Read(events));
        if let Some(error) = book
            .source(&source.name)
            .and_then(|state| state.error.clone())
        {
            self.tell(Severity::Error, format!("{path}: {error}"));
        }
    }

    /// The text of a source, where there is one without asking anybody.
    fn text(&mut self, source: &CalendarSource, path: &str) -> Option<String> {
        let key = (self.kept.name.clone(), source.name.clone());
        if let Some(text) = self.given.get(&key) {
            return Some(text.clone());
        }
        if self.kept.origin == Origin::Cluster {
            let status = self
                .kept
                .status
                .sources
                .iter()
                .find(|one| one.name == source.name);
            let stale = status.and_then(|one| one.stale_since.as_ref());
            let since = stale.map_or_else(String::new, |since| {
                format!("; it is stale since {}", since.0)
            });
            let message = format!(
                "{path}: of it counts what the calendar's status remembers, the 7 days after its last refresh{since}"
            );
            self.tell(Severity::Warning, message);
            return None;
        }
        let left_out = |what: &str| {
            format!(
                "{path}: left out: a plan asks no {what}; give its text with --source {}/{}=FILE",
                self.kept.name, source.name
            )
        };
        let found = match (&source.config_map_key_ref, &source.secret_key_ref) {
            _ if source.format == "postgresql" => {
                let message = format!(
                    "{path}: left out: a plan asks no database; give its rows as CSV with --source {}/{}=FILE",
                    self.kept.name, source.name
                );
                self.tell(Severity::Warning, message);
                return None;
            }
            (Some(reference), _) => self.key("ConfigMap", reference),
            (None, Some(reference)) => self.key("Secret", reference),
            (None, None) => {
                let message = left_out("URL");
                self.tell(Severity::Warning, message);
                return None;
            }
        };
        match found {
            Ok(text) => Some(text),
            Err(message) => {
                self.tell(Severity::Error, format!("{path}: {message}"));
                None
            }
        }
    }

    /// A ClusterSaleCalendar's ConfigMaps are in the cluster object namespace, which manifests don't tell: there the name has to
    /// be enough.
    fn key(&self, kind: &'static str, reference: &KeyRef) -> Result<String, String> {
        let KeyRef { name, key } = reference;
        let found: Vec<_> = self
            .manifests
            .texts
            .iter()
            .filter(|((its_kind, its_namespace, its_name), _)| {
                let here = self
                    .kept
                    .namespace
                    .as_ref()
                    .is_none_or(|own| own == its_namespace);
                *its_kind == kind && its_name == name && here
            })
            .collect();
        let texts = match found[..] {
            [] => {
                let place = self.kept.namespace.as_ref();
                let place = place.map_or_else(String::new, |own| format!(" of namespace {own}"));
                return Err(format!("no {kind} {name}{place} among the manifests"));
            }
            [(_, texts)] => texts,
            _ => {
                let all: Vec<_> = found.iter().map(|((_, own, _), _)| own.as_str()).collect();
                return Err(format!(
                    "{kind} {name} is in the namespaces {}: give the manifests of the cluster object namespace only",
                    all.join(", ")
                ));
            }
        };
        texts.get(key).cloned().ok_or_else(|| {
            let keys: Vec<_> = texts.keys().map(String::as_str).collect();
            format!(
                "{kind} {name} has no text under the key {key}, but {}",
                keys.join(", ")
            )
        })
    }
}

fn events(format: &str, text: &str, zone: &TimeZone) -> Result<Events, String> {
    let events = match format {
        "ics" => ics::read(text, zone),
        "csv" | "postgresql" => csv::read(text, zone),
        "json" => json::read(text, zone),
        // Told among the calendar's problems.
        _ => return Ok(Events::default()),
    };
    events.map_err(|error| error.to_string())
}
