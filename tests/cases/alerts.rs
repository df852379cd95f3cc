//! The chart's alert rules: each fires on what it is about and on nothing else, names metrics that there are, and has a page that says what to
//! do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::install;
use sakidori_tests::binary;
use serde_json::Value;

use crate::metric_names::{Asked, Known};

const ALERTS: &str = "charts/sakidori/files/alerts.yaml";
const RUNBOOKS: &str = "docs/runbooks";
/// Where the pages are, for those who have them nowhere else. The chart's value replaces it.
const RUNBOOK_URL: &str = "https://sakidori.dev/docs/runbooks";
/// What a reader who is on call finds on each page, in this order.
const HEADINGS: &[&str] = &[
    "Check first",
    "What it means",
    "What to do",
    "When to silence",
];

pub fn text_of(file: &str) -> String {
    let path = binary::repository().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// Every rule by its name.
fn rules() -> BTreeMap<String, Value> {
    let all = yaml(&text_of(ALERTS));
    let groups = all["groups"].as_array().expect("groups");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    let named = rules.map(|rule| {
        let name = rule["alert"].as_str().expect("a name");
        (name.to_owned(), rule.clone())
    });
    named.collect()
}

fn files_in(folder: &str, end: &str) -> BTreeSet<String> {
    let path = binary::repository().join(folder);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(end)).collect()
}

/// Runs Prometheus' checker in the folder of the alerts' tests.
fn promtool(arguments: &[&str]) -> Result<()> {
    let program = Path::new(install::PROMTOOL);
    ensure!(
        program.exists(),
        "no {}: run `make install`",
        program.display()
    );
    let output = Command::new(program)
        .args(arguments)
        .current_dir(binary::repository().join("tests/alerts"))
        .output()
        .context("promtool doesn't start")?;
    ensure!(
        output.status.success(),
        "promtool {}: {}\n{}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn each_alert_fires_on_what_it_is_about_and_on_nothing_else() {
    let rules = format!("../../{ALERTS}");
    promtool(&["check", "rules", &rules]).unwrap();
    let files = files_in("tests/alerts", ".test.yaml");
    let mut arguments = vec!["test", "rules"];
    arguments.extend(files.iter().map(String::as_str));
    promtool(&arguments).unwrap();
}

/// A rule whose tests only say that it doesn't fire would pass them with any expression.
#[test]
fn each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let mut cases: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for file in files_in("tests/alerts", ".test.yaml") {
        let all = yaml(&text_of(&format!("tests/alerts/{file}")));
        for test in all["tests"].as_array().expect("tests") {
            for case in test["alert_rule_test"].as_array().expect("cases") {
                let name = case["alertname"].as_str().expect("a name").to_owned();
                let fires = !case["exp_alerts"].as_array().expect("alerts").is_empty();
                *cases.entry((name, fires)).or_default() += 1;
            }
        }
    }
    for name in rules().into_keys() {
        for (fires, what) in [(true, "fires"), (false, "doesn't fire")] {
            let there = cases.contains_key(&(name.clone(), fires));
            assert!(there, "tests/alerts has no case in which {name} {what}");
        }
    }
}

#[test]
fn each_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() {
    for (name, rule) in rules() {
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["critical", "warning"].contains(&severity),
            "{name}: {severity:?}"
        );
        let annotation = |key: &str| rule["annotations"][key].as_str().unwrap_or_default();
        assert!(!annotation("summary").is_empty(), "{name}");
        assert!(annotation("description").ends_with('.'), "{name}");
        let page = format!("{RUNBOOK_URL}/{name}.md");
        assert_eq!(annotation("runbook_url"), page, "{name}");
        // Who reads the alert has its labels only.
        let shown = rule["annotations"].to_string();
        let asked = Asked::by(rule["expr"].as_str().expect("an expression"));
        for label in asked.kept_of_objects() {
            let label = format!("$labels.{label}");
            assert!(shown.contains(&label), "{name} doesn't show {label}");
        }
    }
}

#[test]
fn each_alert_has_its_runbook_and_each_runbook_its_alert() {
    let rules = rules();
    let pages = files_in(RUNBOOKS, ".md");
    let expected: BTreeSet<_> = rules.keys().map(|name| format!("{name}.md")).collect();
    assert_eq!(
        pages, expected,
        "the pages in {RUNBOOKS}, and those of the alerts"
    );
    let index = text_of("docs/alerts.md");
    for (name, rule) in &rules {
        let page = text_of(&format!("{RUNBOOKS}/{name}.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        let headings: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(headings, HEADINGS, "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        let row = format!("| [`{name}`](runbooks/{name}.md) | {severity} |");
        assert!(index.contains(&row), "docs/alerts.md has no row {row}");
    }
}

#[test]
fn every_metric_and_label_of_the_alerts_is_one_that_there_is() {
    let known = Known::read();
    let mut missing = Vec::new();
    for (name, rule) in rules() {
        let asked = Asked::by(rule["expr"].as_str().expect("an expression"));
        missing.extend(known.missing(&format!("{ALERTS}, {name}"), &asked));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
