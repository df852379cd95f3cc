//! The metrics of the stream between replicas.

use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntGauge};
use sakidori_values::{Counts, Moment, Store};

use crate::lock::lock;

/// Reads what the stream counts when it is asked for.
pub struct StreamMetrics {
    store: Arc<Store>,
    counts: Arc<Counts>,
    followers: IntGauge,
    waiting: IntGauge,
    told: IntCounter,
    told_bytes: IntCounter,
    streams: IntCounter,
    silence: Gauge,
    started: Moment,
    /// Held while they are collected: two scrapes at once would count each other's.
    collected: Mutex<()>,
}

impl StreamMetrics {
    /// # Errors
    /// Never: the names are constants.
    pub fn new(store: Arc<Store>, counts: Arc<Counts>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            store,
            counts,
            followers: IntGauge::new(
                "sakidori_values_followers",
                "Processes that are told the values of this one, which leads",
            )?,
            waiting: IntGauge::new(
                "sakidori_values_waiting_objects",
                "Objects whose news the slowest of them has not been told yet",
            )?,
            told: IntCounter::new("sakidori_values_told_total", "Messages told to them")?,
            told_bytes: IntCounter::new(
                "sakidori_values_told_bytes_total",
                "The size of these messages, without what HTTP and TLS add",
            )?,
            streams: IntCounter::new(
                "sakidori_values_streams_total",
                "Streams begun with a replica that leads: one more at each reconnect",
            )?,
            silence: Gauge::new(
                "sakidori_values_silence_seconds",
                "How long ago the replica that leads last told this process something; since it started, if never",
            )?,
            started: Moment::now(),
            collected: Mutex::default(),
        })
    }
}

impl Collector for StreamMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let counters = [&self.told, &self.told_bytes, &self.streams];
        let mut all = self.followers.desc();
        all.extend(self.waiting.desc());
        all.extend(counters.iter().flat_map(|counter| counter.desc()));
        all.extend(self.silence.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _collected = lock(&self.collected);
        let counted = self.counts.now();
        self.followers
            .set(counted.followers.try_into().unwrap_or(i64::MAX));
        let mut all = self.followers.collect();
        let waiting = self.store.waiting();
        self.waiting.set(waiting.try_into().unwrap_or(i64::MAX));
        all.extend(self.waiting.collect());
        for (counter, value) in [
            (&self.told, counted.told),
            (&self.told_bytes, counted.told_bytes),
            (&self.streams, counted.streams),
        ] {
            counter.reset();
            counter.inc_by(value);
            all.extend(counter.collect());
        }
        // One that reaches no leader from its start on is as much cut off as one that lost it.
        let heard = self.store.silence();
        let silence = heard.unwrap_or_else(|| self.started.elapsed());
        self.silence.set(silence.as_secs_f64());
        all.extend(self.silence.collect());
        all
    }
}
