//! Bounds how much begins at once, so that a burst is spread, and lets nobody who hangs hold up the others.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Requests to the API server that go well take milliseconds.
pub const QUICK_REQUEST: Duration = Duration::from_millis(250);

/// A bound on work of one sort. What takes longer than is `quick` for it waits for something of its own: a source that hangs, an
/// admission webhook, a Vault. It costs a socket and no work, and its room goes to the next.
pub struct Gate {
    room: Semaphore,
    quick: Duration,
}

impl Gate {
    /// Room for that many, as long as each is quick.
    pub fn new(at_once: usize, quick: Duration) -> Self {
        Self {
            room: Semaphore::new(at_once),
            quick,
        }
    }

    /// Does `work` once there is room, first come, first served.
    pub async fn pass<T>(&self, work: impl Future<Output = T>) -> T {
        // The semaphore is never closed.
        let room = self.room.acquire().await;
        let mut work = pin!(work);
        match timeout(self.quick, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                drop(room);
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_is_quick_waits_for_room() {
        let gate = Gate::new(2, QUICK_REQUEST);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            gate.pass(async {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
            })
        };
        futures::future::join_all((0..10).map(|_| work())).await;
        assert_eq!(most.into_inner(), 2);
    }

    #[tokio::test]
    async fn what_hangs_holds_up_nobody() {
        let gate = Gate::new(2, Duration::from_millis(1));
        let hang = || gate.pass(std::future::pending::<()>());
        let hanging = futures::future::join_all((0..10).map(|_| hang()));
        // Behind all that hang.
        let behind = async {
            tokio::task::yield_now().await;
            gate.pass(std::future::ready("done")).await
        };
        let done = tokio::select! {
            biased;
            _ = hanging => "not hanging",
            done = behind => done,
        };
        assert_eq!(done, "done");
    }
}
