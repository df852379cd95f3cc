//! Which objects have changed, for each who wants to know: a set of names that is emptied by who reads it, never a queue.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};

use sakidori_engine::ObjectKey;
use tokio::sync::Notify;

use crate::lock::lock;

/// Takes in each change and tells all subscriptions.
#[derive(Default)]
pub(crate) struct Changes {
    subscriptions: Mutex<Vec<Weak<Subscription>>>,
}

/// The objects that have changed since they were last taken.
#[derive(Default)]
pub(crate) struct Subscription {
    changed: Mutex<HashSet<ObjectKey>>,
    notify: Notify,
}

impl Changes {
    pub(crate) fn subscribe(&self) -> Arc<Subscription> {
        let subscription = Arc::new(Subscription::default());
        let mut all = lock(&self.subscriptions);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&subscription));
        subscription
    }

    pub(crate) fn mark(&self, key: &ObjectKey) {
        for subscription in lock(&self.subscriptions).iter().filter_map(Weak::upgrade) {
            if lock(&subscription.changed).insert(key.clone()) {
                subscription.notify.notify_one();
            }
        }
    }

    /// How many changes the slowest of the subscriptions has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        let all = lock(&self.subscriptions);
        let waiting = all.iter().filter_map(Weak::upgrade);
        waiting
            .map(|one| lock(&one.changed).len())
            .max()
            .unwrap_or(0)
    }

    /// All objects that there are have been told: no object changes, but who waits for that goes on.
    pub(crate) fn listed(&self) {
        for subscription in lock(&self.subscriptions).iter().filter_map(Weak::upgrade) {
            subscription.notify.notify_one();
        }
    }
}

impl Subscription {
    /// Resolves at once where something has changed since the last [`Self::take`], or all is listed; sometimes where nothing has.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }

    pub(crate) fn take(&self) -> Vec<ObjectKey> {
        std::mem::take(&mut *lock(&self.changed))
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_changes_of_an_object_are_one() {
        let changes = Changes::default();
        let (slow, gone) = (changes.subscribe(), changes.subscribe());
        drop(gone);
        let key = ObjectKey::new("shop", "web");
        for _ in 0..1000 {
            changes.mark(&key);
        }
        slow.changed().await;
        assert_eq!(slow.take(), std::slice::from_ref(&key));
        assert!(slow.take().is_empty());
        changes.mark(&key);
        slow.changed().await;
        assert_eq!(slow.take().len(), 1);
        let _third = changes.subscribe();
        assert_eq!(
            lock(&changes.subscriptions).len(),
            2,
            "who is gone is forgotten"
        );
    }
}
