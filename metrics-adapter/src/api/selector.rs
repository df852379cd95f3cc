//! Kubernetes label selectors, as far as an external metric can be picked by one: equality.
//!
//! The engine reads the whole grammar, so that a set-based selector is told from garbage and each gets its own sentence.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use sakidori_engine::selector::{Operator, Requirement, Selector, UnreadableSelector};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    #[error(transparent)]
    Unreadable(#[from] UnreadableSelector),
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
    Ok(Selector::parse(selector)?.requirements)
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

/// As SubjectAccessReview takes it; comparisons have no form there and, since selectors only narrow what is asked for,
/// may be left out (kube-apiserver does so too).
pub(crate) fn to_review(requirement: &Requirement) -> Option<LabelSelectorRequirement> {
    let operator = match requirement.operator {
        Operator::Equals | Operator::In => "In",
        Operator::NotEquals | Operator::NotIn => "NotIn",
        Operator::Exists => "Exists",
        Operator::DoesNotExist => "DoesNotExist",
        Operator::GreaterThan | Operator::LessThan => return None,
    };
    Some(LabelSelectorRequirement {
        key: requirement.key.clone(),
        operator: operator.to_owned(),
        values: (!requirement.values.is_empty()).then(|| requirement.values.clone()),
    })
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
        for selector in ["=", "a in b", "a ~ b"] {
            let error = parse(selector).unwrap_err();
            assert!(
                error.to_string().contains(&format!("{selector:?}")),
                "{error}"
            );
        }
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
