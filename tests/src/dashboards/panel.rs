//! One panel: what it asks Prometheus, and how Grafana shows it.

use serde_json::{Value, json};

/// Grafana's names of units. A panel without one shows a number that means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A count.
    Count,
    Seconds,
    /// A duration in words, such as "3 hours".
    Duration,
    PerSecond,
    Bytes,
    /// A share of a processor.
    Cores,
    /// Milliseconds since 1970.
    Time,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Seconds => "s",
            Self::Duration => "dtdurations",
            Self::PerSecond => "reqps",
            Self::Bytes => "bytes",
            Self::Cores => "none",
            Self::Time => "dateTimeFromNow",
        }
    }
}

/// Grafana's colours, by what they say here.
pub const FINE: &str = "green";
pub const WATCH: &str = "orange";
pub const BAD: &str = "red";
pub const CALM: &str = "blue";
pub const OFF: &str = "text";

/// Fine below 1, and then not.
pub const NONE_IS_FINE: &[(f64, &str)] = &[(f64::NEG_INFINITY, FINE), (1.0, BAD)];
/// Worth a look from 1 on.
pub const NONE_IS_USUAL: &[(f64, &str)] = &[(f64::NEG_INFINITY, OFF), (1.0, WATCH)];
/// Neither good nor bad.
pub const PLAIN: &[(f64, &str)] = &[(f64::NEG_INFINITY, CALM)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stat,
    TimeSeries,
    StateTimeline,
    Table,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::TimeSeries => "timeseries",
            Self::StateTimeline => "state-timeline",
            Self::Table => "table",
        }
    }
}

struct Query {
    expr: String,
    /// `{{label}}` stands for a label's value. A table takes it as the heading of the query's column.
    legend: String,
    dashed: bool,
    colour: Option<&'static str>,
}

/// A value, what it is called, and its colour.
type Name = (f64, &'static str, &'static str);

/// What a column of a table shows.
struct Column {
    label: &'static str,
    heading: &'static str,
}

/// A panel. It is built by naming what differs from the usual.
pub struct Panel {
    kind: Kind,
    title: &'static str,
    about: &'static str,
    unit: Unit,
    queries: Vec<Query>,
    thresholds: Vec<(f64, &'static str)>,
    /// What values are called instead.
    names: Vec<Name>,
    columns: Vec<Column>,
    column_units: Vec<(&'static str, Unit)>,
    column_names: Vec<(&'static str, Vec<Name>)>,
    hidden: Vec<&'static str>,
    /// Where a click on a column leads.
    link: Option<(&'static str, &'static str, &'static str)>,
    nothing: &'static str,
    stacked: bool,
    names_series: bool,
    whole: bool,
    now: bool,
    sorted: &'static str,
    pub(super) width: u32,
}

impl Panel {
    fn new(kind: Kind, title: &'static str, about: &'static str, unit: Unit) -> Self {
        Self {
            kind,
            title,
            about,
            unit,
            queries: Vec::new(),
            thresholds: PLAIN.to_vec(),
            names: Vec::new(),
            columns: Vec::new(),
            column_units: Vec::new(),
            column_names: Vec::new(),
            hidden: Vec::new(),
            link: None,
            nothing: "",
            stacked: false,
            names_series: false,
            whole: false,
            now: false,
            sorted: "",
            width: 0,
        }
    }

    /// One number, or one for each series.
    pub fn stat(title: &'static str, unit: Unit, about: &'static str) -> Self {
        Self::new(Kind::Stat, title, about, unit)
    }

    /// Lines over time.
    pub fn series(title: &'static str, unit: Unit, about: &'static str) -> Self {
        Self::new(Kind::TimeSeries, title, about, unit)
    }

    /// What was so, and when: a bar for each series.
    pub fn timeline(title: &'static str, about: &'static str) -> Self {
        Self::new(Kind::StateTimeline, title, about, Unit::Count)
    }

    /// What is so now.
    pub fn table(title: &'static str, about: &'static str) -> Self {
        Self::new(Kind::Table, title, about, Unit::Count)
    }

    /// What Prometheus is asked, and what each series is called.
    #[must_use]
    pub fn ask(mut self, expr: impl Into<String>, legend: impl Into<String>) -> Self {
        self.queries.push(Query {
            expr: expr.into(),
            legend: legend.into(),
            dashed: false,
            colour: None,
        });
        self
    }

    /// As [`ask`](Self::ask), for what bounds the other lines.
    #[must_use]
    pub fn bound(
        mut self,
        expr: impl Into<String>,
        legend: impl Into<String>,
        colour: &'static str,
    ) -> Self {
        self.queries.push(Query {
            expr: expr.into(),
            legend: legend.into(),
            dashed: true,
            colour: Some(colour),
        });
        self
    }

    /// The colour of the last query's lines.
    #[must_use]
    pub fn coloured(mut self, colour: &'static str) -> Self {
        if let Some(query) = self.queries.last_mut() {
            query.colour = Some(colour);
        }
        self
    }

    /// From each of these values on, the colour.
    #[must_use]
    pub fn steps(mut self, steps: &[(f64, &'static str)]) -> Self {
        self.thresholds = steps.to_vec();
        self
    }

    /// What a value is called, and its colour.
    #[must_use]
    pub fn named(mut self, value: f64, name: &'static str, colour: &'static str) -> Self {
        self.names.push((value, name, colour));
        self
    }

    /// A label as a column, in this order.
    #[must_use]
    pub fn column(mut self, label: &'static str, heading: &'static str) -> Self {
        self.columns.push(Column { label, heading });
        self
    }

    /// The unit of the column that a query fills.
    #[must_use]
    pub fn column_unit(mut self, heading: &'static str, unit: Unit) -> Self {
        self.column_units.push((heading, unit));
        self
    }

    /// What the values of a query's column are called.
    #[must_use]
    pub fn column_names(mut self, heading: &'static str, names: &[Name]) -> Self {
        self.column_names.push((heading, names.to_vec()));
        self
    }

    /// A label that tells rows apart and isn't shown.
    #[must_use]
    pub fn hiding(mut self, label: &'static str) -> Self {
        self.hidden.push(label);
        self
    }

    /// A click on the column `heading` leads to `url`.
    #[must_use]
    pub fn leads(mut self, heading: &'static str, title: &'static str, url: &'static str) -> Self {
        self.link = Some((heading, title, url));
        self
    }

    /// What stands where there is nothing to show.
    #[must_use]
    pub fn or_says(mut self, text: &'static str) -> Self {
        self.nothing = text;
        self
    }

    #[must_use]
    pub fn stacked(mut self) -> Self {
        self.stacked = true;
        self
    }

    /// A stat asks for now only. One that asks for the whole time shows the last value that there was, also of what is gone.
    #[must_use]
    pub fn now(mut self) -> Self {
        self.now = true;
        self
    }

    /// A stat shows what its series is called rather than its value.
    #[must_use]
    pub fn naming_series(mut self) -> Self {
        self.names_series = true;
        self.now()
    }

    /// A table is sorted by this column.
    #[must_use]
    pub fn sorted_by(mut self, heading: &'static str) -> Self {
        self.sorted = heading;
        self
    }

    /// Of the grid's 24 columns.
    #[must_use]
    pub fn width(mut self, columns: u32) -> Self {
        self.width = columns;
        self
    }

    /// No fractions: replicas are whole.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

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
