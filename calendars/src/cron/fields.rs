//! The grammar of robfig/cron's five fields: text to sets of numbers.
//!
//! KEDA parses `start` and `end` with robfig/cron's `Minute | Hour | Dom | Month | Dow` parser, so this grammar decides what
//! a valid manifest is: `*`, `?`, lists, ranges, steps (`5/15` is `5-59/15`), names of months and weekdays in any case.
//! Descriptors (`@hourly`), a seconds field, weekday 7 and Quartz' `L`, `W`, `#` are errors there, and so they are here.

use thiserror::Error;

/// A schedule that robfig/cron (and so KEDA) would refuse, or that can never fire. The text starts with robfig's words where
/// it has some, and ends with what to write instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ScheduleError(pub String);

/// The numbers that one field allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bit n is set when n is allowed.
    bits: u64,
    /// A part of it was `*` or `?`, without a step above 1. Only asked of the two day fields: see [`Fields::day_is_either`].
    star: bool,
}

impl Field {
    /// The allowed numbers, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..60).filter(move |n| self.bits & (1 << n) != 0)
    }
}

/// All five fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    pub minute: Field,
    pub hour: Field,
    pub day_of_month: Field,
    pub month: Field,
    pub weekday: Field,
}

impl Fields {
    /// True when a day matches by its number *or* its weekday: both are restricted. Otherwise it must match both, one of
    /// which is `*` (robfig/cron: dayMatches; `*/2` counts as restricted, `*/1` doesn't).
    pub fn day_is_either(&self) -> bool {
        !self.day_of_month.star && !self.weekday.star
    }
}

/// What a field may hold.
struct Bounds {
    field: &'static str,
    min: u32,
    max: u32,
    /// Names for the numbers from `min` on.
    names: &'static [&'static str],
}

const MINUTE: Bounds = Bounds {
    field: "minute",
    min: 0,
    max: 59,
    names: &[],
};
const HOUR: Bounds = Bounds {
    field: "hour",
    min: 0,
    max: 23,
    names: &[],
};
const DAY_OF_MONTH: Bounds = Bounds {
    field: "day of month",
    min: 1,
    max: 31,
    names: &[],
};
const MONTH: Bounds = Bounds {
    field: "month",
    min: 1,
    max: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAY: Bounds = Bounds {
    field: "day of week",
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// Five-field equivalents of the descriptors that robfig/cron knows, for the error that refuses them.
const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Parses the five fields, without a `TZ=` prefix.
pub fn parse(text: &str) -> Result<Fields, ScheduleError> {
    if text.trim().is_empty() {
        return Err(ScheduleError(
            "empty spec string: expected five fields, such as 0 8 * * MON-FRI".into(),
        ));
    }
    if text.starts_with('@') {
        let instead = DESCRIPTORS
            .iter()
            .find(|(name, _)| *name == text)
            .map_or("five fields", |(_, fields)| fields);
        return Err(ScheduleError(format!(
            "parser does not accept descriptors: {text}: write {instead} instead"
        )));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day_of_month, month, weekday] = words[..] else {
        let why = if words.len() == 6 {
            ": there is no field for seconds or years"
        } else {
            ""
        };
        return Err(ScheduleError(format!(
            "expected exactly 5 fields, found {}: {text}{why}: write minute, hour, day of month, month and day of week",
            words.len(),
        )));
    };
    Ok(Fields {
        minute: field(minute, &MINUTE)?,
        hour: field(hour, &HOUR)?,
        day_of_month: field(day_of_month, &DAY_OF_MONTH)?,
        month: field(month, &MONTH)?,
        weekday: field(weekday, &WEEKDAY)?,
    })
}

fn field(text: &str, bounds: &Bounds) -> Result<Field, ScheduleError> {
    let mut whole = Field {
        bits: 0,
        star: false,
    };
    // Empty parts (`1,,2`) are skipped, as robfig does.
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let part = range(part, bounds)?;
        whole.bits |= part.bits;
        whole.star |= part.star;
    }
    if whole.bits == 0 {
        return Err(refused(bounds, text, "no value in it"));
    }
    Ok(whole)
}

/// `*`, `n`, `n-m`, each perhaps followed by `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<Field, ScheduleError> {
    let (range, step) = match text.split_once('/') {
        None => (text, None),
        Some((_, step)) if step.contains('/') => {
            return Err(refused(bounds, text, "too many slashes"));
        }
        Some((range, step)) => (range, Some(number(step, &[], bounds, text)?)),
    };
    let mut ends = range.split('-');
    let low = ends.next().unwrap_or_default();
    let high = ends.next();
    let star = low == "*" || low == "?";
    let (first, last) = if star {
        // What follows the star and a hyphen is not looked at (robfig/cron: getRange).
        (bounds.min, bounds.max)
    } else {
        let first = number(low, bounds.names, bounds, text)?;
        let last = match high {
            Some(high) => number(high, bounds.names, bounds, text)?,
            // `n/step` runs on to the end, `n` alone doesn't.
            None if step.is_some() => bounds.max,
            None => first,
        };
        if ends.next().is_some() {
            return Err(refused(bounds, text, "too many hyphens"));
        }
        (first, last)
    };
    if first < bounds.min {
        return Err(refused(
            bounds,
            text,
            &format!(
                "beginning of range ({first}) below minimum ({})",
                bounds.min
            ),
        ));
    }
    if last > bounds.max {
        return Err(refused(
            bounds,
            text,
            &format!("end of range ({last}) above maximum ({})", bounds.max),
        ));
    }
    if first > last {
        return Err(refused(
            bounds,
            text,
            &format!("beginning of range ({first}) beyond end of range ({last})"),
        ));
    }
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(refused(
            bounds,
            text,
            "step of range should be a positive number",
        ));
    }
    let bits = (first..=last)
        .step_by(step as usize)
        .fold(0, |bits, n| bits | 1 << n);
    Ok(Field {
        bits,
        star: star && step == 1,
    })
}

/// A number, or one of `names`, which count from `bounds.min`.
fn number(text: &str, names: &[&str], bounds: &Bounds, part: &str) -> Result<u32, ScheduleError> {
    if let Some(position) = (0..)
        .zip(names)
        .find_map(|(at, name)| name.eq_ignore_ascii_case(text).then_some(at))
    {
        return Ok(bounds.min + position);
    }
    text.parse()
        .map_err(|_| refused(bounds, part, &format!("failed to parse int from {text:?}")))
}

fn refused(bounds: &Bounds, part: &str, why: &str) -> ScheduleError {
    let upper = part.to_ascii_uppercase();
    let instead = if bounds.field == WEEKDAY.field && part.contains('7') {
        "; Sunday is 0 or SUN".to_owned()
    } else if ["L", "W", "LW"].contains(&upper.as_str())
        || part.contains('#')
        || has_quartz_suffix(&upper)
    {
        "; L, W and # are not part of this format: list the days".to_owned()
    } else if let [first, .., last] = bounds.names {
        format!(
            "; expected {}-{} or {}-{}",
            bounds.min,
            bounds.max,
            first.to_uppercase(),
            last.to_uppercase()
        )
    } else {
        format!("; expected {}-{}", bounds.min, bounds.max)
    };
    ScheduleError(format!(
        "{why}: {part:?} in the {} field{instead}",
        bounds.field
    ))
}

/// `15W`, `5L`.
fn has_quartz_suffix(upper: &str) -> bool {
    upper
        .strip_suffix(['L', 'W'])
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(field: Field) -> Vec<u32> {
        field.numbers().collect()
    }

    #[test]
    fn a_field_is_the_union_of_its_parts() {
        let table: &[(&str, &Bounds, &[u32])] = &[
            ("5", &MINUTE, &[5]),
            ("5/15", &MINUTE, &[5, 20, 35, 50]),
            ("*/20", &MINUTE, &[0, 20, 40]),
            ("10-20/5", &MINUTE, &[10, 15, 20]),
            ("1,1,3-4,", &MINUTE, &[1, 3, 4]),
            ("07", &MINUTE, &[7]),
            ("+7", &MINUTE, &[7]),
            ("22-23", &HOUR, &[22, 23]),
            ("*/10", &DAY_OF_MONTH, &[1, 11, 21, 31]),
            ("jan,MAR-May", &MONTH, &[1, 3, 4, 5]),
            ("Sun,5-SAT", &WEEKDAY, &[0, 5, 6]),
            ("2/2", &WEEKDAY, &[2, 4, 6]),
            ("?", &WEEKDAY, &[0, 1, 2, 3, 4, 5, 6]),
            ("*-3", &WEEKDAY, &[0, 1, 2, 3, 4, 5, 6]),
        ];
        for (text, bounds, expected) in table {
            assert_eq!(
                numbers(field(text, bounds).unwrap()),
                *expected,
                "{text} in {}",
                bounds.field
            );
        }
    }

    #[test]
    fn a_day_matches_either_field_only_when_both_are_restricted() {
        let table = [
            ("0 0 13 * 5", true),
            ("0 0 13 * *", false),
            ("0 0 * * 5", false),
            ("0 0 ? * 5", false),
            ("0 0 */1 * 5", false),
            ("0 0 */2 * 5", true),
            ("0 0 *,5 * 5", false),
            ("0 0 1-31 * 5", true),
        ];
        for (text, either) in table {
            assert_eq!(parse(text).unwrap().day_is_either(), either, "{text}");
        }
    }

    #[test]
    fn what_robfig_refuses_is_refused_with_a_suggestion() {
        let table = [
            (
                "",
                "empty spec string: expected five fields, such as 0 8 * * MON-FRI",
            ),
            (
                "@hourly",
                "parser does not accept descriptors: @hourly: write 0 * * * * instead",
            ),
            (
                "@every 1h",
                "parser does not accept descriptors: @every 1h: write five fields instead",
            ),
            (
                "0 0 8 * * *",
                "expected exactly 5 fields, found 6: 0 0 8 * * *: there is no field for seconds or years: write minute, hour, \
                 day of month, month and day of week",
            ),
            (
                "0 8 * *",
                "expected exactly 5 fields, found 4: 0 8 * *: write minute, hour, day of month, month and day of week",
            ),
            (
                "0 8 * * 7",
                r#"end of range (7) above maximum (6): "7" in the day of week field; Sunday is 0 or SUN"#,
            ),
            (
                "0 8 * * 5-7",
                r#"end of range (7) above maximum (6): "5-7" in the day of week field; Sunday is 0 or SUN"#,
            ),
            (
                "0 8 L * *",
                r#"failed to parse int from "L": "L" in the day of month field; L, W and # are not part of this format: list the days"#,
            ),
            (
                "0 8 15W * *",
                r#"failed to parse int from "15W": "15W" in the day of month field; L, W and # are not part of this format: list the days"#,
            ),
            (
                "0 8 * * 1#2",
                r#"failed to parse int from "1#2": "1#2" in the day of week field; L, W and # are not part of this format: list the days"#,
            ),
            (
                "60 8 * * *",
                r#"end of range (60) above maximum (59): "60" in the minute field; expected 0-59"#,
            ),
            (
                "0 24 * * *",
                r#"end of range (24) above maximum (23): "24" in the hour field; expected 0-23"#,
            ),
            (
                "0 8 0 * *",
                r#"beginning of range (0) below minimum (1): "0" in the day of month field; expected 1-31"#,
            ),
            (
                "0 8 * 13 *",
                r#"end of range (13) above maximum (12): "13" in the month field; expected 1-12 or JAN-DEC"#,
            ),
            (
                "0 8 * * fri-mon",
                r#"beginning of range (5) beyond end of range (1): "fri-mon" in the day of week field; expected 0-6 or SUN-SAT"#,
            ),
            (
                "0 8 * * monday",
                r#"failed to parse int from "monday": "monday" in the day of week field; expected 0-6 or SUN-SAT"#,
            ),
            (
                "1-2-3 8 * * *",
                r#"too many hyphens: "1-2-3" in the minute field; expected 0-59"#,
            ),
            (
                "1/2/3 8 * * *",
                r#"too many slashes: "1/2/3" in the minute field; expected 0-59"#,
            ),
            (
                "*/0 8 * * *",
                r#"step of range should be a positive number: "*/0" in the minute field; expected 0-59"#,
            ),
            (
                "-5 8 * * *",
                r#"failed to parse int from "": "-5" in the minute field; expected 0-59"#,
            ),
            (
                ", 8 * * *",
                r#"no value in it: "," in the minute field; expected 0-59"#,
            ),
        ];
        for (text, message) in table {
            assert_eq!(parse(text).unwrap_err().0, message, "{text:?}");
        }
    }
}
