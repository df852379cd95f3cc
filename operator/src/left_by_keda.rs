//! What KEDA leaves behind: its finalizer on every TriggerAuthentication and ClusterTriggerAuthentication.
//!
//! Here nothing has to be done when one is deleted, and no finalizer is set. But those of objects that came from KEDA have to be
//! removed at their deletion, or they, and their namespaces with them, would hang in it for ever.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use sakidori_api::annotations;
use sakidori_engine::Spell;
use serde_json::json;
use tracing::{info, warn};

use crate::api_error::plain;

/// True for an object that only KEDA's finalizer may still keep from going.
pub fn is_held(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
        && metadata
            .finalizers
            .iter()
            .flatten()
            .any(|finalizer| finalizer == annotations::FINALIZER)
}

/// Removes the finalizer, in a few tries.
pub async fn release(
    what: &'static str,
    resource: &ApiResource,
    client: Client,
    mut metadata: ObjectMeta,
) {
    let api: Api<DynamicObject> = match &metadata.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    };
    let name = metadata.name.clone().unwrap_or_default();
    let object = match &metadata.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.clone(),
    };
    let mut failing = Spell::default();
    for pause in PAUSES {
        let others: Vec<&String> = metadata
            .finalizers
            .iter()
            .flatten()
            .filter(|finalizer| *finalizer != annotations::FINALIZER)
            .collect();
        let version = &metadata.resource_version;
        let patch = json!({"metadata": {"finalizers": others, "resourceVersion": version}});
        let patch = Patch::Merge(&patch);
        match api
            .patch_metadata(&name, &PatchParams::default(), &patch)
            .await
        {
            Ok(_) => {
                return info!(
                    object,
                    kind = what,
                    "removed KEDA's finalizer: the object is being deleted"
                );
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            Err(error) => {
                let error = plain(&error);
                if failing.fails(Timestamp::now(), &error) {
                    warn!(
                        object,
                        kind = what,
                        error,
                        "removing KEDA's finalizer failed: the object can't be deleted; trying again"
                    );
                }
            }
        }
        tokio::time::sleep(pause).await;
        match api.get_metadata_opt(&name).await {
            Ok(Some(newer)) if is_held(&newer.metadata) => metadata = newer.metadata,
            Ok(_) => return,
            Err(_) => {}
        }
    }
}

/// Between tries. After that the next change of the object, or the next start, tries again.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(30),
];
