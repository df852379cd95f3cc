//! Kubernetes label selectors: `tier in (S, A),!draft,category=fashion`.

use std::collections::BTreeMap;

use thiserror::Error;

/// A selector: all of its requirements have to hold. The empty one holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// A text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unable to parse labelSelector {selector:?}: {problem}")]
pub struct UnreadableSelector {
    pub selector: String,
    pub problem: String,
}

impl Selector {
    /// Reads a selector in the form of a `labelSelector` parameter, with Kubernetes' whole grammar.
    ///
    /// # Errors
    /// What was expected instead, and where.
    pub fn parse(selector: &str) -> Result<Self, UnreadableSelector> {
        Parser {
            rest: selector.trim(),
        }
        .requirements()
        .map(|requirements| Self { requirements })
        .map_err(|problem| UnreadableSelector {
            selector: selector.to_owned(),
            problem,
        })
    }

    /// Whether every requirement holds for `labels`.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels.get(&requirement.key).map(String::as_str)))
    }
}

impl Requirement {
    /// Kubernetes: a label that isn't there differs from every value.
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|one| one == value);
        let number = |value: &str| value.parse::<i64>().ok();
        let compared = |order| {
            let limit = self.values.first().and_then(|limit| number(limit));
            matches!((value.and_then(number), limit), (Some(value), Some(limit)) if value.cmp(&limit) == order)
        };
        match self.operator {
            Operator::Equals | Operator::In => value.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compared(std::cmp::Ordering::Greater),
            Operator::LessThan => compared(std::cmp::Ordering::Less),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn requirements(mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.rest.is_empty() {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            self.skip_spaces();
            if self.rest.is_empty() {
                return Ok(requirements);
            }
            if !self.take(",") {
                return Err(format!("expected ',' before {:?}", self.rest));
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        self.skip_spaces();
        if self.take("!") {
            let key = self.key()?;
            return Ok(Requirement {
                key,
                operator: Operator::DoesNotExist,
                values: Vec::new(),
            });
        }
        let key = self.key()?;
        self.skip_spaces();
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Ok(Requirement {
                key,
                operator: Operator::Exists,
                values: Vec::new(),
            });
        }
        let symbols = [
            ("==", Operator::Equals),
            ("=", Operator::Equals),
            ("!=", Operator::NotEquals),
            (">", Operator::GreaterThan),
            ("<", Operator::LessThan),
        ];
        for (symbol, operator) in symbols {
            if self.take(symbol) {
                self.skip_spaces();
                let value = self.word().to_owned();
                check_value(&value)?;
                if matches!(operator, Operator::GreaterThan | Operator::LessThan)
                    && value.parse::<i64>().is_err()
                {
                    return Err(format!("{value:?} after {symbol:?} is no integer"));
                }
                return Ok(Requirement {
                    key,
                    operator,
                    values: vec![value],
                });
            }
        }
        let operator = match self.word() {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            found => {
                return Err(format!(
                    "expected one of =, ==, !=, in, notin, >, < after {key:?}, found {found:?}"
                ));
            }
        };
        Ok(Requirement {
            key,
            operator,
            values: self.set()?,
        })
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        self.skip_spaces();
        if !self.take("(") {
            return Err(format!("expected '(' before {:?}", self.rest));
        }
        let mut values = Vec::new();
        loop {
            self.skip_spaces();
            let value = self.word().to_owned();
            check_value(&value)?;
            values.push(value);
            self.skip_spaces();
            if self.take(")") {
                values.sort();
                values.dedup();
                return Ok(values);
            }
            if !self.take(",") {
                return Err(format!("expected ',' or ')' before {:?}", self.rest));
            }
        }
    }

    fn key(&mut self) -> Result<String, String> {
        self.skip_spaces();
        let key = self.word();
        check_key(key)?;
        Ok(key.to_owned())
    }

    /// Everything up to white space or a symbol of the grammar.
    fn word(&mut self) -> &str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "=!,()<>".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn take(&mut self, symbol: &str) -> bool {
        match self.rest.strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

/// `[prefix/]name`: a DNS subdomain of at most 253 characters, and a name of at most 63.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let subdomain = |prefix: &str| {
        prefix.len() <= 253
            && prefix.split('.').all(|part| {
                !part.is_empty()
                    && !part.starts_with('-')
                    && !part.ends_with('-')
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    };
    if name.is_empty() || !is_name(name) || !prefix.is_none_or(subdomain) {
        return Err(format!(
            "{key:?} is no label key: expected [prefix/]name, such as scaledobject.keda.sh/name"
        ));
    }
    Ok(())
}

/// Whether a selector can name the label.
///
/// # Errors
/// Says whether it is the key or the value, and what was expected.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    check_key(key)?;
    check_value(value)
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_name(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is no label value: expected at most 63 letters, digits, '-', '_' or '.', a letter or digit at both ends"
    ))
}

fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && text
            .bytes()
            .last()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn garbage_is_named() {
        for selector in [
            "=", "a=b,", ",a=b", "a in", "a in (", "a in (b", "a in b", "a ~ b", "a=b c", "a=b=c",
            "a>x", "!", "-a=b", "a=-b", "A/B/c=d", "a=ü", "x y", "()",
        ] {
            let error = Selector::parse(selector).unwrap_err();
            assert!(
                error.to_string().contains(&format!("{selector:?}")),
                "{error}"
            );
        }
        assert!(Selector::parse(&format!("a={}", "b".repeat(64))).is_err());
    }

    #[test]
    fn labels_match_as_in_kubernetes() {
        let labels = BTreeMap::from(
            [("tier", "S"), ("size", "12"), ("empty", "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let table = [
            ("", true),
            ("tier in (S, A)", true),
            ("tier in (A)", false),
            ("tier notin (A, B)", true),
            ("tier notin (S)", false),
            ("other notin (S)", true),
            ("tier=S", true),
            ("tier==A", false),
            ("tier!=A", true),
            ("other!=A", true),
            ("tier", true),
            ("other", false),
            ("!tier", false),
            ("!other", true),
            ("empty=", true),
            ("other=", false),
            ("size>11", true),
            ("size>12", false),
            ("size<13", true),
            ("tier<13", false),
            ("other<13", false),
            ("tier in (S, A),!draft,size>1", true),
            ("tier in (S, A),draft", false),
        ];
        for (selector, matches) in table {
            assert_eq!(
                Selector::parse(selector).unwrap().matches(&labels),
                matches,
                "{selector}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[a-z!=<>(), /.\\-üinotx0-9]{0,40}") {
            if let Ok(selector) = Selector::parse(&text) {
                selector.matches(&BTreeMap::new());
            }
        }
    }
}
