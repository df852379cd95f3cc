//! What queries name, and what there is: the tables of docs/metrics.md, which another case holds against a running operator.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::alerts::text_of;

/// Every target has them.
const OF_TARGETS: &[&str] = &["job", "instance", "le"];
/// What Prometheus, the process and the API server tell themselves.
const OF_OTHERS: &[(&str, &[&str])] = &[
    ("up", &[]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
    (
        "apiserver_admission_webhook_fail_open_count",
        &["name", "type"],
    ),
    (
        "apiserver_admission_webhook_rejection_count",
        &["name", "type", "operation", "error_type", "rejection_code"],
    ),
];
/// What alerts are about, where it isn't the operator itself.
const OF_OBJECTS: &[&str] = &["namespace", "scaledObject", "calendar"];

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("a valid expression")
}

/// The metrics of a query, each with the labels that it selects by, and the labels that are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub metrics: BTreeMap<String, BTreeSet<String>>,
    pub kept: BTreeSet<String>,
}

impl Asked {
    /// What `query` asks for.
    pub fn by(query: &str) -> Self {
        let metric = expression(
            r"\b((?:sakidori|keda|process|apiserver)_\w+|up\b)(?:\{((?:[^}\x22]|\x22[^\x22]*\x22)*)\})?",
        );
        let label = expression(r#"(\w+)(?:=~|!~|!=|=)""#);
        let by = expression(r"(?:by|on) \(([^)]*)\)");
        let values = expression(r"^label_values\(.*, (\w+)\)$");
        let mut asked = Self::default();
        for found in metric.captures_iter(query) {
            let selector = found.get(2).map_or("", |selector| selector.as_str());
            let labels = asked.metrics.entry(found[1].to_owned()).or_default();
            labels.extend(label.captures_iter(selector).map(|one| one[1].to_owned()));
        }
        for list in by.captures_iter(query).chain(values.captures_iter(query)) {
            let names = list[1].split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty());
            asked.kept.extend(names.map(str::to_owned));
        }
        asked
    }

    /// Labels that say which object it is about.
    pub fn kept_of_objects(&self) -> impl Iterator<Item = &str> {
        let kept = self.kept.iter().map(String::as_str);
        kept.filter(|label| OF_OBJECTS.contains(label))
    }
}

/// Every metric that there is, with its labels.
pub struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    pub fn read() -> Self {
        let mut all = table(&text_of("docs/metrics.md"));
        for (name, labels) in OF_OTHERS {
            let labels = labels.iter().map(|label| (*label).to_owned());
            all.insert((*name).to_owned(), labels.collect());
        }
        Self(all)
    }

    /// What isn't there, at `place`.
    pub fn missing(&self, place: &str, asked: &Asked) -> Vec<String> {
        let mut missing = Vec::new();
        let mut of_all = BTreeSet::new();
        for (name, labels) in &asked.metrics {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let there = self.0.get(name);
            let there = there.or_else(|| base.and_then(|base| self.0.get(base)));
            let Some(there) = there else {
                missing.push(format!("{place}: no metric {name}"));
                continue;
            };
            of_all.extend(there.iter().map(String::as_str));
            for label in labels.iter().filter(|label| !is_there(label, there)) {
                missing.push(format!("{place}: {name} has no label {label}"));
            }
        }
        if asked.metrics.is_empty() {
            missing.push(format!("{place}: names no metric"));
        }
        for label in &asked.kept {
            if !of_all.contains(label.as_str()) && !OF_TARGETS.contains(&label.as_str()) {
                missing.push(format!("{place}: no label {label}"));
            }
        }
        missing
    }
}

fn is_there(label: &str, labels: &BTreeSet<String>) -> bool {
    labels.contains(label) || OF_TARGETS.contains(&label)
}

/// The first and the third column of the rows whose first is a metric's name.
fn table(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let row = expression(r"(?m)^\| `((?:sakidori|keda)_\w+)` \|[^|]*\|([^|]*)\|");
    let name = expression(r"`(\w+)`");
    let labels = |column: &str| {
        let names = name.captures_iter(column);
        names.map(|label| label[1].to_owned()).collect()
    };
    let rows = row.captures_iter(page);
    rows.map(|row| (row[1].to_owned(), labels(&row[2])))
        .collect()
}

#[test]
fn a_query_names_metrics_and_labels() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let asked = Asked::by(
        r#"sum by (le, type) (rate(sakidori_a_bucket{x=~"a}|b",y!=""}[5m])) and on (job) up == 0"#,
    );
    let metrics = [
        ("sakidori_a_bucket".to_owned(), set(&["x", "y"])),
        ("up".to_owned(), set(&[])),
    ];
    assert_eq!(asked.metrics, metrics.into());
    assert_eq!(asked.kept, set(&["job", "le", "type"]));
    let page = "| Name | Type | Labels | Unit |\n|---|---|---|---|\n| `sakidori_a` | histogram | `type`, `x` | seconds |\n";
    let known = Known(table(page));
    assert_eq!(
        known.missing("here", &asked),
        [
            "here: sakidori_a_bucket has no label y",
            "here: no metric up"
        ]
    );
}
