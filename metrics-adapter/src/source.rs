//! Where the values come from.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sakidori_engine::Quantity;

/// Answers reads of external metrics.
#[async_trait]
pub trait ExternalMetrics: Send + Sync + 'static {
    /// The values of `metric` in `namespace` for the objects that `selector` picks. `selector` is the request's
    /// `labelSelector`, only equality requirements, as a map.
    ///
    /// # Errors
    /// See [`MetricError`]; the HPA keeps its replicas on each of them.
    async fn read(
        &self,
        namespace: &str,
        metric: &str,
        selector: &BTreeMap<String, String>,
    ) -> Result<Vec<ExternalMetricValue>, MetricError>;
}

/// One value, as `external.metrics.k8s.io/v1beta1` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalMetricValue {
    pub metric_name: String,
    pub metric_labels: BTreeMap<String, String>,
    /// When the source was read.
    pub timestamp: Timestamp,
    pub value: Quantity,
}

/// Why there is no value.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum MetricError {
    /// The selector names no object: 400.
    #[error("{0}")]
    BadRequest(String),
    /// No such object, or it has no such metric: 404.
    #[error("{0}")]
    NotFound(String),
    /// The object and metric exist, but there is no reading young enough: 503... the HPA keeps its replicas.
    #[error("{0}")]
    Unavailable(String),
}
