//! Time zones as iCalendar files name them: by the IANA name, by Windows' name, with a prefix, or by rules of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::lines::Component;
use super::windows::iana_name;
use crate::rule::{Basic, Frequency, Rule, basic};

/// The zones of one text, by TZID.
#[derive(Debug, Default)]
pub(super) struct Zones {
    defined: BTreeMap<String, TimeZone>,
}

impl Zones {
    pub(super) fn new(components: &[Component]) -> Self {
        let defined = components
            .iter()
            .filter(|one| one.kind == "VTIMEZONE")
            .filter_map(|one| {
                let id = one.first("TZID")?.text();
                let zone = named(&id)
                    .or_else(|| named(&one.first("X-LIC-LOCATION")?.text()))
                    .or_else(|| by_rules(one))?;
                Some((id, zone))
            })
            .collect();
        Self { defined }
    }

    /// # Errors
    /// For a zone that neither the text nor the database describes.
    pub(super) fn get(&self, id: &str) -> Result<TimeZone, String> {
        self.defined
            .get(id.trim())
            .cloned()
            .or_else(|| named(id))
            .ok_or_else(|| {
                format!("unknown time zone {id:?}: expected a name such as Asia/Tokyo, or a VTIMEZONE with that TZID")
            })
    }
}

/// The longest name that is looked up. Those of the database have some 30 letters, and a prefix may be a URL.
const LONGEST_NAME: usize = 255;

/// A zone by its name alone.
fn named(id: &str) -> Option<TimeZone> {
    let id = id.trim();
    if id.len() > LONGEST_NAME {
        return None;
    }
    if let Ok(zone) = TimeZone::get(id) {
        return Some(zone);
    }
    if let Some(zone) = iana_name(id).and_then(|name| TimeZone::get(name).ok()) {
        return Some(zone);
    }
    // `/citadel.org/20210210_1/Asia/Tokyo`: what is in front belongs to whoever wrote the file.
    let mut rest = id;
    while let Some((_, tail)) = rest.split_once('/') {
        if let Ok(zone) = TimeZone::get(tail) {
            return Some(zone);
        }
        rest = tail;
    }
    None
}

/// The part of a VTIMEZONE that holds now: its last STANDARD and its last DAYLIGHT.
fn by_rules(zone: &Component) -> Option<TimeZone> {
    let last = |kind: &str| {
        zone.components
            .iter()
            .filter(|one| one.kind == kind)
            .filter_map(|one| Some((Observance::read(one)?, one)))
            .max_by_key(|(observance, _)| observance.since)
            .map(|(observance, _)| observance)
    };
    match (last("STANDARD"), last("DAYLIGHT")) {
        (Some(standard), Some(daylight)) => match (&standard.change, &daylight.change) {
            (Some(to_standard), Some(to_daylight)) => TimeZone::posix(&format!(
                "STD{}DST{},{to_daylight},{to_standard}",
                posix_offset(standard.offset),
                posix_offset(daylight.offset)
            ))
            .ok(),
            // Clocks changed at some time, and don't any more: what came last holds.
            _ => fixed(if standard.since >= daylight.since {
                standard.offset
            } else {
                daylight.offset
            }),
        },
        (Some(only), None) | (None, Some(only)) => fixed(only.offset),
        (None, None) => None,
    }
}

struct Observance {
    since: jiff::civil::DateTime,
    /// Seconds east of UTC.
    offset: i32,
    /// When clocks change to it every year, as POSIX writes it.
    change: Option<String>,
}

impl Observance {
    fn read(component: &Component) -> Option<Self> {
        let since = match basic(component.first("DTSTART")?.value.trim())? {
            Basic::Wall(wall) => wall,
            Basic::Day(day) => day.to_datetime(jiff::civil::Time::midnight()),
            Basic::Instant(_) => return None,
        };
        let offset = offset(component.first("TZOFFSETTO")?.value.trim())?;
        let rule = component.first("RRULE");
        // A rule with an end is past.
        let rule = rule
            .and_then(|rule| Rule::parse(&rule.value).ok())
            .filter(|rule| rule.until.is_none() && rule.count.is_none());
        Some(Self {
            since,
            offset,
            change: rule.and_then(|rule| yearly_change(&rule, since)),
        })
    }
}

/// `M3.2.0/2`: the second Sunday of March at 2:00.
fn yearly_change(rule: &Rule, since: jiff::civil::DateTime) -> Option<String> {
    let ([month], [day]) = (&rule.by_month[..], &rule.by_day[..]) else {
        return None;
    };
    if rule.frequency != Frequency::Yearly {
        return None;
    }
    let week = match (day.nth, rule.by_month_day.first()) {
        (Some(-1), None) => 5,
        (Some(nth @ 1..=4), None) => nth,
        // "A Sunday from the 8th to the 14th".
        (None, Some(first @ 1..)) => (first - 1) / 7 + 1,
        _ => return None,
    };
    let mut text = format!(
        "M{month}.{week}.{}/{}",
        day.weekday.to_sunday_zero_offset(),
        since.hour()
    );
    if since.minute() != 0 || since.second() != 0 {
        let _ = write!(text, ":{:02}:{:02}", since.minute(), since.second());
    }
    Some(text)
}

/// `+0900` or `-033000` in seconds.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("-", digits) => (-1, digits),
        ("+", digits) => (1, digits),
        _ => (1, text),
    };
    if !matches!(digits.len(), 4 | 6) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| digits.get(at..at + 2).unwrap_or("00").parse::<i32>().ok();
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    (hours <= 24 && minutes < 60 && seconds < 60)
        .then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// POSIX counts west of UTC.
fn posix_offset(seconds: i32) -> String {
    let west = -seconds;
    let sign = if west < 0 { "-" } else { "" };
    let west = west.abs();
    format!(
        "{sign}{}:{:02}:{:02}",
        west / 3600,
        west / 60 % 60,
        west % 60
    )
}

fn fixed(seconds: i32) -> Option<TimeZone> {
    Some(TimeZone::fixed(
        jiff::tz::Offset::from_seconds(seconds).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::lines::components;
    use super::*;

    #[test]
    fn zones_are_found_under_their_many_names() {
        for (id, name) in [
            ("Asia/Tokyo", "Asia/Tokyo"),
            ("asia/tokyo", "Asia/Tokyo"),
            ("Tokyo Standard Time", "Asia/Tokyo"),
            ("/citadel.org/20210210_1/Europe/London", "Europe/London"),
            (
                "/freeassociation.sourceforge.net/America/Argentina/Buenos_Aires",
                "America/Argentina/Buenos_Aires",
            ),
            ("UTC", "UTC"),
            ("Lord Howe Standard Time", "Australia/Lord_Howe"),
        ] {
            assert_eq!(named(id).unwrap().iana_name(), Some(name), "{id}");
        }
        assert!(
            Zones::default()
                .get("Mars/Olympus")
                .unwrap_err()
                .contains("unknown time zone")
        );
    }

    /// A zone with a name of its own behaves as the one whose rules it has.
    #[test]
    fn a_zone_may_be_described_by_its_rules() {
        let vtimezone = "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:Customized Time Zone\nBEGIN:STANDARD\nDTSTART:16010101T020000\n\
                         TZOFFSETFROM:-0400\nTZOFFSETTO:-0500\nRRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=11\nEND:STANDARD\n\
                         BEGIN:DAYLIGHT\nDTSTART:16010101T020000\nTZOFFSETFROM:-0500\nTZOFFSETTO:-0400\n\
                         RRULE:FREQ=YEARLY;BYDAY=2SU;BYMONTH=3\nEND:DAYLIGHT\nEND:VTIMEZONE\nEND:VCALENDAR\n";
        let zones = Zones::new(&components(vtimezone).unwrap());
        let custom = zones.get("Customized Time Zone").unwrap();
        let new_york = TimeZone::get("America/New_York").unwrap();
        for hour in 0..400 * 24 {
            let at = jiff::Timestamp::from_second(1_767_225_600 + hour * 3600).unwrap();
            assert_eq!(custom.to_offset(at), new_york.to_offset(at), "{at}");
        }
    }

    #[test]
    fn a_zone_without_changes_is_its_offset() {
        let vtimezone = "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:Kyoto Shop\nBEGIN:STANDARD\nDTSTART:19700101T000000\n\
                         TZOFFSETFROM:+0900\nTZOFFSETTO:+0900\nEND:STANDARD\nEND:VTIMEZONE\nEND:VCALENDAR\n";
        let zone = Zones::new(&components(vtimezone).unwrap())
            .get("Kyoto Shop")
            .unwrap();
        assert_eq!(
            zone.to_offset(jiff::Timestamp::UNIX_EPOCH).seconds(),
            9 * 3600
        );
    }
}
