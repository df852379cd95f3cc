//! The coming days of a calendar in few bytes, for its status: a restart with a source down still prescales.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::prescale::{Multiplier, Occurrence};
use serde::{Deserialize, Serialize};

use crate::event::{About, Event, Times};
use crate::spec::Events;

/// How far ahead, and how far back: floors that fall outlive their occurrences.
const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);
const BACK: SignedDuration = SignedDuration::from_hours(24);
/// An object has 1.5 MiB at most. So many occurrences take some 100 KiB; a calendar that has more in a week keeps the nearest.
const KEPT: usize = 1000;

/// One event with its occurrences of the coming days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compact {
    pub source: String,
    /// The event's id within its source, where it is not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<Multiplier>,
    /// `start/end`; for an event that recurs with `#` at its end, and behind it the instant at which the occurrence was planned,
    /// if it was moved.
    pub times: Vec<String>,
}

impl Compact {
    /// What of `occurrences`, which are ordered by start, is worth remembering at `now`. What comes from no source is left out:
    /// it stands in the calendar object.
    pub(crate) fn of(occurrences: &[Arc<Occurrence>], now: Timestamp) -> Vec<Self> {
        let from = now.checked_sub(BACK).unwrap_or(Timestamp::MIN);
        let to = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
        let mut groups: Vec<Self> = Vec::new();
        let mut places: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        let coming = occurrences
            .iter()
            .filter(|one| !one.source.is_empty() && one.end > from && one.start < to)
            .take(KEPT);
        for one in coming {
            let (event, instance) = parts(one);
            let time = match instance {
                None => format!("{}/{}", one.start, one.end),
                Some(instance) if instance == one.start => format!("{}/{}#", one.start, one.end),
                Some(instance) => format!("{}/{}#{instance}", one.start, one.end),
            };
            // A changed occurrence of a series has its own name and labels.
            let same = |group: &Self| {
                group.name == one.name
                    && group.labels == one.labels
                    && group.multiplier == one.multiplier
            };
            let known = places
                .entry((one.source.clone(), event.to_owned()))
                .or_default();
            match known.iter().find(|at| same(&groups[**at])) {
                Some(at) => groups[*at].times.push(time),
                None => {
                    known.push(groups.len());
                    groups.push(Self {
                        source: one.source.clone(),
                        id: (event != one.name).then(|| event.to_owned()),
                        name: one.name.clone(),
                        labels: one.labels.clone(),
                        multiplier: one.multiplier,
                        times: vec![time],
                    });
                }
            }
        }
        groups
    }
}

/// The id of an occurrence's event within its source, and the instant that tells the occurrence from the event's others.
fn parts(occurrence: &Occurrence) -> (&str, Option<Timestamp>) {
    let id = occurrence
        .id
        .strip_prefix(&occurrence.source)
        .and_then(|id| id.strip_prefix(':'))
        .unwrap_or(&occurrence.id);
    match id.rsplit_once('/') {
        Some((event, instance)) => match instance.parse() {
            // Only what is written back the same way.
            Ok(at) if Timestamp::to_string(&at) == instance => (event, Some(at)),
            _ => (id, None),
        },
        None => (id, None),
    }
}

/// The events of each source, as a status remembers them. What can't be read is left out.
pub fn restore(remembered: &[Compact]) -> BTreeMap<String, Events> {
    let mut sources: BTreeMap<String, Events> = BTreeMap::new();
    for group in remembered {
        let id = group.id.as_ref().unwrap_or(&group.name);
        let times: Vec<_> = group
            .times
            .iter()
            .filter_map(|text| {
                let (span, instance) = match text.split_once('#') {
                    Some((span, instance)) => (span, Some(instance)),
                    None => (text.as_str(), None),
                };
                let (start, end) = span.split_once('/')?;
                let (start, end): (Timestamp, Timestamp) = (start.parse().ok()?, end.parse().ok()?);
                let id = match instance {
                    None => id.clone(),
                    Some("") => format!("{id}/{start}"),
                    Some(instance) => format!("{id}/{instance}"),
                };
                Some((id, start, end))
            })
            .collect();
        sources
            .entry(group.source.clone())
            .or_default()
            .events
            .push(Event {
                id: id.clone(),
                about: About {
                    name: group.name.clone(),
                    labels: group.labels.clone(),
                    multiplier: group.multiplier,
                },
                times: Times::Listed(times),
            });
    }
    sources
}
