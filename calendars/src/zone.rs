//! Time zones: their names, and when a wall clock shows a time.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use sakidori_engine::nearest;

/// A time zone that the IANA database doesn't have. Names the nearest that exists.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown time zone {name}{hint}")]
pub struct UnknownZone {
    name: String,
    hint: String,
}

/// The time zone named `name`, as Go's `time.LoadLocation` takes it: `UTC`, `Local` (which in a container is UTC, too) or a
/// name of the IANA database.
///
/// # Errors
/// Names the time zone and the nearest that exists.
pub fn time_zone(name: &str) -> Result<TimeZone, UnknownZone> {
    if name.is_empty() || name == "Local" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        let zones: Vec<_> = jiff::tz::db().available().collect();
        let hint = match nearest(name, zones.iter().map(|zone| zone.as_str())) {
            Some(zone) => format!(", did you mean {zone}?"),
            None => {
                ": expected a name of the IANA time zone database, such as Europe/Berlin".to_owned()
            }
        };
        UnknownZone {
            name: name.to_owned(),
            hint,
        }
    })
}

/// An instant that a wall clock stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    /// How long a skipped hour holds it up; zero for a time that the clock shows.
    pub held_up: SignedDuration,
}

/// When the wall clock of `zone` shows `wall`: for a time that clocks skip the first instant after the gap, for one that they
/// repeat the first of the two. `None` outside the range of years that a [`Timestamp`] has.
pub fn instant(wall: DateTime, zone: &TimeZone) -> Option<Moment> {
    let (offset, held_up) = match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, SignedDuration::ZERO),
        AmbiguousOffset::Fold { before, .. } => (before, SignedDuration::ZERO),
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the offset that comes, a skipped time lies before the change.
            let early = after.to_timestamp(wall).ok()?;
            let change = zone
                .following(early)
                .find(|change| change.offset() == after)?
                .timestamp();
            let held_up = after.to_datetime(change).duration_since(wall);
            return Some(Moment {
                at: change,
                held_up,
            });
        }
    };
    Some(Moment {
        at: offset.to_timestamp(wall).ok()?,
        held_up,
    })
}
