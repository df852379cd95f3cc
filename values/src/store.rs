//! What is served, of every object: in the replica that leads its own readings, in any other those that it was told.
//!
//! One writer at a time: who began last. So the tasks of a term or a stream that ended can't change anything any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sakidori_engine::ObjectKey;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::changes::{Changes, Subscription};
use crate::lock::lock;
use crate::moment::Moment;
use crate::readings::{ObjectReadings, Place, Slot};
use crate::wishes::{Listening, Wishes};

#[derive(Default)]
pub struct Store {
    inner: Mutex<Inner>,
    changes: Arc<Changes>,
    /// Wakes those who wait for an object to be there.
    came: Arc<Notify>,
    wishes: Arc<Wishes>,
}

#[derive(Default)]
struct Inner {
    objects: HashMap<ObjectKey, Entry>,
    /// The number of who may write.
    writer: u64,
    /// This process leads: no follower's word counts.
    led: bool,
    /// The writer has told all objects that there are.
    listed: bool,
    /// Some writer has.
    ever_listed: bool,
    /// When the replica that leads was last heard.
    heard: Option<Moment>,
}

struct Entry {
    served: Served,
    /// The writer that last said that it exists.
    confirmed_by: u64,
}

/// What is known of one object.
#[derive(Clone)]
pub struct Served {
    pub uid: String,
    pub state: State,
}

#[derive(Clone)]
pub enum State {
    Served {
        readings: Arc<ObjectReadings>,
        /// Why it can't be prepared as it is now.
        complaint: Option<String>,
    },
    /// Nothing is read for it.
    Paused,
    /// Nothing is read for it yet, or the complaint says why not.
    Unprepared { complaint: Option<String> },
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Served {
                    readings,
                    complaint,
                },
                Self::Served {
                    readings: others,
                    complaint: other,
                },
            ) => Arc::ptr_eq(readings, others) && complaint == other,
            (Self::Paused, Self::Paused) => true,
            (Self::Unprepared { complaint }, Self::Unprepared { complaint: other }) => {
                complaint == other
            }
            _ => false,
        }
    }
}

impl Store {
    /// The metrics of an object, to be served by [`Writer::set`]. `kept` gives the slot of a metric whose source is the same as before.
    pub fn readings(
        &self,
        key: &ObjectKey,
        polling_interval: Duration,
        metrics: impl IntoIterator<Item = (String, bool)>,
        kept: impl Fn(&str) -> Option<Arc<Slot>>,
    ) -> ObjectReadings {
        let place = Place {
            key: key.clone(),
            changes: self.changes.clone(),
        };
        ObjectReadings::new(&place, polling_interval, metrics, kept)
    }

    pub fn served(&self, key: &ObjectKey) -> Option<Served> {
        let inner = lock(&self.inner);
        inner.objects.get(key).map(|entry| entry.served.clone())
    }

    /// The slot of a metric of the object with this uid, whoever wrote it.
    pub fn slot(&self, key: &ObjectKey, uid: &str, metric: &str) -> Option<Arc<Slot>> {
        self.readings_of(key, uid)?.slot(metric)
    }

    /// The same where its metrics were made for this generation of the object: one that was edited may have another source under the
    /// same name.
    pub fn slot_of_generation(
        &self,
        key: &ObjectKey,
        uid: &str,
        generation: i64,
        metric: &str,
    ) -> Option<Arc<Slot>> {
        let readings = self.readings_of(key, uid)?;
        let same = readings.generation() == generation;
        same.then(|| readings.slot(metric)).flatten()
    }

    fn readings_of(&self, key: &ObjectKey, uid: &str) -> Option<Arc<ObjectReadings>> {
        let served = self.served(key).filter(|served| served.uid == uid)?;
        match served.state {
            State::Served { readings, .. } => Some(readings),
            State::Paused | State::Unprepared { .. } => None,
        }
    }

    pub fn keys(&self) -> Vec<ObjectKey> {
        lock(&self.inner).objects.keys().cloned().collect()
    }

    /// All objects that there are have been told.
    pub fn is_listed(&self) -> bool {
        lock(&self.inner).listed
    }

    /// Resolves at the next change of what is known of any object that comes after this call.
    pub fn came(&self) -> OwnedNotified {
        self.came.clone().notified_owned()
    }

    /// The replica that leads has said something.
    pub(crate) fn heard(&self) {
        lock(&self.inner).heard = Some(Moment::now());
    }

    /// How long ago the replica that leads last said something.
    pub fn silence(&self) -> Option<Duration> {
        lock(&self.inner).heard.map(|at| at.elapsed())
    }

    /// Whether all objects were told at some time, and whether anything was heard since long; what readiness looks at.
    pub(crate) fn was_ever_listed(&self) -> bool {
        lock(&self.inner).ever_listed
    }

    /// Goes through the readings of all objects that are polled until `found` finds.
    pub(crate) fn any_readings<T>(
        &self,
        found: impl FnMut(&ObjectReadings) -> Option<T>,
    ) -> Option<T> {
        let inner = lock(&self.inner);
        let readings = inner.objects.values().filter_map(|entry| {
            match &entry.served.state {
                State::Served {
                    readings,
                    complaint: None,
                } => Some(&**readings),
                // Nobody polls one that can't be prepared.
                _ => None,
            }
        });
        readings.map(found).find_map(|found| found)
    }

    pub(crate) fn subscribe(&self) -> Arc<Subscription> {
        self.changes.subscribe()
    }

    /// Objects whose news the slowest follower has not been told yet.
    pub fn waiting(&self) -> usize {
        self.changes.waiting()
    }

    /// A newer reading of an object is wanted.
    pub fn want(&self, key: &ObjectKey) {
        self.wishes.add(key);
    }

    /// The same for another process, which may name what there isn't.
    pub(crate) fn want_known(&self, key: &ObjectKey) {
        if lock(&self.inner).objects.contains_key(key) {
            self.wishes.add(key);
        }
    }

    /// Whether there is anybody who could bring newer readings.
    pub fn has_listener(&self) -> bool {
        self.wishes.are_heard()
    }

    /// Takes the wishes out, instead of who did so until now.
    pub fn listen(&self) -> Listening {
        self.wishes.listen()
    }

    /// The same for who follows another: `None` where this process leads, which then takes them out itself.
    pub(crate) fn listen_as_follower(&self) -> Option<Listening> {
        let inner = lock(&self.inner);
        (!inner.led).then(|| self.wishes.listen())
    }

    /// This process leads no more: from now on followers may write.
    pub fn follow(&self) {
        lock(&self.inner).led = false;
    }
}

/// Says what is served, until another begins to. What others wrote stays until it is written anew, or until [`Writer::listed`].
#[derive(Default)]
pub struct Writer {
    store: Arc<Store>,
    number: AtomicU64,
}

impl Writer {
    /// Writes nothing before [`Self::begin`].
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            number: AtomicU64::new(u64::MAX),
        }
    }

    /// From now on this one writes, and no other. False where this process leads: then nothing has begun.
    pub fn begin(&self) -> bool {
        let mut inner = lock(&self.store.inner);
        if !inner.led {
            self.begin_in(&mut inner);
        }
        !inner.led
    }

    /// The same for the term of a leader. Until [`Store::follow`], no follower begins: its last answer may come after this.
    pub fn lead(&self) {
        let mut inner = lock(&self.store.inner);
        inner.led = true;
        // A leader hears nobody.
        inner.heard = None;
        self.begin_in(&mut inner);
    }

    fn begin_in(&self, inner: &mut Inner) {
        inner.writer += 1;
        inner.listed = false;
        self.number.store(inner.writer, Ordering::Relaxed);
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Notes what is known of an object.
    pub fn set(&self, key: &ObjectKey, uid: &str, state: State) {
        self.change(key, uid, |_| state);
    }

    /// Notes that there is an object that isn't prepared. What was served of it still is, by whoever wrote it, while it is young enough.
    pub fn set_unprepared(&self, key: &ObjectKey, uid: &str, complaint: Option<String>) {
        self.change(key, uid, |before| match before {
            Some(State::Served { readings, .. }) => State::Served {
                readings: readings.clone(),
                complaint,
            },
            _ => State::Unprepared { complaint },
        });
    }

    pub fn remove(&self, key: &ObjectKey) {
        let mut inner = lock(&self.store.inner);
        if inner.writer != self.number() || inner.objects.remove(key).is_none() {
            return;
        }
        drop(inner);
        self.store.changes.mark(key);
        self.store.came.notify_waiters();
    }

    /// All objects that there are have been told since [`Self::begin`]; others are gone.
    pub fn listed(&self) {
        let mut inner = lock(&self.store.inner);
        let number = self.number();
        if inner.writer != number {
            return;
        }
        inner.listed = true;
        inner.ever_listed = true;
        let mut gone = Vec::new();
        inner.objects.retain(|key, entry| {
            let stays = entry.confirmed_by == number;
            if !stays {
                gone.push(key.clone());
            }
            stays
        });
        drop(inner);
        for key in gone {
            self.store.changes.mark(&key);
        }
        self.store.changes.listed();
        self.store.came.notify_waiters();
    }

    /// Replaces the state of the object with this uid by what `made` makes of it; of another object of that name nothing stays.
    pub(crate) fn change(
        &self,
        key: &ObjectKey,
        uid: &str,
        made: impl FnOnce(Option<&State>) -> State,
    ) {
        let mut inner = lock(&self.store.inner);
        let number = self.number();
        if inner.writer != number {
            return;
        }
        let before = inner.objects.get_mut(key);
        let same = before.as_ref().filter(|entry| entry.served.uid == uid);
        let state = made(same.map(|entry| &entry.served.state));
        if let Some(entry) = before
            && entry.served.uid == uid
            && entry.served.state == state
        {
            entry.confirmed_by = number;
            return;
        }
        let entry = Entry {
            served: Served {
                uid: uid.to_owned(),
                state,
            },
            confirmed_by: number,
        };
        inner.objects.insert(key.clone(), entry);
        drop(inner);
        self.store.changes.mark(key);
        self.store.came.notify_waiters();
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use sakidori_engine::Quantity;

    use super::*;

    fn key() -> ObjectKey {
        ObjectKey::new("shop", "web")
    }

    /// Serves one metric of `shop/web`.
    fn serve(writer: &Writer, uid: &str, value: i64) {
        let metrics = [("s0-a".to_owned(), false)];
        let interval = Duration::from_secs(30);
        let store = writer.store();
        let readings = store.readings(&key(), interval, metrics, |metric| {
            store.slot(&key(), uid, metric)
        });
        let slot = readings.slot("s0-a").unwrap();
        slot.record(Quantity::from_integer(value), Duration::ZERO);
        let state = State::Served {
            readings: Arc::new(readings),
            complaint: None,
        };
        writer.set(&key(), uid, state);
    }

    fn value(store: &Store, uid: &str) -> Option<Quantity> {
        let latest = store.slot(&key(), uid, "s0-a")?.latest();
        latest.reading.map(|taken| taken.value)
    }

    fn writer(store: &Arc<Store>) -> Writer {
        let writer = Writer::new(store.clone());
        writer.begin();
        writer
    }

    #[test]
    fn who_began_last_writes() {
        let store = Arc::new(Store::default());
        let never = Writer::new(store.clone());
        serve(&never, "1", 1);
        assert!(store.served(&key()).is_none());
        let former = writer(&store);
        serve(&former, "1", 2);
        let now = writer(&store);
        serve(&former, "2", 3);
        former.remove(&key());
        former.listed();
        assert!(!store.is_listed());
        assert_eq!(value(&store, "1"), Some(Quantity::from_integer(2)));
        assert!(value(&store, "2").is_none());
        now.listed();
        assert!(store.is_listed());
        assert!(
            store.served(&key()).is_none(),
            "an object that the new writer doesn't know is gone"
        );
    }

    #[test]
    fn a_followers_last_answer_does_not_silence_a_leader() {
        let store = Arc::new(Store::default());
        let leader = Writer::new(store.clone());
        leader.lead();
        let wishes = store.listen();
        // The follower had asked before, and is answered now.
        let follower = Writer::new(store.clone());
        assert!(!follower.begin());
        assert!(store.listen_as_follower().is_none());
        serve(&follower, "1", 1);
        assert!(store.served(&key()).is_none());
        serve(&leader, "1", 2);
        assert_eq!(value(&store, "1"), Some(Quantity::from_integer(2)));
        drop(wishes);
        store.follow();
        assert!(follower.begin());
        serve(&follower, "1", 3);
        assert_eq!(value(&store, "1"), Some(Quantity::from_integer(3)));
    }

    #[test]
    fn what_was_made_for_another_generation_is_another_source() {
        let store = Arc::new(Store::default());
        let writer = writer(&store);
        let metrics = [("s0-a".to_owned(), false)];
        let made = store.readings(&key(), Duration::from_secs(30), metrics, |_| None);
        let state = State::Served {
            readings: Arc::new(made.of_generation(3)),
            complaint: None,
        };
        writer.set(&key(), "1", state);
        let found = |uid, generation| {
            let slot = store.slot_of_generation(&key(), uid, generation, "s0-a");
            slot.is_some()
        };
        assert!(found("1", 3));
        assert!(!found("1", 4) && !found("2", 3));
    }

    #[test]
    fn what_was_served_stays_for_an_object_that_is_not_prepared_yet_and_is_the_same() {
        let store = Arc::new(Store::default());
        serve(&writer(&store), "1", 2);
        let leader = writer(&store);
        leader.set_unprepared(&key(), "1", Some("its Secret is missing".into()));
        leader.listed();
        assert_eq!(value(&store, "1"), Some(Quantity::from_integer(2)));
        leader.set(&key(), "1", State::Paused);
        assert_eq!(value(&store, "1"), None);
        serve(&leader, "1", 3);
        leader.set_unprepared(&key(), "2", None);
        assert_eq!(value(&store, "1"), None);
        assert_eq!(value(&store, "2"), None);
    }

    #[test]
    fn only_changes_are_told() {
        let store = Arc::new(Store::default());
        let leader = writer(&store);
        let told = store.subscribe();
        leader.set(&key(), "1", State::Paused);
        assert_eq!(told.take().len(), 1);
        leader.set(&key(), "1", State::Paused);
        assert_eq!(told.take().len(), 0);
        serve(&leader, "1", 1);
        assert_eq!(told.take().len(), 1);
        leader.remove(&key());
        leader.remove(&key());
        assert_eq!(told.take().len(), 1);
    }
}
