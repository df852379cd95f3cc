//! The one module that writes CapacityBuffers: the kind by which cluster-autoscaler and Karpenter are asked for room before there
//! are pods (`autoscaling.x-k8s.io`). A cluster may lack it, or get it at any time.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, Preconditions,
};
use kube::{Api, Client, Resource, ResourceExt};
use sakidori_api::{ScaledObject, annotations};
use sakidori_engine::{ObjectKey, RoomOutcome};
use serde_json::{Value, json};
use tracing::info;

use crate::api_error::plain;
use crate::hpa::{FIELD_MANAGER, label_value};
use crate::lock::lock;
use crate::objects::Objects;
use crate::target::api_version_and_kind;

const GROUP: &str = "autoscaling.x-k8s.io";
/// cluster-autoscaler serves the first, Karpenter the second; what is set here is the same in both.
const VERSIONS: [&str; 2] = ["v1beta1", "v1"];
const KIND: &str = "CapacityBuffer";
/// Nodes are to be there, and not only to be allowed for.
const STRATEGY: &str = "buffer.x-k8s.io/active-capacity";

/// That a cluster lacks the kind is believed for so long: a thousand objects ask together.
const LACKING_FOR: Duration = Duration::from_secs(20);

/// The buffer's name, by which it is found again after a restart.
fn name_for(key: &ObjectKey) -> String {
    format!("sakidori-{}", key.name)
}

#[derive(Clone)]
enum Kind {
    Served(ApiResource),
    Lacking(Instant),
}

pub struct CapacityBuffers {
    client: Client,
    kind: Mutex<Option<Kind>>,
}

impl CapacityBuffers {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            kind: Mutex::default(),
        }
    }

    /// Makes the object's buffer keep room for `pods`, or be gone. One that does is only looked at.
    pub async fn set(
        &self,
        objects: &Objects,
        key: &ObjectKey,
        pods: Option<i32>,
        why: &str,
    ) -> RoomOutcome {
        match self.try_set(objects, key, pods, why).await {
            Ok(outcome) => outcome,
            Err(Failure::Text(message)) => RoomOutcome::Failed { message },
            Err(Failure::Api(error)) => {
                if matches!(&error, kube::Error::Api(status) if status.code == 404) {
                    // The namespace goes, or the kind: the next try looks.
                    *lock(&self.kind) = None;
                }
                let message = plain(&error);
                RoomOutcome::Failed { message }
            }
        }
    }

    async fn try_set(
        &self,
        objects: &Objects,
        key: &ObjectKey,
        pods: Option<i32>,
        why: &str,
    ) -> Result<RoomOutcome, Failure> {
        let Some(resource) = self.resource().await? else {
            return Ok(RoomOutcome::Unsupported);
        };
        let name = name_for(key);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
        let found = api.get_opt(&name).await?;
        let is_ours = found.as_ref().is_none_or(|found| is_of(found, key));
        let Some(pods) = pods else {
            if let Some(found) = found.filter(|_| is_ours) {
                delete(&api, &found).await?;
                info!(object = %key, reason = "CapacityBufferDeleted", buffer = name, "deleted the CapacityBuffer: {why}");
            }
            return Ok(RoomOutcome::Gone);
        };
        if !is_ours {
            return Err(Failure::Text(format!(
                "the CapacityBuffer {name:?} was not made for this ScaledObject: delete or rename it"
            )));
        }
        // One that was deleted meanwhile has no use for room; and without its uid nothing would take the buffer away.
        let Some(object) = objects.object(key) else {
            return Ok(RoomOutcome::Gone);
        };
        let buffer = desired(&object, &name, &resource, pods)
            .ok_or_else(|| Failure::Text("the ScaledObject has no uid".to_owned()))?;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&name, &params, &Patch::Apply(&buffer)).await?;
        if found.is_none_or(|found| found.data["spec"]["replicas"] != pods) {
            info!(object = %key, reason = "CapacityBufferSet", buffer = name, pods, "the CapacityBuffer keeps room for {pods} pods: {why}");
        }
        Ok(stands(&applied.data))
    }

    /// The kind as the cluster serves it.
    async fn resource(&self) -> Result<Option<ApiResource>, Failure> {
        match lock(&self.kind).clone() {
            Some(Kind::Served(resource)) => return Ok(Some(resource)),
            Some(Kind::Lacking(since)) if since.elapsed() < LACKING_FOR => return Ok(None),
            _ => {}
        }
        for version in VERSIONS {
            let kind = GroupVersionKind::gvk(GROUP, version, KIND);
            match kube::discovery::pinned_kind(&self.client, &kind).await {
                Ok((resource, _)) => {
                    *lock(&self.kind) = Some(Kind::Served(resource.clone()));
                    return Ok(Some(resource));
                }
                // The version has other kinds only.
                Err(kube::Error::Discovery(_)) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
            }
        }
        *lock(&self.kind) = Some(Kind::Lacking(Instant::now()));
        Ok(None)
    }
}

enum Failure {
    Text(String),
    Api(kube::Error),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

async fn delete(api: &Api<DynamicObject>, found: &DynamicObject) -> Result<(), kube::Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: found.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&found.name_any(), &params).await {
        Ok(_) => Ok(()),
        // Gone, or another one by now.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Made for a ScaledObject of this name: this one, or one that was deleted and made again.
fn is_of(buffer: &DynamicObject, key: &ObjectKey) -> bool {
    let mut owners = buffer.owner_references().iter();
    owners.any(|owner| owner.kind == "ScaledObject" && *owner.name == *key.name)
}

/// `None` for an object without a uid, which nothing in a cluster is.
fn desired(object: &ScaledObject, name: &str, resource: &ApiResource, pods: i32) -> Option<Value> {
    let owner = object.controller_owner_ref(&())?;
    let (api_version, kind) = api_version_and_kind(&object.spec.scale_target_ref);
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    Some(json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/managed-by": FIELD_MANAGER,
                annotations::SCALED_OBJECT_NAME: label_value(&object.name_any()),
            },
            "ownerReferences": [owner],
        },
        "spec": {
            "provisioningStrategy": STRATEGY,
            "scalableRef": {
                "apiGroup": group,
                "kind": kind,
                "name": object.spec.scale_target_ref.name,
            },
            "replicas": pods,
        },
    }))
}

/// What a buffer's conditions say. Of those that say that something is wrong, the first.
fn stands(buffer: &Value) -> RoomOutcome {
    let conditions = buffer["status"]["conditions"].as_array();
    let condition = |kind: &str, status: &str| {
        let mut all = conditions.into_iter().flatten();
        all.find(|one| one["type"] == kind && one["status"] == status)
    };
    let obstacles = [
        condition("ReadyForProvisioning", "False"),
        condition("LimitedByQuotas", "True"),
        condition("Provisioning", "False"),
    ];
    let obstacle = obstacles.into_iter().flatten().next();
    let message = obstacle.and_then(|one| one["message"].as_str());
    RoomOutcome::Stands {
        provisioned: condition("Provisioning", "True").is_some() && obstacle.is_none(),
        message: message.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_read_by_its_conditions() {
        let stands_with = |conditions: Value| {
            let RoomOutcome::Stands {
                provisioned,
                message,
            } = stands(&json!({"status": {"conditions": conditions}}))
            else {
                panic!("it stands");
            };
            (provisioned, message)
        };
        let ready = json!({"type": "ReadyForProvisioning", "status": "True", "message": "ready"});
        let there = json!({"type": "Provisioning", "status": "True", "reason": "FakePodsInjected"});
        let quota =
            json!({"type": "LimitedByQuotas", "status": "True", "message": "limited from 4 to 2"});
        let bad =
            json!({"type": "ReadyForProvisioning", "status": "False", "message": "no template"});
        for (conditions, provisioned, message) in [
            (Value::Null, false, ""),
            (json!([ready]), false, ""),
            (json!([ready, there]), true, ""),
            (json!([ready, there, quota]), false, "limited from 4 to 2"),
            (json!([quota, bad]), false, "no template"),
        ] {
            assert_eq!(stands_with(conditions), (provisioned, message.to_owned()));
        }
    }

    #[test]
    fn a_buffer_points_at_the_target_and_belongs_to_its_scaled_object() {
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web"},
            "triggers": [],
        });
        let mut object = ScaledObject::new("shop-web", serde_json::from_value(spec).unwrap());
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1beta1", KIND));
        assert_eq!(desired(&object, "sakidori-shop-web", &resource, 80), None);
        object.metadata.uid = Some("u1".into());
        let buffer = desired(&object, "sakidori-shop-web", &resource, 80).unwrap();
        let reference = json!({"apiGroup": "argoproj.io", "kind": "Rollout", "name": "web"});
        assert_eq!(buffer["spec"]["scalableRef"], reference);
        assert_eq!(buffer["spec"]["replicas"], 80);
        let buffer: DynamicObject = serde_json::from_value(buffer).unwrap();
        assert!(is_of(&buffer, &ObjectKey::new("shop", "shop-web")));
        assert!(!is_of(&buffer, &ObjectKey::new("shop", "web")));
        let by_hand = DynamicObject::new("sakidori-shop-web", &resource);
        assert!(!is_of(&by_hand, &ObjectKey::new("shop", "shop-web")));
    }
}
