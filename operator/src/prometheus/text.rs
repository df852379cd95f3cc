//! The text exposition format, for series that are made of what is known when somebody asks.
//!
//! What has a series for each ScaledObject is not kept as series beside the objects: they would have to be kept in step with them, and for
//! ten thousand objects they are some hundred thousand, each with all of its labels. It is written from the objects at each scrape, one line after
//! the other, so a series can't outlive its object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the series of one name are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Family {
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Counter, help)
    }

    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, help)
    }

    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Histogram, help)
    }

    const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help }
    }
}

/// The labels of a series, written once for all families that have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(String);

impl Labels {
    /// In the order in which they are given: alphabetic, as clients of Prometheus write them.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::default().and(pairs)
    }

    /// These and more.
    #[must_use]
    pub fn and<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (name, value) in pairs {
            if !self.0.is_empty() {
                self.0.push(',');
            }
            self.0.push_str(name);
            self.0.push_str("=\"");
            push_escaped(&mut self.0, value);
            self.0.push('"');
        }
        self
    }
}

/// Label values may hold anything.
fn push_escaped(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// Observations, counted by the bounds that they don't exceed.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what exceeds all.
    counts: Box<[u64]>,
    sum: f64,
}

impl Histogram {
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1].into(),
            sum: 0.0,
        }
    }

    pub fn observe(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }
}

/// What is shown, family by family.
#[derive(Default)]
pub struct Page {
    families: BTreeMap<&'static str, (Family, String)>,
}

impl Page {
    pub fn sample(&mut self, family: Family, labels: &Labels, value: f64) {
        self.line(family, "", labels, value);
    }

    pub fn whether(&mut self, family: Family, labels: &Labels, holds: bool) {
        self.line(family, "", labels, f64::from(u8::from(holds)));
    }

    pub fn count(&mut self, family: Family, labels: &Labels, count: u64) {
        // Exact up to 2^53.
        self.line(family, "", labels, count as f64);
    }

    pub fn histogram(&mut self, family: Family, labels: &Labels, histogram: &Histogram) {
        let mut total = 0;
        let bounds = histogram.bounds.iter().map(|bound| number(*bound));
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count;
            let labels = labels.clone().and([("le", bound.as_str())]);
            self.line(family, "_bucket", &labels, total as f64);
        }
        self.line(family, "_sum", labels, histogram.sum);
        self.line(family, "_count", labels, total as f64);
    }

    fn line(&mut self, family: Family, suffix: &str, labels: &Labels, value: f64) {
        let (_, text) = self
            .families
            .entry(family.name)
            .or_insert_with(|| (family, String::new()));
        text.push_str(family.name);
        text.push_str(suffix);
        if !labels.0.is_empty() {
            text.push('{');
            text.push_str(&labels.0);
            text.push('}');
        }
        text.push(' ');
        text.push_str(&number(value));
        text.push('\n');
    }

    /// Everything, in the order of the names.
    pub fn write(self, text: &mut String) {
        for (family, lines) in self.families.into_values() {
            let Family { name, kind, help } = family;
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            // Writing to a string can't fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            text.push_str(&lines);
        }
    }
}

/// As Prometheus spells numbers.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING: Family = Family::gauge("waiting", "What waits");
    const TOOK: Family = Family::histogram("took_seconds", "What it took");

    fn text(fill: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::default();
        fill(&mut page);
        let mut text = String::new();
        page.write(&mut text);
        text
    }

    #[test]
    fn a_family_has_its_lines_together() {
        let labels = |name| Labels::new([("name", name)]);
        let text = text(|page| {
            page.sample(WAITING, &labels("a"), 1.5);
            page.histogram(TOOK, &Labels::default(), &Histogram::new(&[1.0]));
            page.sample(WAITING, &labels("b"), f64::NEG_INFINITY);
            page.whether(WAITING, &labels("c"), true);
            page.count(WAITING, &Labels::default(), 7);
        });
        let expected = "\
# HELP took_seconds What it took
# TYPE took_seconds histogram
took_seconds_bucket{le=\"1\"} 0
took_seconds_bucket{le=\"+Inf\"} 0
took_seconds_sum 0
took_seconds_count 0
# HELP waiting What waits
# TYPE waiting gauge
waiting{name=\"a\"} 1.5
waiting{name=\"b\"} -Inf
waiting{name=\"c\"} 1
waiting 7
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_value_is_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&[-1.0, 0.5, 2.0]);
        for value in [-5.0, -1.0, 0.0, 0.5, 0.6, 3.0] {
            histogram.observe(value);
        }
        let text = text(|page| page.histogram(TOOK, &Labels::default(), &histogram));
        for line in [
            "took_seconds_bucket{le=\"-1\"} 2",
            "took_seconds_bucket{le=\"0.5\"} 4",
            "took_seconds_bucket{le=\"2\"} 5",
            "took_seconds_bucket{le=\"+Inf\"} 6",
            "took_seconds_count 6",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
    }

    #[test]
    fn label_values_may_hold_anything() {
        let labels = Labels::new([("a", "x\"y"), ("b", "back\\slash\nline")]);
        assert_eq!(labels.0, r#"a="x\"y",b="back\\slash\nline""#);
    }

    #[test]
    fn numbers_are_spelled_as_prometheus_spells_them() {
        for (value, spelled) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (0.25, "0.25"),
            (3.0, "3"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(number(value), spelled);
        }
    }
}
