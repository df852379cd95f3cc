//! The one number that a query is to give. What is none is an error, never 0.

use crate::scaler::ScalerError;

/// What stands in a column, as a text: what KEDA makes of a text, an integer, a decimal.
///
/// # Errors
/// For what is no finite number. The text itself is not repeated: it is somebody's data.
pub fn of_text(text: &[u8]) -> Result<f64, ScalerError> {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number
        .ok_or_else(|| malformed("the query gives a text that is no number"))
        .and_then(finite)
}

/// # Errors
/// For NaN and the infinities, which no replicas follow from.
pub fn finite(number: f64) -> Result<f64, ScalerError> {
    match number.is_finite() {
        true => Ok(number),
        false => Err(malformed(&format!("the query gives {number}"))),
    }
}

/// NULL, as of a sum of no rows.
pub fn null() -> ScalerError {
    malformed("the query gives NULL: expected a number, as of coalesce(sum(x), 0)")
}

/// # Errors
/// For a row of any other length than one: as in KEDA, what else stands in it has no meaning.
pub fn one_column(columns: usize) -> Result<(), ScalerError> {
    match columns {
        0 => Err(malformed(
            "the query returns no columns: expected a select of one number",
        )),
        1 => Ok(()),
        more => Err(malformed(&format!(
            "the query returns {more} columns: expected one, with a number"
        ))),
    }
}

pub fn no_row() -> ScalerError {
    malformed("the query returns no row: expected one with a number")
}

fn malformed(text: &str) -> ScalerError {
    ScalerError::Malformed(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_or_errors() {
        for (text, number) in [
            ("5", Some(5.0)),
            ("-5", Some(-5.0)),
            ("007", Some(7.0)),
            ("+2.50", Some(2.5)),
            (".5", Some(0.5)),
            ("1e3", Some(1000.0)),
            (
                "123456789012345678901234567890",
                Some(1.234_567_890_123_456_8e29),
            ),
            ("", None),
            (" 5", None),
            ("5   ", None),
            ("1,000", None),
            ("five", None),
            ("true", None),
            ("NaN", None),
            ("Infinity", None),
            ("1e999", None),
            ("2027-01-02", None),
        ] {
            assert_eq!(of_text(text.as_bytes()).ok(), number, "{text:?}");
        }
        assert!(of_text(b"\x05").is_err());
        let error = of_text(b"hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
