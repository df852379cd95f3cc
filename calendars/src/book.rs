//! The last good copy of every source of one calendar, and the occurrences of all of them.
//!
//! A refresh that fails, or brings nothing where something is to come, changes nothing but the source's state: its copy
//! counts on, and it is stale since then. Only a good refresh adds, moves and removes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use sakidori_engine::prescale::Occurrence;

use crate::compact::{Compact, restore};
use crate::limits::{Budget, HORIZON, LOOK_BACK, LimitError};
use crate::problem::Problem;
use crate::spec::Events;

/// What asking a source brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Refresh {
    Read(Events),
    /// The source could not be asked, or its text not be read; without secrets.
    Failed(String),
}

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// When it was last asked with success.
    pub refreshed_at: Option<Timestamp>,
    /// Since when its copy is older than it should be: the first refresh that failed after the last good one.
    pub stale_since: Option<Timestamp>,
    /// Why the last refresh failed.
    pub error: Option<String>,
    /// Of single events in the copy that counts.
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, Default)]
struct Source {
    events: Events,
    /// From a refresh; else from the status of before the restart, or not there at all.
    heard_of: bool,
    state: SourceState,
}

/// All sources of one calendar object.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// What stands in the object itself.
    inline: Events,
    sources: BTreeMap<String, Source>,
}

impl Book {
    /// A calendar with these sources, of which nothing is known but what the object's status remembers.
    pub fn new<'a>(
        inline: Events,
        sources: impl IntoIterator<Item = &'a str>,
        remembered: &[Compact],
    ) -> Self {
        let mut remembered = restore(remembered);
        let sources = sources
            .into_iter()
            .map(|name| {
                let source = Source {
                    events: remembered.remove(name).unwrap_or_default(),
                    ..Source::default()
                };
                (name.to_owned(), source)
            })
            .collect();
        Self { inline, sources }
    }

    /// What a status says of a source from before a restart; whether its copy is up to date is not known from that.
    pub fn remember(
        &mut self,
        source: &str,
        refreshed_at: Option<Timestamp>,
        stale_since: Option<Timestamp>,
        error: Option<String>,
    ) {
        if let Some(source) = self.sources.get_mut(source) {
            source.state = SourceState {
                refreshed_at,
                stale_since,
                error,
                problems: Vec::new(),
            };
        }
    }

    /// Takes in another spec of the object. A source that is no longer in it is gone, with its events: that is deliberate.
    pub fn respecify<'a>(&mut self, inline: Events, sources: impl IntoIterator<Item = &'a str>) {
        self.inline = inline;
        let mut before = std::mem::take(&mut self.sources);
        self.sources = sources
            .into_iter()
            .map(|name| (name.to_owned(), before.remove(name).unwrap_or_default()))
            .collect();
    }

    /// Takes in what a source answered at `now`. Returns whether its events are others than before.
    pub fn refreshed(&mut self, source: &str, now: Timestamp, refresh: Refresh) -> bool {
        let Some(mut known) = self.sources.get(source).cloned() else {
            return false;
        };
        let read = match refresh {
            Refresh::Read(read) if read.events.is_empty() && known.is_needed(&read, now) => {
                let what = match left_out(&read) {
                    0 => "the source answered an empty calendar".to_owned(),
                    left_out => format!("none of the {left_out} events can be read"),
                };
                Err(format!(
                    "{what}: the {} events that are known are kept; remove the source from the calendar if that is meant",
                    known.events.events.len()
                ))
            }
            Refresh::Read(read) => Ok(read),
            Refresh::Failed(message) => Err(message),
        };
        let read = read.and_then(|read| {
            let mut events = read.events;
            keep_unreadable(&known.events, &mut events, &read.problems);
            let read = Events {
                events,
                problems: read.problems,
            };
            // Past a limit it is an error, too, and the last copy counts.
            let mut trial = self.clone();
            trial.sources.insert(
                source.to_owned(),
                Source {
                    events: read.clone(),
                    ..known.clone()
                },
            );
            match trial.occurrences(now) {
                Ok(_) => Ok(read),
                Err(error) => Err(error.to_string()),
            }
        });
        let changed = match read {
            Ok(read) => {
                let changed = read.events != known.events.events;
                known = Source {
                    state: SourceState {
                        refreshed_at: Some(now),
                        stale_since: None,
                        error: None,
                        problems: read.problems.clone(),
                    },
                    events: read,
                    heard_of: true,
                };
                changed
            }
            Err(message) => {
                known.state.stale_since.get_or_insert(now);
                known.state.error = Some(message);
                false
            }
        };
        self.sources.insert(source.to_owned(), known);
        changed
    }

    /// All occurrences that matter at `now`, ordered by start: from a week ago, as floors outlive their occurrences, to the
    /// horizon.
    ///
    /// # Errors
    /// Past a limit. The occurrences that were known before should count on.
    pub fn occurrences(&self, now: Timestamp) -> Result<Arc<[Arc<Occurrence>]>, LimitError> {
        let from = now.checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        let to = now.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
        self.occurrences_in(from, to).map(Into::into)
    }

    /// All occurrences that touch the time from `from` to `to`, ordered by start.
    ///
    /// # Errors
    /// Past a limit, which is that of the horizon for each time as long as it.
    pub fn occurrences_in(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Arc<Occurrence>>, LimitError> {
        let mut budget = Budget::over(from, to);
        let mut found = Vec::new();
        let sources = self
            .sources
            .iter()
            .map(|(name, source)| (name.as_str(), &source.events));
        for (name, events) in std::iter::once(("", &self.inline)).chain(sources) {
            for event in &events.events {
                event.expand(name, (from, to), &mut budget, &mut found)?;
            }
        }
        found.sort_by(|one, other| (one.start, &one.id).cmp(&(other.start, &other.id)));
        Ok(found)
    }

    /// Whether every source has been asked with success since the start: only then was removed what isn't there.
    pub fn is_complete(&self) -> bool {
        self.sources.values().all(|source| source.heard_of)
    }

    /// Since when the calendar is stale: that of its source that is so the longest.
    pub fn stale_since(&self) -> Option<Timestamp> {
        self.sources
            .values()
            .filter_map(|source| source.state.stale_since)
            .min()
    }

    pub fn source(&self, name: &str) -> Option<&SourceState> {
        self.sources.get(name).map(|source| &source.state)
    }

    /// Of the events that stand in the object itself.
    pub fn inline_problems(&self) -> &[Problem] {
        &self.inline.problems
    }

    /// What the status has to remember at `now`.
    pub fn compact(occurrences: &[Arc<Occurrence>], now: Timestamp) -> Vec<Compact> {
        Compact::of(occurrences, now)
    }
}

impl Source {
    /// Whether an answer without events would take something away. A source that lists what is to come answers so when
    /// all that it had is over, and its floors are gone.
    fn is_needed(&self, read: &Events, now: Timestamp) -> bool {
        if left_out(read) > 0 {
            return !self.events.events.is_empty();
        }
        let from = now.checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        let (mut budget, mut found) = (Budget::default(), Vec::new());
        self.events.events.iter().any(|event| {
            // What goes on past every limit is not over.
            let expanded = event.expand("", (from, Timestamp::MAX), &mut budget, &mut found);
            expanded.is_err() || !found.is_empty()
        })
    }
}

/// How many events are left out. One may have several problems.
fn left_out(read: &Events) -> usize {
    let left_out = read.problems.iter().filter(|one| one.left_out);
    let events: BTreeSet<_> = left_out.map(|one| (one.index, &one.name)).collect();
    events.len()
}

/// An event that was known and can't be read any more (a typing error in its end) is not removed.
fn keep_unreadable(known: &Events, events: &mut Vec<crate::Event>, problems: &[Problem]) {
    let unreadable: BTreeSet<&str> = problems
        .iter()
        .filter(|problem| problem.left_out && !problem.name.is_empty())
        .map(|problem| problem.name.as_str())
        .collect();
    if unreadable.is_empty() {
        return;
    }
    let ids: BTreeSet<_> = events.iter().map(|event| event.id.clone()).collect();
    let kept = known
        .events
        .iter()
        .filter(|event| unreadable.contains(event.name()) && !ids.contains(&event.id));
    events.extend(kept.cloned());
}
