//! What a calendar's status says, and when that is worth a write.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sakidori_api::{
    Condition, SaleCalendarSpec, SaleCalendarStatus, next_occurrences, reasons, source_status,
};
use sakidori_calendars::Book;
use sakidori_engine::prescale::Occurrence;

/// The problems that are shown.
const SHOWN: usize = 20;
/// `lastRefreshTime` alone is written this often: it changes at every refresh, and says little.
const REFRESH_SHOWN_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Everything that a status is made of.
pub struct Facts<'a> {
    pub spec: &'a SaleCalendarSpec,
    pub generation: Option<i64>,
    pub book: &'a Book,
    pub occurrences: &'a [Arc<Occurrence>],
    /// A limit that the calendar is past.
    pub limit: Option<&'a str>,
    pub now: Timestamp,
}

pub fn status(facts: &Facts<'_>) -> SaleCalendarStatus {
    let problems = problems(facts);
    let sources = facts.spec.sources.iter();
    let sources = sources.filter_map(|source| {
        let state = facts.book.source(&source.name)?;
        Some(source_status(&source.name, state))
    });
    SaleCalendarStatus {
        conditions: vec![ready(facts, &problems), stale(facts)],
        occurrences: next_occurrences(facts.occurrences, facts.now),
        sources: sources.collect(),
        problems: problems.into_iter().take(SHOWN).collect(),
        remembered: Book::compact(facts.occurrences, facts.now)
            .into_iter()
            .map(Into::into)
            .collect(),
        observed_generation: facts.generation,
    }
}

/// Of the spec with their paths, of events in sources with the source's name.
fn problems(facts: &Facts<'_>) -> Vec<String> {
    let mut all: Vec<String> = facts
        .spec
        .problems()
        .iter()
        .map(ToString::to_string)
        .collect();
    for source in &facts.spec.sources {
        let state = facts.book.source(&source.name);
        let found = state.into_iter().flat_map(|state| &state.problems);
        all.extend(found.map(|problem| format!("source {:?}: {problem}", source.name)));
    }
    all
}

fn ready(facts: &Facts<'_>, problems: &[String]) -> Condition {
    let (status, reason, message) = match (facts.limit, problems) {
        (Some(limit), _) => (
            "False",
            reasons::CALENDAR_LIMIT_EXCEEDED,
            format!("{limit}; the occurrences that were known before count"),
        ),
        (None, []) => (
            "True",
            reasons::CALENDAR_READY,
            format!("{} occurrences are known", facts.occurrences.len()),
        ),
        (None, [first]) => ("False", reasons::CALENDAR_EVENTS_LEFT_OUT, first.clone()),
        (None, [first, others @ ..]) => (
            "False",
            reasons::CALENDAR_EVENTS_LEFT_OUT,
            format!("{first} (and {} more, see status.problems)", others.len()),
        ),
    };
    condition("Ready", status, reason, message)
}

fn stale(facts: &Facts<'_>) -> Condition {
    let failing: Vec<String> = facts
        .spec
        .sources
        .iter()
        .filter_map(|source| {
            let state = facts.book.source(&source.name)?;
            let since = state.stale_since?;
            let error = state.error.as_deref().unwrap_or("not asked again yet");
            Some(format!(
                "source {:?} can't be read since {}: {error}",
                source.name,
                to_the_second(since)
            ))
        })
        .collect();
    if failing.is_empty() {
        let message = "all sources are as they were last read".to_owned();
        return condition("Stale", "False", reasons::CALENDAR_SOURCES_READ, message);
    }
    let message = format!("{}; what is known counts", failing.join("; "));
    condition("Stale", "True", reasons::CALENDAR_SOURCE_FAILED, message)
}

fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn condition(type_: &str, status: &str, reason: &str, message: String) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
    }
}

/// Whether a reader can see a difference that is worth a write.
pub fn is_worth_a_write(written: &SaleCalendarStatus, wanted: &SaleCalendarStatus) -> bool {
    let timeless = |status: &SaleCalendarStatus| {
        let mut status = status.clone();
        for source in &mut status.sources {
            source.last_refresh_time = None;
        }
        status
    };
    if timeless(written) != timeless(wanted) {
        return true;
    }
    let mut sources = written.sources.iter().zip(&wanted.sources);
    sources.any(
        |(written, wanted)| match (&written.last_refresh_time, &wanted.last_refresh_time) {
            (Some(before), Some(now)) => now.0.duration_since(before.0) >= REFRESH_SHOWN_EVERY,
            (before, now) => before.is_some() != now.is_some(),
        },
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use sakidori_api::SourceStatus;

    use super::*;

    #[test]
    fn a_refresh_that_brought_nothing_new_is_written_once_an_hour() {
        let at = |minute: i64| SaleCalendarStatus {
            sources: vec![SourceStatus {
                name: "marketing".into(),
                last_refresh_time: Some(Time(Timestamp::from_second(minute * 60).unwrap())),
                ..SourceStatus::default()
            }],
            ..SaleCalendarStatus::default()
        };
        assert!(!is_worth_a_write(&at(0), &at(59)));
        assert!(is_worth_a_write(&at(0), &at(60)));
        let mut stale = at(1);
        stale.sources[0].error = Some("unreachable".into());
        assert!(is_worth_a_write(&at(0), &stale));
    }
}
