//! Parameter types that serde has no word for.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// A duration as KEDA takes it: Go's form (`300ms`, `1.5h`, `2h45m`) or a whole number of milliseconds. Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

const DURATION: &str = "expected a duration such as 30s or 1m30s, or a number of milliseconds";

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_go_duration(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(DURATION))
    }
}

impl std::str::FromStr for GoDuration {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_go_duration(text).map(Self).ok_or(DURATION)
    }
}

fn parse_go_duration(text: &str) -> Option<Duration> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let millis: i64 = unsigned.parse().ok()?;
        return Some(Duration::from_millis(u64::try_from(millis).ok()?));
    }
    let mut rest = unsigned;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        nanos = nanos.checked_add(component(number, unit_nanos(unit)?)?)?;
        rest = tail;
    }
    // Go's durations end at 2^63 ns, some 292 years.
    let nanos = u64::try_from(nanos)
        .ok()
        .filter(|nanos| i64::try_from(*nanos).is_ok())?;
    (!unsigned.is_empty()).then(|| Duration::from_nanos(nanos))
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // Both Unicode letters for micro are in use.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `1.5` of a unit, in nanoseconds, rounded down.
fn component(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().ok()?.into()
    };
    // Digits beyond the eighteenth are less than a nanosecond of any unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    whole
        .checked_mul(unit)?
        .checked_add(part * unit / 10u128.pow(fraction.len() as u32))
}

/// `key=value&key=value`, percent-encoded; a key may come more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueryString(pub Vec<(String, String)>);

impl<'de> Deserialize<'de> for QueryString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Go's ParseQuery refuses these two; the form parser below takes anything.
        let broken_escape = text.split('%').skip(1).any(|tail| {
            let mut digits = tail.bytes().take(2).filter(u8::is_ascii_hexdigit);
            digits.next().and(digits.next()).is_none()
        });
        if text.contains(';') || broken_escape {
            return Err(D::Error::custom(
                "expected a query string such as audience=orders&tenant=eu",
            ));
        }
        Ok(Self(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos_or_milliseconds() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("1500", Some(1_500_000_000)),
            ("+5", Some(5_000_000)),
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("2µs", Some(2_000)),
            ("0s", Some(0)),
            ("", None),
            ("+", None),
            ("-1", None),
            ("-5s", None),
            ("5 s", None),
            ("5d", None),
            ("1.2.3s", None),
            ("s", None),
            (".s", None),
            ("1s5", None),
            ("9999999h", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(
                parse_go_duration(text),
                nanos.map(Duration::from_nanos),
                "{text:?}"
            );
        }
    }
}
