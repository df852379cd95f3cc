//! Events as an object's spec, a JSON text, a table or a query gives them: fields of text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use sakidori_engine::prescale::Multiplier;

use crate::clock::{Length, Written};
use crate::cron::Schedule;
use crate::event::{About, CronTimes, Event, Except, Lasts, Series, Times};
use crate::problem::{FieldError, Problem};
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
        event: Result<Event, FieldError>,
    ) {
        let event = event.and_then(|event| {
            if self.names.insert(event.id.clone()) {
                return Ok(event);
            }
            Err(FieldError::new(
                "name",
                format!("{name:?} is the name of an earlier event: give each its own"),
            ))
        });
        match event {
            Ok(event) => self.events.events.push(event),
            Err(error) => self.events.problems.push(Problem {
                index,
                name: name.to_owned(),
                path: if error.field.is_empty() {
                    path.to_owned()
                } else {
                    format!("{path}.{}", error.field)
                },
                message: error.message,
                left_out: true,
            }),
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
    pub(crate) fn read(&self, zone: &TimeZone) -> Result<Event, FieldError> {
        let about = about(&self.name, &self.labels, self.multiplier.as_deref())?;
        let field = |name: &'static str| move |message: String| FieldError::new(name, message);
        let written = Written::parse(&self.start).map_err(field("start"))?;
        let start = written
            .start(zone)
            .ok_or_else(|| FieldError::new("start", "out of range"))?;
        let end = match (&self.end, &self.duration) {
            (Some(_), Some(_)) => {
                return Err(FieldError::new(
                    "duration",
                    "end and duration exclude each other: keep one",
                ));
            }
            (Some(end), None) => Written::parse(end).map_err(field("end"))?.end(zone),
            (None, Some(duration)) => Length::parse(duration)
                .map_err(field("duration"))?
                .after(start, zone),
            (None, None) => match written {
                // A day alone is that day.
                Written::Day(_) => written.end(zone),
                _ => return Err(FieldError::new("end", "missing: give an end or a duration")),
            },
        };
        let end = end.ok_or_else(|| FieldError::new("end", "out of range"))?;
        if end <= start {
            let message = format!("{end} is not after the start ({start})");
            return Err(FieldError::new("end", message));
        }
        Ok(Event {
            id: about.name.clone(),
            about,
            times: Times::Once { start, end },
        })
    }
}

impl RecurringSpec {
    pub(crate) fn read(&self, zone: &TimeZone) -> Result<Event, FieldError> {
        let about = about(&self.name, &self.labels, self.multiplier.as_deref())?;
        let length = Length::parse(&self.duration)
            .map_err(|message| FieldError::new("duration", message))?;
        let except = self.read_except(zone)?;
        let times = match (&self.cron, &self.rrule) {
            (Some(cron), None) => {
                let schedule = Schedule::parse(cron)
                    .map_err(|error| FieldError::new("cron", error.to_string()))?;
                if self.start.is_some() {
                    return Err(FieldError::new("start", "only an rrule has a start"));
                }
                Times::Cron(CronTimes {
                    text: cron.clone(),
                    schedule: Arc::new(schedule),
                    zone: zone.clone(),
                    length,
                    except,
                })
            }
            (None, Some(rrule)) => {
                Times::Series(Box::new(self.series(rrule, zone, length, except)?))
            }
            (Some(_), Some(_)) => {
                return Err(FieldError::new(
                    "rrule",
                    "cron and rrule exclude each other: keep one",
                ));
            }
            (None, None) => return Err(FieldError::new("cron", "missing: give cron or rrule")),
        };
        Ok(Event {
            id: about.name.clone(),
            about,
            times,
        })
    }

    fn series(
        &self,
        rrule: &str,
        zone: &TimeZone,
        length: Length,
        except: Except,
    ) -> Result<Series, FieldError> {
        let rule = Rule::parse(rrule).map_err(|message| FieldError::new("rrule", message))?;
        let (start, zone) = match &self.start {
            Some(start) => {
                match Written::parse(start).map_err(|message| FieldError::new("start", message))? {
                    Written::Wall(wall) => (wall, zone.clone()),
                    Written::Day(day) => (day.to_datetime(Time::midnight()), zone.clone()),
                    Written::Instant(at) => (zone.to_datetime(at), zone.clone()),
                }
            }
            None if rule.interval > 1 || rule.count.is_some() || !rule.names_days() => {
                let message = "missing: a rule with INTERVAL or COUNT, or without days (BYDAY, BYMONTHDAY), needs a start to \
                               count from";
                return Err(FieldError::new("start", message));
            }
            None => (LONG_AGO, zone.clone()),
        };
        Ok(Series {
            zone,
            start,
            start_counts: false,
            lasts: Lasts::Length(length),
            rules: vec![rule],
            more: Vec::new(),
            except,
            overrides: BTreeMap::new(),
        })
    }

    fn read_except(&self, zone: &TimeZone) -> Result<Except, FieldError> {
        let mut except = Except::default();
        for text in &self.except {
            match Written::parse(text).map_err(|message| FieldError::new("except", message))? {
                Written::Day(day) => {
                    except.days.insert(day);
                }
                Written::Instant(at) => {
                    except.instants.insert(at);
                }
                Written::Wall(wall) => {
                    except
                        .instants
                        .extend(instant(wall, zone).map(|moment| moment.at));
                }
            }
        }
        Ok(except)
    }
}

/// A name that ends up in ids, Events and metrics.
const LONGEST_NAME: usize = 253;

pub(crate) fn about(
    name: &str,
    labels: &BTreeMap<String, String>,
    multiplier: Option<&str>,
) -> Result<About, FieldError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(FieldError::new("name", "missing"));
    }
    if name.chars().count() > LONGEST_NAME {
        let message = format!("longer than {LONGEST_NAME} characters");
        return Err(FieldError::new("name", message));
    }
    Ok(About {
        name: name.to_owned(),
        labels: labels.clone(),
        multiplier: multiplier
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::parse::<Multiplier>)
            .transpose()
            .map_err(|error| FieldError::new("multiplier", error.to_string()))?,
    })
}
