//! What the crate's users see: texts in, occurrences out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clocks;
mod exports;
mod formats;
mod hostile;
mod sources;
mod vectors;

use std::sync::Arc;

use jiff::Timestamp;
use sakidori_calendars::{Book, Events, Problem, RecurringSpec};
use sakidori_engine::prescale::Occurrence;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The occurrences of some events that touch a period.
fn occurrences(events: Events, from: &str, to: &str) -> Vec<Arc<Occurrence>> {
    let book = Book::new(events, [], &[]);
    book.occurrences_in(at(from), at(to)).unwrap()
}

/// `name start/end`, for tables.
fn lines(occurrences: &[Arc<Occurrence>]) -> Vec<String> {
    occurrences
        .iter()
        .map(|one| format!("{} {}/{}", one.name, one.start, one.end))
        .collect()
}

fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn weekly(name: &str, rrule: &str, start: Option<&str>, duration: &str) -> RecurringSpec {
    RecurringSpec {
        name: name.into(),
        rrule: Some(rrule.into()),
        start: start.map(str::to_owned),
        duration: duration.into(),
        ..RecurringSpec::default()
    }
}
