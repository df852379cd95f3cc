//! The wall-clock times of a rule.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;

use super::{Frequency, Rule};
use crate::limits::{Budget, LimitError};

/// What a rule leaves open is taken from its start (RFC 5545, 3.3.10).
struct Expansion<'a> {
    rule: &'a Rule,
    start: DateTime,
    months: Vec<i16>,
    month_days: Vec<i16>,
    weekdays: Vec<Weekday>,
    hours: Vec<i16>,
    minutes: Vec<i16>,
    seconds: Vec<i16>,
}

impl Rule {
    /// The times of the rule from `from` on and before `to`, ascending, for a series that starts at `start` in `zone`. The
    /// start itself is among them only if the rule has it.
    ///
    /// Without COUNT the search begins shortly before `from`, however old the series is.
    pub(crate) fn times(
        &self,
        start: DateTime,
        zone: &TimeZone,
        (from, to): (DateTime, DateTime),
        budget: &mut Budget,
    ) -> Result<Vec<DateTime>, LimitError> {
        let expansion = Expansion::new(self, start);
        let mut found = Vec::new();
        let mut left = self.count;
        let mut period = if self.count.is_some() {
            0
        } else {
            expansion.period_before(from)
        };
        loop {
            budget.step()?;
            // The end of the calendar of jiff is the end of every rule.
            let Some(first) = expansion.first_day(period) else {
                break;
            };
            if first.to_datetime(Time::midnight()) >= to {
                break;
            }
            for wall in expansion.times_in(period, first, budget)? {
                if wall < start {
                    continue;
                }
                if wall >= to || self.is_over(wall, zone) || left == Some(0) {
                    return Ok(found);
                }
                left = left.map(|left| left - 1);
                if wall >= from {
                    // More than a calendar may hold need not be found.
                    if found.len() > crate::limits::MAX_OCCURRENCES {
                        return Err(LimitError::Occurrences);
                    }
                    found.push(wall);
                }
            }
            if left == Some(0) {
                break;
            }
            period += 1;
        }
        Ok(found)
    }
}

impl<'a> Expansion<'a> {
    fn new(rule: &'a Rule, start: DateTime) -> Self {
        use Frequency::{Hourly, Minutely, Monthly, Secondly, Weekly, Yearly};
        let (mut months, mut month_days, mut weekdays) =
            (rule.by_month.clone(), rule.by_month_day.clone(), Vec::new());
        if !rule.names_days() {
            match rule.frequency {
                Yearly => {
                    if months.is_empty() {
                        months.push(start.month().into());
                    }
                    month_days.push(start.day().into());
                }
                Monthly => month_days.push(start.day().into()),
                Weekly => weekdays.push(start.weekday()),
                _ => {}
            }
        }
        let or = |list: &Vec<i16>, open_from: Frequency, own: i8| {
            if list.is_empty() && rule.frequency < open_from {
                vec![own.into()]
            } else {
                list.clone()
            }
        };
        Self {
            hours: or(&rule.by_hour, Hourly, start.hour()),
            minutes: or(&rule.by_minute, Minutely, start.minute()),
            seconds: or(&rule.by_second, Secondly, start.second()),
            rule,
            start,
            months,
            month_days,
            weekdays,
        }
    }

    /// The number of a period that is not after `from`: the series need not be walked from its beginning.
    fn period_before(&self, from: DateTime) -> i64 {
        if from <= self.start {
            return 0;
        }
        let (start, from) = (self.start.date(), from.date());
        let units = match self.rule.frequency {
            Frequency::Yearly => i64::from(from.year() - start.year()),
            Frequency::Monthly => {
                i64::from(from.year() - start.year()) * 12 + i64::from(from.month() - start.month())
            }
            Frequency::Weekly => days_between(start, from) / 7,
            Frequency::Daily => days_between(start, from),
            // Days, see `first_day`.
            _ => return (days_between(start, from) - 1).max(0),
        };
        (units / self.rule.interval - 1).max(0)
    }

    /// The first day of a period. A rule within the day has one period a day here; its interval is kept in `times_of_day`.
    fn first_day(&self, period: i64) -> Option<Date> {
        let start = self.start.date();
        let units = period.checked_mul(self.rule.interval)?;
        match self.rule.frequency {
            Frequency::Yearly => {
                let year = i64::from(start.year()).checked_add(units)?;
                Date::new(i16::try_from(year).ok()?, 1, 1).ok()
            }
            Frequency::Monthly => {
                let months = (i64::from(start.year()) * 12 + i64::from(start.month()) - 1)
                    .checked_add(units)?;
                let year = i16::try_from(months.div_euclid(12)).ok()?;
                let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
                Date::new(year, month, 1).ok()
            }
            Frequency::Weekly => {
                let back = start.weekday().since(self.rule.week_start);
                plus_days(start, units.checked_mul(7)? - i64::from(back))
            }
            Frequency::Daily => plus_days(start, units),
            _ => plus_days(start, period),
        }
    }

    fn times_in(
        &self,
        period: i64,
        first: Date,
        budget: &mut Budget,
    ) -> Result<Vec<DateTime>, LimitError> {
        let length = match self.rule.frequency {
            Frequency::Yearly => first.days_in_year(),
            Frequency::Monthly => first.days_in_month().into(),
            Frequency::Weekly => 7,
            Frequency::Daily => 1,
            _ => return self.times_of_day(period, first, budget),
        };
        let mut times = Vec::new();
        let mut day = first;
        for n in 0..length {
            budget.step()?;
            if self.has(day) {
                for hour in &self.hours {
                    for minute in &self.minutes {
                        for second in &self.seconds {
                            budget.step()?;
                            times.extend(at(day, *hour, *minute, *second));
                        }
                    }
                }
            }
            if n + 1 < length {
                let Ok(tomorrow) = day.tomorrow() else { break };
                day = tomorrow;
            }
        }
        Ok(self.chosen(times))
    }

    /// The times of a rule by hours, minutes or seconds on one day. Each hour (minute, second) that the interval hits is a set of
    /// its own.
    fn times_of_day(
        &self,
        period: i64,
        day: Date,
        budget: &mut Budget,
    ) -> Result<Vec<DateTime>, LimitError> {
        let mut times = Vec::new();
        if !self.has(day) {
            return Ok(times);
        }
        let unit = match self.rule.frequency {
            Frequency::Hourly => 3600,
            Frequency::Minutely => 60,
            _ => 1,
        };
        let per_day = 86_400 / unit;
        let time = self.start.time();
        let second_of_day = i64::from(time.hour()) * 3600
            + i64::from(time.minute()) * 60
            + i64::from(time.second());
        let passed = period * per_day - second_of_day / unit;
        let mut n = (-passed).rem_euclid(self.rule.interval);
        while n < per_day {
            budget.step()?;
            let second_of_day = n * unit;
            let parts = [
                second_of_day / 3600,
                second_of_day / 60 % 60,
                second_of_day % 60,
            ];
            let [hour, minute, second] = parts.map(|part| i16::try_from(part).unwrap_or(0));
            n += self.rule.interval;
            let fits = |list: &[i16], part| list.is_empty() || list.contains(&part);
            if !fits(&self.hours, hour) {
                continue;
            }
            let mut set = Vec::new();
            match self.rule.frequency {
                Frequency::Hourly => {
                    for minute in &self.minutes {
                        for second in &self.seconds {
                            budget.step()?;
                            set.extend(at(day, hour, *minute, *second));
                        }
                    }
                }
                Frequency::Minutely if fits(&self.minutes, minute) => {
                    for second in &self.seconds {
                        budget.step()?;
                        set.extend(at(day, hour, minute, *second));
                    }
                }
                Frequency::Secondly
                    if fits(&self.minutes, minute) && fits(&self.seconds, second) =>
                {
                    set.extend(at(day, hour, minute, second));
                }
                _ => {}
            }
            times.extend(self.chosen(set));
        }
        Ok(times)
    }

    /// What BYSETPOS chooses of one set.
    fn chosen(&self, set: Vec<DateTime>) -> Vec<DateTime> {
        if self.rule.by_set_pos.is_empty() {
            return set;
        }
        let length = set.len();
        let mut chosen: Vec<_> = self
            .rule
            .by_set_pos
            .iter()
            .filter_map(|position| {
                let distance = usize::from(position.unsigned_abs());
                let index = if *position > 0 {
                    distance - 1
                } else {
                    length.checked_sub(distance)?
                };
                set.get(index).copied()
            })
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// Whether the rule's BY parts allow a day.
    fn has(&self, day: Date) -> bool {
        let counts = |list: &[i16], forward: i16, whole: i16| {
            list.contains(&forward) || list.contains(&(forward - whole - 1))
        };
        if !self.months.is_empty() && !self.months.contains(&day.month().into()) {
            return false;
        }
        if !self.month_days.is_empty()
            && !counts(
                &self.month_days,
                day.day().into(),
                day.days_in_month().into(),
            )
        {
            return false;
        }
        let rule = self.rule;
        if !rule.by_year_day.is_empty()
            && !counts(&rule.by_year_day, day.day_of_year(), day.days_in_year())
        {
            return false;
        }
        if !rule.by_week_no.is_empty() {
            let (number, weeks) = week(day, rule.week_start);
            if !counts(&rule.by_week_no, number, weeks) {
                return false;
            }
        }
        if !self.weekdays.is_empty() && !self.weekdays.contains(&day.weekday()) {
            return false;
        }
        rule.by_day.is_empty() || rule.by_day.iter().any(|by| self.is_nth(day, *by))
    }

    /// Whether a day is the nth weekday of its month, or of its year where the rule names no month.
    fn is_nth(&self, day: Date, by: super::ByDay) -> bool {
        if day.weekday() != by.weekday {
            return false;
        }
        let Some(nth) = by.nth else { return true };
        let within_month =
            self.rule.frequency == Frequency::Monthly || !self.rule.by_month.is_empty();
        let (forward, whole): (i16, i16) = if within_month {
            (day.day().into(), day.days_in_month().into())
        } else {
            (day.day_of_year(), day.days_in_year())
        };
        if nth > 0 {
            (forward - 1) / 7 + 1 == nth
        } else {
            (whole - forward) / 7 + 1 == -nth
        }
    }
}

fn at(day: Date, hour: i16, minute: i16, second: i16) -> Option<DateTime> {
    let [hour, minute, second] = [hour, minute, second].map(|part| i8::try_from(part).ok());
    Time::new(hour?, minute?, second?, 0)
        .ok()
        .map(|time| day.to_datetime(time))
}

fn plus_days(day: Date, days: i64) -> Option<Date> {
    let days = i32::try_from(days).ok()?;
    // A span has a limit of its own, past the last date.
    if days.abs() > 7_000_000 {
        return None;
    }
    day.checked_add(days.days()).ok()
}

fn days_between(from: Date, to: Date) -> i64 {
    to.duration_since(from).as_hours() / 24
}

/// The number of a day's week, and how many weeks that week's year has. Week 1 is the one with the 4th of January.
fn week(day: Date, week_start: Weekday) -> (i16, i16) {
    let begin_of = |year: i16| -> Option<Date> {
        let fourth = Date::new(year, 1, 4).ok()?;
        plus_days(fourth, -i64::from(fourth.weekday().since(week_start)))
    };
    let year = day.year();
    let candidates = [year + 1, year, year - 1];
    for year in candidates {
        if let (Some(begin), Some(next)) = (begin_of(year), begin_of(year + 1))
            && begin <= day
            && day < next
        {
            let number = days_between(begin, day) / 7 + 1;
            let weeks = days_between(begin, next) / 7;
            return (
                i16::try_from(number).unwrap_or(0),
                i16::try_from(weeks).unwrap_or(0),
            );
        }
    }
    // The first and last year of the calendar.
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rule: &str, start: &str, from: &str, to: &str) -> Vec<String> {
        let [start, from, to] = [start, from, to].map(|text| text.parse().unwrap());
        Rule::parse(rule)
            .unwrap()
            .times(start, &TimeZone::UTC, (from, to), &mut Budget::default())
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_old_series_is_not_walked_from_its_beginning() {
        for rule in [
            "FREQ=SECONDLY;INTERVAL=7200",
            "FREQ=MINUTELY;INTERVAL=120",
            "FREQ=HOURLY;INTERVAL=2",
        ] {
            let found = times(
                rule,
                "1900-01-01T00:00",
                "2026-07-01T00:00",
                "2026-07-01T06:00",
            );
            assert_eq!(
                found,
                [
                    "2026-07-01T00:00:00",
                    "2026-07-01T02:00:00",
                    "2026-07-01T04:00:00"
                ],
                "{rule}"
            );
        }
    }

    #[test]
    fn a_rule_that_finds_nothing_ends_with_the_window_or_names_the_limit() {
        let rule = Rule::parse("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30").unwrap();
        let [start, end] =
            ["2026-01-01T00:00", "2027-02-05T00:00"].map(|text| text.parse().unwrap());
        let window = (start, end);
        let found = rule.times(start, &TimeZone::UTC, window, &mut Budget::default());
        assert_eq!(found, Ok(Vec::new()));
        let busy =
            Rule::parse("FREQ=SECONDLY;BYSECOND=7;BYMINUTE=7;BYHOUR=7;COUNT=4000000").unwrap();
        let found = busy.times(start, &TimeZone::UTC, window, &mut Budget::default());
        assert_eq!(found, Err(LimitError::Steps));
        let many = Rule::parse("FREQ=MINUTELY").unwrap();
        let found = many.times(start, &TimeZone::UTC, window, &mut Budget::default());
        assert_eq!(found, Err(LimitError::Occurrences));
    }

    #[test]
    fn weeks_belong_to_the_year_of_their_fourth_day() {
        // Of the 1st of January 2027 (a Friday), the week is the last of 2026.
        assert_eq!(week(Date::constant(2027, 1, 1), Weekday::Monday), (53, 53));
        assert_eq!(week(Date::constant(2027, 1, 4), Weekday::Monday), (1, 52));
        assert_eq!(week(Date::constant(2024, 12, 30), Weekday::Monday), (1, 52));
        assert_eq!(week(Date::constant(2023, 1, 1), Weekday::Sunday), (1, 52));
    }

    #[test]
    fn the_end_of_time_is_an_end() {
        let found = times(
            "FREQ=YEARLY",
            "9990-01-01T00:00",
            "9990-01-01T00:00",
            "9999-12-31T00:00",
        );
        assert_eq!(found.len(), 10);
        let far = times(
            "FREQ=DAILY;INTERVAL=4000000000",
            "2026-01-01T00:00",
            "2026-01-01T00:00",
            "2027-01-01T00:00",
        );
        assert_eq!(far.len(), 1);
    }
}
