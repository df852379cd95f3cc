//! The chart's dashboards: what Grafana's own schema says of them, and what a reader may expect of each panel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use sakidori_test_cluster::install;
use sakidori_tests::{binary, dashboards};
use serde_json::Value;

use crate::alerts::text_of;
use crate::metric_names::{Asked, Known};

const COLUMNS: u64 = 24;

/// Each dashboard as it is in the chart. That it is what the code writes, a test of the reference pages holds.
fn boards() -> BTreeMap<PathBuf, Value> {
    let files = dashboards::files().into_keys();
    let read = |path: PathBuf| {
        let text = text_of(path.to_str().expect("a path in ASCII"));
        let board = serde_json::from_str(&text).expect("JSON");
        (path, board)
    };
    files.map(read).collect()
}

fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    board["panels"].as_array().expect("panels").iter()
}

/// What the checker says of a file, a fault a line.
fn faults(path: &std::path::Path) -> String {
    let program = install::dashboard_check().expect("it can be built");
    let output = Command::new(program).arg(path).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{output:?}");
    said
}

#[test]
fn each_dashboard_is_valid_by_grafanas_own_schema() {
    for file in dashboards::files().into_keys() {
        let faults = faults(&binary::repository().join(file));
        assert!(faults.is_empty(), "{faults}");
    }
}

#[test]
fn what_is_not_by_the_schema_is_told_with_its_place() {
    let (_, text) = dashboards::files().pop_first().expect("a dashboard");
    let folder = tempfile::tempdir().unwrap();
    for (from, to, told) in [
        (
            r#""type": "stat""#,
            r#""type": "stats""#,
            r#"there is no type of panel "stats""#,
        ),
        (r#""unit": "reqps""#, r#""unit": "rps""#, r#"unit "rps""#),
        (
            r#""noValue""#,
            r#""noValues""#,
            "unexpected field 'noValues'",
        ),
        (
            r#""showPoints""#,
            r#""showPoint""#,
            "unexpected field 'showPoint'",
        ),
        (r#""w": 4"#, r#""w": "4""#, "gridPos.w"),
        (
            r#""refId": "A""#,
            r#""refid": "A""#,
            "unexpected field 'refid'",
        ),
        (
            r#""schemaVersion": "#,
            r#""schemaVersions": "#,
            "schemaVersion",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let path = folder.path().join("board.json");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let faults = faults(&path);
        assert!(faults.contains(told), "{from} as {to}: {faults:?}");
    }
}

#[test]
fn a_reader_learns_of_each_panel_what_it_means() {
    for (path, board) in boards() {
        let mut titles = BTreeSet::new();
        for panel in panels(&board).filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap_or_default();
            let place = format!("{}: {title:?}", path.display());
            assert!(!title.is_empty() && titles.insert(title), "{place}");
            let about = panel["description"].as_str().unwrap_or_default();
            assert!(
                about.ends_with('.') && about.len() > 20,
                "{place}: {about:?}"
            );
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{place}"
            );
            // Grafana's sidecar brings the same dashboard to all: each reader has data sources of their own.
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{place}");
            for runbook in runbooks(about) {
                let page = format!("docs/runbooks/{runbook}.md");
                assert!(
                    binary::repository().join(&page).exists(),
                    "{place}: no {page}"
                );
            }
        }
    }
}

/// The pages that a description names.
fn runbooks(about: &str) -> Vec<&str> {
    let after = about.split("Runbook: ").skip(1);
    after.filter_map(|rest| rest.split('.').next()).collect()
}

#[test]
fn panels_lie_side_by_side_and_not_on_one_another() {
    for (path, board) in boards() {
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in panels(&board) {
            let place = format!("{}: {}", path.display(), panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{place}");
            let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
            assert!(
                at("w") > 0 && at("h") > 0 && at("x") + at("w") <= COLUMNS,
                "{place}"
            );
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{place} lies on another panel");
                }
            }
        }
        // And there are no holes: every line of the grid is full.
        let rows = taken.iter().map(|(_, y)| y).collect::<BTreeSet<_>>().len();
        assert_eq!(taken.len(), rows * COLUMNS as usize, "{}", path.display());
    }
}

#[test]
fn the_dashboards_lead_to_one_another() {
    let boards = boards();
    let uids: BTreeSet<_> = boards.values().map(|board| board["uid"].as_str()).collect();
    assert_eq!(uids.len(), boards.len(), "{uids:?}");
    for (path, board) in &boards {
        let text = board.to_string();
        for part in text.split("\"/d/").skip(1) {
            let uid = part.split(['?', '"', '/']).next();
            assert!(
                uids.contains(&uid),
                "{}: no dashboard {uid:?}",
                path.display()
            );
        }
        let tagged = |link: &Value| link["type"] == "dashboards" && link["tags"][0] == "sakidori";
        let links = board["links"].as_array().expect("links");
        assert!(links.iter().any(tagged), "{}", path.display());
        assert_eq!(board["tags"][0], "sakidori", "{}", path.display());
    }
}

/// They are drawn by hand, `make pictures`: after a change of a dashboard's panels they show what isn't there any more.
#[test]
fn the_pictures_show_the_panels_that_there_are() {
    let page = text_of("docs/pictures/README.md");
    for (path, board) in boards() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let picture = binary::repository().join(format!("docs/pictures/{name}.png"));
        assert!(picture.exists(), "no {}", picture.display());
        let (_, section) = page
            .split_once(&format!("({name}.png)\n"))
            .unwrap_or_else(|| panic!("the page has no {name}.png"));
        let section = section.split("\n## ").next().unwrap_or_default();
        let told: Vec<_> = section
            .lines()
            .filter_map(|line| line.strip_prefix("- *")?.split_once("*: "))
            .map(|(title, _)| title)
            .collect();
        let there = panels(&board).filter(|panel| panel["type"] != "row");
        let there: Vec<_> = there.filter_map(|panel| panel["title"].as_str()).collect();
        assert_eq!(told, there, "run `make pictures`: {name}");
    }
}

#[test]
fn every_metric_and_label_of_the_dashboards_is_one_that_there_is() {
    let known = Known::read();
    let mut missing = Vec::new();
    for (path, board) in boards() {
        let mut ask = |place: &Value, query: &Value| {
            let place = format!("{}, {place}", path.display());
            let asked = Asked::by(query.as_str().expect("a query"));
            missing.extend(known.missing(&place, &asked));
        };
        for panel in panels(&board) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                ask(&panel["title"], &target["expr"]);
            }
        }
        for variable in board["templating"]["list"].as_array().expect("variables") {
            if variable["type"] == "query" {
                ask(&variable["name"], &variable["query"]["query"]);
            }
        }
        for mark in board["annotations"]["list"].as_array().expect("marks") {
            ask(&mark["name"], &mark["expr"]);
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
