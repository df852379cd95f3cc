//! Recurrence rules (RFC 5545, RRULE): `FREQ=WEEKLY;BYDAY=FR;UNTIL=20271231T000000Z`.
//!
//! A rule is read strictly: what it can't be understood by would be a sale that nobody prescales for. It speaks of the wall
//! clock, so it gives wall-clock times; [`crate::zone`] makes instants of them.

mod expand;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Frequency {
    Yearly,
    Monthly,
    Weekly,
    Daily,
    Hourly,
    Minutely,
    Secondly,
}

/// A day of the week, perhaps the nth of its month or year; negative counts from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByDay {
    pub nth: Option<i16>,
    pub weekday: Weekday,
}

/// The last moment of a rule, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Instant(Timestamp),
    Wall(DateTime),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub frequency: Frequency,
    pub interval: i64,
    pub count: Option<u64>,
    pub until: Option<Until>,
    pub by_month: Vec<i16>,
    pub by_week_no: Vec<i16>,
    pub by_year_day: Vec<i16>,
    pub by_month_day: Vec<i16>,
    pub by_day: Vec<ByDay>,
    pub by_hour: Vec<i16>,
    pub by_minute: Vec<i16>,
    pub by_second: Vec<i16>,
    pub by_set_pos: Vec<i16>,
    pub week_start: Weekday,
}

impl Rule {
    /// Reads the value of an RRULE.
    ///
    /// # Errors
    /// Names the part and what was expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text
            .get(..6)
            .filter(|prefix| prefix.eq_ignore_ascii_case("RRULE:"))
            .map_or(text, |_| &text[6..]);
        let mut rule = Self {
            frequency: Frequency::Daily,
            interval: 1,
            count: None,
            until: None,
            by_month: Vec::new(),
            by_week_no: Vec::new(),
            by_year_day: Vec::new(),
            by_month_day: Vec::new(),
            by_day: Vec::new(),
            by_hour: Vec::new(),
            by_minute: Vec::new(),
            by_second: Vec::new(),
            by_set_pos: Vec::new(),
            week_start: Weekday::Monday,
        };
        let mut frequency = None;
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} has no '=': expected FREQ=WEEKLY;BYDAY=FR"))?;
            let value = value.trim();
            let numbers = |low, high| numbers(part, value, low, high);
            match key.trim().to_ascii_uppercase().as_str() {
                "FREQ" => frequency = Some(read_frequency(value)?),
                "INTERVAL" => rule.interval = positive(part, value)?,
                "COUNT" => rule.count = Some(positive(part, value)?.unsigned_abs()),
                "UNTIL" => rule.until = Some(read_until(value)?),
                "BYMONTH" => rule.by_month = numbers(1, 12)?,
                "BYWEEKNO" => rule.by_week_no = signed(part, value, 53)?,
                "BYYEARDAY" => rule.by_year_day = signed(part, value, 366)?,
                "BYMONTHDAY" => rule.by_month_day = signed(part, value, 31)?,
                "BYDAY" => rule.by_day = read_days(part, value)?,
                "BYHOUR" => rule.by_hour = numbers(0, 23)?,
                "BYMINUTE" => rule.by_minute = numbers(0, 59)?,
                // 60 is a leap second, which no clock of ours shows.
                "BYSECOND" => rule.by_second = self::numbers(part, value, 0, 60)?,
                "BYSETPOS" => rule.by_set_pos = signed(part, value, 366)?,
                "WKST" => rule.week_start = read_weekday(value)?,
                "RSCALE" if value.eq_ignore_ascii_case("GREGORIAN") => {}
                "SKIP" if value.eq_ignore_ascii_case("OMIT") => {}
                other => {
                    return Err(format!(
                        "{other} is no part of a rule that is understood: {part:?}"
                    ));
                }
            }
        }
        rule.frequency = frequency
            .ok_or_else(|| format!("{text:?} has no FREQ: expected FREQ=WEEKLY;BYDAY=FR"))?;
        rule.by_second.iter_mut().for_each(|n| *n = (*n).min(59));
        rule.check()?;
        Ok(rule)
    }

    fn check(&self) -> Result<(), String> {
        use Frequency::{Monthly, Weekly, Yearly};
        if self.count.is_some() && self.until.is_some() {
            return Err("COUNT and UNTIL exclude each other: keep one".to_owned());
        }
        let nth = self.by_day.iter().any(|day| day.nth.is_some());
        if nth && !matches!(self.frequency, Yearly | Monthly) {
            return Err("BYDAY with a number (2MO) needs FREQ=MONTHLY or FREQ=YEARLY".to_owned());
        }
        if nth && !self.by_week_no.is_empty() {
            return Err("BYDAY with a number (2MO) and BYWEEKNO exclude each other".to_owned());
        }
        if !self.by_week_no.is_empty() && self.frequency != Yearly {
            return Err("BYWEEKNO needs FREQ=YEARLY".to_owned());
        }
        if !self.by_month_day.is_empty() && self.frequency == Weekly {
            return Err("BYMONTHDAY and FREQ=WEEKLY exclude each other".to_owned());
        }
        let any_other = !(self.by_month.is_empty()
            && self.by_week_no.is_empty()
            && self.by_year_day.is_empty()
            && self.by_month_day.is_empty()
            && self.by_day.is_empty()
            && self.by_hour.is_empty()
            && self.by_minute.is_empty()
            && self.by_second.is_empty());
        if !self.by_set_pos.is_empty() && !any_other {
            return Err("BYSETPOS needs another BY part to choose from".to_owned());
        }
        Ok(())
    }

    /// Whether the rule says itself on which days it is, so that its start says nothing but when it begins.
    pub(crate) fn names_days(&self) -> bool {
        self.frequency >= Frequency::Daily
            || !(self.by_week_no.is_empty()
                && self.by_year_day.is_empty()
                && self.by_month_day.is_empty()
                && self.by_day.is_empty())
    }

    /// Whether `wall`, which is `at` in the zone of the event, is past the rule's end.
    fn is_over(&self, wall: DateTime, zone: &TimeZone) -> bool {
        match self.until {
            None => false,
            Some(Until::Wall(until)) => wall > until,
            Some(Until::Instant(until)) => {
                crate::zone::instant(wall, zone).is_none_or(|moment| moment.at > until)
            }
        }
    }
}

fn read_frequency(value: &str) -> Result<Frequency, String> {
    Ok(match value.to_ascii_uppercase().as_str() {
        "YEARLY" => Frequency::Yearly,
        "MONTHLY" => Frequency::Monthly,
        "WEEKLY" => Frequency::Weekly,
        "DAILY" => Frequency::Daily,
        "HOURLY" => Frequency::Hourly,
        "MINUTELY" => Frequency::Minutely,
        "SECONDLY" => Frequency::Secondly,
        _ => {
            return Err(format!(
                "FREQ={value}: expected YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY or SECONDLY"
            ));
        }
    })
}

/// `20271231T145959Z`, `20271231T235959` or `20271231`, which includes the day.
fn read_until(value: &str) -> Result<Until, String> {
    let wrong = || format!("UNTIL={value}: expected 20271231T145959Z, 20271231T235959 or 20271231");
    match basic(value).ok_or_else(wrong)? {
        Basic::Day(day) => Ok(Until::Wall(day.to_datetime(Time::constant(23, 59, 59, 0)))),
        Basic::Wall(wall) => Ok(Until::Wall(wall)),
        Basic::Instant(at) => Ok(Until::Instant(at)),
    }
}

/// A date or a time in iCalendar's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basic {
    Day(jiff::civil::Date),
    Wall(DateTime),
    Instant(Timestamp),
}

/// Reads `20271231`, `20271231T235959` or `20271231T145959Z`. `None` for anything else, a date that doesn't exist included.
pub(crate) fn basic(text: &str) -> Option<Basic> {
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let number = |text: &str| -> Option<i16> {
        let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        all.then(|| text.parse().ok()).flatten()
    };
    let small = |text: &str| i8::try_from(number(text)?).ok();
    if date.len() != 8 || !date.is_ascii() {
        return None;
    }
    let date = jiff::civil::Date::new(number(&date[..4])?, small(&date[4..6])?, small(&date[6..])?)
        .ok()?;
    let Some(time) = time else {
        return Some(Basic::Day(date));
    };
    let (time, utc) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, true),
        None => (time, false),
    };
    if time.len() != 6 || !time.is_ascii() {
        return None;
    }
    // A leap second is the second before it.
    let second = small(&time[4..])?;
    let second = if second == 60 { 59 } else { second };
    let time = Time::new(small(&time[..2])?, small(&time[2..4])?, second, 0).ok()?;
    let wall = date.to_datetime(time);
    if utc {
        let at = jiff::tz::Offset::UTC.to_timestamp(wall).ok()?;
        return Some(Basic::Instant(at));
    }
    Some(Basic::Wall(wall))
}

fn positive(part: &str, value: &str) -> Result<i64, String> {
    value
        .parse::<u32>()
        .ok()
        .filter(|n| *n > 0)
        .map(i64::from)
        .ok_or_else(|| format!("{part}: expected a number above 0"))
}

fn numbers(part: &str, value: &str, low: i16, high: i16) -> Result<Vec<i16>, String> {
    let mut list = value
        .split(',')
        .map(|one| {
            let one = one.trim();
            one.strip_prefix('+')
                .unwrap_or(one)
                .parse()
                .ok()
                .filter(|n| (low..=high).contains(n))
                .ok_or_else(|| format!("{part}: expected numbers from {low} to {high}"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    list.sort_unstable();
    list.dedup();
    Ok(list)
}

/// Numbers from 1, or from -1 backwards.
fn signed(part: &str, value: &str, high: i16) -> Result<Vec<i16>, String> {
    let list = numbers(part, value, -high, high)?;
    if list.contains(&0) {
        return Err(format!(
            "{part}: 0 counts nothing: expected 1 to {high} or -1 to -{high}"
        ));
    }
    Ok(list)
}

fn read_weekday(text: &str) -> Result<Weekday, String> {
    Ok(match text.to_ascii_uppercase().as_str() {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => {
            return Err(format!(
                "{text:?} is no weekday: expected MO, TU, WE, TH, FR, SA or SU"
            ));
        }
    })
}

fn read_days(part: &str, value: &str) -> Result<Vec<ByDay>, String> {
    value
        .split(',')
        .map(|one| {
            let one = one.trim();
            let at = one.len().saturating_sub(2);
            if !one.is_ascii() {
                return Err(format!("{part}: expected weekdays such as FR, 2MO or -1SU"));
            }
            let (nth, weekday) = one.split_at(at);
            let weekday = read_weekday(weekday).map_err(|why| format!("{part}: {why}"))?;
            let nth = match nth {
                "" => None,
                nth => Some(signed(part, nth, 53)?[0]),
            };
            Ok(ByDay { nth, weekday })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_rule_is_refused_with_its_part() {
        for (text, expected) in [
            ("", "has no FREQ"),
            ("BYDAY=FR", "has no FREQ"),
            ("FREQ=FORTNIGHTLY", "FREQ=FORTNIGHTLY: expected YEARLY"),
            ("FREQ=WEEKLY;BYDAY=XX", "\"XX\" is no weekday"),
            ("FREQ=WEEKLY;BYDAY=2FR", "needs FREQ=MONTHLY"),
            ("FREQ=MONTHLY;BYDAY=0FR", "0 counts nothing"),
            ("FREQ=DAILY;INTERVAL=0", "above 0"),
            ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "exclude each other"),
            ("FREQ=DAILY;UNTIL=20270230", "UNTIL=20270230: expected"),
            ("FREQ=DAILY;BYHOUR=24", "from 0 to 23"),
            ("FREQ=MONTHLY;BYMONTHDAY=32", "from -31 to 31"),
            ("FREQ=MONTHLY;BYWEEKNO=1", "needs FREQ=YEARLY"),
            ("FREQ=DAILY;BYSETPOS=1", "needs another BY part"),
            ("FREQ=DAILY;X-COLOUR=RED", "X-COLOUR is no part"),
            ("FREQ=DAILY;BYDAY", "has no '='"),
        ] {
            let error = Rule::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn case_spaces_and_a_prefix_do_not_matter() {
        let plain = Rule::parse("FREQ=MONTHLY;BYDAY=-1SU,2MO;WKST=SU").unwrap();
        assert_eq!(
            Rule::parse(" rrule:freq=monthly; byday = -1su, +2mo ;wkst=su;"),
            Ok(plain)
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "(FREQ|BYDAY|UNTIL|COUNT|BYSETPOS|[A-Z;=,0-9 ü+-]){0,40}") {
            let _ = Rule::parse(&text);
            let _ = basic(&text);
        }
    }
}
