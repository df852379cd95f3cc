//! Whose pods may be resized, in the object's status: where an object has another target by now, a restart still knows whose pods have to
//! go back. A target is written down before its pods are first asked, and taken away once all of them are back.

use std::sync::Arc;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use sakidori_api::{ResizedTarget, ScaleTargetRef, ScaledObject};
use sakidori_engine::ObjectKey;
use serde_json::json;
use tracing::warn;

use crate::gate::Gate;
use crate::target::api_version_and_kind;
use crate::tries::{Tries, asked};

/// All targets that the object's status names.
pub fn of(object: &ScaledObject) -> &[ResizedTarget] {
    let status = object.status.as_ref();
    let own = status.and_then(|status| status.sakidori.as_ref());
    own.map_or(&[], |own| &own.resized_targets)
}

/// Those of them that the object had before the one that it has.
pub fn former(object: &ScaledObject) -> Vec<ScaleTargetRef> {
    let target = &object.spec.scale_target_ref;
    let others = of(object).iter().filter(|known| !is(known, target));
    let reference = |known: &ResizedTarget| ScaleTargetRef {
        name: known.name.clone(),
        api_version: Some(known.api_version.clone()),
        kind: Some(known.kind.clone()),
        env_source_container_name: None,
    };
    others.map(reference).collect()
}

/// Whether the object's status names this target.
pub fn has(object: &ScaledObject, target: &ScaleTargetRef) -> bool {
    of(object).iter().any(|known| is(known, target))
}

fn is(known: &ResizedTarget, target: &ScaleTargetRef) -> bool {
    let (api_version, kind) = api_version_and_kind(target);
    known.name == target.name && known.api_version == api_version && known.kind == kind
}

/// An object whose status is written.
pub struct Writer {
    pub client: Client,
    /// Of the writes of all objects: nobody's sale waits for them.
    pub gate: Arc<Gate>,
    pub key: ObjectKey,
    pub uid: String,
}

impl Writer {
    /// Writes a target down; tries until that is done. False where there is no such object any more.
    pub async fn remember(&self, target: &ScaleTargetRef) -> bool {
        self.change(|_, known| {
            if !known.iter().any(|one| is(one, target)) {
                known.push(spelled_out(target));
            }
        })
        .await
    }

    /// Takes a target away, unless its pods are resized again.
    pub async fn forget(&self, target: &ScaleTargetRef) {
        self.change(|object, known| known.retain(|one| !is(one, target) || wants(object, one)))
            .await;
    }

    /// Takes all away whose pods are not resized again.
    pub async fn forget_all(&self) {
        self.change(|object, known| known.retain(|one| wants(object, one)))
            .await;
    }

    async fn change(&self, change: impl Fn(&ScaledObject, &mut Vec<ResizedTarget>)) -> bool {
        let mut tries = Tries::default();
        loop {
            let error = match self.gate.pass(asked(self.try_change(&change))).await {
                Ok(is_there) => return is_there,
                Err(error) => error,
            };
            if tries.is_news(&error) {
                warn!(
                    object = %self.key, error,
                    "status.sakidori.resizedTargets can't be written; trying again"
                );
            }
            tries.rest().await;
        }
    }

    async fn try_change(
        &self,
        change: &impl Fn(&ScaledObject, &mut Vec<ResizedTarget>),
    ) -> Result<bool, kube::Error> {
        let api: Api<ScaledObject> = Api::namespaced(self.client.clone(), &self.key.namespace);
        let found = api.get_opt(&self.key.name).await?;
        let Some(object) = found.filter(|it| it.metadata.uid.as_ref() == Some(&self.uid)) else {
            return Ok(false);
        };
        let mut targets = of(&object).to_vec();
        change(&object, &mut targets);
        if targets == of(&object) {
            return Ok(true);
        }
        // A list is replaced as a whole: not over what another has written meanwhile.
        let patch = json!({
            "metadata": {"resourceVersion": object.metadata.resource_version},
            "status": {"sakidori": {"resizedTargets": (!targets.is_empty()).then_some(targets)}},
        });
        let params = PatchParams::default();
        api.patch_status(&self.key.name, &params, &Patch::Merge(&patch))
            .await?;
        Ok(true)
    }
}

/// The object asks for this one's pods to be resized.
fn wants(object: &ScaledObject, target: &ResizedTarget) -> bool {
    object.in_place_resize().is_some() && is(target, &object.spec.scale_target_ref)
}

/// What a reference means, whatever the defaults will be.
fn spelled_out(target: &ScaleTargetRef) -> ResizedTarget {
    let (api_version, kind) = api_version_and_kind(target);
    ResizedTarget {
        name: target.name.clone(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use sakidori_api::{SakidoriStatus, ScaledObjectSpec, ScaledObjectStatus};

    use super::*;
    use crate::target::same_target;

    fn target(name: &str) -> ScaleTargetRef {
        ScaleTargetRef {
            name: name.to_owned(),
            ..ScaleTargetRef::default()
        }
    }

    #[test]
    fn a_target_is_former_however_it_is_spelled() {
        let spec = ScaledObjectSpec {
            scale_target_ref: target("web"),
            ..ScaledObjectSpec::default()
        };
        let mut object = ScaledObject::new("web", spec);
        assert_eq!(of(&object), []);
        object.status = Some(ScaledObjectStatus {
            sakidori: Some(SakidoriStatus {
                resized_targets: vec![spelled_out(&target("web")), spelled_out(&target("old"))],
                ..SakidoriStatus::default()
            }),
            ..ScaledObjectStatus::default()
        });
        let former = former(&object);
        assert_eq!((&*former[0].name, former.len()), ("old", 1));
        assert!(same_target(&former[0], &target("old")));
        assert!(has(&object, &target("web")) && !has(&object, &target("new")));
    }
}
