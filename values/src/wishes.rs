//! The objects of which newer readings are wanted: reads put them in, and one task takes them out and has the sources asked. In the
//! replica that leads that task tells the engine, in any other it tells the replica that leads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sakidori_engine::ObjectKey;
use tokio::sync::Notify;

use crate::lock::lock;

/// No read waits longer for an answer, so nobody wants what a wish from before that would bring.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Wishes {
    inner: Mutex<Inner>,
    notify: Notify,
}

#[derive(Default)]
struct Inner {
    wanted: HashMap<ObjectKey, Instant>,
    /// Counts up with each that begins to listen; 0 while nobody does.
    listener: u64,
    listeners: u64,
}

/// Takes the wishes out, until another does.
pub struct Listening {
    wishes: Arc<Wishes>,
    number: u64,
}

impl Wishes {
    /// Wishes for an object that come before the last one was taken are one.
    pub(crate) fn add(&self, key: &ObjectKey) {
        lock(&self.inner).wanted.insert(key.clone(), Instant::now());
        self.notify.notify_one();
    }

    /// Whether anybody takes wishes out.
    pub(crate) fn are_heard(&self) -> bool {
        lock(&self.inner).listener != 0
    }

    pub(crate) fn listen(self: &Arc<Self>) -> Listening {
        let mut inner = lock(&self.inner);
        inner.listeners += 1;
        inner.listener = inner.listeners;
        // Whoever waited until now learns that it isn't its turn any more.
        self.notify.notify_waiters();
        Listening {
            wishes: self.clone(),
            number: inner.listeners,
        }
    }
}

impl Listening {
    /// The next object that is wanted; `None` once another listens.
    pub async fn next(&self) -> Option<ObjectKey> {
        loop {
            let notified = self.wishes.notify.notified();
            tokio::pin!(notified);
            // From here on, so that nothing is missed between looking and waiting.
            notified.as_mut().enable();
            {
                let mut inner = lock(&self.wishes.inner);
                if inner.listener != self.number {
                    // What woke this one may have been meant for the other.
                    self.wishes.notify.notify_one();
                    return None;
                }
                inner
                    .wanted
                    .retain(|_, since| since.elapsed() < FORGOTTEN_AFTER);
                let key = inner.wanted.keys().next().cloned();
                if let Some(key) = key {
                    inner.wanted.remove(&key);
                    return Some(key);
                }
            }
            notified.await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut inner = lock(&self.wishes.inner);
        if inner.listener == self.number {
            inner.listener = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wishes_are_taken_once_by_the_last_who_listens() {
        let wishes = Arc::new(Wishes::default());
        let key = ObjectKey::new("shop", "web");
        assert!(!wishes.are_heard());
        let first = wishes.listen();
        wishes.add(&key);
        wishes.add(&key);
        assert_eq!(first.next().await, Some(key.clone()));
        let waiting = tokio::spawn(async move { first.next().await });
        tokio::task::yield_now().await;
        let second = wishes.listen();
        assert_eq!(waiting.await.unwrap(), None);
        assert!(wishes.are_heard());
        wishes.add(&key);
        assert_eq!(second.next().await, Some(key));
        drop(second);
        assert!(!wishes.are_heard());
    }
}
