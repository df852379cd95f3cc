//! What an answer of Prometheus' query API says, and which number follows from it.

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::points::{Counted, Point, Sample};
use crate::limits::{NotJson, from_json};
use crate::scaler::ScalerError;

/// How much is shown of a server's words, and of a query.
const LONGEST_WORDS: usize = 300;

/// What a query found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// No element.
    Nothing,
    /// An element without a value.
    NoValue,
    /// More than one element.
    Several(usize),
    /// May be infinite or NaN.
    Number(f64),
}

impl Found {
    /// No number, and no word for one either.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing | Self::NoValue)
    }
}

/// What all answers have.
#[derive(Deserialize)]
struct Envelope {
    status: Option<String>,
    error: Option<String>,
    data: Option<Shape>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    result_type: Option<String>,
}

/// Of an answer, only its result.
#[derive(Deserialize)]
struct Answer<T> {
    data: Holding<T>,
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Holding<T> {
    // Else an `Option` that isn't there would be read as null.
    #[serde(deserialize_with = "Deserialize::deserialize")]
    result: T,
}

#[derive(Deserialize)]
struct Element {
    value: Option<Sample>,
    /// Points in time: the query asks for a range.
    values: Option<IgnoredAny>,
    histogram: Option<IgnoredAny>,
}

/// Reads an answer that came with a status of success.
///
/// # Errors
/// What is wrong with it, without what it holds but for Prometheus' own words.
pub fn parse(body: &[u8]) -> Result<Found, String> {
    let envelope: Envelope = read(body)?;
    if envelope
        .status
        .as_deref()
        .is_some_and(|status| status != "success")
    {
        return Err(match words(&envelope) {
            Some(words) => format!("the query failed: {words}"),
            None => "the answer's status is not \"success\"".to_owned(),
        });
    }
    let shape = envelope.data.ok_or(NO_RESULT)?;
    match shape.result_type.as_deref() {
        None | Some("vector") => vector(body),
        Some("scalar") => {
            let (_, value): (IgnoredAny, String) = read::<Answer<_>>(body)?.data.result;
            number(&value)
        }
        Some("matrix") => Err(
            "the query gives a range vector: expected one number, as of rate(...) or sum_over_time(...)"
                .to_owned(),
        ),
        Some("string") => Err("the query gives a text: expected one number".to_owned()),
        Some(_) => Err("the answer's resultType is neither vector nor scalar".to_owned()),
    }
}

fn vector(body: &[u8]) -> Result<Found, String> {
    // An answer without a `result` is no empty one, but `null` is in Go.
    let elements: Option<Counted<Element>> = read::<Answer<_>>(body)?.data.result;
    let element = match elements {
        None | Some(Counted { first: None, .. }) => return Ok(Found::Nothing),
        Some(Counted {
            first: Some(element),
            count: 1,
        }) => element,
        Some(Counted { count, .. }) => return Ok(Found::Several(count)),
    };
    if element.values.is_some() || element.histogram.is_some() {
        return Err(
            "the query gives a range vector or a histogram: expected one number".to_owned(),
        );
    }
    let sample = element.value.unwrap_or_default();
    match sample.value {
        Some(Point::Null) => Ok(Found::NoValue),
        Some(Point::Text(text)) => number(&text),
        Some(Point::Other) => Err("the value is no number in quotes".to_owned()),
        None if sample.time => Err("the query didn't return enough values".to_owned()),
        None => Ok(Found::NoValue),
    }
}

const NO_RESULT: &str = "the answer has no data.result as Prometheus' query API has";

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    from_json(body).map_err(|error| match error {
        NotJson::Other(error) if error.is_data() => NO_RESULT.to_owned(),
        NotJson::Other(_) => "the answer is no JSON".to_owned(),
        deep @ NotJson::Deep => deep.to_string(),
    })
}

/// A number as Prometheus writes it.
fn number(text: &str) -> Result<Found, String> {
    let value = text.parse::<f64>().ok();
    // What is too large for a number isn't infinity, as Go has it, too.
    let too_large =
        |value: &f64| value.is_infinite() && text.contains(|letter: char| letter.is_ascii_digit());
    value
        .filter(|value| !too_large(value))
        .map(Found::Number)
        .ok_or_else(|| "the value is no number".to_owned())
}

/// The number that a trigger takes from what was found.
///
/// # Errors
/// For several elements, and for what is no number unless that is to count as 0. In KEDA's words, on which searches match.
pub fn settle(found: &Found, ignore_null_values: bool, query: &str) -> Result<f64, ScalerError> {
    let lost = |what: &str| {
        ScalerError::NotFound(format!(
            "prometheus metrics 'prometheus' target may be lost, {what}: query {}",
            shown(query)
        ))
    };
    match found {
        Found::Several(count) => Err(ScalerError::Malformed(format!(
            "prometheus query {} returned multiple elements: {count}, expected one",
            shown(query)
        ))),
        Found::Number(value) if value.is_finite() => Ok(*value),
        _ if ignore_null_values => Ok(0.0),
        Found::Nothing => Err(lost("the result is empty")),
        Found::NoValue => Err(lost("the value list is empty")),
        Found::Number(value) => {
            let spelled = match value {
                value if value.is_nan() => "NaN",
                value if *value > 0.0 => "+Inf",
                _ => "-Inf",
            };
            Err(ScalerError::Malformed(format!(
                "prometheus query returns {spelled}: query {}",
                shown(query)
            )))
        }
    }
}

/// The text for an answer whose status is no success: KEDA's, and Prometheus' own words where it has some. What a refused login
/// says is left out: it may repeat the login.
pub fn refusal(status: StatusCode, body: &[u8]) -> String {
    let text = format!(
        "prometheus query api returned error. status: {}",
        status.as_u16()
    );
    if matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    ) {
        return text;
    }
    let envelope = from_json::<Envelope>(body).ok();
    match envelope.as_ref().and_then(words) {
        Some(words) => format!("{text}: {words}"),
        None => text,
    }
}

fn words(envelope: &Envelope) -> Option<String> {
    let failed = envelope.status.as_deref() == Some("error");
    let error = envelope.error.as_deref().filter(|_| failed)?;
    Some(shown(error))
}

/// A text on one line, and not too long.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_WORDS) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a trigger that ignores nulls makes of an answer, and what one that doesn't.
    fn both(body: &str) -> [Result<f64, String>; 2] {
        [true, false].map(|ignore| {
            let found = parse(body.as_bytes())?;
            settle(&found, ignore, "up").map_err(|error| error.to_string())
        })
    }

    #[test]
    fn numbers_are_read() {
        let sample = |value: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"a":"b"}},"value":[1435781430.781,{value}]}}]}}}}"#
            )
        };
        for (text, value) in [
            ("2", 2.0),
            ("-1.5", -1.5),
            ("1e+06", 1e6),
            ("1.7976931348623157e+308", f64::MAX),
        ] {
            assert_eq!(both(&sample(&format!("{text:?}"))), [Ok(value), Ok(value)]);
        }
        let scalar =
            r#"{"status":"success","data":{"resultType":"scalar","result":[1435781430.781,"7"]}}"#;
        assert_eq!(both(scalar), [Ok(7.0), Ok(7.0)]);
        // Without status and type, as some that speak this API.
        let bare = r#"{"data":{"result":[{"value": ["1", "2"]}]}}"#;
        assert_eq!(both(bare), [Ok(2.0), Ok(2.0)]);
    }

    #[test]
    fn null_is_zero_or_an_error() {
        for (body, problem) in [
            (r#"{"data":{"result":[]}}"#, "the result is empty"),
            (r#"{"data":{"result":null}}"#, "the result is empty"),
            (
                r#"{"data":{"result":[{"value":[]}]}}"#,
                "the value list is empty",
            ),
            (
                r#"{"data":{"result":[{"metric":{}}]}}"#,
                "the value list is empty",
            ),
            (
                r#"{"data":{"result":[{"value":[1,null]}]}}"#,
                "the value list is empty",
            ),
            (
                r#"{"data":{"result":[{"value":[1,"+Inf"]}]}}"#,
                "returns +Inf",
            ),
            (
                r#"{"data":{"result":[{"value":[1,"-Inf"]}]}}"#,
                "returns -Inf",
            ),
            (
                r#"{"data":{"result":[{"value":[1,"NaN"]}]}}"#,
                "returns NaN",
            ),
            (
                r#"{"data":{"resultType":"scalar","result":[1,"NaN"]}}"#,
                "returns NaN",
            ),
        ] {
            let [ignored, told] = both(body);
            assert_eq!(ignored, Ok(0.0), "{body}");
            let told = told.unwrap_err();
            assert!(told.contains(problem), "{body}: {told}");
        }
    }

    #[test]
    fn everything_else_is_an_error_and_never_zero() {
        let no_result = "no data.result";
        for (body, problem) in [
            ("", "no JSON"),
            ("<html>hunter2", "no JSON"),
            (r#"{"data":{"result":[{"value":[1,"2"]}"#, "no JSON"),
            ("{}", no_result),
            ("[]", no_result),
            ("null", no_result),
            (r#"{"status":"success"}"#, no_result),
            (r#"{"data":{}}"#, no_result),
            (r#"{"data":{"result":"hunter2"}}"#, no_result),
            (r#"{"data":{"result":["hunter2"]}}"#, no_result),
            (r#"{"data":{"result":[{"value":"hunter2"}]}}"#, no_result),
            (r#"{"data":{"result":[{"value":[1]}]}}"#, "enough values"),
            (
                r#"{"data":{"result":[{"value":[1,2]}]}}"#,
                "no number in quotes",
            ),
            (
                r#"{"data":{"result":[{"value":[1,"hunter2"]}]}}"#,
                "is no number",
            ),
            (
                r#"{"data":{"result":[{"value":[1,"1e999"]}]}}"#,
                "is no number",
            ),
            (r#"{"data":{"result":[{"value":[1,""]}]}}"#, "is no number"),
            (
                r#"{"data":{"result":[{},{}]}}"#,
                "prometheus query up returned multiple elements",
            ),
            (r#"{"data":{"resultType":"scalar","result":[]}}"#, no_result),
            (
                r#"{"data":{"resultType":"scalar","result":[1]}}"#,
                no_result,
            ),
            (
                r#"{"data":{"resultType":"string","result":[1,"hunter2"]}}"#,
                "gives a text",
            ),
            (
                r#"{"data":{"resultType":"matrix","result":[]}}"#,
                "range vector",
            ),
            (
                r#"{"data":{"result":[{"values":[[1,"2"]]}]}}"#,
                "range vector",
            ),
            (r#"{"data":{"result":[{"histogram":[1,{}]}]}}"#, "histogram"),
            (
                r#"{"data":{"resultType":"streams","result":[]}}"#,
                "resultType",
            ),
            (
                r#"{"status":"error","data":{"result":[]}}"#,
                "not \"success\"",
            ),
            (
                r#"{"status":"error","error":"too\n slow","data":{"result":[]}}"#,
                "failed: too slow",
            ),
        ] {
            for told in both(body) {
                let told = told.unwrap_err();
                assert!(told.contains(problem), "{body}: {told}");
                assert!(!told.contains("hunter2"), "{body}: {told}");
            }
        }
    }

    #[test]
    fn refusals_are_in_the_servers_words_but_for_logins() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error"}"#;
        let told = |status: u16, body: &[u8]| refusal(StatusCode::from_u16(status).unwrap(), body);
        let begins = "prometheus query api returned error. status:";
        for (status, body, expected) in [
            (
                400,
                &body[..],
                "400: invalid parameter \"query\": 1:4: parse error",
            ),
            (401, &body[..], "401"),
            (403, &body[..], "403"),
            (503, b"<html>hunter2", "503"),
            (500, br#"{"error":"hunter2"}"#, "500"),
        ] {
            assert_eq!(told(status, body), format!("{begins} {expected}"));
        }
        let long = format!(r#"{{"status":"error","error":"{}"}}"#, "ä".repeat(1000));
        assert!(told(422, long.as_bytes()).chars().count() < 400);
    }

    use proptest::prelude::*;

    proptest! {
        /// Servers answer anything. What has no value is an error, or nothing: never a number.
        #[test]
        fn no_answer_panics(
            piece in r#"([\[\]{},:]|"value"|"values"|"histogram"|"metric"|null|"1"|"NaN"|1|1e999|true|"){0,20}"#,
        ) {
            let _ = parse(piece.as_bytes());
            for text in [
                format!(r#"{{"data":{{"result":{piece}}}}}"#),
                format!(r#"{{"data":{{"result":[{piece}]}}}}"#),
                format!(r#"{{"data":{{"result":[{{"value":[{piece}]}}]}}}}"#),
                format!(r#"{{"data":{{"resultType":"scalar","result":[{piece}]}}}}"#),
            ] {
                if let Ok(Found::Number(number)) = parse(text.as_bytes()) {
                    prop_assert!(number == 1.0 || number.is_nan(), "{text}: {number}");
                }
            }
        }
    }
}
