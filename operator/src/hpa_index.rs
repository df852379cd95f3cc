//! The HPAs of ScaledObjects as the watch shows them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use sakidori_api::{ScaleTargetRef, annotations};
use sakidori_engine::{Event, ObjectKey};

use crate::target::same_target;

#[derive(Default)]
pub struct HpaIndex {
    /// By namespace and name.
    hpas: Mutex<HashMap<(String, String), Arc<HorizontalPodAutoscaler>>>,
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
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// The HPAs whose controller is the ScaledObject with this uid.
    pub fn owned_by(
        &self,
        key: &ObjectKey,
        uid: Option<&str>,
    ) -> Vec<Arc<HorizontalPodAutoscaler>> {
        self.lock()
            .iter()
            .filter(|((namespace, _), _)| **namespace == *key.namespace)
            .filter(|(_, hpa)| controlled_by(hpa, uid))
            .map(|(_, hpa)| hpa.clone())
            .collect()
    }

    pub fn insert(&self, hpa: HorizontalPodAutoscaler) -> Arc<HorizontalPodAutoscaler> {
        let hpa = Arc::new(hpa);
        self.lock().insert(key_of(&hpa), hpa.clone());
        hpa
    }

    pub fn remove(&self, hpa: &HorizontalPodAutoscaler) {
        self.lock().remove(&key_of(hpa));
    }

    /// After a new list: drops what is no longer there.
    pub fn retain(
        &self,
        namespace: Option<&str>,
        names: &std::collections::HashSet<(String, String)>,
    ) -> Vec<Arc<HorizontalPodAutoscaler>> {
        let mut gone = Vec::new();
        self.lock().retain(|key, hpa| {
            let stays =
                namespace.is_some_and(|namespace| namespace != key.0) || names.contains(key);
            if !stays {
                gone.push(hpa.clone());
            }
            stays
        });
        gone
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<HorizontalPodAutoscaler>>> {
        self.hpas.lock().unwrap_or_else(|e| e.into_inner())
    }
}

pub fn key_of(hpa: &HorizontalPodAutoscaler) -> (String, String) {
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
