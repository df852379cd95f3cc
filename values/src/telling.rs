//! What one follower is told, in which order: all objects, that these are all, and then what changes.

use std::sync::Arc;

use sakidori_engine::ObjectKey;

use crate::changes::Subscription;
use crate::messages;
use crate::moment::Moment;
use crate::store::Store;
use crate::wire::told::What;
use crate::wire::{Gone, Listed};

/// Of each object its name is kept until its turn comes, and what is told is how it is then: so a slow follower gets the newest state of each,
/// not each state.
pub(crate) struct Telling {
    store: Arc<Store>,
    /// All times that are told count from here.
    began: Moment,
    /// Objects whose turn comes next.
    next: Vec<ObjectKey>,
    listed: bool,
    changes: Arc<Subscription>,
}

impl Telling {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let began = Moment::now();
        // Before the objects are listed: what changes meanwhile is told once more.
        let changes = store.subscribe();
        Self {
            began,
            next: store.keys(),
            listed: false,
            changes,
            store,
        }
    }

    /// `None` while there is nothing to tell.
    pub(crate) fn next(&mut self) -> Option<What> {
        if self.next.is_empty() {
            // In this order: what was listed meanwhile is among the changes.
            let listed = self.store.is_listed();
            self.next = self.changes.take();
            // A leader that has just begun doesn't know yet what there is: until it does, the follower keeps what others told.
            if self.next.is_empty() && listed && !self.listed {
                self.listed = true;
                return Some(What::Listed(Listed {}));
            }
        }
        let key = self.next.pop()?;
        Some(match self.store.served(&key) {
            Some(served) => What::Object(messages::object(&key, &served, self.began)),
            None => What::Gone(Gone {
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
            }),
        })
    }

    /// Resolves when there may be something to tell again.
    pub(crate) async fn changed(&self) {
        self.changes.changed().await;
    }
}
