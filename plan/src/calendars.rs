//! What calendars say: the events in the objects, the texts of their sources, and what a status remembers of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sakidori_api::{CalendarSource, KeyRef};
use sakidori_calendars::{Book, Events, Refresh, csv, ics, json, limits};
use sakidori_engine::prescale::Occurrence;

use crate::finding::{Finding, Severity};
use crate::manifests::{Kept, Manifests, Origin, Place, SourceKind, key_of};

/// Texts that stand for sources, by the names of calendar and source.
pub type Given = BTreeMap<(String, String), String>;

/// The occurrences of every calendar, by namespace (`None` for the cluster's) and name.
#[derive(Debug, Default)]
pub struct Calendars {
    occurrences: BTreeMap<(Option<String>, String), Vec<Arc<Occurrence>>>,
}

impl Calendars {
    /// Reads all calendars of the manifests as they are at `now`, for the time from `from` to `to`.
    pub fn read(
        manifests: &Manifests,
        given: &Given,
        now: Timestamp,
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
                    origin: Origin::Argument(format!("--source {calendar}/{source}")),
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
            // Other calendars of a cluster are somebody else's, with all that is wrong with them.
            let others = kept.origin == Origin::Cluster && !manifests.names(kept);
            let occurrences = if others {
                Vec::new()
            } else {
                reading.occurrences(now, (from, to))
            };
            let key = (kept.namespace.clone(), kept.name.clone());
            if all.occurrences.insert(key, occurrences).is_some() {
                let same = |one: &&Kept| one.namespace == kept.namespace && one.name == kept.name;
                let earlier = manifests.calendars.iter().find(same);
                let earlier = earlier.map_or_else(String::new, |one| one.origin.to_string());
                reading.tell(
                    Severity::Error,
                    format!("it is also in {earlier}: this one counts"),
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

    fn occurrences(
        &mut self,
        now: Timestamp,
        (from, to): (Timestamp, Timestamp),
    ) -> Vec<Arc<Occurrence>> {
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
                self.read(&mut book, source, &path, &text, &zone, now);
            }
        }
        // What is past a limit for the operator has no occurrences there, though a plan could look further.
        let within_limits = book.occurrences(now).map(drop);
        let found = within_limits.and_then(|()| book.occurrences_in(from, to));
        found.unwrap_or_else(|error| {
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
        let found = key_of(source).map(|(kind, reference)| self.key(kind, reference));
        match found {
            Some(Ok(text)) => return Some(text),
            _ if self.kept.origin == Origin::Cluster => self.tell_remembered(source, path, found),
            Some(Err((severity, message))) => self.tell(severity, format!("{path}: {message}")),
            None => {
                let (whom, what) = match source.format.as_str() {
                    "postgresql" => ("database", "its rows as CSV"),
                    _ => ("URL", "its text"),
                };
                let message = format!(
                    "{path}: left out: a plan asks no {whom}; give {what} with --source {}/{}=FILE",
                    self.kept.name, source.name
                );
                self.tell(Severity::Warning, message);
            }
        }
        None
    }

    /// Of a cluster's source that is not read here.
    fn tell_remembered(
        &mut self,
        source: &CalendarSource,
        path: &str,
        found: Option<Result<String, (Severity, String)>>,
    ) {
        let (severity, why) = match found {
            Some(Err((severity, message))) => (severity, format!("{message}; ")),
            _ => (Severity::Warning, String::new()),
        };
        let status = &self.kept.status.sources;
        let status = status.iter().find(|one| one.name == source.name);
        let since = match status {
            None => "; it was not read yet".to_owned(),
            Some(status) => status
                .stale_since
                .as_ref()
                .map_or_else(String::new, |since| {
                    format!("; it is stale since {}", since.0)
                }),
        };
        let message = format!(
            "{path}: {why}of it counts what the calendar's status remembers, the 7 days after its last refresh{since}"
        );
        self.tell(severity, message);
    }

    /// A ClusterSaleCalendar's ConfigMaps are in the cluster object namespace. Where that is not known, the name has to be enough
    /// among manifests, and isn't in a cluster.
    fn key(&self, kind: SourceKind, reference: &KeyRef) -> Result<String, (Severity, String)> {
        let KeyRef { name, key } = reference;
        let wrong = |message: String| Err((Severity::Error, message));
        let word = kind.word();
        let namespace = self.kept.namespace.as_ref();
        let namespace = namespace.or(self.manifests.cluster_object_namespace.as_ref());
        if let Some(own) = namespace {
            let place = (kind, own.clone(), name.clone());
            if let Some(message) = self.manifests.unread.get(&place) {
                let message = format!("you may not read it: {message}");
                return Err((Severity::Warning, message));
            }
        } else if self.kept.origin == Origin::Cluster {
            let message = format!(
                "which namespace {word} {name} is in is not known: name it with --cluster-object-namespace"
            );
            return Err((Severity::Warning, message));
        }
        let is_it = |place: &Place| {
            place.0 == kind && place.2 == *name && namespace.is_none_or(|own| *own == place.1)
        };
        let all = self.manifests.texts.iter();
        let found: Vec<_> = all.filter(|(place, _)| is_it(place)).collect();
        let texts = match found[..] {
            [] => {
                let place =
                    namespace.map_or_else(String::new, |own| format!(" in namespace {own}"));
                let among = match self.kept.origin {
                    Origin::Cluster => "",
                    _ => " among the manifests",
                };
                return wrong(format!("no {word} {name}{place}{among}"));
            }
            [(_, texts)] => texts,
            _ => {
                let all: Vec<_> = found.iter().map(|((_, own, _), _)| own.as_str()).collect();
                return wrong(format!(
                    "{word} {name} is in the namespaces {}: say with --cluster-object-namespace which one counts",
                    all.join(", ")
                ));
            }
        };
        texts.get(key).cloned().map_or_else(
            || {
                let keys: Vec<_> = texts.keys().map(String::as_str).collect();
                let keys = match keys[..] {
                    [] => "nothing".to_owned(),
                    _ => keys.join(", "),
                };
                wrong(format!(
                    "{word} {name} has no text under the key {key}, but {keys}"
                ))
            },
            Ok,
        )
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
