//! What this replica answers the HPA with: its own readings while it leads.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sakidori_metrics_adapter::{ExternalMetricValue, ExternalMetrics, MetricError};

use crate::term::Current;

pub struct ServedValues {
    leading: Current,
}

impl ServedValues {
    pub fn new(leading: Current) -> Self {
        Self { leading }
    }
}

#[async_trait]
impl ExternalMetrics for ServedValues {
    async fn read(
        &self,
        namespace: &str,
        metric: &str,
        selector: &BTreeMap<String, String>,
    ) -> Result<Vec<ExternalMetricValue>, MetricError> {
        match self.leading.term() {
            Some(term) => term.values.read(namespace, metric, selector).await,
            None => Err(MetricError::Unavailable(
                "this replica does not lead".to_owned(),
            )),
        }
    }
}
