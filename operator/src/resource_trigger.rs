//! `cpu` and `memory`: triggers that the HPA reads itself, from metrics-server. They are built here and not in the scalers'
//! crate because nothing of them is ever polled.
//!
//! ```yaml
//! triggers:
//! - type: cpu
//!   metricType: Utilization   # or AverageValue
//!   metadata:
//!     value: "60"
//!     containerName: app      # optional: this container's use only
//! ```

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricSource, MetricSpec, MetricTarget, ResourceMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sakidori_api::Trigger;

pub fn is_resource(kind: &str) -> bool {
    matches!(kind, "cpu" | "memory")
}

/// The HPA metric of a `cpu` or `memory` trigger.
///
/// # Errors
/// What is wrong with its parameters, in KEDA's words where it has some. (KEDA panics on a value that is no quantity.)
pub fn metric(trigger: &Trigger) -> Result<MetricSpec, String> {
    let kind = &trigger.type_;
    target(trigger)
        .map(|target| with_target(trigger, target))
        .map_err(|error| format!("error parsing {kind} metadata: {error}"))
}

fn target(trigger: &Trigger) -> Result<MetricTarget, String> {
    let given = |name: &str| {
        let value = trigger.metadata.get(name).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    };
    if given("type").is_some() {
        return Err(format!(
            "scaler {} info: The 'type' setting is DEPRECATED and is removed in v2.18 - Use 'metricType' instead.",
            trigger.type_
        ));
    }
    let value = given("value").ok_or(
        "missing required parameter \"value\" in [triggerMetadata]: expected a percentage such as \"60\" or a quantity such as \"500m\"",
    )?;
    match trigger.metric_type.as_deref() {
        Some("Utilization") => {
            let percent = value.parse().ok().filter(|percent| *percent > 0);
            let percent = percent.ok_or_else(|| {
                format!("parameter \"value\" is {value:?}: expected a whole percentage above 0")
            })?;
            Ok(MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(percent),
                ..Default::default()
            })
        }
        Some("AverageValue") => {
            // Only checked: the API server keeps the spelling (`512Mi`), as it does for KEDA.
            let parsed: Result<sakidori_engine::Quantity, _> = value.parse();
            let parsed = parsed.map_err(|error| format!("parameter \"value\": {error}"))?;
            if parsed <= sakidori_engine::Quantity::default() {
                return Err(format!(
                    "parameter \"value\" is {value:?}: expected a quantity above 0"
                ));
            }
            Ok(MetricTarget {
                type_: "AverageValue".into(),
                average_value: Some(Quantity(value.to_owned())),
                ..Default::default()
            })
        }
        other => Err(format!(
            "unknown metric type: {}, allowed values are 'Utilization' or 'AverageValue'",
            other.unwrap_or_default()
        )),
    }
}

fn with_target(trigger: &Trigger, target: MetricTarget) -> MetricSpec {
    let container = trigger
        .metadata
        .get("containerName")
        .map(|name| name.trim())
        .filter(|name| !name.is_empty());
    match container {
        Some(container) => MetricSpec {
            type_: "ContainerResource".into(),
            container_resource: Some(ContainerResourceMetricSource {
                container: container.to_owned(),
                name: trigger.type_.clone(),
                target,
            }),
            ..Default::default()
        },
        None => MetricSpec {
            type_: "Resource".into(),
            resource: Some(ResourceMetricSource {
                name: trigger.type_.clone(),
                target,
            }),
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metric_of(trigger: serde_json::Value) -> Result<serde_json::Value, String> {
        let trigger: Trigger = serde_json::from_value(trigger).unwrap();
        metric(&trigger).map(|metric| serde_json::to_value(metric).unwrap())
    }

    #[test]
    fn utilization_and_average_value_of_pod_and_container() {
        let utilization = json!({"type": "Utilization", "averageUtilization": 60});
        let average = json!({"type": "AverageValue", "averageValue": "512Mi"});
        for (trigger, expected) in [
            (
                json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}),
                json!({"type": "Resource", "resource": {"name": "cpu", "target": utilization}}),
            ),
            (
                json!({"type": "memory", "metricType": "Utilization", "metadata": {"value": " 60 ", "containerName": "app"}}),
                json!({"type": "ContainerResource",
                    "containerResource": {"name": "memory", "container": "app", "target": utilization}}),
            ),
            (
                json!({"type": "memory", "metricType": "AverageValue", "metadata": {"value": "512Mi", "containerName": ""}}),
                json!({"type": "Resource", "resource": {"name": "memory", "target": average}}),
            ),
            (
                json!({"type": "cpu", "metricType": "AverageValue", "metadata": {"value": "512Mi", "containerName": "app"}}),
                json!({"type": "ContainerResource",
                    "containerResource": {"name": "cpu", "container": "app", "target": average}}),
            ),
        ] {
            assert_eq!(metric_of(trigger).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_kedas_words() {
        let wrong = |metric_type: Option<&str>, metadata: serde_json::Value| {
            let trigger = json!({"type": "cpu", "metricType": metric_type, "metadata": metadata});
            metric_of(trigger).unwrap_err()
        };
        for (metric_type, metadata, told) in [
            (
                Some("Utilization"),
                json!({"value": "60%"}),
                "\"60%\": expected a whole percentage",
            ),
            (
                Some("Utilization"),
                json!({"value": "0"}),
                "\"0\": expected a whole percentage",
            ),
            (Some("AverageValue"), json!({"value": "lots"}), "lots"),
            (
                Some("AverageValue"),
                json!({"value": "0"}),
                "\"0\": expected a quantity above 0",
            ),
            (
                Some("Value"),
                json!({"value": "1"}),
                "unknown metric type: Value, allowed values are 'Utilization' or 'AverageValue'",
            ),
            (
                None,
                json!({"value": "1"}),
                "unknown metric type: , allowed values are 'Utilization' or 'AverageValue'",
            ),
            (
                Some("Utilization"),
                json!({}),
                "missing required parameter \"value\" in [triggerMetadata]",
            ),
            (
                None,
                json!({"value": "60", "type": "Utilization"}),
                "scaler cpu info: The 'type' setting is DEPRECATED and is removed in v2.18 - Use 'metricType' instead.",
            ),
        ] {
            let error = wrong(metric_type, metadata);
            assert!(error.starts_with("error parsing cpu metadata: "), "{error}");
            assert!(error.contains(told), "{told:?} is not in {error:?}");
        }
    }
}
