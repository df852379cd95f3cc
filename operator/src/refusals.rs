//! After a refusal a source is asked more rarely: wrong credentials don't get right by asking again, and a source that asks for
//! fewer requests gets them.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sakidori_scalers::{Freshness, MetricSpec, Push, Reading, Scaler, ScalerError};

use crate::lock::lock;

/// Pauses double from the first to the last. A corrected Secret makes a new scaler, which asks at once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is believed: a mistaken one must not silence a trigger for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// A scaler that pauses after refusals. While it does, the last refusal is its answer, word for word, so that nothing flaps.
pub struct Patient {
    scaler: Box<dyn Scaler>,
    refused: Mutex<Option<Refused>>,
}

struct Refused {
    times: u32,
    until: Instant,
    error: ScalerError,
}

impl Patient {
    pub fn new(scaler: Box<dyn Scaler>) -> Self {
        Self {
            scaler,
            refused: Mutex::default(),
        }
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        lock(&self.refused)
    }
}

#[async_trait]
impl Scaler for Patient {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.scaler.metrics()
    }

    async fn learn_metrics(&self) -> Result<(), ScalerError> {
        self.scaler.learn_metrics().await
    }

    fn push(&self) -> Option<&dyn Push> {
        self.scaler.push()
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        if let Some(refused) = self.refused().as_ref()
            && Instant::now() < refused.until
        {
            return Err(refused.error.clone());
        }
        let answer = self.scaler.read(freshness).await;
        let mut refused = self.refused();
        let times = refused.as_ref().map_or(0, |refused| refused.times);
        *refused = answer.as_ref().err().and_then(|error| {
            let pause = pause(error, times)?;
            Some(Refused {
                times: times + 1,
                until: Instant::now() + pause,
                error: error.clone(),
            })
        });
        answer
    }
}

/// How long to wait after a failure that follows `times` refusals; `None` where asking again is right.
fn pause(error: &ScalerError, times: u32) -> Option<Duration> {
    let doubled = FIRST_PAUSE
        .saturating_mul(2u32.saturating_pow(times))
        .min(LAST_PAUSE);
    match error {
        ScalerError::Unauthorized(_) => Some(doubled),
        ScalerError::RateLimited { retry_after, .. } => {
            Some(retry_after.map_or(doubled, |wanted| wanted.min(LONGEST_RETRY_AFTER)))
        }
        ScalerError::NotFound(_) | ScalerError::Unreachable(_) | ScalerError::Malformed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn pauses_double_after_refusals_only() {
        let refused = ScalerError::Unauthorized("no".into());
        let pauses: Vec<u64> = (0..7)
            .map(|times| pause(&refused, times).unwrap().as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert!(pause(&refused, u32::MAX).is_some());
        assert_eq!(pause(&ScalerError::Unreachable("down".into()), 3), None);
        let limited = |seconds| ScalerError::RateLimited {
            retry_after: Some(Duration::from_secs(seconds)),
            message: "slow down".into(),
        };
        assert_eq!(pause(&limited(7), 0), Some(Duration::from_secs(7)));
        assert_eq!(pause(&limited(86_400), 0), Some(LONGEST_RETRY_AFTER));
    }

    struct Refusing(AtomicU32);

    #[async_trait]
    impl Scaler for Refusing {
        fn metrics(&self) -> Vec<MetricSpec> {
            Vec::new()
        }

        async fn read(&self, _: &Freshness) -> Result<Vec<Reading>, ScalerError> {
            let asked = self.0.fetch_add(1, Ordering::SeqCst);
            Err(ScalerError::Unauthorized(format!("refusal {asked}")))
        }
    }

    #[tokio::test]
    async fn a_source_that_refuses_is_not_asked_again_at_once() {
        let patient = Patient::new(Box::new(Refusing(AtomicU32::new(0))));
        let first = patient.read(&Freshness::now()).await.unwrap_err();
        for _ in 0..100 {
            assert_eq!(patient.read(&Freshness::now()).await.unwrap_err(), first);
        }
    }
}
