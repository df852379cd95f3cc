//! Details of what calendar programs write.

use sakidori_calendars::{ics, time_zone};

use super::{lines, occurrences, texts};

fn calendar(body: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{}END:VCALENDAR\r\n",
        body.replace('\n', "\r\n")
    )
}

/// The occurrences of VEVENTs in 2026 and 2027, for a calendar in Tokyo.
fn found(body: &str) -> Vec<String> {
    let events = ics::read(&calendar(body), &time_zone("Asia/Tokyo").unwrap()).unwrap();
    assert_eq!(events.problems, []);
    lines(&occurrences(
        events,
        "2026-01-01T00:00:00Z",
        "2028-01-01T00:00:00Z",
    ))
}

#[test]
fn categories_and_own_properties_are_labels_and_multiplier() {
    let body = "BEGIN:VEVENT\nUID:1\nSUMMARY:New year sale\nDTSTART:20270101T150000Z\nDURATION:P3D\n\
                CATEGORIES:FASHION,tier=A\nCATEGORIES:New Year\nX-SAKIDORI-TIER:S\nX-SAKIDORI-MULTIPLIER:3.5\n\
                X-SAKIDORI-LABELS:region=kanto;floor=2\nEND:VEVENT\n";
    let events = ics::read(&calendar(body), &time_zone("Asia/Tokyo").unwrap()).unwrap();
    let found = occurrences(events, "2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    let [sale] = &found[..] else {
        panic!("one sale")
    };
    let labels: Vec<_> = sale
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        labels,
        [
            "FASHION=true",
            "New-Year=true",
            "floor=2",
            "region=kanto",
            "tier=S"
        ]
    );
    assert_eq!(sale.multiplier.unwrap().to_string(), "3.5");
    assert_eq!(sale.name, "New year sale");
}

#[test]
fn a_changed_occurrence_is_found_by_its_uid_whatever_its_sequence() {
    // Two series at the same hours, and a change of one.
    let series = |uid: &str| {
        format!(
            "BEGIN:VEVENT\nUID:{uid}\nSEQUENCE:0\nSUMMARY:{uid}\nDTSTART:20260105T100000Z\nDTEND:20260105T110000Z\n\
             RRULE:FREQ=DAILY;COUNT=2\nEND:VEVENT\n"
        )
    };
    let change = "BEGIN:VEVENT\nUID:b\nSEQUENCE:9\nSUMMARY:b moved\nRECURRENCE-ID:20260106T100000Z\n\
                  DTSTART:20260106T120000Z\nDTEND:20260106T130000Z\nEND:VEVENT\n";
    assert_eq!(
        found(&format!("{change}{}{}", series("a"), series("b"))),
        [
            "a 2026-01-05T10:00:00Z/2026-01-05T11:00:00Z",
            "b 2026-01-05T10:00:00Z/2026-01-05T11:00:00Z",
            "a 2026-01-06T10:00:00Z/2026-01-06T11:00:00Z",
            "b moved 2026-01-06T12:00:00Z/2026-01-06T13:00:00Z",
        ]
    );
}

#[test]
fn a_change_may_hold_from_there_on() {
    let body = "BEGIN:VEVENT\nUID:a\nSUMMARY:short\nDTSTART:20260105T100000Z\nDTEND:20260105T110000Z\n\
                RRULE:FREQ=DAILY;COUNT=4\nEND:VEVENT\nBEGIN:VEVENT\nUID:a\nSUMMARY:long\n\
                RECURRENCE-ID;RANGE=THISANDFUTURE:20260107T100000Z\nDTSTART:20260107T120000Z\nDTEND:20260107T150000Z\nEND:VEVENT\n";
    assert_eq!(
        found(body),
        [
            "short 2026-01-05T10:00:00Z/2026-01-05T11:00:00Z",
            "short 2026-01-06T10:00:00Z/2026-01-06T11:00:00Z",
            "long 2026-01-07T12:00:00Z/2026-01-07T15:00:00Z",
            "long 2026-01-08T12:00:00Z/2026-01-08T15:00:00Z",
        ]
    );
}

#[test]
fn of_two_versions_the_later_counts() {
    let version = |sequence: u8, hour: u8| {
        format!(
            "BEGIN:VEVENT\nUID:a\nSUMMARY:a\nSEQUENCE:{sequence}\nDTSTART:20260105T{hour:02}0000Z\nDTEND:20260105T230000Z\nEND:VEVENT\n"
        )
    };
    let expected = ["a 2026-01-05T12:00:00Z/2026-01-05T23:00:00Z"];
    assert_eq!(
        found(&format!("{}{}", version(1, 10), version(2, 12))),
        expected
    );
    assert_eq!(
        found(&format!("{}{}", version(2, 12), version(1, 10))),
        expected
    );
}

#[test]
fn an_until_in_utc_counts_in_utc() {
    // 20:00 in Tokyo is 11:00 in UTC: the last evening is part of it.
    let body = "BEGIN:VEVENT\nUID:a\nSUMMARY:a\nDTSTART;TZID=Asia/Tokyo:20260105T200000\nDURATION:PT1H\n\
                RRULE:FREQ=DAILY;UNTIL=20260107T110000Z\nEND:VEVENT\n";
    assert_eq!(found(body).len(), 3);
}

#[test]
fn all_day_events_are_days_of_the_shop() {
    let body = "BEGIN:VEVENT\nUID:a\nSUMMARY:a\nDTSTART;VALUE=DATE:20270101\nDTEND;VALUE=DATE:20270104\nEND:VEVENT\n\
                BEGIN:VEVENT\nUID:b\nSUMMARY:b\nDTSTART;VALUE=DATE:20270301\nEND:VEVENT\n\
                BEGIN:VEVENT\nUID:c\nSUMMARY:c\nDTSTART;VALUE=DATE:20270401\nDTEND;VALUE=DATE:20270401\nEND:VEVENT\n";
    assert_eq!(
        found(body),
        [
            "a 2026-12-31T15:00:00Z/2027-01-03T15:00:00Z",
            "b 2027-02-28T15:00:00Z/2027-03-01T15:00:00Z",
            "c 2027-03-31T15:00:00Z/2027-04-01T15:00:00Z",
        ]
    );
}

#[test]
fn a_bad_event_is_reported_and_the_others_count() {
    let good = "BEGIN:VEVENT\nUID:good\nSUMMARY:good\nDTSTART:20260105T100000Z\nDURATION:PT1H\nEND:VEVENT\n";
    let table = [
        (
            "DTSTART:20260105T100000Z\nDTEND:20260105T090000Z",
            "VEVENT[0].DTEND: 2026-01-05T09:00:00Z is not after the start",
        ),
        (
            "DTSTART:20260230T100000Z\nDURATION:PT1H",
            "VEVENT[0].DTSTART: \"20260230T100000Z\" is no time",
        ),
        (
            "DTSTART;TZID=Mars/Olympus:20260105T100000\nDURATION:PT1H",
            "VEVENT[0].DTSTART: unknown time zone \"Mars/Olympus\"",
        ),
        (
            "DTSTART:20260105T100000Z\nDURATION:PT1H\nRRULE:FREQ=SOMETIMES",
            "VEVENT[0].RRULE: FREQ=SOMETIMES: expected YEARLY",
        ),
        (
            "DTSTART:20260105T100000Z",
            "VEVENT[0].DTEND: missing: give DTEND or DURATION",
        ),
        ("DURATION:PT1H", "VEVENT[0].DTSTART: missing"),
        (
            "DTSTART:20260105T100000Z\nDURATION:-PT1H",
            "VEVENT[0].DURATION: \"-PT1H\" is not above zero",
        ),
        (
            "DTSTART:20260105T100000Z\nDURATION:PT1H\nX-SAKIDORI-MULTIPLIER:lots",
            "VEVENT[0].X-SAKIDORI-MULTIPLIER: \"lots\" is no multiplier",
        ),
    ];
    for (properties, expected) in table {
        let body = format!("BEGIN:VEVENT\nUID:bad\nSUMMARY:bad\n{properties}\nEND:VEVENT\n{good}");
        let events = ics::read(&calendar(&body), &time_zone("Asia/Tokyo").unwrap()).unwrap();
        let problems = texts(&events.problems);
        assert_eq!(problems.len(), 1, "{properties}: {problems:?}");
        assert!(
            problems[0].starts_with(&format!("event \"bad\" (number 1), {expected}")),
            "{properties}: {problems:?}"
        );
        let found = occurrences(events, "2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
        assert_eq!(found.len(), 1, "{properties}");
    }
}

#[test]
fn a_label_that_is_none_leaves_its_event_alone() {
    let body = "BEGIN:VEVENT\nUID:a\nSUMMARY:a\nCATEGORIES:年末\nDTSTART:20260105T100000Z\nDURATION:PT1H\nEND:VEVENT\n";
    let events = ics::read(&calendar(body), &time_zone("UTC").unwrap()).unwrap();
    assert_eq!(events.events.len(), 1);
    assert!(!events.problems[0].left_out);
    assert!(
        events.problems[0]
            .to_string()
            .contains("\"年末\" is no label")
    );
}

#[test]
fn ids_stay_while_the_event_moves() {
    let at = |hour: u8| {
        let body = format!(
            "BEGIN:VEVENT\nUID:a\nSUMMARY:a\nDTSTART:20260105T{hour:02}0000Z\nDURATION:PT1H\nEND:VEVENT\n\
             BEGIN:VEVENT\nUID:s\nSUMMARY:s\nDTSTART:20260105T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=1\nEND:VEVENT\n\
             BEGIN:VEVENT\nUID:s\nSUMMARY:s\nRECURRENCE-ID:20260105T100000Z\nDTSTART:20260105T{hour:02}3000Z\nDURATION:PT1H\nEND:VEVENT\n"
        );
        let events = ics::read(&calendar(&body), &time_zone("UTC").unwrap()).unwrap();
        let mut ids: Vec<_> = occurrences(events, "2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z")
            .iter()
            .map(|one| one.id.clone())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(at(8), ["a", "s/2026-01-05T10:00:00Z"]);
    assert_eq!(at(8), at(17));
}
