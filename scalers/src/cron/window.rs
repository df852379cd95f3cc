//! Between a start and an end: whether a moment lies in the window of two schedules.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sakidori_calendars::cron::Schedule;

/// Whether `now` lies between a start and the end that follows it: the end comes next.
///
/// KEDA: in the window unless the next start comes before the next end. Both at once count as in the window, as in KEDA.
/// The boundaries themselves follow: at the instant of a start the next start is far away, so it is inside; at the instant of an
/// end it is outside.
pub fn contains(now: Timestamp, zone: &TimeZone, start: &Schedule, end: &Schedule) -> bool {
    match (start.next(now, zone), end.next(now, zone)) {
        (Some(start), Some(end)) => start >= end,
        // Past the calendar of the schedules: nothing starts any more, so only what ends can be open.
        (_, end) => end.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use sakidori_calendars::time_zone;

    use super::*;

    #[test]
    fn the_window_is_open_when_its_end_comes_before_its_next_start() {
        let office = ("0 8 * * 1-5", "0 18 * * 1-5");
        let night = ("0 22 * * *", "0 6 * * *");
        let skipped = ("15 2 * * *", "45 2 * * *");
        let to_the_hour = ("30 2 * * *", "0 3 * * *");
        let repeated = ("15 1 * * *", "45 1 * * *");
        let weekend = ("0 0 * * 6", "0 0 * * 1");
        let table = [
            // Within a day, in the time zone of the trigger.
            (office, "Asia/Tokyo", "2026-11-23T07:59:59+09:00", false),
            (office, "Asia/Tokyo", "2026-11-23T08:00:00+09:00", true),
            (office, "Asia/Tokyo", "2026-11-23T17:59:59.999+09:00", true),
            (office, "Asia/Tokyo", "2026-11-23T18:00:00+09:00", false),
            (office, "Asia/Tokyo", "2026-11-22T12:00:00+09:00", false),
            // Over midnight, over days.
            (night, "UTC", "2026-11-23T22:00:00Z", true),
            (night, "UTC", "2026-11-24T03:00:00Z", true),
            (night, "UTC", "2026-11-24T06:00:00Z", false),
            (weekend, "UTC", "2026-11-22T23:59:00Z", true),
            (weekend, "UTC", "2026-11-23T00:00:00Z", false),
            // Start and end in the hour that clocks skip: nothing opens, not even for the day before.
            (
                skipped,
                "America/New_York",
                "2026-03-07T12:00:00-05:00",
                false,
            ),
            (
                skipped,
                "America/New_York",
                "2026-03-08T03:00:00-04:00",
                false,
            ),
            (
                skipped,
                "America/New_York",
                "2026-03-09T02:30:00-04:00",
                true,
            ),
            (
                to_the_hour,
                "America/New_York",
                "2026-03-07T12:00:00-05:00",
                false,
            ),
            (
                to_the_hour,
                "America/New_York",
                "2026-03-08T01:59:59-05:00",
                false,
            ),
            (
                to_the_hour,
                "America/New_York",
                "2026-03-08T03:00:00-04:00",
                false,
            ),
            // A start in the skipped hour opens when the clock goes on.
            (
                ("30 2 * * *", "0 5 * * *"),
                "America/New_York",
                "2026-03-08T01:59:59-05:00",
                false,
            ),
            (
                ("30 2 * * *", "0 5 * * *"),
                "America/New_York",
                "2026-03-08T03:00:00-04:00",
                true,
            ),
            // An end in the skipped hour closes when the clock goes on.
            (
                ("0 1 * * *", "30 2 * * *"),
                "America/New_York",
                "2026-03-08T01:59:59-05:00",
                true,
            ),
            (
                ("0 1 * * *", "30 2 * * *"),
                "America/New_York",
                "2026-03-08T03:00:00-04:00",
                false,
            ),
            // The hour that clocks repeat: open in its first pass only.
            (repeated, "Europe/London", "2026-10-25T01:30:00+01:00", true),
            (
                repeated,
                "Europe/London",
                "2026-10-25T01:50:00+01:00",
                false,
            ),
            (
                repeated,
                "Europe/London",
                "2026-10-25T01:30:00+00:00",
                false,
            ),
            (repeated, "Europe/London", "2026-10-26T01:30:00+00:00", true),
            // A window over the repeated hour lasts an hour longer.
            (
                ("0 0 * * *", "0 2 * * *"),
                "Europe/London",
                "2026-10-25T01:59:59+00:00",
                true,
            ),
            (
                ("0 0 * * *", "0 2 * * *"),
                "Europe/London",
                "2026-10-25T02:00:00+00:00",
                false,
            ),
            // KEDA: start and end at the same instant, written differently, are always in the window.
            (
                ("0 8 * * *", "00 8 * * *"),
                "UTC",
                "2026-11-23T12:00:00Z",
                true,
            ),
            (
                ("TZ=Asia/Tokyo 0 9 * * *", "TZ=UTC 0 0 * * *"),
                "Europe/London",
                "2026-11-23T12:00:00Z",
                true,
            ),
            // Each with its own zone.
            (
                ("TZ=Asia/Tokyo 0 9 * * *", "TZ=America/New_York 0 9 * * *"),
                "UTC",
                "2026-11-23T13:59:59Z",
                true,
            ),
            (
                ("TZ=Asia/Tokyo 0 9 * * *", "TZ=America/New_York 0 9 * * *"),
                "UTC",
                "2026-11-23T14:00:00Z",
                false,
            ),
        ];
        for ((start, end), zone, now, inside) in table {
            let (from, to) = (
                Schedule::parse(start).unwrap(),
                Schedule::parse(end).unwrap(),
            );
            let found = contains(now.parse().unwrap(), &time_zone(zone).unwrap(), &from, &to);
            assert_eq!(found, inside, "{start} to {end} in {zone} at {now}");
        }
    }
}
