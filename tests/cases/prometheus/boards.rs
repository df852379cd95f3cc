//! Grafana's dashboards as Grafana asks for them: variables are filled in, and then each query of each panel.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sakidori_tests::binary;
use serde_json::Value;

use super::server::Asked;

/// A dashboard.
pub struct Board {
    pub name: String,
    pub variables: Vec<Variable>,
    pub queries: Vec<Query>,
}

pub struct Variable {
    pub name: String,
    pub query: String,
    /// Several values may be chosen, or all.
    pub multi: bool,
    /// What all is.
    pub all: Option<String>,
}

pub struct Query {
    pub panel: String,
    pub expression: String,
}

/// What is chosen for each variable.
pub type Choice = BTreeMap<String, String>;

/// The dashboards of the chart.
pub fn ours() -> Result<Vec<Board>> {
    let folder = binary::repository().join("charts/sakidori/dashboards");
    let mut files: Vec<_> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(path)?;
            let board: Value = serde_json::from_str(&text)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            read(&name, &board).with_context(|| format!("{}", path.display()))
        })
        .collect()
}

fn read(name: &str, board: &Value) -> Result<Board> {
    let mut queries = Vec::new();
    collect(
        board["panels"].as_array().context("no panels")?,
        &mut queries,
    );
    let list = board["templating"]["list"].as_array();
    let variables = list
        .into_iter()
        .flatten()
        .filter(|one| one["type"] == "query")
        .map(|one| {
            let query = one["query"]["query"].as_str().or(one["query"].as_str());
            Ok(Variable {
                name: one["name"].as_str().context("no name")?.to_owned(),
                query: query.context("no query")?.to_owned(),
                multi: one["multi"] == true,
                all: one["allValue"].as_str().map(str::to_owned),
            })
        })
        .collect::<Result<_>>()?;
    Ok(Board {
        name: name.to_owned(),
        variables,
        queries,
    })
}

/// Rows have panels of their own.
fn collect(panels: &[Value], queries: &mut Vec<Query>) {
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            if let Some(expression) = target["expr"].as_str() {
                queries.push(Query {
                    panel: panel["title"].as_str().unwrap_or("?").to_owned(),
                    expression: expression.to_owned(),
                });
            }
        }
        if let Some(inner) = panel["panels"].as_array() {
            collect(inner, queries);
        }
    }
}

impl Board {
    /// What a user may choose: all, and all one by one, where several may be chosen; else each value, in `namespace` only.
    pub async fn choices(&self, prometheus: &Asked<'_>, namespace: &str) -> Result<Vec<Choice>> {
        let mut choices = vec![Choice::new()];
        for variable in &self.variables {
            let mut more = Vec::new();
            for choice in choices {
                let query = filled_in(&variable.query, &choice);
                let values = prometheus.label_values(&query).await?;
                for value in variable.chosen(&values, namespace) {
                    let mut choice = choice.clone();
                    choice.insert(variable.name.clone(), value);
                    more.push(choice);
                }
            }
            choices = more;
        }
        Ok(choices)
    }

    /// Whether every choice has to show something, and not only some.
    pub fn shows_all(&self) -> bool {
        self.variables.iter().all(|variable| variable.multi)
    }
}

impl Variable {
    fn chosen(&self, values: &[String], namespace: &str) -> Vec<String> {
        if self.multi {
            let each = format!("({})", values.join("|"));
            let all = self.all.clone().unwrap_or_else(|| each.clone());
            return vec![all, each];
        }
        if self.name == "namespace" {
            return vec![namespace.to_owned()];
        }
        values.to_vec()
    }
}

/// The expression as Grafana sends it, for scrapes every second.
pub fn filled_in(expression: &str, choice: &Choice) -> String {
    let mut filled = expression
        .replace("$__rate_interval", "15s")
        .replace("$__interval", "15s")
        .replace("$__range", "5m");
    // The longest first: one name may begin with another.
    let mut variables: Vec<_> = choice.iter().collect();
    variables.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in variables {
        filled = filled.replace(&format!("${{{name}}}"), value);
        filled = filled.replace(&format!("${name}"), value);
    }
    filled
}

#[test]
fn variables_are_filled_in_as_grafana_does() {
    let choice = [("name", "a|b"), ("names", "c")];
    let choice = choice.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(
        filled_in(
            "x{a=~\"$name\",b=\"${names}\"}[$__rate_interval]",
            &choice.into()
        ),
        "x{a=~\"a|b\",b=\"c\"}[15s]"
    );
}
