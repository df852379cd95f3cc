//! The index of all ScaledObjects: what the watch shows, and what preparation made of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use sakidori_api::ScaledObject;
use sakidori_engine::ObjectKey;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::prepare::Prepared;
use crate::target::same_target;

#[derive(Default)]
pub struct Objects {
    inner: Mutex<Inner>,
    prepared: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    objects: HashMap<ObjectKey, Entry>,
    /// Every namespace's first list is in.
    listed: bool,
}

struct Entry {
    object: Arc<ScaledObject>,
    prepared: Option<Arc<Prepared>>,
    /// The HPA as last asked for: a change by hand is told by it.
    desired_hpa: Option<Arc<HorizontalPodAutoscaler>>,
}

/// How a watched object differs from the one known before.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// First sight, or another object under the same name.
    New,
    /// The spec differs, and with it the generation.
    Changed,
    /// Only labels or annotations differ.
    Relabelled,
    /// Only its status or bookkeeping differs.
    Unchanged,
}

impl Objects {
    /// Takes in what the watch shows.
    pub fn apply(&self, key: &ObjectKey, object: Arc<ScaledObject>) -> Change {
        let mut inner = self.lock();
        match inner.objects.get_mut(key) {
            Some(entry) if entry.object.metadata.uid == object.metadata.uid => {
                let before = std::mem::replace(&mut entry.object, object.clone());
                let labels = |object: &ScaledObject| {
                    let metadata = &object.metadata;
                    (metadata.labels.clone(), metadata.annotations.clone())
                };
                if before.spec != object.spec
                    || before.metadata.generation != object.metadata.generation
                {
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
                        desired_hpa: None,
                    },
                );
                Change::New
            }
        }
    }

    /// Forgets an object; true if it was known.
    pub fn remove(&self, key: &ObjectKey) -> bool {
        self.lock().objects.remove(key).is_some()
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

    pub fn desired_hpa(&self, key: &ObjectKey) -> Option<Arc<HorizontalPodAutoscaler>> {
        self.lock().objects.get(key)?.desired_hpa.clone()
    }

    pub fn set_desired_hpa(&self, key: &ObjectKey, hpa: Arc<HorizontalPodAutoscaler>) {
        if let Some(entry) = self.lock().objects.get_mut(key) {
            entry.desired_hpa = Some(hpa);
        }
    }

    /// Stores what preparation made; ignored for an object that is gone or was replaced meanwhile.
    pub fn set_prepared(
        &self,
        key: &ObjectKey,
        uid: Option<&str>,
        prepared: Arc<Prepared>,
    ) -> bool {
        let stored = match self.lock().objects.get_mut(key) {
            Some(entry) if entry.object.metadata.uid.as_deref() == uid => {
                entry.prepared = Some(prepared);
                true
            }
            _ => false,
        };
        self.prepared.notify_waiters();
        stored
    }

    /// Resolves at the next preparation of any object that ends after this call.
    pub fn prepared_changed(&self) -> OwnedNotified {
        self.prepared.clone().notified_owned()
    }

    /// All first lists are in.
    pub fn mark_listed(&self) {
        self.lock().listed = true;
        self.prepared.notify_waiters();
    }

    /// True for an object that is known, and for any while the first lists are not in.
    pub fn may_exist(&self, key: &ObjectKey) -> bool {
        let inner = self.lock();
        !inner.listed || inner.objects.contains_key(key)
    }

    pub fn keys(&self) -> Vec<ObjectKey> {
        self.lock().objects.keys().cloned().collect()
    }

    /// The other ScaledObject of the namespace that scales the same target and came first (by creation, then by name).
    pub fn earlier_owner(&self, key: &ObjectKey, object: &ScaledObject) -> Option<String> {
        let rank = |object: &ScaledObject| {
            (
                object
                    .metadata
                    .creation_timestamp
                    .as_ref()
                    .map(|time| time.0),
                object.metadata.name.clone(),
            )
        };
        self.lock()
            .objects
            .iter()
            .filter(|(other, _)| other.namespace == key.namespace && other.name != key.name)
            .map(|(_, entry)| &entry.object)
            .filter(|other| {
                same_target(&other.spec.scale_target_ref, &object.spec.scale_target_ref)
            })
            .filter(|other| other.metadata.deletion_timestamp.is_none())
            .filter(|other| rank(other) < rank(object))
            .min_by_key(|other| rank(other))
            .and_then(|other| other.metadata.name.clone())
    }

    /// The objects that share `object`'s target: they are looked at again when it goes or changes.
    pub fn sharing_target(&self, key: &ObjectKey, object: &ScaledObject) -> Vec<ObjectKey> {
        self.lock()
            .objects
            .iter()
            .filter(|(other, _)| other.namespace == key.namespace && other.name != key.name)
            .filter(|(_, entry)| {
                same_target(
                    &entry.object.spec.scale_target_ref,
                    &object.spec.scale_target_ref,
                )
            })
            .map(|(other, _)| other.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}
