//! `leadTime: auto`: how long before a start the last pod must be asked for, from what the workload's pods showed.

use jiff::SignedDuration;

/// So many pods must have shown how long they take before their times are believed.
pub const LEARNT_FROM: usize = 5;
/// The lead time until then.
pub const LEAD_UNTIL_LEARNT: SignedDuration = SignedDuration::from_mins(10);

/// What passes before a pod is even created: the HPA looks every 15 s, and then the workload's controllers take a few more
/// until the last of many pods exists.
const BEFORE_CREATION: SignedDuration = SignedDuration::from_secs(30);
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);
/// Pods that take longer are stuck, not slow.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// The lead time after pods that took so long from their creation until they were Ready: the 95th percentile and half as much
/// again, as many pods at once (images to pull, nodes to come up) take longer than one at a time, and what passes before a pod
/// is created.
pub fn lead_from(startups: &[SignedDuration]) -> SignedDuration {
    let mut sorted: Vec<_> = startups
        .iter()
        .copied()
        .filter(|startup| !startup.is_negative())
        .collect();
    if sorted.len() < LEARNT_FROM {
        return LEAD_UNTIL_LEARNT;
    }
    sorted.sort_unstable();
    // The nearest rank: of 20 samples the 19th.
    let rank = (sorted.len() * 95).div_ceil(100);
    let percentile = sorted[rank - 1].min(LONGEST);
    (percentile * 3 / 2 + BEFORE_CREATION).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(list: &[i64]) -> Vec<SignedDuration> {
        list.iter()
            .map(|second| SignedDuration::from_secs(*second))
            .collect()
    }

    #[test]
    fn the_slow_pods_decide() {
        let mut twenty = vec![20; 18];
        twenty.extend([40, 3000]);
        let table: &[(&[i64], i64)] = &[
            (&[], 600),
            (&[5, 5, 5, 5], 600),
            // Clocks that disagree are no samples.
            (&[5, 5, 5, 5, -5], 600),
            (&[2, 2, 2, 2, 2], 60),
            (&[30, 30, 30, 30, 30], 75),
            (&[10, 10, 10, 10, 100], 180),
            (&twenty, 90),
            (&[7200, 7200, 7200, 7200, 7200], 3600),
        ];
        for (startups, lead) in table {
            assert_eq!(
                lead_from(&seconds(startups)),
                SignedDuration::from_secs(*lead),
                "{startups:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn slower_pods_never_shorten_it(startups in proptest::collection::vec(0i64..10_000, 5..60), slower in 0i64..1000) {
            let more: Vec<_> = startups.iter().map(|one| one + slower).collect();
            let (lead, longer) = (lead_from(&seconds(&startups)), lead_from(&seconds(&more)));
            prop_assert!(lead <= longer);
            prop_assert!((SHORTEST..=LONGEST).contains(&lead));
        }

        #[test]
        fn no_samples_break_it(startups in proptest::collection::vec(any::<i64>(), 0..20)) {
            lead_from(&seconds(&startups));
        }
    }
}
