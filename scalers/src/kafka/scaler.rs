//! The scaler of both trigger types: asks the cluster, applies the rules.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;

use super::lag::{Lag, Previous, Rules};
use crate::answers::Freshness;
use crate::clients::kafka::{Cluster, Endpoint, Offsets, Question};
use crate::metric::{MetricSpec, Reading};
use crate::scaler::{BuildError, Context, Scaler, ScalerError, Trigger};

pub struct LagScaler {
    metric: [MetricSpec; 1],
    cluster: Arc<Cluster>,
    question: Question,
    rules: Rules,
    activation: i64,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    previous: Previous,
    /// What was read last. The same answer again is no other reading.
    last: Option<(Arc<Offsets>, Lag)>,
}

impl LagScaler {
    /// `name` is the metric's, without the `s<index>-`.
    ///
    /// # Errors
    /// For what can't be connected to, and for metric types that no external metric has.
    pub fn new(
        trigger: &Trigger,
        context: &Context,
        name: &str,
        endpoint: Endpoint,
        question: Question,
        rules: Rules,
        activation: i64,
    ) -> Result<Self, BuildError> {
        endpoint.check().map_err(BuildError::Invalid)?;
        let pool = &context.clients.kafka;
        Ok(Self {
            metric: [MetricSpec::integer(trigger, name, rules.threshold)?],
            cluster: pool
                .cluster(endpoint, &context.clients)
                .map_err(BuildError::Invalid)?,
            question,
            rules,
            activation,
            memory: Mutex::default(),
        })
    }

    fn lag(&self, offsets: Arc<Offsets>) -> Lag {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, lag)) = &memory.last
            && Arc::ptr_eq(last, &offsets)
        {
            return *lag;
        }
        let lag = self
            .rules
            .lag(&offsets, &mut memory.previous, Instant::now());
        memory.last = Some((offsets, lag));
        lag
    }
}

#[async_trait]
impl Scaler for LagScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let offsets = self.cluster.offsets(&self.question, freshness).await?;
        let lag = self.lag(offsets);
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value: lag.counted as f64,
            active: lag.with_persistent > self.activation,
        }])
    }
}
