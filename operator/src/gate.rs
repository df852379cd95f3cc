//! Bounds how much begins at once, so that a burst is spread, and lets nobody who hangs hold up the others.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Requests to the API server that go well take milliseconds.
pub const QUICK_REQUEST: Duration = Duration::from_millis(250);

/// A bound on work of one sort. What takes longer than is `quick` for it waits for something of its own: a source that hangs, an
/// admission webhook, a Vault. It costs a socket and no work, and its room goes to the next.
pub struct Gate {
    room: Semaphore,
    quick: Duration,
    /// Who waits for room, or has it.
    busy: watch::Sender<usize>,
}

/// One of those that are counted as busy.
struct Busy<'g>(&'g watch::Sender<usize>);

impl<'g> Busy<'g> {
    fn new(count: &'g watch::Sender<usize>) -> Self {
        // Only whoever waits for the last one to go wants to be told.
        count.send_if_modified(|count| {
            *count += 1;
            false
        });
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.send_if_modified(|count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

impl Gate {
    /// Room for that many, as long as each is quick.
    pub fn new(at_once: usize, quick: Duration) -> Self {
        Self {
            room: Semaphore::new(at_once),
            quick,
            busy: watch::Sender::new(0),
        }
    }

    /// Does `work` once there is room, first come, first served.
    pub async fn pass<T>(&self, work: impl Future<Output = T>) -> T {
        let busy = Busy::new(&self.busy);
        // The semaphore is never closed.
        let room = self.room.acquire().await;
        let mut work = pin!(work);
        match timeout(self.quick, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                drop((room, busy));
                work.await
            }
        }
    }

    /// Waits until nobody waits for room or has it, but no longer than that: for what is to stand back behind this work.
    pub async fn quiet(&self, at_most: Duration) {
        let mut busy = self.busy.subscribe();
        // The sender is this object's own, so it doesn't end.
        let _ = timeout(at_most, busy.wait_for(|count| *count == 0)).await;
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

    #[tokio::test]
    async fn others_stand_back_until_all_is_done_or_slow_but_not_for_ever() {
        let gate = Gate::new(1, Duration::from_millis(20));
        let long = Duration::from_secs(60);
        gate.quiet(long).await;
        let done = AtomicUsize::new(0);
        let work = || {
            gate.pass(async {
                tokio::task::yield_now().await;
                done.fetch_add(1, Ordering::SeqCst);
            })
        };
        let slow = gate.pass(std::future::pending::<()>());
        let behind = async {
            gate.quiet(long).await;
            done.load(Ordering::SeqCst)
        };
        let told = tokio::select! {
            biased;
            _ = async { tokio::join!(work(), slow, work()) } => usize::MAX,
            done = behind => done,
        };
        assert_eq!(told, 2);

        let gate = Gate::new(1, long);
        let stood_back = tokio::select! {
            biased;
            () = gate.pass(std::future::pending()) => false,
            () = gate.quiet(Duration::from_millis(20)) => true,
        };
        assert!(stood_back);
    }
}
