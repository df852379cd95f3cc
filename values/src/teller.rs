//! Tells followers what this process serves, while it leads.
//!
//! A follower is told each object as it is when its turn comes ([`Telling`]). Of what changes meanwhile only the names are kept, so a slow
//! follower holds up nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{FutureExt, Stream, stream};
use prost::Message;
use sakidori_engine::ObjectKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tonic::{Request, Response, Status, Streaming};

use crate::counts::Counts;
use crate::store::Store;
use crate::telling::Telling;
use crate::wire::told::What;
use crate::wire::values_server::{Values, ValuesServer};
use crate::wire::{Heartbeat, Released, Told, Wanted};

/// Processes that may follow at the same time: replicas and metrics adapters, and some whose connection ended and isn't missed yet.
const FOLLOWERS: usize = 64;
/// A follower names an object: 253 bytes are a name's limit in Kubernetes, and 63 a namespace's.
const LARGEST_WISH: usize = 1024;
/// Followers give up a stream that is silent for five of these.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Changes are told together that come in this time: the triggers of an object answer one after the other.
const GATHER: Duration = Duration::from_millis(10);

/// Whether this process leads, as its followers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Follows,
    Leads,
    /// It led, and has given up the Lease.
    Released,
}

/// The service that followers ask. Cheap to clone.
#[derive(Clone)]
pub struct Teller(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    counts: Arc<Counts>,
    standing: watch::Sender<Standing>,
    /// The address of who leads, where it is known.
    leader: watch::Receiver<Option<String>>,
    places: Arc<Semaphore>,
}

impl Teller {
    pub fn new(
        store: Arc<Store>,
        counts: Arc<Counts>,
        leader: watch::Receiver<Option<String>>,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            counts,
            standing: watch::Sender::new(Standing::Follows),
            leader,
            places: Arc::new(Semaphore::new(FOLLOWERS)),
        }))
    }

    /// This process leads: it may be followed.
    pub fn lead(&self) {
        self.0.standing.send_replace(Standing::Leads);
    }

    /// This process leads no more: its followers have to look for another.
    pub fn stop(&self) {
        self.0.standing.send_replace(Standing::Follows);
    }

    /// The same, after the Lease was given up: its followers may try to lead at once.
    pub fn release(&self) {
        self.0.standing.send_replace(Standing::Released);
    }

    pub fn service(&self) -> ValuesServer<Self> {
        ValuesServer::new(self.clone()).max_decoding_message_size(LARGEST_WISH)
    }

    fn refusal(&self) -> Status {
        let leads = match &*self.0.leader.borrow() {
            Some(leader) => format!("; {leader} does, as far as it knows"),
            None => String::new(),
        };
        Status::failed_precondition(format!("this replica does not lead{leads}"))
    }
}

type ToldStream = Pin<Box<dyn Stream<Item = Result<Told, Status>> + Send>>;

#[tonic::async_trait]
impl Values for Teller {
    type FollowStream = ToldStream;

    async fn follow(
        &self,
        request: Request<Streaming<Wanted>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let standing = self.0.standing.subscribe();
        if *standing.borrow() != Standing::Leads {
            return Err(self.refusal());
        }
        let Ok(place) = self.0.places.clone().try_acquire_owned() else {
            return Err(Status::resource_exhausted(format!(
                "{FOLLOWERS} processes follow already"
            )));
        };
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let followed = Followed {
            teller: self.clone(),
            telling: Telling::new(self.0.store.clone()),
            ended: false,
            standing,
            heartbeat,
            wanted: request.into_inner(),
            _counted: Counted::new(self.0.counts.clone()),
            _place: place,
        };
        let told = stream::unfold(followed, |mut followed| async move {
            let told = followed.tell().await?;
            Some((told, followed))
        });
        Ok(Response::new(Box::pin(told)))
    }
}

/// One follower's stream.
struct Followed {
    teller: Teller,
    telling: Telling,
    ended: bool,
    standing: watch::Receiver<Standing>,
    heartbeat: Interval,
    wanted: Streaming<Wanted>,
    _counted: Counted,
    _place: OwnedSemaphorePermit,
}

impl Followed {
    /// What the follower is told next; `None` at the end.
    async fn tell(&mut self) -> Option<Result<Told, Status>> {
        if self.ended {
            return None;
        }
        let what = loop {
            let standing = *self.standing.borrow_and_update();
            match standing {
                Standing::Leads => {}
                Standing::Released => {
                    self.ended = true;
                    break What::Released(Released {});
                }
                Standing::Follows => {
                    self.ended = true;
                    return Some(Err(self.teller.refusal()));
                }
            }
            // Also while there is much to tell: a read waits for it.
            if let Some(wanted) = self.wanted.message().now_or_never() {
                self.heed(wanted)?;
            }
            if let Some(what) = self.telling.next() {
                break what;
            }
            tokio::select! {
                biased;
                _ = self.standing.changed() => {}
                _ = self.heartbeat.tick() => break What::Heartbeat(Heartbeat {}),
                wanted = self.wanted.message() => self.heed(wanted)?,
                () = self.telling.changed() => sleep(GATHER).await,
            }
        };
        let told = Told { what: Some(what) };
        let counts = &self.teller.0.counts;
        counts.told.fetch_add(1, Ordering::Relaxed);
        counts
            .told_bytes
            .fetch_add(told.encoded_len() as u64, Ordering::Relaxed);
        Some(Ok(told))
    }
}

impl Followed {
    /// Notes a wish; `None` where the follower is gone, or says what is no wish.
    fn heed(&self, wanted: Result<Option<Wanted>, Status>) -> Option<()> {
        let wanted = wanted.ok().flatten()?;
        let key = ObjectKey::new(wanted.namespace, wanted.name);
        self.teller.0.store.want_known(&key);
        Some(())
    }
}

/// One more follower, until it is dropped.
struct Counted(Arc<Counts>);

impl Counted {
    fn new(counts: Arc<Counts>) -> Self {
        counts.followers.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}
