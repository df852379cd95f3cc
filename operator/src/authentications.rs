//! TriggerAuthentications and ClusterTriggerAuthentications as objects: who uses them stands in their status, Events tell of
//! their changes, and those that came from KEDA are let go of (`left_by_keda.rs`). What is in them is `authentication.rs`'s.
//!
//! Kept of each is little more than its name. KEDA's Events are also published for what it finds at its start; here only for what
//! happens while the operator looks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use sakidori_api::{ClusterTriggerAuthentication, ScaledObject, TriggerAuthentication, reasons};
use sakidori_engine::{EventType, Spell};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::api_error::plain;
use crate::events::EventPublisher;
use crate::left_by_keda::{is_held, release};
use crate::lock::lock;
use crate::objects::Objects;
use crate::watches::{Namespaces, Watches, resilient};

/// Changes that come together are one look at all users.
const TOGETHER: Duration = Duration::from_millis(500);
/// After a write that failed.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The namespace, `None` for a ClusterTriggerAuthentication, and the name.
type Key = (Option<String>, String);

/// How log lines name it: its kind, and what it is among those.
fn named((namespace, name): &Key) -> (&'static str, String) {
    match namespace {
        Some(namespace) => ("TriggerAuthentication", format!("{namespace}/{name}")),
        None => ("ClusterTriggerAuthentication", name.clone()),
    }
}
/// The names of those that use each.
type Users = HashMap<Key, BTreeSet<String>>;

/// Those that there are. Cheap to clone.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<HashMap<Key, Seen>>>);

impl Known {
    /// How many there are, by the word for their kind in KEDA's metrics, and namespace.
    pub fn count(&self) -> BTreeMap<(&'static str, String), usize> {
        let mut count = BTreeMap::new();
        for (namespace, _) in lock(&self.0).keys() {
            let kind = match namespace {
                Some(_) => "trigger_authentication",
                None => "cluster_trigger_authentication",
            };
            *count
                .entry((kind, namespace.clone().unwrap_or_default()))
                .or_default() += 1;
        }
        count
    }
}

/// What is kept of one.
struct Seen {
    uid: Option<String>,
    generation: Option<i64>,
    /// `status.scaledobjects`.
    users: String,
}

/// Follows all authentications.
pub struct Authentications {
    pub client: Client,
    pub namespaces: Namespaces,
    pub objects: Arc<Objects>,
    pub publisher: Arc<EventPublisher>,
    /// Whether all ScaledObjects are known.
    pub watches: Arc<Watches>,
    seen: Known,
    changed: Notify,
}

/// One of the two kinds, and the words for it.
struct Kind {
    plural: &'static str,
    name: &'static str,
    resource: ApiResource,
    added: &'static str,
    deleted: &'static str,
}

impl Kind {
    fn own() -> Self {
        Self {
            plural: "TriggerAuthentications",
            name: "TriggerAuthentication",
            resource: ApiResource::erase::<TriggerAuthentication>(&()),
            added: reasons::TRIGGER_AUTHENTICATION_ADDED,
            deleted: reasons::TRIGGER_AUTHENTICATION_DELETED,
        }
    }

    fn cluster() -> Self {
        Self {
            plural: "ClusterTriggerAuthentications",
            name: "ClusterTriggerAuthentication",
            resource: ApiResource::erase::<ClusterTriggerAuthentication>(&()),
            added: reasons::CLUSTER_TRIGGER_AUTHENTICATION_ADDED,
            deleted: reasons::CLUSTER_TRIGGER_AUTHENTICATION_DELETED,
        }
    }
}

impl Authentications {
    pub fn new(
        client: Client,
        namespaces: Namespaces,
        objects: Arc<Objects>,
        publisher: Arc<EventPublisher>,
        watches: Arc<Watches>,
    ) -> Self {
        Self {
            client,
            namespaces,
            objects,
            publisher,
            watches,
            seen: Known::default(),
            changed: Notify::new(),
        }
    }

    pub fn known(&self) -> Known {
        self.seen.clone()
    }

    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let own = Kind::own();
        let apis = self.namespaces.apis::<TriggerAuthentication>(&self.client);
        let own = apis.into_iter().map(|(namespace, _)| {
            let client = self.client.clone();
            let api = match &namespace {
                Some(namespace) => Api::namespaced_with(client, namespace, &own.resource),
                None => Api::all_with(client, &own.resource),
            };
            self.follow(&own, namespace, api)
        });
        let cluster = Kind::cluster();
        let api = Api::all_with(self.client.clone(), &cluster.resource);
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = join_all(own) => {}
            () = self.follow(&cluster, None, api) => {}
            () = self.write_users() => {}
        }
    }

    async fn follow(&self, kind: &Kind, namespace: Option<String>, api: Api<DynamicObject>) {
        let mut listed: Option<HashSet<Key>> = None;
        let mut first = true;
        let is_cluster = kind.name == Kind::cluster().name;
        let here = |key: &Key| match &key.0 {
            None => is_cluster,
            Some(its) => !is_cluster && namespace.as_ref().is_none_or(|here| here == its),
        };
        let stream = watcher(api, Config::default());
        let mut stream = std::pin::pin!(resilient(kind.plural, stream));
        while let Some(event) = stream.next().await {
            match event {
                Event::Init => listed = Some(HashSet::new()),
                Event::InitApply(object) => {
                    if let Some(listed) = &mut listed {
                        listed.insert(key_of(&object));
                    }
                    self.applied(kind, object, !first).await;
                }
                Event::InitDone => {
                    first = false;
                    let listed = listed.take().unwrap_or_default();
                    self.seen()
                        .retain(|key, _| !here(key) || listed.contains(key));
                }
                Event::Apply(object) => self.applied(kind, object, true).await,
                Event::Delete(object) => {
                    self.seen().remove(&key_of(&object));
                    self.publish(
                        kind,
                        &object,
                        kind.deleted,
                        format!("{} was deleted", kind.name),
                    );
                }
            }
        }
    }

    async fn applied(&self, kind: &Kind, object: DynamicObject, publish: bool) {
        let key = key_of(&object);
        let users = object.data.pointer("/status/scaledobjects");
        let now = Seen {
            uid: object.uid(),
            generation: object.metadata.generation,
            users: users
                .and_then(|users| users.as_str())
                .unwrap_or_default()
                .to_owned(),
        };
        let (uid, generation) = (now.uid.clone(), now.generation);
        let before = self.seen().insert(key, now);
        // Somebody else may have written the status, too.
        self.changed.notify_one();
        if is_held(&object.metadata) {
            release(
                kind.plural,
                &kind.resource,
                self.client.clone(),
                object.metadata,
            )
            .await;
            return;
        }
        if !publish {
            return;
        }
        match before.filter(|before| before.uid == uid) {
            None => self.publish(
                kind,
                &object,
                kind.added,
                format!("New {} configured", kind.name),
            ),
            Some(before) if before.generation != generation => {
                // KEDA's words for both kinds.
                let text = format!(
                    "ClusterTriggerAuthentication {} is updated",
                    object.name_any()
                );
                self.publish(
                    kind,
                    &object,
                    reasons::CLUSTER_TRIGGER_AUTHENTICATION_UPDATED,
                    text,
                );
            }
            Some(_) => {}
        }
    }

    fn publish(&self, kind: &Kind, object: &DynamicObject, reason: &'static str, text: String) {
        let reference = object.object_ref(&kind.resource);
        self.publisher
            .publish_on(reference, EventType::Normal, reason, text);
    }

    /// Keeps every status as it should be. One is written when it differs, and then at once.
    async fn write_users(&self) {
        let mut ours = Users::new();
        let mut failing = Spell::default();
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = self.objects.triggers_changed() => {}
            }
            tokio::time::sleep(TOGETHER).await;
            if !self.watches.listed() {
                continue;
            }
            let now = users(&self.objects.all());
            let whole = self.namespaces == Namespaces::All;
            let differing: Vec<(Key, String)> = self
                .seen()
                .iter()
                .filter_map(|(key, seen)| {
                    let none = BTreeSet::new();
                    let of = |users: &'_ Users| users.get(key).unwrap_or(&none).clone();
                    let wanted = match whole || key.0.is_some() {
                        true => of(&now),
                        false => merged(&seen.users, &of(&ours), &of(&now)),
                    };
                    let wanted = joined(&wanted);
                    (wanted != seen.users).then(|| (key.clone(), wanted))
                })
                .collect();
            let mut failed = false;
            for (key, users) in differing {
                if let Err(error) = self.write(&key, &users).await {
                    failed = true;
                    let (kind, object) = named(&key);
                    if failing.fails(Timestamp::now(), &error) {
                        warn!(
                            object,
                            kind, error, "writing an authentication's status fails; trying again"
                        );
                    } else {
                        debug!(
                            object,
                            kind, error, "writing an authentication's status failed"
                        );
                    }
                }
            }
            if !failed && failing.works() {
                info!("the statuses of authentications are written again");
            }
            ours = now;
            if failed {
                tokio::time::sleep(TRY_AGAIN).await;
                self.changed.notify_one();
            }
        }
    }

    /// Writes one status.
    ///
    /// # Errors
    /// Why it has to be tried again.
    async fn write(&self, key: &Key, users: &str) -> Result<(), String> {
        let (namespace, name) = key;
        let client = self.client.clone();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &Kind::own().resource),
            None => Api::all_with(client, &Kind::cluster().resource),
        };
        let users = (!users.is_empty()).then_some(users);
        let patch = json!({"status": {"scaledobjects": users}});
        let written = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        match written {
            Ok(_) => Ok(()),
            // It is gone, and with it the question.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(plain(&error)),
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Key, Seen>> {
        lock(&self.seen.0)
    }
}

fn key_of(object: &DynamicObject) -> Key {
    (object.namespace(), object.name_any())
}

/// Who uses which authentication. KEDA's status has bare names: two objects of one name are one there.
fn users(objects: &[Arc<ScaledObject>]) -> Users {
    let mut users = Users::new();
    for object in objects {
        let references = object.spec.triggers.iter();
        for reference in references.filter_map(|trigger| trigger.authentication_ref.as_ref()) {
            let key = match reference.kind.as_deref() {
                None | Some("" | "TriggerAuthentication") => object.namespace(),
                Some("ClusterTriggerAuthentication") => None,
                Some(_) => continue,
            };
            let key = (key, reference.name.clone());
            users.entry(key).or_default().insert(object.name_any());
        }
    }
    users
}

/// The users of a ClusterTriggerAuthentication where only some namespaces are watched: another operator may watch others, so
/// only the names that were ours are taken away.
fn merged(written: &str, before: &BTreeSet<String>, now: &BTreeSet<String>) -> BTreeSet<String> {
    let written = written.split(',').filter(|name| !name.is_empty());
    written
        .filter(|name| !before.contains(*name))
        .map(str::to_owned)
        .chain(now.iter().cloned())
        .collect()
}

fn joined(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, name: &str, authentications: &[(&str, &str)]) -> Arc<ScaledObject> {
        let triggers: Vec<_> = authentications
            .iter()
            .map(|(kind, name)| {
                json!({"type": "cron", "metadata": {}, "authenticationRef": {"kind": kind, "name": name}})
            })
            .collect();
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"scaleTargetRef": {"name": name}, "triggers": triggers},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn users_are_told_by_kind_and_namespace() {
        let cluster = ("ClusterTriggerAuthentication", "a");
        let own = ("TriggerAuthentication", "a");
        let objects = [
            object("shop", "orders", &[own, own, cluster]),
            object("shop", "mails", &[own]),
            object("pay", "orders", &[cluster, ("Other", "a")]),
        ];
        let found = users(&objects);
        let of = |namespace: Option<&str>| {
            let key = (namespace.map(str::to_owned), "a".to_owned());
            found.get(&key).map(joined)
        };
        assert_eq!(of(Some("shop")).as_deref(), Some("mails,orders"));
        assert_eq!(of(None).as_deref(), Some("orders"));
        assert_eq!(of(Some("pay")), None);
    }

    /// KEDA takes the name away when one of two objects of that name goes.
    #[test]
    fn of_two_objects_of_one_name_the_other_stays() {
        let cluster = ("ClusterTriggerAuthentication", "a");
        let left = [object("pay", "orders", &[cluster])];
        assert_eq!(joined(&users(&left)[&(None, "a".to_owned())]), "orders");
    }

    #[test]
    fn what_another_operator_wrote_stays() {
        let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        for (written, before, now, expected) in [
            ("", &[][..], &["a"][..], "a"),
            ("theirs", &[], &["a"], "a,theirs"),
            ("a,theirs", &["a"], &["b"], "b,theirs"),
            ("a,theirs", &["a"], &[], "theirs"),
        ] {
            assert_eq!(joined(&merged(written, &set(before), &set(now))), expected);
        }
    }
}
