//! Queries that several panels ask in the same way.

use super::panel::{Panel, Unit};

/// One series for each ScaledObject, also while the leadership moves: for a moment two replicas may show it.
pub fn of_objects(metric: &str, selector: &str) -> String {
    format!("max by (namespace, scaledObject) ({metric}{selector})")
}

/// Those that have as many replicas as they may. One whose bounds are the same never has another number, and is left out.
pub fn at_max(selector: &str) -> String {
    let replicas = of_objects("sakidori_scaled_object_replicas", selector);
    let max = of_objects("sakidori_scaled_object_max_replicas", selector);
    let min = of_objects("sakidori_scaled_object_min_replicas", selector);
    format!("({replicas} >= ({max} > {min}))")
}

/// Those that nothing scales. Where a trigger fails, `Ready` isn't True either, but the others count on: that is told elsewhere.
pub fn not_ready(selector: &str) -> String {
    let metric = "sakidori_scaled_object_condition";
    let failing = "TriggerError|PartialTriggerError";
    let selector =
        format!(r#"{{{selector},condition="Ready",status!="True",reason!~"{failing}"}}"#);
    of_objects(metric, &selector)
}

/// States of pods in which somebody has to look, of `sakidori_resize_pods`, and what they are called.
pub const NOT_RESIZED: &[(&str, &str)] = &[
    ("refused", "Refused"),
    ("infeasible", "Infeasible"),
    ("deferred", "Deferred"),
    ("failed", "Failed"),
    ("silent", "Silent"),
    ("foreign", "Another's"),
    ("left_alone", "Left alone"),
    ("memory_kept", "Keep memory"),
];

/// One series for each object and state of its pods.
pub fn of_pods(selector: &str) -> String {
    format!("max by (namespace, scaledObject, state) (sakidori_resize_pods{selector})")
}

/// Pods in each state, of all objects that are chosen.
pub fn pods_by_state(selector: &str) -> Panel {
    Panel::series(
        "Pods that are resized in place",
        Unit::Count,
        "Pods of ScaledObjects with inPlaceResize: template is with the resources of their template, resized with more. Those that are under way are never \
         more than maxConcurrent. What else there is has a page in docs/reasons.",
    )
    .ask(format!("sum by (state) ({})", of_pods(selector)), "{{state}}")
    .stacked()
    .whole()
    .or_says("No ScaledObject has inPlaceResize.")
}

/// What was done so far. Counts and not rates: what happens once would be a rate of nothing.
pub fn resizes(selector: &str) -> Panel {
    Panel::series(
        "What became of resizes",
        Unit::Count,
        "Since the replica that leads has begun to lead: pods that were asked, and what became of it. asked and resized rise together; restored follows when \
         nothing holds any more.",
    )
    .ask(
        format!("sum by (result) (sakidori_resize_total{selector})"),
        "{{result}}",
    )
    .whole()
    .or_says("No pod was resized.")
}

/// Events per second.
pub fn rate_by(metric: &str, selector: &str, labels: &str) -> String {
    format!("sum by ({labels}) (rate({metric}{selector}[$__rate_interval]))")
}

/// Seconds to the end of what ends first.
pub fn certificates() -> String {
    "min(sakidori_certificate_not_after_timestamp_seconds) - time()".to_owned()
}

/// The middle and the end of a histogram of seconds.
pub fn quantiles(title: &'static str, about: &'static str, metric: &str) -> Panel {
    let quantile = |share: &str| {
        format!(
            "histogram_quantile({share}, sum by (le) (rate({metric}_bucket[$__rate_interval])))"
        )
    };
    Panel::series(title, Unit::Seconds, about)
        .ask(quantile("0.5"), "half are below")
        .ask(quantile("0.99"), "99 of 100 are below")
}
