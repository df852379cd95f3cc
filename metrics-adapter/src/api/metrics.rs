//! Reads of metrics.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderMap, Uri};
use serde::Serialize;
use tokio::time::timeout;

use super::{GROUP_VERSION, Server, answer, parameter, selector};
use crate::attributes::Attributes;
use crate::source::{ExternalMetricValue, MetricError};
use crate::status::Failure;

/// The source's own deadline is a second; this one is for a source that has lost its way, before the HPA controller's
/// 30 s are over.
const DEADLINE: Duration = Duration::from_secs(10);

/// `GET /apis/external.metrics.k8s.io/v1beta1/namespaces/NAMESPACE/METRIC?labelSelector=SELECTOR`.
pub(super) async fn read(
    State(server): State<Arc<Server>>,
    Extension(attributes): Extension<Attributes>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Attributes::Resource(asked) = attributes else {
        return Err(Failure::path_not_found());
    };
    answer::expect_json(&headers)?;
    let (metric, namespace) = (&asked.resource, &asked.namespace);
    if asked.verb == "watch" {
        return Err(Failure::method_not_allowed());
    }
    // Other parameters are paging and timeouts of client libraries: there is one page, and it comes at once.
    let query = uri.query().unwrap_or_default();
    let selector_text = parameter(query, "labelSelector").unwrap_or_default();
    let selector = selector::parse(&selector_text)
        .and_then(|requirements| selector::equalities(&selector_text, requirements))
        .map_err(|error| Failure::bad_request(error.to_string()).about_metric(metric))?;

    let reading =
        AssertUnwindSafe(server.metrics.read(namespace, metric, &selector)).catch_unwind();
    let values = match timeout(DEADLINE, reading).await {
        Ok(Ok(Ok(values))) => values,
        Ok(Ok(Err(error))) => return Err(failure(&error).about_metric(metric)),
        Ok(Err(_panic)) => {
            tracing::error!(%namespace, %metric, "the source of metrics panicked");
            return Err(
                Failure::internal(format!("reading metric {metric:?} failed")).about_metric(metric),
            );
        }
        Err(_) => {
            let message = format!(
                "metric {metric:?} of namespace {namespace:?} was not read in {DEADLINE:?}"
            );
            return Err(Failure::timeout(message).about_metric(metric));
        }
    };
    let list = ValueList {
        kind: "ExternalMetricValueList",
        api_version: GROUP_VERSION,
        metadata: BTreeMap::new(),
        items: values.iter().map(Value::of).collect(),
    };
    Ok(answer::json(&list, answer::wants_pretty(query, &headers)))
}

fn failure(error: &MetricError) -> Failure {
    match error {
        MetricError::BadRequest(message) => Failure::bad_request(message),
        MetricError::NotFound(message) => Failure::not_found(message),
        MetricError::Unavailable(message) => Failure::unavailable(message),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ValueList<'a> {
    kind: &'static str,
    api_version: &'static str,
    /// Always empty: a value has no version of its own.
    metadata: BTreeMap<&'static str, &'static str>,
    items: Vec<Value<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    metric_name: &'a str,
    /// `null` when there are none, as in KEDA's answers.
    metric_labels: Option<&'a BTreeMap<String, String>>,
    /// RFC 3339 in whole seconds, as `metav1.Time` is written.
    timestamp: String,
    value: String,
}

impl<'a> Value<'a> {
    fn of(value: &'a ExternalMetricValue) -> Self {
        Self {
            metric_name: &value.metric_name,
            metric_labels: Some(&value.metric_labels).filter(|labels| !labels.is_empty()),
            timestamp: value.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            value: value.value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sakidori_engine::Quantity;

    #[test]
    fn a_value_is_written_as_keda_writes_it() {
        let mut value = ExternalMetricValue {
            metric_name: "s0-rabbitmq-orders".to_owned(),
            metric_labels: BTreeMap::new(),
            timestamp: "2026-11-23T04:20:01.987Z".parse().unwrap(),
            value: Quantity::of_metric(2.25),
        };
        assert_eq!(
            serde_json::to_string(&Value::of(&value)).unwrap(),
            r#"{"metricName":"s0-rabbitmq-orders","metricLabels":null,"timestamp":"2026-11-23T04:20:01Z","value":"2250m"}"#
        );
        value
            .metric_labels
            .insert("queue".to_owned(), "orders".to_owned());
        let written = serde_json::to_value(Value::of(&value)).unwrap();
        assert_eq!(
            written["metricLabels"],
            serde_json::json!({"queue": "orders"})
        );
    }
}
