//! What stands around ScaledObjects in manifests, as far as a floor may run into it: ResourceQuotas, and the pods that a target makes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceQuota};
use serde_json::Value;

#[derive(Clone, Debug, Default)]
pub struct Around {
    /// With their namespaces.
    quotas: Vec<(String, ResourceQuota)>,
    /// By kind, namespace and name.
    targets: BTreeMap<(String, String, String), Target>,
}

/// What scales.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As its template makes them.
    pub(crate) pod: PodSpec,
    /// Its replicas, where its status tells: none as far as manifests do.
    pub(crate) running: i32,
}

impl Around {
    /// Takes in an object of any kind. One that can't be read is none of a plan's business.
    pub(crate) fn take(&mut self, kind: &str, namespace: &str, name: &str, value: Value) {
        match kind {
            "ResourceQuota" => {
                if let Ok(quota) = serde_json::from_value(value) {
                    self.quotas.push((namespace.to_owned(), quota));
                }
            }
            _ => {
                let pod = value.pointer("/spec/template/spec").cloned();
                let running = value.pointer("/status/replicas").and_then(Value::as_i64);
                if let Some(Ok(pod)) = pod.map(serde_json::from_value) {
                    let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
                    let running = running.and_then(|running| running.try_into().ok());
                    let running = running.unwrap_or(0);
                    self.targets.insert(key, Target { pod, running });
                }
            }
        }
    }

    pub(crate) fn quotas(&self, namespace: &str) -> impl Iterator<Item = &ResourceQuota> {
        let here = self.quotas.iter().filter(move |(own, _)| own == namespace);
        here.map(|(_, quota)| quota)
    }

    /// A target such as `Deployment/web`.
    pub(crate) fn target(&self, target: &str, namespace: &str) -> Option<&Target> {
        let (kind, name) = target.split_once('/')?;
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.targets.get(&key)
    }
}
