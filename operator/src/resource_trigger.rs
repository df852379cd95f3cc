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
/// All that is wrong with its parameters. (KEDA panics on a value that is no quantity.)
pub fn metric(trigger: &Trigger) -> Result<MetricSpec, String> {
    let value = trigger
        .metadata
        .get("value")
        .map(|value| value.trim())
        .unwrap_or_default();
    if value.is_empty() {
        return Err("missing parameter \"value\": expected a percentage such as \"60\" or a quantity such as \"500m\"".into());
    }
    let target = match trigger.metric_type.as_deref() {
        Some("Utilization") => {
            let percent = value.parse().ok().filter(|percent| *percent > 0);
            let percent = percent.ok_or_else(|| {
                format!("parameter \"value\" is {value:?}: expected a whole percentage above 0")
            })?;
            MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(percent),
                ..Default::default()
            }
        }
        Some("AverageValue") => {
            // Only checked: the API server keeps the spelling (`512Mi`), as it does for KEDA.
            let parsed: Result<sakidori_engine::Quantity, _> = value.parse();
            parsed.map_err(|error| format!("parameter \"value\": {error}"))?;
            MetricTarget {
                type_: "AverageValue".into(),
                average_value: Some(Quantity(value.to_owned())),
                ..Default::default()
            }
        }
        other => {
            return Err(format!(
                "metricType is {:?}: expected \"Utilization\" or \"AverageValue\" for {} triggers",
                other.unwrap_or_default(),
                trigger.type_
            ));
        }
    };
    let container = trigger
        .metadata
        .get("containerName")
        .map(|name| name.trim())
        .filter(|name| !name.is_empty());
    Ok(match container {
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
    })
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
        assert_eq!(
            metric_of(
                json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}})
            )
            .unwrap(),
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}})
        );
        assert_eq!(
            metric_of(json!({"type": "memory", "metricType": "AverageValue",
                "metadata": {"value": "512Mi", "containerName": "app"}}))
            .unwrap()["containerResource"]["container"],
            "app"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |metric_type: &str, value: &str| {
            metric_of(
                json!({"type": "cpu", "metricType": metric_type, "metadata": {"value": value}}),
            )
            .unwrap_err()
        };
        assert!(wrong("Utilization", "60%").contains("60%"));
        assert!(wrong("AverageValue", "lots").contains("lots"));
        assert!(wrong("Value", "1").contains("Utilization"));
        assert!(wrong("Utilization", "").contains("value"));
    }
}
