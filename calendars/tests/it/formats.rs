//! Tables, JSON, rows of a query, and the specs of a calendar object.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use sakidori_calendars::{EventSpec, Events, RecurringSpec, csv, json, table, time_zone};

use super::{lines, occurrences, texts, weekly};

fn tokyo() -> TimeZone {
    time_zone("Asia/Tokyo").unwrap()
}

fn found(events: Events) -> Vec<String> {
    lines(&occurrences(
        events,
        "2026-06-01T00:00:00Z",
        "2027-06-01T00:00:00Z",
    ))
}

const SALE: &str = "sale 2027-01-01T15:00:00Z/2027-01-04T14:59:59Z";

#[test]
fn tables_are_read_as_spreadsheets_save_them() {
    for text in [
        "name,start,end,labels,multiplier\nsale,2027-01-02T00:00:00,2027-01-04T23:59:59,tier=S;category=fashion,3.5\n",
        "\u{feff}Name;Start;End;Labels;Multiplier\r\nsale;2027-01-02 00:00;2027-01-04 23:59:59;tier=S,category=fashion;3.5\r\n;;;;\r\n",
        "end\tname\tstart\tlabels\tmultiplier\tremark\n2027/1/4 23:59:59\t\"sale\"\t2027/1/2 0:00\t\"tier=S\ncategory=fashion\"\t3.5\t\"a \"\"b\"\" c\"",
    ] {
        let events = csv::read(text, &tokyo()).unwrap();
        assert_eq!(events.problems, [], "{text:?}");
        let all = occurrences(events, "2026-06-01T00:00:00Z", "2027-06-01T00:00:00Z");
        assert_eq!(lines(&all), [SALE], "{text:?}");
        assert_eq!(all[0].labels["tier"], "S");
        assert_eq!(all[0].labels["category"], "fashion");
        assert_eq!(all[0].multiplier.unwrap().to_string(), "3.5");
    }
}

#[test]
fn a_day_as_the_end_of_a_table_is_part_of_the_sale() {
    let text = "name,start,end\nsale,2027-01-02,2027-01-04\n";
    let events = csv::read(text, &tokyo()).unwrap();
    assert_eq!(
        found(events),
        ["sale 2027-01-01T15:00:00Z/2027-01-04T15:00:00Z"]
    );
}

#[test]
fn a_bad_row_is_reported_and_the_others_count() {
    let text = "name,start,end,multiplier,labels\n\
                good,2027-01-02,2027-01-04,,\n\
                good,2027-02-02,2027-02-04,,\n\
                backwards,2027-01-04,2027-01-02,,\n\
                ,2027-01-02,2027-01-04,,\n\
                nowhere,2027-02-30,2027-03-04,,\n\
                open,2027-01-02T10:00,,,\n\
                lots,2027-01-02,2027-01-04,many,\n\
                odd,2027-03-01,2027-03-02,,年末\n";
    let events = csv::read(text, &tokyo()).unwrap();
    assert_eq!(
        texts(&events.problems),
        [
            "event \"good\" (number 2), rows[1].name: \"good\" is the name of an earlier event: give each its own",
            "event \"backwards\" (number 3), rows[2].end: \"2027-01-02\" is not after the start (\"2027-01-04\")",
            "event \"\" (number 4), rows[3].name: missing",
            "event \"nowhere\" (number 5), rows[4].start: \"2027-02-30\": there is no 2027-02-30",
            "event \"open\" (number 6), rows[5].end: missing: give an end or a duration",
            "event \"lots\" (number 7), rows[6].multiplier: \"many\" is no multiplier: expected a number above 0 and up to 1000000, \
             such as 3.5",
            "event \"odd\" (number 8), rows[7].labels: \"年末\" is no label: expected letters and digits, such as tier=S",
        ]
    );
    assert_eq!(found(events).len(), 2);
}

#[test]
fn what_is_no_table_is_refused() {
    for (text, expected) in [
        ("", "names no columns name and start"),
        ("<!DOCTYPE html>\n<html>", "names no columns name and start"),
        (
            "name,start,end\n\"sale,2027-01-02,2027-01-04\n",
            "never closed",
        ),
    ] {
        let error = csv::read(text, &tokyo()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let long = "x".repeat(5 * 1024 * 1024 + 1);
    for error in [
        csv::read(&long, &tokyo()).unwrap_err(),
        json::read(&long, &tokyo()).unwrap_err(),
        sakidori_calendars::ics::read(&long, &tokyo()).unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "5242881 bytes are more than the limit of 5 MiB (5242880 bytes)"
        );
    }
}

#[test]
fn json_is_a_list_or_an_object_with_lists() {
    let event = r#"{"name": "sale", "start": "2027-01-02T00:00:00", "end": "2027-01-04T23:59:59", "multiplier": 3.5}"#;
    for text in [format!("[{event}]"), format!(r#"{{"events": [{event}]}}"#)] {
        assert_eq!(
            found(json::read(&text, &tokyo()).unwrap()),
            [SALE],
            "{text}"
        );
    }
    let text = r#"{"recurring": [{"name": "coupon", "cron": "0 20 * * FRI", "duration": "2h", "except": ["2027-01-01"]}], "events": []}"#;
    let coupons = found(json::read(text, &tokyo()).unwrap());
    assert_eq!(coupons.len(), 51);
    assert!(!coupons.iter().any(|line| line.contains("2027-01-01")));
    for (text, expected) in [
        ("", "no JSON"),
        ("{}", "neither events nor recurring"),
        ("3", "neither a list of events"),
        (r#"{"events": 3}"#, "events is no list"),
    ] {
        let error = json::read(text, &tokyo()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let mixed = format!(r#"[{event}, {{"name": 7}}, 8, {event}]"#);
    let events = json::read(&mixed, &tokyo()).unwrap();
    assert_eq!((events.events.len(), events.problems.len()), (1, 3));
    assert_eq!(events.problems[0].path, "events[1]");
}

#[test]
fn rows_of_a_query_have_the_databases_types() {
    // timestamptz, timestamp, date and text, as PostgreSQL writes them in UTC.
    let rows = [
        [
            "a",
            "2027-01-01 15:00:00+00",
            "2027-01-04 23:59:59",
            r#"{"tier": "S", "floor": 2}"#,
            "3.50",
        ],
        [
            "b",
            "2027-01-02",
            "2027-01-05 00:00:00+09",
            "tier=S;floor=2",
            "3.50",
        ],
    ];
    let rows = rows.map(|row| row.map(|cell| Some(cell.to_owned())).to_vec());
    let columns = ["name", "starts_at", "ends_at", "labels", "multiplier"].map(str::to_owned);
    let events = table::read(&columns, rows, &tokyo()).unwrap();
    assert_eq!(events.problems, []);
    let all = occurrences(events, "2026-06-01T00:00:00Z", "2027-06-01T00:00:00Z");
    assert_eq!(
        lines(&all),
        [
            "a 2027-01-01T15:00:00Z/2027-01-04T14:59:59Z",
            "b 2027-01-01T15:00:00Z/2027-01-04T15:00:00Z"
        ]
    );
    for one in &all {
        assert_eq!(
            (one.labels["tier"].as_str(), one.labels["floor"].as_str()),
            ("S", "2")
        );
        assert_eq!(one.multiplier.unwrap().to_string(), "3.5");
    }
}

#[test]
fn the_calendar_of_the_specification_works() {
    let labels = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        list.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let sale = EventSpec {
        name: "new-year-sale".into(),
        start: "2027-01-02T00:00:00".into(),
        end: Some("2027-01-04T23:59:59".into()),
        labels: labels(&[("tier", "S")]),
        multiplier: Some("3.5".into()),
        ..EventSpec::default()
    };
    let three_days = EventSpec {
        name: "three-days".into(),
        start: "2027-01-02T00:00:00+09:00".into(),
        duration: Some("3d".into()),
        ..EventSpec::default()
    };
    let coupon = RecurringSpec {
        name: "friday-coupon".into(),
        cron: Some("0 20 * * FRI".into()),
        duration: "2h".into(),
        except: vec!["2027-01-01".into()],
        labels: labels(&[("tier", "B")]),
        ..RecurringSpec::default()
    };
    let by_rule = weekly("by-rule", "FREQ=WEEKLY;BYDAY=FR;BYHOUR=20", None, "2h");
    let events = Events::from_specs(&[sale, three_days], &[coupon, by_rule], &tokyo());
    assert_eq!(events.problems, []);
    let all = occurrences(events, "2026-12-31T00:00:00Z", "2027-01-09T00:00:00Z");
    assert_eq!(
        lines(&all),
        [
            "by-rule 2027-01-01T11:00:00Z/2027-01-01T13:00:00Z",
            "new-year-sale 2027-01-01T15:00:00Z/2027-01-04T14:59:59Z",
            "three-days 2027-01-01T15:00:00Z/2027-01-04T15:00:00Z",
            "by-rule 2027-01-08T11:00:00Z/2027-01-08T13:00:00Z",
            "friday-coupon 2027-01-08T11:00:00Z/2027-01-08T13:00:00Z",
        ]
    );
    let ids: Vec<_> = all.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids[1], "new-year-sale");
    assert_eq!(ids[4], "friday-coupon/2027-01-08T11:00:00Z");
}

#[test]
fn a_bad_spec_is_told_with_the_path_of_its_field() {
    let event = |name: &str, start: &str, end: Option<&str>, duration: Option<&str>| EventSpec {
        name: name.into(),
        start: start.into(),
        end: end.map(str::to_owned),
        duration: duration.map(str::to_owned),
        ..EventSpec::default()
    };
    let events = [
        event("a", "2027-01-02", Some("2027-01-04"), Some("3d")),
        event("b", "2027-01-02", None, Some("soon")),
        event("c", "2027-01-02", Some("2027-01-01"), None),
    ];
    let cron = |cron: &str| RecurringSpec {
        name: "d".into(),
        cron: Some(cron.into()),
        duration: "2h".into(),
        ..RecurringSpec::default()
    };
    let mut both = weekly("e", "FREQ=DAILY", None, "2h");
    both.cron = Some("0 8 * * *".into());
    let recurring = [
        cron("0 8 * * 7"),
        both,
        weekly("f", "FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", None, "2h"),
        weekly("g", "FREQ=WEEKLY", None, "2h"),
        weekly("h", "FREQ=WEEKLY;BYDAY=FREITAG", None, "2h"),
        RecurringSpec {
            except: vec!["never".into()],
            ..weekly("i", "FREQ=DAILY", None, "2h")
        },
        weekly("j", "FREQ=DAILY", None, ""),
    ];
    let events = Events::from_specs(&events, &recurring, &tokyo());
    assert_eq!(events.events.len(), 0);
    let paths: Vec<_> = events
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "events[0].duration",
            "events[1].duration",
            "events[2].end",
            "recurring[0].cron",
            "recurring[1].rrule",
            "recurring[2].start",
            "recurring[3].start",
            "recurring[4].rrule",
            "recurring[5].except[0]",
            "recurring[6].duration",
        ]
    );
}
