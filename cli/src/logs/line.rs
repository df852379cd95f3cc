//! One log line: as text for people, or as one JSON object.
//!
//! What a line says may have come from anywhere, an event source's answer among it: no character of it begins another line, or steers a
//! terminal.

use std::fmt::{self, Write};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;

/// The one format of all lines.
pub struct Lines(pub LogFormat);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let line = Line {
            time: Timestamp::now(),
            level: *event.metadata().level(),
            logger: event.metadata().target(),
            said,
        };
        let text = match self.0 {
            LogFormat::Text => line.as_text(),
            LogFormat::Json => line.as_json(),
        };
        writeln!(writer, "{text}")
    }
}

struct Line<'a> {
    time: Timestamp,
    level: Level,
    /// The module that says it.
    logger: &'a str,
    said: Said,
}

/// A line's words and fields.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

enum Value {
    Text(String),
    /// A number or a truth value, as JSON has it.
    Plain(String),
}

impl Line<'_> {
    fn as_json(&self) -> String {
        let mut json = format!(
            "{{\"timestamp\":\"{:.3}\",\"level\":\"{}\",\"message\":{}",
            self.time,
            self.level,
            quoted(&self.said.message)
        );
        for (name, value) in &self.said.fields {
            let value = match value {
                Value::Text(text) => &quoted(text),
                Value::Plain(text) => text,
            };
            let _ = write!(json, ",{}:{value}", quoted(name));
        }
        let _ = write!(json, ",\"logger\":{}}}", quoted(self.logger));
        json
    }

    fn as_text(&self) -> String {
        let mut text = format!("{:.3} {:5} ", self.time, self.level.as_str());
        escape(&mut text, &self.said.message);
        for (name, value) in &self.said.fields {
            let value = match value {
                Value::Text(value) if needs_quotes(value) => &quoted(value),
                Value::Text(value) | Value::Plain(value) => value,
            };
            let _ = write!(text, " {name}={value}");
        }
        text
    }
}

/// A value that a reader, or a tool that splits at spaces, could take for something else.
fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.contains([' ', '"', '=', '\\']) || value.chars().any(is_unsafe)
}

/// As a JSON string.
fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for part in text.split_inclusive(['"', '\\']) {
        match part.strip_suffix(['"', '\\']) {
            Some(rest) => {
                escape(&mut json, rest);
                json.push('\\');
                json.push_str(&part[rest.len()..]);
            }
            None => escape(&mut json, part),
        }
    }
    json.push('"');
    json
}

/// Puts in what would begin a line, or steer a terminal, as JSON writes it.
fn escape(into: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            unsafe_one if is_unsafe(unsafe_one) => {
                let mut units = [0; 2];
                for unit in unsafe_one.encode_utf16(&mut units) {
                    let _ = write!(into, "\\u{unit:04x}");
                }
            }
            other => into.push(other),
        }
    }
}

/// Control characters, separators of lines, and what changes the direction of all that follows.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Said {
    fn take(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Plain(text)) => self.message = text,
            // A name that Rust has for itself is written `r#type`.
            (name, value) => self
                .fields
                .push((name.strip_prefix("r#").unwrap_or(name), value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, Value::Plain(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, Value::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, Value::Plain(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity, and no NaN.
        let value = match value.is_finite() {
            true => Value::Plain(value.to_string()),
            false => Value::Text(value.to_string()),
        };
        self.take(field, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(message: &str, fields: Vec<(&'static str, Value)>) -> Line<'static> {
        Line {
            time: "2027-01-02T03:04:05.6789Z".parse().unwrap(),
            level: Level::INFO,
            logger: "sakidori_operator::events",
            said: Said {
                message: message.to_owned(),
                fields,
            },
        }
    }

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn a_line_is_text_or_json() {
        let line = line(
            "Scaled Deployment shop/orders from 0 to 1",
            vec![
                ("object", text("shop/orders")),
                ("to", Value::Plain("1".into())),
                ("cause", text("triggered by \"s0\"")),
            ],
        );
        assert_eq!(
            line.as_text(),
            "2027-01-02T03:04:05.678Z INFO  Scaled Deployment shop/orders from 0 to 1 object=shop/orders to=1 \
             cause=\"triggered by \\\"s0\\\"\""
        );
        let parsed: serde_json::Value = serde_json::from_str(&line.as_json()).unwrap();
        assert_eq!(
            parsed,
            json!({
                "timestamp": "2027-01-02T03:04:05.678Z",
                "level": "INFO",
                "message": "Scaled Deployment shop/orders from 0 to 1",
                "object": "shop/orders",
                "to": 1,
                "cause": "triggered by \"s0\"",
                "logger": "sakidori_operator::events",
            })
        );
    }

    #[test]
    fn no_character_begins_a_line_or_steers_a_terminal() {
        let bad = "a\nb\r\n\u{1b}[31m\u{9b}2J\u{7f}\u{202e}\u{2028}\0\"\\ä\u{1f600}";
        let line = line(bad, vec![("error", text(bad))]);
        for written in [line.as_text(), line.as_json()] {
            assert!(!written.chars().any(is_unsafe), "{written:?}");
            assert!(written.contains("ä\u{1f600}"), "{written:?}");
        }
        let parsed: serde_json::Value = serde_json::from_str(&line.as_json()).unwrap();
        assert_eq!(
            (&parsed["message"], &parsed["error"]),
            (&json!(bad), &json!(bad))
        );
    }

    #[test]
    fn a_value_that_could_be_taken_for_two_is_quoted() {
        let cases = [
            ("shop/orders", "shop/orders"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("x=y", "\"x=y\""),
            ("a\nb", "\"a\\nb\""),
        ];
        for (value, written) in cases {
            let line = line("m", vec![("error", text(value))]).as_text();
            assert!(line.ends_with(&format!("m error={written}")), "{line}");
        }
    }
}
