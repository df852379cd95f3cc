//! Kubernetes label selectors, as far as an external metric can be picked by one: equality.
//!
//! The whole grammar is read, so that a set-based selector is told from garbage and each gets its own sentence.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) key: String,
    pub(crate) operator: Operator,
    pub(crate) values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    #[error("unable to parse labelSelector {selector:?}: {problem}")]
    Unreadable { selector: String, problem: String },
    #[error(
        "labelSelector {selector:?}: an external metric is picked by equality only (key=value), not by {key:?} {what}"
    )]
    NotEquality {
        selector: String,
        key: String,
        what: &'static str,
    },
    #[error("labelSelector {selector:?}: {key:?} can't equal both {first:?} and {second:?}")]
    Contradiction {
        selector: String,
        key: String,
        first: String,
        second: String,
    },
}

/// Reads a `labelSelector` parameter.
///
/// # Errors
/// [`SelectorError::Unreadable`].
pub(crate) fn parse(selector: &str) -> Result<Vec<Requirement>, SelectorError> {
    Parser {
        rest: selector.trim(),
    }
    .requirements()
    .map_err(|problem| SelectorError::Unreadable {
        selector: selector.to_owned(),
        problem,
    })
}

/// The requirements as a map, which they are when each asks for one value. `in` with one value is an equality too.
///
/// # Errors
/// [`SelectorError::NotEquality`], [`SelectorError::Contradiction`].
pub(crate) fn equalities(
    selector: &str,
    requirements: Vec<Requirement>,
) -> Result<BTreeMap<String, String>, SelectorError> {
    let mut map = BTreeMap::new();
    for Requirement {
        key,
        operator,
        mut values,
    } in requirements
    {
        let what = match operator {
            Operator::Equals | Operator::In if values.len() == 1 => "",
            Operator::In => "in several values",
            Operator::NotEquals | Operator::NotIn => "being another value",
            Operator::Exists | Operator::DoesNotExist | Operator::Equals => "being there or not",
            Operator::GreaterThan | Operator::LessThan => "being greater or less",
        };
        let Some(value) = values.pop().filter(|_| what.is_empty()) else {
            return Err(SelectorError::NotEquality {
                selector: selector.to_owned(),
                key,
                what,
            });
        };
        if let Some(first) = map
            .insert(key.clone(), value.clone())
            .filter(|first| *first != value)
        {
            return Err(SelectorError::Contradiction {
                selector: selector.to_owned(),
                key,
                first,
                second: value,
            });
        }
    }
    Ok(map)
}

impl Requirement {
    /// As SubjectAccessReview takes it; comparisons have no form there and, since selectors only narrow what is asked
    /// for, may be left out (kube-apiserver does so too).
    pub(crate) fn to_review(&self) -> Option<LabelSelectorRequirement> {
        let operator = match self.operator {
            Operator::Equals | Operator::In => "In",
            Operator::NotEquals | Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            Operator::GreaterThan | Operator::LessThan => return None,
        };
        Some(LabelSelectorRequirement {
            key: self.key.clone(),
            operator: operator.to_owned(),
            values: (!self.values.is_empty()).then(|| self.values.clone()),
        })
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
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn map(selector: &str) -> Result<BTreeMap<String, String>, SelectorError> {
        equalities(selector, parse(selector)?)
    }

    #[test]
    fn equality_in_all_its_spellings() {
        let expected =
            BTreeMap::from([("scaledobject.keda.sh/name".to_owned(), "orders".to_owned())]);
        for selector in [
            "scaledobject.keda.sh/name=orders",
            "scaledobject.keda.sh/name==orders",
            " scaledobject.keda.sh/name = orders ",
            "scaledobject.keda.sh/name in (orders)",
            "scaledobject.keda.sh/name in ( orders , orders )",
            "scaledobject.keda.sh/name=orders,scaledobject.keda.sh/name in (orders)",
        ] {
            assert_eq!(map(selector).unwrap(), expected, "{selector}");
        }
        assert_eq!(map("").unwrap(), BTreeMap::new());
        assert_eq!(
            map("a=").unwrap(),
            BTreeMap::from([("a".to_owned(), String::new())])
        );
        assert_eq!(map("a=1,b=2").unwrap().len(), 2);
    }

    #[test]
    fn a_set_is_a_good_selector_that_picks_no_metric() {
        for selector in [
            "a!=b",
            "a in (b,c)",
            "a notin (b)",
            "a",
            "!a",
            "a>5",
            "a<5",
            "x=1,a",
        ] {
            assert!(parse(selector).is_ok(), "{selector}");
            assert!(
                matches!(map(selector), Err(SelectorError::NotEquality { .. })),
                "{selector}"
            );
        }
        assert!(matches!(
            map("a=b,a=c"),
            Err(SelectorError::Contradiction { .. })
        ));
    }

    #[test]
    fn garbage_is_named() {
        for selector in [
            "=", "a=b,", ",a=b", "a in", "a in (", "a in (b", "a in b", "a ~ b", "a=b c", "a=b=c",
            "a>x", "!", "-a=b", "a=-b", "A/B/c=d", "a=ü", "x y", "()",
        ] {
            let error = parse(selector).unwrap_err();
            assert!(
                error.to_string().contains(&format!("{selector:?}")),
                "{error}"
            );
        }
        assert!(parse(&format!("a={}", "b".repeat(64))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[a-z!=<>(), /.\\-üinotx0-9]{0,40}") {
            if let Ok(requirements) = parse(&text) {
                let _ = equalities(&text, requirements);
            }
        }

        #[test]
        fn a_map_comes_back_as_it_was(map in btree_map("[a-z]{1,3}(/[a-z]{1,3})?", "([a-zA-Z0-9]{1,5})?", 0..4)) {
            let selector = map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
            prop_assert_eq!(super::equalities(&selector, parse(&selector).unwrap()).unwrap(), map);
        }
    }
}
