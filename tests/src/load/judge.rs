//! Whether replicas went as their source said. Pure.

use std::time::{Duration, Instant};

/// From that moment on, that many replicas: seen in the cluster, or asked for by what a source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: Instant,
    pub replicas: i32,
}

/// Replicas that went down although the source asked for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fall {
    pub at: Instant,
    pub from: i32,
    pub to: i32,
    /// The fewest that the source asked for in the time that counts.
    pub asked: i32,
}

/// All falls in `seen` to fewer than `said` asked for at any moment of the `age` before them: whatever was read of the source in
/// that time, it gave no reason for them.
pub fn unjustified_falls(said: &[Step], seen: &[Step], age: Duration) -> Vec<Fall> {
    let fell = seen.windows(2).filter_map(|pair| match *pair {
        [before, after] if after.replicas < before.replicas => Some((before, after)),
        _ => None,
    });
    fell.filter_map(|(before, after)| {
        let (asked, _) = bounds(said, after.at, age)?;
        (after.replicas < asked).then_some(Fall {
            at: after.at,
            from: before.replicas,
            to: after.replicas,
            asked,
        })
    })
    .collect()
}

/// What there is in `seen` at a moment, and the fewest and most that `said` asked for in the time `within` before, where it is less or
/// more than that.
pub fn behind(
    said: &[Step],
    seen: &[Step],
    at: Instant,
    within: Duration,
) -> Option<(i32, i32, i32)> {
    let (least, most) = bounds(said, at, within)?;
    let (now, _) = bounds(seen, at, Duration::ZERO)?;
    (now < least || now > most).then_some((now, least, most))
}

/// The fewest and most replicas between `at - before` and `at`; `None` where nothing is known of that time.
fn bounds(steps: &[Step], at: Instant, before: Duration) -> Option<(i32, i32)> {
    let first = steps
        .iter()
        .rposition(|step| step.at + before <= at)
        .unwrap_or(0);
    let during = steps[first..]
        .iter()
        .take_while(|step| step.at <= at)
        .map(|step| step.replicas);
    Some((during.clone().min()?, during.max()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    /// Seconds since a moment, and replicas.
    fn steps(start: Instant, steps: &[(u64, i32)]) -> Vec<Step> {
        let step = |(seconds, replicas): &(u64, i32)| Step {
            at: start + Duration::from_secs(*seconds),
            replicas: *replicas,
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn a_fall_needs_a_source_that_said_so_not_long_ago() {
        let start = Instant::now();
        type Steps = &'static [(u64, i32)];
        let cases: &[(Steps, Steps, usize)] = &[
            // What the source says, what is seen, how many falls are wrong.
            (&[(0, 5), (20, 2)], &[(1, 5), (21, 2)], 0),
            (&[(0, 5), (20, 2)], &[(1, 5), (21, 1)], 1),
            (&[(0, 5)], &[(1, 5), (9, 4), (10, 5), (11, 0)], 2),
            // It said so for a moment: that is ten seconds old at most, or too old.
            (&[(0, 5), (20, 2), (21, 5)], &[(1, 5), (30, 2)], 0),
            (&[(0, 5), (20, 2), (21, 5)], &[(1, 5), (32, 2)], 1),
            // Before it says so.
            (&[(0, 5), (20, 2)], &[(1, 5), (19, 2)], 1),
            // Too few from the start is no fall, and rising isn't one either.
            (&[(0, 5)], &[(1, 1), (12, 3), (13, 9)], 0),
            (&[], &[(1, 5), (2, 0)], 0),
        ];
        for (said, seen, expected) in cases {
            let falls = unjustified_falls(&steps(start, said), &steps(start, seen), AGE);
            assert_eq!(falls.len(), *expected, "{said:?} {seen:?}: {falls:?}");
        }
        let falls = unjustified_falls(
            &steps(start, &[(0, 5), (30, 3)]),
            &steps(start, &[(0, 5), (35, 1)]),
            AGE,
        );
        let expected = Fall {
            at: start + Duration::from_secs(35),
            from: 5,
            to: 1,
            asked: 3,
        };
        assert_eq!(falls, [expected]);
    }

    #[test]
    fn replicas_have_a_time_to_follow_in_both_directions() {
        let start = Instant::now();
        let said = steps(start, &[(0, 5), (20, 2), (60, 7)]);
        for (seen, at, expected) in [
            (&[(0, 5)][..], 19, None),
            (&[(0, 5)], 29, None),
            (&[(0, 5)], 31, Some((5, 2, 2))),
            (&[(0, 5), (30, 2)], 31, None),
            (&[(0, 2)], 71, Some((2, 7, 7))),
            (&[(0, 2)], 69, None),
            (&[(0, 5)], 69, None),
            (&[(0, 1)], 69, Some((1, 2, 7))),
            (&[], 69, None),
        ] {
            let at = start + Duration::from_secs(at);
            assert_eq!(
                behind(&said, &steps(start, seen), at, AGE),
                expected,
                "{seen:?} {at:?}"
            );
        }
    }
}
