//! The HPAs of ScaledObjects as the watch shows them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use sakidori_api::{ScaleTargetRef, annotations};
use sakidori_engine::{Event, ObjectKey};

use crate::lock::lock;
use crate::target::same_target;

/// The HPA controller's window for scaling down where a `behavior` doesn't say.
const DEFAULT_WINDOW: Duration = Duration::from_secs(300);

#[derive(Default)]
pub struct HpaIndex {
    known: Mutex<Known>,
}

/// Namespace and name of an HPA.
type HpaKey = (String, String);

#[derive(Default)]
struct Known {
    hpas: HashMap<HpaKey, Arc<HorizontalPodAutoscaler>>,
    /// By the uid of the controller: nobody has to look at all HPAs of a large namespace.
    by_owner: HashMap<String, BTreeSet<HpaKey>>,
}

impl Known {
    fn insert(&mut self, hpa: Arc<HorizontalPodAutoscaler>) {
        let key = key_of(&hpa);
        self.remove(&key);
        if let Some(owner) = controller(&hpa) {
            let owned = self.by_owner.entry(owner.uid.clone()).or_default();
            owned.insert(key.clone());
        }
        self.hpas.insert(key, hpa);
    }

    fn remove(&mut self, key: &HpaKey) -> Option<Arc<HorizontalPodAutoscaler>> {
        let hpa = self.hpas.remove(key)?;
        if let Some(owner) = controller(&hpa)
            && let Some(owned) = self.by_owner.get_mut(&owner.uid)
        {
            owned.remove(key);
            if owned.is_empty() {
                self.by_owner.remove(&owner.uid);
            }
        }
        Some(hpa)
    }
}

/// The HPA's own word on whether it scales: its `ScalingActive` condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingActive {
    pub status: bool,
    pub reason: String,
    pub message: String,
}

impl ScalingActive {
    pub fn into_event(self, key: ObjectKey) -> Event {
        let Self {
            status,
            reason,
            message,
        } = self;
        Event::HpaObserved {
            key,
            status,
            reason,
            message,
        }
    }
}

impl HpaIndex {
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<HorizontalPodAutoscaler>> {
        self.lock()
            .hpas
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// The HPAs whose controller is the ScaledObject with this uid.
    pub fn owned_by(
        &self,
        key: &ObjectKey,
        uid: Option<&str>,
    ) -> Vec<Arc<HorizontalPodAutoscaler>> {
        let known = self.lock();
        let owned = uid.and_then(|uid| known.by_owner.get(uid));
        owned
            .into_iter()
            .flatten()
            .filter(|(namespace, _)| **namespace == *key.namespace)
            .filter_map(|hpa| known.hpas.get(hpa).cloned())
            .collect()
    }

    pub fn insert(&self, hpa: HorizontalPodAutoscaler) -> Arc<HorizontalPodAutoscaler> {
        let hpa = Arc::new(hpa);
        self.lock().insert(hpa.clone());
        hpa
    }

    pub fn remove(&self, hpa: &HorizontalPodAutoscaler) {
        self.lock().remove(&key_of(hpa));
    }

    /// After a new list: drops what is no longer there.
    pub fn retain(
        &self,
        namespace: Option<&str>,
        names: &HashSet<HpaKey>,
    ) -> Vec<Arc<HorizontalPodAutoscaler>> {
        let mut known = self.lock();
        let gone: Vec<HpaKey> = known
            .hpas
            .keys()
            .filter(|key| namespace.is_none_or(|namespace| namespace == key.0))
            .filter(|key| !names.contains(*key))
            .cloned()
            .collect();
        gone.iter().filter_map(|key| known.remove(key)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

pub fn key_of(hpa: &HorizontalPodAutoscaler) -> HpaKey {
    (hpa.namespace().unwrap_or_default(), hpa.name_any())
}

/// True where the HPA scales what `reference` names.
pub fn scales(hpa: &HorizontalPodAutoscaler, reference: &ScaleTargetRef) -> bool {
    hpa.spec.as_ref().is_some_and(|spec| {
        let target = &spec.scale_target_ref;
        let own = ScaleTargetRef {
            name: target.name.clone(),
            api_version: target.api_version.clone(),
            kind: Some(target.kind.clone()),
            ..ScaleTargetRef::default()
        };
        same_target(&own, reference)
    })
}

/// The owner that controls the HPA.
pub fn controller(hpa: &HorizontalPodAutoscaler) -> Option<&OwnerReference> {
    hpa.owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// True where the HPA's controller is the ScaledObject with this uid.
pub fn controlled_by(hpa: &HorizontalPodAutoscaler, uid: Option<&str>) -> bool {
    uid.is_some() && controller(hpa).map(|owner| owner.uid.as_str()) == uid
}

/// The ScaledObject that an HPA belongs to, by its label.
pub fn scaled_object_of(hpa: &HorizontalPodAutoscaler) -> Option<ObjectKey> {
    let name = hpa.labels().get(annotations::SCALED_OBJECT_NAME)?;
    Some(ObjectKey::new(hpa.namespace()?, name.as_str()))
}

/// The HPA's `ScalingActive` condition, once it has one.
pub fn scaling_active(hpa: &HorizontalPodAutoscaler) -> Option<ScalingActive> {
    let condition = hpa
        .status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == "ScalingActive")?;
    Some(ScalingActive {
        status: condition.status == "True",
        reason: condition.reason.clone().unwrap_or_default(),
        message: condition.message.clone().unwrap_or_default(),
    })
}

/// What an HPA says of its maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saturation {
    /// It wants more replicas than it may have.
    pub now: bool,
    /// For so long it would keep replicas that it wants no more. Without a `behavior` of its own, its condition keeps to that already;
    /// with one, it is about what it wants at this moment.
    pub lingers: Duration,
}

/// `None` before the HPA has looked at its target.
pub fn saturation(hpa: &HorizontalPodAutoscaler) -> Option<Saturation> {
    let conditions = hpa.status.as_ref()?.conditions.as_ref()?;
    let limited = conditions
        .iter()
        .find(|condition| condition.type_ == "ScalingLimited")?;
    let too_many = limited.reason.as_deref() == Some("TooManyReplicas");
    let behavior = hpa.spec.as_ref().and_then(|spec| spec.behavior.as_ref());
    Some(Saturation {
        now: limited.status == "True" && too_many,
        lingers: behavior.map_or(Duration::ZERO, |behavior| {
            let down = behavior.scale_down.as_ref();
            let seconds = down.and_then(|down| down.stabilization_window_seconds);
            let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
            seconds.map_or(DEFAULT_WINDOW, Duration::from_secs)
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hpa(name: &str, owner: Option<&str>) -> HorizontalPodAutoscaler {
        let owners: Vec<_> = owner
            .iter()
            .map(|uid| {
                json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "web", "uid": uid, "controller": true})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners},
        }))
        .unwrap()
    }

    #[test]
    fn hpas_are_found_by_their_owner_as_it_is_now() {
        let index = HpaIndex::default();
        let key = ObjectKey::new("shop", "web");
        let owned = |uid: &str| {
            let found = index.owned_by(&key, Some(uid));
            let names: Vec<_> = found.iter().map(|hpa| hpa.name_any()).collect();
            names.join(" ")
        };
        index.insert(hpa("one", Some("u")));
        index.insert(hpa("two", Some("u")));
        index.insert(hpa("three", None));
        assert_eq!((&*owned("u"), &*owned("v")), ("one two", ""));
        assert!(index.owned_by(&key, None).is_empty());
        assert!(
            index
                .owned_by(&ObjectKey::new("pay", "web"), Some("u"))
                .is_empty()
        );
        index.insert(hpa("one", Some("v")));
        assert_eq!((&*owned("u"), &*owned("v")), ("two", "one"));
        index.insert(hpa("one", None));
        assert_eq!(owned("v"), "");
        let listed = HashSet::from([("shop".to_owned(), "three".to_owned())]);
        assert!(index.retain(Some("pay"), &listed).is_empty());
        let gone = index.retain(Some("shop"), &listed);
        assert_eq!(gone.len(), 2);
        assert_eq!(owned("u"), "");
        assert!(index.lock().by_owner.is_empty());
        index.remove(&hpa("three", None));
        assert!(index.get("shop", "three").is_none());
    }

    #[test]
    fn an_hpa_says_that_it_wants_too_much_and_how_long_that_counts() {
        let hpa = |status: &str, reason: &str, behavior: serde_json::Value| {
            let condition = json!({"type": "ScalingLimited", "status": status, "reason": reason});
            let target = json!({"kind": "Deployment", "name": "web"});
            let spec = json!({"maxReplicas": 5, "scaleTargetRef": target, "behavior": behavior});
            let hpa = json!({"metadata": {}, "spec": spec, "status": {"conditions": [condition], "desiredReplicas": 5}});
            let found = saturation(&serde_json::from_value(hpa).unwrap()).unwrap();
            (found.now, found.lingers.as_secs())
        };
        let none = || json!(null);
        assert_eq!(hpa("True", "TooManyReplicas", none()), (true, 0));
        assert_eq!(hpa("True", "TooFewReplicas", none()), (false, 0));
        assert_eq!(hpa("False", "DesiredWithinRange", json!({})), (false, 300));
        let window = json!({"scaleDown": {"stabilizationWindowSeconds": 40}});
        assert_eq!(hpa("False", "DesiredWithinRange", window), (false, 40));
        assert_eq!(saturation(&HorizontalPodAutoscaler::default()), None);
    }
}
