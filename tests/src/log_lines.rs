//! The operator's log, line by line.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One line of a log that is JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine(pub Value);

impl LogLine {
    /// A field, or nothing where the line doesn't have it.
    pub fn field(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// Its level and its reason: what happened, in brief.
    pub fn brief(&self) -> (&str, &str) {
        (self.field("level"), self.field("reason"))
    }

    /// Whether it is one that is logged unless less is asked for.
    pub fn is_usual(&self) -> bool {
        matches!(self.field("level"), "INFO" | "WARN" | "ERROR")
    }
}

/// Takes a log apart.
///
/// # Errors
/// With the line that isn't one JSON object with a time, a level and words, or that has a field twice.
pub fn log_lines(log: &str) -> Result<Vec<LogLine>> {
    log.lines()
        .map(|line| {
            let parsed: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let time = parsed["timestamp"].as_str().unwrap_or_default();
            ensure!(
                time.ends_with('Z') && time.len() == "2027-01-02T03:04:05.678Z".len(),
                "{line}: not a time of milliseconds"
            );
            for field in ["level", "message", "logger"] {
                ensure!(parsed[field].is_string(), "{line}: no {field}");
            }
            let fields = parsed.as_object().map_or(0, |fields| fields.len());
            // A value may hold what looks like a field, but not without a backslash before its quotes.
            let written = line.matches("\":").count() - line.matches("\\\":").count();
            ensure!(written == fields, "{line}: a field stands there twice");
            Ok(LogLine(parsed))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_none_is_found() {
        let good = r#"{"timestamp":"2027-01-02T03:04:05.678Z","level":"INFO","message":"a \":b\"","logger":"l","to":1}"#;
        let lines = log_lines(good).unwrap();
        assert!(lines[0].is_usual());
        assert_eq!(lines[0].brief(), ("INFO", ""));
        for bad in [
            "sakidori: broken",
            r#"{"timestamp":"2027-01-02T03:04:05.678901Z","level":"INFO","message":"m","logger":"l"}"#,
            r#"{"timestamp":"2027-01-02T03:04:05.678Z","message":"m","logger":"l"}"#,
            r#"{"timestamp":"2027-01-02T03:04:05.678Z","level":"INFO","message":"m","logger":"l","a":1,"a":2}"#,
        ] {
            assert!(log_lines(bad).is_err(), "{bad}");
        }
    }
}
