//! Times and spans as people write them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp, Unit};

use crate::zone::instant;

/// A time as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// With an offset: an instant.
    Instant(Timestamp),
    /// The wall clock of the calendar's time zone.
    Wall(DateTime),
    /// A whole day.
    Day(Date),
}

impl Written {
    /// Reads `2027-01-02T00:00:00`, with a space, without seconds, with an offset (`Z`, `+09:00`, `+09`), or the date alone.
    ///
    /// # Errors
    /// Says what it is, or that there is no such date.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let wrong = || {
            format!(
                "{text:?} is no time: expected 2027-01-02T20:00:00 (the calendar's time zone), 2027-01-02T20:00:00+09:00, or \
                 2027-01-02"
            )
        };
        let (date, time) = match trimmed.split_once(['T', 't', ' ']) {
            Some((date, time)) => (date, Some(time.trim())),
            None => (trimmed, None),
        };
        let date = day(date)
            .ok_or_else(wrong)?
            .map_err(|why| format!("{text:?}: {why}"))?;
        let Some(time) = time else {
            return Ok(Self::Day(date));
        };
        let (time, offset) = split_offset(time).ok_or_else(wrong)?;
        let time = time_of_day(time)
            .ok_or_else(wrong)?
            .map_err(|why| format!("{text:?}: {why}"))?;
        let wall = date.to_datetime(time);
        match offset {
            None => Ok(Self::Wall(wall)),
            Some(offset) => offset
                .to_timestamp(wall)
                .map(Self::Instant)
                .map_err(|error| format!("{text:?}: {error}")),
        }
    }

    /// When an event that starts so begins. A day begins at its midnight. `None` past the end of time.
    pub(crate) fn start(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Instant(at) => Some(at),
            Self::Wall(wall) => instant(wall, zone).map(|moment| moment.at),
            Self::Day(day) => {
                instant(day.to_datetime(Time::midnight()), zone).map(|moment| moment.at)
            }
        }
    }

    /// When an event that ends so is over. A day is part of it.
    pub(crate) fn end(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Day(day) => Self::Day(day.tomorrow().ok()?).start(zone),
            other => other.start(zone),
        }
    }
}

fn digits(text: &str, most: usize) -> Option<i16> {
    let fits = !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// `None` for what is no date at all; the error for one that doesn't exist.
fn day(text: &str) -> Option<Result<Date, String>> {
    let mut parts = text.split(['-', '/']);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 {
        return None;
    }
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let narrow = |n: i16| i8::try_from(n).unwrap_or(i8::MAX);
    Some(
        Date::new(year, narrow(month), narrow(day))
            .map_err(|_| format!("there is no {year:04}-{month:02}-{day:02}")),
    )
}

fn time_of_day(text: &str) -> Option<Result<Time, String>> {
    let mut parts = text.split(':');
    let (hour, minute) = (parts.next()?, parts.next()?);
    // Fractions of a second are more than a calendar means.
    let second = match parts.next() {
        Some(second) => second.split_once('.').map_or(second, |(whole, _)| whole),
        None => "0",
    };
    if parts.next().is_some() {
        return None;
    }
    let [hour, minute, second] = [hour, minute, second].map(|part| digits(part, 2));
    let narrow = |n: i16| i8::try_from(n).unwrap_or(i8::MAX);
    let (hour, minute, second) = (hour?, minute?, second?);
    Some(
        Time::new(narrow(hour), narrow(minute), narrow(second), 0)
            .map_err(|_| format!("there is no {hour:02}:{minute:02}:{second:02}")),
    )
}

/// Splits off `Z`, `+09:00`, `+0900` or `+09`.
fn split_offset(text: &str) -> Option<(&str, Option<Offset>)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time.trim(), Some(Offset::UTC)));
    }
    let Some(at) = text.rfind(['+', '-']) else {
        return Some((text, None));
    };
    let (time, offset) = text.split_at(at);
    let (sign, offset) = offset.split_at(1);
    let plain: String = offset.split(':').collect();
    let (hours, minutes) = match plain.len() {
        2 => (digits(&plain, 2)?, 0),
        4 => (digits(plain.get(..2)?, 2)?, digits(plain.get(2..)?, 2)?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    let seconds = if sign == "-" { -seconds } else { seconds };
    Some((time.trim(), Some(Offset::from_seconds(seconds).ok()?)))
}

/// How long something lasts: whole days by the calendar, and a rest by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    pub days: i64,
    pub rest: SignedDuration,
}

impl Length {
    /// Reads `3d`, `2h30m`, `1h 30m`, `90s`, `1w` or ISO 8601 (`P3D`, `PT2H30M`).
    ///
    /// # Errors
    /// Says what was expected instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no duration: expected 2h30m, 3d or PT2H30M");
        let span: Span = text.trim().parse().map_err(|_| wrong())?;
        if span.get_years() != 0 || span.get_months() != 0 {
            return Err(format!(
                "{text:?} has months or years, whose length differs: write weeks (w) or days (d)"
            ));
        }
        let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
        let exact = span.weeks(0).days(0);
        let rest = exact
            .total((Unit::Second, jiff::SpanRelativeTo::days_are_24_hours()))
            .map_err(|_| wrong())?;
        // Whole seconds: the whole point of a calendar.
        let rest = SignedDuration::try_from_secs_f64(rest.round()).map_err(|_| wrong())?;
        let length = Self { days, rest };
        if span.is_negative() || length.as_duration() == SignedDuration::ZERO {
            return Err(format!("{text:?} is not above zero"));
        }
        Ok(length)
    }

    /// With days of 24 hours.
    pub fn as_duration(self) -> SignedDuration {
        SignedDuration::from_hours(
            self.days
                .saturating_mul(24)
                .clamp(-1_000_000_000, 1_000_000_000),
        )
        .saturating_add(self.rest)
    }

    /// When what starts at `start` is over. `None` past the end of time.
    pub fn after(self, start: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let day = if self.days == 0 {
            start
        } else {
            let wall = zone.to_datetime(start);
            let wall = wall
                .checked_add(Span::new().try_days(self.days).ok()?)
                .ok()?;
            instant(wall, zone)?.at
        };
        day.checked_add(self.rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time_zone;

    #[test]
    fn times_are_read_as_people_and_databases_write_them() {
        let table = [
            ("2027-01-02T20:00:00", "2027-01-02T20:00:00"),
            ("2027-01-02 20:00", "2027-01-02T20:00:00"),
            ("2027/1/2 9:05", "2027-01-02T09:05:00"),
            (" 2027-01-02T20:00:00.123 ", "2027-01-02T20:00:00"),
            ("2027-01-02T20:00:00+09:00", "2027-01-02T11:00:00Z"),
            ("2027-01-02T20:00:00Z", "2027-01-02T20:00:00Z"),
            ("2027-01-02 20:00:00.5+09", "2027-01-02T11:00:00Z"),
            ("2027-01-02 20:00:00 -0330", "2027-01-02T23:30:00Z"),
            ("2028-02-29", "2028-02-29"),
        ];
        for (text, expected) in table {
            let found = match Written::parse(text).unwrap() {
                Written::Instant(at) => at.to_string(),
                Written::Wall(wall) => wall.to_string(),
                Written::Day(day) => day.to_string(),
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_told_from_what_does_not_exist() {
        for text in [
            "",
            "tomorrow",
            "20:00",
            "27-01-02",
            "2027-01-02T",
            "2027-01-02T20",
            "2027-01-02T20:00:00+9",
            "2027-01-02T20:00:00 JST",
        ] {
            assert!(
                Written::parse(text).unwrap_err().contains("is no time"),
                "{text}"
            );
        }
        for (text, missing) in [
            ("2027-02-29", "there is no 2027-02-29"),
            ("2027-13-01T00:00:00Z", "there is no 2027-13-01"),
            ("2027-01-02T24:00:00", "there is no 24:00:00"),
        ] {
            assert!(
                Written::parse(text).unwrap_err().ends_with(missing),
                "{text}"
            );
        }
    }

    #[test]
    fn lengths_are_read_in_words_and_in_iso_8601() {
        for (text, days, seconds) in [
            ("3d", 3, 0),
            ("2h30m", 0, 9000),
            ("1h 30m", 0, 5400),
            ("1.5h", 0, 5400),
            ("1w2d", 9, 0),
            ("P1DT12H", 1, 43_200),
            ("PT15M", 0, 900),
            ("90s", 0, 90),
        ] {
            let length = Length {
                days,
                rest: SignedDuration::from_secs(seconds),
            };
            assert_eq!(Length::parse(text), Ok(length), "{text}");
        }
        for text in [
            "",
            "3",
            "-1h",
            "0s",
            "1mo",
            "P1Y",
            "soon",
            "99999999999999999999h",
        ] {
            assert!(Length::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_is_a_day_of_the_calendar_and_an_hour_is_an_hour() {
        let zone = time_zone("America/New_York").unwrap();
        // The 8th of March has 23 hours.
        let start = "2026-03-07T20:00:00-05:00".parse().unwrap();
        for (length, end) in [
            ("1d", "2026-03-08T20:00:00-04:00"),
            ("24h", "2026-03-08T21:00:00-04:00"),
        ] {
            let end: Timestamp = end.parse().unwrap();
            assert_eq!(
                Length::parse(length).unwrap().after(start, &zone),
                Some(end)
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_readers(text in "\\PC{0,40}", times in "[0-9TZ:+. /-]{0,30}", spans in "[0-9PTWDHMSwdhms. ]{0,20}") {
            for text in [&text, &times, &spans] {
                let _ = Written::parse(text);
                let _ = Length::parse(text).map(|length| length.after(Timestamp::UNIX_EPOCH, &TimeZone::UTC));
            }
        }
    }
}
