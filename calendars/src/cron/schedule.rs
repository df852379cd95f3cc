//! When a schedule fires: robfig/cron's five fields on top of the `cron` crate, which finds the dates.
//!
//! The crate reads another dialect: it wants a field for seconds, counts weekdays from 1, and takes a day only if its number
//! *and* its weekday match. So [`fields`](super::fields) parses robfig's grammar, and this file writes the result out in the
//! crate's dialect: numbers spelt out, weekdays by name, and two schedules where a day may match either field. The crate's
//! date type (chrono) stays in here.
//!
//! The crate works on the wall clock, without a time zone. A wall-clock time becomes an instant in [`crate::zone`], which
//! is where daylight saving is decided. Two deliberate differences from KEDA, which loses a firing in the hour that clocks
//! skip and fires twice in the hour that they repeat: the first instant after a skipped hour counts, and of a repeated hour
//! the first pass.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, Timelike, Utc};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::fields::{self, Field, Fields, ScheduleError};
use crate::zone::{instant, time_zone};

/// A schedule of robfig/cron's five fields, perhaps with a time zone of its own (`TZ=Asia/Tokyo 0 8 * * *`).
#[derive(Debug)]
pub struct Schedule {
    /// It fires when one of these does: two for a schedule that restricts both the day of month and the weekday.
    any_of: Vec<cron::Schedule>,
    /// From a `TZ=` or `CRON_TZ=` prefix; it wins over the caller's time zone.
    zone: Option<TimeZone>,
}

/// One firing. Of two at the same instant, the one that a skipped hour held up longer is the earlier: `30 2 * * *` and
/// `0 3 * * *` keep their order on the day when clocks go from 2:00 to 3:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firing {
    pub at: Timestamp,
    held_up: Reverse<SignedDuration>,
}

impl Schedule {
    /// # Errors
    /// For what robfig/cron refuses, and for a schedule that never fires (`0 0 31 2 *`), which robfig/cron lets pass.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let (zone, text) = split_zone(text)?;
        let fields = fields::parse(text)?;
        let any_of = in_crate_dialect(&fields)
            .iter()
            .map(|text| cron::Schedule::from_str(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ScheduleError(format!("{text}: {error}")))?;
        let schedule = Self { any_of, zone };
        // Any start will do: a date that exists at all comes back within eight years.
        if schedule
            .after(DateTime::constant(2000, 1, 1, 0, 0, 0, 0))
            .is_none()
        {
            return Err(ScheduleError(format!(
                "{text} never fires: no month in it has such a day"
            )));
        }
        Ok(schedule)
    }

    /// The schedule's own time zone, from a `TZ=` prefix.
    pub fn zone(&self) -> Option<&TimeZone> {
        self.zone.as_ref()
    }

    /// The first firing after `now`; `zone` counts where the schedule names none itself. `None` past the year 2100, where the crate's
    /// calendar ends.
    pub fn next(&self, now: Timestamp, zone: &TimeZone) -> Option<Firing> {
        let zone = self.zone.as_ref().unwrap_or(zone);
        let mut wall = zone.to_datetime(now);
        // More than one round only in the second pass of a repeated hour, whose firings lie in the first pass.
        loop {
            wall = self.after(wall)?;
            let moment = instant(wall, zone)?;
            if moment.at > now {
                return Some(Firing {
                    at: moment.at,
                    held_up: Reverse(moment.held_up),
                });
            }
        }
    }

    /// The first wall-clock time after `wall`.
    fn after(&self, wall: DateTime) -> Option<DateTime> {
        let after = to_chrono(wall)?;
        let next = self
            .any_of
            .iter()
            .filter_map(|schedule| schedule.after(&after).next())
            .min()?;
        from_chrono(next)
    }
}

/// Splits `TZ=Asia/Tokyo 0 8 * * *` (or `CRON_TZ=`).
fn split_zone(text: &str) -> Result<(Option<TimeZone>, &str), ScheduleError> {
    let Some(rest) = text
        .strip_prefix("TZ=")
        .or_else(|| text.strip_prefix("CRON_TZ="))
    else {
        return Ok((None, text));
    };
    let (name, fields) = rest.split_once(' ').unwrap_or((rest, ""));
    let zone = time_zone(name)
        .map_err(|error| ScheduleError(format!("provided bad location {name}: {error}")))?;
    // "Local" after the prefix means what no prefix means (robfig/cron: time.Local).
    Ok(((name != "Local").then_some(zone), fields.trim()))
}

/// The schedules whose union is `fields`, in the `cron` crate's dialect.
fn in_crate_dialect(fields: &Fields) -> Vec<String> {
    const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let list = |field: Field| {
        field.numbers().fold(String::new(), |mut list, n| {
            let _ = write!(list, "{}{n}", if list.is_empty() { "" } else { "," });
            list
        })
    };
    let minute = list(fields.minute);
    let hour = list(fields.hour);
    let month = list(fields.month);
    let days = list(fields.day_of_month);
    let weekdays = fields
        .weekday
        .numbers()
        .map(|n| WEEKDAYS[n as usize])
        .collect::<Vec<_>>()
        .join(",");
    if fields.day_is_either() {
        vec![
            format!("0 {minute} {hour} {days} {month} *"),
            format!("0 {minute} {hour} * {month} {weekdays}"),
        ]
    } else {
        vec![format!("0 {minute} {hour} {days} {month} {weekdays}")]
    }
}

fn to_chrono(wall: DateTime) -> Option<chrono::DateTime<Utc>> {
    let (year, month, day) = (
        wall.year().into(),
        wall.month().unsigned_abs().into(),
        wall.day().unsigned_abs().into(),
    );
    let (hour, minute, second) = (
        wall.hour().unsigned_abs(),
        wall.minute().unsigned_abs(),
        wall.second().unsigned_abs(),
    );
    let date = NaiveDate::from_ymd_opt(year, month, day)?;
    Some(
        date.and_hms_opt(hour.into(), minute.into(), second.into())?
            .and_utc(),
    )
}

fn from_chrono(wall: chrono::DateTime<Utc>) -> Option<DateTime> {
    let year = wall.year().try_into().ok()?;
    let [month, day, hour, minute] =
        [wall.month(), wall.day(), wall.hour(), wall.minute()].map(|n| i8::try_from(n).ok());
    DateTime::new(year, month?, day?, hour?, minute?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(name: &str) -> TimeZone {
        time_zone(name).unwrap()
    }

    /// The occurrences after `from`, as the zone's wall clock with its offset shows them.
    fn occurrences(schedule: &str, from: &str, zone_name: &str, count: usize) -> Vec<String> {
        let (schedule, zone) = (Schedule::parse(schedule).unwrap(), zone(zone_name));
        let mut now: Timestamp = from.parse().unwrap();
        let mut found = Vec::new();
        while found.len() < count {
            now = schedule.next(now, &zone).unwrap().at;
            found.push(
                now.to_zoned(zone.clone())
                    .strftime("%m-%d %H:%M %:z")
                    .to_string(),
            );
        }
        found
    }

    #[test]
    fn weekday_or_day_of_month() {
        let table: &[(&str, [&str; 4])] = &[
            // Both restricted: either.
            (
                "0 8 13 * 5",
                ["03-06 08:00", "03-13 08:00", "03-20 08:00", "03-27 08:00"],
            ),
            (
                "0 8 2,15 * MON",
                ["03-02 08:00", "03-09 08:00", "03-15 08:00", "03-16 08:00"],
            ),
            // A step above 1 restricts.
            (
                "0 8 */10 * 0",
                ["03-01 08:00", "03-08 08:00", "03-11 08:00", "03-15 08:00"],
            ),
            // One of them open: both.
            (
                "0 8 * * 0",
                ["03-01 08:00", "03-08 08:00", "03-15 08:00", "03-22 08:00"],
            ),
            (
                "0 8 ? * SAT-SAT",
                ["03-07 08:00", "03-14 08:00", "03-21 08:00", "03-28 08:00"],
            ),
            (
                "5/15 9-17/8 13 * ?",
                ["03-13 09:05", "03-13 09:20", "03-13 09:35", "03-13 09:50"],
            ),
            (
                "0 0 31 * *",
                ["03-31 00:00", "05-31 00:00", "07-31 00:00", "08-31 00:00"],
            ),
            (
                "59 23 * DEC,jan 6",
                ["12-05 23:59", "12-12 23:59", "12-19 23:59", "12-26 23:59"],
            ),
        ];
        for (schedule, expected) in table {
            let found = occurrences(schedule, "2026-03-01T00:00:00Z", "UTC", 4);
            assert_eq!(
                found,
                expected.map(|at| format!("{at} +00:00")),
                "{schedule}"
            );
        }
    }

    #[test]
    fn a_leap_day_comes_every_fourth_year() {
        let schedule = Schedule::parse("0 0 29 2 *").unwrap();
        let next = schedule
            .next("2026-01-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC)
            .unwrap();
        assert_eq!(next.at.to_string(), "2028-02-29T00:00:00Z");
    }

    #[test]
    fn daylight_saving() {
        let table: &[(&str, &str, &str, [&str; 3])] = &[
            // 8 March: 2:00 EST is 3:00 EDT. An occurrence in the skipped hour happens at its end.
            (
                "30 2 * * *",
                "America/New_York",
                "2026-03-07T12:00:00-05:00",
                [
                    "03-08 03:00 -04:00",
                    "03-09 02:30 -04:00",
                    "03-10 02:30 -04:00",
                ],
            ),
            (
                "0 3 * * *",
                "America/New_York",
                "2026-03-07T12:00:00-05:00",
                [
                    "03-08 03:00 -04:00",
                    "03-09 03:00 -04:00",
                    "03-10 03:00 -04:00",
                ],
            ),
            (
                "*/30 * * * *",
                "America/New_York",
                "2026-03-08T01:15:00-05:00",
                [
                    "03-08 01:30 -05:00",
                    "03-08 03:00 -04:00",
                    "03-08 03:30 -04:00",
                ],
            ),
            // 1 November: 2:00 EDT is 1:00 EST. Only the first 1:30 counts.
            (
                "30 1 * * *",
                "America/New_York",
                "2026-10-31T12:00:00-04:00",
                [
                    "11-01 01:30 -04:00",
                    "11-02 01:30 -05:00",
                    "11-03 01:30 -05:00",
                ],
            ),
            (
                "30 * * * *",
                "America/New_York",
                "2026-11-01T00:45:00-04:00",
                [
                    "11-01 01:30 -04:00",
                    "11-01 02:30 -05:00",
                    "11-01 03:30 -05:00",
                ],
            ),
            // Asked in the middle of the second pass.
            (
                "30 1 * * *",
                "America/New_York",
                "2026-11-01T01:15:00-05:00",
                [
                    "11-02 01:30 -05:00",
                    "11-03 01:30 -05:00",
                    "11-04 01:30 -05:00",
                ],
            ),
            // 29 March and 25 October.
            (
                "30 1 * * *",
                "Europe/London",
                "2026-03-28T12:00:00+00:00",
                [
                    "03-29 02:00 +01:00",
                    "03-30 01:30 +01:00",
                    "03-31 01:30 +01:00",
                ],
            ),
            (
                "30 1 * * *",
                "Europe/London",
                "2026-10-24T12:00:00+01:00",
                [
                    "10-25 01:30 +01:00",
                    "10-26 01:30 +00:00",
                    "10-27 01:30 +00:00",
                ],
            ),
            // No daylight saving.
            (
                "30 2 8 3,11 *",
                "Asia/Tokyo",
                "2026-03-01T00:00:00+09:00",
                [
                    "03-08 02:30 +09:00",
                    "11-08 02:30 +09:00",
                    "03-08 02:30 +09:00",
                ],
            ),
            // Half an hour: 4 October 2:00 is 2:30, 5 April 2:00 is 1:30.
            (
                "15 2 * * *",
                "Australia/Lord_Howe",
                "2026-10-03T12:00:00+10:30",
                [
                    "10-04 02:30 +11:00",
                    "10-05 02:15 +11:00",
                    "10-06 02:15 +11:00",
                ],
            ),
            (
                "45 1 * * *",
                "Australia/Lord_Howe",
                "2026-04-04T12:00:00+11:00",
                [
                    "04-05 01:45 +11:00",
                    "04-06 01:45 +10:30",
                    "04-07 01:45 +10:30",
                ],
            ),
        ];
        for (schedule, zone, from, expected) in table {
            assert_eq!(
                occurrences(schedule, from, zone, 3),
                *expected,
                "{schedule} in {zone}"
            );
        }
    }

    #[test]
    fn occurrences_that_a_skipped_hour_held_up_keep_their_order() {
        let zone = zone("America/New_York");
        let now = "2026-03-08T01:59:59-05:00".parse().unwrap();
        let [early, late, after] = ["15 2 * * *", "45 2 * * *", "0 3 * * *"]
            .map(|text| Schedule::parse(text).unwrap().next(now, &zone).unwrap());
        assert_eq!((early.at, late.at), (after.at, after.at));
        assert!(early < late && late < after);
    }

    #[test]
    fn a_time_zone_prefix_wins_over_the_triggers() {
        for prefix in ["TZ", "CRON_TZ"] {
            let found = occurrences(
                &format!("{prefix}=Asia/Tokyo  0 9 * * *"),
                "2026-03-01T00:00:00Z",
                "America/New_York",
                1,
            );
            assert_eq!(found, ["03-01 19:00 -05:00"]);
        }
        assert_eq!(
            occurrences(
                "TZ=Local 0 9 * * *",
                "2026-03-01T00:00:00Z",
                "Asia/Tokyo",
                1
            ),
            ["03-02 09:00 +09:00"]
        );
        assert_eq!(
            occurrences("TZ= 0 9 * * *", "2026-03-01T00:00:00Z", "Asia/Tokyo", 1),
            ["03-01 18:00 +09:00"]
        );
    }

    #[test]
    fn what_can_not_be_a_schedule_is_refused() {
        let table = [
            (
                "0 0 31 2 *",
                "0 0 31 2 * never fires: no month in it has such a day",
            ),
            (
                "0 0 31 4,6,9,11 ?",
                "0 0 31 4,6,9,11 ? never fires: no month in it has such a day",
            ),
            (
                "TZ=Asia/Tokio 0 8 * * *",
                "provided bad location Asia/Tokio: unknown time zone Asia/Tokio, did you mean Asia/Tokyo?",
            ),
            (
                "TZ=Mars 0 8 * * *",
                "provided bad location Mars: unknown time zone Mars: expected a name of the IANA time zone database, such as \
                 Europe/Berlin",
            ),
            (
                "TZ=Asia/Tokyo",
                "empty spec string: expected five fields, such as 0 8 * * MON-FRI",
            ),
            (
                "TZ=UTC @daily",
                "parser does not accept descriptors: @daily: write 0 0 * * * instead",
            ),
        ];
        for (text, message) in table {
            assert_eq!(
                Schedule::parse(text).err().map(|error| error.0).as_deref(),
                Some(message),
                "{text}"
            );
        }
        // Restricting the weekday too makes it fire.
        assert!(Schedule::parse("0 0 31 2 1").is_ok());
    }

    /// A field's text: star, list or range, with and without a step.
    fn field_text(min: u32, max: u32) -> impl Strategy<Value = String> {
        let range = (min..=max, min..=max, 1..8u32);
        prop_oneof![
            3 => Just("*".to_owned()),
            1 => (1..8u32).prop_map(|step| format!("*/{step}")),
            2 => (min..=max).prop_map(|n| n.to_string()),
            1 => range.prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
            1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a},{b}")),
        ]
    }

    proptest! {
        /// The crate behind its adapter finds what walking the calendar minute by minute finds.
        #[test]
        fn the_next_time_is_the_first_minute_that_matches(
            minute in field_text(0, 59), hour in field_text(0, 23), day in field_text(1, 31), month in field_text(1, 12),
            weekday in field_text(0, 6), start in 1_767_225_600i64..1_900_000_000,
        ) {
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            let fields = fields::parse(&text).unwrap();
            let has = |field: Field, n: i8| field.numbers().any(|allowed| allowed == u32::from(n.unsigned_abs()));
            let start = TimeZone::UTC.to_datetime(Timestamp::from_second(start).unwrap());
            let mut wall = start.with().second(0).build().unwrap().saturating_add(SignedDuration::from_mins(1));
            // A day that doesn't match is left in one step, so that far dates are reached soon.
            let found = loop {
                if wall.year() > start.year() + 8 {
                    break None;
                }
                let by_number = has(fields.day_of_month, wall.day());
                let by_weekday = has(fields.weekday, wall.weekday().to_sunday_zero_offset());
                let day = if fields.day_is_either() { by_number || by_weekday } else { by_number && by_weekday };
                if !(day && has(fields.month, wall.month())) {
                    wall = wall.date().tomorrow().unwrap().to_datetime(jiff::civil::Time::midnight());
                } else if has(fields.hour, wall.hour()) && has(fields.minute, wall.minute()) {
                    break Some(wall);
                } else {
                    wall = wall.saturating_add(SignedDuration::from_mins(1));
                }
            };
            match Schedule::parse(&text) {
                Ok(schedule) => prop_assert_eq!(schedule.after(start), found, "{}", text),
                Err(error) => prop_assert!(found.is_none(), "{} is refused: {}", text, error),
            }
        }
    }
}
