//! The connections of one server, within a bound. Anybody who reaches the port may open some and say nothing, so no number of these
//! may keep others out: when all places are taken, a new connection gets that of one which does nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// That places run out is told this often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The places for connections.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Inner>);

struct Inner {
    places: usize,
    taken: Mutex<Taken>,
    /// A connection ended, or a request did: there may be a place.
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    next: u64,
    by: HashMap<u64, Arc<Activity>>,
    /// When it was last told that there is no place left.
    told: Option<Instant>,
}

/// What a connection does. It ends where `given_up` says so.
pub(crate) struct Activity {
    requests: AtomicUsize,
    last: Mutex<Last>,
    given_up: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Last {
    /// Whoever never asked for anything goes first,
    has_asked: bool,
    /// then who has been silent the longest.
    at: Instant,
}

/// A connection's place, until it is dropped.
pub(crate) struct Place {
    connections: Connections,
    id: u64,
    pub(crate) activity: Arc<Activity>,
}

impl Connections {
    pub(crate) fn new(places: usize) -> Self {
        Self(Arc::new(Inner {
            places,
            taken: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection. Waits only while every connection has a request under way.
    pub(crate) async fn place(&self) -> Place {
        loop {
            let freed = self.0.freed.notified();
            if let Some(place) = self.try_place() {
                return place;
            }
            freed.await;
        }
    }

    fn try_place(&self) -> Option<Place> {
        let mut taken = self.taken();
        if taken.by.len() >= self.0.places {
            if taken.told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
                taken.told = Some(Instant::now());
                tracing::warn!(
                    "all {} places for connections are taken: a new one gets that of one that does nothing",
                    self.0.places
                );
            }
            let idle = taken
                .by
                .iter()
                .filter(|(_, activity)| activity.requests.load(Ordering::Relaxed) == 0);
            let (id, activity) = idle.min_by_key(|(_, activity)| activity.last())?;
            activity.given_up.cancel();
            let id = *id;
            taken.by.remove(&id);
        }
        let id = taken.next;
        taken.next += 1;
        let activity = Arc::new(Activity {
            requests: AtomicUsize::new(0),
            last: Mutex::new(Last {
                has_asked: false,
                at: Instant::now(),
            }),
            given_up: CancellationToken::new(),
        });
        taken.by.insert(id, Arc::clone(&activity));
        Some(Place {
            connections: self.clone(),
            id,
            activity,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.taken().by.remove(&self.id);
        self.connections.0.freed.notify_one();
    }
}

impl Place {
    /// Notes that a request is under way, until what it gives is dropped.
    pub(crate) fn request(&self) -> Requested {
        self.activity.requests.fetch_add(1, Ordering::Relaxed);
        self.activity.heard();
        Requested {
            connections: self.connections.clone(),
            activity: Arc::clone(&self.activity),
        }
    }
}

/// A request under way.
pub(crate) struct Requested {
    connections: Connections,
    activity: Arc<Activity>,
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.activity.heard();
        self.activity.requests.fetch_sub(1, Ordering::Relaxed);
        self.connections.0.freed.notify_one();
    }
}

impl Activity {
    fn last(&self) -> Last {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last {
            has_asked: true,
            at: Instant::now(),
        };
    }

    pub(crate) fn has_asked(&self) -> bool {
        self.last().has_asked
    }

    /// Another connection has got this one's place.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn is_given_up(place: &Place) -> bool {
        place.activity.given_up.is_cancelled()
    }

    #[tokio::test]
    async fn a_new_connection_gets_the_place_of_one_that_does_nothing() {
        let connections = Connections::new(3);
        let (busy, asked, silent) = (
            connections.place().await,
            connections.place().await,
            connections.place().await,
        );
        let under_way = busy.request();
        drop(asked.request());
        // The one that never asked, though the other is older; then the one that asked.
        let next = connections.place().await;
        assert!(is_given_up(&silent) && !is_given_up(&asked) && !is_given_up(&busy));
        let request = next.request();
        let last = connections.place().await;
        assert!(is_given_up(&asked) && !is_given_up(&next) && !is_given_up(&busy));
        let last_request = last.request();
        // All have something under way: the next waits until one hasn't.
        let waiting = timeout(Duration::from_millis(50), connections.place()).await;
        assert!(waiting.is_err());
        drop(request);
        let place = connections.place().await;
        assert!(is_given_up(&next) && !is_given_up(&busy));
        drop((under_way, last_request, silent, asked, next));
        assert_eq!(connections.taken().by.len(), 3);
        drop((busy, last, place));
        assert_eq!(connections.taken().by.len(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_gets_a_place_when_one_ends() {
        let connections = Connections::new(1);
        let only = connections.place().await;
        let under_way = only.request();
        let waiting = tokio::spawn({
            let connections = connections.clone();
            async move { drop(connections.place().await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(under_way);
        timeout(Duration::from_secs(5), waiting)
            .await
            .unwrap()
            .unwrap();
        assert!(is_given_up(&only));
    }
}
