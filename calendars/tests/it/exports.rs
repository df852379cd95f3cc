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

/// What programs write that the standard doesn't, or hardly: all of these are one sale, from 20:00 to 22:00 in Tokyo on the 9th of January.
#[test]
fn a_sale_is_the_same_sale_however_a_program_writes_it() {
    let tokyo = "BEGIN:VTIMEZONE\nTZID:ID\nBEGIN:STANDARD\nDTSTART:16010101T000000\nTZOFFSETFROM:+0900\nTZOFFSETTO:+0900\nEND:STANDARD\n\
                 END:VTIMEZONE\n";
    let sale = |times: &str| {
        format!(
            "BEGIN:VEVENT\nUID:1\nDTSTAMP:20260101T000000Z\nSUMMARY:Sale\n{times}\nEND:VEVENT\n"
        )
    };
    let in_zone = |id: &str| {
        sale(&format!(
            "DTSTART;TZID={id}:20260109T200000\nDTEND;TZID={id}:20260109T220000"
        ))
    };
    let plain = sale("DTSTART:20260109T110000Z\nDTEND:20260109T130000Z");
    let table = [
        ("in UTC", plain.clone()),
        ("Google's", format!("X-WR-CALNAME:Sales\nX-WR-TIMEZONE:America/New_York\n{plain}")),
        ("a floating time is the calendar's", sale("DTSTART:20260109T200000\nDTEND:20260109T220000")),
        ("a zone of the database", in_zone("Asia/Tokyo")),
        ("Windows' name", in_zone("Tokyo Standard Time")),
        ("Evolution's", in_zone("/freeassociation.sourceforge.net/Asia/Tokyo")),
        ("Mozilla's", in_zone("/mozilla.org/20050126_1/Asia/Tokyo")),
        ("Oracle's", in_zone("/softwarestudio.org/Olson_20011030_5/Asia/Tokyo")),
        (
            "Outlook's name for people, quoted, with its rules",
            tokyo.replace(":ID", ":(UTC+09:00) Osaka\\, Sapporo\\, Tokyo")
                + &in_zone("\"(UTC+09:00) Osaka, Sapporo, Tokyo\""),
        ),
        ("a zone of one's own", tokyo.replace(":ID", ":Customized Time Zone") + &in_zone("Customized Time Zone")),
        (
            "a zone that only its location names",
            format!(
                "BEGIN:VTIMEZONE\nTZID:Head office\nX-LIC-LOCATION:Asia/Tokyo\nEND:VTIMEZONE\n{}",
                in_zone("\"Head office\"")
            ),
        ),
        ("the zone after the value's kind", sale("DTSTART;VALUE=DATE-TIME;TZID=Asia/Tokyo:20260109T200000\nDURATION:PT2H")),
        ("the end in another zone", sale("DTSTART;TZID=Asia/Tokyo:20260109T200000\nDTEND;TZID=Europe/London:20260109T130000")),
        ("an end without the start's zone", sale("DTSTART;TZID=Asia/Tokyo:20260109T200000\nDTEND:20260109T220000")),
        ("small letters", plain.to_lowercase().replace("summary:sale", "summary:Sale")),
        ("folded", plain.replace("20260109T11", "202601\n 09T11").replace("SUMMARY:Sale", "SUMM\n\tARY:Sa\n le")),
        ("empty lines", plain.replace('\n', "\n\n")),
        (
            "an alarm, with times of its own",
            plain.replace(
                "END:VEVENT",
                "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER;RELATED=START:-PT15M\nDESCRIPTION:DTSTART:20260101T000000Z\nSUMMARY:Alarm\n\
                 DURATION:PT5M\nX-WR-ALARMUID:7\nEND:VALARM\nEND:VEVENT",
            ),
        ),
        (
            "Apple's",
            plain.replace(
                "END:VEVENT",
                "X-APPLE-TRAVEL-ADVISORY-BEHAVIOR:AUTOMATIC\nX-APPLE-STRUCTURED-LOCATION;VALUE=URI;X-ADDRESS=\"1-1, Ginza\\nTokyo: \
                 Chuo\";X-APPLE-RADIUS=70;X-TITLE=\"Flagship; 2F\":geo:35.671,139.765\nX-APPLE-UNIVERSAL-ID:5f0a\nEND:VEVENT",
            ),
        ),
        (
            "Exchange's",
            plain.replace(
                "END:VEVENT",
                "X-MICROSOFT-CDO-BUSYSTATUS:BUSY\nX-MICROSOFT-CDO-ALLDAYEVENT:FALSE\nX-MS-OLK-FORCEINSPECTOROPEN:TRUE\nX-ALT-DESC;\
                 FMTTYPE=text/html:<b>Sale: now</b>\nATTENDEE;CN=\"Sato; Aiko\";RSVP=TRUE:mailto:a@shop.example\nEND:VEVENT",
            ),
        ),
        (
            "beside what is no event",
            format!("BEGIN:VJOURNAL\nUID:2\nSUMMARY:Sale\nDTSTART:20260109T110000Z\nEND:VJOURNAL\nBEGIN:VFREEBUSY\nUID:3\nEND:VFREEBUSY\n{plain}"),
        ),
    ];
    for (what, body) in table {
        let expected = ["Sale 2026-01-09T11:00:00Z/2026-01-09T13:00:00Z"];
        assert_eq!(found(&body), expected, "{what}");
    }
    // With Unix' ends of lines, and with the mark of a Windows editor.
    let text = calendar(&plain);
    for text in [text.replace("\r\n", "\n"), format!("\u{feff}{text}")] {
        let events = ics::read(&text, &time_zone("Asia/Tokyo").unwrap()).unwrap();
        assert_eq!(events.events.len(), 1);
    }
}

/// The same for a series of three evenings, of which the second is at another time.
#[test]
fn a_changed_occurrence_is_found_however_a_program_names_it() {
    let series = |rule: &str, id: &str| {
        format!(
            "BEGIN:VEVENT\nUID:1\nSUMMARY:Sale\nDTSTART;TZID=America/New_York:20260109T200000\nDTEND;TZID=America/New_York:20260109T220000\n\
             {rule}\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nSUMMARY:Late sale\n{id}\nDTSTART;TZID=America/New_York:20260110T210000\n\
             DTEND;TZID=America/New_York:20260110T220000\nEND:VEVENT\n"
        )
    };
    let rule = "RRULE:FREQ=DAILY;COUNT=3";
    for id in [
        "RECURRENCE-ID;TZID=America/New_York:20260110T200000",
        "RECURRENCE-ID:20260111T010000Z",
        "RECURRENCE-ID;TZID=Eastern Standard Time:20260110T200000",
        // Without the zone that the series has, and by the day alone.
        "RECURRENCE-ID:20260110T200000",
        "RECURRENCE-ID;VALUE=DATE:20260110",
    ] {
        assert_eq!(
            found(&series(rule, id)),
            [
                "Sale 2026-01-10T01:00:00Z/2026-01-10T03:00:00Z",
                "Late sale 2026-01-11T02:00:00Z/2026-01-11T03:00:00Z",
                "Sale 2026-01-12T01:00:00Z/2026-01-12T03:00:00Z",
            ],
            "{id}"
        );
    }
    let id = "RECURRENCE-ID:20260111T010000Z";
    for except in [
        "EXDATE;TZID=America/New_York:20260111T200000",
        "EXDATE:20260112T010000Z",
        "EXDATE:20260111T200000",
        "EXDATE;VALUE=DATE:20260111",
    ] {
        assert_eq!(
            found(&series(&format!("{rule}\n{except}"), id)).len(),
            2,
            "{except}"
        );
    }
}

#[test]
fn a_change_from_here_on_follows_the_clock() {
    // In New York clocks go forward on the 8th of March; the series moves from Saturday to Sunday evening before that.
    let body = "BEGIN:VEVENT\nUID:a\nSUMMARY:sat\nDTSTART;TZID=America/New_York:20260221T200000\n\
                DTEND;TZID=America/New_York:20260221T220000\nRRULE:FREQ=WEEKLY;COUNT=4\nEND:VEVENT\n\
                BEGIN:VEVENT\nUID:a\nSUMMARY:sun\nRECURRENCE-ID;RANGE=THISANDFUTURE;TZID=America/New_York:20260228T200000\n\
                DTSTART;TZID=America/New_York:20260301T200000\nDTEND;TZID=America/New_York:20260301T220000\nEND:VEVENT\n";
    assert_eq!(
        found(body),
        [
            "sat 2026-02-22T01:00:00Z/2026-02-22T03:00:00Z",
            "sun 2026-03-02T01:00:00Z/2026-03-02T03:00:00Z",
            "sun 2026-03-09T00:00:00Z/2026-03-09T02:00:00Z",
            "sun 2026-03-16T00:00:00Z/2026-03-16T02:00:00Z",
        ]
    );
}
