//! A connection that is made when somebody needs it: never in the background, never twice at once (who comes meanwhile waits
//! for the same attempt), and after a failure not before its back-off is over (until then the remembered error is the answer).
//!
//! Cancel-safe: an attempt runs on a task of its own, so that its outcome counts even if nobody waits for it any more.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::back_off::BackOff;
use crate::scaler::ScalerError;

/// The longest is KEDA's default pollingInterval, so that a poll at that interval always tries.
const BACK_OFF: BackOff = BackOff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
};

/// At most one connection of a kind.
pub(crate) struct OnDemand<C> {
    /// Shared with the task of the attempt under way.
    state: Arc<Mutex<State<C>>>,
}

struct State<C> {
    connection: Option<Arc<C>>,
    attempt: Option<Attempt<C>>,
    /// Since the last answer.
    failures: u32,
    /// The last failure, and when the next attempt may start.
    failed: Option<(ScalerError, Instant)>,
}

/// A connection attempt under way, or its outcome.
type Attempt<C> = Shared<BoxFuture<'static, Result<Arc<C>, ScalerError>>>;

impl<C> Default for OnDemand<C> {
    fn default() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                connection: None,
                attempt: None,
                failures: 0,
                failed: None,
            })),
        }
    }
}

impl<C: Send + Sync + 'static> OnDemand<C> {
    /// The connection, made by `open` if there is none that `is_open`. `open` has a bounded time.
    ///
    /// # Errors
    /// Those of `open`, also as long as its back-off lasts.
    pub(crate) async fn get<F>(
        &self,
        is_open: impl FnOnce(&C) -> bool,
        open: impl FnOnce() -> F,
    ) -> Result<Arc<C>, ScalerError>
    where
        F: Future<Output = Result<C, ScalerError>> + Send + 'static,
    {
        let attempt = {
            let mut state = lock(&self.state);
            if let Some(connection) = &state.connection {
                if is_open(connection) {
                    return Ok(Arc::clone(connection));
                }
                state.connection = None;
            }
            // An attempt with an outcome is one whose task ended without recording it.
            state.attempt.take_if(|attempt| attempt.peek().is_some());
            match (&state.attempt, &state.failed) {
                (Some(attempt), _) => attempt.clone(),
                (None, Some((error, retry_at))) if Instant::now() < *retry_at => {
                    return Err(error.clone());
                }
                (None, _) => state.attempt.insert(self.attempt(open())).clone(),
            }
        };
        attempt.await
    }

    /// Starts one attempt on a task of its own, which records the outcome.
    fn attempt<F>(&self, open: F) -> Attempt<C>
    where
        F: Future<Output = Result<C, ScalerError>> + Send + 'static,
    {
        let state = Arc::clone(&self.state);
        let task = tokio::spawn(async move {
            let outcome = open.await.map(Arc::new);
            let mut state = lock(&state);
            state.attempt = None;
            match &outcome {
                Ok(connection) => state.connection = Some(Arc::clone(connection)),
                Err(error) => state.fail(error),
            }
            outcome
        });
        task.map(move |ended| {
            let given_up = || ScalerError::Unreachable("connecting was given up".to_owned());
            ended.unwrap_or_else(|_| Err(given_up()))
        })
        .boxed()
        .shared()
    }

    /// True while there is a connection that `is_open`.
    #[cfg(feature = "redis")]
    pub(crate) fn is_connected(&self, is_open: impl FnOnce(&C) -> bool) -> bool {
        let state = lock(&self.state);
        state.connection.as_deref().is_some_and(is_open)
    }

    /// The other side answered, whatever it said.
    pub(crate) fn answered(&self) {
        let mut state = lock(&self.state);
        state.failures = 0;
        state.failed = None;
    }

    /// A connection is of no use any more, and its end no failure: the next question connects anew, at once.
    #[cfg(any(feature = "etcd", feature = "kafka"))]
    pub(crate) fn forget(&self, connection: &Arc<C>) {
        lock(&self.state)
            .connection
            .take_if(|current| Arc::ptr_eq(current, connection));
    }

    /// A connection failed under a question. Dropped, so that the next question connects anew, after the back-off.
    // Sessions of databases are taken out when they are used.
    #[cfg_attr(
        not(any(
            feature = "etcd",
            feature = "kafka",
            feature = "rabbitmq",
            feature = "redis"
        )),
        allow(dead_code)
    )]
    pub(crate) fn lost(&self, connection: &Arc<C>, error: &ScalerError) {
        let mut state = lock(&self.state);
        // A question that was under way at the same time may have noticed first.
        if state
            .connection
            .take_if(|current| Arc::ptr_eq(current, connection))
            .is_some()
        {
            state.fail(error);
        }
    }
}

impl<C> State<C> {
    fn fail(&mut self, error: &ScalerError) {
        self.failures = self.failures.saturating_add(1);
        let retry_at = Instant::now() + BACK_OFF.after(self.failures);
        self.failed = Some((error.clone(), retry_at));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sakidori_test_cluster::eventually;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn refused() -> ScalerError {
        ScalerError::Unreachable("refused".to_owned())
    }

    #[tokio::test]
    async fn who_comes_meanwhile_waits_for_the_same_attempt() {
        let (opened, link) = (AtomicU32::new(0), OnDemand::default());
        let get = || {
            link.get(
                |_| true,
                || {
                    let number = opened.fetch_add(1, Ordering::SeqCst);
                    async move {
                        tokio::task::yield_now().await;
                        Ok(number)
                    }
                },
            )
        };
        let all = futures::future::join_all((0..50).map(|_| get())).await;
        assert!(all.into_iter().all(|got| *got.unwrap() == 0));
        assert_eq!(*get().await.unwrap(), 0, "it is kept");
        let again = link.get(|_| false, || async { Ok(7) }).await.unwrap();
        assert_eq!(*again, 7, "one that is closed is made anew");
    }

    #[tokio::test]
    async fn after_a_failure_the_error_is_the_answer_until_the_back_off_is_over() {
        let (tried, link) = (AtomicU32::new(0), OnDemand::<u32>::default());
        let get = |outcome: Result<u32, ScalerError>| {
            link.get(
                |_| true,
                || {
                    tried.fetch_add(1, Ordering::SeqCst);
                    async move { outcome }
                },
            )
        };
        for _ in 0..10 {
            assert_eq!(get(Err(refused())).await, Err(refused()));
        }
        assert_eq!(tried.load(Ordering::SeqCst), 1);
        let wait = Duration::from_secs(10);
        let connection = eventually("attempt", wait, async || Ok(get(Ok(7)).await.ok())).await;
        let connection = connection.unwrap();
        link.lost(&connection, &refused());
        link.lost(&connection, &refused());
        assert_eq!(get(Ok(8)).await, Err(refused()));
        assert_eq!(lock(&link.state).failures, 2, "noticed twice, failed once");
        link.answered();
        assert_eq!(get(Ok(8)).await.map(|number| *number), Ok(8));
    }
}
