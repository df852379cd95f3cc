//! What a scrape shows of objects, and what it shows no more.

use std::time::Duration;

use sakidori_engine::{ObjectKey, Shown};

use super::*;

const SERIES: Series<'static> = Series {
    metric: "s0-rabbitmq-orders",
    scaler: "rabbitMQScaler",
    trigger_index: 0,
};

const READ: Read = Read {
    value: 7.5,
    active: true,
    took: Some(Duration::from_millis(250)),
    age: Duration::ZERO,
};

fn metrics() -> Metrics {
    Metrics::new(MetricsOptions {
        may_lead: true,
        high_cardinality: false,
    })
    .unwrap()
}

#[test]
fn the_series_have_kedas_names_and_labels() {
    let metrics = metrics();
    let key = ObjectKey::new("shop", "orders");
    metrics.register(&key, vec!["rabbitmq".into()], false);
    metrics.observe(&key, &SERIES, &READ);
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
        "sakidori_leader 0".to_owned(),
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    assert!(text.contains("keda_build_info"));

    metrics.register(&key, vec!["rabbitmq".into()], true);
    let text = metrics.text();
    assert!(
        text.contains(r#"keda_scaled_object_paused{namespace="shop",scaledObject="orders"} 1"#)
    );
    assert!(!text.contains("s0-rabbitmq-orders"), "{text}");
}

fn shown(reason: Option<&str>) -> Shown {
    Shown {
        holds: Some(reason.is_some()),
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
    let metrics = metrics();
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
    // What isn't known any more is what was last seen.
    let unseen = Shown {
        ready: None,
        ..shown(None)
    };
    metrics.observe_prescaling(&key, &unseen);
    assert!(reasons().is_empty(), "{:?}", reasons());
    let text = metrics.text();
    for (name, value) in [
        ("floor_replicas", 10),
        ("ready_replicas", 4),
        ("replicas", 9),
        ("late", 1),
    ] {
        let line =
            format!(r#"sakidori_prescale_{name}{{namespace="shop",scaledObject="web"}} {value}"#);
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

/// Everything that can be noted of an object.
fn note_all(metrics: &Metrics, key: &ObjectKey) {
    metrics.begin_poll(key, Duration::ZERO, |_| true);
    metrics.observe(key, &SERIES, &READ);
    metrics.observe_error(key, &SERIES);
    metrics.observe_resource(
        key,
        &Series {
            metric: "cpu",
            scaler: "cpuMemoryScaler",
            trigger_index: 1,
        },
    );
    if let Some(observer) = metrics.observer(key, 0, "rabbitmq") {
        observer.exchanged(Some(200), Duration::ZERO);
        observer.answered_nothing(true);
    }
    metrics.observe_prescaling(key, &shown(Some("PodsNotReady")));
    metrics.end_poll(key, Polled::Partial, Some(3), Duration::ZERO);
}

#[test]
fn a_term_that_is_over_leaves_no_series() {
    let metrics = metrics();
    metrics.validations().count("shop", "create");
    let ours = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("process_"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = ours(&metrics.text());
    for name in ["orders", "payments"] {
        let key = ObjectKey::new("shop", name);
        metrics.register(&key, vec!["rabbitmq".into()], false);
        note_all(&metrics, &key);
        metrics.count_read("rabbitmq", None);
    }
    assert!(metrics.text().contains("orders"));
    metrics.forget_all();
    assert_eq!(ours(&metrics.text()), before);
}

#[test]
fn a_deleted_object_leaves_no_series() {
    let metrics = metrics();
    let key = ObjectKey::new("shop", "orders");
    metrics.register(&key, vec!["rabbitmq".into()], false);
    note_all(&metrics, &key);
    assert!(metrics.text().contains("orders"));
    metrics.forget(&key);
    // A poll that was under way.
    note_all(&metrics, &key);
    assert!(!metrics.text().contains("orders"), "{}", metrics.text());
}

#[test]
fn what_an_object_has_no_more_is_forgotten_with_its_next_poll() {
    let metrics = metrics();
    let key = ObjectKey::new("shop", "orders");
    metrics.register(&key, vec!["external".into()], false);
    for number in 0..1000 {
        // A source that names another metric each time.
        let name = format!("s0-{number}");
        let series = Series {
            metric: &name,
            ..SERIES
        };
        metrics.begin_poll(&key, Duration::ZERO, |metric| metric.is(&series));
        metrics.observe(&key, &series, &READ);
    }
    assert_eq!(metrics.text().matches("keda_scaler_active{").count(), 1);
}

/// What a scrape costs grows with the objects and with nothing else: an object of two metrics is 3 KiB of text.
#[test]
fn ten_thousand_objects_are_ten_thousand_times_one() {
    let size = |objects: usize| {
        let metrics = metrics();
        for number in 0..objects {
            let key = ObjectKey::new("shop", format!("orders-{number:05}"));
            metrics.register(&key, vec!["rabbitmq".into()], false);
            note_all(&metrics, &key);
        }
        let text = metrics.text();
        assert_eq!(text.matches("keda_scaler_active{").count(), 2 * objects);
        text.len()
    };
    let (none, one) = (size(0), size(1));
    let (many, each) = (size(10_000) - none, one - none);
    // The first brings the lines that say what each metric is.
    assert!(many <= 10_000 * each, "{many} bytes, and {each} of one");
}
