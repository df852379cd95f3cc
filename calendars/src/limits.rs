//! How much a calendar may hold, and the errors past it.

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::spec::Events;

/// The largest text of a source.
pub const MAX_TEXT: usize = 5 * 1024 * 1024;
/// The most commas, line ends and the like of one text: each may be an object, a row or a property, of which 5 MiB of the smallest
/// would be a gigabyte in memory. A text of that size that people write has less than this.
pub const MAX_PARTS: usize = 1_000_000;
/// The most entries of one text: events, or rows. What is past doesn't have to be left out of it.
pub const MAX_ENTRIES: usize = 50_000;
/// The most problems of one text, each of which is kept to be told.
pub const MAX_PROBLEMS: usize = 10_000;
/// The most occurrences of one calendar within the horizon.
pub const MAX_OCCURRENCES: usize = 10_000;
/// How far ahead occurrences are looked for.
pub const HORIZON: SignedDuration = SignedDuration::from_hours(400 * 24);
/// How far back: a floor outlives its occurrence by holdAfter and rampDown, which are minutes or hours.
pub const LOOK_BACK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Dates that may be tried to find the occurrences of one calendar. A rule such as "each second, in February, on the 30th" tries
/// for ever and finds nothing; so many take a fraction of a second.
pub const MAX_STEPS: u64 = 2_000_000;

/// A limit that a calendar is past. The last good copy counts on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LimitError {
    #[error("{0} bytes are more than the limit of 5 MiB ({MAX_TEXT} bytes)")]
    Text(usize),
    #[error(
        "more than the limit of {MAX_PARTS} parts (lines, values, separators): is it a calendar? If it is, split it"
    )]
    Parts,
    #[error(
        "{0} entries are more than the limit of {MAX_ENTRIES}: leave out what is past, or split the calendar"
    )]
    Entries(usize),
    #[error("{0} problems are more than the limit of {MAX_PROBLEMS}: is it a calendar?")]
    Problems(usize),
    #[error(
        "more than the limit of {MAX_OCCURRENCES} occurrences within 400 days: make rules sparser, or split the calendar"
    )]
    Occurrences,
    #[error(
        "finding the occurrences takes more than the limit of {MAX_STEPS} steps: make rules sparser (FREQ, INTERVAL, BYHOUR), or \
         give them a later start"
    )]
    Steps,
}

/// # Errors
/// [`LimitError::Text`] and [`LimitError::Parts`].
pub fn check_text(text: &str) -> Result<(), LimitError> {
    if text.len() > MAX_TEXT {
        return Err(LimitError::Text(text.len()));
    }
    let is_separator = |byte: &u8| matches!(byte, b',' | b';' | b':' | b'\t' | b'\n' | b'{' | b'[');
    match text
        .as_bytes()
        .iter()
        .filter(|byte| is_separator(byte))
        .count()
    {
        parts if parts > MAX_PARTS => Err(LimitError::Parts),
        _ => Ok(()),
    }
}

/// # Errors
/// [`LimitError::Entries`].
pub(crate) fn check_entries(entries: usize) -> Result<(), LimitError> {
    match entries > MAX_ENTRIES {
        true => Err(LimitError::Entries(entries)),
        false => Ok(()),
    }
}

/// What was read, unless its problems are too many. What they quote is cut where it is long: they end up in a status.
///
/// # Errors
/// [`LimitError::Problems`].
pub(crate) fn check_problems(mut events: Events) -> Result<Events, LimitError> {
    if events.problems.len() > MAX_PROBLEMS {
        return Err(LimitError::Problems(events.problems.len()));
    }
    for problem in &mut events.problems {
        for text in [&mut problem.name, &mut problem.path, &mut problem.message] {
            shorten(text);
        }
    }
    Ok(events)
}

/// The most of a problem's text, in bytes: a sentence and what it quotes.
const LONGEST_TEXT: usize = 500;

/// Cuts a text between characters.
pub(crate) fn shorten(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        let mut end = LONGEST_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
}

/// What is left to spend on one calendar.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    steps: u64,
    occurrences: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            steps: MAX_STEPS,
            occurrences: MAX_OCCURRENCES,
        }
    }
}

impl Budget {
    /// For the time from `from` to `to`: a plan may look over more than the operator does.
    pub(crate) fn over(from: Timestamp, to: Timestamp) -> Self {
        let once = Self::default();
        let seconds = to.duration_since(from).as_secs().max(1).unsigned_abs();
        let times = seconds.div_ceil((HORIZON + LOOK_BACK).as_secs().unsigned_abs());
        Self {
            steps: once.steps.saturating_mul(times),
            occurrences: once
                .occurrences
                .saturating_mul(usize::try_from(times).unwrap_or(usize::MAX)),
        }
    }

    pub(crate) fn step(&mut self) -> Result<(), LimitError> {
        self.steps = self.steps.checked_sub(1).ok_or(LimitError::Steps)?;
        Ok(())
    }

    pub(crate) fn occurrence(&mut self) -> Result<(), LimitError> {
        self.occurrences = self
            .occurrences
            .checked_sub(1)
            .ok_or(LimitError::Occurrences)?;
        Ok(())
    }
}
