//! The sales of the next days, of each calendar, made at a scrape.

use jiff::Timestamp;
use sakidori_engine::prescale::{Occurrence, Occurrences};

use super::text::{Family, Labels, Page};
use super::view::{DAY, DAYS};
use crate::calendars::CalendarRef;

const OCCURRENCES: Family = Family::gauge(
    "sakidori_calendar_occurrences",
    "Sales that run at some time of each of the next seven days, 24 h each from now on",
);
const START: Family = Family::gauge(
    "sakidori_calendar_occurrence_start_timestamp_seconds",
    "When each of the next sales starts or has started, in Unix time",
);
const END: Family = Family::gauge(
    "sakidori_calendar_occurrence_end_timestamp_seconds",
    "When each of the next sales ends, in Unix time",
);

/// Of each calendar so many sales have series by name. A calendar may have thousands.
const SHOWN: usize = 20;
/// A label is to be read: names of events may be whole sentences.
const LONGEST_NAME: usize = 64;

/// Writes the series of one calendar.
pub fn write(page: &mut Page, calendar: &CalendarRef, occurrences: &Occurrences, now: Timestamp) {
    let end = after(now, DAYS);
    let coming: Vec<&Occurrence> = occurrences
        .known
        .iter()
        .map(AsRef::as_ref)
        .filter(|one| one.end > now && one.start < end)
        .collect();
    for day in 0..DAYS {
        let (from, to) = (after(now, day), after(now, day + 1));
        let runs = |one: &&&Occurrence| one.end > from && one.start < to;
        let labels = Labels::new([
            ("calendar", &*calendar.name),
            ("day", &day.to_string()),
            ("kind", calendar.kind()),
            ("namespace", &calendar.namespace),
        ]);
        page.count(
            OCCURRENCES,
            &labels,
            coming.iter().filter(runs).count() as u64,
        );
    }
    for (ordinal, one) in coming.iter().take(SHOWN).enumerate() {
        let name: String = one.name.chars().take(LONGEST_NAME).collect();
        let labels = Labels::new([
            ("calendar", &*calendar.name),
            ("event", &name),
            ("kind", calendar.kind()),
            ("namespace", &calendar.namespace),
            ("ordinal", &ordinal.to_string()),
        ]);
        page.sample(START, &labels, one.start.as_second() as f64);
        page.sample(END, &labels, one.end.as_second() as f64);
    }
}

fn after(now: Timestamp, days: usize) -> Timestamp {
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    now.saturating_add(DAY.saturating_mul(days)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn the_next_seven_days_are_shown_and_not_more_than_twenty_sales_by_name() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |hours: i64| now + SignedDuration::from_hours(hours);
        let sale = |name: String, start: i64, end: i64| {
            Arc::new(Occurrence {
                id: name.clone(),
                source: String::new(),
                name,
                start: at(start),
                end: at(end),
                labels: BTreeMap::new(),
                multiplier: None,
            })
        };
        let mut known = vec![
            sale("over".to_owned(), -10, -5),
            sale("runs ".repeat(100), -10, 30),
        ];
        known.extend((0..40).map(|n| sale(format!("sale-{n}"), 50 + n, 51 + n)));
        known.push(sale("next month".to_owned(), 700, 710));
        let occurrences = Occurrences {
            known: known.into(),
            complete: true,
        };
        let calendar = CalendarRef {
            cluster: true,
            namespace: String::new(),
            name: "sales".to_owned(),
        };
        let mut page = Page::default();
        write(&mut page, &calendar, &occurrences, now);
        let mut text = String::new();
        page.write(&mut text);
        let days: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("sakidori_calendar_occurrences{"))
            .filter_map(|line| line.rsplit(' ').next())
            .collect();
        assert_eq!(days, ["1", "1", "22", "18", "0", "0", "0"]);
        assert_eq!(text.matches("_start_timestamp_seconds{").count(), SHOWN);
        assert!(!text.contains("over") && !text.contains("month"), "{text}");
        assert!(text.lines().all(|line| line.len() < 250), "{text}");
    }
}
