//! Prescaling: an occurrence in a calendar (one sale, with its start and end) becomes a floor under the replicas, which is
//! complete before the sale starts.
//!
//! ```text
//! replicas
//!    peak |              ____________________________
//!         |          __|                             |__
//!         |       __|                                   |__
//! baseline|     _|                                         |__
//!         |    |                                              |__
//!         +----+---------+----------+-----------+----+-----------+---> time
//!           climbs    complete    start        end  hold ends   gone
//!              | rampUp  | leadTime |   the sale   | holdAfter | rampDown |
//! ```
//!
//! [`Settings`] are the trigger's parameters, [`Profile`] is the picture above for one occurrence, [`Timeline`] puts the
//! profiles of all occurrences and triggers of one object together, and [`Prescaling`] goes through it in time: it remembers
//! what must not change while a sale runs, and proves that the pods were there.

mod baseline;
mod condition;
mod lead;
mod multiplier;
mod nodes;
mod occurrence;
mod plan;
mod prescaling;
mod profile;
mod report;
mod run;
mod settings;
mod stretch;
#[cfg(test)]
mod tests;
mod timeline;

pub use baseline::ReplicaHistory;
pub use condition::Obstacle;
pub(crate) use condition::paused;
pub use lead::{LEAD_UNTIL_LEARNT, LEARNT_FROM, lead_from};
pub use multiplier::{Multiplier, ParseMultiplierError};
pub use nodes::{Room, SHORTEST_AHEAD};
pub use occurrence::{Occurrence, Occurrences};
pub use plan::Assumed;
pub use prescaling::{News, Prescaled, Prescaling, Scene, Trigger, TriggerFloor};
pub use profile::{Floors, Profile, STEP_SPACING};
pub use report::{PrescaleStatus, Report, RoomAsked, in_words};
pub use run::{Cut, Run, Told};
pub use settings::{Baseline, Factor, LeadTime, Nodes, Overlap, Settings, Wish};
pub use stretch::{Stretch, Stretches};
pub use timeline::{Bounds, Level, Limit, Step, Timeline};
