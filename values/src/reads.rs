//! Answers the HPA's reads from what is known, the same in every process.
//!
//! One query of a source serves both the poll and the HPA: a read takes a reading younger than a second, or shares the
//! query under way, or has one asked for (which then counts as the poll). It waits a bounded time; then the last
//! reading counts while it is not older than two polling intervals, else the read is an error, on which the HPA keeps its
//! replicas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sakidori_engine::ObjectKey;
use sakidori_metrics_adapter::{ExternalMetricValue, ExternalMetrics, MetricError};
use tokio::time::timeout_at;

use crate::moment::Moment;
use crate::read_metrics::{How, ReadMetrics};
use crate::readings::{Latest, ObjectReadings, Slot, Taken};
use crate::store::{State, Store};

/// The label by which an HPA names the ScaledObject.
pub(crate) const SCALED_OBJECT_NAME: &str = "scaledobject.keda.sh/name";

/// A reading younger than this is served as it is: HPAs of one target read their metrics one after the other.
const FRESH: Duration = Duration::from_secs(1);

/// Reads what the store holds.
pub struct Reads {
    store: Arc<Store>,
    /// How long a read waits for a new reading. The HPA controller has five workers: a slow source must not hold them.
    wait: Duration,
    /// Where they are counted.
    metrics: Option<ReadMetrics>,
}

/// One object's metrics, and why it can't be prepared as it is now.
type Found = (Arc<ObjectReadings>, Option<String>);

impl Reads {
    pub fn new(store: Arc<Store>, wait: Duration) -> Self {
        Self {
            store,
            wait,
            metrics: None,
        }
    }

    /// The same, counted.
    #[must_use]
    pub fn counted(mut self, metrics: ReadMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The value of one metric of one object.
    ///
    /// # Errors
    /// See [`MetricError`].
    pub async fn metric(&self, key: &ObjectKey, metric: &str) -> Result<Taken, MetricError> {
        let began = Instant::now();
        let read = self.read_metric(key, metric).await;
        if let Some(metrics) = &self.metrics {
            metrics.count(&read, began.elapsed());
        }
        read.map(|(taken, _)| taken)
    }

    async fn read_metric(
        &self,
        key: &ObjectKey,
        metric: &str,
    ) -> Result<(Taken, How), MetricError> {
        let deadline = Instant::now() + self.wait;
        let (object, complaint) = self.object(key, deadline).await?;
        let Some(slot) = object.slot(metric) else {
            return Err(MetricError::NotFound(format!(
                "ScaledObject {key} has no metric {metric:?}"
            )));
        };
        self.reading(key, &object, &slot, deadline)
            .await
            .map_err(|why| {
                let complaint = complaint.map(|complaint| format!("; {complaint}"));
                MetricError::Unavailable(format!(
                    "ScaledObject {key}, metric {}: {why}{}",
                    slot.metric,
                    complaint.unwrap_or_default()
                ))
            })
    }

    /// The object's metrics; waits for an object that is not known or not prepared yet (just after a start).
    async fn object(&self, key: &ObjectKey, deadline: Instant) -> Result<Found, MetricError> {
        loop {
            let came = self.store.came();
            // In this order: what is not listed yet may come between the two.
            let listed = self.store.is_listed();
            let unknown = match self.store.served(key).map(|served| served.state) {
                Some(State::Served {
                    readings,
                    complaint,
                }) => return Ok((readings, complaint)),
                Some(State::Paused) => {
                    return Err(MetricError::NotFound(format!(
                        "ScaledObject {key} is paused: nothing is read for it"
                    )));
                }
                Some(State::Unprepared {
                    complaint: Some(complaint),
                }) => {
                    return Err(MetricError::Unavailable(format!(
                        "ScaledObject {key}: {complaint}"
                    )));
                }
                Some(State::Unprepared { complaint: None }) => {
                    "is not prepared yet: its Ready condition says why"
                }
                None if listed => {
                    return Err(MetricError::NotFound(format!("no ScaledObject {key}")));
                }
                None => "is not known here yet: the list of all ScaledObjects is not complete",
            };
            if timeout_at(deadline.into(), came).await.is_err() {
                return Err(MetricError::Unavailable(format!(
                    "ScaledObject {key} {unknown}"
                )));
            }
        }
    }

    /// # Errors
    /// With why there is none.
    async fn reading(
        &self,
        key: &ObjectKey,
        object: &ObjectReadings,
        slot: &Slot,
        deadline: Instant,
    ) -> Result<(Taken, How), String> {
        let mut answers = slot.subscribe();
        let latest = answers.borrow_and_update().clone();
        let served_up_to = if slot.use_cached {
            object.oldest_served()
        } else {
            FRESH
        };
        if let Some(answer) = settled(&latest, served_up_to) {
            return answer.map(|taken| (taken, How::Fresh));
        }
        let asked = Moment::now();
        let mut last = latest.reading;
        // While nobody leads nobody is there to answer: the last reading is as good now as in a second.
        if self.store.has_listener() {
            self.store.want(key);
            loop {
                let Ok(Ok(())) = timeout_at(deadline.into(), answers.changed()).await else {
                    // Too slow, or the slot was replaced meanwhile.
                    break;
                };
                let latest = answers.borrow().clone();
                match (latest.failure, latest.reading) {
                    (None, Some(taken)) if taken.at.after(served_up_to) >= asked => {
                        return Ok((taken, How::Polled));
                    }
                    // A poll that was under way took an answer of another object's, which may be older: one more is asked for.
                    (None, Some(taken)) => {
                        last = Some(taken);
                        self.store.want(key);
                    }
                    (Some(failure), _) => return Err(failure.message),
                    (None, None) => return Err("no reading yet".to_owned()),
                }
            }
        }
        // The last reading, while it may still be served.
        last.filter(|taken| taken.at.elapsed() <= object.oldest_served())
            .map(|taken| (taken, How::Last))
            .ok_or_else(|| {
                "its source did not answer in time and no reading is young enough".to_owned()
            })
    }
}

#[async_trait]
impl ExternalMetrics for Reads {
    async fn read(
        &self,
        namespace: &str,
        metric: &str,
        selector: &BTreeMap<String, String>,
    ) -> Result<Vec<ExternalMetricValue>, MetricError> {
        let Some(name) = selector.get(SCALED_OBJECT_NAME) else {
            return Err(MetricError::BadRequest(format!(
                "scaledObject name is not specified: expected the label selector {SCALED_OBJECT_NAME}=NAME"
            )));
        };
        let key = ObjectKey::new(namespace, name.as_str());
        let taken = self.metric(&key, metric).await?;
        Ok(vec![ExternalMetricValue {
            metric_name: metric.to_owned(),
            metric_labels: BTreeMap::new(),
            timestamp: taken.timestamp(),
            value: taken.value,
        }])
    }
}

/// The answer that needs no new query: a reading or a failure not older than `served_up_to`.
fn settled(latest: &Latest, served_up_to: Duration) -> Option<Result<Taken, String>> {
    if let Some(failure) = &latest.failure {
        return (failure.at.elapsed() <= served_up_to).then(|| Err(failure.message.clone()));
    }
    let taken = latest
        .reading
        .as_ref()
        .filter(|taken| taken.at.elapsed() <= served_up_to)?;
    Some(Ok(taken.clone()))
}

#[cfg(test)]
mod tests {
    use sakidori_engine::Quantity;

    use super::*;
    use crate::readings::Failure;
    use crate::store::Writer;

    fn taken(age: Duration) -> Option<Taken> {
        Some(Taken {
            value: Quantity::from_integer(1),
            at: Moment::now().before(age),
        })
    }

    #[test]
    fn a_young_answer_settles_a_read() {
        let second = Duration::from_secs(1);
        let fresh = Latest {
            reading: taken(Duration::ZERO),
            failure: None,
        };
        assert!(settled(&fresh, second).unwrap().is_ok());
        let old = Latest {
            reading: taken(second * 2),
            failure: None,
        };
        assert!(settled(&old, second).is_none());
        let failed = Latest {
            reading: taken(Duration::ZERO),
            failure: Some(Failure {
                message: "down".into(),
                at: Moment::now(),
            }),
        };
        assert_eq!(settled(&failed, second).unwrap().unwrap_err(), "down");
        assert!(settled(&Latest::default(), second).is_none());
    }

    /// A store in which `shop/web` is in this state.
    fn writer(state: Option<State>) -> Writer {
        let writer = Writer::new(Arc::new(Store::default()));
        writer.begin();
        if let Some(state) = state {
            writer.set(&ObjectKey::new("shop", "web"), "1", state);
        }
        writer
    }

    async fn read(writer: &Writer, metric: &str) -> Result<Quantity, MetricError> {
        let reads = Reads::new(writer.store().clone(), Duration::from_millis(50));
        let key = ObjectKey::new("shop", "web");
        reads.metric(&key, metric).await.map(|taken| taken.value)
    }

    #[tokio::test]
    async fn why_there_is_no_value_is_told() {
        let unprepared = |complaint: Option<&str>| {
            Some(State::Unprepared {
                complaint: complaint.map(str::to_owned),
            })
        };
        for (state, listed, told) in [
            (Some(State::Paused), true, "is paused"),
            (unprepared(Some("no target")), true, "no target"),
            (unprepared(None), true, "is not prepared yet"),
            (None, true, "no ScaledObject shop/web"),
            (None, false, "is not complete"),
        ] {
            let writer = writer(state);
            if listed {
                writer.listed();
            }
            let error = read(&writer, "s0-a").await.unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[tokio::test]
    async fn a_reading_is_served_up_to_two_polling_intervals() {
        let writer = writer(None);
        let (key, interval) = (ObjectKey::new("shop", "web"), Duration::from_secs(10));
        let metrics = [("s0-a".to_owned(), false)];
        let readings = Arc::new(writer.store().readings(&key, interval, metrics, |_| None));
        let state = State::Served {
            readings: readings.clone(),
            complaint: Some("its Secret is missing".to_owned()),
        };
        writer.set(&key, "1", state);
        let slot = readings.slot("s0-a").unwrap();
        slot.record(Quantity::from_integer(7), Duration::from_secs(19));
        assert_eq!(read(&writer, "S0-A").await, Ok(Quantity::from_integer(7)));
        slot.record(Quantity::from_integer(7), Duration::from_secs(21));
        let error = read(&writer, "s0-a").await.unwrap_err().to_string();
        assert!(
            error.contains("young enough; its Secret is missing"),
            "{error}"
        );
        let error = read(&writer, "s1-b").await.unwrap_err().to_string();
        assert!(error.contains("has no metric \"s1-b\""), "{error}");
        // While somebody listens, a read waits for what is newer.
        slot.record(Quantity::from_integer(7), Duration::from_secs(15));
        let listening = writer.store().listen();
        let answering = tokio::spawn(async move {
            listening.next().await;
            slot.record(Quantity::from_integer(8), Duration::ZERO);
            listening
        });
        assert_eq!(read(&writer, "s0-a").await, Ok(Quantity::from_integer(8)));
        drop(answering.await);
    }
}
