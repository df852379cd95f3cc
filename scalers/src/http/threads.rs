//! Threads of their own for what comes over HTTP.
//!
//! The HTTP library takes in whatever comes on a connection for as long as more comes, and `103 Early Hints` without end are no answer
//! that would end it: some tenths of a second at a time, on a thread that nobody else has meanwhile. So connections live on threads
//! of which there are more than processors, and everything else of the operator has others.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::observer::carried;

/// So many servers may do that at a time before anybody waits. The kernel shares the processors among all threads.
const THREADS: usize = 8;

/// Does this on the threads for HTTP: all exchanges of the client's belong there. Dropped, it ends there, too.
pub async fn over_http<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let Some(runtime) = threads() else {
        return work.await;
    };
    let task = runtime.spawn(carried(work));
    let _ends = Ends(task.abort_handle());
    match task.await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            // Told where all panics of scalers are.
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nothing ends it but dropping this.
            Err(_) => std::future::pending().await,
        },
    }
}

/// `None` where the system gives no more threads: then all share those that are there.
fn threads() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let start = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("http");
        builder.enable_all().build().ok()
    };
    RUNTIME.get_or_init(start).as_ref()
}

struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_held_up_holds_up_nobody_else() {
        let busy = over_http(async {
            // As the library does.
            std::thread::sleep(Duration::from_millis(500));
            1
        });
        let (busy, quick) = tokio::join!(busy, async {
            let own = timeout(Duration::from_millis(400), sleep(Duration::from_millis(10)));
            let other = timeout(Duration::from_millis(400), over_http(async { 2 }));
            (own.await.is_ok(), other.await.unwrap())
        });
        assert_eq!((busy, quick), (1, (true, 2)));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends() {
        let (ended, mut alive) = tokio::sync::oneshot::channel::<()>();
        let never = over_http(async move {
            let _ended = ended;
            std::future::pending::<()>().await;
        });
        assert!(timeout(Duration::from_millis(10), never).await.is_err());
        let closed = timeout(Duration::from_secs(10), &mut alive).await;
        assert!(closed.unwrap().is_err(), "its sender is dropped with it");
    }
}
