//! How often an HPA is put back that someone else changes: at once, but not in a race with another writer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sakidori_engine::ObjectKey;

/// Pauses between repairs of one HPA double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Repairs {
    last: Mutex<HashMap<ObjectKey, Repair>>,
}

#[derive(Clone, Copy)]
struct Repair {
    at: Instant,
    pause: Duration,
}

impl Repairs {
    /// How long to wait with a repair that is needed now; `None` where one is about to come anyway.
    pub fn wait(&self, key: &ObjectKey, now: Instant) -> Option<Duration> {
        let mut last = self.last();
        let next = match last.get(key) {
            Some(repair) if now < repair.at => return None,
            Some(repair) if now.duration_since(repair.at) < LAST_PAUSE * 2 => Repair {
                at: repair.at.max(now) + repair.pause,
                pause: (repair.pause * 2).min(LAST_PAUSE),
            },
            _ => Repair {
                at: now,
                pause: FIRST_PAUSE,
            },
        };
        last.insert(key.clone(), next);
        Some(next.at.duration_since(now))
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.last().remove(key);
    }

    fn last(&self) -> MutexGuard<'_, HashMap<ObjectKey, Repair>> {
        self.last.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_at_once_and_those_that_follow_wait_longer() {
        let repairs = Repairs::default();
        let key = ObjectKey::new("shop", "orders");
        let start = Instant::now();
        assert_eq!(repairs.wait(&key, start), Some(Duration::ZERO));
        let mut now = start;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(repairs.wait(&key, now), Some(Duration::from_secs(pause)));
            assert_eq!(repairs.wait(&key, now), None, "one is under way");
            now += Duration::from_secs(pause);
        }
        now += LAST_PAUSE * 2;
        assert_eq!(repairs.wait(&key, now), Some(Duration::ZERO));
    }
}
