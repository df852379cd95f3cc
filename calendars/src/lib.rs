//! Calendars: texts into events, events into occurrences. Pure: no IO, no clock.

pub mod cron;
pub mod spelling;
mod zone;

pub use zone::{Moment, UnknownZone, instant, time_zone};
