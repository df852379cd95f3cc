//! How long things take in an election.

use jiff::SignedDuration;

use crate::time::share;

/// How long things take in an election. The default is client-go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// How long others wait for a leader that doesn't renew: 15 s.
    pub lease_duration: SignedDuration,
    /// How long a leader goes on without a successful renewal: 10 s. Has to be shorter than `lease_duration`.
    pub renew_deadline: SignedDuration,
    /// The time between two tries: 2 s (a candidate waits up to 1.2 times longer, so that they don't all come at once).
    pub retry_period: SignedDuration,
}

impl LeaseTiming {
    /// # Errors
    /// Where two replicas could lead at the same time, or one could not renew in time; a sentence that names the values.
    pub fn new(
        lease_duration: SignedDuration,
        renew_deadline: SignedDuration,
        retry_period: SignedDuration,
    ) -> Result<Self, String> {
        // The Lease has whole seconds: others would not wait for the rest.
        let lease_duration = SignedDuration::from_secs(lease_duration.as_secs());
        if renew_deadline >= lease_duration {
            return Err(format!(
                "the renew deadline ({renew_deadline:#}) has to be shorter than the lease duration in whole seconds ({lease_duration:#}): \
                 a leader stops before others may lead"
            ));
        }
        if retry_period <= SignedDuration::ZERO || share(retry_period, 12, 10) >= renew_deadline {
            return Err(format!(
                "the retry period ({retry_period:#}) has to be longer than 0, and 1.2 of it shorter than the renew deadline \
                 ({renew_deadline:#}): a leader needs time for a second try"
            ));
        }
        Ok(Self {
            lease_duration,
            renew_deadline,
            retry_period,
        })
    }
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            lease_duration: SignedDuration::from_secs(15),
            renew_deadline: SignedDuration::from_secs(10),
            retry_period: SignedDuration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_that_two_could_lead_by_are_refused() {
        let timing = |lease: i64, renew: i64, retry: i64| {
            let millis = SignedDuration::from_millis;
            LeaseTiming::new(millis(lease), millis(renew), millis(retry))
        };
        assert_eq!(timing(15_000, 10_000, 2_000), Ok(LeaseTiming::default()));
        for (lease, renew, retry, told) in [
            (10_000, 10_000, 2_000, "renew deadline (10s"),
            // The Lease says 15 s.
            (15_900, 15_000, 2_000, "whole seconds (15s"),
            (15_000, 10_000, 8_334, "retry period (8s 334ms"),
            (15_000, 10_000, 0, "retry period (0s"),
            (15_000, -1, 2_000, "retry period"),
        ] {
            let error = timing(lease, renew, retry).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
