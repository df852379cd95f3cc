//! Prometheus' text exposition format: the value of one sample, picked by a selector such as `jobs{queue="a"}`.
//!
//! `!=`, `=~` and `!~` mean what they do in PromQL; KEDA takes each of them for `=`.

use regex::{Regex, RegexBuilder};

/// A metric's name and what its labels have to be.
#[derive(Debug)]
pub struct Selector {
    name: String,
    matchers: Vec<Matcher>,
}

#[derive(Debug)]
struct Matcher {
    label: String,
    test: Test,
    /// `!=` and `!~`.
    negated: bool,
}

#[derive(Debug)]
enum Test {
    Equals(String),
    Matches(Regex),
}

/// The largest regular expression, compiled, in bytes, and the most of labels that is compared with such, over all samples: in the
/// worst case, each byte of one is compared with each state of the other. Some thousands of samples fit.
const LARGEST_REGEX: usize = 128 * 1024;
const MOST_COMPARED: usize = 512 * 1024;

/// The most labels of one sample.
const MOST_LABELS: usize = 1000;

const EXPECTED: &str = "expected a metric such as jobs or jobs{queue=\"a\"}";

/// # Errors
/// What is wrong with the selector.
pub fn parse_selector(text: &str) -> Result<Selector, String> {
    let broken = |what: &str| format!("{text:?}: {what}: {EXPECTED}");
    let mut cursor = Cursor { rest: text.trim() };
    let mut name = cursor.word().to_owned();
    let mut matchers = Vec::new();
    if cursor.take("{") {
        while !cursor.take("}") {
            let label = cursor.word().to_owned();
            if label.is_empty() {
                return Err(broken("a label has no name"));
            }
            let (regex, negated) = match ["=~", "!~", "!=", "="]
                .into_iter()
                .find(|sign| cursor.take(sign))
            {
                Some("=") => (false, false),
                Some("!=") => (false, true),
                Some("=~") => (true, false),
                Some(_) => (true, true),
                None => return Err(broken("a label has no =")),
            };
            let value = cursor
                .string()
                .ok_or_else(|| broken("a label's value stands in quotes"))?;
            let test = if regex {
                // Anchored, as in PromQL.
                let anchored = format!("^(?s:{value})$");
                Test::Matches(
                    RegexBuilder::new(&anchored)
                        .size_limit(LARGEST_REGEX)
                        .build()
                        .map_err(|error| match error {
                            regex::Error::CompiledTooBig(_) => {
                                broken("a label's regular expression is too large")
                            }
                            _ => broken("a label's regular expression is none"),
                        })?,
                )
            } else {
                Test::Equals(value.clone())
            };
            if label == "__name__" && !regex && !negated {
                name = value;
            } else {
                matchers.push(Matcher {
                    label,
                    test,
                    negated,
                });
            }
            if !cursor.take(",") && !cursor.rest.starts_with('}') {
                return Err(broken("labels have commas between them and end with }"));
            }
        }
    }
    if name.is_empty() || !cursor.rest.is_empty() {
        return Err(broken("it is no metric"));
    }
    Ok(Selector { name, matchers })
}

/// The value of the first sample that the selector picks.
///
/// # Errors
/// Where a line is no sample, or none is picked.
pub fn value(text: &str, location: &str) -> Result<f64, String> {
    let selector = parse_selector(location)?;
    let mut found_name = false;
    let mut left = MOST_COMPARED;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sample = Sample::parse(line).ok_or_else(|| {
            format!(
                "the answer is not in Prometheus' text format: line {} is no sample",
                number + 1
            )
        })?;
        if sample.name != selector.name {
            continue;
        }
        found_name = true;
        if selector.picks(&sample, &mut left)? {
            return Ok(sample.value);
        }
    }
    if found_name {
        Err(format!("value {location} not found"))
    } else {
        Err(format!("metric '{}' not found", selector.name))
    }
}

impl Selector {
    /// Whether all matchers hold. `left` is how much may still be compared with regular expressions.
    fn picks(&self, sample: &Sample<'_>, left: &mut usize) -> Result<bool, String> {
        for matcher in &self.matchers {
            let value = matcher.value(&sample.labels);
            if let Test::Matches(_) = matcher.test {
                *left = left.checked_sub(value.len()).ok_or_else(|| {
                    format!(
                        "the labels of {:?} are longer than the {} KiB that are compared with regular expressions: use =, or ask for fewer samples",
                        self.name,
                        MOST_COMPARED / 1024
                    )
                })?;
            }
            if !matcher.holds(value) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Matcher {
    /// A label that a sample doesn't have counts as empty.
    fn value<'l>(&self, labels: &'l [(String, String)]) -> &'l str {
        labels
            .iter()
            .find(|(label, _)| *label == self.label)
            .map_or("", |(_, value)| value)
    }

    fn holds(&self, value: &str) -> bool {
        let holds = match &self.test {
            Test::Equals(expected) => value == expected,
            Test::Matches(regex) => regex.is_match(value),
        };
        holds != self.negated
    }
}

struct Sample<'t> {
    name: &'t str,
    labels: Vec<(String, String)>,
    value: f64,
}

impl<'t> Sample<'t> {
    /// `name{label="value",...} value [timestamp]`.
    fn parse(line: &'t str) -> Option<Self> {
        let mut cursor = Cursor { rest: line };
        let name = cursor.word();
        let mut labels = Vec::new();
        if cursor.take("{") {
            while !cursor.take("}") {
                let label = cursor.word().to_owned();
                if label.is_empty() || labels.len() == MOST_LABELS || !cursor.take("=") {
                    return None;
                }
                labels.push((label, cursor.string()?));
                if !cursor.take(",") && !cursor.rest.starts_with('}') {
                    return None;
                }
            }
        }
        let mut numbers = cursor.rest.split_whitespace();
        // Rust reads NaN, +Inf and -Inf in any case, as Go does.
        let value = numbers.next()?.parse().ok()?;
        let timestamp = numbers.next();
        let sound = !name.is_empty()
            && timestamp.is_none_or(|timestamp| timestamp.parse::<i64>().is_ok())
            && numbers.next().is_none();
        sound.then_some(Self {
            name,
            labels,
            value,
        })
    }
}

/// Reads a text from its beginning.
struct Cursor<'t> {
    rest: &'t str,
}

impl<'t> Cursor<'t> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                self.skip_space();
                true
            }
            None => false,
        }
    }

    /// A metric's or label's name; may be empty.
    fn word(&mut self) -> &'t str {
        self.skip_space();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        self.skip_space();
        word
    }

    /// A text in double or single quotes, with `\"`, `\\` and `\n`.
    fn string(&mut self) -> Option<String> {
        let quote = self
            .rest
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\''))?;
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                end if end == quote => {
                    self.rest = &self.rest[at + quote.len_utf8()..];
                    return Some(text);
                }
                other => text.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP jobs Waiting jobs.\n# TYPE jobs gauge\r\njobs{queue=\"a\",zone=\"x\"} 1\njobs{queue=\"b\"} 2.5 1700000000000\n\
                        jobs { queue = \"c \\\"}\" , } 3\nplain 4\nbad_number NaN\nplain_inf +Inf\n";

    #[test]
    fn samples_are_picked() {
        for (location, expected) in [
            ("plain", Some(4.0)),
            ("jobs", Some(1.0)),
            ("jobs{queue=\"b\"}", Some(2.5)),
            ("jobs{queue='b'}", Some(2.5)),
            ("{__name__=\"jobs\", queue=\"b\"}", Some(2.5)),
            ("jobs{queue=\"c \\\"}\"}", Some(3.0)),
            ("jobs{queue!=\"a\"}", Some(2.5)),
            ("jobs{queue=~\"b|c.*\"}", Some(2.5)),
            ("jobs{zone=\"\"}", Some(2.5)),
            ("jobs{queue=\"none\"}", None),
            ("none", None),
            ("plain_inf", Some(f64::INFINITY)),
        ] {
            assert_eq!(value(TEXT, location).ok(), expected, "{location}");
        }
        assert_eq!(value(TEXT, "none").unwrap_err(), "metric 'none' not found");
        assert!(value(TEXT, "bad_number").unwrap().is_nan());
    }

    #[test]
    fn broken_selectors_are_refused() {
        for location in [
            "",
            "{}",
            "jobs{",
            "jobs{a}",
            "jobs{a=b}",
            "jobs{a=\"b\"",
            "jobs{a=\"b\" c=\"d\"}",
            "jobs x",
            "jobs{a=~\"(\"}",
            // Larger than the limit, as a program.
            "jobs{a=~\"(\\\\w{50}){50}\"}",
        ] {
            assert!(parse_selector(location).is_err(), "{location:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_sample_is_an_error() {
        for line in [
            "<html>",
            "plain",
            "plain x",
            "plain 1 2 3",
            "plain{a=\"b\" 1",
            "plain{=\"b\"} 1",
        ] {
            let text = format!("ok 1\n{line}\n");
            assert!(
                value(&text, "plain").unwrap_err().contains("line 2"),
                "{line}"
            );
        }
    }
}
