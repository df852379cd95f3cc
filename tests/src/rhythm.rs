//! Whether polls come when they are due, seen from the source that they come to.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How late each poll was, where one is due every `interval`. Nobody but the operator knows its times exactly: the most
/// punctual poll counts as in time, and all others are measured by it.
///
/// # Errors
/// If a poll is missing or came twice, or one came no sooner than the next was due.
pub fn lateness(arrivals: &[Instant], interval: Duration) -> Result<Vec<Duration>> {
    let Some(first) = arrivals.first() else {
        return Ok(Vec::new());
    };
    let since_first: Vec<Duration> = arrivals
        .iter()
        .map(|arrival| arrival.duration_since(*first))
        .collect();
    // From when on the times would have to be counted for each poll to be in time.
    let starts: Vec<f64> = since_first
        .iter()
        .zip(0u32..)
        .map(|(since, number)| since.as_secs_f64() - (interval * number).as_secs_f64())
        .collect();
    let start = starts.iter().copied().fold(f64::INFINITY, f64::min);
    let late: Vec<Duration> = starts
        .iter()
        .map(|own| Duration::from_secs_f64(own - start))
        .collect();
    for (number, late) in late.iter().enumerate() {
        ensure!(
            *late < interval,
            "poll {number} came {late:?} late, where one is due every {interval:?}: one is missing, or came twice"
        );
    }
    Ok(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(millis: &[u64]) -> Result<Vec<u128>> {
        let start = Instant::now();
        let arrivals: Vec<_> = millis
            .iter()
            .map(|millis| start + Duration::from_millis(*millis))
            .collect();
        let late = lateness(&arrivals, Duration::from_secs(1))?;
        Ok(late
            .iter()
            .map(|late| late.as_millis() + u128::from(late.subsec_micros() % 1000 > 500))
            .collect())
    }

    #[test]
    fn polls_are_measured_by_the_most_punctual_one() {
        assert_eq!(late(&[0, 1000, 2000]).unwrap(), [0, 0, 0]);
        assert_eq!(late(&[100, 1000, 2900, 3000]).unwrap(), [100, 0, 900, 0]);
        assert!(late(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_poll_that_is_missing_or_came_twice_is_told() {
        let error = late(&[0, 1000, 3000]).unwrap_err().to_string();
        assert!(error.starts_with("poll 2 came 1s late"), "{error}");
        // One that came twice makes all before it late by an interval.
        late(&[0, 1000, 1000, 2000]).unwrap_err();
    }
}
