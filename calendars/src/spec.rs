//! Events as an object's spec, a JSON text, a table or a query gives them: fields of text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use sakidori_engine::prescale::Multiplier;
use sakidori_engine::selector::check_label;

use crate::clock::{Length, Written};
use crate::cron::Schedule;
use crate::event::{About, CronTimes, Event, Except, Lasts, Series, Times};
use crate::problem::{FieldError, FieldErrors, Problem};
use crate::rule::Rule;
use crate::zone::instant;

/// One event with one start and one end, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSpec {
    pub name: String,
    pub start: String,
    pub end: Option<String>,
    pub duration: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub multiplier: Option<String>,
}

/// One event that recurs, as it is written: by `cron` or by `rrule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecurringSpec {
    pub name: String,
    pub cron: Option<String>,
    pub rrule: Option<String>,
    /// Where an `rrule` begins; it also gives the time of day, and the day where the rule names none.
    pub start: Option<String>,
    pub duration: String,
    pub except: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub multiplier: Option<String>,
}

/// What a text or a spec holds: the events that are right, and the problems of the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    pub events: Vec<Event>,
    pub problems: Vec<Problem>,
}

/// Where an `rrule` without a start begins: long ago, so that all of its occurrences count.
const LONG_AGO: DateTime = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);

/// Takes in one event after the other, each name once.
#[derive(Default)]
pub(crate) struct Reading {
    pub events: Events,
    names: BTreeSet<String>,
}

impl Reading {
    /// Takes in one event, unless it is wrong or its name was used before.
    pub(crate) fn take(
        &mut self,
        index: usize,
        name: &str,
        path: &str,
        event: Result<Event, Vec<FieldError>>,
    ) {
        let event = event.and_then(|event| {
            if self.names.insert(event.id.clone()) {
                return Ok(event);
            }
            let message = format!("{name:?} is the name of an earlier event: give each its own");
            Err(vec![FieldError::new("name", message)])
        });
        let mut refuse = |field: &str, message: String, left_out: bool| {
            self.events.problems.push(Problem {
                index,
                name: name.to_owned(),
                path: if field.is_empty() {
                    path.to_owned()
                } else {
                    format!("{path}.{field}")
                },
                message,
                left_out,
            });
        };
        match event {
            Ok(event) => {
                for (key, value) in &event.about.labels {
                    if let Err(message) = check_label(key, value) {
                        refuse(&format!("labels[{key}]"), message, false);
                    }
                }
                self.events.events.push(event);
            }
            Err(errors) => {
                for error in errors {
                    refuse(&error.field, error.message, true);
                }
            }
        }
    }

    /// Says of labels that they are none. Their event counts.
    pub(crate) fn refuse_labels(
        &mut self,
        index: usize,
        name: &str,
        path: &str,
        refused: Vec<String>,
    ) {
        let problems = refused.into_iter().map(|label| Problem {
            index,
            name: name.to_owned(),
            path: format!("{path}.labels"),
            message: format!("{label:?} is no label: expected letters and digits, such as tier=S"),
            left_out: false,
        });
        self.events.problems.extend(problems);
    }
}

impl Events {
    /// Reads the events of a spec; `zone` is the calendar's. Problems have the paths `events[n].field` and
    /// `recurring[n].field`.
    pub fn from_specs(events: &[EventSpec], recurring: &[RecurringSpec], zone: &TimeZone) -> Self {
        let mut reading = Reading::default();
        for (index, spec) in events.iter().enumerate() {
            reading.take(
                index,
                &spec.name,
                &format!("events[{index}]"),
                spec.read(zone),
            );
        }
        for (index, spec) in recurring.iter().enumerate() {
            let path = format!("recurring[{index}]");
            reading.take(index, &spec.name, &path, spec.read(zone));
        }
        reading.events
    }
}

impl EventSpec {
    pub(crate) fn read(&self, zone: &TimeZone) -> Result<Event, Vec<FieldError>> {
        let mut errors = FieldErrors::default();
        let about = about(
            &self.name,
            &self.labels,
            self.multiplier.as_deref(),
            &mut errors,
        );
        let times = self.times(zone, &mut errors);
        match times {
            Some((start, end)) if errors.0.is_empty() => Ok(Event {
                id: about.name.clone(),
                about,
                times: Times::Once { start, end },
            }),
            _ => Err(errors.0),
        }
    }

    fn times(&self, zone: &TimeZone, errors: &mut FieldErrors) -> Option<(Timestamp, Timestamp)> {
        let field = |name: &'static str| move |message: String| FieldError::new(name, message);
        let out_of_range = |name: &'static str| move || FieldError::new(name, "out of range");
        let written = errors.keep(Written::parse(&self.start).map_err(field("start")));
        let start = written
            .and_then(|written| errors.keep(written.start(zone).ok_or_else(out_of_range("start"))));
        // Also where the start can't be read: what is wrong with the end is told with it.
        let end = match (&self.end, &self.duration) {
            (Some(_), Some(_)) => Err(FieldError::new(
                "duration",
                "end and duration exclude each other: keep one",
            )),
            (Some(end), None) => Written::parse(end)
                .map_err(field("end"))
                .and_then(|end| end.end(zone).ok_or_else(out_of_range("end"))),
            (None, Some(duration)) => match (Length::parse(duration), start) {
                (Err(message), _) => Err(FieldError::new("duration", message)),
                (Ok(_), None) => return None,
                (Ok(length), Some(start)) => {
                    length.after(start, zone).ok_or_else(out_of_range("end"))
                }
            },
            (None, None) => match written {
                // A day alone is that day.
                Some(day @ Written::Day(_)) => day.end(zone).ok_or_else(out_of_range("end")),
                _ => Err(FieldError::new("end", "missing: give an end or a duration")),
            },
        };
        let (start, end) = (start, errors.keep(end)?);
        let start = start?;
        if end <= start {
            let message = match &self.end {
                Some(text) => format!("{text:?} is not after the start ({:?})", self.start),
                None => format!("{end} is not after the start ({:?})", self.start),
            };
            errors.0.push(FieldError::new("end", message));
            return None;
        }
        Some((start, end))
    }
}

/// When a recurring event starts.
enum Starts {
    Cron(String, Schedule),
    Rule(Box<Rule>, DateTime),
}

impl RecurringSpec {
    pub(crate) fn read(&self, zone: &TimeZone) -> Result<Event, Vec<FieldError>> {
        let mut errors = FieldErrors::default();
        let about = about(
            &self.name,
            &self.labels,
            self.multiplier.as_deref(),
            &mut errors,
        );
        let starts = self.starts(zone, &mut errors);
        let length = Length::parse(&self.duration);
        let length = errors.keep(length.map_err(|message| FieldError::new("duration", message)));
        let except = self.read_except(zone, &mut errors);
        let (Some(starts), Some(length), true) = (starts, length, errors.0.is_empty()) else {
            return Err(errors.0);
        };
        let times = match starts {
            Starts::Cron(text, schedule) => Times::Cron(CronTimes {
                text,
                schedule: Arc::new(schedule),
                zone: zone.clone(),
                length,
                except,
            }),
            Starts::Rule(rule, start) => Times::Series(Box::new(Series {
                zone: zone.clone(),
                start,
                start_counts: false,
                lasts: Lasts::Length(length),
                rules: vec![*rule],
                more: Vec::new(),
                except,
                overrides: BTreeMap::new(),
            })),
        };
        Ok(Event {
            id: about.name.clone(),
            about,
            times,
        })
    }

    fn starts(&self, zone: &TimeZone, errors: &mut FieldErrors) -> Option<Starts> {
        match (&self.cron, &self.rrule) {
            (Some(cron), None) => {
                if self.start.is_some() {
                    let error = FieldError::new("start", "only an rrule has a start");
                    errors.0.push(error);
                }
                let schedule = Schedule::parse(cron)
                    .map_err(|error| FieldError::new("cron", error.to_string()));
                Some(Starts::Cron(cron.clone(), errors.keep(schedule)?))
            }
            (None, Some(rrule)) => {
                let rule = Rule::parse(rrule).map_err(|message| FieldError::new("rrule", message));
                let rule = errors.keep(rule);
                let start = self.start.as_deref().map(|start| {
                    Written::parse(start).map_err(|message| FieldError::new("start", message))
                });
                let start = match start {
                    Some(start) => Some(errors.keep(start)?),
                    None => None,
                };
                let rule = rule?;
                let start = match start {
                    Some(Written::Wall(wall)) => wall,
                    Some(Written::Day(day)) => day.to_datetime(Time::midnight()),
                    Some(Written::Instant(at)) => zone.to_datetime(at),
                    None if rule.interval > 1 || rule.count.is_some() || !rule.names_days() => {
                        let message = "missing: a rule with INTERVAL or COUNT, or without days (BYDAY, BYMONTHDAY), needs a start \
                                       to count from";
                        errors.0.push(FieldError::new("start", message));
                        return None;
                    }
                    None => LONG_AGO,
                };
                Some(Starts::Rule(Box::new(rule), start))
            }
            (Some(_), Some(_)) => {
                let message = "cron and rrule exclude each other: keep one";
                errors.0.push(FieldError::new("rrule", message));
                None
            }
            (None, None) => {
                let message = "missing: give cron or rrule";
                errors.0.push(FieldError::new("cron", message));
                None
            }
        }
    }

    fn read_except(&self, zone: &TimeZone, errors: &mut FieldErrors) -> Except {
        let mut except = Except::default();
        for (index, text) in self.except.iter().enumerate() {
            let written = Written::parse(text)
                .map_err(|message| FieldError::new(format!("except[{index}]"), message));
            match errors.keep(written) {
                Some(Written::Day(day)) => {
                    except.days.insert(day);
                }
                Some(Written::Instant(at)) => {
                    except.instants.insert(at);
                }
                Some(Written::Wall(wall)) => {
                    except
                        .instants
                        .extend(instant(wall, zone).map(|moment| moment.at));
                }
                None => {}
            }
        }
        except
    }
}

/// A name that ends up in ids, Events and metrics.
const LONGEST_NAME: usize = 253;

pub(crate) fn about(
    name: &str,
    labels: &BTreeMap<String, String>,
    multiplier: Option<&str>,
    errors: &mut FieldErrors,
) -> About {
    let name = name.trim();
    if name.is_empty() {
        errors.0.push(FieldError::new("name", "missing"));
    }
    if name.chars().count() > LONGEST_NAME {
        let message = format!("longer than {LONGEST_NAME} characters");
        errors.0.push(FieldError::new("name", message));
    }
    let multiplier = multiplier
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::parse::<Multiplier>)
        .transpose()
        .map_err(|error| FieldError::new("multiplier", error.to_string()));
    About {
        name: name.to_owned(),
        labels: labels.clone(),
        multiplier: errors.keep(multiplier).flatten(),
    }
}
