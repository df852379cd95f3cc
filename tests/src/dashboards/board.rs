//! A dashboard: rows of panels, the variables that a reader chooses by, and the way to the other dashboards.

use serde_json::{Value, json};

use super::datasource;
use super::panel::Panel;

/// Grafana's grid is so wide.
const COLUMNS: u32 = 24;
/// The newest that Grafana 11 and 12 both read.
const SCHEMA_VERSION: u32 = 41;
/// All dashboards have it, and find each other by it.
const TAG: &str = "sakidori";
/// The page about alerts. It begins as the runbooks' addresses in the alerts do, which the chart replaces where somebody has the pages elsewhere.
const DOCS: &str = "https://sakidori.dev/docs/alerts.md";

/// A variable whose values are a label's.
pub struct Variable {
    pub name: &'static str,
    pub label: &'static str,
    /// `label_values(...)`.
    pub query: &'static str,
    /// Whether several can be chosen, and all.
    pub several: bool,
}

/// What is marked on every panel that has a time axis.
pub struct Mark {
    pub name: &'static str,
    pub expr: &'static str,
    pub title: &'static str,
    pub colour: &'static str,
    /// The query's value is the time, in milliseconds: it may be one to come.
    pub value_is_time: bool,
}

/// Panels under a heading. They are put side by side, and below one another where a line is full.
pub struct Row {
    pub heading: &'static str,
    pub height: u32,
    pub panels: Vec<Panel>,
}

pub struct Board {
    pub uid: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub variables: Vec<Variable>,
    pub marks: Vec<Mark>,
    /// What is shown at first, such as `now-3h`.
    pub from: &'static str,
    pub rows: Vec<Row>,
}

impl Board {
    pub fn json(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": [TAG, "keda", "autoscaling"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": self.from, "to": "now"},
            "annotations": {"list": self.marks.iter().map(mark).collect::<Vec<_>>()},
            "templating": {"list": self.templating()},
            "links": links(),
            "panels": self.panels(),
        })
    }

    fn templating(&self) -> Vec<Value> {
        let mut all = vec![json!({
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "current": {"text": "default", "value": "default"},
        })];
        all.extend(self.variables.iter().map(variable));
        all
    }

    fn panels(&self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut y = 0;
        for row in &self.rows {
            if !row.heading.is_empty() {
                let id = next_id(&all);
                all.push(json!({
                    "id": id, "type": "row", "title": row.heading, "collapsed": false,
                    "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}, "panels": [],
                }));
                y += 1;
            }
            let mut x = 0;
            for panel in &row.panels {
                if x + panel.width > COLUMNS {
                    (x, y) = (0, y + row.height);
                }
                all.push(panel.json(next_id(&all), [x, y, panel.width, row.height]));
                x += panel.width;
            }
            y += row.height;
        }
        all
    }
}

fn next_id(panels: &[Value]) -> u32 {
    u32::try_from(panels.len() + 1).unwrap_or(u32::MAX)
}

fn variable(variable: &Variable) -> Value {
    let mut all = json!({
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": datasource(),
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        // 2: whenever the time range changes.
        "refresh": 2,
        "sort": 1,
        "multi": variable.several,
        "includeAll": variable.several,
    });
    if variable.several {
        all["allValue"] = json!(".*");
        all["current"] = json!({"text": ["All"], "value": ["$__all"]});
    }
    all
}

fn mark(mark: &Mark) -> Value {
    json!({
        "name": mark.name,
        "enable": true,
        "iconColor": mark.colour,
        "datasource": datasource(),
        "expr": mark.expr,
        "step": "30s",
        "titleFormat": mark.title,
        "useValueForTime": mark.value_is_time,
    })
}

fn links() -> Vec<Value> {
    let link = |kind: &str, title: &str, url: &str| {
        json!({
            "type": kind, "title": title, "url": url, "icon": if kind == "link" { "doc" } else { "dashboard" },
            "tooltip": "", "tags": if kind == "link" { vec![] } else { vec![TAG] },
            "asDropdown": false, "targetBlank": kind == "link", "includeVars": kind != "link", "keepTime": kind != "link",
        })
    };
    vec![
        link("dashboards", "Sakidori", ""),
        link("link", "Runbooks", DOCS),
    ]
}
