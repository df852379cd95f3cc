//! Watches both kinds of calendars, and gives each calendar its task.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::future::{join, join_all};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ApiResource;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use sakidori_api::{ClusterSaleCalendar, SaleCalendar, SaleCalendarSpec, SaleCalendarStatus};
use sakidori_engine::ObjectKey;
use sakidori_scalers::clients::Clients;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::calendar::{self, Message};
use super::{CalendarMetrics, CalendarRef, Calendars, lock};
use crate::clock::Clock;
use crate::events::EventPublisher;
use crate::references::References;
use crate::watches::{Namespaces, resilient};

/// What every calendar's task works with.
pub struct Around {
    pub client: Client,
    pub calendars: Arc<Calendars>,
    /// Its own, whose owners are sources of calendars.
    pub references: References,
    pub clients: Arc<Clients>,
    pub publisher: Arc<EventPublisher>,
    pub metrics: CalendarMetrics,
    pub clock: Clock,
    /// Where ClusterSaleCalendars have what they refer to.
    pub cluster_object_namespace: String,
}

/// A calendar as the watch shows it.
pub struct Seen {
    pub calendar: CalendarRef,
    pub uid: String,
    pub generation: Option<i64>,
    pub regarding: ObjectReference,
    pub spec: SaleCalendarSpec,
    pub status: SaleCalendarStatus,
}

struct Task {
    uid: String,
    generation: Option<i64>,
    messages: mpsc::UnboundedSender<Message>,
    _running: AbortOnDropHandle<()>,
}

/// Follows all calendars.
pub struct Follower {
    pub around: Arc<Around>,
    pub namespaces: Namespaces,
    tasks: Mutex<HashMap<CalendarRef, Task>>,
}

/// The owner of a source's references. No name of an object has a slash.
pub fn owner(around: &Around, calendar: &CalendarRef, source: &str) -> ObjectKey {
    let namespace = if calendar.cluster {
        &around.cluster_object_namespace
    } else {
        &calendar.namespace
    };
    let name = format!("{}/{}/{source}", calendar.kind(), calendar.name);
    ObjectKey::new(namespace.as_str(), name)
}

impl Follower {
    pub fn new(around: Around, namespaces: Namespaces) -> Self {
        Self {
            around: Arc::new(around),
            namespaces,
            tasks: Mutex::default(),
        }
    }

    /// Runs until `shutdown`. `changed` is where the references tell of changes.
    pub async fn run(
        self,
        mut changed: mpsc::UnboundedReceiver<ObjectKey>,
        shutdown: CancellationToken,
    ) {
        let own = self.namespaces.apis::<SaleCalendar>(&self.around.client);
        let own = own
            .into_iter()
            .map(|(namespace, api)| self.follow("SaleCalendars", false, namespace, api, seen_own));
        let cluster = Api::<ClusterSaleCalendar>::all(self.around.client.clone());
        let cluster = self.follow("ClusterSaleCalendars", true, None, cluster, seen_cluster);
        let references = async {
            while let Some(owner) = changed.recv().await {
                self.reference_changed(&owner);
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = join(join(join_all(own), cluster), references) => {}
        }
    }

    async fn follow<K>(
        &self,
        what: &'static str,
        cluster: bool,
        namespace: Option<String>,
        api: Api<K>,
        seen: fn(K) -> Seen,
    ) where
        K: Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
    {
        let mut events = pin!(resilient(what, watcher(api, Config::default())));
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    let seen = seen(object);
                    listed.insert(seen.calendar.clone());
                    self.applied(seen);
                }
                Event::InitDone => {
                    let here = |calendar: &CalendarRef| {
                        calendar.cluster == cluster
                            && namespace
                                .as_ref()
                                .is_none_or(|namespace| *namespace == calendar.namespace)
                    };
                    let known: Vec<_> = lock(&self.tasks).keys().cloned().collect();
                    for calendar in known {
                        if here(&calendar) && !listed.contains(&calendar) {
                            self.deleted(&calendar);
                        }
                    }
                }
                Event::Apply(object) => self.applied(seen(object)),
                Event::Delete(object) => self.deleted(&seen(object).calendar),
            }
        }
    }

    fn applied(&self, seen: Seen) {
        let mut tasks = lock(&self.tasks);
        if let Some(task) = tasks.get_mut(&seen.calendar)
            && task.uid == seen.uid
        {
            // Its status alone, which is ours.
            if task.generation == seen.generation && seen.generation.is_some() {
                return;
            }
            task.generation = seen.generation;
            // A task that ended is none of ours any more: the operator is shutting down.
            let _ = task.messages.send(Message::Respecified(Box::new(seen)));
            return;
        }
        let calendar = seen.calendar.clone();
        let (messages, received) = mpsc::unbounded_channel();
        let task = Task {
            uid: seen.uid.clone(),
            generation: seen.generation,
            messages,
            _running: AbortOnDropHandle::new(tokio::spawn(calendar::run(
                self.around.clone(),
                seen,
                received,
            ))),
        };
        tasks.insert(calendar, task);
    }

    fn deleted(&self, calendar: &CalendarRef) {
        // First its task, which may not write anything back.
        if lock(&self.tasks).remove(calendar).is_none() {
            return;
        }
        let (object, kind) = (calendar.object(), calendar.kind());
        tracing::info!(
            object,
            kind,
            reason = "CalendarDeleted",
            "the calendar was deleted"
        );
        self.around.calendars.gone(calendar);
        self.around.metrics.forget(calendar);
    }

    /// Lets the source that `owner` stands for be read again.
    fn reference_changed(&self, owner: &ObjectKey) {
        let mut parts = owner.name.splitn(3, '/');
        let (Some(kind), Some(name), Some(source)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let cluster = kind == "ClusterSaleCalendar";
        let calendar = CalendarRef {
            cluster,
            namespace: if cluster {
                String::new()
            } else {
                owner.namespace.to_string()
            },
            name: name.to_owned(),
        };
        match lock(&self.tasks).get(&calendar) {
            Some(task) => drop(task.messages.send(Message::Refresh(source.to_owned()))),
            None => self.around.references.forget(owner),
        }
    }
}

fn seen_own(object: SaleCalendar) -> Seen {
    Seen {
        calendar: CalendarRef {
            cluster: false,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        },
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation,
        regarding: object.object_ref(&()),
        spec: object.spec,
        status: object.status.unwrap_or_default(),
    }
}

fn seen_cluster(object: ClusterSaleCalendar) -> Seen {
    Seen {
        calendar: CalendarRef {
            cluster: true,
            namespace: String::new(),
            name: object.name_any(),
        },
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation,
        regarding: object.object_ref(&()),
        spec: object.spec.0,
        status: object.status.unwrap_or_default(),
    }
}

/// Where the status of a calendar is written.
pub fn resource(calendar: &CalendarRef) -> ApiResource {
    if calendar.cluster {
        ApiResource::erase::<ClusterSaleCalendar>(&())
    } else {
        ApiResource::erase::<SaleCalendar>(&())
    }
}
