//! The chart's dashboard and alert rules: they name what the operator exposes, and the alerts fire on what they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use sakidori_test_cluster::{eventually, install};
use sakidori_tests::{bed, binary};
use serde_json::{Value, json};

use crate::scene::{SOON, play};

const DASHBOARD: &str = "charts/sakidori/dashboards/prescaling.json";
const ALERTS: &str = "charts/sakidori/files/alerts.yaml";

fn text_of(file: &str) -> String {
    let path = binary::repository().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A query, and what is shown of each series that it gives.
struct Query {
    place: String,
    expr: String,
    shown: String,
}

/// Every query of the dashboard: of its panels, and of its variables.
fn of_the_dashboard() -> Vec<Query> {
    let board: Value = serde_json::from_str(&text_of(DASHBOARD)).expect("JSON");
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            queries.push(Query {
                place: format!("{DASHBOARD}, panel {}", panel["title"]),
                expr: target["expr"].as_str().expect("an expression").to_owned(),
                shown: target["legendFormat"].as_str().unwrap_or("").to_owned(),
            });
        }
    }
    let variables = board["templating"]["list"].as_array().expect("variables");
    for variable in variables.iter().filter(|one| one["type"] == "query") {
        let expr = variable["query"]["query"].as_str().expect("a query");
        queries.push(Query {
            place: format!("{DASHBOARD}, variable {}", variable["name"]),
            expr: expr.to_owned(),
            shown: String::new(),
        });
    }
    queries
}

fn of_the_alerts() -> Vec<Query> {
    let rules: Value = serde_saphyr::from_str(&text_of(ALERTS)).expect("YAML");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    rules
        .iter()
        .map(|rule| Query {
            place: format!("{ALERTS}, {}", rule["alert"]),
            expr: rule["expr"].as_str().expect("an expression").to_owned(),
            // A label of the series is `$labels.NAME` here.
            shown: rule["annotations"].to_string().replace("$labels.", "{{"),
        })
        .collect()
}

/// The labels of every metric in the text format.
fn exposed(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let label = Regex::new(r#"(\w+)=""#).expect("a valid expression");
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).expect("a name and a value");
        let labels = label.captures_iter(rest).filter_map(|one| one.get(1));
        let known = all.entry(name).or_default();
        known.extend(labels.map(|one| one.as_str()));
    }
    all
}

/// What in `query` isn't there.
fn missing(query: &Query, exposed: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let expression = |text: &str| Regex::new(text).expect("a valid expression");
    let metric = expression(r"(sakidori_\w+)(\{[^}]*\})?");
    let label = expression(r#"(\w+)(?:=~|!~|!=|=)""#);
    let by = expression(r"by \(([^)]*)\)");
    let values = expression(r"^label_values\(.*, (\w+)\)$");
    let shown = expression(r"\{\{(\w+)");
    let (mut missing, mut of_all, mut kept) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for found in metric.captures_iter(&query.expr) {
        let Some(labels) = exposed.get(&found[1]) else {
            missing.push(format!("{}: no metric {}", query.place, &found[1]));
            continue;
        };
        of_all.extend(labels.iter().copied());
        let selector = found.get(2).map_or("", |selector| selector.as_str());
        for asked in label.captures_iter(selector) {
            if !labels.contains(&asked[1]) {
                missing.push(format!(
                    "{}: {} has no label {}",
                    query.place, &found[1], &asked[1]
                ));
            }
        }
    }
    if of_all.is_empty() {
        missing.push(format!("{}: names no metric", query.place));
    }
    let lists = by
        .captures_iter(&query.expr)
        .chain(values.captures_iter(&query.expr));
    for list in lists {
        for name in list[1].split(", ") {
            kept.insert(name.to_owned());
            if !of_all.contains(name) {
                missing.push(format!("{}: no label {name}", query.place));
            }
        }
    }
    for name in shown.captures_iter(&query.shown) {
        if !kept.contains(&name[1]) {
            missing.push(format!(
                "{}: shows {}, which is not kept",
                query.place, &name[1]
            ));
        }
    }
    missing
}

/// A sale that runs, one that comes, and a source that can't be read.
fn calendar(source: String) -> Value {
    let at = |seconds: i64| (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string();
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": "SaleCalendar",
        "metadata": {"name": "sales"},
        "spec": {
            "events": [
                {"name": "now", "start": at(10), "end": at(600)},
                {"name": "later", "start": at(86_400), "end": at(90_000)},
            ],
            "sources": [{"name": "lost", "format": "ics", "url": source}],
        },
    })
}

#[test]
fn every_metric_and_label_of_the_dashboard_and_the_alerts_is_exposed() {
    play("monitoring", async |scene| {
        scene.deploy("web", 1).await?;
        scene.apply(calendar(scene.source.url("/lost.ics"))).await?;
        let sale = json!({
            "type": "sale-calendar",
            "metadata": {
                "calendar": "sales",
                "calendarKind": "SaleCalendar",
                "multiplier": "8",
                "baseline": "1",
                "leadTime": "8s",
                "rampUp": "0",
            },
        });
        // 8 replicas are above the maximum: the alert on what is impossible is about this one.
        let spec = json!({"minReplicaCount": 1, "maxReplicaCount": 5, "triggers": [sale]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let seen = [
            r#"sakidori_prescale_condition{namespace="monitoring",reason="LimitedByMaxReplicas",scaledObject="web"} 1"#,
            r#"sakidori_prescale_late{namespace="monitoring",scaledObject="web"} 1"#,
            r#"sakidori_prescale_floor_replicas{namespace="monitoring",scaledObject="web"} 8"#,
            r#"sakidori_prescale_ready_replicas{namespace="monitoring",scaledObject="web"} 5"#,
            r#"sakidori_prescale_replicas{namespace="monitoring",scaledObject="web"} 5"#,
            r#"sakidori_prescale_ready_lead_seconds_bucket{namespace="monitoring",scaledObject="web",le="0"} 0"#,
            r#"sakidori_calendar_refresh_errors_total{calendar="sales",kind="SaleCalendar",namespace="monitoring"} "#,
        ];
        let text = eventually("the metrics of a sale", SOON * 3, async || {
            let text = bed::shared()?.operator.lock().await.metrics().await?;
            let missing: Vec<_> = seen.iter().filter(|line| !text.contains(*line)).collect();
            ensure!(missing.is_empty(), "no {missing:?}");
            Ok(Some(text))
        })
        .await?;
        let exposed = exposed(&text);
        let queries = of_the_dashboard().into_iter().chain(of_the_alerts());
        let missing: Vec<_> = queries
            .flat_map(|query| missing(&query, &exposed))
            .collect();
        ensure!(missing.is_empty(), "{}", missing.join("\n"));
        // And whoever reads of sales finds each of their metrics.
        let page = text_of("docs/prescaling.md");
        let of_sales = exposed.keys().filter(|name| {
            ["sakidori_prescale_", "sakidori_calendar_"]
                .iter()
                .any(|start| name.starts_with(start))
        });
        for name in of_sales {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let name = base.unwrap_or(name);
            ensure!(
                page.contains(&format!("`{name}`")),
                "docs/prescaling.md doesn't tell of {name}"
            );
        }
        Ok(())
    });
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
    promtool(&["test", "rules", "alerts.test.yaml"]).unwrap();
}

/// The chart's templates are not rendered here: what they put in place are files that stand for themselves.
#[test]
fn every_alert_has_its_runbook() {
    let page = text_of("docs/alerts.md");
    let rules: Value = serde_saphyr::from_str(&text_of(ALERTS)).unwrap();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        let runbook = format!("docs/alerts.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], json!(runbook), "{name}");
        assert!(page.contains(&format!("\n## {name}\n")), "{name}");
    }
}
