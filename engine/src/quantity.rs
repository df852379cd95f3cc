//! Kubernetes quantities: `100m`, `2Gi`, `1e3`.
//!
//! The grammar, the rounding and the canonical form are those of Kubernetes' `resource.Quantity`, with one difference:
//! there a quantity is kept to a billionth and rounded to a thousandth where it is used; here it is rounded to a
//! thousandth at once, since neither the HPA nor the metrics API uses more.

use std::fmt;
use std::str::FromStr;

/// A number in thousandths, as the external metrics API carries it. Displays in Kubernetes' canonical decimal form,
/// whole digits with the largest suffix that loses nothing: `5`, `2250m`, `1k`.
///
/// ```
/// use sakidori_engine::Quantity;
///
/// let size: Quantity = "1.5Ki".parse()?;
/// assert_eq!(size, Quantity::from_integer(1536));
/// assert_eq!(Quantity::of_metric(2.25).to_string(), "2250m");
/// # Ok::<(), sakidori_engine::ParseQuantityError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    milli: i128,
}

/// A text that is no quantity.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no quantity: expected a number such as 5, 2.5, 100m or 2Gi")]
pub struct ParseQuantityError(pub String);

/// Decimal suffixes with their powers of ten, from the smallest.
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// Binary suffixes with their powers of two.
const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

/// Larger numbers are cut to this many thousandths, far above the 2^63 that Kubernetes allows for.
const LARGEST: i128 = 1_000_000_000_000_000_000_000_000_000_000_000_000;

impl Quantity {
    /// `value` units.
    pub const fn from_integer(value: i64) -> Self {
        Self {
            milli: value as i128 * 1000,
        }
    }

    /// `milli` thousandths.
    pub const fn from_milli(milli: i128) -> Self {
        Self { milli }
    }

    /// In thousandths.
    pub const fn milli(self) -> i128 {
        self.milli
    }

    /// The value of a plain trigger's metric: rounded to thousandths, with anything that is no number and anything
    /// below zero taken for zero (KEDA: only the result of a formula may be negative).
    pub fn of_metric(value: f64) -> Self {
        Self::of_formula(value).max(Self::default())
    }

    /// The value of a formula: rounded to thousandths, sign kept. Anything that is no number is taken for zero.
    pub fn of_formula(value: f64) -> Self {
        // Halves go to the even neighbour, as when KEDA prints the number with three digits; multiplying first would
        // round twice, so the digits are taken from the exact decimal expansion.
        if !value.is_finite() {
            return Self::default();
        }
        format!("{value:.3}").parse().unwrap_or_default()
    }

    /// The nearest floating-point number.
    pub fn to_f64(self) -> f64 {
        // Both steps round at most once for every number below 2^53 thousandths.
        self.milli as f64 / 1000.0
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    /// Reads `[+-]digits[.digits][suffix]`, where the suffix is one of `n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei`, or
    /// `e` or `E` and a decimal exponent. What is smaller than a thousandth is rounded away from zero. (Kubernetes also
    /// takes a text without any digit for zero; that is a slip of the pen, and refused here.)
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseQuantityError(text.to_owned());
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let split = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(wrong());
        }
        let (power_of_ten, power_of_two) = scale(suffix).ok_or_else(wrong)?;

        let digits = whole
            .bytes()
            .chain(fraction.bytes())
            .map(|digit| digit - b'0');
        let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let milli = magnitude(digits, i64::from(power_of_ten) - places + 3, power_of_two);
        Ok(Self {
            milli: if negative { -milli } else { milli },
        })
    }
}

/// The powers of ten and of two that a suffix stands for.
fn scale(suffix: &str) -> Option<(i32, u32)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((*power, 0));
    }
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((0, *power));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    Some((exponent.parse().ok()?, 0))
}

/// `digits * 10^power_of_ten * 2^power_of_two`, rounded up, at most `LARGEST`.
fn magnitude(digits: impl Iterator<Item = u8>, power_of_ten: i64, power_of_two: u32) -> i128 {
    let mut digits: Vec<u8> = digits.skip_while(|digit| *digit == 0).collect();
    if digits.is_empty() {
        return 0;
    }
    // Multiply by 2^power_of_two digit by digit, so that a long fraction is exact: 2^20 at a time keeps the carry small.
    let mut left = power_of_two;
    while left > 0 {
        let step = left.min(20);
        let mut carry: u64 = 0;
        for digit in digits.iter_mut().rev() {
            let product = (u64::from(*digit) << step) + carry;
            *digit = (product % 10) as u8;
            carry = product / 10;
        }
        while carry > 0 {
            digits.insert(0, (carry % 10) as u8);
            carry /= 10;
        }
        left -= step;
    }
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let whole = length.saturating_add(power_of_ten);
    if whole > 36 {
        return LARGEST;
    }
    let kept = usize::try_from(whole.max(0)).unwrap_or(0);
    let mut value: i128 = 0;
    for place in 0..kept {
        value = value * 10 + i128::from(digits.get(place).copied().unwrap_or(0));
    }
    let inexact = digits.iter().skip(kept).any(|digit| *digit != 0);
    (value + i128::from(inexact)).min(LARGEST)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = self.milli;
        let mut suffix = "m";
        if number == 0 {
            return f.write_str("0");
        }
        for (name, _) in DECIMAL.iter().skip(3) {
            if number % 1000 != 0 {
                break;
            }
            number /= 1000;
            suffix = name;
        }
        write!(f, "{number}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn milli(text: &str) -> i128 {
        text.parse::<Quantity>().unwrap().milli()
    }

    /// Checked against `resource.ParseQuantity(..).String()` and `MilliValue()`.
    #[test]
    fn texts_mean_what_they_mean_in_kubernetes() {
        let cases = [
            ("0", 0, "0"),
            ("-0", 0, "0"),
            ("5", 5_000, "5"),
            ("+5", 5_000, "5"),
            ("007", 7_000, "7"),
            ("2.250", 2_250, "2250m"),
            ("2.", 2_000, "2"),
            (".5", 500, "500m"),
            ("-.5", -500, "-500m"),
            ("100m", 100, "100m"),
            ("2250m", 2_250, "2250m"),
            ("5000m", 5_000, "5"),
            ("1000", 1_000_000, "1k"),
            ("1500", 1_500_000, "1500"),
            ("100000", 100_000_000, "100k"),
            ("1k", 1_000_000, "1k"),
            ("3M", 3_000_000_000, "3M"),
            ("1e3", 1_000_000, "1k"),
            ("1E3", 1_000_000, "1k"),
            ("12e-3", 12, "12m"),
            ("1e+2", 100_000, "100"),
            ("1E", 1_000_000_000_000_000_000_000, "1E"),
            ("1Ki", 1_024_000, "1024"),
            ("1.5Ki", 1_536_000, "1536"),
            ("0.1Ki", 102_400, "102400m"),
            ("2Gi", 2_147_483_648_000, "2147483648"),
            ("1Ei", 1_152_921_504_606_846_976_000, "1152921504606846976"),
            // Below a thousandth: away from zero.
            ("0.1m", 1, "1m"),
            ("-0.1m", -1, "-1m"),
            ("1n", 1, "1m"),
            ("1000u", 1, "1m"),
            ("1001u", 2, "2m"),
            ("0.0001", 1, "1m"),
            (
                "1.0000000000000000000000000000000000000000001",
                1_001,
                "1001m",
            ),
            ("1e-400", 1, "1m"),
            ("0e400", 0, "0"),
        ];
        for (text, expected, shown) in cases {
            assert_eq!(milli(text), expected, "{text}");
            assert_eq!(
                text.parse::<Quantity>().unwrap().to_string(),
                shown,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_by_its_text() {
        for text in [
            "", " ", "m", "-", ".", "1.2.3", "1 ", " 1", "1K", "1ki", "1mi", "1e", "1e3.5", "1ee3",
            "0x10", "1,5", "--1", "NaN", "1e+-3", "５",
        ] {
            assert_eq!(
                text.parse::<Quantity>(),
                Err(ParseQuantityError(text.into())),
                "{text:?}"
            );
        }
        let error = "12 apples".parse::<Quantity>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""12 apples" is no quantity: expected a number such as 5, 2.5, 100m or 2Gi"#
        );
    }

    #[test]
    fn huge_numbers_are_cut_and_never_overflow() {
        for text in [
            "1e400",
            "1e2147483647",
            "9999999999999999999999999999999999999999999Ei",
        ] {
            assert_eq!(milli(text), LARGEST, "{text}");
        }
    }

    #[test]
    fn metric_values_are_rounded_as_keda_prints_them() {
        let cases = [
            (0.0, 0),
            (2.25, 2_250),
            (0.0004, 0),
            (0.0005, 1),
            (0.0625, 62),
            (1.0005, 1_000),
            (1e15, 1_000_000_000_000_000_000),
        ];
        for (value, expected) in cases {
            assert_eq!(Quantity::of_metric(value).milli(), expected, "{value}");
        }
        for value in [-4.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Quantity::of_metric(value).milli(), 0, "{value}");
        }
        assert_eq!(Quantity::of_formula(-4.0).to_string(), "-4");
        assert_eq!(Quantity::of_formula(f64::NAN).milli(), 0);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(milli in -LARGEST..LARGEST) {
            let quantity = Quantity::from_milli(milli);
            prop_assert_eq!(quantity.to_string().parse(), Ok(quantity));
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9.]{0,50}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,12}") {
            let _ = text.parse::<Quantity>();
        }

        #[test]
        fn floating_point_numbers_survive_to_a_thousandth(value in -1e12..1e12_f64) {
            prop_assert!((Quantity::of_formula(value).to_f64() - value).abs() <= 0.001);
        }
    }
}
