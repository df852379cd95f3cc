//! How often an HPA is put back that someone else changes: at once, but not in a race with another writer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sakidori_engine::ObjectKey;

use crate::lock::lock;

/// So many repairs in a row are made at once: a person edits several times.
const AT_ONCE: u32 = 10;
/// Pauses between those that follow double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// After this long without one, a repair is the first again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

#[derive(Default)]
pub struct Repairs {
    last: Mutex<HashMap<ObjectKey, Repair>>,
}

#[derive(Clone, Copy)]
struct Repair {
    at: Instant,
    /// How many there were in a row, with this one.
    row: u32,
}

impl Repairs {
    /// How long to wait with a repair that is needed now; `None` where one is about to come anyway.
    pub fn wait(&self, key: &ObjectKey, now: Instant) -> Option<Duration> {
        let mut last = self.last();
        let row = match last.get(key) {
            Some(repair) if now < repair.at => return None,
            Some(repair) if now.duration_since(repair.at) < FORGOTTEN_AFTER => repair.row + 1,
            _ => 1,
        };
        let wait = match row.checked_sub(AT_ONCE + 1) {
            None => Duration::ZERO,
            Some(further) => FIRST_PAUSE
                .saturating_mul(2u32.saturating_pow(further))
                .min(LAST_PAUSE),
        };
        last.insert(
            key.clone(),
            Repair {
                at: now + wait,
                row,
            },
        );
        Some(wait)
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.last().remove(key);
    }

    fn last(&self) -> MutexGuard<'_, HashMap<ObjectKey, Repair>> {
        lock(&self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_race_with_another_writer_gets_slower() {
        let repairs = Repairs::default();
        let key = ObjectKey::new("shop", "orders");
        let mut now = Instant::now();
        for _ in 0..AT_ONCE {
            assert_eq!(repairs.wait(&key, now), Some(Duration::ZERO));
        }
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(repairs.wait(&key, now), Some(Duration::from_secs(pause)));
            assert_eq!(repairs.wait(&key, now), None, "one is under way");
            now += Duration::from_secs(pause);
        }
        now += FORGOTTEN_AFTER;
        assert_eq!(repairs.wait(&key, now), Some(Duration::ZERO));
    }
}
