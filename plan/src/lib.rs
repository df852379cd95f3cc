//! `sakidori plan` without its IO: manifests in, the floors of a period out, as a table, JSON, a picture or a calendar.
//!
//! Texts become [`Manifests`]; with what calendars say ([`Calendars`]) they become a [`Plan`] and its [`Finding`]s, which the modules
//! [`table`], [`json`], [`svg`] and [`ics`] write. No clock, no files, no cluster: the same input always gives the same bytes.

mod around;
mod calendars;
mod checks;
mod finding;
pub mod ics;
pub mod json;
mod manifests;
mod object;
mod phase;
mod plan;
pub mod svg;
pub mod table;
mod time;

pub use calendars::{Calendars, Given};
pub use finding::{Finding, Severity};
pub use manifests::{Kept, Manifests, Origin, Place, SourceKind};
pub use object::{ObjectPlan, Sale};
pub use phase::{Phase, Shape};
pub use plan::{Assumptions, Period, Plan};
pub use time::{point_in_time, zone};
