//! Points in time as the command line takes them.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use sakidori_calendars::{Written, instant, time_zone};

/// # Errors
/// Names the nearest zone that exists.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    time_zone(name).map_err(|error| error.to_string())
}

/// RFC 3339, a wall time of `zone`, or a date, which is its first instant.
///
/// # Errors
/// Says what was expected.
pub fn point_in_time(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let wall = |at: DateTime| {
        instant(at, zone)
            .map(|moment| moment.at)
            .ok_or_else(|| format!("{text:?} is outside the years that can be counted"))
    };
    match Written::parse(text)? {
        Written::Instant(at) => Ok(at),
        Written::Wall(at) => wall(at),
        Written::Day(day) => wall(day.to_datetime(Time::midnight())),
    }
}

/// `Fri 2027-01-01 20:00`, with seconds where there are any.
pub(crate) fn shown(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    let form = if at.second() == 0 {
        "%a %Y-%m-%d %H:%M"
    } else {
        "%a %Y-%m-%d %H:%M:%S"
    };
    at.strftime(form).to_string()
}

pub(crate) fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}
