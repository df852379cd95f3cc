//! How often something may happen that nobody has to prove a right to.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// So many times in a minute.
pub struct Allowance {
    a_minute: u32,
    began: Instant,
    used: u32,
}

impl Allowance {
    pub fn new(a_minute: u32, now: Instant) -> Self {
        Self {
            a_minute,
            began: now,
            used: 0,
        }
    }

    /// Whether it may happen now, which counts.
    pub fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.began) >= MINUTE {
            *self = Self::new(self.a_minute, now);
        }
        let may = self.used < self.a_minute;
        self.used += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_has_its_own() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut allowance = Allowance::new(2, start);
        for (seconds, may) in [
            (0, true),
            (1, true),
            (2, false),
            (59, false),
            (60, true),
            (61, true),
            (119, false),
            (500, true),
        ] {
            assert_eq!(allowance.take(at(seconds)), may, "after {seconds} s");
        }
    }
}
