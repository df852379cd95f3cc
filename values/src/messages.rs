//! What the store holds, as messages between replicas, and back.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use sakidori_engine::ObjectKey;

use crate::moment::Moment;
use crate::readings::{Failure, Latest, ObjectReadings, Slot, Taken};
use crate::store::{Served, State, Writer};
use crate::wire;
use crate::wire::object::State as Told;
use crate::wire::told::What;

/// The largest message that a follower takes. Of an object with a hundred triggers that all fail, 110 KiB are told.
pub(crate) const LARGEST: usize = 4 * 1024 * 1024;

/// What a source said about a failure is told up to here: it is for a reader.
const LONGEST_TEXT: usize = 1024;

/// A polling interval of more than a hundred years is none: later sums must not overflow.
const LONGEST_INTERVAL: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The message about one object; `began` is when the stream began.
pub(crate) fn object(key: &ObjectKey, served: &Served, began: Moment) -> wire::Object {
    let told = |state: Told| wire::Object {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        uid: served.uid.clone(),
        state: Some(state),
    };
    let text = |text: &Option<String>| text.as_deref().map(cut).unwrap_or_default();
    let state = match &served.state {
        State::Paused => Told::Paused(wire::Paused {}),
        State::Unprepared { complaint } => Told::Unprepared(wire::Unprepared {
            complaint: text(complaint),
        }),
        State::Served {
            readings,
            complaint,
        } => Told::Served(wire::Served {
            polling_interval_ms: readings
                .polling_interval
                .as_millis()
                .try_into()
                .unwrap_or(u64::MAX),
            metrics: readings
                .slots()
                .iter()
                .map(|slot| metric(slot, began))
                .collect(),
            complaint: text(complaint),
            generation: readings.generation(),
        }),
    };
    let object = told(state);
    if object.encoded_len() < LARGEST / 2 {
        return object;
    }
    // One that no follower takes would end the stream for all objects, again and again.
    told(Told::Unprepared(wire::Unprepared {
        complaint: "it has too many metrics to be served by replicas that do not lead".to_owned(),
    }))
}

fn metric(slot: &Slot, began: Moment) -> wire::Metric {
    let latest = slot.latest();
    wire::Metric {
        name: slot.metric.clone(),
        use_cached: slot.use_cached,
        reading: latest.reading.map(|taken| wire::Reading {
            value: taken.value.to_string(),
            at_ms: since(began, taken.at),
        }),
        failure: latest.failure.map(|failure| wire::Failure {
            message: cut(&failure.message),
            at_ms: since(began, failure.at),
        }),
    }
}

/// Milliseconds from `began` to `at`, rounded down: a reading never looks younger for it.
fn since(began: Moment, at: Moment) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    if at >= began {
        whole(at.since(began))
    } else {
        -whole(began.since(at)).saturating_add(1)
    }
}

/// The time `ms` after `asked`, but not one that is still to come.
fn at(asked: Moment, ms: i64) -> Moment {
    let distance = Duration::from_millis(ms.unsigned_abs());
    match ms {
        0.. => asked.after(distance).min(Moment::now()),
        _ => asked.before(distance),
    }
}

fn cut(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let mut end = LONGEST_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

/// Takes in what was told on a stream that was asked for at `asked`.
pub(crate) fn take_in(writer: &Writer, asked: Moment, told: What) {
    match told {
        What::Object(object) => take_in_object(writer, asked, object),
        What::Gone(gone) => writer.remove(&ObjectKey::new(gone.namespace, gone.name)),
        What::Listed(_) => writer.listed(),
        What::Heartbeat(_) | What::Released(_) => {}
    }
}

fn take_in_object(writer: &Writer, asked: Moment, told: wire::Object) {
    let key = ObjectKey::new(told.namespace, told.name);
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    match told.state {
        Some(Told::Served(served)) => {
            let complaint = text(served.complaint.clone());
            writer.change(&key, &told.uid, |before| State::Served {
                readings: readings(writer, &key, before, &served, asked),
                complaint,
            });
        }
        Some(Told::Paused(_)) => writer.set(&key, &told.uid, State::Paused),
        Some(Told::Unprepared(unprepared)) => {
            // By a leader that has just begun: what the one before it told is served on.
            writer.set_unprepared(&key, &told.uid, text(unprepared.complaint));
        }
        // Of a later version: what it means isn't known here.
        None => {
            let complaint = Some("the replica that leads is of another version".to_owned());
            writer.set_unprepared(&key, &told.uid, complaint);
        }
    }
}

/// The object's metrics with what was told of them. Slots stay where their metric stays, with those who wait for them.
fn readings(
    writer: &Writer,
    key: &ObjectKey,
    before: Option<&State>,
    served: &wire::Served,
    asked: Moment,
) -> Arc<ObjectReadings> {
    let interval = Duration::from_millis(served.polling_interval_ms).min(LONGEST_INTERVAL);
    let metrics = || {
        let metrics = served.metrics.iter();
        metrics.map(|metric| (metric.name.clone(), metric.use_cached))
    };
    let before = match before {
        Some(State::Served { readings, .. }) => Some(readings),
        _ => None,
    };
    let readings = match before {
        Some(same) if same.are(interval, served.generation, metrics()) => same.clone(),
        _ => {
            let store = writer.store();
            // An edited object may have another source under the same name: only what this stream has told of it stays.
            let same = before.is_some_and(|before| before.generation() == served.generation);
            let made = store.readings(key, interval, metrics(), |metric| {
                let slot = before?.slot(metric);
                slot.filter(|slot| same || slot.is_told_by(writer.number()))
            });
            Arc::new(made.of_generation(served.generation))
        }
    };
    for (metric, slot) in served.metrics.iter().zip(readings.slots()) {
        slot.hear(writer.number(), latest(metric, asked));
    }
    readings
}

fn latest(metric: &wire::Metric, asked: Moment) -> Latest {
    let reading = metric.reading.as_ref().and_then(|reading| {
        Some(Taken {
            value: reading.value.parse().ok()?,
            at: at(asked, reading.at_ms),
        })
    });
    let failure = metric.failure.as_ref().map(|failure| Failure {
        message: failure.message.clone(),
        at: at(asked, failure.at_ms),
    });
    Latest { reading, failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn told(generation: i64, value: Option<&str>) -> What {
        let reading = value.map(|value| wire::Reading {
            value: value.to_owned(),
            at_ms: 0,
        });
        let metric = wire::Metric {
            name: "s0-a".to_owned(),
            reading,
            ..wire::Metric::default()
        };
        What::Object(wire::Object {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "1".to_owned(),
            state: Some(Told::Served(wire::Served {
                polling_interval_ms: 30_000,
                metrics: vec![metric],
                generation,
                ..wire::Served::default()
            })),
        })
    }

    #[test]
    fn an_edited_objects_reading_is_not_taken_from_the_leader_before() {
        let store = Arc::new(Store::default());
        let key = ObjectKey::new("shop", "web");
        let value = || {
            let latest = store.slot(&key, "1", "s0-a").unwrap().latest();
            latest.reading.map(|taken| taken.value.to_string())
        };
        let take = |writer: &Writer, what: What| take_in(writer, Moment::now(), what);
        let first = Writer::new(store.clone());
        first.begin();
        take(&first, told(3, Some("7")));
        assert_eq!(value().as_deref(), Some("7"));
        // The next leader has not read it yet: of the same object it is served on, of an edited one it isn't.
        let second = Writer::new(store.clone());
        second.begin();
        take(&second, told(3, None));
        assert_eq!(value().as_deref(), Some("7"));
        let third = Writer::new(store.clone());
        third.begin();
        take(&third, told(4, None));
        assert_eq!(value(), None);
        take(&third, told(4, Some("8")));
        assert_eq!(value().as_deref(), Some("8"));
    }
}
