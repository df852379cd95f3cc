//! How many times the normal demand an event brings: `3.5`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A positive decimal number, exact to a millionth: 1.1 times 10 replicas are 11, which they would not be in binary floating
/// point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Multiplier(u64);

/// A text that is no multiplier.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no multiplier: expected a number above 0 and up to 1000000, such as 3.5")]
pub struct ParseMultiplierError(String);

const MILLIONTHS: u64 = 1_000_000;
const DIGITS: usize = 6;
/// Nobody has a million times the normal demand; a number above it is a mistake.
const LARGEST: u64 = 1_000_000;

impl Multiplier {
    /// What an event without a multiplier has: the normal demand.
    pub const ONE: Self = Self(MILLIONTHS);

    /// So many times `replicas`, rounded up.
    pub fn of(self, replicas: i32) -> i32 {
        let rounded_up = self.of_exact(i128::from(replicas.max(0)));
        i32::try_from(rounded_up).unwrap_or(i32::MAX)
    }

    /// So many times `number`, which is not negative, rounded up.
    pub(crate) fn of_exact(self, number: i128) -> i128 {
        let product = number.saturating_mul(i128::from(self.0));
        product.saturating_add(i128::from(MILLIONTHS) - 1) / i128::from(MILLIONTHS)
    }
}

impl Default for Multiplier {
    fn default() -> Self {
        Self::ONE
    }
}

impl FromStr for Multiplier {
    type Err = ParseMultiplierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseMultiplierError(text.to_owned());
        let trimmed = text.trim();
        let (whole, fraction) = trimmed.split_once('.').unwrap_or((trimmed, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(refused());
        }
        let significant = fraction.trim_end_matches('0');
        if significant.len() > DIGITS {
            return Err(refused());
        }
        let whole: u64 = whole.parse().map_err(|_| refused())?;
        let fraction: u64 = format!("{significant:0<DIGITS$}")
            .parse()
            .map_err(|_| refused())?;
        if whole > LARGEST || (whole == 0 && fraction == 0) {
            return Err(refused());
        }
        Ok(Self(whole * MILLIONTHS + fraction))
    }
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / MILLIONTHS, self.0 % MILLIONTHS);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{fraction:0>DIGITS$}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl TryFrom<String> for Multiplier {
    type Error = ParseMultiplierError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Multiplier> for String {
    fn from(multiplier: Multiplier) -> Self {
        multiplier.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn products_are_exact_and_rounded_up() {
        for (text, replicas, product) in [
            ("1.1", 10, 11),
            ("3.5", 20, 70),
            ("3.5", 1, 4),
            ("0.5", 3, 2),
            ("1", 7, 7),
            ("0.000001", 1, 1),
            ("1000000", 1_000_000, i32::MAX),
            ("2", -5, 0),
        ] {
            let multiplier: Multiplier = text.parse().unwrap();
            assert_eq!(multiplier.of(replicas), product, "{text} x {replicas}");
        }
    }

    #[test]
    fn what_is_no_positive_number_is_refused() {
        for text in [
            "",
            "0",
            "0.0",
            "-1",
            "1e3",
            "x",
            "1.",
            ".5",
            "1,5",
            "NaN",
            "inf",
            "1000001",
            "0.0000001",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Multiplier>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_multiplier_is_written_as_it_is_read(millionths in 1..=LARGEST * MILLIONTHS) {
            let multiplier = Multiplier(millionths);
            prop_assert_eq!(multiplier.to_string().parse(), Ok(multiplier));
        }
    }
}
