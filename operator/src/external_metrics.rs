//! Answers the HPA's reads from the metric cache.
//!
//! One query of a source serves both the poll and the HPA: a read takes a reading younger than a second, or shares the
//! query under way, or asks the engine for one (which then counts as the poll). It waits a bounded time; then the last
//! reading counts while it is not older than two polling intervals, else the read is an error, on which the HPA keeps its
//! replicas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sakidori_api::annotations;
use sakidori_engine::{Event, ObjectKey};
use sakidori_metrics_adapter::{ExternalMetricValue, ExternalMetrics, MetricError};
use tokio::time::timeout_at;

use crate::control::Events;
use crate::objects::Objects;
use crate::prepare::Prepared;
use crate::readings::{Latest, ObjectReadings, Slot, Taken};

/// A reading younger than this is served as it is: HPAs of one target read their metrics one after the other.
const FRESH: Duration = Duration::from_secs(1);

pub struct CachedMetrics {
    objects: Arc<Objects>,
    events: Events,
    /// How long a read waits for a new reading. The HPA controller has five workers: a slow source must not hold them.
    wait: Duration,
}

impl CachedMetrics {
    pub fn new(objects: Arc<Objects>, events: Events, wait: Duration) -> Self {
        Self {
            objects,
            events,
            wait,
        }
    }

    /// The object's metrics; waits for an object that is known but not prepared yet (just after a start).
    async fn object(
        &self,
        key: &ObjectKey,
        deadline: Instant,
    ) -> Result<Arc<Prepared>, MetricError> {
        loop {
            let changed = self.objects.prepared_changed();
            if let Some(prepared) = self.objects.prepared(key) {
                return Ok(prepared);
            }
            if let Some(object) = self.objects.object(key)
                && object.pause().is_some()
            {
                return Err(MetricError::NotFound(format!(
                    "ScaledObject {key} is paused: nothing is read for it"
                )));
            }
            if let Some(complaint) = self.objects.complaint(key) {
                return Err(MetricError::Unavailable(format!(
                    "ScaledObject {key}: {complaint}"
                )));
            }
            if !self.objects.may_exist(key) {
                return Err(MetricError::NotFound(format!("no ScaledObject {key}")));
            }
            if timeout_at(deadline.into(), changed).await.is_err() {
                return Err(MetricError::Unavailable(format!(
                    "ScaledObject {key} is not prepared yet: its Ready condition says why"
                )));
            }
        }
    }
}

#[async_trait]
impl ExternalMetrics for CachedMetrics {
    async fn read(
        &self,
        namespace: &str,
        metric: &str,
        selector: &BTreeMap<String, String>,
    ) -> Result<Vec<ExternalMetricValue>, MetricError> {
        // In a term that is over, nobody brings newer ones.
        let wait = match self.events.are_heard() {
            true => self.wait,
            false => Duration::ZERO,
        };
        let deadline = Instant::now() + wait;
        let Some(name) = selector.get(annotations::SCALED_OBJECT_NAME) else {
            return Err(MetricError::BadRequest(format!(
                "scaledObject name is not specified: expected the label selector {}=NAME",
                annotations::SCALED_OBJECT_NAME
            )));
        };
        let key = ObjectKey::new(namespace, name.as_str());
        let prepared = self.object(&key, deadline).await?;
        let object = &prepared.readings;
        let Some(slot) = object.slot(metric) else {
            return Err(MetricError::NotFound(format!(
                "ScaledObject {key} has no metric {metric:?}"
            )));
        };
        let taken = self.reading(&key, object, &slot, deadline).await?;
        Ok(vec![ExternalMetricValue {
            metric_name: metric.to_owned(),
            metric_labels: BTreeMap::new(),
            timestamp: taken.timestamp,
            value: taken.value,
        }])
    }
}

impl CachedMetrics {
    async fn reading(
        &self,
        key: &ObjectKey,
        object: &ObjectReadings,
        slot: &Slot,
        deadline: Instant,
    ) -> Result<Taken, MetricError> {
        let mut answers = slot.subscribe();
        let latest = answers.borrow_and_update().clone();
        let served_up_to = if slot.use_cached {
            object.oldest_served()
        } else {
            FRESH
        };
        if let Some(answer) = settled(&latest, served_up_to) {
            return answer.map_err(|message| unavailable(key, slot, &message));
        }
        let asked = Instant::now();
        let mut last = latest.reading;
        self.events.send(Event::ReadingWanted { key: key.clone() });
        loop {
            let Ok(Ok(())) = timeout_at(deadline.into(), answers.changed()).await else {
                // Too slow, or the slot was replaced meanwhile.
                break;
            };
            let latest = answers.borrow().clone();
            match (latest.failure, latest.reading) {
                (None, Some(taken)) if taken.at + served_up_to >= asked => return Ok(taken),
                // A poll that was under way took an answer of another object's, which may be older: one more is asked for.
                (None, Some(taken)) => {
                    last = Some(taken);
                    self.events.send(Event::ReadingWanted { key: key.clone() });
                }
                (Some(failure), _) => return Err(unavailable(key, slot, &failure.message)),
                (None, None) => return Err(unavailable(key, slot, "no reading yet")),
            }
        }
        // The last reading, while it may still be served.
        last.filter(|taken| taken.at.elapsed() <= object.oldest_served())
            .ok_or_else(|| {
                let why = "its source did not answer in time and no reading is young enough";
                unavailable(key, slot, why)
            })
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

fn unavailable(key: &ObjectKey, slot: &Slot, message: &str) -> MetricError {
    MetricError::Unavailable(format!(
        "ScaledObject {key}, metric {}: {message}",
        slot.metric
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readings::Failure;
    use jiff::Timestamp;
    use sakidori_engine::Quantity;

    fn taken(age: Duration) -> Option<Taken> {
        Some(Taken {
            value: Quantity::from_integer(1),
            at: Instant::now() - age,
            timestamp: Timestamp::UNIX_EPOCH,
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
                at: Instant::now(),
            }),
        };
        assert_eq!(settled(&failed, second).unwrap().unwrap_err(), "down");
        assert!(settled(&Latest::default(), second).is_none());
    }
}
