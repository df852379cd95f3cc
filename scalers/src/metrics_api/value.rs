//! The number at a place of a document.

use quick_xml::Reader;
use quick_xml::events::Event;
use sakidori_engine::Quantity;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::effort::{self, Content};
use super::{Format, exposition};

/// The longest location, in bytes. gjson recurses once per step of a path, and an overflow of the stack would end the
/// process: in a debug build paths of 2 KiB do so.
pub const LONGEST_LOCATION: usize = 1024;

/// Documents that nest deeper are refused: no metric stands there, and parsers recurse.
const DEEPEST: usize = 100;

/// What stands at a place of a document.
#[derive(Debug, PartialEq)]
pub enum Found {
    Number(f64),
    /// Not yet known to be a number.
    Text(String),
}

/// # Errors
/// Where the document can't be read, has nothing at `location`, or no number there. Quotes the location, not the document.
pub fn extract(body: &[u8], format: Format, location: &str) -> Result<f64, String> {
    match find(body, format, location)? {
        Found::Number(number) => Ok(number),
        Found::Text(text) => quantity(&text, location),
    }
}

/// # Errors
/// As [`extract`], but a text may be any.
pub fn find(body: &[u8], format: Format, location: &str) -> Result<Found, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the answer is no UTF-8 text".to_owned())?;
    match format {
        Format::Json => json(text, location),
        Format::Yaml => {
            let document = serde_saphyr::from_str(text).map_err(|error| not_yaml(&error))?;
            scalar(at(&document, location)?, location)
        }
        Format::Xml => scalar(at_xml(&xml(text)?, location)?, location),
        Format::Prometheus => exposition::value(text, location).map(Found::Number),
    }
}

fn json(text: &str, location: &str) -> Result<Found, String> {
    let survey = Survey::of(text);
    if survey.deepest > DEEPEST {
        return Err(format!("the answer nests deeper than {DEEPEST} levels"));
    }
    if let Some(problem) = survey.problem {
        return Err(format!("the answer is no JSON: {problem}"));
    }
    effort::check(location, &survey.content)?;
    let found = gjson::get(text, location);
    match found.kind() {
        // gjson takes any run of digits, signs and dots for a number, and makes 0 of what is none: replicas would fall.
        gjson::Kind::Number => serde_json::from_str(found.json())
            .map(Found::Number)
            .map_err(|_| wrong(location, "what is no JSON number")),
        gjson::Kind::String => Ok(Found::Text(found.str().to_owned())),
        gjson::Kind::Object | gjson::Kind::Array => Err(wrong(location, "JSON")),
        gjson::Kind::True | gjson::Kind::False => Err(wrong(location, "a boolean")),
        gjson::Kind::Null if found.exists() => Err(wrong(location, "null")),
        gjson::Kind::Null if text.trim().is_empty() => Err("the answer is empty".to_owned()),
        gjson::Kind::Null if serde_json::from_str::<IgnoredAny>(text).is_err() => {
            Err("the answer is no JSON".to_owned())
        }
        gjson::Kind::Null => Err(wrong(location, "nothing")),
    }
}

/// What is seen of a JSON document at one look. No check of it as a whole: gjson, like KEDA's, finds a number in several documents
/// after one another, and before what is no JSON.
struct Survey {
    deepest: usize,
    /// What gjson must not see: what was cut off may have been cut within the number, and of an escape that is none gjson makes what
    /// is no text.
    problem: Option<&'static str>,
    content: Content,
}

impl Survey {
    fn of(json: &str) -> Self {
        let mut content = Content::new(json.len());
        let (mut depth, mut deepest) = (0usize, 0);
        // Where the string begins that is open.
        let mut string = None;
        let mut problem = None;
        let mut bytes = json.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match (byte, string) {
                (b'\\', Some(_)) => {
                    let escape = bytes.next().map(|(_, escape)| escape);
                    if escape == Some(b'u') && !is_four_hex_digits(json, at + 2) {
                        problem =
                            Some("\\u stands before something else than four hexadecimal digits");
                    }
                }
                (b'"', Some(begin)) => {
                    content.string((at - begin) as u64);
                    string = None;
                }
                (b'"', None) => string = Some(at),
                (b'[' | b'{', None) => {
                    depth += 1;
                    deepest = deepest.max(depth);
                    content.values += 1;
                }
                (b']' | b'}', None) => depth = depth.saturating_sub(1),
                (b',' | b':' | b'\n', None) => content.values += 1,
                _ => {}
            }
        }
        if depth > 0 || string.is_some() {
            problem = Some("a bracket or a string is left open");
        }
        Self {
            deepest,
            problem,
            content,
        }
    }
}

fn is_four_hex_digits(json: &str, at: usize) -> bool {
    json.as_bytes()
        .get(at..at + 4)
        .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// YAML's reader has limits of its own: on levels, values, and on what repeats itself by anchors.
fn not_yaml(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    use serde_saphyr::budget::BudgetBreach;
    let mut cause = error.without_snippet();
    while let Error::AliasError { error, .. } = cause {
        cause = error.without_snippet();
    }
    match cause {
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Depth { .. } => "the answer nests deeper than 64 levels".to_owned(),
            BudgetBreach::Nodes { .. } => "the answer has more than 250000 values".to_owned(),
            _ => "the answer is past a limit of YAML's reader: it is too large, or repeats itself too often by anchors".to_owned(),
        },
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the answer repeats itself too often by anchors".to_owned()
        }
        // The parser has a limit of its own for lists in one line.
        other if other.to_string().contains("recursion limit") => {
            "the answer nests deeper than 64 levels".to_owned()
        }
        _ => "the answer is no YAML".to_owned(),
    }
}

/// The value at keys with dots between them; a list's elements are 0, 1, ...
fn at<'d>(document: &'d Value, location: &str) -> Result<&'d Value, String> {
    location.split('.').try_fold(document, |value, key| {
        let found = match value {
            Value::Object(fields) => fields.get(key),
            Value::Array(elements) => key
                .parse::<usize>()
                .ok()
                .and_then(|index| elements.get(index)),
            _ => None,
        };
        found.ok_or_else(|| format!("key '{key}' not found in path '{location}'"))
    })
}

/// As [`at`]; the path may begin with the root element's name or below it.
fn at_xml<'d>(document: &'d Value, location: &str) -> Result<&'d Value, String> {
    let below_root = document.as_object().and_then(|root| root.values().next());
    at(document, location).or_else(|error| below_root.map_or(Err(error), |root| at(root, location)))
}

fn scalar(value: &Value, location: &str) -> Result<Found, String> {
    match value {
        Value::Number(number) => number
            .as_f64()
            .map(Found::Number)
            .ok_or_else(|| wrong(location, "a number out of range")),
        Value::String(text) => Ok(Found::Text(text.clone())),
        Value::Object(_) => Err(wrong(location, "an object")),
        Value::Array(_) => Err(wrong(location, "a list")),
        Value::Bool(_) => Err(wrong(location, "a boolean")),
        Value::Null => Err(wrong(location, "null")),
    }
}

fn quantity(text: &str, location: &str) -> Result<f64, String> {
    let quantity: Result<Quantity, _> = text.trim().parse();
    quantity.map(Quantity::to_f64).map_err(|_| {
        format!("valueLocation {location:?} points to a string that is not parseable as a Quantity")
    })
}

fn wrong(location: &str, found: &str) -> String {
    format!(
        "valueLocation {location:?} must point to a numeric value or a string parseable as a Quantity, got {found}"
    )
}

/// The most elements and attributes of an XML document. In memory each is up to 700 bytes; a document that people write has hundreds.
const MOST_XML: usize = 100_000;

/// An XML document as nested maps: an element that occurs several times is a list, an attribute is a key with `@`, an element
/// with nothing but text is that text.
fn xml(text: &str) -> Result<Value, String> {
    const BROKEN: &str = "the answer is no XML";
    let mut reader = Reader::from_str(text);
    let mut left = MOST_XML;
    let mut count = || match left.checked_sub(1) {
        Some(fewer) => {
            left = fewer;
            Ok(())
        }
        None => Err(format!(
            "the answer has more than {MOST_XML} elements and attributes"
        )),
    };
    let mut open: Vec<(String, Element)> = vec![(String::new(), Element::default())];
    loop {
        let event = reader.read_event().map_err(|_| BROKEN.to_owned())?;
        match event {
            Event::Start(tag) | Event::Empty(tag) if open.len() > DEEPEST => {
                drop(tag);
                return Err(format!("the answer nests deeper than {DEEPEST} levels"));
            }
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                count()?;
                let mut element = Element::default();
                // Its own check for names that occur twice compares each with all before.
                for attribute in tag.attributes().with_checks(false) {
                    count()?;
                    let attribute = attribute.map_err(|_| BROKEN.to_owned())?;
                    let key = format!("@{}", attribute.key.as_ref());
                    let value = attribute.value.clone().into_owned();
                    if element.fields.insert(key, Value::String(value)).is_some() {
                        return Err(BROKEN.to_owned());
                    }
                }
                let name = AsRef::<str>::as_ref(&tag.name()).to_owned();
                if matches!(event, Event::Empty(_)) {
                    if let Some((_, parent)) = open.last_mut() {
                        parent.add(name, element);
                    }
                } else {
                    open.push((name, element));
                }
            }
            Event::End(_) => {
                let (name, element) = open.pop().ok_or(BROKEN)?;
                let (_, parent) = open.last_mut().ok_or(BROKEN)?;
                parent.add(name, element);
            }
            Event::Text(text) => {
                if let Some((_, element)) = open.last_mut() {
                    element.text.push_str(&text);
                }
            }
            Event::CData(text) => {
                if let Some((_, element)) = open.last_mut() {
                    element.text.push_str(&text);
                }
            }
            Event::GeneralRef(_) => {
                // Never resolved, so that a few bytes can't become gigabytes. What is left of it is no number.
                if let Some((_, element)) = open.last_mut() {
                    element.text.push('&');
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some((_, root)), true) if !root.fields.is_empty() => Ok(Value::Object(root.fields)),
        _ => Err(BROKEN.to_owned()),
    }
}

#[derive(Default)]
struct Element {
    fields: Map<String, Value>,
    text: String,
}

impl Element {
    fn add(&mut self, name: String, child: Element) {
        let child = if child.fields.is_empty() {
            Value::String(child.text.trim().to_owned())
        } else {
            let mut fields = child.fields;
            if !child.text.trim().is_empty() {
                fields.insert(
                    "#text".to_owned(),
                    Value::String(child.text.trim().to_owned()),
                );
            }
            Value::Object(fields)
        };
        match self.fields.get_mut(&name) {
            Some(Value::Array(list)) => list.push(child),
            Some(first) => {
                let first = first.take();
                self.fields.insert(name, Value::Array(vec![first, child]));
            }
            None => drop(self.fields.insert(name, child)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(format: Format, text: &str, location: &str) -> Result<f64, String> {
        extract(text.as_bytes(), format, location)
    }

    #[test]
    fn json_by_gjson_paths() {
        let document = r#"{"a": {"b": [3, {"c": "1.5k"}]}, "t": true, "s": "x", "jobs": [{"state": "open"}, {"state": "done"}], "n": null}"#;
        for (location, value) in [
            ("a.b.0", Some(3.0)),
            ("a.b.1.c", Some(1500.0)),
            ("a.b.#", Some(2.0)),
            ("jobs.#(state==\"open\")#|#", Some(1.0)),
            ("t", None),
            ("s", None),
            ("n", None),
            ("a", None),
            ("missing", None),
        ] {
            assert_eq!(
                get(Format::Json, document, location).ok(),
                value,
                "{location}"
            );
        }
        let error = get(Format::Json, document, "s").unwrap_err();
        assert_eq!(
            error,
            "valueLocation \"s\" points to a string that is not parseable as a Quantity"
        );
    }

    #[test]
    fn what_is_almost_a_number_is_never_zero() {
        for text in [
            r#"{"count": 1-2}"#,
            r#"{"count": 1.2.3}"#,
            r#"{"count": -}"#,
            r#"{"count": 1e999}"#,
            r#"{"count": 12"#,
            r#"{"count": 12, "name": "a"#,
            r#"{"count": 12, "list": [1]"#,
        ] {
            assert!(get(Format::Json, text, "count").is_err(), "{text}");
        }
        // Not the number's fault.
        for (text, location, value) in [
            (r#"{"count": 5} trailing"#, "count", 5.0),
            ("{\"count\": 5}\n{\"count\": 6}", "..1.count", 6.0),
            (r#"{"count": 5, "\"}": "["}"#, "count", 5.0),
        ] {
            assert_eq!(get(Format::Json, text, location), Ok(value), "{text}");
        }
    }

    #[test]
    fn the_longest_locations_do_not_exhaust_the_stack() {
        let document = format!("{{\"a\": {}1{}}}", "[".repeat(98), "]".repeat(98));
        for step in ["a.", "#.", "a|", "#|", "[", "{", "(", "@this|", "@reverse|"] {
            let location = step.repeat(LONGEST_LOCATION / step.len());
            let _ = get(Format::Json, &document, &location);
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_and_no_panic() {
        for text in [
            "",
            "<html>",
            "{",
            "[[[",
            "\"",
            "{\"a\":",
            "nul",
            "\u{0}",
            "{\"a\":\"\\u12",
        ] {
            assert!(get(Format::Json, text, "a").is_err(), "{text:?}");
            assert!(get(Format::Json, text, "a.#(b==").is_err(), "{text:?}");
        }
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(
            get(Format::Json, &deep, "0")
                .unwrap_err()
                .contains("nests deeper")
        );
        let deep = format!("{}1{}", "<a>".repeat(10_000), "</a>".repeat(10_000));
        assert!(
            get(Format::Xml, &deep, "a")
                .unwrap_err()
                .contains("nests deeper")
        );
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(get(Format::Yaml, &deep, "0").is_err());
    }

    #[test]
    fn yaml_by_keys() {
        let document = "components:\n  worker:\n    tasks: 12\n    list: [1, {n: 2Ki}]\n";
        assert_eq!(
            get(Format::Yaml, document, "components.worker.tasks"),
            Ok(12.0)
        );
        assert_eq!(
            get(Format::Yaml, document, "components.worker.list.1.n"),
            Ok(2048.0)
        );
        let error = get(Format::Yaml, document, "components.none").unwrap_err();
        assert_eq!(error, "key 'none' not found in path 'components.none'");
        assert!(get(Format::Yaml, "a: [", "a").is_err());
    }

    #[test]
    fn xml_by_elements() {
        let document = r#"<?xml version="1.0"?><stats unit="jobs"><queue name="a">7</queue><queue><depth>40m</depth></queue><empty/><one><![CDATA[ 5 ]]></one></stats>"#;
        for (location, value) in [
            ("stats.queue.1.depth", Some(0.04)),
            ("queue.1.depth", Some(0.04)),
            ("stats.queue.0.#text", Some(7.0)),
            ("stats.one", Some(5.0)),
            ("stats.@unit", None),
            ("stats.empty", None),
            ("stats", None),
        ] {
            assert_eq!(
                get(Format::Xml, document, location).ok(),
                value,
                "{location}"
            );
        }
        let entities = "<!DOCTYPE a [<!ENTITY nine \"9\">]><a><b>&nine;1</b><c>&#49;1</c><d x=\"&nine;1\">1</d></a>";
        for location in ["a.b", "a.c", "a.d.@x"] {
            assert!(get(Format::Xml, entities, location).is_err(), "{location}");
        }
        for broken in ["", "text", "<a>", "<a></b>", "<a><b></a>"] {
            assert!(get(Format::Xml, broken, "a").is_err(), "{broken}");
        }
    }

    use proptest::prelude::*;

    proptest! {
        /// Servers answer anything, and locations come from users.
        #[test]
        fn no_answer_and_no_location_panics(
            answer in r#"([\[\]{}:,"'\\#<>/&;=|@.*()! \n\-0-9a-eu]|null|true|é){0,40}"#,
            location in r#"([\[\]{}:,"'\\#<>=|@.*()!~%? \-0-9a-e]|@this|@flatten|#\(|\)#|\.\.|é){0,20}"#,
        ) {
            for format in [Format::Json, Format::Yaml, Format::Xml, Format::Prometheus] {
                let _ = get(format, &answer, &location);
                let wrapped = format!(r#"{{"a": [{answer}], "b": "{answer}"}}"#);
                let _ = get(format, &wrapped, &location);
            }
        }
    }
}
