//! The scaler of databases: the number that a query gives.

use std::sync::Arc;

use async_trait::async_trait;

use crate::answers::Freshness;
use crate::clients::sql::{Endpoint, Server};
use crate::metric::{MetricSpec, Reading};
use crate::scaler::{Scaler, ScalerError};

pub struct QueryScaler<E: Endpoint> {
    pub metric: MetricSpec,
    pub server: Arc<Server<E>>,
    pub query: String,
    /// It is active above this.
    pub activation: f64,
}

#[async_trait]
impl<E: Endpoint> Scaler for QueryScaler<E> {
    fn metrics(&self) -> Vec<MetricSpec> {
        vec![self.metric.clone()]
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let value = self.server.number(&self.query, freshness).await?;
        Ok(vec![Reading {
            metric: self.metric.name.clone(),
            value,
            active: value > self.activation,
        }])
    }
}
