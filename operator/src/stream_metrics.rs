//! The metrics of the stream between replicas.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntGauge};
use sakidori_values::{Counts, Store};

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
                "How long ago the replica that leads last told this process something",
            )?,
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
            // Only one scrape at a time counts: another's increase between the two lines would be counted twice.
            counter.reset();
            counter.inc_by(value);
            all.extend(counter.collect());
        }
        // One that never followed has no silence.
        if let Some(silence) = self.store.silence() {
            self.silence.set(silence.as_secs_f64());
            all.extend(self.silence.collect());
        }
        all
    }
}
