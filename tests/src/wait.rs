//! Waiting for a condition, with a deadline and a text that says what was seen instead.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long to wait between two looks: short beside the second that is the finest time any test asserts.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Looks again and again until `look` succeeds. An error of `look` means "not yet" and says what it saw.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::time::Duration;
/// let replicas = 3;
/// let seen = sakidori_tests::wait_for("three replicas", Duration::from_secs(5), async || {
///     anyhow::ensure!(replicas == 3, "replicas are {replicas}");
///     Ok(replicas)
/// });
/// assert_eq!(seen.await.unwrap(), 3);
/// # });
/// ```
///
/// # Errors
/// If `within` has passed: `no three replicas within 5 s: replicas are 2`.
pub async fn wait_for<T, Look, Looking>(what: &str, within: Duration, mut look: Look) -> Result<T>
where
    Look: FnMut() -> Looking,
    Looking: Future<Output = Result<T>>,
{
    let start = Instant::now();
    let mut seen = anyhow!("nothing was seen, the first look did not end");
    while let Some(left) = within.checked_sub(start.elapsed()) {
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => seen = error,
            Err(_) => break,
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(anyhow!(
        "no {what} within {} s: {seen:#}",
        within.as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn returns_what_the_first_successful_look_saw() {
        let looks = Cell::new(0);
        let value = wait_for("third look", Duration::from_secs(5), async || {
            looks.set(looks.get() + 1);
            anyhow::ensure!(looks.get() == 3, "look {}", looks.get());
            Ok(looks.get())
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn says_what_it_saw_when_time_is_up() {
        let never = wait_for::<(), _, _>("moon", Duration::from_millis(150), async || {
            anyhow::bail!("sky is dark")
        });
        assert_eq!(
            never.await.unwrap_err().to_string(),
            "no moon within 0.15 s: sky is dark"
        );
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_cut_short() {
        let hangs =
            wait_for::<(), _, _>("answer", Duration::from_millis(100), std::future::pending);
        let text = hangs.await.unwrap_err().to_string();
        assert!(text.starts_with("no answer within 0.1 s"), "{text}");
    }
}
