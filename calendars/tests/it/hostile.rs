//! Texts made to break a reader: none may panic, or take long.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use proptest::prelude::*;
use sakidori_calendars::{Book, Events, LimitError, Refresh, csv, ics, json};

use super::{at, weekly};

const SOON: Duration = Duration::from_secs(20);

fn vevent(n: usize, rest: &str) -> String {
    format!(
        "BEGIN:VEVENT\nUID:{n}\nSUMMARY:{n}\nDTSTART:20260101T000000Z\nDURATION:PT1M\n{rest}\nEND:VEVENT\n"
    )
}

fn expand(text: &str) -> Result<usize, LimitError> {
    let events = ics::read(text, &TimeZone::UTC).unwrap();
    let book = Book::new(events, [], &[]);
    book.occurrences(at("2026-01-01T00:00:00Z"))
        .map(|all| all.len())
}

#[test]
fn rules_that_never_end_end_in_a_named_limit() {
    for (rule, limit) in [
        ("RRULE:FREQ=SECONDLY", LimitError::Occurrences),
        ("RRULE:FREQ=MINUTELY;INTERVAL=7", LimitError::Occurrences),
        (
            "RRULE:FREQ=SECONDLY;BYHOUR=3;BYMINUTE=3;BYSECOND=3",
            LimitError::Steps,
        ),
        (
            "RRULE:FREQ=SECONDLY;INTERVAL=1000;COUNT=4294967295",
            LimitError::Occurrences,
        ),
        (
            "DTSTART:00010101T000000Z\nRRULE:FREQ=SECONDLY;COUNT=4294967295",
            LimitError::Steps,
        ),
    ] {
        let start = Instant::now();
        let text = format!("BEGIN:VCALENDAR\n{}END:VCALENDAR\n", vevent(0, rule));
        let text = if rule.starts_with("DTSTART") {
            text.replacen("DTSTART:20260101T000000Z\n", "", 1)
        } else {
            text
        };
        assert_eq!(expand(&text), Err(limit), "{rule}");
        assert!(start.elapsed() < SOON, "{rule} took {:?}", start.elapsed());
    }
}

#[test]
fn ten_thousand_occurrences_are_in_and_one_more_is_not() {
    let start = Instant::now();
    let sales = |count: usize| {
        let events: String = (0..count).map(|n| vevent(n, "")).collect();
        format!("BEGIN:VCALENDAR\n{events}END:VCALENDAR\n")
    };
    assert_eq!(expand(&sales(10_000)), Ok(10_000));
    let error = expand(&sales(10_001)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "more than the limit of 10000 occurrences within 400 days: make rules sparser, or split the calendar"
    );
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn a_text_full_of_rules_shares_one_budget() {
    let start = Instant::now();
    let impossible = "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30";
    let events: String = (0..40_000)
        .map(|n| vevent(n, impossible).replace("SUMMARY", "X"))
        .collect();
    let text = format!("BEGIN:VCALENDAR\n{events}END:VCALENDAR\n");
    assert!(text.len() < 5 * 1024 * 1024);
    assert!(expand(&text).is_err());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn a_long_text_is_read_in_time() {
    for filling in [
        "BEGIN:VEVENT\n",
        ";",
        "\n ",
        "A;B=\"",
        "X:Y\n",
        "\"",
        ",",
        "[",
        "{\"a\":",
    ] {
        let start = Instant::now();
        let text = filling.repeat(1024 * 1024 / filling.len());
        let whole = format!("BEGIN:VCALENDAR\n{text}\nEND:VCALENDAR\n");
        let _ = ics::read(&whole, &TimeZone::UTC);
        let _ = csv::read(&format!("name,start,end\n{text}"), &TimeZone::UTC);
        let _ = json::read(&text, &TimeZone::UTC);
        assert!(
            start.elapsed() < SOON,
            "{filling:?} took {:?}",
            start.elapsed()
        );
    }
    let dates = "20260101T000000Z,".repeat(300_000);
    let start = Instant::now();
    let text = format!(
        "BEGIN:VCALENDAR\n{}END:VCALENDAR\n",
        vevent(0, &format!("EXDATE:{}", dates.trim_end_matches(',')))
    );
    let _ = expand(&text);
    assert!(start.elapsed() < SOON);
}

/// Of the smallest parts, 5 MiB would be a gigabyte in memory; of the longest, hours of comparing.
#[test]
fn small_parts_and_long_ones_end_in_a_named_limit() {
    const MOST: usize = 5 * 1024 * 1024 - 200;
    let filled = |begin: &str, piece: &str, end: &str| {
        format!("{begin}{}{end}", piece.repeat(MOST / piece.len()))
    };
    let calendar = |piece: &str| {
        filled(
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\n",
            piece,
            "\nEND:VEVENT\nEND:VCALENDAR\n",
        )
    };
    let zone = format!(
        "BEGIN:VCALENDAR\n{}END:VCALENDAR\n",
        vevent(
            0,
            &format!("DTEND;TZID={}:20260101T000000", "a/".repeat(MOST / 2 - 200))
        )
    );
    let utc = &TimeZone::UTC;
    let rows = format!("name,start,end\n{}", "a\n".repeat(60_000));
    let bad = format!("name,start,end\n{}", "a,b,c\n".repeat(20_000));
    let parts = "more than the limit of 1000000 parts";
    for (name, read, told) in [
        ("properties", ics::read(&calendar("A:\n"), utc), parts),
        ("parameters", ics::read(&calendar(";B="), utc), parts),
        (
            "events",
            ics::read(
                &filled(
                    "BEGIN:VCALENDAR\n",
                    "BEGIN:VEVENT\nEND:VEVENT\n",
                    "END:VCALENDAR\n",
                ),
                utc,
            ),
            "entries are more than the limit of 50000",
        ),
        ("a zone", ics::read(&zone, utc), ""),
        (
            "cells",
            csv::read(&filled("name,start,end\n", ",", "\n"), utc),
            parts,
        ),
        (
            "one line",
            csv::read(&filled("name,start,end\n", "x", ""), utc),
            "",
        ),
        (
            "rows",
            csv::read(&rows, utc),
            "60001 entries are more than the limit of 50000",
        ),
        (
            "bad rows",
            csv::read(&bad, utc),
            "40000 problems are more than the limit of 10000",
        ),
        (
            "objects",
            json::read(&filled("[", "{\"\":1},", "{}]"), utc),
            parts,
        ),
        (
            "levels",
            json::read(&"[".repeat(10_000), utc),
            "nests deeper than 128 levels",
        ),
        ("numbers", json::read(&filled("[", "1,", "1]"), utc), parts),
    ] {
        match read {
            Ok(events) => {
                assert!(told.is_empty(), "{name}: expected {told:?}");
                let longest = events.problems.iter().map(|one| one.message.len()).max();
                assert!(longest.unwrap_or_default() < 600, "{name}: {longest:?}");
            }
            Err(error) => {
                let error = error.to_string();
                assert!(!told.is_empty() && error.contains(told), "{name}: {error}");
            }
        }
    }
}

#[test]
fn past_a_limit_the_last_copy_counts() {
    let now = at("2026-01-01T00:00:00Z");
    let read =
        |rule: &str| Events::from_specs(&[], &[weekly("it", rule, None, "1m")], &TimeZone::UTC);
    let mut book = Book::new(Events::default(), ["shop"], &[]);
    assert!(book.refreshed("shop", now, Refresh::Read(read("FREQ=DAILY"))));
    let known = book.occurrences(now).unwrap();
    assert!(!book.refreshed("shop", now, Refresh::Read(read("FREQ=MINUTELY"))));
    assert_eq!(book.occurrences(now).unwrap(), known);
    let state = book.source("shop").unwrap();
    assert!(
        state
            .error
            .as_deref()
            .unwrap()
            .contains("limit of 10000 occurrences")
    );
    assert_eq!(state.stale_since, Some(now));
}

fn any_property() -> impl Strategy<Value = String> {
    let names = prop_oneof![
        Just("DTSTART"),
        Just("DTEND"),
        Just("DURATION"),
        Just("RRULE"),
        Just("RDATE"),
        Just("EXDATE"),
        Just("RECURRENCE-ID"),
        Just("RECURRENCE-ID;RANGE=THISANDFUTURE"),
        Just("UID"),
        Just("SEQUENCE"),
        Just("STATUS"),
        Just("DTSTART;TZID=Europe/London"),
        Just("DTSTART;VALUE=DATE"),
        Just("CATEGORIES"),
        Just("X-SAKIDORI-MULTIPLIER"),
    ];
    let values = prop_oneof![
        "(0000|0001|2026|9999)(01|02|12)(01|29|31)(T(00|23)(00|59)(00|60)Z?)?",
        "P(1D|9999999999W|T1S|T99999999H)",
        "FREQ=(YEARLY|MONTHLY|WEEKLY|DAILY|HOURLY|MINUTELY|SECONDLY)(;INTERVAL=(1|65535|4294967295))?(;COUNT=(1|4294967295))?\
         (;BYDAY=(MO|53TH,-53SU|2MO))?(;BYMONTHDAY=(31|-31))?(;BYYEARDAY=(366|-366))?(;BYWEEKNO=(53|-53))?(;BYSETPOS=(-1|366))?\
         (;UNTIL=(00010101|99991231T235959Z))?",
        "CANCELLED",
        "[a-z0-9;,:=/+-]{0,20}",
    ];
    (names, values).prop_map(|(name, value)| format!("{name}:{value}\n"))
}

proptest! {
    #[test]
    fn no_calendar_breaks_the_reader_or_takes_long(
        events in proptest::collection::vec(proptest::collection::vec(any_property(), 0..8), 0..4), second in -62_000_000_000i64..253_000_000_000,
    ) {
        let body: String = events.iter().map(|properties| format!("BEGIN:VEVENT\n{}END:VEVENT\n", properties.concat())).collect();
        let text = format!("BEGIN:VCALENDAR\n{body}END:VCALENDAR\n");
        let start = Instant::now();
        if let Ok(events) = ics::read(&text, &TimeZone::get("Europe/London").unwrap()) {
            let book = Book::new(events, [], &[]);
            let now = jiff::Timestamp::from_second(second).unwrap();
            if let Ok(found) = book.occurrences(now) {
                prop_assert!(found.len() <= 10_000);
                prop_assert!(found.iter().all(|one| one.start < one.end));
                prop_assert!(found.is_sorted_by_key(|one| one.start));
            }
        }
        prop_assert!(start.elapsed() < SOON);
    }

    #[test]
    fn no_table_and_no_json_breaks_the_reader(text in "\\PC{0,60}", cells in "[a-z0-9,;\"\n\t-]{0,60}") {
        for text in [&text, &cells] {
            let _ = csv::read(&format!("name,start,end,labels,multiplier\n{text}"), &TimeZone::UTC);
            let _ = csv::read(text, &TimeZone::UTC);
            let _ = json::read(text, &TimeZone::UTC);
            let _ = json::read(&format!("[{{\"name\": \"{text}\"}}]"), &TimeZone::UTC);
        }
    }
}
