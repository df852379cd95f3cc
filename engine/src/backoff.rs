//! How long to wait before trying again, and how to spread many objects over time without drawing random numbers.

use jiff::SignedDuration;

use crate::time::share;

/// The first wait.
const FIRST: SignedDuration = SignedDuration::from_secs(1);
/// The longest wait: a target that appears later is found within half a minute even if its watch event is missed.
const LONGEST: SignedDuration = SignedDuration::from_secs(30);

/// Waits that double from 1 s to 30 s, each shortened by up to a fifth, so that objects that failed together don't
/// try again together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts one failure and says how long to wait now. The same seed gives the same waits.
    pub(crate) fn next(&mut self, seed: &str) -> SignedDuration {
        let wait = FIRST
            .checked_mul(1 << self.failures.min(5))
            .unwrap_or(LONGEST)
            .min(LONGEST);
        let jitter = hash(seed, self.failures) % 1000;
        self.failures = self.failures.saturating_add(1);
        wait - share(wait, jitter, 5000)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// FNV-1a over `seed` and `salt`, its bits mixed once more (FNV's low bits hardly differ between uids that differ
/// in their last character). Stable over builds and machines, which the standard library's hasher is not.
pub(crate) fn hash(seed: &str, salt: u32) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in seed.bytes().chain(salt.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        for expected in [1, 2, 4, 8, 16, 30, 30, 30] {
            let wait = backoff.next("uid").as_secs_f64();
            assert!(
                wait <= f64::from(expected) && wait > f64::from(expected) * 0.8,
                "{wait} for {expected}"
            );
        }
        backoff.reset();
        assert!(backoff.next("uid") <= FIRST);
    }

    #[test]
    fn the_same_seed_waits_the_same_and_others_differ() {
        let waits = |seed: &str| {
            let mut backoff = Backoff::default();
            [backoff.next(seed), backoff.next(seed)]
        };
        assert_eq!(waits("a"), waits("a"));
        assert_ne!(waits("a"), waits("b"));
    }

    #[test]
    fn hashes_spread_evenly() {
        let mut tenths = [0; 10];
        for number in 0..10_000 {
            let uid = format!("4b0c1f0e-0000-4000-8000-{number:012}");
            tenths[usize::try_from(hash(&uid, 0) % 1000 / 100).unwrap()] += 1;
        }
        assert!(
            tenths.iter().all(|count| (850..1150).contains(count)),
            "{tenths:?}"
        );
    }
}
