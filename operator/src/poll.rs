//! Polls one object: its target's replicas and all its triggers at once.
//!
//! Each answer goes into the metric cache as it comes, so that an HPA's read does not wait for a slower trigger beside it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join_all;
use jiff::Timestamp;
use sakidori_engine::{Event, ObjectKey, PollOutcome, Quantity, Reading, TriggerOutcome};
use sakidori_scalers::{Scaler, ScalerError};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::control::Events;
use crate::objects::Objects;
use crate::prepare::Prepared;
use crate::prometheus::{Metrics, Series};
use crate::target::{Targets, replicas};
use crate::triggers::{PreparedTrigger, Source};

/// Polls under way at the same time. A poll is a few sockets and little memory; what waits here is only late, so the bound
/// is wide enough that a hundred hanging sources hold up nobody.
const AT_ONCE: usize = 1000;

/// No read takes longer, whatever its own timeout: an object's poll must end before the engine gives it up as lost.
const LONGEST_READ: Duration = Duration::from_secs(30);

/// An API server that hangs (its etcd is away) must not hold up the triggers' next poll.
const SCALE_WITHIN: Duration = Duration::from_secs(5);

pub struct Poller {
    objects: Arc<Objects>,
    targets: Arc<Targets>,
    metrics: Arc<Metrics>,
    events: Events,
    permits: Semaphore,
}

impl Poller {
    pub fn new(
        objects: Arc<Objects>,
        targets: Arc<Targets>,
        metrics: Arc<Metrics>,
        events: Events,
    ) -> Self {
        Self {
            objects,
            targets,
            metrics,
            events,
            permits: Semaphore::new(AT_ONCE),
        }
    }

    /// Reads everything once. Never fails as a whole: what can't be read is in the outcome.
    pub async fn poll(&self, key: &ObjectKey) -> PollOutcome {
        let Some(prepared) = self.objects.prepared(key) else {
            return PollOutcome {
                replicas: Err("the ScaledObject is gone".to_owned()),
                triggers: Vec::new(),
            };
        };
        let wanted = Instant::now();
        let _permit = self.permits.acquire().await;
        self.metrics.observe_lateness(key, wanted.elapsed());
        let scale = async {
            match timeout(SCALE_WITHIN, self.targets.scale(&prepared.target)).await {
                Ok(Ok(scale)) => Ok(replicas(&scale)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the API server did not answer in time".to_owned()),
            }
        };
        let triggers = join_all(
            prepared
                .triggers
                .iter()
                .map(|trigger| self.read(key, &prepared, trigger)),
        );
        let (replicas, triggers) = tokio::join!(scale, triggers);
        if replicas.is_err()
            || triggers
                .iter()
                .any(|trigger| matches!(trigger, TriggerOutcome::Failed { .. }))
        {
            self.metrics.count_object_error(key);
        }
        PollOutcome { replicas, triggers }
    }

    async fn read(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        trigger: &PreparedTrigger,
    ) -> TriggerOutcome {
        let (scaler, metrics) = match &trigger.source {
            Source::Resource { metric } => {
                self.metrics.observe_resource(key, &trigger.series(metric));
                return TriggerOutcome::Resource;
            }
            Source::Broken { message, .. } => {
                return self.failed(key, prepared, trigger, message.clone());
            }
            Source::Scaler { scaler, metrics } => (scaler, metrics),
        };
        let started = Instant::now();
        let answer = read_guarded(scaler.as_ref()).await;
        let took = started.elapsed();
        self.metrics.count_read(&trigger.kind, answer.is_ok());
        let named = scaler.metrics();
        if named != *metrics && !named.is_empty() {
            // The source has named others than the HPA has.
            let key = key.clone();
            self.events.send(Event::ReferenceChanged { key });
        }
        let readings = match answer {
            Ok(readings) => readings,
            Err(error) => return self.failed(key, prepared, trigger, error.to_string()),
        };
        let timestamp = Timestamp::now();
        let mut taken = Vec::with_capacity(readings.len());
        for reading in readings {
            debug!(object = %key, metric = reading.metric, value = reading.value, active = reading.active, "read");
            self.metrics.observe(
                key,
                &trigger.series(&reading.metric),
                reading.value,
                took,
                reading.active,
            );
            if let Some(slot) = prepared.readings.slot(&reading.metric) {
                slot.record(Quantity::of_metric(reading.value), timestamp);
            }
            taken.push(Reading {
                metric: reading.metric,
                value: reading.value,
                active: reading.active,
            });
        }
        TriggerOutcome::Read(taken)
    }

    fn failed(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        trigger: &PreparedTrigger,
        message: String,
    ) -> TriggerOutcome {
        let message = format!("trigger {} ({}): {message}", trigger.index, trigger.kind);
        debug!(object = %key, "{message}");
        for metric in trigger.source.metrics() {
            self.metrics
                .observe_error(key, &trigger.series(&metric.name));
            if let Some(slot) = prepared.readings.slot(&metric.name) {
                slot.record_failure(&message);
            }
        }
        TriggerOutcome::Failed { message }
    }
}

/// Reads a scaler; a panic in it and a read that takes too long are failures like any other.
async fn read_guarded(scaler: &dyn Scaler) -> Result<Vec<sakidori_scalers::Reading>, ScalerError> {
    let read = AssertUnwindSafe(scaler.read()).catch_unwind();
    match timeout(LONGEST_READ, read).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            warn!("a scaler panicked: this is a bug in it");
            Err(ScalerError::Malformed(
                "the scaler panicked: please report this".to_owned(),
            ))
        }
        Err(_) => Err(ScalerError::Unreachable(format!(
            "no answer within {} s",
            LONGEST_READ.as_secs()
        ))),
    }
}

impl PreparedTrigger {
    fn series<'a>(&'a self, metric: &'a str) -> Series<'a> {
        Series {
            metric,
            scaler: &self.label,
            trigger_index: self.index,
        }
    }
}
