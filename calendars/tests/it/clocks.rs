//! Time zones, clocks that change, leap days and year ends.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use sakidori_calendars::{EventSpec, Events, RecurringSpec, instant, time_zone};

use super::{lines, occurrences, weekly};

const ZONES: [&str; 4] = [
    "Asia/Tokyo",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
];

fn daily(rrule: &str, zone: &str, length: &str, from: &str, to: &str) -> Vec<String> {
    let spec = weekly("it", rrule, None, length);
    let events = Events::from_specs(&[], &[spec], &time_zone(zone).unwrap());
    assert_eq!(events.problems, []);
    let zone = time_zone(zone).unwrap();
    occurrences(events, from, to)
        .iter()
        .map(|one| {
            let show = |at: Timestamp| {
                at.to_zoned(zone.clone())
                    .strftime("%m-%d %H:%M%:z")
                    .to_string()
            };
            format!("{} to {}", show(one.start), show(one.end))
        })
        .collect()
}

#[test]
fn a_start_in_the_skipped_hour_is_the_first_instant_after_it() {
    // New York skips 2:00 to 3:00 on the 8th of March 2026.
    assert_eq!(
        daily(
            "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
            "America/New_York",
            "1h",
            "2026-03-07T12:00:00Z",
            "2026-03-10T00:00:00Z"
        ),
        [
            "03-08 03:00-04:00 to 03-08 04:00-04:00",
            "03-09 02:30-04:00 to 03-09 03:30-04:00"
        ]
    );
    // Lord Howe skips half an hour, 2:00 to 2:30 on the 4th of October.
    assert_eq!(
        daily(
            "FREQ=DAILY;BYHOUR=2;BYMINUTE=15",
            "Australia/Lord_Howe",
            "1h",
            "2026-10-03T12:00:00Z",
            "2026-10-05T00:00:00Z"
        ),
        [
            "10-04 02:30+11:00 to 10-04 03:30+11:00",
            "10-05 02:15+11:00 to 10-05 03:15+11:00"
        ]
    );
}

#[test]
fn in_the_repeated_hour_only_the_first_counts() {
    // New York repeats 1:00 to 2:00 on the 1st of November 2026.
    assert_eq!(
        daily(
            "FREQ=HOURLY;BYMINUTE=30",
            "America/New_York",
            "10m",
            "2026-11-01T04:00:00Z",
            "2026-11-01T08:00:00Z"
        ),
        [
            "11-01 00:30-04:00 to 11-01 00:40-04:00",
            "11-01 01:30-04:00 to 11-01 01:40-04:00",
            "11-01 02:30-05:00 to 11-01 02:40-05:00",
        ]
    );
    assert_eq!(
        daily(
            "FREQ=DAILY;BYHOUR=1;BYMINUTE=45",
            "Australia/Lord_Howe",
            "1h",
            "2026-04-04T12:00:00Z",
            "2026-04-05T12:00:00Z"
        ),
        ["04-05 01:45+11:00 to 04-05 02:15+10:30"]
    );
}

#[test]
fn cron_and_rrule_say_the_same() {
    for zone_name in ZONES {
        let zone = time_zone(zone_name).unwrap();
        for (cron, rrule) in [
            ("0 20 * * FRI", "FREQ=WEEKLY;BYDAY=FR;BYHOUR=20"),
            ("30 2 * * *", "FREQ=DAILY;BYHOUR=2;BYMINUTE=30"),
            ("30 1 * * 0", "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1;BYMINUTE=30"),
            ("0 0 29 2 *", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29"),
            ("0 0 1 1 *", "FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=1"),
        ] {
            let by_cron = RecurringSpec {
                name: "it".into(),
                cron: Some(cron.into()),
                duration: "90m".into(),
                ..RecurringSpec::default()
            };
            let found = |spec| {
                let events = Events::from_specs(&[], &[spec], &zone);
                occurrences(events, "2023-12-30T00:00:00Z", "2025-01-02T00:00:00Z")
            };
            let (one, other) = (found(by_cron), found(weekly("it", rrule, None, "90m")));
            assert_eq!(one, other, "{cron} in {zone_name}");
            assert!(!one.is_empty());
        }
    }
}

#[test]
fn a_leap_day_and_a_year_end_are_days_like_others() {
    let zone = time_zone("Asia/Tokyo").unwrap();
    let event = |name: &str, start: &str, duration: &str| EventSpec {
        name: name.into(),
        start: start.into(),
        duration: Some(duration.into()),
        ..EventSpec::default()
    };
    let events = Events::from_specs(
        &[
            event("leap", "2028-02-28T12:00:00", "2d"),
            event("year end", "2027-12-31", "1d"),
            event("long", "2027-11-20", "45d"),
        ],
        &[],
        &zone,
    );
    assert_eq!(
        lines(&occurrences(
            events,
            "2027-12-31T00:00:00Z",
            "2028-12-31T00:00:00Z"
        )),
        [
            "long 2027-11-19T15:00:00Z/2028-01-03T15:00:00Z",
            "year end 2027-12-30T15:00:00Z/2027-12-31T15:00:00Z",
            "leap 2028-02-28T03:00:00Z/2028-03-01T03:00:00Z",
        ]
    );
}

fn any_wall() -> impl Strategy<Value = DateTime> {
    // Around the changes of clocks of all four zones as often as anywhere.
    let anywhere = 0i64..800 * 86_400;
    let changes = prop_oneof![
        Just("2026-03-08T02:00"),
        Just("2026-11-01T01:00"),
        Just("2026-03-29T01:00"),
        Just("2026-10-25T01:00"),
        Just("2026-04-05T01:30"),
        Just("2026-10-04T02:00"),
    ];
    prop_oneof![
        anywhere.prop_map(|second| "2026-01-01T00:00".parse::<DateTime>().unwrap()
            + SignedDuration::from_secs(second)),
        (changes, -7200i64..7200).prop_map(
            |(at, second)| at.parse::<DateTime>().unwrap() + SignedDuration::from_secs(second)
        ),
    ]
}

proptest! {
    /// The clock shows the time at its instant, and did not before; if it never shows it, the instant is the first after the gap.
    #[test]
    fn an_instant_is_the_first_at_which_the_clock_shows_the_time_or_a_later_one(wall in any_wall(), zone in 0usize..4) {
        let zone = time_zone(ZONES[zone]).unwrap();
        let moment = instant(wall, &zone).unwrap();
        let shown = zone.to_datetime(moment.at);
        if moment.held_up == SignedDuration::ZERO {
            prop_assert_eq!(shown, wall);
        } else {
            prop_assert!(shown > wall);
            prop_assert_eq!(shown.duration_since(wall), moment.held_up);
            let just_before = zone.to_datetime(moment.at - SignedDuration::from_secs(1));
            prop_assert!(just_before < wall);
        }
        // Not once within three hours before did it show that.
        for earlier in 1..=180 {
            prop_assert!(zone.to_datetime(moment.at - SignedDuration::from_mins(earlier)) != wall);
        }
    }

    #[test]
    fn later_on_the_clock_is_never_earlier(one in any_wall(), minutes in 0i64..600, zone in 0usize..4) {
        let zone = time_zone(ZONES[zone]).unwrap();
        let later = one + SignedDuration::from_mins(minutes);
        prop_assert!(instant(one, &zone).unwrap().at <= instant(later, &zone).unwrap().at);
    }

    /// A daily sale happens on every day of every zone, once.
    #[test]
    fn every_day_has_its_sale(hour in 0i8..24, minute in 0i8..60, zone_index in 0usize..4, start in 0i32..330) {
        let zone = time_zone(ZONES[zone_index]).unwrap();
        let rule = format!("FREQ=DAILY;BYHOUR={hour};BYMINUTE={minute}");
        let events = Events::from_specs(&[], &[weekly("it", &rule, None, "10m")], &zone);
        let first = jiff::civil::date(2026, 1, 1) + start.days();
        let midnight = |day: jiff::civil::Date| day.to_zoned(zone.clone()).unwrap().timestamp();
        let (from, to) = (midnight(first), midnight(first + 60.days()));
        let found = occurrences(events, &from.to_string(), &to.to_string());
        let days: Vec<_> = found.iter().map(|one| zone.to_datetime(one.start).date()).collect();
        let started: Vec<_> = days.iter().copied().filter(|day| *day >= first).collect();
        let expected: Vec<_> = (0..60).map(|n| first + n.days()).collect();
        prop_assert_eq!(started, expected);
    }

    /// What is asked for in pieces is what is asked for at once.
    #[test]
    fn windows_only_cut_out(cut in 1i64..399, zone in 0usize..4, rule in 0usize..6) {
        let rules = ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=SA,SU;BYHOUR=1,2", "FREQ=MONTHLY;BYMONTHDAY=-1", "FREQ=HOURLY;BYHOUR=1,2,3",
                     "FREQ=YEARLY;BYWEEKNO=1,-1;BYDAY=SU", "FREQ=MONTHLY;BYDAY=MO,FR;BYSETPOS=-1"];
        let zone = time_zone(ZONES[zone]).unwrap();
        let events = || Events::from_specs(&[], &[weekly("it", rules[rule], None, "36h")], &zone);
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let middle = start + SignedDuration::from_hours(24 * cut);
        let end = start + SignedDuration::from_hours(24 * 400);
        let whole = occurrences(events(), &start.to_string(), &end.to_string());
        let mut parts = occurrences(events(), &start.to_string(), &middle.to_string());
        parts.extend(occurrences(events(), &middle.to_string(), &end.to_string()));
        parts.sort_by_key(|one| one.start);
        parts.dedup();
        prop_assert_eq!(whole, parts);
    }
}

#[test]
fn utc_is_a_zone_too() {
    assert_eq!(time_zone("UTC").unwrap(), TimeZone::get("UTC").unwrap());
}
