//! The chart's alert rules: what they look at is there. Whether they fire is promtool's to test (tests/alerts/).

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use regex::Regex;
use sakidori_test_cluster::install::PROMTOOL;
use sakidori_tests::binary;
use serde_json::Value;

use super::server::Asked;

/// Queries that come back empty while nothing is wrong, or nothing changed a moment ago: parts of expressions, and why.
const QUIET: &[(&str, &str)] = &[
    ("offset", "a change is looked for"),
    (
        "throttled|failed",
        "the API server refuses and fails nothing in a test for long",
    ),
];

pub fn is_quiet(expression: &str) -> bool {
    QUIET.iter().any(|(part, _)| expression.contains(part))
}

/// The metrics of this project that an expression names, with the labels by which it picks.
fn selectors(expression: &str) -> Result<Vec<String>> {
    let metric = Regex::new(r"\b((?:keda|sakidori|process)_\w+)(\{[^}]*\})?")?;
    let label = Regex::new(r#"(\w+)(?:=~|!~|!=|=)""#)?;
    let found = metric.captures_iter(expression).map(|found| {
        let picked = found.get(2).map_or("", |picked| picked.as_str());
        let labels: Vec<String> = label
            .captures_iter(picked)
            .map(|one| format!("{}!=\"\"", &one[1]))
            .collect();
        format!("{}{{{}}}", &found[1], labels.join(","))
    });
    Ok(found.collect())
}

/// What alerts look at that isn't there.
pub async fn empty(prometheus: &Asked<'_>) -> Result<Vec<String>> {
    let path = binary::repository().join("charts/sakidori/files/alerts.yaml");
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let mut empty = Vec::new();
    for rule in rules {
        let expression = rule["expr"].as_str().context("no expression")?;
        // It is one.
        prometheus.query(expression).await?;
        for selector in selectors(expression)? {
            if prometheus.query(&selector).await?.is_empty() {
                empty.push(format!("{}: {selector}", rule["alert"]));
            }
        }
    }
    Ok(empty)
}

/// What Prometheus' linter complains of, and has to: names that are KEDA's.
const KEDAS: &[&str] = &[
    "label names should be written in 'snake_case' not 'camelCase'",
    "keda_trigger_registered_total non-counter metrics should not have \"_total\" suffix",
    "keda_resource_registered_total non-counter metrics should not have \"_total\" suffix",
];

/// Has Prometheus' linter look at a text.
pub fn lint(text: &str) -> Result<()> {
    let mut child = Command::new(PROMTOOL)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool doesn't start")?;
    let mut stdin = child.stdin.take().context("no input")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    let others: Vec<&str> = said
        .lines()
        .filter(|line| !KEDAS.iter().any(|known| line.contains(known)))
        .collect();
    // It ends with 3 where it complains.
    let code = output.status.code();
    ensure!(
        others.is_empty() && matches!(code, Some(0 | 3)),
        "promtool: {code:?}\n{}",
        others.join("\n")
    );
    Ok(())
}

#[test]
fn what_an_expression_looks_at() {
    let expression = "max by (a) (sakidori_one{b=~\"x|y\",c!=\"\"}) > keda_two and up == 1";
    let found = selectors(expression).unwrap();
    assert_eq!(found, ["sakidori_one{b!=\"\",c!=\"\"}", "keda_two{}"]);
}
