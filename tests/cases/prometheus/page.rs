//! docs/metrics.md against what processes show: every name, type and label, and who shows it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use regex::Regex;
use sakidori_tests::binary;

/// What is shown under a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Family {
    pub kind: String,
    pub labels: BTreeSet<String>,
}

pub type Families = BTreeMap<String, Family>;

/// A row of the page.
struct Row {
    name: String,
    kind: String,
    labels: BTreeSet<String>,
    from: String,
}

/// All families of a text, with the labels of their series. `le` is a histogram's own.
pub fn families(text: &str) -> Result<Families> {
    let label = Regex::new(r#"(\w+)=""#)?;
    let mut families = Families::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("a type")?;
            current = name.to_owned();
            let before = families.insert(
                current.clone(),
                Family {
                    kind: kind.to_owned(),
                    labels: BTreeSet::new(),
                },
            );
            ensure!(before.is_none(), "{name} is there twice");
        } else if !line.starts_with('#') {
            let family = families
                .get_mut(&current)
                .context("a series without a type")?;
            ensure!(line.starts_with(&current), "{line} stands under {current}");
            let labels = label.captures_iter(line).map(|found| found[1].to_owned());
            family.labels.extend(labels.filter(|name| name != "le"));
        }
    }
    Ok(families)
}

fn rows() -> Result<Vec<Row>> {
    let page = std::fs::read_to_string(binary::repository().join("docs/metrics.md"))?;
    let quoted = Regex::new("`([^`]+)`")?;
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, _unit, _meaning, from, _] = cells[..] else {
            return None;
        };
        let labels = quoted.captures_iter(labels);
        Some(Row {
            name: name.trim_matches('`').to_owned(),
            kind: kind.to_owned(),
            labels: labels.map(|found| found[1].to_owned()).collect(),
            from: from.to_owned(),
        })
    });
    Ok(rows.collect())
}

/// What the page and the processes don't agree on. `rare` are names that need not be shown.
pub fn differences(
    leader: &str,
    follower: &str,
    adapter: &str,
    rare: &[&str],
) -> Result<Vec<String>> {
    let texts = [families(leader)?, families(follower)?, families(adapter)?];
    let rows = rows()?;
    ensure!(rows.len() > 40, "the page has {} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let name = &row.name;
        let shown: Vec<bool> = texts.iter().map(|text| text.contains_key(name)).collect();
        let may = match row.from.as_str() {
            "leader" => [true, false, false],
            "each" => [true, true, false],
            "each, adapter" => [true; 3],
            other => {
                wrong.push(format!("{name} is from {other:?}"));
                continue;
            }
        };
        if !shown.contains(&true) && !rare.contains(&name.as_str()) {
            wrong.push(format!("nobody shows {name}"));
        }
        if shown.iter().zip(may).any(|(shown, may)| *shown && !may) {
            wrong.push(format!(
                "{name} is from {}, but {shown:?} show it",
                row.from
            ));
        }
        let mut labels = BTreeSet::new();
        for family in texts.iter().filter_map(|text| text.get(name)) {
            if family.kind != row.kind {
                wrong.push(format!("{name} is a {}, not a {}", family.kind, row.kind));
            }
            labels.extend(family.labels.iter().cloned());
        }
        if shown.contains(&true) && labels != row.labels {
            wrong.push(format!("{name} has {labels:?}, not {:?}", row.labels));
        }
    }
    let documented: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    for name in texts.iter().flat_map(BTreeMap::keys) {
        if !documented.contains(name.as_str()) {
            wrong.push(format!("the page doesn't tell of {name}"));
        }
    }
    Ok(wrong)
}
