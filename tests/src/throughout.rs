//! Watching that something stays true.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often it is looked at: a fall of replicas that is put right again lasts longer.
const INTERVAL: Duration = Duration::from_millis(100);

/// Looks again and again for as long as `duration`, and fails with the first look that does.
///
/// # Errors
/// The look's own, with `what` was expected and how long it had lasted.
pub async fn throughout(
    what: &str,
    duration: Duration,
    mut look: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < duration {
        look()
            .await
            .with_context(|| format!("{what}: not any more after {:?}", start.elapsed()))?;
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(())
}
