//! Prometheus metrics, with KEDA's names and labels (pkg/metricscollector/prommetrics.go), so that its dashboards and alerts
//! work. Ours begin with `sakidori_`. Every label is bounded by what is in the cluster, and the series of a deleted object go
//! with it.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use sakidori_engine::{ObjectKey, Shown};

use crate::lock::lock;

/// One metric of one trigger, as labels name it.
pub struct Series<'a> {
    pub metric: &'a str,
    /// The trigger's name, else KEDA's type name.
    pub scaler: &'a str,
    pub trigger_index: usize,
}

const SCALER_LABELS: &[&str] = &[
    "namespace",
    "metric",
    "scaledObject",
    "scaler",
    "triggerIndex",
    "type",
];

/// Seconds from readiness to the start of a sale.
const LEADS: &[f64] = &[
    -600.0, -300.0, -60.0, -10.0, 0.0, 10.0, 60.0, 300.0, 600.0, 1200.0, 3600.0,
];

/// More namespaces than a cluster has.
const VALIDATED_NAMESPACES: usize = 20_000;

pub struct Metrics {
    registry: Registry,
    scaler_value: GaugeVec,
    scaler_latency: GaugeVec,
    scaler_active: IntGaugeVec,
    scaler_errors: IntCounterVec,
    paused: IntGaugeVec,
    object_errors: IntCounterVec,
    triggers: IntGaugeVec,
    resources: IntGaugeVec,
    loop_latency: GaugeVec,
    prescale_floor: IntGaugeVec,
    prescale_ready: IntGaugeVec,
    prescale_replicas: IntGaugeVec,
    prescale_condition: IntGaugeVec,
    prescale_late: IntGaugeVec,
    prescale_next_start: GaugeVec,
    prescale_lead: HistogramVec,
    source_reads: IntCounterVec,
    tasks: IntGauge,
    validations: IntCounterVec,
    validation_errors: IntCounterVec,
    /// The namespaces that these two are counted for.
    validated: Mutex<HashSet<String>>,
    /// Label values that each object has series under.
    series: Mutex<HashMap<ObjectKey, HashSet<Vec<String>>>>,
    /// The reason that each object's `Prescaled` is shown with.
    reasons: Mutex<HashMap<ObjectKey, String>>,
    /// What `*_registered_total` counts: each object's trigger types.
    registered: Mutex<HashMap<ObjectKey, Vec<String>>>,
}

impl Metrics {
    /// # Errors
    /// Only where two metrics have one name, which a test would show.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            scaler_value: gauge(
                &registry,
                "keda_scaler_metrics_value",
                "The current value of each scaler's metric",
                SCALER_LABELS,
            )?,
            scaler_latency: gauge(
                &registry,
                "keda_scaler_metrics_latency_seconds",
                "How long the last read of each metric took",
                SCALER_LABELS,
            )?,
            scaler_active: int_gauge(
                &registry,
                "keda_scaler_active",
                "1 where the trigger is active, 0 where it is not",
                SCALER_LABELS,
            )?,
            scaler_errors: counter(
                &registry,
                "keda_scaler_detail_errors_total",
                "Failed reads of each scaler, counted once each",
                SCALER_LABELS,
            )?,
            paused: int_gauge(
                &registry,
                "keda_scaled_object_paused",
                "1 where the ScaledObject is paused",
                &["namespace", "scaledObject"],
            )?,
            object_errors: counter(
                &registry,
                "keda_scaled_object_errors_total",
                "Polls of each ScaledObject in which something failed",
                &["namespace", "scaledObject"],
            )?,
            triggers: int_gauge(
                &registry,
                "keda_trigger_registered_total",
                "Triggers in the cluster by type",
                &["type"],
            )?,
            resources: int_gauge(
                &registry,
                "keda_resource_registered_total",
                "KEDA resources in the cluster by type and namespace",
                &["type", "namespace"],
            )?,
            loop_latency: gauge(
                &registry,
                "keda_internal_scale_loop_latency_seconds",
                "How much later than it was wanted the last poll of each resource began",
                &["namespace", "type", "resource"],
            )?,
            prescale_floor: int_gauge(
                &registry,
                "sakidori_prescale_floor_replicas",
                "The floor that sales have set under the replicas; 0 is none",
                &["namespace", "scaledObject"],
            )?,
            prescale_ready: int_gauge(
                &registry,
                "sakidori_prescale_ready_replicas",
                "The target's Ready pods, as last seen for a floor",
                &["namespace", "scaledObject"],
            )?,
            prescale_replicas: int_gauge(
                &registry,
                "sakidori_prescale_replicas",
                "The target's replicas, as last polled",
                &["namespace", "scaledObject"],
            )?,
            prescale_condition: int_gauge(
                &registry,
                "sakidori_prescale_condition",
                "1 for the reason of the condition Prescaled, while a floor climbs or holds",
                &["namespace", "scaledObject", "reason"],
            )?,
            prescale_late: int_gauge(
                &registry,
                "sakidori_prescale_late",
                "1 from half of the lead time before a sale on, while replicas of its floor are missing",
                &["namespace", "scaledObject"],
            )?,
            prescale_next_start: gauge(
                &registry,
                "sakidori_prescale_next_start_timestamp_seconds",
                "When the next sale starts, in Unix time",
                &["namespace", "scaledObject"],
            )?,
            prescale_lead: histogram(
                &registry,
                "sakidori_prescale_ready_lead_seconds",
                "How long before the start of a sale the last pod of its floor was Ready; negative is late",
                &["namespace", "scaledObject"],
                LEADS,
            )?,
            source_reads: counter(
                &registry,
                "sakidori_source_reads_total",
                "Reads of event sources by trigger type",
                &["type", "result"],
            )?,
            tasks: task_gauge(&registry)?,
            validations: counter(
                &registry,
                "keda_webhook_scaled_object_validations_total",
                "ScaledObjects that admission looked at",
                &["namespace", "action"],
            )?,
            validation_errors: counter(
                &registry,
                "keda_webhook_scaled_object_validation_errors_total",
                "ScaledObjects and ScaledJobs that admission refused, by reason",
                &["namespace", "action", "reason"],
            )?,
            validated: Mutex::default(),
            series: Mutex::default(),
            reasons: Mutex::default(),
            registered: Mutex::default(),
            registry,
        };
        let build = int_gauge(
            &metrics.registry,
            "keda_build_info",
            "1, with the version in its labels",
            &["version", "git_commit", "goversion", "goos", "goarch"],
        )?;
        // KEDA's labels, kept for the queries that group by them: there is no Go here.
        build
            .with_label_values(&[
                env!("CARGO_PKG_VERSION"),
                "",
                "",
                std::env::consts::OS,
                std::env::consts::ARCH,
            ])
            .set(1);
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(metrics)
    }

    /// A successful read.
    pub fn observe(
        &self,
        key: &ObjectKey,
        series: &Series<'_>,
        value: f64,
        took: Duration,
        active: bool,
    ) {
        let Some(labels) = self.labels(key, series) else {
            return;
        };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        self.scaler_value.with_label_values(&labels).set(value);
        self.scaler_latency
            .with_label_values(&labels)
            .set(took.as_secs_f64());
        self.scaler_active
            .with_label_values(&labels)
            .set(active.into());
        // There from the start, so that a rate over it sees the first error.
        self.scaler_errors.with_label_values(&labels);
    }

    /// A formula's value: there is no read of its own that could take time.
    pub fn observe_composite(
        &self,
        key: &ObjectKey,
        series: &Series<'_>,
        value: f64,
        active: bool,
    ) {
        let Some(labels) = self.labels(key, series) else {
            return;
        };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        self.scaler_value.with_label_values(&labels).set(value);
        self.scaler_active
            .with_label_values(&labels)
            .set(active.into());
        self.scaler_errors.with_label_values(&labels);
    }

    /// A failed read. The last value stays: it is what was last known.
    pub fn observe_error(&self, key: &ObjectKey, series: &Series<'_>) {
        let Some(labels) = self.labels(key, series) else {
            return;
        };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        self.scaler_errors.with_label_values(&labels).inc();
    }

    /// A `cpu` or `memory` trigger, which is always active.
    pub fn observe_resource(&self, key: &ObjectKey, series: &Series<'_>) {
        let Some(labels) = self.labels(key, series) else {
            return;
        };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        self.scaler_active.with_label_values(&labels).set(1);
    }

    /// Adds metrics that somebody else keeps.
    ///
    /// # Errors
    /// Where a metric of that name is there already.
    pub fn add(
        &self,
        collector: Box<dyn prometheus::core::Collector>,
    ) -> Result<(), prometheus::Error> {
        self.registry.register(collector)
    }

    /// Takes away what [`Metrics::add`] added.
    pub fn remove(&self, collector: Box<dyn prometheus::core::Collector>) {
        // One that isn't there can't be removed; that is no error here.
        let _ = self.registry.unregister(collector);
    }

    /// One read of a source, for counting how much is asked of sources.
    pub fn count_read(&self, trigger_type: &str, ok: bool) {
        self.source_reads
            .with_label_values(&[trigger_type, if ok { "ok" } else { "error" }])
            .inc();
    }

    /// A poll with any failure in it.
    pub fn count_object_error(&self, key: &ObjectKey) {
        if !self.is_registered(key) {
            return;
        }
        self.object_errors
            .with_label_values(&[&*key.namespace, &*key.name])
            .inc();
    }

    /// Makes a ScaledObject and its triggers count. Series that it had with other triggers go (KEDA: at each reconciliation).
    /// One that is `paused` in one direction only counts as paused too.
    pub fn register(&self, key: &ObjectKey, trigger_types: Vec<String>, paused: bool) {
        self.unregister(key);
        self.forget_triggers(key);
        self.resources
            .with_label_values(&["scaled_object", &*key.namespace])
            .inc();
        self.paused
            .with_label_values(&[&*key.namespace, &*key.name])
            .set(i64::from(paused));
        self.object_errors
            .with_label_values(&[&*key.namespace, &*key.name]);
        for kind in &trigger_types {
            self.triggers.with_label_values(&[kind]).inc();
        }
        lock(&self.registered).insert(key.clone(), trigger_types);
    }

    fn unregister(&self, key: &ObjectKey) {
        let Some(types) = lock(&self.registered).remove(key) else {
            return;
        };
        self.resources
            .with_label_values(&["scaled_object", &*key.namespace])
            .dec();
        for kind in &types {
            self.triggers.with_label_values(&[kind]).dec();
        }
    }

    fn forget_triggers(&self, key: &ObjectKey) {
        for labels in lock(&self.series).remove(key).into_iter().flatten() {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            // A series that was never written can't be removed; that is no error here.
            let _ = self.scaler_value.remove_label_values(&labels);
            let _ = self.scaler_latency.remove_label_values(&labels);
            let _ = self.scaler_active.remove_label_values(&labels);
            let _ = self.scaler_errors.remove_label_values(&labels);
        }
    }

    /// What the sales of an object come to now.
    pub fn observe_prescaling(&self, key: &ObjectKey, shown: &Shown) {
        if !self.is_registered(key) {
            return;
        }
        let name = [&*key.namespace, &*key.name];
        self.prescale_floor
            .with_label_values(&name)
            .set(shown.floor.into());
        if let Some(ready) = shown.ready.and_then(|ready| i64::try_from(ready).ok()) {
            self.prescale_ready.with_label_values(&name).set(ready);
        }
        if let Some(replicas) = shown.replicas {
            self.prescale_replicas
                .with_label_values(&name)
                .set(replicas.into());
        }
        self.prescale_late
            .with_label_values(&name)
            .set(shown.late.into());
        self.observe_condition(key, shown.reason.as_deref());
        match shown.next_start {
            Some(start) => self
                .prescale_next_start
                .with_label_values(&name)
                .set(start.as_millisecond() as f64 / 1000.0),
            None => drop(self.prescale_next_start.remove_label_values(&name)),
        }
        // There from the start, so that a rate over it sees the first sale.
        let leads = self.prescale_lead.with_label_values(&name);
        for report in &shown.reports {
            if let Some(lead) = report.ready_before_start {
                leads.observe(lead.as_secs_f64());
            }
        }
    }

    /// One reason at a time.
    fn observe_condition(&self, key: &ObjectKey, reason: Option<&str>) {
        let mut reasons = lock(&self.reasons);
        let before = match reason {
            Some(reason) => reasons.insert(key.clone(), reason.to_owned()),
            None => reasons.remove(key),
        };
        if let Some(before) = before.filter(|before| Some(before.as_str()) != reason) {
            let labels = [&*key.namespace, &*key.name, &before];
            let _ = self.prescale_condition.remove_label_values(&labels);
        }
        if let Some(reason) = reason {
            let labels = [&*key.namespace, &*key.name, reason];
            self.prescale_condition.with_label_values(&labels).set(1);
        }
    }

    /// Removes every series of a deleted object.
    pub fn forget(&self, key: &ObjectKey) {
        self.unregister(key);
        self.forget_triggers(key);
        let name = [&*key.namespace, &*key.name];
        let _ = self.paused.remove_label_values(&name);
        let _ = self.object_errors.remove_label_values(&name);
        let _ = self.prescale_floor.remove_label_values(&name);
        let _ = self.prescale_ready.remove_label_values(&name);
        let _ = self.prescale_replicas.remove_label_values(&name);
        let _ = self.prescale_late.remove_label_values(&name);
        self.observe_condition(key, None);
        let _ = self.prescale_next_start.remove_label_values(&name);
        let _ = self.prescale_lead.remove_label_values(&name);
        let _ =
            self.loop_latency
                .remove_label_values(&[&*key.namespace, "scaledobject", &*key.name]);
    }

    /// Removes every series of a term of leading that is over; what admission counted stays. Nobody may write them any more.
    pub fn forget_all(&self) {
        let gone: Vec<ObjectKey> = lock(&self.registered).keys().cloned().collect();
        for key in &gone {
            self.forget(key);
        }
        self.triggers.reset();
        self.resources.reset();
        self.source_reads.reset();
    }

    /// Sets by how much a poll began late.
    pub fn observe_lateness(&self, key: &ObjectKey, late: Duration) {
        if !self.is_registered(key) {
            return;
        }
        self.loop_latency
            .with_label_values(&[&*key.namespace, "scaledobject", &*key.name])
            .set(late.as_secs_f64());
    }

    /// A ScaledObject that admission looks at; `action` is `create` or `update`.
    pub fn count_validation(&self, namespace: &str, action: &str) {
        if self.is_counted(namespace) {
            self.validations
                .with_label_values(&[namespace, action])
                .inc();
        }
    }

    /// One reason for which admission refuses an object.
    pub fn count_validation_error(&self, namespace: &str, action: &str, reason: &str) {
        if self.is_counted(namespace) {
            self.validation_errors
                .with_label_values(&[namespace, action, reason])
                .inc();
        }
    }

    /// Whoever reaches the webhooks can make up namespaces, so their number is bounded.
    fn is_counted(&self, namespace: &str) -> bool {
        let mut validated = lock(&self.validated);
        validated.contains(namespace)
            || (validated.len() < VALIDATED_NAMESPACES && validated.insert(namespace.to_owned()))
    }

    /// The text exposition format.
    pub fn text(&self) -> String {
        // There is a runtime wherever somebody asks for them; a test of this file has none.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks();
            self.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
        }
        let mut text = Vec::new();
        // Writing to memory can't fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    /// The labels of a series; `None` for an object that is gone: what a poll of it still brings must not make its series anew.
    fn labels(&self, key: &ObjectKey, series: &Series<'_>) -> Option<Vec<String>> {
        let registered = lock(&self.registered);
        if !registered.contains_key(key) {
            return None;
        }
        let labels = vec![
            key.namespace.to_string(),
            series.metric.to_owned(),
            key.name.to_string(),
            series.scaler.to_owned(),
            series.trigger_index.to_string(),
            "scaledobject".to_owned(),
        ];
        let mut all = lock(&self.series);
        let known = all.entry(key.clone()).or_default();
        if !known.contains(&labels) {
            known.insert(labels.clone());
        }
        Some(labels)
    }

    fn is_registered(&self, key: &ObjectKey) -> bool {
        lock(&self.registered).contains_key(key)
    }
}

fn task_gauge(registry: &Registry) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(
        "sakidori_process_tasks",
        "Tasks of this process that outlive a term of leading: a number that grows for ever is a leak",
    )?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(
    registry: &Registry,
    name: &str,
    text: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    let metric = GaugeVec::new(Opts::new(name, text), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn int_gauge(
    registry: &Registry,
    name: &str,
    text: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(name, text), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(
    registry: &Registry,
    name: &str,
    text: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name, text).buckets(buckets.to_vec());
    let metric = HistogramVec::new(options, labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(
    registry: &Registry,
    name: &str,
    text: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, text), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: Series<'static> = Series {
        metric: "s0-rabbitmq-orders",
        scaler: "rabbitMQScaler",
        trigger_index: 0,
    };

    #[test]
    fn the_series_have_kedas_names_and_labels() {
        let metrics = Metrics::new().unwrap();
        let key = ObjectKey::new("shop", "orders");
        metrics.register(&key, vec!["rabbitmq".into()], false);
        metrics.observe(&key, &SERIES, 7.5, Duration::from_millis(250), true);
        let text = metrics.text();
        let labels = r#"{metric="s0-rabbitmq-orders",namespace="shop",scaledObject="orders",scaler="rabbitMQScaler",triggerIndex="0",type="scaledobject"}"#;
        for line in [
            format!("keda_scaler_metrics_value{labels} 7.5"),
            format!("keda_scaler_metrics_latency_seconds{labels} 0.25"),
            format!("keda_scaler_active{labels} 1"),
            format!("keda_scaler_detail_errors_total{labels} 0"),
            r#"keda_trigger_registered_total{type="rabbitmq"} 1"#.to_owned(),
            r#"keda_resource_registered_total{namespace="shop",type="scaled_object"} 1"#.to_owned(),
            r#"keda_scaled_object_paused{namespace="shop",scaledObject="orders"} 0"#.to_owned(),
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        assert!(text.contains("keda_build_info"));

        metrics.register(&key, vec!["rabbitmq".into()], true);
        let paused = r#"keda_scaled_object_paused{namespace="shop",scaledObject="orders"} 1"#;
        assert!(metrics.text().contains(paused));
    }

    #[test]
    fn validations_are_counted_for_a_bounded_number_of_namespaces() {
        let metrics = Metrics::new().unwrap();
        for n in 0..VALIDATED_NAMESPACES + 5 {
            metrics.count_validation(&n.to_string(), "create");
        }
        metrics.count_validation_error("7", "create", "incorrect-triggers");
        metrics.count_validation_error("made-up", "create", "incorrect-triggers");
        let text = metrics.text();
        let total = "keda_webhook_scaled_object_validations_total{";
        assert_eq!(text.matches(total).count(), VALIDATED_NAMESPACES);
        let errors = "keda_webhook_scaled_object_validation_errors_total{";
        assert_eq!(text.matches(errors).count(), 1);
    }

    fn shown(reason: Option<&str>) -> Shown {
        Shown {
            floor: 10,
            ready: Some(4),
            replicas: Some(9),
            reason: reason.map(str::to_owned),
            late: true,
            next_start: None,
            reports: Vec::new(),
        }
    }

    #[test]
    fn prescaled_has_one_reason_at_a_time() {
        let metrics = Metrics::new().unwrap();
        let key = ObjectKey::new("shop", "web");
        metrics.register(&key, Vec::new(), false);
        let reasons = || {
            let text = metrics.text();
            let lines = text.lines();
            let lines = lines.filter_map(|line| line.strip_prefix("sakidori_prescale_condition{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        for reason in ["PodsNotReady", "FloorReady"] {
            metrics.observe_prescaling(&key, &shown(Some(reason)));
            let labels = r#"namespace="shop",reason="#;
            let line = format!(r#"{labels}"{reason}",scaledObject="web"}} 1"#);
            assert_eq!(reasons(), [line]);
        }
        metrics.observe_prescaling(&key, &shown(None));
        assert!(reasons().is_empty(), "{:?}", reasons());
        let text = metrics.text();
        for (name, value) in [("floor_replicas", 10), ("replicas", 9), ("late", 1)] {
            let line = format!(
                r#"sakidori_prescale_{name}{{namespace="shop",scaledObject="web"}} {value}"#
            );
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_term_that_is_over_leaves_no_series() {
        let metrics = Metrics::new().unwrap();
        metrics.count_validation("shop", "create");
        let before = metrics.text();
        for name in ["orders", "payments"] {
            let key = ObjectKey::new("shop", name);
            metrics.register(&key, vec!["rabbitmq".into()], false);
            metrics.observe(&key, &SERIES, 7.5, Duration::ZERO, true);
            metrics.observe_lateness(&key, Duration::ZERO);
            metrics.observe_prescaling(&key, &shown(Some("PodsNotReady")));
            metrics.count_read("rabbitmq", true);
        }
        metrics.forget_all();
        let ours = |text: &str| {
            let lines = text.lines().filter(|line| !line.contains("process_"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(ours(&metrics.text()), ours(&before));
    }

    #[test]
    fn a_deleted_object_leaves_no_series() {
        let metrics = Metrics::new().unwrap();
        let key = ObjectKey::new("shop", "orders");
        metrics.register(&key, vec!["rabbitmq".into()], false);
        metrics.observe(&key, &SERIES, 7.5, Duration::ZERO, true);
        metrics.observe_error(&key, &SERIES);
        metrics.observe_lateness(&key, Duration::ZERO);
        metrics.count_object_error(&key);
        metrics.observe_prescaling(&key, &shown(Some("PodsNotReady")));
        metrics.forget(&key);
        // A poll that was under way.
        metrics.observe_prescaling(&key, &shown(Some("PodsNotReady")));
        metrics.observe(&key, &SERIES, 1.0, Duration::ZERO, true);
        metrics.observe_error(&key, &SERIES);
        metrics.observe_lateness(&key, Duration::ZERO);
        metrics.count_object_error(&key);
        assert!(!metrics.text().contains("orders"), "{}", metrics.text());
    }
}
