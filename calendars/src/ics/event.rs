//! One VEVENT, and what the VEVENTs of one UID make together.

use std::collections::BTreeMap;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::lines::{Component, Property};
use super::zones::Zones;
use crate::clock::Length;
use crate::event::{About, Event, Except, Lasts, Override, Series, Times};
use crate::labels;
use crate::problem::{FieldError, FieldErrors};
use crate::rule::{Basic, Rule, basic};
use crate::zone::instant;

/// A VEVENT as it stands.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    index: usize,
    pub(super) uid: String,
    sequence: i64,
    cancelled: bool,
    about: About,
    start: Point,
    lasts: Lasts,
    rules: Vec<Rule>,
    more: Vec<(Timestamp, Option<Timestamp>)>,
    except: Except,
    /// The occurrence that it replaces, and whether all later ones, too.
    replaces: Option<(Point, bool)>,
}

/// A time with the zone it was written in.
#[derive(Clone, Debug)]
struct Point {
    wall: DateTime,
    zone: TimeZone,
    at: Timestamp,
    whole_day: bool,
    /// It names no zone.
    floating: bool,
}

impl Entry {
    /// Reads a VEVENT. Returns it with the categories that are no labels.
    pub(super) fn read(
        index: usize,
        component: &Component,
        zones: &Zones,
        zone: &TimeZone,
    ) -> Result<(Self, Vec<String>), FieldError> {
        let text = |name: &str| component.first(name).map(Property::text);
        let point = |property: &Property, field: &'static str| {
            Point::read(property, property.value.trim(), zones, zone)
                .map_err(|message| FieldError::new(field, message))
        };
        let uid = text("UID").unwrap_or_default();
        let (about, refused) = about(component, &uid)?;
        let uid = if uid.is_empty() {
            about.name.clone()
        } else {
            uid
        };
        let replaces = match component.first("RECURRENCE-ID") {
            Some(property) => {
                let range = property.parameter("RANGE").unwrap_or_default();
                let following = range.eq_ignore_ascii_case("THISANDFUTURE");
                Some((point(property, "RECURRENCE-ID")?, following))
            }
            None => None,
        };
        let start = match (component.first("DTSTART"), component.first("RECURRENCE-ID")) {
            (Some(property), _) => point(property, "DTSTART")?,
            // A cancelled occurrence needs no more than to be named.
            (None, Some(property)) => point(property, "RECURRENCE-ID")?,
            (None, None) => return Err(FieldError::new("DTSTART", "missing")),
        };
        let cancelled =
            text("STATUS").is_some_and(|status| status.eq_ignore_ascii_case("CANCELLED"));
        let lasts = lasts(component, &start, zones, cancelled)?;
        let rules = component
            .all("RRULE")
            .map(|property| Rule::parse(&property.value))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|message| FieldError::new("RRULE", message))?;
        // What names no zone where the start names one is meant in the start's.
        let more = more_starts(component, zones, &start.zone)?;
        let mut except = Except::default();
        for property in component.all("EXDATE") {
            for value in property.value.split(',') {
                let point = Point::read(property, value.trim(), zones, &start.zone)
                    .map_err(|message| FieldError::new("EXDATE", message))?;
                // Some write a day for an event that has a time of day.
                if point.whole_day {
                    except.days.insert(point.wall.date());
                } else {
                    except.instants.insert(point.at);
                }
            }
        }
        let sequence = text("SEQUENCE").and_then(|text| text.parse().ok());
        let entry = Self {
            index,
            uid,
            sequence: sequence.unwrap_or(0),
            cancelled,
            about,
            start,
            lasts,
            rules,
            more,
            except,
            replaces,
        };
        Ok((entry, refused))
    }

    fn end(&self) -> Option<Timestamp> {
        self.span_from(self.start.at, self.start.wall)
    }

    fn span_from(&self, at: Timestamp, wall: DateTime) -> Option<Timestamp> {
        match self.lasts {
            Lasts::Wall(span) => {
                let end = wall.checked_add(span).ok()?;
                instant(end, &self.start.zone).map(|moment| moment.at)
            }
            Lasts::Length(length) => length.after(at, &self.start.zone),
        }
    }

    /// What it makes of an occurrence of `series` that starts at `replaced`.
    fn replacement(
        &self,
        replaced: Timestamp,
        following: bool,
        series: Option<&Self>,
    ) -> Option<Override> {
        if self.cancelled {
            return Some(Override::Cancelled);
        }
        let end = self.end()?;
        let about = self.about.clone();
        if !following {
            return Some(Override::Moved {
                about,
                start: self.start.at,
                end,
            });
        }
        // Later ones are as much later on the clock, whatever the clock does in between.
        let zone = &series.unwrap_or(self).start.zone;
        let shift = zone
            .to_datetime(self.start.at)
            .duration_since(zone.to_datetime(replaced));
        let lasts = match self.lasts {
            Lasts::Wall(_) if self.start.zone != *zone => Lasts::Length(Length {
                days: 0,
                rest: end.duration_since(self.start.at),
            }),
            lasts => lasts,
        };
        Some(Override::FromHereOn {
            about,
            shift,
            lasts,
        })
    }
}

/// The event of one UID, with its index in the text. Of several versions the one with the highest SEQUENCE counts, and of
/// those the last. Changed occurrences without their series are events of their own.
pub(super) fn put_together(entries: Vec<Entry>) -> Option<(usize, Event)> {
    let index = entries.iter().map(|entry| entry.index).min()?;
    let mut master: Option<Entry> = None;
    let mut changes = Vec::new();
    for entry in entries {
        match entry.replaces.clone() {
            Some((replaced, following)) => changes.push((replaced, following, entry)),
            None => {
                if master
                    .as_ref()
                    .is_none_or(|known| known.sequence <= entry.sequence)
                {
                    master = Some(entry);
                }
            }
        }
    }
    let mut overrides: BTreeMap<Timestamp, (i64, Override)> = BTreeMap::new();
    for (replaced, following, entry) in &changes {
        let replaced = replaced.in_series(master.as_ref());
        let newer = overrides
            .get(&replaced)
            .is_none_or(|(sequence, _)| *sequence <= entry.sequence);
        if newer && let Some(change) = entry.replacement(replaced, *following, master.as_ref()) {
            overrides.insert(replaced, (entry.sequence, change));
        }
    }
    let overrides: BTreeMap<_, _> = overrides
        .into_iter()
        .map(|(replaced, (_, change))| (replaced, change))
        .collect();
    let first = changes.into_iter().next().map(|(_, _, entry)| entry);
    let orphans = master.is_none();
    let entry = master.or(first)?;
    if entry.cancelled && !orphans {
        return None;
    }
    let alone = entry.rules.is_empty() && entry.more.is_empty() && overrides.is_empty();
    let times = if alone {
        Times::Once {
            start: entry.start.at,
            end: entry.end()?,
        }
    } else {
        Times::Series(Box::new(Series {
            zone: entry.start.zone.clone(),
            start: entry.start.wall,
            start_counts: !orphans,
            lasts: entry.lasts,
            rules: if orphans { Vec::new() } else { entry.rules },
            more: entry.more,
            except: entry.except,
            overrides,
        }))
    };
    Some((
        index,
        Event {
            id: entry.uid,
            about: entry.about,
            times,
        },
    ))
}

impl Point {
    /// The start of the occurrence that a RECURRENCE-ID names: some name the day alone, or leave the zone away.
    fn in_series(&self, series: Option<&Entry>) -> Timestamp {
        let Some(Entry { start, .. }) = series else {
            return self.at;
        };
        let wall = if self.whole_day && !start.whole_day {
            self.wall.date().to_datetime(start.wall.time())
        } else if self.floating {
            self.wall
        } else {
            return self.at;
        };
        instant(wall, &start.zone).map_or(self.at, |moment| moment.at)
    }

    fn read(
        property: &Property,
        value: &str,
        zones: &Zones,
        zone: &TimeZone,
    ) -> Result<Self, String> {
        let named = || match property.parameter("TZID") {
            Some(id) => zones.get(id),
            None => Ok(zone.clone()),
        };
        let wrong = || {
            format!(
                "{value:?} is no time: expected 20270102, 20270102T200000 or 20270102T110000Z (a date that exists)"
            )
        };
        let (wall, zone, whole_day) = match basic(value).ok_or_else(wrong)? {
            // A day is a day where the shop is, whatever a TZID says.
            Basic::Day(day) => (day.to_datetime(Time::midnight()), zone.clone(), true),
            Basic::Wall(wall) => (wall, named()?, false),
            Basic::Instant(at) => {
                return Ok(Self {
                    wall: TimeZone::UTC.to_datetime(at),
                    zone: TimeZone::UTC,
                    at,
                    whole_day: false,
                    floating: false,
                });
            }
        };
        let at = instant(wall, &zone).ok_or_else(wrong)?.at;
        Ok(Self {
            wall,
            zone,
            at,
            whole_day,
            floating: !whole_day && property.parameter("TZID").is_none(),
        })
    }
}

/// The name, labels and multiplier.
fn about(component: &Component, uid: &str) -> Result<(About, Vec<String>), FieldError> {
    let summary = component.first("SUMMARY").map(Property::text);
    let name = summary
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| uid.to_owned());
    let mut labels = BTreeMap::new();
    let mut refused = Vec::new();
    for category in component.all("CATEGORIES").flat_map(Property::texts) {
        match labels::one(&category) {
            Some((key, value)) => {
                labels.insert(key, value);
            }
            None if category.is_empty() => {}
            None => refused.push(category),
        }
    }
    let mut multiplier = None;
    for property in &component.properties {
        match property.name.strip_prefix("X-SAKIDORI-") {
            None => {}
            Some("MULTIPLIER") => multiplier = Some(property.text()),
            Some("LABELS") => {
                let (more, wrong) = labels::parse(&property.text());
                labels.extend(more);
                refused.extend(wrong);
            }
            Some(key) => {
                let text = format!("{}={}", key.to_ascii_lowercase(), property.text());
                match labels::one(&text) {
                    Some((key, value)) => {
                        labels.insert(key, value);
                    }
                    None => refused.push(text),
                }
            }
        }
    }
    let field = |error: FieldError| match &*error.field {
        "multiplier" => FieldError::new("X-SAKIDORI-MULTIPLIER", error.message),
        _ => FieldError::new("SUMMARY", error.message),
    };
    let mut errors = FieldErrors::default();
    let about = crate::spec::about(&name, &labels, multiplier.as_deref(), &mut errors);
    if let Some(first) = errors.0.into_iter().next() {
        return Err(field(first));
    }
    Ok((about, refused))
}

/// From DTEND or DURATION; a day alone lasts that day.
fn lasts(
    component: &Component,
    start: &Point,
    zones: &Zones,
    cancelled: bool,
) -> Result<Lasts, FieldError> {
    let not_after = |field, end: String| {
        Err(FieldError::new(
            field,
            format!("{end} is not after the start ({})", start.at),
        ))
    };
    if let Some(property) = component.first("DTEND") {
        let end = Point::read(property, property.value.trim(), zones, &start.zone)
            .map_err(|message| FieldError::new("DTEND", message))?;
        if end.at <= start.at {
            // Apple and others write a day that ends on itself.
            if start.whole_day && end.whole_day && end.wall == start.wall {
                return Ok(Lasts::Wall(SignedDuration::from_hours(24)));
            }
            if !cancelled {
                return not_after("DTEND", end.at.to_string());
            }
        }
        return Ok(if end.zone == start.zone {
            Lasts::Wall(end.wall.duration_since(start.wall))
        } else {
            let rest = end.at.duration_since(start.at);
            Lasts::Length(Length { days: 0, rest })
        });
    }
    if let Some(property) = component.first("DURATION") {
        let length = Length::parse(&property.value)
            .map_err(|message| FieldError::new("DURATION", message))?;
        return Ok(Lasts::Length(length));
    }
    if start.whole_day {
        return Ok(Lasts::Wall(SignedDuration::from_hours(24)));
    }
    if cancelled {
        return Ok(Lasts::Wall(SignedDuration::ZERO));
    }
    Err(FieldError::new("DTEND", "missing: give DTEND or DURATION"))
}

/// RDATE: further starts, with an end where they are periods.
fn more_starts(
    component: &Component,
    zones: &Zones,
    zone: &TimeZone,
) -> Result<Vec<(Timestamp, Option<Timestamp>)>, FieldError> {
    let mut more = Vec::new();
    for property in component.all("RDATE") {
        for value in property.value.split(',').map(str::trim) {
            let wrong = |message| FieldError::new("RDATE", message);
            let (start, end) = match value.split_once('/') {
                Some((start, end)) => (start, Some(end)),
                None => (value, None),
            };
            let start = Point::read(property, start, zones, zone).map_err(wrong)?;
            let end = match end {
                Some(length) if length.starts_with(['P', 'p', '+']) => Length::parse(length)
                    .map_err(wrong)?
                    .after(start.at, &start.zone),
                Some(end) => Some(Point::read(property, end, zones, zone).map_err(wrong)?.at),
                None => None,
            };
            more.push((start.at, end));
        }
    }
    Ok(more)
}
