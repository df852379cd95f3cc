//! How long to wait after failures in a row.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A wait that doubles with each failure, from the first up to the longest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackOff {
    pub first: Duration,
    pub longest: Duration,
}

impl BackOff {
    /// The wait after so many failures in a row, at least one. Less up to a fifth of it at random, so that those who failed together don't
    /// come again together.
    pub(crate) fn after(self, failures: u32) -> Duration {
        let random = RandomState::new().hash_one(failures) as f64 / u64::MAX as f64;
        self.less(failures, random)
    }

    /// `random` is from 0 to 1.
    fn less(self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1);
        let whole = self
            .first
            .saturating_mul(2u32.saturating_pow(doublings))
            .min(self.longest);
        whole.mul_f64(1.0 - 0.2 * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let back_off = BackOff {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(60),
        };
        let seconds: Vec<f64> = [0, 1, 2, 3, 4, 5, 6, 7, u32::MAX]
            .iter()
            .map(|failures| back_off.less(*failures, 0.0).as_secs_f64())
            .collect();
        assert_eq!(seconds, [2.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        assert_eq!(back_off.less(1, 1.0), Duration::from_millis(1600));
    }
}
