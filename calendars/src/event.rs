//! An event, and its occurrences over a period.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sakidori_engine::prescale::{Multiplier, Occurrence};

use crate::clock::Length;
use crate::cron::Schedule;
use crate::limits::{Budget, LimitError};
use crate::rule::Rule;
use crate::zone::instant;

/// One event of a calendar, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Unique within its source, and the same in every copy of it: the name, or an iCalendar's UID.
    pub(crate) id: String,
    pub(crate) about: About,
    pub(crate) times: Times,
}

/// What an event says beside its times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub multiplier: Option<Multiplier>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Times {
    Once {
        start: Timestamp,
        end: Timestamp,
    },
    Cron(CronTimes),
    Series(Box<Series>),
    /// Occurrences as they were written down before: see [`crate::compact`].
    Listed(Vec<(String, Timestamp, Timestamp)>),
}

#[derive(Clone, Debug)]
pub(crate) struct CronTimes {
    pub text: String,
    pub schedule: Arc<Schedule>,
    pub zone: TimeZone,
    pub length: Length,
    pub except: Except,
}

impl PartialEq for CronTimes {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.zone, self.length, &self.except)
            == (&other.text, &other.zone, other.length, &other.except)
    }
}

/// Starts that don't count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Except {
    pub days: BTreeSet<Date>,
    pub instants: BTreeSet<Timestamp>,
}

impl Except {
    fn has(&self, at: Timestamp, wall: DateTime) -> bool {
        self.instants.contains(&at) || self.days.contains(&wall.date())
    }
}

/// A recurring event of RFC 5545.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub zone: TimeZone,
    pub start: DateTime,
    /// The start counts although no rule has it (RFC 5545: DTSTART is the first occurrence).
    pub start_counts: bool,
    pub lasts: Lasts,
    pub rules: Vec<Rule>,
    /// RDATE, with the end where it has one of its own.
    pub more: Vec<(Timestamp, Option<Timestamp>)>,
    pub except: Except,
    /// By the instant of the occurrence that it replaces.
    pub overrides: BTreeMap<Timestamp, Override>,
}

/// How long each occurrence of a series lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// Until the wall clock shows so much more: from 20:00 to 22:00 on every day.
    Wall(SignedDuration),
    Length(Length),
}

impl Lasts {
    fn end(self, start: Timestamp, wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Wall(span) => instant(wall.checked_add(span).ok()?, zone).map(|moment| moment.at),
            Self::Length(length) => length.after(start, zone),
        }
    }

    fn as_duration(self) -> SignedDuration {
        match self {
            Self::Wall(span) => span,
            Self::Length(length) => length.as_duration(),
        }
    }
}

/// A changed occurrence of a series (RECURRENCE-ID).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Override {
    Cancelled,
    Moved {
        about: About,
        start: Timestamp,
        end: Timestamp,
    },
    /// RANGE=THISANDFUTURE: this one and all later ones.
    FromHereOn {
        about: About,
        /// On the clock.
        shift: SignedDuration,
        lasts: Lasts,
    },
}

/// The occurrences that touch a period.
struct Collector<'a> {
    source: &'a str,
    event: &'a Event,
    from: Timestamp,
    to: Timestamp,
    budget: &'a mut Budget,
    found: &'a mut Vec<Arc<Occurrence>>,
}

impl Collector<'_> {
    /// `instance` tells occurrences of one event apart; `None` for an event that has only one.
    fn add(
        &mut self,
        about: &About,
        instance: Option<Timestamp>,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<(), LimitError> {
        let id = match instance {
            Some(instance) => format!("{}/{instance}", self.event.id),
            None => self.event.id.clone(),
        };
        self.add_as(&id, about, start, end)
    }

    fn add_as(
        &mut self,
        id: &str,
        about: &About,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<(), LimitError> {
        // What the hour that clocks skip leaves nothing of is no occurrence.
        if end <= self.from || start >= self.to || end <= start {
            return Ok(());
        }
        self.budget.occurrence()?;
        self.found.push(Arc::new(Occurrence {
            id: if self.source.is_empty() {
                id.to_owned()
            } else {
                format!("{}:{id}", self.source)
            },
            source: self.source.to_owned(),
            name: about.name.clone(),
            start,
            end,
            labels: about.labels.clone(),
            multiplier: about.multiplier,
        }));
        Ok(())
    }
}

impl Event {
    /// The event's name.
    pub fn name(&self) -> &str {
        &self.about.name
    }

    /// Adds the occurrences that touch the time from `from` to `to`.
    pub(crate) fn expand(
        &self,
        source: &str,
        (from, to): (Timestamp, Timestamp),
        budget: &mut Budget,
        found: &mut Vec<Arc<Occurrence>>,
    ) -> Result<(), LimitError> {
        let mut collector = Collector {
            source,
            event: self,
            from,
            to,
            budget,
            found,
        };
        match &self.times {
            Times::Once { start, end } => collector.add(&self.about, None, *start, *end),
            Times::Cron(times) => times.expand(&mut collector),
            Times::Series(series) => series.expand(&mut collector),
            Times::Listed(list) => list
                .iter()
                .try_for_each(|(id, start, end)| collector.add_as(id, &self.about, *start, *end)),
        }
    }
}

impl CronTimes {
    fn expand(&self, collector: &mut Collector<'_>) -> Result<(), LimitError> {
        // A day of the calendar may have more than 24 hours.
        let reach = self
            .length
            .as_duration()
            .saturating_add(SignedDuration::from_hours(24));
        let mut at = earlier(collector.from, reach);
        while let Some(firing) = self.schedule.next(at, &self.zone) {
            collector.budget.step()?;
            at = firing.at;
            if at >= collector.to {
                break;
            }
            let own = self.schedule.zone().unwrap_or(&self.zone);
            if self.except.has(at, own.to_datetime(at)) {
                continue;
            }
            if let Some(end) = self.length.after(at, own) {
                collector.add(&collector.event.about, Some(at), at, end)?;
            }
        }
        Ok(())
    }
}

impl Series {
    fn expand(&self, collector: &mut Collector<'_>) -> Result<(), LimitError> {
        // Wall clocks are at most a day from UTC; a shift moves occurrences by what it says.
        let shifts = self.overrides.values().map(|change| match change {
            Override::FromHereOn { shift, lasts, .. } => {
                shift.abs().saturating_add(lasts.as_duration())
            }
            _ => SignedDuration::ZERO,
        });
        let reach = shifts
            .max()
            .unwrap_or_default()
            .saturating_add(self.lasts.as_duration())
            .saturating_add(SignedDuration::from_hours(48));
        let window = (
            self.zone.to_datetime(earlier(collector.from, reach)),
            self.zone.to_datetime(later(collector.to, reach)),
        );
        let mut starts: BTreeMap<Timestamp, (DateTime, Option<Timestamp>)> = BTreeMap::new();
        let first = self.start_counts.then_some(self.start);
        for rule in &self.rules {
            for wall in rule.times(self.start, &self.zone, window, collector.budget)? {
                if let Some(moment) = instant(wall, &self.zone) {
                    starts.entry(moment.at).or_insert((wall, None));
                }
            }
        }
        if let Some(wall) = first
            && let Some(moment) = instant(wall, &self.zone)
        {
            starts.entry(moment.at).or_insert((wall, None));
        }
        for (at, end) in &self.more {
            collector.budget.step()?;
            starts.insert(*at, (self.zone.to_datetime(*at), *end));
        }
        let about = &collector.event.about;
        // The occurrence from which on all are others may be long before the window.
        let mut changes = self
            .overrides
            .iter()
            .filter(|(_, change)| matches!(change, Override::FromHereOn { .. }))
            .peekable();
        let mut from_here_on: Option<&Override> = None;
        for (at, (wall, own_end)) in &starts {
            collector.budget.step()?;
            while let Some((_, change)) = changes.next_if(|(from, _)| *from <= at) {
                from_here_on = Some(change);
            }
            if self.overrides.contains_key(at)
                && !matches!(self.overrides.get(at), Some(Override::FromHereOn { .. }))
            {
                continue;
            }
            if self.except.has(*at, *wall) {
                continue;
            }
            if let Some(Override::FromHereOn {
                about,
                shift,
                lasts,
            }) = from_here_on
            {
                let moved = wall.checked_add(*shift).ok();
                if let Some(wall) = moved
                    && let Some(moment) = instant(wall, &self.zone)
                    && let Some(end) = lasts.end(moment.at, wall, &self.zone)
                {
                    collector.add(about, Some(*at), moment.at, end)?;
                }
            } else if let Some(end) = own_end.or_else(|| self.lasts.end(*at, *wall, &self.zone)) {
                collector.add(about, Some(*at), *at, end)?;
            }
        }
        // Also those that no rule has any more: somebody wrote them down, and they are in the calendar.
        for (at, change) in &self.overrides {
            collector.budget.step()?;
            if let Override::Moved { about, start, end } = change {
                collector.add(about, Some(*at), *start, *end)?;
            }
        }
        Ok(())
    }
}

fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
