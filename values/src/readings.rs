//! The last answer of each metric of one object, and a way to wait for the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sakidori_engine::{ObjectKey, Quantity};
use tokio::sync::watch;

use crate::changes::Changes;
use crate::moment::Moment;

/// One object's metrics. Made by [`crate::Store::readings`].
pub struct ObjectReadings {
    pub polling_interval: Duration,
    /// The `metadata.generation` of the object that they were made for; 0 where that isn't known.
    generation: i64,
    slots: Vec<Arc<Slot>>,
}

/// One metric: its last reading and its last failure.
pub struct Slot {
    /// The full external metric name, `s<index>-<name>`.
    pub metric: String,
    /// `useCachedMetrics`: serve the last poll instead of asking for a newer one.
    pub use_cached: bool,
    latest: watch::Sender<Latest>,
    /// The number of the stream that told its reading; 0 for none.
    told_by: AtomicU64,
    place: Place,
}

/// Whose metrics they are, and who wants to know of each change.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) key: ObjectKey,
    pub(crate) changes: Arc<Changes>,
}

/// What a metric's source last answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latest {
    pub reading: Option<Taken>,
    /// Set while the newest answer is a failure.
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    pub value: Quantity,
    /// When the source was asked.
    pub at: Moment,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub message: String,
    pub at: Moment,
}

impl ObjectReadings {
    /// The metrics of an object, each with whether `useCachedMetrics` is set. `kept` gives the slot of a metric whose source is the
    /// same as before.
    pub(crate) fn new(
        place: &Place,
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
                    told_by: AtomicU64::new(0),
                    place: place.clone(),
                }),
            })
            .collect();
        Self {
            polling_interval,
            generation: 0,
            slots,
        }
    }

    /// The same for an object of this generation.
    #[must_use]
    pub fn of_generation(self, generation: i64) -> Self {
        Self { generation, ..self }
    }

    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Finds a metric; like KEDA, whatever the case.
    pub fn slot(&self, metric: &str) -> Option<Arc<Slot>> {
        self.slots
            .iter()
            .find(|slot| slot.metric.eq_ignore_ascii_case(metric))
            .cloned()
    }

    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// Readings older than this are not served: two polling intervals (a poll may be late by one).
    pub fn oldest_served(&self) -> Duration {
        self.polling_interval * 2
    }

    /// Whether these metrics are those, by name, of the same generation.
    pub(crate) fn are(
        &self,
        polling_interval: Duration,
        generation: i64,
        metrics: impl ExactSizeIterator<Item = (String, bool)>,
    ) -> bool {
        self.polling_interval == polling_interval
            && self.generation == generation
            && self.slots.len() == metrics.len()
            && self
                .slots
                .iter()
                .zip(metrics)
                .all(|(slot, (metric, use_cached))| {
                    slot.metric == metric && slot.use_cached == use_cached
                })
    }
}

impl Slot {
    pub fn latest(&self) -> Latest {
        self.latest.borrow().clone()
    }

    /// Wakes at each answer from now on.
    pub fn subscribe(&self) -> watch::Receiver<Latest> {
        self.latest.subscribe()
    }

    /// Takes in what the source said when it was asked `age` ago.
    pub fn record(&self, value: Quantity, age: Duration) {
        let at = Moment::now().before(age);
        self.put(Latest {
            reading: Some(Taken { value, at }),
            failure: None,
        });
    }

    pub fn record_failure(&self, message: &str) {
        self.latest.send_modify(|latest| {
            latest.failure = Some(Failure {
                message: message.to_owned(),
                at: Moment::now(),
            });
        });
        self.place.changes.mark(&self.place.key);
    }

    /// Takes in what the replica that leads says of the source's last answer, on the stream of that number. One that has just begun has no answer
    /// yet: then those stay that it hasn't replaced yet on this stream.
    pub(crate) fn hear(&self, stream: u64, mut told: Latest) {
        let before = self.latest();
        if told.reading.is_some() {
            self.told_by.store(stream, Ordering::Relaxed);
        } else if !self.is_told_by(stream) {
            told.reading = before.reading.clone();
            told.failure = told.failure.or_else(|| before.failure.clone());
        }
        if before != told {
            self.put(told);
        }
    }

    /// Whether its reading was told on the stream of that number.
    pub(crate) fn is_told_by(&self, stream: u64) -> bool {
        self.told_by.load(Ordering::Relaxed) == stream
    }

    fn put(&self, latest: Latest) {
        self.latest.send_replace(latest);
        self.place.changes.mark(&self.place.key);
    }
}

impl Taken {
    /// When the source was asked, by this machine's wall clock: to be shown.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::now() - self.at.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn readings(
        metrics: &[&str],
        kept: impl Fn(&str) -> Option<Arc<Slot>>,
    ) -> (Arc<Store>, ObjectReadings) {
        let store = Arc::new(Store::default());
        let interval = Duration::from_secs(30);
        let metrics = metrics.iter().map(|name| ((*name).to_owned(), false));
        let readings = store.readings(&ObjectKey::new("shop", "web"), interval, metrics, kept);
        (store, readings)
    }

    #[test]
    fn a_metric_whose_source_stays_keeps_its_reading() {
        let metrics = ["s0-a", "s1-b"];
        let (_, first) = readings(&metrics, |_| None);
        for metric in metrics {
            let slot = first.slot(metric).unwrap();
            slot.record(Quantity::from_integer(7), Duration::ZERO);
        }
        let kept = |metric: &str| first.slot(metric).filter(|_| metric == "s0-a");
        let (_, second) = readings(&metrics, kept);
        let reading = |metric: &str| second.slot(metric).unwrap().latest().reading;
        assert_eq!(reading("S0-A").unwrap().value, Quantity::from_integer(7));
        assert!(reading("s1-b").is_none());
        assert!(second.slot("s2-c").is_none());
    }

    #[test]
    fn a_failure_keeps_the_last_reading_and_an_answer_clears_the_failure() {
        let (_, readings) = readings(&["s0-a"], |_| None);
        let slot = readings.slot("s0-a").unwrap();
        slot.record(Quantity::from_integer(7), Duration::ZERO);
        slot.record_failure("down");
        let latest = slot.latest();
        assert_eq!(latest.failure.unwrap().message, "down");
        assert!(latest.reading.is_some());
        slot.record(Quantity::from_integer(8), Duration::ZERO);
        assert!(slot.latest().failure.is_none());
    }
}
