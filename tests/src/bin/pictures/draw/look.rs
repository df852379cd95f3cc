//! What a panel's JSON says of how its values look: thresholds, names of values, overrides, legends.

use std::collections::BTreeMap;

use serde_json::Value;

use super::words;
use crate::ask::Series;

/// Colours of lines, in turn: Grafana's classic palette, as far as it tells lines apart on dark.
const PALETTE: [&str; 12] = [
    "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#fade2a",
    "#37872d", "#c0d8ff", "#ffa6b0", "#96d98d",
];

/// Grafana's names of colours, on dark.
pub fn colour(name: &str) -> &str {
    match name {
        "green" => "#73bf69",
        "orange" => "#ff9830",
        "red" => "#f2495c",
        "blue" => "#5794f2",
        "purple" => "#b877d9",
        "text" => "#ccccdc",
        other => other,
    }
}

pub fn of_palette(index: usize) -> &'static str {
    PALETTE[index % PALETTE.len()]
}

/// What `fieldConfig` says, of all and of what is overridden.
pub struct Look<'a> {
    defaults: &'a Value,
    overrides: Vec<(&'a str, &'a str, &'a Value)>,
    now: f64,
}

impl<'a> Look<'a> {
    pub fn of(panel: &'a Value, now: f64) -> Self {
        let mut overrides = Vec::new();
        let listed = panel["fieldConfig"]["overrides"].as_array();
        for one in listed.into_iter().flatten() {
            let name = one["matcher"]["options"].as_str().unwrap_or_default();
            for property in one["properties"].as_array().into_iter().flatten() {
                let id = property["id"].as_str().unwrap_or_default();
                overrides.push((name, id, &property["value"]));
            }
        }
        Self {
            defaults: &panel["fieldConfig"]["defaults"],
            overrides,
            now,
        }
    }

    /// An override of what has this name: a query's, or a column's.
    pub fn overridden(&self, name: &str, id: &str) -> Option<&'a Value> {
        let mut all = self.overrides.iter();
        let found = all.find(|(of, what, _)| *of == name && *what == id);
        found.map(|(_, _, value)| *value)
    }

    pub fn custom(&self, name: &str) -> &'a Value {
        &self.defaults["custom"][name]
    }

    pub fn nothing(&self) -> &'a str {
        self.defaults["noValue"].as_str().unwrap_or("No data")
    }

    pub fn is_whole(&self) -> bool {
        self.defaults["decimals"] == 0
    }

    /// Whether its units are powers of 1024.
    pub fn is_binary(&self) -> bool {
        self.defaults["unit"] == "bytes"
    }

    /// How a value of the query or column `name` reads.
    pub fn text(&self, name: &str, value: f64) -> String {
        if let Some(named) = self.named(name, value) {
            return named["text"].as_str().unwrap_or_default().to_owned();
        }
        let unit = self.overridden(name, "unit");
        let unit = unit.unwrap_or(&self.defaults["unit"]);
        let unit = unit.as_str().unwrap_or("short");
        words::value(value, unit, self.is_whole(), self.now)
    }

    /// The colour of a value, by its name or by the thresholds.
    pub fn colour(&self, name: &str, value: f64) -> &'a str {
        if let Some(colour) = self
            .named(name, value)
            .and_then(|named| named["color"].as_str())
        {
            return self::colour(colour);
        }
        let steps = self.defaults["thresholds"]["steps"].as_array();
        let mut passed = steps.into_iter().flatten().filter(|step| {
            let from = step["value"].as_f64();
            from.is_none_or(|from| value >= from)
        });
        let colour = passed.next_back().and_then(|step| step["color"].as_str());
        self::colour(colour.unwrap_or("text"))
    }

    fn named(&self, name: &str, value: f64) -> Option<&'a Value> {
        let mappings = self.overridden(name, "mappings");
        let mappings = mappings.unwrap_or(&self.defaults["mappings"]);
        let options = mappings.get(0)?.get("options")?;
        options.get(value.to_string())
    }
}

/// What a series is called: its legend, with its labels in it.
pub fn legend(format: &str, series: &Series) -> String {
    let mut text = format.to_owned();
    while let Some((before, rest)) = text.split_once("{{") {
        let Some((label, after)) = rest.split_once("}}") else {
            break;
        };
        let value = of_label(&series.labels, label.trim());
        text = format!("{before}{value}{after}");
    }
    text
}

fn of_label<'s>(labels: &'s BTreeMap<String, String>, name: &str) -> &'s str {
    labels.get(name).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_legend_has_the_values_of_labels() {
        let labels = [("a".to_owned(), "x".to_owned())].into();
        let series = Series {
            labels,
            points: Vec::new(),
        };
        assert_eq!(legend("{{a}}: {{ b }}!", &series), "x: !");
        assert_eq!(legend("plain {{", &series), "plain {{");
    }

    #[test]
    fn values_have_the_colours_of_thresholds_and_names() {
        let mapping = json!({"type": "value", "options": {"1": {"text": "yes", "color": "red"}}});
        let panel = json!({"fieldConfig": {
            "defaults": {"unit": "s", "thresholds": {"steps": [
                {"value": null, "color": "green"}, {"value": 5.0, "color": "orange"},
            ]}},
            "overrides": [{"matcher": {"id": "byName", "options": "Failing"},
                "properties": [{"id": "mappings", "value": [mapping]}]}],
        }});
        let look = Look::of(&panel, 0.0);
        assert_eq!(look.colour("A", 4.9), colour("green"));
        assert_eq!(look.colour("A", 5.0), colour("orange"));
        assert_eq!(
            (look.colour("Failing", 1.0), &*look.text("Failing", 1.0)),
            (colour("red"), "yes")
        );
        assert_eq!(look.text("A", 1.0), "1 s");
    }
}
