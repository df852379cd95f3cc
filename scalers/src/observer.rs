//! Who is told what a read does on its way: its exchanges over HTTP, and answers without a result.
//!
//! The observer belongs to the task that reads, and to the tasks that it starts for that. Where several triggers share an answer, the exchange
//! is told to the one that asked first.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Is told what one read of a trigger does.
pub trait Observer: Send + Sync {
    /// A request over HTTP was answered with this status, or with none, and took so long.
    fn exchanged(&self, status: Option<u16>, took: Duration);

    /// The source answered without a result; `ignored` where that counts as 0.
    fn answered_nothing(&self, ignored: bool);
}

tokio::task_local! {
    static OBSERVER: Arc<dyn Observer>;
}

/// Does this with an observer.
pub async fn observed<T>(observer: Arc<dyn Observer>, work: impl Future<Output = T>) -> T {
    OBSERVER.scope(observer, work).await
}

/// The same work for another task, with the observer of this one.
pub(crate) fn carried<F>(work: F) -> impl Future<Output = F::Output> + use<F>
where
    F: Future,
{
    let observer = OBSERVER.try_with(Arc::clone).ok();
    async move {
        match observer {
            Some(observer) => OBSERVER.scope(observer, work).await,
            None => work.await,
        }
    }
}

/// Tells the observer of this task, if it has one.
pub(crate) fn tell(what: impl FnOnce(&dyn Observer)) {
    // Nobody observes what is read for other purposes than a poll.
    let _ = OBSERVER.try_with(|observer| what(observer.as_ref()));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<Option<u16>>>);

    impl Observer for Notes {
        fn exchanged(&self, status: Option<u16>, _: Duration) {
            self.0.lock().unwrap().push(status);
        }

        fn answered_nothing(&self, _: bool) {}
    }

    #[tokio::test]
    async fn the_observer_goes_along_to_other_tasks() {
        let notes = Arc::new(Notes::default());
        let exchange = |status| tell(|observer| observer.exchanged(status, Duration::ZERO));
        exchange(Some(1));
        observed(notes.clone(), async {
            exchange(Some(200));
            let other = tokio::spawn(carried(async move { exchange(None) }));
            other.await.unwrap();
            let forgotten = tokio::spawn(async move { exchange(Some(2)) });
            forgotten.await.unwrap();
        })
        .await;
        tokio::spawn(carried(async move { exchange(Some(3)) }))
            .await
            .unwrap();
        assert_eq!(*notes.0.lock().unwrap(), [Some(200), None]);
    }
}
