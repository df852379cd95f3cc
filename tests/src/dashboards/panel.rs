//! One panel: what it asks Prometheus, and how Grafana shows it.

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
    pub(super) fn name(self) -> &'static str {
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
pub(super) enum Kind {
    Stat,
    TimeSeries,
    StateTimeline,
    Table,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::TimeSeries => "timeseries",
            Self::StateTimeline => "state-timeline",
            Self::Table => "table",
        }
    }
}

pub(super) struct Query {
    pub expr: String,
    /// `{{label}}` stands for a label's value. A table takes it as the heading of the query's column.
    pub legend: String,
    pub dashed: bool,
    pub colour: Option<&'static str>,
}

/// A value, what it is called, and its colour.
pub(super) type Name = (f64, &'static str, &'static str);

/// What a column of a table shows.
pub(super) struct Column {
    pub label: &'static str,
    pub heading: &'static str,
}

/// A panel. It is built by naming what differs from the usual.
pub struct Panel {
    pub(super) kind: Kind,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) unit: Unit,
    pub(super) queries: Vec<Query>,
    pub(super) thresholds: Vec<(f64, &'static str)>,
    /// What values are called instead.
    pub(super) names: Vec<Name>,
    pub(super) columns: Vec<Column>,
    pub(super) column_units: Vec<(&'static str, Unit)>,
    pub(super) column_names: Vec<(&'static str, Vec<Name>)>,
    pub(super) hidden: Vec<&'static str>,
    /// Where a click on a column leads.
    pub(super) link: Option<(&'static str, &'static str, &'static str)>,
    pub(super) nothing: &'static str,
    pub(super) stacked: bool,
    pub(super) names_series: bool,
    pub(super) whole: bool,
    pub(super) now: bool,
    pub(super) sorted: &'static str,
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
}
