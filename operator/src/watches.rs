//! The cluster-wide watches: ScaledObjects and their HPAs. (What ScaledObjects refer to is watched by name: references/.)

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use sakidori_api::{ScaledObject, annotations, reasons};
use sakidori_engine::{Event, EventType, ObjectKey};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::api_error::plain_watch;
use crate::calendars::Calendars;
use crate::control::Events;
use crate::deletion::Finalizer;
use crate::events::EventPublisher;
use crate::hpa::Wanted;
use crate::hpa_index::{
    HpaIndex, ScalingActive, controlled_by, saturation, scaled_object_of, scaling_active,
};
use crate::lean::{self, LeanHpa, LeanScaledObject};
use crate::objects::{Change, Objects};
use crate::prometheus::Metrics;
use crate::references::References;
use crate::repairs::Repairs;
use crate::resize::Resizer;
use crate::status::StatusWriter;
use crate::target::kind_of;

/// Which namespaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    All,
    These(Vec<String>),
}

impl Namespaces {
    /// `WATCH_NAMESPACE`: a comma list; empty means all.
    pub fn parse(text: &str) -> Self {
        let names: Vec<String> = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            Self::All
        } else {
            Self::These(names)
        }
    }

    /// One API per watch.
    pub(crate) fn apis<K>(&self, client: &Client) -> Vec<(Option<String>, Api<K>)>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => vec![(None, Api::all(client.clone()))],
            Self::These(names) => names
                .iter()
                .map(|name| (Some(name.clone()), Api::namespaced(client.clone(), name)))
                .collect(),
        }
    }
}

/// Takes in what the watches show.
pub struct Watches {
    pub client: Client,
    pub namespaces: Namespaces,
    pub objects: Arc<Objects>,
    pub hpas: Arc<HpaIndex>,
    pub references: Arc<References>,
    pub calendars: Arc<Calendars>,
    pub status: Arc<StatusWriter>,
    pub metrics: Arc<Metrics>,
    pub finalizer: Arc<Finalizer>,
    pub resizer: Resizer,
    pub publisher: Arc<EventPublisher>,
    pub events: Events,
    pub repairs: Repairs,
    /// First lists that are not in yet, of ScaledObjects and HPAs together.
    pub unlisted: AtomicUsize,
}

impl Watches {
    /// Runs all watches until `shutdown`.
    ///
    /// HPAs are listed before ScaledObjects are looked at, so that after a restart an HPA that is as it should be is known
    /// and not written again.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let hpa_watches = self.namespaces.apis::<LeanHpa>(&self.client);
        let object_watches = self.namespaces.apis::<LeanScaledObject>(&self.client);
        self.unlisted
            .store(hpa_watches.len() + object_watches.len(), Ordering::SeqCst);
        let (hpas_listed, mut hpa_lists) =
            tokio::sync::mpsc::channel::<()>(hpa_watches.len().max(1));
        let expected = hpa_watches.len();
        let mut tasks = tokio::task::JoinSet::new();
        for (namespace, api) in hpa_watches {
            let (this, listed) = (self.clone(), hpas_listed.clone());
            tasks.spawn(async move { this.watch_hpas(namespace, api, listed).await });
        }
        tasks.spawn({
            let this = self.clone();
            async move {
                for _ in 0..expected {
                    hpa_lists.recv().await;
                }
                futures::future::join_all(
                    object_watches
                        .into_iter()
                        .map(|(namespace, api)| this.watch_objects(namespace, api)),
                )
                .await;
            }
        });
        shutdown.cancelled().await;
    }

    /// True once every first list is in.
    pub fn listed(&self) -> bool {
        self.unlisted.load(Ordering::SeqCst) == 0
    }

    fn one_listed(&self) {
        let left = self
            .unlisted
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                Some(left.saturating_sub(1))
            });
        if left == Ok(1) {
            self.objects.mark_listed();
        }
    }

    async fn watch_objects(&self, namespace: Option<String>, api: Api<LeanScaledObject>) {
        let mut listed = Vec::new();
        let mut first = true;
        let stream = watcher(api, watcher::Config::default());
        let mut stream = std::pin::pin!(resilient("ScaledObjects", stream));
        while let Some(event) = stream.next().await {
            match lean::unpacked::<_, ScaledObject>(event) {
                watcher::Event::Init => listed.clear(),
                watcher::Event::InitApply(object) => listed.push(object),
                watcher::Event::InitDone => {
                    let objects = std::mem::take(&mut listed);
                    let listed: HashSet<ObjectKey> = objects.iter().map(key_of).collect();
                    let here = |key: &ObjectKey| {
                        namespace
                            .as_deref()
                            .is_none_or(|namespace| namespace == &*key.namespace)
                    };
                    for key in self
                        .objects
                        .keys()
                        .into_iter()
                        .filter(|key| here(key) && !listed.contains(key))
                    {
                        self.object_deleted(&key);
                    }
                    // All are known before the first is prepared: whether two have one target is decided by who came first,
                    // not by who was listed first.
                    let changed: Vec<_> = objects
                        .into_iter()
                        .filter_map(|object| self.learn(object))
                        .collect();
                    for (key, object, change) in changed {
                        self.announce(key, &object, &change);
                    }
                    if std::mem::take(&mut first) {
                        info!(
                            namespace = namespace.as_deref().unwrap_or("all"),
                            objects = listed.len(),
                            "ScaledObjects are listed"
                        );
                        self.one_listed();
                    }
                }
                watcher::Event::Apply(object) => {
                    if let Some((key, object, change)) = self.learn(object) {
                        self.announce(key, &object, &change);
                    }
                }
                watcher::Event::Delete(object) => self.object_deleted(&key_of(&object)),
            }
        }
    }

    /// Puts an object into the index; `None` where nothing follows from it.
    fn learn(&self, object: ScaledObject) -> Option<(ObjectKey, Arc<ScaledObject>, Change)> {
        let key = key_of(&object);
        if object.metadata.deletion_timestamp.is_some() {
            self.object_deleted(&key);
            self.finalizer.finalize(object);
            return None;
        }
        let object = Arc::new(object);
        let before = self.objects.object(&key);
        let change = self.objects.apply(&key, object.clone());
        if matches!(change, Change::New | Change::Changed) {
            // Of the target that it had, and of the one that it wants.
            for object in before.iter().chain([&object]) {
                self.tell_rivals(&key, object);
            }
        }
        (change != Change::Unchanged).then_some((key, object, change))
    }

    /// Tells everyone of a new or changed object.
    fn announce(&self, key: ObjectKey, object: &Arc<ScaledObject>, change: &Change) {
        if *change == Change::New {
            // Another object under an old name starts from nothing.
            self.status.forget(&key);
            self.metrics.forget(&key);
        }
        if *change != Change::Relabelled {
            self.metrics.register(
                &key,
                object
                    .spec
                    .triggers
                    .iter()
                    .map(|trigger| trigger.type_.clone())
                    .collect(),
                object.switches().shown_as_paused(),
            );
        }
        // Before the engine, which tells of the object's sales at once.
        self.resizer.applied(&key, object.clone());
        let described = object.to_engine(&kind_of(&object.spec.scale_target_ref));
        let remembered = object
            .status
            .as_ref()
            .map(|status| status.to_remembered())
            .unwrap_or_default();
        self.events.send(Event::Applied {
            key: key.clone(),
            object: described,
            remembered,
        });
        if *change == Change::Relabelled {
            // The engine sees no labels and annotations, but the HPA has them too.
            self.events.send(Event::ReferenceChanged { key });
        }
    }

    fn object_deleted(&self, key: &ObjectKey) {
        let object = self.objects.object(key);
        if !self.objects.remove(key) {
            return;
        }
        self.events.send(Event::Deleted { key: key.clone() });
        self.resizer.deleted(key);
        if let Some(object) = &object {
            let publish = |kind, reason, message: &str| {
                self.publisher
                    .publish(object, kind, reason, message.to_owned())
            };
            // A paused object's were stopped before.
            if object.pause().is_none() {
                publish(
                    EventType::Normal,
                    reasons::SCALERS_STOPPED,
                    reasons::SCALERS_STOPPED_MESSAGE,
                );
            }
            publish(
                EventType::Warning,
                reasons::SCALED_OBJECT_DELETED,
                reasons::SCALED_OBJECT_DELETED_MESSAGE,
            );
        }
        self.repairs.forget(key);
        self.references.forget(key);
        self.calendars.forget(key);
        self.status.forget(key);
        self.metrics.forget(key);
        if let Some(object) = object {
            self.tell_rivals(key, &object);
        }
    }

    /// The object came, went or changed: others that want its target, or its HPA's name, are looked at again.
    fn tell_rivals(&self, key: &ObjectKey, before: &ScaledObject) {
        for other in self.objects.rivals(key, before) {
            self.events.send(Event::ReferenceChanged { key: other });
        }
    }

    async fn watch_hpas(
        &self,
        namespace: Option<String>,
        api: Api<LeanHpa>,
        first_list: tokio::sync::mpsc::Sender<()>,
    ) {
        let mut listed = HashSet::new();
        let mut first = true;
        let mut observed = HashMap::new();
        let config = watcher::Config::default().labels(annotations::SCALED_OBJECT_NAME);
        let mut stream =
            std::pin::pin!(resilient("HorizontalPodAutoscalers", watcher(api, config)));
        while let Some(event) = stream.next().await {
            match lean::unpacked::<_, HorizontalPodAutoscaler>(event) {
                watcher::Event::Init => listed.clear(),
                watcher::Event::InitApply(hpa) => {
                    listed.insert(crate::hpa_index::key_of(&hpa));
                    self.hpa_applied(hpa, &mut observed);
                }
                watcher::Event::InitDone => {
                    for gone in self.hpas.retain(namespace.as_deref(), &listed) {
                        self.hpa_gone(&gone, &mut observed);
                    }
                    if std::mem::take(&mut first) {
                        self.one_listed();
                        let _ = first_list.send(()).await;
                    }
                }
                watcher::Event::Apply(hpa) => self.hpa_applied(hpa, &mut observed),
                watcher::Event::Delete(hpa) => {
                    self.hpas.remove(&hpa);
                    self.hpa_gone(&hpa, &mut observed);
                }
            }
        }
    }

    fn hpa_applied(
        &self,
        hpa: HorizontalPodAutoscaler,
        observed: &mut HashMap<ObjectKey, ScalingActive>,
    ) {
        let hpa = self.hpas.insert(hpa);
        let Some(key) = scaled_object_of(&hpa) else {
            return;
        };
        // Where the pause overtook the watch, or someone made the HPA anew.
        if let Some(object) = self.objects.object(&key)
            && object.pause().is_some()
            && controlled_by(&hpa, object.metadata.uid.as_deref())
        {
            // While the pause removes it, it may still change: the line that tells of that is the deletion's.
            if self.repair(&key) {
                debug!(object = %key, hpa = hpa.name_any(), "a paused ScaledObject has an HPA; removing it");
            }
            return;
        }
        let Some(wanted) = self.wanted(&key, &hpa) else {
            return;
        };
        if !wanted.is_met_by(&hpa) {
            let reason = "HPARepaired";
            if self.repair(&key) {
                info!(object = %key, reason, hpa = hpa.name_any(), "the HPA is not as it should be; putting it back");
            }
        }
        if let Some(saturation) = saturation(&hpa) {
            self.resizer.saturated(&key, saturation);
        }
        if let Some(now) = scaling_active(&hpa)
            && observed.get(&key) != Some(&now)
        {
            observed.insert(key.clone(), now.clone());
            self.events.send(now.into_event(key));
        }
    }

    /// Lets the object be prepared anew because of its HPA, but not in a race with another writer: false while that is planned already.
    fn repair(&self, key: &ObjectKey) -> bool {
        let Some(wait) = self.repairs.wait(key, Instant::now()) else {
            return false;
        };
        let (events, key) = (self.events.clone(), key.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            events.send(Event::ReferenceChanged { key });
        });
        true
    }

    /// What the object asks for under the HPA's name.
    fn wanted(&self, key: &ObjectKey, hpa: &HorizontalPodAutoscaler) -> Option<Arc<Wanted>> {
        let wanted = self.objects.hpa(key)?;
        (wanted.desired.name_any() == hpa.name_any()).then_some(wanted)
    }

    fn hpa_gone(
        &self,
        hpa: &HorizontalPodAutoscaler,
        observed: &mut HashMap<ObjectKey, ScalingActive>,
    ) {
        let Some(key) = scaled_object_of(hpa) else {
            return;
        };
        observed.remove(&key);
        if self.wanted(&key, hpa).is_some() {
            info!(object = %key, reason = "HPARepaired", hpa = hpa.name_any(), "the HPA was deleted; making it anew");
            self.events.send(Event::ReferenceChanged { key });
        }
    }
}

/// Pauses between tries of a watch double from the first to the last: soon after the API server is back, everything is seen again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(2);

struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(LAST_PAUSE);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Failures in a row at which a watch tells: the first is routine (a server restarts, a definition has just come), and all is well again
/// half a second later.
const TOLD_AT: u32 = 2;
/// A try takes 10 s at most (to connect), and the next follows 2 s later: without a failure for longer than that, a watch works.
const WORKED_MEANWHILE: Duration = Duration::from_secs(60);

/// A watch that goes on after every error, with back-off, and says so once per spell of errors.
pub(crate) fn resilient<K>(
    what: &'static str,
    stream: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
) -> impl Stream<Item = watcher::Event<K>> + Send
where
    K: Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut failures: u32 = 0;
    let mut last = None::<Instant>;
    stream
        .backoff(Pauses::default())
        .map(move |event| {
            match &event {
                // Only says that the list is asked for.
                Ok(watcher::Event::Init) => {}
                Ok(_) => {
                    if std::mem::take(&mut failures) >= TOLD_AT {
                        info!(what, "watching again");
                    }
                }
                Err(error) => {
                    // A watch that works and has nothing to show says nothing.
                    if last.is_some_and(|last| last.elapsed() > WORKED_MEANWHILE) {
                        failures = 0;
                    }
                    last = Some(Instant::now());
                    failures = failures.saturating_add(1);
                    let error = plain_watch(error);
                    if failures == TOLD_AT {
                        warn!(what, error, "watching fails; trying again");
                    } else {
                        debug!(what, error, failures, "watching failed");
                    }
                }
            }
            event
        })
        .into_stream()
        .filter_map(|event| std::future::ready(event.ok()))
}

fn key_of(object: &ScaledObject) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watch_namespace_is_a_comma_list_and_empty_means_all() {
        assert_eq!(Namespaces::parse(""), Namespaces::All);
        assert_eq!(Namespaces::parse(" , "), Namespaces::All);
        assert_eq!(
            Namespaces::parse("shop, pay"),
            Namespaces::These(vec!["shop".into(), "pay".into()])
        );
    }
}
