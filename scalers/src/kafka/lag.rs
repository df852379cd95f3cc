//! How far a group is behind, by KEDA's rules.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::clients::kafka::{Offsets, Partition};

/// The rules of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub policy: Policy,
    /// Where nothing is committed, there is nothing to do.
    pub zero_without_offset: bool,
    pub exclude_persistent: bool,
    /// Messages per replica.
    pub threshold: i64,
    /// There may be more replicas than partitions.
    pub allow_idle: bool,
    /// No more replicas than partitions with a lag.
    pub only_with_lag: bool,
    /// A number of replicas that the partitions can be shared among evenly.
    pub even_shares: bool,
}

/// Where a consumer begins that finds no committed offset.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    Latest,
    Earliest,
}

/// Messages that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// For the HPA.
    pub counted: i64,
    /// With those of partitions in which nothing moves: for activation.
    pub with_persistent: i64,
}

/// The committed offset of each topic and partition, and since when it is that.
#[derive(Default)]
pub struct Previous(HashMap<(String, i32), (i64, Instant)>);

/// Consumers commit every 5 s, if nobody says otherwise: one that has not in less is none that is stuck. (KEDA compares two readings,
/// however soon they follow one another.)
const PERSISTENT_AFTER: Duration = Duration::from_secs(5);

impl Rules {
    /// The lag over all partitions. With `exclude_persistent`, `previous` goes on to these offsets.
    pub fn lag(&self, offsets: &Offsets, previous: &mut Previous, now: Instant) -> Lag {
        let (mut total, mut with_lag, mut count) = (Lag::default(), 0_i64, 0_i64);
        for topic in &offsets.0 {
            for partition in &topic.partitions {
                let moved = !self.exclude_persistent || previous.moves(&topic.name, partition, now);
                let lag = self.partition(partition, moved);
                total.counted = total.counted.saturating_add(lag.counted);
                total.with_persistent = total.with_persistent.saturating_add(lag.with_persistent);
                with_lag += i64::from(lag.counted > 0);
                count += 1;
            }
        }
        total.counted = self.limited(total.counted, count, with_lag);
        total
    }

    fn partition(&self, partition: &Partition, moved: bool) -> Lag {
        let both = |lag| Lag {
            counted: lag,
            with_persistent: lag,
        };
        match (partition.committed, self.policy) {
            (None, _) if self.zero_without_offset => both(0),
            // One message's worth, so that a consumer starts and commits.
            (None, Policy::Latest) => both(1),
            (None, Policy::Earliest) => both(partition.end),
            (Some(committed), _) => {
                // Beyond the end, after a topic was made anew: that is no reason to leave out what waits in others.
                let lag = partition.end.saturating_sub(committed).max(0);
                Lag {
                    counted: if moved { lag } else { 0 },
                    with_persistent: lag,
                }
            }
        }
    }

    /// The total, changed so that it asks for as many replicas as are of use.
    fn limited(&self, total: i64, partitions: i64, with_lag: i64) -> i64 {
        if self.allow_idle && !self.only_with_lag && !self.even_shares {
            return total;
        }
        let replicas = |count: i64| count.saturating_mul(self.threshold);
        let total = match self.even_shares {
            true => {
                let enough = |count: &i64| replicas(*count) >= total;
                let shares = factors(partitions).into_iter().find(enough);
                replicas(shares.unwrap_or(partitions))
            }
            false => total,
        };
        let most = match self.only_with_lag {
            true => with_lag,
            false => partitions,
        };
        match total / self.threshold > most {
            true => replicas(most),
            false => total,
        }
    }
}

impl Previous {
    /// Whether the group has come further in a partition lately. It has, where nothing is known of one.
    fn moves(&mut self, topic: &str, partition: &Partition, now: Instant) -> bool {
        let Some(committed) = partition.committed else {
            return true;
        };
        let key = (topic.to_owned(), partition.id);
        match self.0.get(&key) {
            Some((before, since)) if *before == committed => {
                now.duration_since(*since) < PERSISTENT_AFTER
            }
            _ => {
                self.0.insert(key, (committed, now));
                true
            }
        }
    }
}

/// What a number can be divided by, in ascending order.
fn factors(number: i64) -> Vec<i64> {
    (1..=number).filter(|by| number % by == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::kafka::Topic;

    const RULES: Rules = Rules {
        policy: Policy::Latest,
        zero_without_offset: false,
        exclude_persistent: false,
        threshold: 10,
        allow_idle: true,
        only_with_lag: false,
        even_shares: false,
    };

    /// A topic of partitions with these committed offsets and ends.
    fn offsets(partitions: &[(Option<i64>, i64)]) -> Offsets {
        let partitions = (0..).zip(partitions);
        let partitions = partitions.map(|(id, (committed, end))| Partition {
            id,
            committed: *committed,
            end: *end,
        });
        Offsets(vec![Topic {
            name: "orders".to_owned(),
            partitions: partitions.collect(),
        }])
    }

    fn lag(rules: Rules, partitions: &[(Option<i64>, i64)]) -> Lag {
        rules.lag(
            &offsets(partitions),
            &mut Previous::default(),
            Instant::now(),
        )
    }

    #[test]
    fn partitions_without_an_offset_follow_the_policy() {
        let partitions = [(Some(40), 100), (None, 100), (None, 0)];
        for (policy, zero, expected) in [
            (Policy::Latest, false, 62),
            (Policy::Latest, true, 60),
            (Policy::Earliest, false, 160),
            (Policy::Earliest, true, 60),
        ] {
            let rules = Rules {
                policy,
                zero_without_offset: zero,
                ..RULES
            };
            let found = lag(rules, &partitions);
            let expected = Lag {
                counted: expected,
                with_persistent: expected,
            };
            assert_eq!(found, expected, "{policy:?} {zero}");
        }
    }

    #[test]
    fn an_offset_beyond_the_end_takes_nothing_from_other_partitions() {
        assert_eq!(lag(RULES, &[(Some(50), 20), (Some(0), 40)]).counted, 40);
        assert_eq!(lag(RULES, &[(Some(50), 20)]).counted, 0);
    }

    #[test]
    fn the_total_asks_for_replicas_that_are_of_use() {
        let idle = RULES;
        let busy = Rules {
            allow_idle: false,
            ..RULES
        };
        let only_with_lag = Rules {
            only_with_lag: true,
            ..busy
        };
        let even = Rules {
            even_shares: true,
            ..RULES
        };
        let both = Rules {
            even_shares: true,
            ..only_with_lag
        };
        // Partitions, their lags together, those with a lag; the total at a threshold of 10.
        for (rules, partitions, total, with_lag, expected) in [
            (idle, 3, 1000, 2, 1000),
            (busy, 3, 1000, 2, 30),
            (busy, 3, 39, 2, 39),
            (busy, 3, 40, 2, 30),
            (busy, 3, -5, 0, -5),
            (only_with_lag, 3, 1000, 2, 20),
            (only_with_lag, 3, 29, 2, 29),
            (only_with_lag, 3, 0, 0, 0),
            (even, 10, 0, 0, 10),
            (even, 10, 10, 1, 10),
            (even, 10, 11, 1, 20),
            (even, 10, 51, 5, 100),
            (even, 10, 5000, 5, 100),
            (even, 7, 11, 1, 70),
            (both, 10, 51, 4, 40),
        ] {
            let found = rules.limited(total, partitions, with_lag);
            assert_eq!(found, expected, "{rules:?} {partitions} {total}");
        }
        let huge = Rules {
            threshold: i64::MAX,
            ..even
        };
        assert_eq!(huge.limited(5, 1000, 1), i64::MAX);
    }

    #[test]
    fn a_lag_that_does_not_move_counts_for_activation_only() {
        let rules = Rules {
            exclude_persistent: true,
            ..RULES
        };
        let (mut previous, mut now) = (Previous::default(), Instant::now());
        let mut read_after = |seconds, partitions: &[(Option<i64>, i64)]| {
            now += Duration::from_secs(seconds);
            let lag = rules.lag(&offsets(partitions), &mut previous, now);
            (lag.counted, lag.with_persistent)
        };
        assert_eq!(read_after(0, &[(Some(5), 10)]), (5, 5));
        assert_eq!(read_after(4, &[(Some(5), 10)]), (5, 5), "no time to commit");
        let mut read = |partitions: &[(Option<i64>, i64)]| read_after(10, partitions);
        assert_eq!(read(&[(Some(4), 10), (Some(0), 4)]), (10, 10));
        assert_eq!(read(&[(Some(4), 20), (Some(1), 4)]), (3, 19));
        assert_eq!(read(&[(Some(4), 30), (Some(1), 4)]), (0, 29));
        assert_eq!(read(&[(Some(6), 30), (Some(1), 4)]), (24, 27));
        // Without an offset there is nothing to compare, each time.
        assert_eq!(read(&[(None, 30), (Some(1), 4)]), (1, 4));
        assert_eq!(read(&[(None, 30), (Some(2), 4)]), (3, 3));
    }

    #[test]
    fn factors_are_complete_and_sorted() {
        assert_eq!(factors(12), [1, 2, 3, 4, 6, 12]);
        assert_eq!(factors(7), [1, 7]);
        assert_eq!(factors(0), [0; 0]);
    }
}
