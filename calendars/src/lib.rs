//! Calendars: texts into events, events into occurrences. Pure: no IO, no clock.
//!
//! A source's text becomes [`Events`] ([`ics`], [`csv`], [`json`], the rows of a query: [`table`], the specs of a calendar object). What is wrong
//! with one event is a [`Problem`], and the rest counts. A [`Book`] keeps the last good copy of each source and gives the
//! occurrences of all of them, as the engine's prescaling takes them.

mod book;
mod clock;
mod compact;
pub mod cron;
pub mod csv;
mod event;
pub mod ics;
pub mod json;
mod labels;
pub mod limits;
mod outlook;
mod problem;
mod rule;
mod spec;
pub mod table;
mod trigger;
mod zone;

pub use book::{Book, Refresh, SourceState};
pub use clock::{Length, Written};
pub use compact::{Compact, restore};
pub use event::Event;
pub use json::UnreadableText;
pub use limits::LimitError;
pub use problem::Problem;
pub use spec::{EventSpec, Events, RecurringSpec};
pub use trigger::{SaleCalendarTrigger, TriggerProblem};
pub use zone::{Moment, UnknownZone, instant, time_zone};
