//! The replicas of a normal day, from what was observed before the ramp.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::time::after;

/// The replicas that a target had, over the last while. A number counts from when it was seen until the next one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaHistory {
    /// Changes only, oldest first.
    changes: VecDeque<(Timestamp, i32)>,
}

/// Changes that are kept: an HPA that changes its mind every 15 s has done so for 17 hours.
const KEPT: usize = 4096;

impl ReplicaHistory {
    /// Takes in what was seen at `at`. What is older than the last is left out.
    pub fn saw(&mut self, at: Timestamp, replicas: i32) {
        if let Some((last, known)) = self.changes.back()
            && (*last >= at || *known == replicas)
        {
            return;
        }
        if self.changes.len() == KEPT {
            self.changes.pop_front();
        }
        self.changes.push_back((at, replicas));
    }

    /// The number below which the target was half of the time, over `window` before `until`, as far as it was seen. Of two
    /// middle ones, the larger. `None` where nothing was seen.
    pub fn median(&self, until: Timestamp, window: SignedDuration) -> Option<i32> {
        let from = after(until, -window);
        let ends = self
            .changes
            .iter()
            .skip(1)
            .map(|(at, _)| *at)
            .chain([Timestamp::MAX]);
        let mut spans: Vec<(i32, SignedDuration)> = self
            .changes
            .iter()
            .zip(ends)
            .filter_map(|((at, replicas), end)| {
                let (begin, end) = ((*at).max(from), end.min(until));
                (begin < end).then(|| (*replicas, end.duration_since(begin)))
            })
            .collect();
        spans.sort_unstable();
        let total: SignedDuration = spans.iter().map(|(_, span)| *span).sum();
        let mut below = SignedDuration::ZERO;
        for (replicas, span) in &spans {
            below += *span;
            if below > total / 2 {
                return Some(*replicas);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn history(changes: &[(i64, i32)]) -> ReplicaHistory {
        let mut history = ReplicaHistory::default();
        for (second, replicas) in changes {
            history.saw(at(*second), *replicas);
        }
        history
    }

    #[test]
    fn the_median_is_over_time_and_within_the_window() {
        let hour = SignedDuration::from_hours(1);
        type Case = (&'static [(i64, i32)], Option<i32>);
        let table: &[Case] = &[
            (&[], None),
            (&[(0, 5)], Some(5)),
            // A spike of ten minutes doesn't count, however often it was looked at.
            (&[(6400, 20), (8000, 90), (8100, 91), (8600, 20)], Some(20)),
            // What was before the window counts only as far as it lasted into it.
            (&[(0, 3), (6500, 9)], Some(9)),
            (&[(0, 3), (8300, 9)], Some(3)),
            (&[(0, 3), (8200, 9)], Some(9)),
            // Not seen yet.
            (&[(10_001, 7)], None),
        ];
        for (changes, median) in table {
            assert_eq!(
                history(changes).median(at(10_000), hour),
                *median,
                "{changes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_median_is_a_number_that_was_seen(
            changes in proptest::collection::vec((0i64..10_000, 0i32..50), 1..40), window in 1i64..20_000,
        ) {
            let mut sorted = changes.clone();
            sorted.sort_unstable();
            let history = history(&sorted);
            if let Some(median) = history.median(at(10_000), SignedDuration::from_secs(window)) {
                prop_assert!(changes.iter().any(|(_, replicas)| *replicas == median));
            }
        }
    }
}
