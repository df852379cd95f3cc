//! Who depends on what, what was last seen of it, and who must be told of a change. No IO: tests feed it and read
//! what it answers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sakidori_engine::ObjectKey;
use tokio::sync::watch;

use super::ReferenceError;
use super::object::{Reference, Referenced};

/// What is known of one referenced object.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// Its watch was started, but nothing came yet.
    Unknown,
    /// Nothing is known and the last attempt failed. A failure never replaces what was once known.
    Failed(ReferenceError),
    /// As last seen; `None` when there is no such object.
    Known(Option<Arc<Referenced>>),
}

/// All references of all ScaledObjects. `W` is what keeps one watch going: dropping it ends the watch.
pub(super) struct Book<W> {
    entries: HashMap<Reference, Entry<W>>,
    /// Owners that were told of a change and haven't looked since: telling them again would add nothing.
    told: HashSet<ObjectKey>,
    watches_started: u64,
}

struct Entry<W> {
    /// Tells this entry's watch from an older one of the same reference that is still winding down.
    id: u64,
    sight: watch::Sender<Sight>,
    owners: HashMap<ObjectKey, Waiting>,
    _watch: W,
}

/// Whether an owner is inside `get`, about to see the first state by itself, or has to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Yes,
    No,
}

impl<W> Book<W> {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            told: HashSet::new(),
            watches_started: 0,
        }
    }

    /// Notes that `owner` depends on `reference` and looks at it. `start` begins a watch when there is none yet.
    /// `Err` is a channel to wait on: nothing is known so far, and the owner counts as waiting.
    pub(super) fn look(
        &mut self,
        owner: &ObjectKey,
        reference: &Reference,
        start: impl FnOnce(u64) -> W,
    ) -> Result<Sight, watch::Receiver<Sight>> {
        self.told.remove(owner);
        let entry = match self.entries.entry(reference.clone()) {
            std::collections::hash_map::Entry::Occupied(occupied) => occupied.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                self.watches_started += 1;
                let id = self.watches_started;
                vacant.insert(Entry {
                    id,
                    sight: watch::Sender::new(Sight::Unknown),
                    owners: HashMap::new(),
                    _watch: start(id),
                })
            }
        };
        let sight = entry.sight.borrow().clone();
        if let Sight::Unknown = sight {
            entry.owners.insert(owner.clone(), Waiting::Yes);
            return Err(entry.sight.subscribe());
        }
        entry.owners.insert(owner.clone(), Waiting::No);
        Ok(sight)
    }

    /// `owner` no longer waits inside `get`: from now on it is told of what comes.
    pub(super) fn stop_waiting(&mut self, owner: &ObjectKey, reference: &Reference) {
        if let Some(waiting) = self
            .entries
            .get_mut(reference)
            .and_then(|entry| entry.owners.get_mut(owner))
        {
            *waiting = Waiting::No;
        }
    }

    /// A watch saw its object, or that there is none. Returns the owners to tell.
    #[must_use]
    pub(super) fn learned(
        &mut self,
        reference: &Reference,
        id: u64,
        seen: Option<Arc<Referenced>>,
    ) -> Vec<ObjectKey> {
        let Some(entry) = self
            .entries
            .get_mut(reference)
            .filter(|entry| entry.id == id)
        else {
            return Vec::new();
        };
        if matches!(&*entry.sight.borrow(), Sight::Known(known) if *known == seen) {
            return Vec::new();
        }
        entry.sight.send_replace(Sight::Known(seen));
        let told = &mut self.told;
        entry
            .owners
            .iter()
            .filter(|(owner, waiting)| **waiting == Waiting::No && told.insert((*owner).clone()))
            .map(|(owner, _)| owner.clone())
            .collect()
    }

    /// A watch failed. Says whether nothing is known of the object, so that the failure is what `get` answers.
    pub(super) fn failed(&mut self, reference: &Reference, id: u64, error: ReferenceError) -> bool {
        let Some(entry) = self
            .entries
            .get_mut(reference)
            .filter(|entry| entry.id == id)
        else {
            return false;
        };
        let unknown = !matches!(&*entry.sight.borrow(), Sight::Known(_));
        if unknown {
            entry.sight.send_replace(Sight::Failed(error));
        }
        unknown
    }

    /// `owner` depends on `kept` and nothing else from now on. Watches without owners end.
    pub(super) fn retain(&mut self, owner: &ObjectKey, kept: &HashSet<Reference>) {
        self.entries.retain(|reference, entry| {
            if !kept.contains(reference) {
                entry.owners.remove(owner);
            }
            !entry.owners.is_empty()
        });
    }

    /// `owner` is gone.
    pub(super) fn forget(&mut self, owner: &ObjectKey) {
        self.retain(owner, &HashSet::new());
        self.told.remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    use serde_json::json;

    fn owner(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    fn reference(name: &str) -> Reference {
        Reference::secret("shop", name)
    }

    fn secret(name: &str, value: &str) -> Option<Arc<Referenced>> {
        let object =
            serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": value}}))
                .unwrap();
        let Reference::Object(reference) = reference(name) else {
            return None;
        };
        Some(Arc::new(Referenced::trim(&reference, object)))
    }

    /// A book in which `owner` has seen the secret `a` with the value `1`.
    fn seen_once(owner: &ObjectKey) -> Book<()> {
        let mut book = Book::new();
        assert!(book.look(owner, &reference("a"), |_| ()).is_err());
        assert!(
            book.learned(&reference("a"), 1, secret("a", "1"))
                .is_empty(),
            "it waits: it needn't be told"
        );
        assert!(matches!(
            book.look(owner, &reference("a"), |_| ()),
            Ok(Sight::Known(Some(_)))
        ));
        book
    }

    #[test]
    fn a_change_is_told_once_until_the_owner_looks_again() {
        let orders = owner("orders");
        let mut book = seen_once(&orders);
        assert_eq!(
            book.learned(&reference("a"), 1, secret("a", "2")),
            std::slice::from_ref(&orders)
        );
        assert!(
            book.learned(&reference("a"), 1, secret("a", "3"))
                .is_empty()
        );
        assert!(book.look(&orders, &reference("a"), |_| ()).is_ok());
        assert_eq!(book.learned(&reference("a"), 1, None), [orders]);
    }

    #[test]
    fn what_is_equal_is_no_change() {
        let mut book = seen_once(&owner("orders"));
        assert!(
            book.learned(&reference("a"), 1, secret("a", "1"))
                .is_empty()
        );
    }

    #[test]
    fn a_failure_never_replaces_what_is_known() {
        let orders = owner("orders");
        let mut book = seen_once(&orders);
        assert!(!book.failed(
            &reference("a"),
            1,
            ReferenceError::NotYetKnown {
                object: String::new()
            }
        ));
        assert!(matches!(
            book.look(&orders, &reference("a"), |_| ()),
            Ok(Sight::Known(Some(_)))
        ));
    }

    #[test]
    fn an_owner_that_got_an_error_is_told_when_the_object_becomes_known() {
        let orders = owner("orders");
        let mut book: Book<()> = Book::new();
        assert!(book.look(&orders, &reference("a"), |_| ()).is_err());
        assert!(book.failed(
            &reference("a"),
            1,
            ReferenceError::NotYetKnown {
                object: String::new()
            }
        ));
        assert!(matches!(
            book.look(&orders, &reference("a"), |_| ()),
            Ok(Sight::Failed(_))
        ));
        assert_eq!(book.learned(&reference("a"), 1, None), [orders]);
    }

    #[test]
    fn an_owner_that_gave_up_waiting_is_told() {
        let orders = owner("orders");
        let mut book: Book<()> = Book::new();
        assert!(book.look(&orders, &reference("a"), |_| ()).is_err());
        book.stop_waiting(&orders, &reference("a"));
        assert_eq!(book.learned(&reference("a"), 1, None), [orders]);
    }

    #[test]
    fn watches_are_shared_and_end_with_their_last_owner() {
        let (orders, mails) = (owner("orders"), owner("mails"));
        let token = Rc::new(());
        let mut book = Book::new();
        let _ = book.look(&orders, &reference("a"), |_| token.clone());
        let _ = book.look(&mails, &reference("a"), |_| token.clone());
        let _ = book.look(&mails, &reference("b"), |_| token.clone());
        assert_eq!((book.entries.len(), Rc::strong_count(&token)), (2, 3));
        book.forget(&orders);
        book.retain(&mails, &HashSet::from([reference("a")]));
        assert_eq!((book.entries.len(), Rc::strong_count(&token)), (1, 2));
        book.forget(&mails);
        assert_eq!((book.entries.len(), Rc::strong_count(&token)), (0, 1));
    }

    #[test]
    fn an_old_watch_of_the_same_reference_is_not_believed() {
        let orders = owner("orders");
        let mut book = seen_once(&orders);
        book.forget(&orders);
        assert!(book.look(&orders, &reference("a"), |_| ()).is_err());
        book.stop_waiting(&orders, &reference("a"));
        assert!(
            book.learned(&reference("a"), 1, secret("a", "1"))
                .is_empty()
        );
        assert_eq!(book.learned(&reference("a"), 2, secret("a", "1")), [orders]);
    }
}
