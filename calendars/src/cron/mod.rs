//! Cron schedules as robfig/cron (and so KEDA) reads them.

mod fields;
mod schedule;

pub use fields::ScheduleError;
pub use schedule::{Firing, Schedule};
