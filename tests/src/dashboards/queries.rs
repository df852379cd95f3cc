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
