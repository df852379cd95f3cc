//! Takes messages off the queue as the Ready pods would, if containers ran in them.

use std::time::{Duration, Instant};

use anyhow::Result;
use sakidori_test_servers::RabbitMq;
use tokio::sync::watch;

/// What one consumer gets done. Slow enough that the queue still holds work when the HPA, which grows in steps, takes
/// the last one.
pub const MESSAGES_PER_SECOND: f64 = 2.0;

/// How often they take their share.
const TICK: Duration = Duration::from_millis(500);

/// Consumes for as many consumers as `ready` says, until it is dropped.
///
/// # Errors
/// If the broker fails.
pub async fn consume(
    broker: &RabbitMq,
    vhost: &str,
    queue: &str,
    ready: watch::Receiver<i32>,
) -> Result<()> {
    let mut ticks = tokio::time::interval(TICK);
    let mut last = Instant::now();
    let mut share = 0.0;
    loop {
        ticks.tick().await;
        share += f64::from(*ready.borrow()) * MESSAGES_PER_SECOND * last.elapsed().as_secs_f64();
        last = Instant::now();
        let whole = share as usize;
        if whole > 0 {
            let taken = broker.consume(vhost, queue, whole).await?;
            // What can't be taken from an empty queue is not saved up for later.
            share = if taken < whole { 0.0 } else { share.fract() };
        }
    }
}
