//! What is known of each ScaledObject for its series. They are made of it at a scrape (`objects.rs`); here it is only noted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sakidori_engine::{ObjectKey, Shown};
use sakidori_values::Moment;

use super::resize::ResizeFacts;
use super::text::Histogram;
use crate::lock::lock;

/// One metric of one trigger, as labels name it.
#[derive(Clone, Copy)]
pub struct Series<'a> {
    pub metric: &'a str,
    /// The trigger's name, else KEDA's type name.
    pub scaler: &'a str,
    pub trigger_index: usize,
}

/// The last successful read of a metric.
#[derive(Clone, Copy)]
pub struct Read {
    pub value: f64,
    pub active: bool,
    /// How long it took; `None` where nothing was read, as for a formula.
    pub took: Option<Duration>,
    /// How long before now the source was asked.
    pub age: Duration,
}

/// What is known of one ScaledObject.
#[derive(Default)]
pub struct Facts {
    pub trigger_types: Vec<String>,
    pub paused: bool,
    /// Polls with any failure in them.
    pub errors: u64,
    /// By how much the last poll began late.
    pub late: Option<Duration>,
    /// The target's, as last polled.
    pub replicas: Option<i32>,
    pub metrics: Vec<MetricFacts>,
    /// By the index of the trigger and the status; without a status where there was no answer.
    pub exchanges: BTreeMap<(usize, Option<u16>), Exchanges>,
    /// Answers without a result, by the index of the trigger and whether those count as 0.
    pub empty: BTreeMap<(usize, bool), u64>,
    pub shown: Option<Shown>,
    /// Where its pods are resized in place.
    pub resize: Option<ResizeFacts>,
    /// Seconds from readiness to the start of each sale.
    pub leads: Option<Histogram>,
    /// The highest floor of each of the next days, and when that was computed.
    pub planned: Option<(Instant, Vec<i32>)>,
}

/// What is known of one metric of a trigger.
pub struct MetricFacts {
    pub metric: String,
    pub scaler: String,
    pub trigger_index: usize,
    pub value: Option<f64>,
    pub active: Option<bool>,
    pub took: Option<Duration>,
    /// When the source was asked for the value.
    pub asked: Option<Moment>,
    /// Failed reads; `None` for what is never read.
    pub errors: Option<u64>,
    /// The last read failed.
    pub failing: bool,
}

/// Exchanges over HTTP with one status.
#[derive(Default)]
pub struct Exchanges {
    pub count: u64,
    /// Where each object has a histogram of its own.
    pub seconds: Option<Histogram>,
}

impl MetricFacts {
    pub fn is(&self, series: &Series<'_>) -> bool {
        self.trigger_index == series.trigger_index
            && self.metric == series.metric
            && self.scaler == series.scaler
    }
}

impl Facts {
    pub fn metric(&mut self, series: &Series<'_>) -> &mut MetricFacts {
        let known = self.metrics.iter().position(|one| one.is(series));
        let place = known.unwrap_or_else(|| {
            self.metrics.push(MetricFacts {
                metric: series.metric.to_owned(),
                scaler: series.scaler.to_owned(),
                trigger_index: series.trigger_index,
                value: None,
                active: None,
                took: None,
                asked: None,
                errors: None,
                failing: false,
            });
            self.metrics.len() - 1
        });
        &mut self.metrics[place]
    }

    pub fn read(&mut self, series: &Series<'_>, read: &Read) {
        let metric = self.metric(series);
        metric.value = Some(read.value);
        metric.active = Some(read.active);
        metric.took = read.took;
        metric.asked = Some(Moment::now().before(read.age));
        metric.failing = false;
        // There from the start, so that a rate over it sees the first error.
        metric.errors.get_or_insert_default();
    }

    /// The last value stays: it is what was last known.
    pub fn failed(&mut self, series: &Series<'_>) {
        let metric = self.metric(series);
        *metric.errors.get_or_insert_default() += 1;
        metric.failing = true;
    }

    /// Forgets what is known of metrics that the object has no more.
    pub fn keep(&mut self, has: impl Fn(&MetricFacts) -> bool) {
        self.metrics.retain(has);
    }

    /// Triggers are others now.
    fn forget_triggers(&mut self) {
        self.metrics.clear();
        self.exchanges.clear();
        self.empty.clear();
        self.planned = None;
    }
}

/// Of all ScaledObjects that there are.
#[derive(Default)]
pub struct Table(Mutex<HashMap<ObjectKey, Arc<Mutex<Facts>>>>);

impl Table {
    /// Notes that there is an object with these triggers. What is known of others that it had goes.
    pub fn register(&self, key: &ObjectKey, trigger_types: Vec<String>, paused: bool) {
        let facts = lock(&self.0).entry(key.clone()).or_default().clone();
        let mut facts = lock(&facts);
        facts.forget_triggers();
        facts.trigger_types = trigger_types;
        facts.paused = paused;
    }

    pub fn forget(&self, key: &ObjectKey) {
        lock(&self.0).remove(key);
    }

    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// `None` for an object that is gone: what a poll of it still brings must not make its series anew.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Mutex<Facts>>> {
        lock(&self.0).get(key).cloned()
    }

    /// Notes something of an object, while there is one.
    pub fn note(&self, key: &ObjectKey, note: impl FnOnce(&mut Facts)) {
        if let Some(facts) = self.get(key) {
            note(&mut lock(&facts));
        }
    }

    /// All objects, in the order of their names.
    pub fn all(&self) -> Vec<(ObjectKey, Arc<Mutex<Facts>>)> {
        let mut all: Vec<_> = lock(&self.0)
            .iter()
            .map(|(key, facts)| (key.clone(), facts.clone()))
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}
