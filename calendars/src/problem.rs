//! What is wrong with one event: it is left out, and the rest of the calendar works.

use std::borrow::Cow;
use std::fmt;

/// One problem of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place of the event in its list, counting from 0.
    pub index: usize,
    /// Its name, as far as it has one.
    pub name: String,
    /// The field, such as `events[3].end` or `SUMMARY`.
    pub path: String,
    /// What is wrong, what was expected.
    pub message: String,
    /// False where the event counts all the same, and only a part of it (a label) is left out.
    pub left_out: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, message, .. } = self;
        write!(
            f,
            "event {:?} (number {}), {path}: {message}",
            self.name,
            self.index + 1
        )
    }
}

/// What one field of an event is refused for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub field: Cow<'static, str>,
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// What the fields of one event are refused for: all of it is told at once.
#[derive(Debug, Default)]
pub(crate) struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// What was read; else `None`, and why is kept.
    pub(crate) fn keep<T>(&mut self, read: Result<T, FieldError>) -> Option<T> {
        read.map_err(|error| self.0.push(error)).ok()
    }
}
