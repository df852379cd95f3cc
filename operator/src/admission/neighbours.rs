//! What admission compares a ScaledObject with: which targets and HPA names the other ScaledObjects of its namespace claim, and
//! which HPAs scale what. Every replica has it, whether it leads or not, from two watches of its own: a replica that doesn't lead
//! runs none of the others, and the leader's know only HPAs with ScaledObjects' label. A few dozen bytes are kept per object, and no more
//! than that is parsed: the leader has each change twice.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, HorizontalPodAutoscaler};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use sakidori_api::{ScaleTargetRef, ScaledObject, annotations, hpa_name};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lean::Lean;
use crate::lock::lock;
use crate::target::same_target;
use crate::watches::{Namespaces, resilient};

/// As much of a ScaledObject as tells what it claims.
type Claiming = Lean<ScaledObject, ClaimingSpec, IgnoredAny>;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimingSpec {
    scale_target_ref: ScaleTargetRef,
    advanced: Option<Advanced>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Advanced {
    horizontal_pod_autoscaler_config: Option<HpaConfig>,
}

#[derive(Clone, Debug, Deserialize)]
struct HpaConfig {
    name: Option<String>,
}

/// What a ScaledObject claims.
#[derive(Clone, Debug, PartialEq)]
struct Claim {
    target: ScaleTargetRef,
    hpa_name: String,
}

impl Claim {
    fn of(object: &Claiming) -> Self {
        let advanced = object.spec.advanced.as_ref();
        let config =
            advanced.and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref());
        let configured = config.and_then(|config| config.name.as_deref());
        Self {
            target: object.spec.scale_target_ref.clone(),
            hpa_name: hpa_name(&object.name_any(), configured),
        }
    }
}

/// As much of an HPA as tells what it scales.
type Scaling = Lean<HorizontalPodAutoscaler, Option<ScalingSpec>, IgnoredAny>;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScalingSpec {
    scale_target_ref: CrossVersionObjectReference,
}

/// What an HPA scales, and for whom.
#[derive(Clone, Debug, PartialEq)]
struct Hpa {
    target: ScaleTargetRef,
    /// The ScaledObjects among its owners.
    owners: Vec<String>,
    /// It is annotated not to be looked at.
    exempt: bool,
}

impl Hpa {
    fn of(hpa: &Scaling) -> Self {
        let target = hpa.spec.as_ref().map(|spec| &spec.scale_target_ref);
        let owners = hpa.owner_references().iter();
        Self {
            target: ScaleTargetRef {
                name: target.map(|target| target.name.clone()).unwrap_or_default(),
                api_version: target.and_then(|target| target.api_version.clone()),
                kind: target.map(|target| target.kind.clone()),
                ..ScaleTargetRef::default()
            },
            owners: owners
                .filter(|owner| owner.kind == "ScaledObject")
                .map(|owner| owner.name.clone())
                .collect(),
            exempt: hpa
                .annotations()
                .get(annotations::VALIDATE_HPA_OWNERSHIP)
                .is_some_and(|value| value == "false"),
        }
    }
}

/// By namespace, then by name.
struct Entries<E>(Mutex<HashMap<String, HashMap<String, E>>>);

impl<E> Default for Entries<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Clone> Entries<E> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, E>>> {
        lock(&self.0)
    }

    fn insert(&self, namespace: String, name: String, entry: E) {
        let mut all = self.lock();
        all.entry(namespace).or_default().insert(name, entry);
    }

    fn remove(&self, namespace: &str, name: &str) {
        let mut all = self.lock();
        if let Some(names) = all.get_mut(namespace) {
            names.remove(name);
            if names.is_empty() {
                all.remove(namespace);
            }
        }
    }

    /// After a new list of `scope`, or of everything: drops what isn't `listed`.
    fn retain(&self, scope: Option<&str>, listed: &HashSet<(String, String)>) {
        self.lock().retain(|namespace, names| {
            if scope.is_none_or(|scope| scope == namespace) {
                names.retain(|name, _| listed.contains(&(namespace.clone(), name.clone())));
            }
            !names.is_empty()
        });
    }

    /// The entries of a namespace for which `matches` holds, by name.
    fn of(&self, namespace: &str, matches: impl Fn(&E) -> bool) -> Vec<(String, E)> {
        let all = self.lock();
        let Some(names) = all.get(namespace) else {
            return Vec::new();
        };
        let mut found: Vec<_> = names
            .iter()
            .filter(|(_, entry)| matches(entry))
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }
}

pub struct Neighbours {
    namespaces: Namespaces,
    claims: Entries<Claim>,
    hpas: Entries<Hpa>,
    /// First lists that are not in yet.
    unlisted: watch::Sender<usize>,
}

impl Neighbours {
    pub fn new(namespaces: Namespaces) -> Self {
        Self {
            namespaces,
            claims: Entries::default(),
            hpas: Entries::default(),
            unlisted: watch::Sender::new(usize::MAX),
        }
    }

    /// Keeps up with the cluster until `shutdown`.
    pub async fn follow(self: Arc<Self>, client: Client, shutdown: CancellationToken) {
        let objects = self.namespaces.apis::<Claiming>(&client);
        let hpas = self.namespaces.apis::<Scaling>(&client);
        self.unlisted.send_replace(objects.len() + hpas.len());
        let mut tasks = tokio::task::JoinSet::new();
        for (scope, api) in objects {
            let this = self.clone();
            tasks.spawn(async move {
                let what = "ScaledObjects for admission";
                this.watch(what, scope, api, &this.claims, Claim::of).await;
            });
        }
        for (scope, api) in hpas {
            let this = self.clone();
            tasks.spawn(async move {
                let what = "HorizontalPodAutoscalers for admission";
                this.watch(what, scope, api, &this.hpas, Hpa::of).await;
            });
        }
        shutdown.cancelled().await;
    }

    async fn watch<K, E: Clone>(
        &self,
        what: &'static str,
        scope: Option<String>,
        api: Api<K>,
        entries: &Entries<E>,
        entry: fn(&K) -> E,
    ) where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let mut listed = HashSet::new();
        let mut first = true;
        let insert = |object: &K| {
            let key = (object.namespace().unwrap_or_default(), object.name_any());
            entries.insert(key.0.clone(), key.1.clone(), entry(object));
            key
        };
        let stream = watcher(api, watcher::Config::default());
        let mut stream = std::pin::pin!(resilient(what, stream));
        while let Some(event) = stream.next().await {
            match event {
                watcher::Event::Init => listed.clear(),
                watcher::Event::InitApply(object) => drop(listed.insert(insert(&object))),
                watcher::Event::InitDone => {
                    entries.retain(scope.as_deref(), &listed);
                    listed = HashSet::new();
                    if std::mem::take(&mut first) {
                        self.unlisted
                            .send_modify(|left| *left = left.saturating_sub(1));
                    }
                }
                watcher::Event::Apply(object) => drop(insert(&object)),
                watcher::Event::Delete(object) => {
                    entries.remove(&object.namespace().unwrap_or_default(), &object.name_any())
                }
            }
        }
    }

    /// Resolves once all first lists are in.
    pub async fn listed(&self) {
        // The sender is this object's own, so it doesn't end.
        let _ = self.unlisted.subscribe().wait_for(|left| *left == 0).await;
    }

    /// The other ScaledObjects that claim the target.
    pub fn claimants(&self, namespace: &str, name: &str, target: &ScaleTargetRef) -> Vec<String> {
        self.others(namespace, name, |claim| same_target(&claim.target, target))
    }

    /// The other ScaledObjects that claim an HPA of that name.
    pub fn claimants_of_hpa(&self, namespace: &str, name: &str, hpa_name: &str) -> Vec<String> {
        self.others(namespace, name, |claim| claim.hpa_name == hpa_name)
    }

    fn others(&self, namespace: &str, name: &str, matches: impl Fn(&Claim) -> bool) -> Vec<String> {
        let found = self.claims.of(namespace, matches).into_iter();
        found
            .map(|(other, _)| other)
            .filter(|other| other != name)
            .collect()
    }

    /// The HPAs that scale the target without belonging to the ScaledObject, but those that are exempt.
    pub fn foreign_hpas(
        &self,
        namespace: &str,
        name: &str,
        target: &ScaleTargetRef,
    ) -> Vec<String> {
        let foreign = |hpa: &Hpa| {
            !hpa.exempt
                && same_target(&hpa.target, target)
                && !hpa.owners.iter().any(|owner| owner == name)
        };
        let found = self.hpas.of(namespace, foreign).into_iter();
        found.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
impl Neighbours {
    /// A cluster with these ScaledObjects and HPAs in it, all known.
    pub fn with(objects: &[ScaledObject], hpas: &[HorizontalPodAutoscaler]) -> Self {
        let neighbours = Self::new(Namespaces::All);
        for object in objects {
            let object: Claiming = as_sent(object);
            let namespace = object.namespace().unwrap_or_default();
            let claim = Claim::of(&object);
            neighbours
                .claims
                .insert(namespace, object.name_any(), claim);
        }
        for hpa in hpas {
            let hpa: Scaling = as_sent(hpa);
            let namespace = hpa.namespace().unwrap_or_default();
            neighbours
                .hpas
                .insert(namespace, hpa.name_any(), Hpa::of(&hpa));
        }
        neighbours.unlisted.send_replace(0);
        neighbours
    }
}

#[cfg(test)]
fn as_sent<L: DeserializeOwned>(object: &impl serde::Serialize) -> L {
    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_list_drops_what_is_gone_only_where_it_looked() {
        let entries = Entries::default();
        for (namespace, name) in [("shop", "a"), ("shop", "b"), ("pay", "a")] {
            entries.insert(namespace.into(), name.into(), 1);
        }
        let names = |namespace: &str| -> Vec<String> {
            let found = entries.of(namespace, |_| true).into_iter();
            found.map(|(name, _)| name).collect()
        };
        let listed = HashSet::from([("shop".to_owned(), "b".to_owned())]);
        entries.retain(Some("shop"), &listed);
        assert_eq!(
            (names("shop"), names("pay")),
            (vec!["b".into()], vec!["a".into()])
        );
        entries.remove("shop", "b");
        entries.retain(None, &HashSet::new());
        assert!(entries.lock().is_empty());
    }
}
