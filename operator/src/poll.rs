//! Polls one object: its target's replicas and all its triggers at once.
//!
//! Each answer goes into the metric cache as it comes, so that an HPA's read does not wait for a slower trigger beside it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v1::Scale;
use sakidori_engine::{
    COMPOSITE_METRIC, Event, ObjectKey, PollOutcome, Quantity, Reading, TriggerOutcome,
};
use sakidori_scalers::{Freshness, Scaler, ScalerError, observed};
use sakidori_values::{Moment, RawMetrics, TriggerRead};
use tokio::time::timeout;
use tracing::debug;

use crate::control::Events;
use crate::gate::Gate;
use crate::objects::Objects;
use crate::prepare::Prepared;
use crate::prometheus::{self as metrics, Metrics, Polled, Series};
use crate::target::{Targets, replicas};
use crate::triggers::{PreparedTrigger, Source};

/// Polls that begin at the same time. A poll is a few sockets and little memory; what waits here is only late.
const AT_ONCE: usize = 1000;

/// A poll that takes longer waits for its source.
const QUICK: Duration = Duration::from_secs(1);

/// No read takes longer, whatever its own timeout: an object's poll must end before the engine gives it up as lost.
const LONGEST_READ: Duration = Duration::from_secs(30);
/// An answer that takes longer than this is as old as its question.
const LATE: Duration = Duration::from_secs(5);

/// An API server that hangs (its etcd is away) must not hold up the triggers' next poll.
const SCALE_WITHIN: Duration = Duration::from_secs(5);

/// What is wanted of one poll.
#[derive(Clone, Copy)]
pub struct Ask {
    /// What it was planned for.
    pub due: Instant,
    /// Answers that other objects got less than this ago are taken.
    pub within: Duration,
    /// An HPA reads.
    pub for_hpa: bool,
}

pub struct Poller {
    objects: Arc<Objects>,
    targets: Arc<Targets>,
    metrics: Arc<Metrics>,
    /// Where they are on.
    raw: Option<Arc<RawMetrics>>,
    events: Events,
    gate: Gate,
}

impl Poller {
    pub fn new(
        objects: Arc<Objects>,
        targets: Arc<Targets>,
        metrics: Arc<Metrics>,
        raw: Option<Arc<RawMetrics>>,
        events: Events,
    ) -> Self {
        Self {
            objects,
            targets,
            metrics,
            raw,
            events,
            gate: Gate::new(AT_ONCE, QUICK),
        }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reads everything once. Never fails as a whole: what can't be read is in the outcome.
    pub async fn poll(&self, key: &ObjectKey, ask: Ask) -> PollOutcome {
        let Some(prepared) = self.objects.prepared(key) else {
            return nothing_read("the ScaledObject is gone");
        };
        let poll = self.gate.pass(self.poll_prepared(key, ask, &prepared));
        // A scaler's read is guarded by itself; this is for all around it: without an answer the engine would wait for a minute.
        AssertUnwindSafe(poll)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| nothing_read("polling it panicked: please report this"))
    }

    async fn poll_prepared(&self, key: &ObjectKey, ask: Ask, prepared: &Prepared) -> PollOutcome {
        let began = Instant::now();
        let late = ask.due.elapsed();
        self.metrics
            .begin_poll(key, late, |metric| prepared.shows(metric));
        let scale = async {
            match timeout(SCALE_WITHIN, self.targets.scale(&prepared.target)).await {
                Ok(Ok(scale)) => Ok(scale),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the API server did not answer in time".to_owned()),
            }
        };
        let triggers = join_all(
            prepared
                .triggers
                .iter()
                .map(|trigger| self.read(key, prepared, trigger, ask)),
        );
        let (scale, triggers) = tokio::join!(scale, triggers);
        let (triggers, ages): (Vec<_>, Vec<_>) = triggers.into_iter().unzip();
        let ready_pods = self
            .ready_pods(key, prepared, scale.as_ref().ok(), &triggers)
            .await;
        let replicas = scale.map(|scale| replicas(&scale));
        let target = replicas.as_ref().ok().copied();
        self.metrics
            .end_poll(key, how(target, &triggers), target, began.elapsed());
        PollOutcome {
            replicas,
            triggers,
            ready_pods,
            age: signed(ages.into_iter().max().unwrap_or_default()),
        }
    }

    /// The target's Ready pods, where some trigger's fallback is shared among them.
    async fn ready_pods(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        scale: Option<&Scale>,
        triggers: &[TriggerOutcome],
    ) -> Option<i32> {
        let mut failing = prepared.triggers.iter().zip(triggers);
        if !failing.any(|(trigger, outcome)| {
            activity_is_unknown(outcome) && prepared.falls_back_by_ready_pods(trigger)
        }) {
            return None;
        }
        let counting = self.targets.ready_pods(&prepared.target, scale?);
        match timeout(SCALE_WITHIN, counting).await {
            Ok(Ok(pods)) => Some(pods),
            Ok(Err(error)) => {
                debug!(object = %key, %error, "counting Ready pods failed");
                None
            }
            Err(_) => None,
        }
    }

    /// Shows the value of a composite metric, which no scaler reads.
    pub fn observe_served(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        metric: &str,
        value: Option<Quantity>,
        age: Duration,
    ) {
        if let Some(trigger) = prepared.triggers.iter().find(|trigger| {
            matches!(trigger.source, Source::Sale { .. }) && trigger.publishes(metric)
        }) {
            let series = trigger.series(metric);
            return match value.map(Quantity::to_f64) {
                Some(value) => {
                    let read = metrics::Read {
                        value,
                        active: value > 0.0,
                        took: Some(Duration::ZERO),
                        age,
                    };
                    self.metrics.observe(key, &series, &read);
                    self.publish(key, prepared, trigger, &[(value, value > 0.0)], false, age);
                }
                None => self.metrics.observe_error(key, &series),
            };
        }
        let Some(modifiers) = &prepared.modifiers else {
            return;
        };
        // KEDA's labels for it.
        let series = Series {
            metric,
            scaler: COMPOSITE_METRIC,
            trigger_index: 0,
        };
        match value.map(Quantity::to_f64) {
            Some(value) => {
                let read = metrics::Read {
                    value,
                    active: value > modifiers.activation_target,
                    took: None,
                    age,
                };
                self.metrics.observe(key, &series, &read);
            }
            None => self.metrics.observe_error(key, &series),
        }
    }

    /// What a trigger's source says, and how long before now it was asked.
    async fn read(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        trigger: &PreparedTrigger,
        ask: Ask,
    ) -> (TriggerOutcome, Duration) {
        let freshness = Freshness::within(ask.within);
        let started = Moment::now();
        let outcome = self.read_fresh(key, prepared, trigger, &freshness).await;
        let age = age(&freshness, started.elapsed());
        if let TriggerOutcome::Read(readings) = &outcome {
            let values: Vec<_> = readings
                .iter()
                .map(|reading| (reading.value, reading.active))
                .collect();
            self.publish(key, prepared, trigger, &values, ask.for_hpa, age);
        }
        (outcome, age)
    }

    /// Tells those who have subscribed to raw metrics what was read.
    fn publish(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        trigger: &PreparedTrigger,
        values: &[(f64, bool)],
        for_hpa: bool,
        age: Duration,
    ) {
        if let Some(raw) = &self.raw {
            let read = TriggerRead {
                namespace: &key.namespace,
                object: &key.name,
                trigger: &trigger.label,
                values,
                asked: Timestamp::now() - age,
                interval: prepared.readings.polling_interval,
                for_hpa,
            };
            raw.publish(&read, Instant::now());
        }
    }

    async fn read_fresh(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        trigger: &PreparedTrigger,
        freshness: &Freshness,
    ) -> TriggerOutcome {
        let (scaler, metrics) = match &trigger.source {
            Source::Resource { metric } => {
                self.metrics.observe_resource(key, &trigger.series(metric));
                return TriggerOutcome::Resource;
            }
            // The engine puts in what it is.
            Source::Sale { .. } => return TriggerOutcome::Read(Vec::new()),
            Source::Broken { message, .. } => {
                return self.failed(key, prepared, trigger, message.clone());
            }
            Source::Scaler { scaler, metrics } => (scaler, metrics),
        };
        let started = Moment::now();
        let read = read_guarded(scaler.as_ref(), freshness);
        let answer = match self.metrics.observer(key, trigger.index, &trigger.kind) {
            Some(observer) => observed(observer, read).await,
            None => read.await,
        };
        let took = started.elapsed();
        // By a clock that runs on while the process is stopped: what waited in a socket meanwhile is no answer of now.
        let answer = match answer {
            Ok(_) if took > LONGEST_READ + LATE => Err(ScalerError::Unreachable(format!(
                "the answer was taken only {} s after the question: it is too old",
                took.as_secs()
            ))),
            answer => answer,
        };
        self.metrics
            .count_read(&trigger.kind, answer.as_ref().err());
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
        let age = age(freshness, took);
        let mut taken = Vec::with_capacity(readings.len());
        for reading in readings {
            debug!(object = %key, metric = reading.metric, value = reading.value, active = reading.active, "read");
            let read = metrics::Read {
                value: reading.value,
                active: reading.active,
                took: Some(took),
                age,
            };
            self.metrics
                .observe(key, &trigger.series(&reading.metric), &read);
            if let Some(slot) = prepared.readings.slot(&reading.metric) {
                slot.record(Quantity::of_metric(reading.value), age);
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
            // Whether the HPA is told of the failure depends on the fallback, of which the engine decides.
            if let Some(slot) = prepared.readings.slot(&metric.name)
                && !prepared.is_decided_by_engine()
            {
                slot.record_failure(&message);
            }
        }
        TriggerOutcome::Failed { message }
    }
}

/// How long before now the source was asked. The time that an ordinary answer takes doesn't count: a read that waited for it has no
/// newer one to get.
fn age(freshness: &Freshness, took: Duration) -> Duration {
    let slow = if took > LATE { took } else { Duration::ZERO };
    freshness.oldest().max(slow)
}

/// The scaler failed, or gave nothing that counts.
fn activity_is_unknown(outcome: &TriggerOutcome) -> bool {
    match outcome {
        TriggerOutcome::Failed { .. } => true,
        TriggerOutcome::Read(readings) => readings.iter().all(|reading| !reading.value.is_finite()),
        TriggerOutcome::Resource => false,
    }
}

/// How a poll went, for who counts.
fn how(replicas: Option<i32>, triggers: &[TriggerOutcome]) -> Polled {
    let fails = |trigger: &TriggerOutcome| matches!(trigger, TriggerOutcome::Failed { .. });
    let failing = triggers.iter().filter(|trigger| fails(trigger)).count();
    match failing {
        _ if replicas.is_none() => Polled::Failed,
        0 => Polled::Ok,
        all if all == triggers.len() => Polled::Failed,
        _ => Polled::Partial,
    }
}

/// The outcome of a poll that came to nothing.
fn nothing_read(why: &str) -> PollOutcome {
    PollOutcome {
        replicas: Err(why.to_owned()),
        triggers: Vec::new(),
        ready_pods: None,
        age: SignedDuration::ZERO,
    }
}

fn signed(age: Duration) -> SignedDuration {
    SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX)
}

/// Reads a scaler; a panic in it and a read that takes too long are failures like any other.
async fn read_guarded(
    scaler: &dyn Scaler,
    freshness: &Freshness,
) -> Result<Vec<sakidori_scalers::Reading>, ScalerError> {
    let read = AssertUnwindSafe(scaler.read(freshness)).catch_unwind();
    match timeout(LONGEST_READ, read).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(ScalerError::Malformed(
            "the scaler panicked: please report this".to_owned(),
        )),
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

#[cfg(test)]
mod tests;
