//! Whether what a follower knows is good enough to be served.

use std::time::{Duration, Instant};

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
    let at: Instant = reading.max(failure)?;
    Some(at.elapsed())
}
