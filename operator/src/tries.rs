//! What has to be done however long the API server is away: one try after the other, later each time, and what goes wrong is told when it is news.

use std::time::Duration;

use jiff::Timestamp;
use sakidori_engine::Spell;
use tokio::time::{sleep, timeout};

use crate::api_error::plain;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// One try, all requests of it together.
const WITHIN: Duration = Duration::from_secs(15);

/// The tries of one thing.
pub struct Tries {
    pause: Duration,
    failing: Spell,
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            pause: FIRST_PAUSE,
            failing: Spell::default(),
        }
    }
}

impl Tries {
    /// Whether an error is to be told: the first, a few that differ, and one again after a while.
    pub fn is_news(&mut self, error: &str) -> bool {
        self.failing.fails(Timestamp::now(), error)
    }

    /// Waits until it is time for the next try.
    pub async fn rest(&mut self) {
        sleep(self.next_pause()).await;
    }

    fn next_pause(&mut self) -> Duration {
        let next = (self.pause * 2).min(LAST_PAUSE);
        std::mem::replace(&mut self.pause, next)
    }
}

/// One try that is a request, or several.
///
/// # Errors
/// As [`within_time`], in plain words.
pub async fn asked<T>(requests: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    within_time(async { requests.await.map_err(|error| plain(&error)) }).await
}

/// One try.
///
/// # Errors
/// Its own, or that it took longer than a try may.
pub async fn within_time<T>(attempt: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answer = timeout(WITHIN, attempt).await;
    answer.unwrap_or_else(|_| Err("the API server did not answer in time".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_the_same_error_is_told_once() {
        let mut tries = Tries::default();
        let pauses = [(); 8].map(|()| tries.next_pause().as_millis());
        assert_eq!(
            pauses,
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
        assert!(tries.is_news("one") && !tries.is_news("one") && tries.is_news("another"));
    }
}
