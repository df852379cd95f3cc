//! What deletion has to do: put pods back that were resized, restore the target's replicas where the user asked for it, and let the
//! object go.
//!
//! Only such objects carry the finalizer here. KEDA puts it on every object; those that came from KEDA are let go too, else
//! they would hang in deletion for ever.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use sakidori_api::{ScaledObject, annotations};
use sakidori_engine::ObjectKey;
use serde_json::json;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::api_error::plain;
use crate::lock::lock;
use crate::resize::{self, Resizer};
use crate::target::{ScaleWrite, TargetError, Targets, replicas};
use crate::tries::{Tries, asked, within_time};

pub struct Finalizer {
    client: Client,
    targets: Arc<Targets>,
    resizer: Resizer,
    tasks: TaskTracker,
    /// The uids of objects whose deletion is under way.
    under_way: Mutex<HashSet<String>>,
}

impl Finalizer {
    pub fn new(
        client: Client,
        targets: Arc<Targets>,
        resizer: Resizer,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            client,
            targets,
            resizer,
            tasks,
            under_way: Mutex::default(),
        }
    }

    /// True where deletion has to restore the target's replicas.
    fn restores(object: &ScaledObject) -> bool {
        object
            .spec
            .advanced
            .as_ref()
            .and_then(|advanced| advanced.restore_to_original_replica_count)
            .unwrap_or(false)
    }

    /// Whether the object has the finalizer.
    pub fn holds(object: &ScaledObject) -> bool {
        has_finalizer(object)
    }

    /// Puts the finalizer on an object whose pods are to be resized; tries until it is there. False where there is no such object any
    /// more. `current` is the object as it was last seen.
    pub async fn hold(&self, current: impl Fn() -> Option<Arc<ScaledObject>>) -> bool {
        let wants = |object: &ScaledObject| object.in_place_resize().is_some();
        self.set(current, wants, true).await
    }

    /// Takes the finalizer off an object whose deletion has nothing to do any more.
    pub async fn release(&self, current: impl Fn() -> Option<Arc<ScaledObject>>) {
        let idle =
            |object: &ScaledObject| !Self::restores(object) && object.in_place_resize().is_none();
        self.set(current, idle, false).await;
    }

    /// Tries to put the finalizer on the object, or to take it off, as long as the object `wants` that.
    async fn set(
        &self,
        current: impl Fn() -> Option<Arc<ScaledObject>>,
        wants: impl Fn(&ScaledObject) -> bool,
        there: bool,
    ) -> bool {
        let mut tries = Tries::default();
        loop {
            let Some(object) = current().filter(|object| wants(object)) else {
                return false;
            };
            if has_finalizer(&object) == there {
                return true;
            }
            let others = object.finalizers().iter();
            let mut finalizers: Vec<_> = others
                .filter(|name| *name != annotations::FINALIZER)
                .cloned()
                .collect();
            if there {
                finalizers.push(annotations::FINALIZER.to_owned());
            }
            let error = match asked(self.write_finalizers(&object, finalizers)).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            let object = key_of(&object);
            if tries.is_news(&error) {
                warn!(
                    object,
                    error,
                    "the finalizer of an object with inPlaceResize can't be written; trying again"
                );
            }
            tries.rest().await;
        }
    }

    /// For an object whose replicas deletion has to restore: puts the finalizer on it and writes down what is to be restored, before it is
    /// scaled for the first time.
    ///
    /// # Errors
    /// The API server's refusal, also because the object changed meanwhile.
    pub async fn ensure(&self, object: &ScaledObject, original: i32) -> Result<(), kube::Error> {
        if !Self::restores(object) {
            return Ok(());
        }
        if !has_finalizer(object) {
            let mut finalizers = object.finalizers().to_vec();
            finalizers.push(annotations::FINALIZER.to_owned());
            self.write_finalizers(object, finalizers).await?;
        }
        let status = object.status.as_ref();
        if status.is_none_or(|status| status.original_replica_count.is_none()) {
            let patch = json!({"metadata": {"uid": object.uid()}, "status": {"originalReplicaCount": original}});
            let params = PatchParams::default();
            self.api(object)
                .patch_status(&object.name_any(), &params, &Patch::Merge(&patch))
                .await?;
        }
        Ok(())
    }

    /// Does deletion's work for an object that is being deleted, in a task of its own, until it is done.
    pub fn finalize(self: &Arc<Self>, object: ScaledObject) {
        let uid = object.uid().unwrap_or_default();
        if !has_finalizer(&object) || !self.under_way().insert(uid.clone()) {
            return;
        }
        let this = self.clone();
        self.tasks.spawn(async move {
            this.finalize_until_done(object).await;
            this.under_way().remove(&uid);
        });
    }

    async fn finalize_until_done(&self, mut object: ScaledObject) {
        let key = key_of(&object);
        if resize::concerns(&object) {
            let namespace = object.namespace().unwrap_or_default();
            let name = ObjectKey::new(namespace, object.name_any());
            if !self.resizer.put_back(&name, object.clone()).await {
                return;
            }
        }
        let mut tries = Tries::default();
        loop {
            let error = match within_time(self.try_finalize(&object)).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if tries.is_news(&error) {
                warn!(
                    object = key,
                    error, "what a deletion has to do fails; trying again"
                );
            } else {
                debug!(
                    object = key,
                    error, "what a deletion has to do failed again"
                );
            }
            tries.rest().await;
            match asked(self.api(&object).get_opt(&object.name_any())).await {
                Ok(Some(newer)) if newer.uid() == object.uid() && has_finalizer(&newer) => {
                    object = newer
                }
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.under_way)
    }

    async fn try_finalize(&self, object: &ScaledObject) -> Result<(), String> {
        if Self::restores(object) {
            self.restore(object).await?;
        }
        let finalizers = object
            .finalizers()
            .iter()
            .filter(|name| *name != annotations::FINALIZER)
            .cloned()
            .collect();
        self.write_finalizers(object, finalizers)
            .await
            .map_err(|error| format!("removing the finalizer: {}", plain(&error)))
    }

    /// Sets the target back to the replicas that it had before it was first scaled.
    async fn restore(&self, object: &ScaledObject) -> Result<(), String> {
        let Some(original) = object
            .status
            .as_ref()
            .and_then(|status| status.original_replica_count)
        else {
            return Ok(());
        };
        let namespace = object.namespace().unwrap_or_default();
        let target = match self
            .targets
            .resolve(&namespace, &object.spec.scale_target_ref)
            .await
        {
            Ok(target) => target,
            // The kind is gone, and its objects with it.
            Err(error) if error.is_for_good() => {
                info!(object = key_of(object), %error, "no replicas are restored");
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        let now = match self.targets.scale(&target).await {
            Ok(scale) => replicas(&scale),
            Err(TargetError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        if now == original {
            return Ok(());
        }
        match self.targets.write(&target, now, original).await {
            ScaleWrite::Done => {
                info!(
                    object = key_of(object),
                    reason = "ReplicasRestored",
                    from = now,
                    to = original,
                    "set {} {namespace}/{} from {now} to {original} replicas, which it had before it was first scaled",
                    target.kind(),
                    target.name
                );
                Ok(())
            }
            ScaleWrite::Conflict => Err("the target changed meanwhile".to_owned()),
            ScaleWrite::Failed(message) => Err(message),
        }
    }

    async fn write_finalizers(
        &self,
        object: &ScaledObject,
        finalizers: Vec<String>,
    ) -> Result<(), kube::Error> {
        // With the resourceVersion, a change in between is refused instead of overwritten.
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()}});
        self.api(object)
            .patch(
                &object.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await?;
        Ok(())
    }

    fn api(&self, object: &ScaledObject) -> Api<ScaledObject> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }
}

/// How log lines name it.
fn key_of(object: &ScaledObject) -> String {
    let namespace = object.namespace().unwrap_or_default();
    format!("{namespace}/{}", object.name_any())
}

fn has_finalizer(object: &ScaledObject) -> bool {
    object
        .finalizers()
        .iter()
        .any(|name| name == annotations::FINALIZER)
}
