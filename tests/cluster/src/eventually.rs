//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Calls `look` until it gives a value, and gives that value. An error counts as "not yet": servers that are still
/// starting answer with errors.
///
/// # Errors
/// When there is no value after `timeout`; the message says `what` was waited for and the last error.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn ready() -> anyhow::Result<i32> { Ok(3) }
/// # async fn example() -> anyhow::Result<()> {
/// let pods = sakidori_test_cluster::eventually("three Ready pods", Duration::from_secs(30), async || {
///     let count = ready().await?;
///     Ok((count == 3).then_some(count))
/// })
/// .await?;
/// # Ok(()) }
/// ```
pub async fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let last_error = match tokio::time::timeout(left.max(INTERVAL), look()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(anyhow::anyhow!("the last look did not come back")),
        };
        if Instant::now() >= deadline {
            match last_error {
                Some(error) => return Err(error.context(format!("no {what} after {timeout:?}"))),
                None => bail!("no {what} after {timeout:?}"),
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
