//! The ScaledObjects of the run, and how the work that they see changes.

use jiff::{SignedDuration, Timestamp};
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::namespace::{deployment, scaled_object};
use serde_json::{Value, json};

pub const NAMESPACE: &str = "shop";

/// When each thing begins, from the start of the run.
pub const STOPS_A_REPLICA: SignedDuration = SignedDuration::from_secs(60);
pub const SOURCE_FAILS: SignedDuration = SignedDuration::from_secs(180);
pub const IS_REFUSED: SignedDuration = SignedDuration::from_secs(225);
pub const SALE_STARTS: SignedDuration = SignedDuration::from_secs(285);
pub const PAUSES: SignedDuration = SignedDuration::from_secs(330);
pub const CALENDAR_STOPS: SignedDuration = SignedDuration::from_secs(420);
pub const ENDS: SignedDuration = SignedDuration::from_secs(600);
const SALE_LASTS: SignedDuration = SignedDuration::from_secs(120);

/// Work that rises and falls: its middle, how far it goes from it, and how many seconds that takes there and back.
struct Wave(f64, f64, f64);

/// What each path of the source answers over time.
const WORK: &[(&str, Wave)] = &[
    ("/web", Wave(60.0, 35.0, 240.0)),
    ("/web-jobs", Wave(40.0, 38.0, 170.0)),
    ("/checkout", Wave(35.0, 15.0, 200.0)),
    ("/orders", Wave(30.0, 70.0, 210.0)),
    ("/mails", Wave(45.0, 30.0, 150.0)),
    ("/invoices", Wave(30.0, 10.0, 120.0)),
    ("/images", Wave(120.0, 40.0, 300.0)),
    ("/reports", Wave(40.0, 20.0, 260.0)),
];

/// Sets the work of a moment.
pub fn work(source: &HttpSource, since: SignedDuration) {
    let seconds = since.as_secs_f64();
    for (path, Wave(middle, far, period)) in WORK {
        let fails = *path == "/invoices" && since >= SOURCE_FAILS;
        let angle = seconds / period * std::f64::consts::TAU;
        let value = (middle + far * angle.sin()).max(0.0).round();
        let answer = match fails {
            true => Answer::status(503),
            false => Answer::json(&json!({"value": value})),
        };
        source.set(path, answer);
    }
}

/// The Deployments, the calendars and the ScaledObjects.
pub fn objects(source: &HttpSource, calendar: &HttpSource, start: Timestamp) -> Vec<Value> {
    let mut all = vec![sales(start), fairs(calendar)];
    let names = [
        "web", "checkout", "orders", "mails", "invoices", "images", "reports",
    ];
    all.extend(names.map(|name| {
        let mut deployment = deployment(name, i32::from(name != "orders"));
        let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
        container["resources"]["requests"] = json!({"cpu": "250m", "memory": "64Mi"});
        deployment
    }));
    let bounds = |min: i32, max: i32, triggers: Vec<Value>| {
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 15}});
        json!({
            "pollingInterval": 5,
            "cooldownPeriod": 30,
            "minReplicaCount": min,
            "maxReplicaCount": max,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            "triggers": triggers,
        })
    };
    let reads = |name: &str| {
        let url = source.url(&format!("/{name}"));
        json!({
            "type": "metrics-api",
            "name": name,
            "metadata": {"url": url, "valueLocation": "value", "targetValue": "10"},
        })
    };
    let web = vec![
        reads("web"),
        reads("web-jobs"),
        sale(json!({"multiplier": "event", "baseline": "5"})),
    ];
    let checkout = vec![reads("checkout"), sale(json!({"desiredReplicas": "10"}))];
    let resized = |mut spec: Value, when: &str, cpu: &str| {
        let policy = json!({"container": "main", "when": when, "cpu": cpu});
        spec["advanced"]["sakidori"]["inPlaceResize"]["policies"] = json!([policy]);
        spec
    };
    // No node has as much.
    let checkout = resized(bounds(2, 12, checkout), "prescale", "500");
    let images = bounds(1, 6, vec![reads("images")]);
    let mut invoices = bounds(1, 10, vec![reads("invoices")]);
    invoices["fallback"] = json!({"failureThreshold": 2, "replicas": 6});
    all.extend([
        scaled_object("web", resized(bounds(2, 20, web), "prescale", "x2")),
        scaled_object("checkout", checkout),
        scaled_object("orders", bounds(0, 12, vec![reads("orders")])),
        scaled_object("mails", bounds(1, 10, vec![reads("mails")])),
        scaled_object("invoices", invoices),
        scaled_object("images", resized(images, "saturated", "+100%")),
        scaled_object("reports", bounds(1, 8, vec![reads("reports")])),
        scaled_object("broken", bounds(1, 5, vec![reads("mails")])),
    ]);
    all
}

/// A second ScaledObject for a Deployment that has one, which admission refuses.
pub fn refused(source: &HttpSource) -> Value {
    let url = source.url("/web");
    let trigger = json!({"type": "metrics-api", "metadata": {"url": url, "valueLocation": "value", "targetValue": "10"}});
    let mut object = scaled_object("web", json!({"triggers": [trigger]}));
    object["metadata"]["name"] = json!("web-again");
    object
}

/// A floor for each sale of the calendar `sales`, climbing a minute before it is wanted.
fn sale(floor: Value) -> Value {
    let mut metadata = json!({
        "calendar": "sales",
        "calendarKind": "SaleCalendar",
        "leadTime": "45s",
        "rampUp": "60s",
        "holdAfter": "20s",
        "rampDown": "45s",
    });
    for (name, value) in floor.as_object().into_iter().flatten() {
        metadata[name] = value.clone();
    }
    json!({"type": "sale-calendar", "name": "sales", "metadata": metadata})
}

/// A sale in the run, and what comes within a week.
fn sales(start: Timestamp) -> Value {
    let event = |name: &str, after: SignedDuration, lasts: SignedDuration, multiplier: &str| {
        let from = start + after;
        json!({
            "name": name,
            "start": from.to_string(),
            "end": (from + lasts).to_string(),
            "multiplier": multiplier,
        })
    };
    let hours = SignedDuration::from_hours;
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": "SaleCalendar",
        "metadata": {"name": "sales"},
        "spec": {"events": [
            event("evening-sale", SALE_STARTS, SALE_LASTS, "3"),
            event("friday-coupons", hours(27), hours(2), "2"),
            event("weekend", hours(76), hours(40), "2.5"),
            event("season-end", hours(122), hours(3), "4"),
        ]},
    })
}

/// A calendar whose server goes away.
fn fairs(calendar: &HttpSource) -> Value {
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": "ClusterSaleCalendar",
        "metadata": {"name": "fairs"},
        "spec": {"sources": [{
            "name": "office", "format": "json", "url": calendar.url("/fairs.json"), "refreshInterval": "30s",
        }]},
    })
}
