//! The index of all ScaledObjects: what the watch shows, and what preparation made of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use sakidori_api::{ScaleTargetRef, ScaledObject};
use sakidori_engine::ObjectKey;
use sakidori_engine::prescale::Bounds;
use sakidori_values::{State, Store, Writer};
use tokio::sync::Notify;

use crate::hpa::{self, Wanted};
use crate::lock::lock;
use crate::prepare::Prepared;
use crate::target::{api_version_and_kind, same_target};

#[derive(Default)]
pub struct Objects {
    inner: Mutex<Inner>,
    triggers: Notify,
    /// What is served of them is told here after each change.
    values: Writer,
}

/// What one ScaledObject of a namespace may have at a time, and several may want.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Claim {
    /// Namespace, apiVersion, kind and name.
    Target(Arc<str>, String, String, String),
    /// Namespace and name.
    Hpa(Arc<str>, String),
}

impl Claim {
    fn target(key: &ObjectKey, target: &ScaleTargetRef) -> Self {
        let (api_version, kind) = api_version_and_kind(target);
        Self::Target(
            key.namespace.clone(),
            api_version.to_owned(),
            kind.to_owned(),
            target.name.clone(),
        )
    }

    /// All that an object claims.
    fn all(key: &ObjectKey, object: &ScaledObject) -> [Self; 2] {
        [
            Self::target(key, &object.spec.scale_target_ref),
            Self::Hpa(key.namespace.clone(), object.hpa_name()),
        ]
    }
}

impl Inner {
    fn claim(&mut self, key: &ObjectKey, object: &ScaledObject) {
        for claim in Claim::all(key, object) {
            self.claims.entry(claim).or_default().insert(key.clone());
        }
    }

    fn give_up(&mut self, key: &ObjectKey, object: &ScaledObject) {
        for claim in Claim::all(key, object) {
            if let Some(claimants) = self.claims.get_mut(&claim) {
                claimants.remove(key);
                if claimants.is_empty() {
                    self.claims.remove(&claim);
                }
            }
        }
    }

    /// The others that want what `claim` names.
    fn others<'i>(&'i self, claim: &Claim, key: &ObjectKey) -> impl Iterator<Item = &'i ObjectKey> {
        let claimants = self.claims.get(claim).into_iter().flatten();
        claimants.filter(move |other| *other != key)
    }

    fn entry_of(&mut self, key: &ObjectKey, uid: Option<&str>) -> Option<&mut Entry> {
        let entry = self.objects.get_mut(key)?;
        (entry.object.metadata.uid.as_deref() == uid).then_some(entry)
    }
}

#[derive(Default)]
struct Inner {
    objects: HashMap<ObjectKey, Entry>,
    /// Who claims what, so that nobody has to look at all objects of a large namespace.
    claims: HashMap<Claim, BTreeSet<ObjectKey>>,
}

struct Entry {
    object: Arc<ScaledObject>,
    prepared: Option<Arc<Prepared>>,
    /// The HPA as last asked for: a change by hand is told by it.
    hpa: Option<Arc<Wanted>>,
    /// Why it could not be prepared the last time.
    complaint: Option<String>,
    /// The target that it was prepared for, also during a pause.
    held: Option<ScaleTargetRef>,
    /// What the engine set the HPA's bounds to, in place of the specification's.
    bounds: Option<Bounds>,
}

/// How firmly an object holds a target; the first wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    /// It was prepared for the target, or has an HPA on it.
    Now,
    /// As far as its status tells, it had one before it was paused. (The HPA goes with the pause, memory with a restart.)
    BeforeAPause,
    None,
}

impl Entry {
    fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    fn holds(&self, target: &ScaleTargetRef) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| same_target(held, target))
    }
}

fn was_paused(object: &ScaledObject) -> bool {
    object.status.as_ref().is_some_and(|status| {
        let paused = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Paused" && condition.status == "True");
        status.hpa_name.is_some() && (paused || object.pause().is_some())
    })
}

/// How a watched object differs from the one known before.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// First sight, or another object under the same name.
    New,
    /// What the engine sees differs: the spec, and with it the generation, or what annotations switch.
    Changed,
    /// Only labels or other annotations differ.
    Relabelled,
    /// Only its status or bookkeeping differs.
    Unchanged,
}

impl Objects {
    /// No objects; what will be known of them is served from `store`, once [`Writer::begin`] was called.
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            values: Writer::new(store),
            ..Self::default()
        }
    }

    pub fn values(&self) -> &Writer {
        &self.values
    }

    /// Tells what is served of an object.
    fn tell(&self, inner: &Inner, key: &ObjectKey) {
        let Some(entry) = inner.objects.get(key) else {
            return;
        };
        let complaint = entry.complaint.clone();
        match &entry.prepared {
            Some(prepared) => {
                let readings = prepared.readings.clone();
                let state = State::Served {
                    readings,
                    complaint,
                };
                self.values.set(key, entry.uid(), state);
            }
            None if entry.object.pause().is_some() => {
                self.values.set(key, entry.uid(), State::Paused);
            }
            None => self.values.set_unprepared(key, entry.uid(), complaint),
        }
    }

    /// Takes in what the watch shows.
    pub fn apply(&self, key: &ObjectKey, object: Arc<ScaledObject>) -> Change {
        let mut inner = self.lock();
        let change = self.take_in(&mut inner, key, object);
        self.tell(&inner, key);
        change
    }

    fn take_in(&self, inner: &mut Inner, key: &ObjectKey, object: Arc<ScaledObject>) -> Change {
        if let Some(before) = inner.objects.get(key).map(|entry| entry.object.clone()) {
            inner.give_up(key, &before);
        }
        inner.claim(key, &object);
        match inner.objects.get_mut(key) {
            Some(entry) if entry.object.metadata.uid == object.metadata.uid => {
                let before = std::mem::replace(&mut entry.object, object.clone());
                if !same_target(&before.spec.scale_target_ref, &object.spec.scale_target_ref) {
                    entry.held = None;
                }
                let labels = |object: &ScaledObject| {
                    let metadata = &object.metadata;
                    (metadata.labels.clone(), metadata.annotations.clone())
                };
                if before.spec != object.spec
                    || before.metadata.generation != object.metadata.generation
                    || before.switches() != object.switches()
                {
                    self.triggers.notify_one();
                    Change::Changed
                } else if labels(&before) != labels(&object) {
                    Change::Relabelled
                } else {
                    Change::Unchanged
                }
            }
            _ => {
                inner.objects.insert(
                    key.clone(),
                    Entry {
                        object,
                        prepared: None,
                        hpa: None,
                        complaint: None,
                        held: None,
                        bounds: None,
                    },
                );
                self.triggers.notify_one();
                Change::New
            }
        }
    }

    /// Forgets an object; true if it was known.
    pub fn remove(&self, key: &ObjectKey) -> bool {
        self.triggers.notify_one();
        let mut inner = self.lock();
        let removed = inner.objects.remove(key);
        if let Some(entry) = &removed {
            inner.give_up(key, &entry.object);
        }
        self.values.remove(key);
        removed.is_some()
    }

    pub fn object(&self, key: &ObjectKey) -> Option<Arc<ScaledObject>> {
        self.lock()
            .objects
            .get(key)
            .map(|entry| entry.object.clone())
    }

    pub fn prepared(&self, key: &ObjectKey) -> Option<Arc<Prepared>> {
        self.lock().objects.get(key)?.prepared.clone()
    }

    /// The same, where the object still is the one with this uid.
    pub fn prepared_of(&self, key: &ObjectKey, uid: Option<&str>) -> Option<Arc<Prepared>> {
        self.lock().entry_of(key, uid)?.prepared.clone()
    }

    /// Notes why an object can't be prepared, or that it can; true where this is not what was noted before.
    pub fn complain(&self, key: &ObjectKey, complaint: Option<&str>) -> bool {
        let mut inner = self.lock();
        match inner.objects.get_mut(key) {
            Some(entry) if entry.complaint.as_deref() != complaint => {
                entry.complaint = complaint.map(str::to_owned);
                self.tell(&inner, key);
                true
            }
            _ => false,
        }
    }

    /// Why the object could not be prepared the last time.
    pub fn complaint(&self, key: &ObjectKey) -> Option<String> {
        self.lock().objects.get(key)?.complaint.clone()
    }

    /// The HPA that the object asks for.
    pub fn hpa(&self, key: &ObjectKey) -> Option<Arc<Wanted>> {
        self.lock().objects.get(key)?.hpa.clone()
    }

    /// Notes the HPA that the object with this uid asks for. What the API server answered to the same wish before is kept.
    pub fn want_hpa(
        &self,
        key: &ObjectKey,
        uid: Option<&str>,
        desired: HorizontalPodAutoscaler,
    ) -> Arc<Wanted> {
        let mut desired = desired;
        let mut inner = self.lock();
        let Some(entry) = inner.entry_of(key, uid) else {
            return Arc::new(Wanted::new(desired));
        };
        if let Some(bounds) = entry.bounds {
            hpa::set_bounds(&mut desired, bounds);
        }
        match &entry.hpa {
            Some(wanted) if wanted.desired == desired => wanted.clone(),
            _ => entry.hpa.insert(Arc::new(Wanted::new(desired))).clone(),
        }
    }

    /// Notes the bounds that the HPA has from now on, in place of the specification's.
    pub fn set_bounds(&self, key: &ObjectKey, bounds: Bounds) {
        let mut inner = self.lock();
        let Some(entry) = inner.objects.get_mut(key) else {
            return;
        };
        entry.bounds = Some(bounds);
        if let Some(wanted) = &entry.hpa {
            let mut desired = wanted.desired.clone();
            hpa::set_bounds(&mut desired, bounds);
            if desired != wanted.desired {
                entry.hpa = Some(Arc::new(Wanted::new(desired)));
            }
        }
    }

    /// What the engine set the HPA's bounds to, in this life of the process.
    pub fn bounds(&self, key: &ObjectKey) -> Option<Bounds> {
        self.lock().objects.get(key)?.bounds
    }

    /// Notes what the API server made of the HPA that the object asks for, unless it asks for another by now.
    pub fn hpa_answered(
        &self,
        key: &ObjectKey,
        uid: Option<&str>,
        asked: &Wanted,
        answered: HorizontalPodAutoscaler,
    ) {
        let mut inner = self.lock();
        if let Some(wanted) = inner
            .entry_of(key, uid)
            .and_then(|entry| entry.hpa.as_mut())
            && wanted.desired == asked.desired
        {
            *wanted = Arc::new(Wanted {
                desired: wanted.desired.clone(),
                answered: answered.spec,
            });
        }
    }

    /// Forgets what preparation made of an object that is paused. Returns the HPA that it asked for.
    pub fn clear_prepared(&self, key: &ObjectKey, uid: Option<&str>) -> Option<Arc<Wanted>> {
        let mut inner = self.lock();
        let entry = inner.entry_of(key, uid)?;
        entry.prepared = None;
        let hpa = entry.hpa.take();
        // Not even the last readings are served of it.
        let complaint = entry.complaint.clone();
        let state = State::Unprepared { complaint };
        self.values.set(key, uid.unwrap_or_default(), state);
        self.tell(&inner, key);
        hpa
    }

    /// Stores what preparation made; dropped for an object that is gone or was replaced meanwhile.
    pub fn set_prepared(&self, key: &ObjectKey, uid: Option<&str>, prepared: Arc<Prepared>) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entry_of(key, uid) {
            entry.prepared = Some(prepared);
            entry.held = Some(entry.object.spec.scale_target_ref.clone());
            self.tell(&inner, key);
        }
    }

    /// All first lists are in.
    pub fn mark_listed(&self) {
        self.triggers.notify_one();
        self.values.listed();
    }

    /// Waits until objects came, went or may have other triggers than before. For one waiter.
    pub async fn triggers_changed(&self) {
        self.triggers.notified().await;
    }

    pub fn all(&self) -> Vec<Arc<ScaledObject>> {
        let inner = self.lock();
        let entries = inner.objects.values();
        entries.map(|entry| entry.object.clone()).collect()
    }

    pub fn keys(&self) -> Vec<ObjectKey> {
        self.lock().objects.keys().cloned().collect()
    }

    /// The other ScaledObject of the namespace to which the object's target belongs: the one with the best hold on it, among
    /// equals the one that came first (by creation, then by name). `None` where it belongs to the object itself.
    ///
    /// `has_hpa` tells whether an object has an HPA on the target now.
    pub fn winner(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        has_hpa: impl Fn(&ObjectKey, &ScaledObject) -> bool,
    ) -> Option<String> {
        let target = &object.spec.scale_target_ref;
        let inner = self.lock();
        let rank = |key: &ObjectKey, entry: &Entry| {
            let object = &entry.object;
            let created = object.metadata.creation_timestamp.as_ref();
            let hold = if entry.holds(target) || has_hpa(key, object) {
                Hold::Now
            } else if was_paused(object) {
                Hold::BeforeAPause
            } else {
                Hold::None
            };
            (hold, created.map(|time| time.0), key.name.clone())
        };
        let own = rank(key, inner.objects.get(key)?);
        inner
            .others(&Claim::target(key, target), key)
            .filter_map(|other| Some(rank(other, inner.objects.get(other)?)))
            .filter(|rank| *rank < own)
            .min()
            .map(|(_, _, name)| name.to_string())
    }

    /// The object gave its target up: it was refused in favour of another.
    pub fn let_go_of_target(&self, key: &ObjectKey) {
        if let Some(entry) = self.lock().objects.get_mut(key) {
            entry.held = None;
        }
    }

    /// The objects that would have the target or the HPA's name that `object` had: they are looked at again.
    pub fn rivals(&self, key: &ObjectKey, object: &ScaledObject) -> Vec<ObjectKey> {
        let inner = self.lock();
        let rivals: BTreeSet<&ObjectKey> = Claim::all(key, object)
            .iter()
            .flat_map(|claim| inner.others(claim, key))
            .collect();
        rivals.into_iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, spec: serde_json::Value) -> Arc<ScaledObject> {
        let mut object = ScaledObject::new(name, serde_json::from_value(spec).unwrap());
        object.metadata.namespace = Some("shop".into());
        object.metadata.uid = Some(format!("uid of {name}"));
        Arc::new(object)
    }

    fn spec(target: &str, hpa: &str) -> serde_json::Value {
        json!({
            "scaleTargetRef": {"name": target},
            "advanced": {"horizontalPodAutoscalerConfig": {"name": hpa}},
            "triggers": [],
        })
    }

    #[test]
    fn rivals_want_the_same_target_or_hpa_now_and_no_longer() {
        let objects = Objects::default();
        let key = |name: &str| ObjectKey::new("shop", name);
        let apply = |name: &str, target: &str, hpa: &str| {
            let object = object(name, spec(target, hpa));
            objects.apply(&key(name), object.clone());
            object
        };
        let rivals = |name: &str, object: &ScaledObject| {
            let found = objects.rivals(&key(name), object);
            let names: Vec<_> = found.iter().map(|key| key.name.to_string()).collect();
            names.join(" ")
        };
        let a = apply("a", "web", "one");
        apply("b", "web", "two");
        apply("c", "api", "one");
        apply("d", "api", "three");
        assert_eq!(rivals("a", &a), "b c");
        // Spelled out, the target is the same.
        let mut spelled = spec("web", "two");
        spelled["scaleTargetRef"] =
            json!({"name": "web", "apiVersion": "apps/v1", "kind": "Deployment"});
        objects.apply(&key("b"), object("b", spelled));
        assert_eq!(rivals("a", &a), "b c");
        apply("b", "other", "two");
        assert_eq!(rivals("a", &a), "c");
        objects.remove(&key("c"));
        assert_eq!(rivals("a", &a), "");
        // Of another namespace.
        let elsewhere = ObjectKey::new("pay", "a");
        objects.apply(&elsewhere, a.clone());
        assert_eq!(rivals("a", &a), "");
        for name in ["a", "b", "d"] {
            objects.remove(&key(name));
        }
        objects.remove(&elsewhere);
        assert!(objects.lock().claims.is_empty());
    }

    #[test]
    fn a_target_belongs_to_who_holds_it_then_to_who_came_first() {
        let objects = Objects::default();
        let key = |name: &str| ObjectKey::new("shop", name);
        let (a, b) = (
            object("a", spec("web", "one")),
            object("b", spec("web", "two")),
        );
        objects.apply(&key("a"), a.clone());
        objects.apply(&key("b"), b.clone());
        let nobody = |_: &ObjectKey, _: &ScaledObject| false;
        assert_eq!(objects.winner(&key("a"), &a, nobody), None);
        assert_eq!(objects.winner(&key("b"), &b, nobody).as_deref(), Some("a"));
        let b_has_an_hpa = |key: &ObjectKey, _: &ScaledObject| &*key.name == "b";
        assert_eq!(
            objects.winner(&key("a"), &a, b_has_an_hpa).as_deref(),
            Some("b")
        );
        assert_eq!(objects.winner(&key("b"), &b, b_has_an_hpa), None);
    }
}
