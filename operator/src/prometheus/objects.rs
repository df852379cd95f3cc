//! KEDA's series of each ScaledObject (pkg/metricscollector/prommetrics.go), made at a scrape of what is known of it.

use std::collections::BTreeMap;

use sakidori_engine::ObjectKey;

use super::facts::{Facts, MetricFacts};
use super::text::{Family, Labels, Page};
use super::view::Live;

const VALUE: Family = Family::gauge(
    "keda_scaler_metrics_value",
    "The value of each trigger's metric, as it was last read",
);
const LATENCY: Family = Family::gauge(
    "keda_scaler_metrics_latency_seconds",
    "How long the last read of each metric took",
);
const ACTIVE: Family = Family::gauge(
    "keda_scaler_active",
    "1 where the trigger is active, 0 where it is not",
);
const ERRORS: Family = Family::counter(
    "keda_scaler_detail_errors_total",
    "Failed reads of each trigger, counted once each",
);
const PAUSED: Family = Family::gauge(
    "keda_scaled_object_paused",
    "1 where the ScaledObject is paused",
);
const OBJECT_ERRORS: Family = Family::counter(
    "keda_scaled_object_errors_total",
    "Polls of each ScaledObject in which something failed",
);
const LATE: Family = Family::gauge(
    "keda_internal_scale_loop_latency_seconds",
    "How much later than it was planned the last poll of each ScaledObject began",
);
const EMPTY: Family = Family::counter(
    "keda_scaler_empty_upstream_responses_total",
    "Queries of a source that gave no result",
);
const TRIGGERS: Family = Family::gauge(
    "keda_trigger_registered_total",
    "Triggers in the cluster by type",
);
const RESOURCES: Family = Family::gauge(
    "keda_resource_registered_total",
    "KEDA's resources in the cluster by kind and namespace",
);
const REQUESTS: Family = Family::counter(
    "keda_scaler_http_requests_total",
    "HTTP requests that reads of triggers made",
);
/// Where each trigger has one of its own; else it is `http.rs`'s.
const REQUEST_SECONDS: Family = Family::histogram(super::http::SECONDS, super::http::SECONDS_HELP);

/// KEDA's word for resources without a namespace.
const NO_NAMESPACE: &str = "default";

/// Whether the object, as it stands, has this metric. One that is paused has none.
pub fn has(live: Option<&Live>, metric: &MetricFacts) -> bool {
    let Some(live) = live else {
        return true;
    };
    let prepared = live.prepared.as_ref();
    prepared.is_some_and(|prepared| prepared.shows(metric))
}

/// KEDA's labels of a metric.
pub fn labels(key: &ObjectKey, metric: &MetricFacts) -> Labels {
    let index = metric.trigger_index.to_string();
    Labels::new([
        ("metric", &*metric.metric),
        ("namespace", &key.namespace),
        ("scaledObject", &key.name),
        ("scaler", &metric.scaler),
        ("triggerIndex", &index),
        ("type", "scaledobject"),
    ])
}

/// Writes KEDA's series of one object.
pub fn write(page: &mut Page, key: &ObjectKey, facts: &Facts, live: Option<&Live>) {
    let object = Labels::new([("namespace", &*key.namespace), ("scaledObject", &key.name)]);
    page.whether(PAUSED, &object, facts.paused);
    page.count(OBJECT_ERRORS, &object, facts.errors);
    if let Some(late) = facts.late {
        let labels = Labels::new([
            ("namespace", &*key.namespace),
            ("resource", &key.name),
            ("type", "scaledobject"),
        ]);
        page.sample(LATE, &labels, late.as_secs_f64());
    }
    for metric in facts.metrics.iter().filter(|metric| has(live, metric)) {
        let labels = labels(key, metric);
        if let Some(value) = metric.value {
            page.sample(VALUE, &labels, value);
        }
        if let Some(took) = metric.took {
            page.sample(LATENCY, &labels, took.as_secs_f64());
        }
        if let Some(active) = metric.active {
            page.whether(ACTIVE, &labels, active);
        }
        if let Some(errors) = metric.errors {
            page.count(ERRORS, &labels, errors);
        }
    }
    if let Some(live) = live {
        write_sources(page, key, facts, live);
    }
}

/// What reads of the triggers did on their way.
fn write_sources(page: &mut Page, key: &ObjectKey, facts: &Facts, live: &Live) {
    let Some(prepared) = &live.prepared else {
        return;
    };
    let trigger = |index: usize| {
        let declared = live.object.spec.triggers.get(index)?;
        let prepared = prepared.triggers.get(index)?;
        let metric = prepared.source.metrics().first()?;
        let name = declared.name.as_deref().unwrap_or_default();
        Some((declared.type_.as_str(), name, metric.name.as_str()))
    };
    for ((index, status), exchanges) in &facts.exchanges {
        let Some((kind, name, metric)) = trigger(*index) else {
            continue;
        };
        let labels = Labels::new([
            ("metric_name", metric),
            ("namespace", &key.namespace),
            ("scaled_resource", &key.name),
            ("scaler", kind),
            ("status_code", &super::http::status_label(*status)),
            ("trigger_name", name),
        ]);
        page.count(REQUESTS, &labels, exchanges.count);
        if let Some(seconds) = &exchanges.seconds {
            page.histogram(REQUEST_SECONDS, &labels, seconds);
        }
    }
    for ((index, ignored), count) in &facts.empty {
        let Some((_, name, metric)) = trigger(*index) else {
            continue;
        };
        let labels = Labels::new([
            ("ignoreNullValues", if *ignored { "true" } else { "false" }),
            ("metricName", metric),
            ("namespace", &key.namespace),
            ("resourceType", "scaledobject"),
            ("scaledResource", &key.name),
            ("triggerName", name),
        ]);
        page.count(EMPTY, &labels, *count);
    }
}

/// How many there are of what.
#[derive(Default)]
pub struct Totals {
    triggers: BTreeMap<String, usize>,
    resources: BTreeMap<(&'static str, String), usize>,
}

impl Totals {
    pub fn of(resources: BTreeMap<(&'static str, String), usize>) -> Self {
        Self {
            triggers: BTreeMap::new(),
            resources,
        }
    }

    pub fn add(&mut self, key: &ObjectKey, facts: &Facts) {
        let resource = ("scaled_object", key.namespace.to_string());
        *self.resources.entry(resource).or_default() += 1;
        for kind in &facts.trigger_types {
            *self.triggers.entry(kind.clone()).or_default() += 1;
        }
    }

    pub fn write(&self, page: &mut Page) {
        for (kind, count) in &self.triggers {
            page.count(
                TRIGGERS,
                &Labels::new([("type", kind.as_str())]),
                *count as u64,
            );
        }
        for ((kind, namespace), count) in &self.resources {
            let namespace = match namespace.as_str() {
                "" => NO_NAMESPACE,
                namespace => namespace,
            };
            let labels = Labels::new([("namespace", namespace), ("type", kind)]);
            page.count(RESOURCES, &labels, *count as u64);
        }
    }
}
