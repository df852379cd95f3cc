//! The chart's Grafana dashboards, written as tables of panels: what they have in common stands here once. `make docs` writes their
//! JSON into the chart, and a test holds it current.

mod board;
mod json;
mod operator;
mod overview;
mod panel;
mod queries;
mod sale_day;
mod scaled_object;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use board::Board;

/// Where the chart has them.
pub const FOLDER: &str = "charts/sakidori/dashboards";

/// Each dashboard's path in the repository, and its JSON.
pub fn files() -> BTreeMap<PathBuf, String> {
    let boards = [
        ("overview", overview::board()),
        ("scaled-object", scaled_object::board()),
        ("sale-day", sale_day::board()),
    ];
    let file = |(name, board): (&str, Board)| {
        let path = PathBuf::from(format!("{FOLDER}/{name}.json"));
        (path, format!("{:#}\n", board.json()))
    };
    boards.into_iter().map(file).collect()
}

/// The data source that the reader has chosen: no dashboard names one of its own.
fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}
