//! The metric cache: the last answer of each metric of each object, and a way to wait for the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sakidori_engine::Quantity;
use tokio::sync::watch;

/// One object's metrics.
pub struct ObjectReadings {
    pub polling_interval: Duration,
    slots: Vec<Arc<Slot>>,
}

/// One metric: its last reading and its last failure.
pub struct Slot {
    /// The full external metric name, `s<index>-<name>`.
    pub metric: String,
    /// `useCachedMetrics`: serve the last poll instead of asking for a newer one.
    pub use_cached: bool,
    latest: watch::Sender<Latest>,
}

/// What a metric's source last answered.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    pub reading: Option<Taken>,
    /// Set while the newest answer is a failure.
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug)]
pub struct Taken {
    pub value: Quantity,
    pub at: Instant,
    pub timestamp: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub message: String,
    pub at: Instant,
}

impl ObjectReadings {
    /// The metrics of an object, each with whether `useCachedMetrics` is set. `kept` gives the slot of a metric whose source is the
    /// same as before.
    pub fn new(
        polling_interval: Duration,
        metrics: impl IntoIterator<Item = (String, bool)>,
        kept: impl Fn(&str) -> Option<Arc<Slot>>,
    ) -> Self {
        let slots = metrics
            .into_iter()
            .map(|(metric, use_cached)| match kept(&metric) {
                Some(slot) if slot.use_cached == use_cached => slot,
                _ => Arc::new(Slot {
                    metric,
                    use_cached,
                    latest: watch::Sender::default(),
                }),
            })
            .collect();
        Self {
            polling_interval,
            slots,
        }
    }

    /// Finds a metric; like KEDA, whatever the case.
    pub fn slot(&self, metric: &str) -> Option<Arc<Slot>> {
        self.slots
            .iter()
            .find(|slot| slot.metric.eq_ignore_ascii_case(metric))
            .cloned()
    }

    /// Readings older than this are not served: two polling intervals (a poll may be late by one).
    pub fn oldest_served(&self) -> Duration {
        self.polling_interval * 2
    }
}

impl Slot {
    #[cfg(test)]
    pub fn latest(&self) -> Latest {
        self.latest.borrow().clone()
    }

    /// Wakes at each answer from now on.
    pub fn subscribe(&self) -> watch::Receiver<Latest> {
        self.latest.subscribe()
    }

    /// Takes in what the source said when it was asked `age` ago.
    pub fn record(&self, value: Quantity, age: Duration) {
        let now = Instant::now();
        let reading = Some(Taken {
            value,
            at: now.checked_sub(age).unwrap_or(now),
            timestamp: Timestamp::now() - age,
        });
        self.latest.send_replace(Latest {
            reading,
            failure: None,
        });
    }

    pub fn record_failure(&self, message: &str) {
        self.latest.send_modify(|latest| {
            latest.failure = Some(Failure {
                message: message.to_owned(),
                at: Instant::now(),
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_whose_source_stays_keeps_its_reading() {
        let interval = Duration::from_secs(30);
        let metrics = || ["s0-a", "s1-b"].map(|name| (name.to_owned(), false));
        let first = ObjectReadings::new(interval, metrics(), |_| None);
        for metric in ["s0-a", "s1-b"] {
            let slot = first.slot(metric).unwrap();
            slot.record(Quantity::from_integer(7), Duration::ZERO);
        }
        let kept = |metric: &str| first.slot(metric).filter(|_| metric == "s0-a");
        let second = ObjectReadings::new(interval, metrics(), kept);
        let reading = |metric: &str| second.slot(metric).unwrap().latest().reading;
        assert_eq!(reading("S0-A").unwrap().value, Quantity::from_integer(7));
        assert!(reading("s1-b").is_none());
        assert!(second.slot("s2-c").is_none());
    }

    #[test]
    fn a_failure_keeps_the_last_reading_and_an_answer_clears_the_failure() {
        let slot = Slot {
            metric: "s0-a".into(),
            use_cached: false,
            latest: watch::Sender::default(),
        };
        slot.record(Quantity::from_integer(7), Duration::ZERO);
        slot.record_failure("down");
        let latest = slot.latest();
        assert_eq!(latest.failure.unwrap().message, "down");
        assert!(latest.reading.is_some());
        slot.record(Quantity::from_integer(8), Duration::ZERO);
        assert!(slot.latest().failure.is_none());
    }
}
