//! A panel as Grafana reads it. Its schema wants many fields that are the same everywhere: they stand here.

use serde_json::{Value, json};

use super::panel::{Kind, Name, Panel, Query};

impl Panel {
    pub(super) fn json(&self, id: u32, place: [u32; 4]) -> Value {
        let [x, y, w, h] = place;
        let mut panel = json!({
            "id": id,
            "type": self.kind.name(),
            "title": self.title,
            "description": self.about,
            "gridPos": {"x": x, "y": y, "w": w, "h": h},
            "datasource": super::datasource(),
            "targets": self.targets(),
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.options(),
        });
        if self.kind == Kind::Table {
            panel["transformations"] = self.transformations();
        }
        panel
    }

    fn targets(&self) -> Vec<Value> {
        let instant = self.now || self.kind == Kind::Table;
        let format = match self.kind {
            Kind::Table => "table",
            _ => "time_series",
        };
        let named = ('A'..='Z').zip(&self.queries);
        let target = |(name, query): (char, &Query)| {
            json!({
                "refId": name.to_string(),
                "datasource": super::datasource(),
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend,
                "format": format,
                "instant": instant,
                "range": !instant,
            })
        };
        named.map(target).collect()
    }

    fn defaults(&self) -> Value {
        let steps = self.thresholds.iter().map(|(from, colour)| {
            // Grafana's first step has no value: it begins below all.
            let value = if from.is_finite() {
                json!(from)
            } else {
                Value::Null
            };
            json!({"value": value, "color": colour})
        });
        let mode = match self.kind {
            Kind::TimeSeries => "palette-classic",
            _ => "thresholds",
        };
        let mut defaults = json!({
            "unit": self.unit.name(),
            "color": {"mode": mode},
            "thresholds": {"mode": "absolute", "steps": steps.collect::<Vec<_>>()},
            "mappings": mappings(&self.names),
            "noValue": if self.nothing.is_empty() { "nothing" } else { self.nothing },
        });
        if self.whole {
            defaults["decimals"] = json!(0);
        }
        match self.kind {
            Kind::TimeSeries => {
                defaults["min"] = json!(0);
                defaults["custom"] = json!({
                    "drawStyle": "line",
                    "lineInterpolation": if self.whole { "stepAfter" } else { "linear" },
                    "lineWidth": 2,
                    "fillOpacity": if self.stacked { 30 } else { 8 },
                    "showPoints": "never",
                    "spanNulls": false,
                    "stacking": {"mode": if self.stacked { "normal" } else { "none" }, "group": "A"},
                });
            }
            Kind::StateTimeline => {
                defaults["custom"] = json!({"fillOpacity": 80, "lineWidth": 0});
            }
            Kind::Table => {
                defaults["custom"] =
                    json!({"align": "auto", "filterable": false, "inspect": false});
            }
            Kind::Stat => {}
        }
        defaults
    }

    fn overrides(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for (name, query) in ('A'..='Z').zip(&self.queries) {
            let mut properties = Vec::new();
            if query.dashed {
                let style = json!({"fill": "dash", "dash": [8, 6]});
                properties.push(json!({"id": "custom.lineStyle", "value": style}));
                properties.push(json!({"id": "custom.fillOpacity", "value": 0}));
            }
            if let Some(colour) = query.colour.filter(|colour| !colour.is_empty()) {
                let fixed = json!({"mode": "fixed", "fixedColor": colour});
                properties.push(json!({"id": "color", "value": fixed}));
            }
            if !properties.is_empty() {
                let matcher = json!({"id": "byFrameRefID", "options": name.to_string()});
                all.push(json!({"matcher": matcher, "properties": properties}));
            }
        }
        let by_name = |name: &str, property: Value| json!({"matcher": {"id": "byName", "options": name}, "properties": [property]});
        for (heading, unit) in &self.column_units {
            let property = json!({"id": "unit", "value": unit.name()});
            all.push(by_name(heading, property));
        }
        for (heading, names) in &self.column_names {
            let property = json!({"id": "mappings", "value": mappings(names)});
            all.push(by_name(heading, property));
        }
        if let Some((heading, title, url)) = self.link {
            let link = json!([{"title": title, "url": url, "targetBlank": false}]);
            all.push(by_name(heading, json!({"id": "links", "value": link})));
        }
        all
    }

    fn options(&self) -> Value {
        let tooltip = json!({"mode": "multi", "sort": "desc"});
        let legend = json!({
            "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [],
        });
        match self.kind {
            Kind::Stat => json!({
                "graphMode": if self.now { "none" } else { "area" },
                "colorMode": "value",
                "justifyMode": "auto",
                "textMode": if self.names_series { "name" } else { "auto" },
                "wideLayout": true,
                "showPercentChange": false,
                "percentChangeColorMode": "standard",
                "orientation": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            }),
            Kind::TimeSeries => json!({"legend": legend, "tooltip": tooltip}),
            Kind::StateTimeline => json!({
                "showValue": "auto",
                "rowHeight": 0.8,
                "mergeValues": true,
                "alignValue": "left",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []},
                "tooltip": tooltip,
            }),
            Kind::Table => {
                let sorted = json!([{"displayName": self.sorted, "desc": false}]);
                let sorted = if self.sorted.is_empty() {
                    json!([])
                } else {
                    sorted
                };
                json!({"frameIndex": 0, "showHeader": true, "cellHeight": "sm", "sortBy": sorted})
            }
        }
    }

    /// The series of all queries become one row for each set of labels, with a column for each query.
    fn transformations(&self) -> Value {
        let mut order = serde_json::Map::new();
        let mut headings = serde_json::Map::new();
        for (index, column) in self.columns.iter().enumerate() {
            order.insert(column.label.to_owned(), json!(index));
            headings.insert(column.label.to_owned(), json!(column.heading));
        }
        let mut excluded = json!({"Time": true});
        for label in &self.hidden {
            excluded[*label] = json!(true);
        }
        let several = self.queries.len() > 1;
        for (index, (name, query)) in ('A'..='Z').zip(&self.queries).enumerate() {
            // Grafana's names for what a query's value is in.
            let field = if several {
                format!("Value #{name}")
            } else {
                "Value".to_owned()
            };
            if query.legend.is_empty() {
                excluded[field] = json!(true);
            } else {
                order.insert(field.clone(), json!(self.columns.len() + index));
                headings.insert(field, json!(query.legend));
            }
        }
        json!([
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {
                "excludeByName": excluded, "indexByName": order, "renameByName": headings,
            }},
        ])
    }
}

fn mappings(names: &[Name]) -> Vec<Value> {
    if names.is_empty() {
        return Vec::new();
    }
    let mut options = serde_json::Map::new();
    for (index, (value, name, colour)) in names.iter().enumerate() {
        let text = json!({"text": name, "color": colour, "index": index});
        options.insert(value.to_string(), text);
    }
    vec![json!({"type": "value", "options": options})]
}
