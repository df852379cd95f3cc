//! What sources that fail, change and come back do to a calendar.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sakidori_calendars::{Book, Compact, Events, Refresh, csv};

use super::{at, lines, weekly};

fn now() -> Timestamp {
    at("2027-01-01T00:00:00Z")
}

fn table(rows: &[(&str, &str, &str)]) -> Refresh {
    let mut text = "name,start,end\n".to_owned();
    for (name, start, end) in rows {
        text.push_str(&format!("{name},{start},{end}\n"));
    }
    Refresh::Read(csv::read(&text, &TimeZone::UTC).unwrap())
}

const SALE: (&str, &str, &str) = ("sale", "2027-01-02T00:00:00", "2027-01-03T00:00:00");
const DROP: (&str, &str, &str) = ("drop", "2027-01-05T00:00:00", "2027-01-05T02:00:00");

fn names(book: &Book) -> Vec<String> {
    book.occurrences(now())
        .unwrap()
        .iter()
        .map(|one| one.name.clone())
        .collect()
}

fn book() -> Book {
    Book::new(Events::default(), ["shop", "marketing"], &[])
}

#[test]
fn sources_and_the_objects_own_events_are_merged_in_order() {
    let own = Events::from_specs(
        &[],
        &[weekly(
            "own",
            "FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=4",
            None,
            "1h",
        )],
        &TimeZone::UTC,
    );
    let mut book = Book::new(own, ["shop", "marketing"], &[]);
    assert!(!book.is_complete());
    book.refreshed("shop", now(), table(&[DROP]));
    assert!(!book.is_complete());
    book.refreshed("marketing", now(), table(&[SALE]));
    assert!(book.is_complete());
    let found = book.occurrences(now()).unwrap();
    let of_both: Vec<_> = found
        .iter()
        .map(|one| format!("{} {}", one.source, one.id))
        .collect();
    assert_eq!(
        of_both,
        [
            "marketing marketing:sale",
            " own/2027-01-04T00:00:00Z",
            "shop shop:drop",
            " own/2028-01-04T00:00:00Z"
        ]
    );
    // The same name in two sources is two sales.
    assert!(book.refreshed("shop", now(), table(&[SALE])));
    assert_eq!(names(&book), ["sale", "sale", "own", "own"]);
}

#[test]
fn a_refresh_that_fails_or_is_empty_removes_nothing_and_is_told() {
    let mut book = book();
    book.refreshed("shop", now(), table(&[SALE, DROP]));
    for (minute, refresh, message) in [
        (
            5,
            Refresh::Failed("connection refused".into()),
            "connection refused",
        ),
        (
            10,
            table(&[]),
            "the source answered an empty calendar: the 2 events that are known are kept",
        ),
        (
            15,
            table(&[("sale", "soon", "later")]),
            "none of the 1 events can be read: the 2 events that are known are kept",
        ),
    ] {
        let later = now() + SignedDuration::from_mins(minute);
        assert!(!book.refreshed("shop", later, refresh));
        assert_eq!(names(&book), ["sale", "drop"]);
        let state = book.source("shop").unwrap();
        assert!(
            state.error.as_deref().unwrap().starts_with(message),
            "{:?}",
            state.error
        );
        assert_eq!(
            state.stale_since,
            Some(now() + SignedDuration::from_mins(5))
        );
        assert_eq!(state.refreshed_at, Some(now()));
    }
    assert_eq!(
        book.stale_since(),
        Some(now() + SignedDuration::from_mins(5))
    );
    assert!(
        !book.refreshed("shop", now(), table(&[SALE, DROP])),
        "nothing is new"
    );
    assert_eq!(
        (book.stale_since(), &book.source("shop").unwrap().error),
        (None, &None)
    );
}

#[test]
fn a_source_that_lists_what_is_to_come_may_be_empty_once_all_is_over() {
    let mut book = book();
    book.refreshed("shop", now(), table(&[SALE, DROP]));
    // The last one ended at 2:00 on the 5th. A week later no floor of it is left.
    assert!(!book.refreshed("shop", at("2027-01-12T01:59:59Z"), table(&[])));
    assert!(book.stale_since().is_some());
    assert!(book.refreshed("shop", at("2027-01-12T02:00:00Z"), table(&[])));
    assert_eq!(book.stale_since(), None);
    assert_eq!(names(&book), [""; 0]);
    // What recurs for ever is never over, and what can't be read is no list.
    let weekly = r#"[{"name": "coupon", "rrule": "FREQ=WEEKLY;BYDAY=FR", "duration": "2h"}]"#;
    let weekly = Refresh::Read(sakidori_calendars::json::read(weekly, &TimeZone::UTC).unwrap());
    book.refreshed("shop", now(), weekly);
    book.refreshed("marketing", now(), table(&[SALE]));
    let late = at("2029-01-01T00:00:00Z");
    assert!(!book.refreshed("shop", late, table(&[])));
    assert!(!book.refreshed("marketing", late, table(&[("sale", "soon", "later")])));
    for source in ["shop", "marketing"] {
        assert_eq!(
            book.source(source).unwrap().stale_since,
            Some(late),
            "{source}"
        );
    }
}

#[test]
fn a_good_refresh_removes_and_moves() {
    let mut book = book();
    book.refreshed("shop", now(), table(&[SALE, DROP]));
    assert!(book.refreshed("shop", now(), table(&[DROP])));
    assert_eq!(names(&book), ["drop"]);
    let moved = ("drop", "2027-01-06T00:00:00", "2027-01-06T02:00:00");
    assert!(book.refreshed("shop", now(), table(&[moved])));
    assert_eq!(
        lines(&book.occurrences(now()).unwrap()),
        ["drop 2027-01-06T00:00:00Z/2027-01-06T02:00:00Z"]
    );
}

#[test]
fn an_event_that_can_not_be_read_any_more_stays_as_it_was() {
    let mut book = book();
    book.refreshed("shop", now(), table(&[SALE, DROP]));
    let typing_error = ("sale", "2027-01-02T00:00:00", "2027-01-32T00:00:00");
    book.refreshed("shop", now(), table(&[typing_error, DROP]));
    assert_eq!(names(&book), ["sale", "drop"]);
    let problems = &book.source("shop").unwrap().problems;
    assert!(
        problems[0].to_string().contains("there is no 2027-01-32"),
        "{}",
        problems[0]
    );
}

#[test]
fn a_source_that_is_taken_out_of_the_object_is_gone_with_its_events() {
    let mut book = book();
    book.refreshed("shop", now(), table(&[SALE]));
    book.refreshed("marketing", now(), table(&[DROP]));
    book.respecify(Events::default(), ["marketing", "new"]);
    assert_eq!(names(&book), ["drop"]);
    assert!(!book.is_complete());
    assert!(
        !book.refreshed("shop", now(), table(&[SALE])),
        "nobody asks it any more"
    );
}

#[test]
fn an_empty_calendar_of_which_nothing_was_known_is_fine() {
    let mut book = book();
    book.refreshed("shop", now(), table(&[]));
    assert_eq!(book.source("shop").unwrap().error, None);
    assert_eq!(book.stale_since(), None);
}

/// What a status remembers, through its text.
fn through_a_status(remembered: &[Compact]) -> Vec<Compact> {
    serde_json::from_str(&serde_json::to_string(remembered).unwrap()).unwrap()
}

#[test]
fn a_restart_with_the_source_down_still_knows_the_coming_days() {
    let mut before = book();
    let weekly = [
        weekly("daily", "FREQ=DAILY;BYHOUR=8", None, "1h"),
        weekly("yearly", "FREQ=YEARLY;BYMONTH=9;BYDAY=1MO", None, "1d"),
    ];
    before.refreshed(
        "shop",
        now(),
        Refresh::Read(Events::from_specs(&[], &weekly, &TimeZone::UTC)),
    );
    before.refreshed("marketing", now(), table(&[SALE, DROP]));
    let known = before.occurrences(now()).unwrap();
    let remembered = through_a_status(&Book::compact(&known, now()));
    let bytes = serde_json::to_string(&remembered).unwrap().len();
    assert!(bytes < 1000, "{bytes} bytes");

    let mut after = Book::new(Events::default(), ["shop", "marketing"], &remembered);
    assert!(
        !after.is_complete(),
        "what is not remembered was not removed"
    );
    let week = now() + SignedDuration::from_hours(7 * 24);
    let coming = |book: &Book| {
        let found = book.occurrences(now()).unwrap();
        found
            .iter()
            .filter(|one| one.start < week && one.end > now())
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(coming(&after), coming(&before));
    assert!(coming(&after).len() >= 9);
    for source in ["shop", "marketing"] {
        assert!(!after.refreshed(source, now(), Refresh::Failed("no route".into())));
        assert!(!after.refreshed(source, now(), table(&[])));
    }
    assert_eq!(coming(&after), coming(&before));
}

#[derive(Clone, Debug)]
enum Answer {
    Fails,
    Empty,
    Rows(Vec<u8>),
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        2 => Just(Answer::Fails),
        1 => Just(Answer::Empty),
        3 => proptest::collection::vec(0u8..6, 1..6).prop_map(Answer::Rows),
    ]
}

proptest! {
    #[test]
    fn only_a_good_refresh_removes(answers in proptest::collection::vec(any_answer(), 1..20)) {
        let mut book = book();
        let mut expected: Vec<u8> = Vec::new();
        for answer in answers {
            let rows = |list: &[u8]| -> Refresh {
                let text = list.iter().map(|n| format!("{n},2027-01-0{},2027-01-09\n", n + 1)).collect::<String>();
                Refresh::Read(csv::read(&format!("name,start,end\n{text}"), &TimeZone::UTC).unwrap())
            };
            match answer {
                Answer::Fails => book.refreshed("shop", now(), Refresh::Failed("down".into())),
                Answer::Empty => book.refreshed("shop", now(), rows(&[])),
                Answer::Rows(list) => {
                    expected = list.clone();
                    expected.sort_unstable();
                    expected.dedup();
                    book.refreshed("shop", now(), rows(&list))
                }
            };
            let found: Vec<u8> = names(&book).iter().map(|name| name.parse().unwrap()).collect();
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn what_a_status_remembers_comes_back(
        sales in proptest::collection::vec((0i64..9 * 24, 1i64..50, 0u8..3), 0..40), zone in prop_oneof![Just("UTC"), Just("Asia/Tokyo")],
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let rows: String = sales.iter().enumerate().map(|(n, (start, length, tier))| {
            let begin = now() + SignedDuration::from_hours(*start - 24);
            format!("sale/{n} #{tier},{begin},{},tier={tier},1.{}\n", begin + SignedDuration::from_hours(*length), tier + 1)
        }).collect();
        let mut before = book();
        let events = csv::read(&format!("name,start,end,labels,multiplier\n{rows}"), &zone).unwrap();
        prop_assert_eq!(&events.problems, &[]);
        before.refreshed("shop", now(), Refresh::Read(events));
        let known = before.occurrences(now()).unwrap();
        let after = Book::new(Events::default(), ["shop"], &through_a_status(&Book::compact(&known, now())));
        let week = now() + SignedDuration::from_hours(7 * 24);
        let day_before = now() - SignedDuration::from_hours(24);
        let expected: Vec<_> = known.iter().filter(|one| one.start < week && one.end > day_before).cloned().collect();
        let restored = after.occurrences(now()).unwrap();
        prop_assert_eq!(&restored[..], &expected[..]);
    }
}
