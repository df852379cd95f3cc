//! Which of the readings are sent to subscribers: `RAW_METRICS_MODE`.
//!
//! In KEDA, polls and the HPA's reads ask a source each for itself, and the mode says which of the two is sent. Here one question
//! serves both, and where an HPA reads more often than the object is polled, all polls are such that it asked for.

use std::time::{Duration, Instant};

/// `RAW_METRICS_MODE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RawMetricsMode {
    /// Each reading, once.
    #[default]
    All,
    /// Those that an HPA asked for: none while the target has no replicas.
    Hpa,
    /// One for each `pollingInterval`, whoever asked for it.
    PollingInterval,
}

impl RawMetricsMode {
    /// None where raw metrics are off, as they are without `RAW_METRICS_GRPC_PROTOCOL=enabled`. What isn't known means all, as in KEDA.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        variable("RAW_METRICS_GRPC_PROTOCOL").filter(|value| value == "enabled")?;
        let mode = variable("RAW_METRICS_MODE").unwrap_or_default();
        Some(match mode.to_lowercase().as_str() {
            "hpa" => Self::Hpa,
            "pollinginterval" => Self::PollingInterval,
            "all" | "" => Self::All,
            other => {
                tracing::warn!(
                    "RAW_METRICS_MODE is {other:?}: expected all, hpa or pollinginterval; all it is"
                );
                Self::All
            }
        })
    }

    /// Whether a reading of now is sent. `due` is when the trigger's next one is to be sent.
    pub(super) fn sends(
        self,
        for_hpa: bool,
        due: &mut Option<Instant>,
        interval: Duration,
        now: Instant,
    ) -> bool {
        match self {
            Self::All => true,
            Self::Hpa => for_hpa,
            Self::PollingInterval => match next_due(*due, interval, now) {
                Some(next) => {
                    *due = Some(next);
                    true
                }
                None => false,
            },
        }
    }
}

/// When the next reading is due, where one is due now. Over time it is one for each interval, however the polls lie; a poll may be
/// early by a tenth.
fn next_due(due: Option<Instant>, interval: Duration, now: Instant) -> Option<Instant> {
    match due {
        Some(due) if now + interval / 10 < due => None,
        Some(due) if due + interval > now => Some(due + interval),
        _ => Some(now + interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_whether_and_which() {
        let of = |protocol: Option<&str>, mode: Option<&str>| {
            RawMetricsMode::from_environment(|name| {
                match name {
                    "RAW_METRICS_GRPC_PROTOCOL" => protocol,
                    "RAW_METRICS_MODE" => mode,
                    other => panic!("{other}"),
                }
                .map(str::to_owned)
            })
        };
        for (protocol, mode, expected) in [
            (None, None, None),
            (None, Some("all"), None),
            (Some("true"), None, None),
            (Some("Enabled"), None, None),
            (Some("enabled"), None, Some(RawMetricsMode::All)),
            (Some("enabled"), Some(""), Some(RawMetricsMode::All)),
            (Some("enabled"), Some("HPA"), Some(RawMetricsMode::Hpa)),
            (
                Some("enabled"),
                Some("pollingInterval"),
                Some(RawMetricsMode::PollingInterval),
            ),
            (Some("enabled"), Some("never"), Some(RawMetricsMode::All)),
        ] {
            assert_eq!(of(protocol, mode), expected, "{protocol:?} {mode:?}");
        }
    }

    /// Which of the polls at these seconds are sent.
    fn sent(interval: u64, polls: &[f64]) -> Vec<f64> {
        let start = Instant::now();
        let mut due = None;
        polls
            .iter()
            .copied()
            .filter(|at| {
                let now = start + Duration::from_secs_f64(*at);
                let interval = Duration::from_secs(interval);
                RawMetricsMode::PollingInterval.sends(true, &mut due, interval, now)
            })
            .collect()
    }

    #[test]
    fn one_reading_for_each_polling_interval() {
        // Polls at their own times, one of them a little early.
        let own = [0.0, 30.0, 59.9, 90.1, 120.0];
        assert_eq!(sent(30, &own), own);
        // An HPA asks every 15 s.
        let asked: Vec<f64> = (0..9).map(|number| f64::from(number) * 15.0).collect();
        assert_eq!(sent(30, &asked), [0.0, 30.0, 60.0, 90.0, 120.0]);
        assert_eq!(
            sent(20, &asked),
            [0.0, 30.0, 45.0, 60.0, 90.0, 105.0, 120.0]
        );
        // After a pause nothing is made up for.
        assert_eq!(sent(30, &[0.0, 100.0, 101.0, 130.0]), [0.0, 100.0, 130.0]);
    }
}
