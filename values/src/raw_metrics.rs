//! KEDA's raw metrics: what polls read, for whoever has subscribed to a trigger.
//!
//! A subscriber names triggers, and takes from its queue what polls of these triggers read. Nothing here waits: a poll puts in what it
//! read and goes on, and costs nothing while nobody has subscribed. All numbers are bounded, because subscribers are other programs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::keda::{RawMetric, RawMetricsResponse, ScaledObjectRef};
use crate::lock::lock;

mod mode;
#[cfg(test)]
mod tests;

pub use mode::RawMetricsMode;

/// Tools that look into an autoscaler are a handful in a cluster.
const SUBSCRIBERS: usize = 100;
/// Of all subscribers: one that wants all triggers of a very large cluster.
const SUBSCRIPTIONS: usize = 20_000;
/// Of all subscribers, also those whose subscriber is forgotten already.
const STREAMS: usize = 100;
/// Longer is no name of a Kubernetes object, and no sensible one of a trigger or a subscriber.
const LONGEST_NAME: usize = 253;
/// What waits for one subscriber: the burst after a restart, when a thousand objects are read at once. More is dropped.
const QUEUE: usize = 1000;
/// So many may wait for as long as they like, as in KEDA.
const MAY_WAIT: usize = 4;
/// A subscriber for whom more wait, and who takes nothing for so long, is unsubscribed from everything, as in KEDA.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// A tool that restarts is back by then.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// A trigger, by the name that subscribers know it by: its own, else KEDA's name for its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TriggerName {
    pub namespace: String,
    /// The ScaledObject.
    pub object: String,
    pub trigger: String,
}

/// What one poll read of one trigger.
#[derive(Clone, Copy, Debug)]
pub struct TriggerRead<'a> {
    pub namespace: &'a str,
    pub object: &'a str,
    pub trigger: &'a str,
    /// Each metric's value, and whether it is active.
    pub values: &'a [(f64, bool)],
    /// When the source was asked.
    pub asked: Timestamp,
    /// The object's `pollingInterval`.
    pub interval: Duration,
    /// An HPA's read was the reason to poll.
    pub for_hpa: bool,
}

/// One of the bounds on what subscribers may hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there are {0} {1} already, and no more are kept")]
    TooMany(usize, &'static str),
    #[error("a name of {0} bytes: at most {LONGEST_NAME} are expected")]
    TooLong(usize),
}

/// Polls on one side, subscribers on the other.
pub struct RawMetrics {
    mode: RawMetricsMode,
    /// Looked at by every poll, before anything else is done.
    subscriptions: AtomicUsize,
    streams: AtomicUsize,
    subscribers: Mutex<Subscribers>,
}

#[derive(Default)]
struct Subscribers {
    by_name: HashMap<Arc<str>, Subscriber>,
    triggers: HashMap<Arc<TriggerName>, Subscribed>,
    /// Of all triggers together.
    subscriptions: usize,
}

struct Subscriber {
    triggers: HashSet<Arc<TriggerName>>,
    waiting: mpsc::Sender<Arc<RawMetricsResponse>>,
    queue: Arc<Queue>,
    streams: usize,
    /// Counts while there is no stream.
    without_stream_since: Instant,
    stalled_since: Option<Instant>,
}

/// The end that streams take from. Where one subscriber has several, each message goes to one of them, as in KEDA.
struct Queue {
    messages: tokio::sync::Mutex<mpsc::Receiver<Arc<RawMetricsResponse>>>,
    /// Since the last poll.
    was_taken_from: AtomicBool,
}

/// A trigger that somebody has subscribed to.
#[derive(Default)]
struct Subscribed {
    by: BTreeSet<Arc<str>>,
    /// With `RAW_METRICS_MODE=pollinginterval`, when the next reading is sent.
    due: Option<Instant>,
}

impl RawMetrics {
    pub fn new(mode: RawMetricsMode) -> Self {
        Self {
            mode,
            subscriptions: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            subscribers: Mutex::default(),
        }
    }

    /// Subscribes; true where that was so already. The trigger need not exist.
    ///
    /// # Errors
    /// When one of the bounds is reached.
    pub fn subscribe(
        &self,
        subscriber: &str,
        trigger: TriggerName,
        now: Instant,
    ) -> Result<bool, Refused> {
        for name in [
            subscriber,
            &trigger.namespace,
            &trigger.object,
            &trigger.trigger,
        ] {
            check_length(name)?;
        }
        let mut subscribers = self.lock();
        let known = subscribers.by_name.get(subscriber);
        if known.is_some_and(|known| known.triggers.contains(&trigger)) {
            return Ok(true);
        }
        subscribers.forget_absent(now);
        if subscribers.subscriptions >= SUBSCRIPTIONS {
            return Err(Refused::TooMany(SUBSCRIPTIONS, "subscriptions"));
        }
        let (name, _) = subscribers.introduce(subscriber, now)?;
        subscribers.add(name, trigger);
        self.count(&subscribers);
        Ok(false)
    }

    /// Ends a subscription; false where there was none. With the last one, the subscriber's streams end.
    pub fn unsubscribe(&self, subscriber: &str, trigger: &TriggerName) -> bool {
        let mut subscribers = self.lock();
        let was_subscribed = subscribers.remove(subscriber, trigger);
        self.count(&subscribers);
        was_subscribed
    }

    /// A stream of what is read for this subscriber, who may subscribe before or after.
    ///
    /// # Errors
    /// When one of the bounds is reached.
    pub fn open(self: &Arc<Self>, subscriber: &str, now: Instant) -> Result<RawStream, Refused> {
        check_length(subscriber)?;
        let mut subscribers = self.lock();
        // Under the lock, so that two don't take the last one.
        if self.streams() >= STREAMS {
            return Err(Refused::TooMany(STREAMS, "streams"));
        }
        subscribers.forget_absent(now);
        let (name, known) = subscribers.introduce(subscriber, now)?;
        known.streams += 1;
        let queue = known.queue.clone();
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.count(&subscribers);
        Ok(RawStream {
            raw: self.clone(),
            subscriber: name,
            queue,
        })
    }

    /// Forgets all subscribers, whose streams end: for the end of a term of leading, since who leads next knows none of them.
    pub fn forget_all(&self) {
        let mut subscribers = self.lock();
        *subscribers = Subscribers::default();
        self.count(&subscribers);
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Tells subscribers what a poll read.
    pub fn publish(&self, read: &TriggerRead<'_>, now: Instant) {
        let nobody = self.subscriptions.load(Ordering::Relaxed) == 0;
        // What is no number is none for the HPA either.
        if nobody || !read.values.iter().any(|(value, _)| value.is_finite()) {
            return;
        }
        let trigger = TriggerName {
            namespace: read.namespace.to_owned(),
            object: read.object.to_owned(),
            trigger: read.trigger.to_owned(),
        };
        let mut subscribers = self.lock();
        let Some(subscribed) = subscribers.triggers.get_mut(&trigger) else {
            return;
        };
        if !self
            .mode
            .sends(read.for_hpa, &mut subscribed.due, read.interval, now)
        {
            return;
        }
        let message = Arc::new(message(&trigger, read));
        for name in subscribed.by.clone() {
            let Some(subscriber) = subscribers.by_name.get_mut(&name) else {
                continue;
            };
            // A full queue is one of a subscriber who is about to be found stalled, or who may lose what it can't take.
            let _ = subscriber.waiting.try_send(message.clone());
            if subscriber.is_stalled(now) {
                tracing::info!(
                    subscriber = &*name,
                    "a subscriber takes no raw metrics any more: it is unsubscribed from all"
                );
                subscribers.forget(&name);
            }
        }
        self.count(&subscribers);
    }

    fn count(&self, subscribers: &Subscribers) {
        self.subscriptions
            .store(subscribers.subscriptions, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        lock(&self.subscribers)
    }
}

impl Subscribers {
    /// The subscriber, and the name under which it is known; from now on, where it wasn't.
    fn introduce(
        &mut self,
        subscriber: &str,
        now: Instant,
    ) -> Result<(Arc<str>, &mut Subscriber), Refused> {
        let name = match self.by_name.get_key_value(subscriber) {
            Some((name, _)) => name.clone(),
            None if self.by_name.len() >= SUBSCRIBERS => {
                return Err(Refused::TooMany(SUBSCRIBERS, "subscribers"));
            }
            None => subscriber.into(),
        };
        let known = self.by_name.entry(name.clone());
        Ok((name, known.or_insert_with(|| Subscriber::new(now))))
    }

    fn add(&mut self, subscriber: Arc<str>, trigger: TriggerName) {
        let trigger = match self.triggers.get_key_value(&trigger) {
            Some((known, _)) => known.clone(),
            None => Arc::new(trigger),
        };
        if let Some(known) = self.by_name.get_mut(&subscriber) {
            known.triggers.insert(trigger.clone());
            let subscribed = self.triggers.entry(trigger).or_default();
            if subscribed.by.insert(subscriber) {
                self.subscriptions += 1;
            }
        }
    }

    fn remove(&mut self, subscriber: &str, trigger: &TriggerName) -> bool {
        let Some(known) = self.by_name.get_mut(subscriber) else {
            return false;
        };
        if !known.triggers.remove(trigger) {
            return false;
        }
        if known.triggers.is_empty() {
            self.by_name.remove(subscriber);
        }
        self.leave(subscriber, trigger);
        true
    }

    /// Drops a subscriber with all its subscriptions: what waits is taken by its streams, which end then.
    fn forget(&mut self, subscriber: &str) {
        let Some(forgotten) = self.by_name.remove(subscriber) else {
            return;
        };
        for trigger in &forgotten.triggers {
            self.leave(subscriber, trigger);
        }
    }

    fn leave(&mut self, subscriber: &str, trigger: &TriggerName) {
        if let Some(subscribed) = self.triggers.get_mut(trigger) {
            if subscribed.by.remove(subscriber) {
                self.subscriptions -= 1;
            }
            if subscribed.by.is_empty() {
                self.triggers.remove(trigger);
            }
        }
    }

    /// Makes room: who has had no stream for long doesn't come back.
    fn forget_absent(&mut self, now: Instant) {
        let absent: Vec<_> = self
            .by_name
            .iter()
            .filter(|(_, subscriber)| subscriber.is_absent(now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in absent {
            self.forget(&name);
        }
    }
}

impl Subscriber {
    fn new(now: Instant) -> Self {
        let (waiting, messages) = mpsc::channel(QUEUE);
        Self {
            triggers: HashSet::new(),
            waiting,
            queue: Arc::new(Queue {
                messages: tokio::sync::Mutex::new(messages),
                was_taken_from: AtomicBool::new(false),
            }),
            streams: 0,
            without_stream_since: now,
            stalled_since: None,
        }
    }

    fn is_absent(&self, now: Instant) -> bool {
        self.streams == 0
            && now.saturating_duration_since(self.without_stream_since) >= FORGOTTEN_AFTER
    }

    fn is_stalled(&mut self, now: Instant) -> bool {
        let waiting = self.waiting.max_capacity() - self.waiting.capacity();
        let was_taken_from = self.queue.was_taken_from.swap(false, Ordering::Relaxed);
        if waiting <= MAY_WAIT || was_taken_from {
            self.stalled_since = None;
            return false;
        }
        let since = *self.stalled_since.get_or_insert(now);
        now.saturating_duration_since(since) >= STALLED_AFTER
    }
}

/// What is read for one subscriber, from now on.
pub struct RawStream {
    raw: Arc<RawMetrics>,
    subscriber: Arc<str>,
    queue: Arc<Queue>,
}

impl RawStream {
    /// The next message; none when the subscriber is unsubscribed from everything.
    pub async fn next(&self) -> Option<Arc<RawMetricsResponse>> {
        let message = self.queue.messages.lock().await.recv().await;
        self.queue.was_taken_from.store(true, Ordering::Relaxed);
        message
    }
}

impl Drop for RawStream {
    /// Subscriptions stay, so that a tool that connects again goes on where it was.
    fn drop(&mut self) {
        self.raw.streams.fetch_sub(1, Ordering::Relaxed);
        let mut subscribers = self.raw.lock();
        let Some(subscriber) = subscribers.by_name.get_mut(&self.subscriber) else {
            return;
        };
        // It may be another one of that name by now.
        if !Arc::ptr_eq(&subscriber.queue, &self.queue) {
            return;
        }
        subscriber.streams -= 1;
        subscriber.without_stream_since = Instant::now();
        if subscriber.streams == 0 && subscriber.triggers.is_empty() {
            subscribers.by_name.remove(&self.subscriber);
        }
    }
}

fn check_length(name: &str) -> Result<(), Refused> {
    match name.len() {
        length if length > LONGEST_NAME => Err(Refused::TooLong(length)),
        _ => Ok(()),
    }
}

/// KEDA says the trigger's name where the field is called metricName.
fn message(trigger: &TriggerName, read: &TriggerRead<'_>) -> RawMetricsResponse {
    let named = ScaledObjectRef {
        name: trigger.object.clone(),
        namespace: trigger.namespace.clone(),
        metric_name: trigger.trigger.clone(),
    };
    let metric = |(value, is_active)| RawMetric {
        value,
        timestamp: Some(prost_types::Timestamp {
            seconds: read.asked.as_second(),
            nanos: read.asked.subsec_nanosecond(),
        }),
        metadata: Some(named.clone()),
        is_active,
    };
    let values = read.values.iter().filter(|(value, _)| value.is_finite());
    RawMetricsResponse {
        metrics: values.copied().map(metric).collect(),
    }
}
