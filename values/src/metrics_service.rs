//! KEDA's `MetricsService`: what an HPA would be told of a metric, over gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use sakidori_metrics_adapter::{ExternalMetricValue, ExternalMetrics};
use tonic::{Request, Response, Status};

use crate::external_metrics as wire;
use crate::keda::ScaledObjectRef;
use crate::keda::metrics_service_server::MetricsService;
use crate::reads::SCALED_OBJECT_NAME;

/// Answers from where the HPA's reads are answered.
pub struct Metrics {
    source: Arc<dyn ExternalMetrics>,
}

impl Metrics {
    pub fn new(source: Arc<dyn ExternalMetrics>) -> Self {
        Self { source }
    }
}

#[async_trait]
impl MetricsService for Metrics {
    async fn get_metrics(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<wire::ExternalMetricValueList>, Status> {
        let asked = request.into_inner();
        let selector = BTreeMap::from([(SCALED_OBJECT_NAME.to_owned(), asked.name)]);
        let read = self
            .source
            .read(&asked.namespace, &asked.metric_name, &selector);
        match read.await {
            Ok(values) => Ok(Response::new(wire::ExternalMetricValueList {
                items: values.into_iter().map(item).collect(),
            })),
            // KEDA's code for all of them, and how its texts begin.
            Err(error) => Err(Status::unknown(format!(
                "error when getting metric values {error}"
            ))),
        }
    }
}

/// With what KEDA sets: whole seconds, no labels, no window.
fn item(value: ExternalMetricValue) -> wire::ExternalMetricValue {
    wire::ExternalMetricValue {
        metric_name: Some(value.metric_name),
        metric_labels: value.metric_labels.into_iter().collect(),
        timestamp: Some(wire::Time {
            seconds: Some(value.timestamp.as_second()),
            nanos: None,
        }),
        window: None,
        value: Some(wire::Quantity {
            string: Some(value.value.to_string()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use prost::Message;
    use sakidori_engine::Quantity;
    use sakidori_metrics_adapter::MetricError;
    use tonic::Code;

    use super::*;

    /// One object, `shop/web`, with one metric.
    struct OneMetric;

    #[async_trait]
    impl ExternalMetrics for OneMetric {
        async fn read(
            &self,
            namespace: &str,
            metric: &str,
            selector: &BTreeMap<String, String>,
        ) -> Result<Vec<ExternalMetricValue>, MetricError> {
            let name = &selector["scaledobject.keda.sh/name"];
            match (namespace, name.as_str(), metric) {
                ("shop", "web", "s0-queue") => Ok(vec![ExternalMetricValue {
                    metric_name: "s0-queue".into(),
                    metric_labels: BTreeMap::new(),
                    timestamp: Timestamp::new(1_716_900_000, 789_000_000).unwrap(),
                    value: Quantity::of_metric(1.5),
                }]),
                ("shop", "web", "s0-slow") => Err(MetricError::Unavailable("too slow".into())),
                _ => Err(MetricError::NotFound("no such thing".into())),
            }
        }
    }

    async fn ask(
        namespace: &str,
        name: &str,
        metric: &str,
    ) -> Result<wire::ExternalMetricValueList, Status> {
        let asked = ScaledObjectRef {
            name: name.into(),
            namespace: namespace.into(),
            metric_name: metric.into(),
        };
        let service = Metrics::new(Arc::new(OneMetric));
        let answer = service.get_metrics(Request::new(asked)).await?;
        Ok(answer.into_inner())
    }

    #[tokio::test]
    async fn a_value_is_on_the_wire_as_kubernetes_libraries_read_it() {
        let answer = ask("shop", "web", "s0-queue").await.unwrap();
        // By hand, field after field: items (2) with metricName (1), timestamp (3) of seconds (1), value (5) of a string (1).
        let mut expected = b"\x12\x1b\x0a\x08s0-queue\x1a\x06\x08".to_vec();
        expected.extend(b"\xa0\xa1\xd7\xb2\x06");
        expected.extend(b"\x2a\x07\x0a\x051500m");
        assert_eq!(answer.encode_to_vec(), expected);
    }

    #[tokio::test]
    async fn every_error_has_kedas_code_and_says_why() {
        for (namespace, name, metric, why) in [
            ("shop", "web", "s0-slow", "too slow"),
            ("shop", "web", "s1-other", "no such thing"),
            ("shop", "other", "s0-queue", "no such thing"),
            ("", "", "", "no such thing"),
        ] {
            let status = ask(namespace, name, metric).await.unwrap_err();
            assert_eq!(status.code(), Code::Unknown);
            let expected = format!("error when getting metric values {why}");
            assert_eq!(status.message(), expected);
        }
    }
}
