//! Prepares a paused ScaledObject: takes away whatever could scale its target.

use std::collections::HashSet;
use std::sync::Arc;

use kube::ResourceExt;
use sakidori_api::{ScaledObject, reasons};
use sakidori_engine::{ObjectKey, Pause, PrepareOutcome};
use tracing::info;

use crate::api_error::plain;
use crate::hpa_index::controlled_by;
use crate::prepare::{Failure, Preparer};
use crate::sales;
use crate::target::{TargetError, replicas};

impl Preparer {
    /// Leaves a paused object nothing that could scale its target: no HPA, no scalers. Like in KEDA, nothing else is checked,
    /// so that whatever is wrong with an object, it can be paused.
    pub(crate) async fn prepare_paused(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        pause: Pause,
    ) -> Result<PrepareOutcome, Failure> {
        // Before the HPA goes, so that it is not put back.
        let uid = object.metadata.uid.as_deref();
        let asked_for = self.objects.clear_prepared(key, uid);
        self.references.retain(key, &HashSet::new());

        let mut hpas = self.hpas.owned_by(key, uid);
        // One that was just made may not have been seen yet. One of that name that is another's stays.
        if let Some(asked_for) = asked_for {
            let name = asked_for.desired.name_any();
            if hpas.iter().all(|hpa| hpa.name_any() != name) {
                let found = self.writer.get(&key.namespace, &name).await;
                let found = found
                    .map_err(|error| format!("{}: {}", reasons::PAUSE_HPA_FAILED, plain(&error)))?;
                hpas.extend(found.filter(|hpa| controlled_by(hpa, uid)).map(Arc::new));
            }
        }
        for hpa in hpas {
            self.delete_hpa(&hpa)
                .await
                .map_err(|error| format!("{}: {error}", reasons::PAUSE_HPA_FAILED))?;
            info!(object = %key, reason = "HPADeleted", hpa = hpa.name_any(), "deleted the HPA: the object is paused");
        }

        let replicas_failed = |error| format!("{}: {error}", reasons::PAUSE_REPLICAS_FAILED);
        if let Some(problem) = object.pause_problem() {
            let problem = format!("failed to parse paused replica count: {problem}");
            return Err(replicas_failed(problem).into());
        }
        let target_replicas = match pause {
            Pause::Whole => None,
            Pause::At(_) => {
                self.check_owner(key, object).await?;
                Some(self.target_replicas(key, object).await.map_err(|error| {
                    replicas_failed(format!("failed to get scale for target resource: {error}"))
                })?)
            }
        };
        let remembers = object
            .status
            .as_ref()
            .is_some_and(|status| status.sakidori.is_some());
        if remembers || sales::has_sales(object) {
            // Nothing of it is applied, but that is told when a sale comes.
            self.sale_news.tell(key);
        }
        Ok(PrepareOutcome::Paused { target_replicas })
    }

    async fn target_replicas(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
    ) -> Result<i32, TargetError> {
        let reference = &object.spec.scale_target_ref;
        let target = self.targets.resolve(&key.namespace, reference).await?;
        Ok(replicas(&self.targets.scale(&target).await?))
    }
}
