//! Whether what a follower knows is good enough to be served.

use std::time::Duration;

use crate::moment::Moment;
use crate::readings::Slot;
use crate::store::Store;

/// Without anything that could get old, a follower counts as ready so long after it last heard of the leader: longer than an election takes (15 s for
/// the lease to end, and some to find it out).
const NOTHING_NEW: Duration = Duration::from_secs(60);

impl Store {
    /// Whether a follower can serve. It can when
    /// - it was told all objects once, and
    /// - a source has answered for some metric of some object, with a reading or a failure, in the last two of that object's polling
    ///   intervals; or, where no metric has an answer at all (there are no objects, or they are new), the leader was heard in the last minute.
    ///
    /// So sources that fail make no replica unready, for another would know no more; a leader that is away does, as soon as nothing is young
    /// enough to be served.
    ///
    /// # Errors
    /// With why it can't.
    pub fn fit_to_serve(&self) -> Result<(), String> {
        if !self.was_ever_listed() {
            return Err(
                "no values yet: the replica that leads has not been heard, or not to the end"
                    .to_owned(),
            );
        }
        let mut answered = false;
        let young = self.any_readings(|readings| {
            let mut ages = readings.slots().iter().filter_map(|slot| age(slot));
            let youngest = ages.next().map(|first| ages.fold(first, Duration::min))?;
            answered = true;
            (youngest <= readings.oldest_served()).then_some(())
        });
        let silence = self.silence();
        let heard = || match silence {
            Some(silence) => format!("{} s ago", silence.as_secs()),
            None => "never".to_owned(),
        };
        match (young, answered) {
            (Some(()), _) => Ok(()),
            (None, true) => Err(format!(
                "values are too old: each is older than two polling intervals; the replica that leads was last heard {}",
                heard()
            )),
            (None, false) if silence.is_some_and(|silence| silence < NOTHING_NEW) => Ok(()),
            (None, false) => Err(format!(
                "there are no values, and the replica that leads was last heard {}",
                heard()
            )),
        }
    }
}

/// The age of a metric's newest answer.
fn age(slot: &Slot) -> Option<Duration> {
    let latest = slot.latest();
    let reading = latest.reading.map(|taken| taken.at);
    let failure = latest.failure.map(|failure| failure.at);
    reading.max(failure).map(Moment::elapsed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sakidori_engine::{ObjectKey, Quantity};

    use super::*;
    use crate::store::{State, Writer};

    const INTERVAL: Duration = Duration::from_secs(10);

    /// A follower that was told objects, of each the age of its source's last answer, and whether that was a reading.
    fn told(objects: &[Option<(u64, bool)>]) -> Writer {
        let writer = Writer::new(Arc::new(Store::default()));
        writer.begin();
        for (number, answer) in objects.iter().enumerate() {
            let key = ObjectKey::new("shop", format!("web-{number}"));
            let metrics = [("s0-a".to_owned(), false)];
            let readings = writer.store().readings(&key, INTERVAL, metrics, |_| None);
            for (slot, (age, is_reading)) in readings.slots().iter().zip(answer) {
                slot.record(Quantity::from_integer(1), Duration::from_secs(*age));
                if !is_reading {
                    slot.record_failure("down");
                }
            }
            let state = State::Served {
                readings: Arc::new(readings),
                complaint: None,
            };
            writer.set(&key, "1", state);
        }
        writer
    }

    #[test]
    fn a_follower_is_ready_while_some_answer_is_young() {
        type Metric = Option<(u64, bool)>;
        let cases: [(&[Metric], _); 6] = [
            (&[Some((19, true))], Ok(())),
            (&[Some((21, true))], Err("values are too old")),
            (&[Some((21, true)), Some((19, true))], Ok(())),
            (&[Some((21, true)), None], Err("values are too old")),
            // Nobody else would know more.
            (&[Some((21, false))], Ok(())),
            (&[Some((21, false)), Some((21, true))], Ok(())),
        ];
        for (objects, expected) in cases {
            let writer = told(objects);
            writer.listed();
            let fit = writer.store().fit_to_serve();
            match expected {
                Ok(()) => assert_eq!(fit, Ok(()), "{objects:?}"),
                Err(part) => assert!(fit.unwrap_err().contains(part), "{objects:?}"),
            }
        }
    }

    #[test]
    fn without_any_answer_it_is_ready_while_the_leader_is_heard() {
        let writer = told(&[None]);
        let store = writer.store().clone();
        let why = store.fit_to_serve().unwrap_err();
        assert!(why.contains("no values yet"), "{why}");
        writer.listed();
        let why = store.fit_to_serve().unwrap_err();
        assert!(why.contains("last heard never"), "{why}");
        store.heard();
        assert_eq!(store.fit_to_serve(), Ok(()));
        // Also while the next stream has not told everything yet.
        let next = Writer::new(store.clone());
        next.begin();
        assert_eq!(store.fit_to_serve(), Ok(()));
    }
}
