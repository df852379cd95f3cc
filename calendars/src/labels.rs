//! Labels of events: what a trigger's `match` selects by.

use std::collections::BTreeMap;

use serde_json::Value;

/// Reads `tier=S;category=fashion`, as a table's column has it. Separators are `;`, `,` and line breaks; `:` stands for `=`, too.
/// A word alone is a label with the value `true`.
///
/// Returns the labels, and what is none.
pub(crate) fn parse(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let mut labels = BTreeMap::new();
    let mut refused = Vec::new();
    for part in text.split([';', ',', '\n']).map(str::trim) {
        if part.is_empty() {
            continue;
        }
        match one(part) {
            Some((key, value)) => {
                labels.insert(key, value);
            }
            None => refused.push(part.to_owned()),
        }
    }
    (labels, refused)
}

/// Labels as a table's cell has them: such a text, or a JSON object, as a database's `jsonb` has it. `null` in it is no label.
pub(crate) fn of_cell(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let Ok(object) = serde_json::from_str::<BTreeMap<String, Value>>(text) else {
        return parse(text);
    };
    let labels = object.into_iter().filter_map(|(key, value)| match value {
        Value::Null => None,
        Value::String(text) => Some((key, text)),
        other => Some((key, other.to_string())),
    });
    (labels.collect(), Vec::new())
}

/// One label as people write it in a calendar: `tier=S`, `Tier: S`, `New Year`. What a label can't hold becomes `-`.
pub(crate) fn one(text: &str) -> Option<(String, String)> {
    let (key, value) = match text.split_once(['=', ':']) {
        Some((key, value)) => (fit(key)?, fit(value).unwrap_or_default()),
        None => (fit(text)?, "true".to_owned()),
    };
    Some((key, value))
}

/// The longest label value of Kubernetes.
const LONGEST: usize = 63;

/// Letters, digits, `-`, `_` and `.`, with a letter or digit at both ends: what a selector can name.
fn fit(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fitted: String = text
        .trim()
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    let trimmed = fitted.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_people_write_them() {
        let table: &[(&str, &[(&str, &str)])] = &[
            (
                "tier=S;category=fashion",
                &[("category", "fashion"), ("tier", "S")],
            ),
            ("tier: S, New Year", &[("New-Year", "true"), ("tier", "S")]),
            ("", &[]),
            ("flag=", &[("flag", "")]),
        ];
        for (text, expected) in table {
            let (labels, refused) = parse(text);
            let found: Vec<_> = labels
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            assert_eq!((&found[..], refused.len()), (*expected, 0), "{text}");
        }
        assert_eq!(parse("年末,a=b").1, ["年末"]);
    }
}
