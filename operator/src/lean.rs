//! Objects as watches, lists and answers bring them, parsed without what nobody here reads. More than half of what the API server sends
//! of an object is its `managedFields`, and most of the rest of a pod is what its containers are made of: to skip that is most of what an
//! object would cost.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    FieldsV1, ManagedFieldsEntry, OwnerReference, Time,
};
use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::watcher;
use sakidori_api::{ScaledObject, ScaledObjectSpec, ScaledObjectStatus};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::hpa::FIELD_MANAGER;

/// A `K` of which `Spec` and `Status` are read. Of its managed fields, only the labels and annotations that this operator applied are.
#[derive(Clone, Debug, Deserialize)]
pub struct Lean<K, Spec, Status> {
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    pub spec: Spec,
    #[serde(default)]
    pub status: Status,
    #[serde(skip)]
    kind: PhantomData<K>,
}

impl<K, Spec, Status> Resource for Lean<K, Spec, Status>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// All of a ScaledObject but its managed fields.
pub type LeanScaledObject = Lean<ScaledObject, ScaledObjectSpec, Option<ScaledObjectStatus>>;

impl From<LeanScaledObject> for ScaledObject {
    fn from(lean: LeanScaledObject) -> Self {
        Self {
            metadata: lean.metadata,
            spec: lean.spec,
            status: lean.status,
        }
    }
}

/// What is looked at of an HPA.
pub type LeanHpa = Lean<HorizontalPodAutoscaler, Option<HorizontalPodAutoscalerSpec>, Conditions>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Conditions {
    conditions: Option<Vec<HorizontalPodAutoscalerCondition>>,
    desired_replicas: i32,
}

impl From<LeanHpa> for HorizontalPodAutoscaler {
    fn from(lean: LeanHpa) -> Self {
        let conditions = lean.status.conditions;
        Self {
            metadata: lean.metadata,
            spec: lean.spec,
            status: conditions.map(|conditions| HorizontalPodAutoscalerStatus {
                conditions: Some(conditions),
                desired_replicas: lean.status.desired_replicas,
                ..HorizontalPodAutoscalerStatus::default()
            }),
        }
    }
}

/// What is looked at of a pod: where it is, how far it came, and how often its containers were restarted.
pub type LeanPod = Lean<Pod, Option<Placement>, Option<Progress>>;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    phase: Option<String>,
    conditions: Option<Vec<PodCondition>>,
    container_statuses: Option<Vec<Restarts>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Restarts {
    restart_count: Option<i32>,
}

impl From<LeanPod> for Pod {
    fn from(lean: LeanPod) -> Self {
        let status_of = |container: Restarts| ContainerStatus {
            restart_count: container.restart_count.unwrap_or_default(),
            ..ContainerStatus::default()
        };
        Self {
            metadata: lean.metadata,
            spec: lean.spec.map(|spec| PodSpec {
                node_name: spec.node_name,
                ..PodSpec::default()
            }),
            status: lean.status.map(|status| PodStatus {
                phase: status.phase,
                conditions: status.conditions,
                container_statuses: status
                    .container_statuses
                    .map(|all| all.into_iter().map(status_of).collect()),
                ..PodStatus::default()
            }),
        }
    }
}

/// An event of a watch that parses its objects as `L`.
pub fn unpacked<L: Into<K>, K>(event: watcher::Event<L>) -> watcher::Event<K> {
    match event {
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(object) => watcher::Event::InitApply(object.into()),
        watcher::Event::InitDone => watcher::Event::InitDone,
        watcher::Event::Apply(object) => watcher::Event::Apply(object.into()),
        watcher::Event::Delete(object) => watcher::Event::Delete(object.into()),
    }
}

/// `ObjectMeta`, field by field, but for the managed fields.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    managed_fields: Option<Vec<Managed>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

/// What one manager set.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Managed {
    manager: Option<String>,
    fields_v1: Option<Fields>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "f:metadata")]
    metadata: Option<MetadataFields>,
}

#[derive(Deserialize)]
struct MetadataFields {
    #[serde(rename = "f:labels")]
    labels: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(rename = "f:annotations")]
    annotations: Option<BTreeMap<String, IgnoredAny>>,
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let read = Option::<Metadata>::deserialize(deserializer)?.unwrap_or_default();
    Ok(ObjectMeta {
        annotations: read.annotations,
        creation_timestamp: read.creation_timestamp,
        deletion_grace_period_seconds: read.deletion_grace_period_seconds,
        deletion_timestamp: read.deletion_timestamp,
        finalizers: read.finalizers,
        generate_name: read.generate_name,
        generation: read.generation,
        labels: read.labels,
        managed_fields: own(read.managed_fields.unwrap_or_default()),
        name: read.name,
        namespace: read.namespace,
        owner_references: read.owner_references,
        resource_version: read.resource_version,
        self_link: None,
        uid: read.uid,
    })
}

/// This operator's own entries, with the labels and annotations in them.
fn own(managed: Vec<Managed>) -> Option<Vec<ManagedFieldsEntry>> {
    let ours = |entry: &Managed| entry.manager.as_deref() == Some(FIELD_MANAGER);
    let entries: Vec<_> = managed
        .into_iter()
        .filter(ours)
        .map(|entry| ManagedFieldsEntry {
            manager: entry.manager,
            fields_v1: entry
                .fields_v1
                .and_then(|fields| fields.metadata)
                .map(MetadataFields::into_json),
            ..ManagedFieldsEntry::default()
        })
        .collect();
    Some(entries).filter(|entries| !entries.is_empty())
}

impl MetadataFields {
    fn into_json(self) -> FieldsV1 {
        let lists = [
            ("f:labels", self.labels),
            ("f:annotations", self.annotations),
        ];
        let lists = lists.into_iter().filter_map(|(name, keys)| {
            let keys = keys?
                .into_keys()
                .map(|key| (key, Value::Object(Map::new())));
            Some((name.to_owned(), Value::Object(keys.collect())))
        });
        let metadata = Value::Object(lists.collect());
        FieldsV1(Value::Object(Map::from_iter([(
            "f:metadata".to_owned(),
            metadata,
        )])))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// All that `ObjectMeta` can hold, so that a field which is forgotten here is missed.
    fn everything() -> Value {
        json!({
            "annotations": {"a": "1"}, "labels": {"l": "1"},
            "creationTimestamp": "2026-11-24T10:00:00Z",
            "deletionGracePeriodSeconds": 5, "deletionTimestamp": "2026-11-24T10:00:05Z",
            "finalizers": ["f"], "generateName": "web-", "generation": 3, "name": "web", "namespace": "shop",
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "u", "controller": true}],
            "resourceVersion": "7", "uid": "u",
        })
    }

    #[test]
    fn a_scaled_object_is_the_same_without_its_managed_fields() {
        let mut object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": everything(),
            "spec": {
                "scaleTargetRef": {"name": "web"}, "maxReplicaCount": 7,
                "triggers": [{"type": "cron", "metadata": {"timezone": "UTC"}}],
            },
            "status": {"hpaName": "keda-hpa-web"},
        });
        let full: ScaledObject = serde_json::from_value(object.clone()).unwrap();
        object["metadata"]["managedFields"] =
            json!([{"manager": "kubectl", "fieldsV1": {"f:metadata": {"f:labels": {"f:l": {}}}}}]);
        let lean: LeanScaledObject = serde_json::from_value(object).unwrap();
        assert_eq!(ScaledObject::from(lean), full);
        let without_spec = json!({"metadata": {}});
        assert!(serde_json::from_value::<LeanScaledObject>(without_spec).is_err());
    }

    #[test]
    fn an_hpa_keeps_its_conditions_its_wish_and_what_this_operator_applied() {
        let ours = json!({"f:labels": {"f:team": {}}, "f:annotations": {"f:note": {}}});
        let hpa = |managed: Value, status: Value| -> Value {
            let mut metadata = everything();
            metadata["managedFields"] = managed;
            let spec = json!({
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2, "maxReplicas": 5,
            });
            json!({"metadata": metadata, "spec": spec, "status": status})
        };
        let conditions =
            json!([{"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"}]);
        let sent = hpa(
            json!([
                {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:x": {}}}}},
                {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": ours, "f:spec": {"f:minReplicas": {}}}},
                {"manager": FIELD_MANAGER, "operation": "Update", "fieldsV1": {"f:spec": {}}},
            ]),
            json!({"conditions": conditions, "currentMetrics": [{"type": "External"}], "desiredReplicas": 2}),
        );
        let kept = hpa(
            json!([{"manager": FIELD_MANAGER, "fieldsV1": {"f:metadata": ours}}, {"manager": FIELD_MANAGER}]),
            json!({"conditions": conditions, "desiredReplicas": 2}),
        );
        let lean: LeanHpa = serde_json::from_value(sent).unwrap();
        let kept: HorizontalPodAutoscaler = serde_json::from_value(kept).unwrap();
        assert_eq!(HorizontalPodAutoscaler::from(lean), kept);
    }

    #[test]
    fn an_hpa_that_was_never_looked_at_has_no_status() {
        for sent in [json!({}), json!({"status": {"currentReplicas": 1}})] {
            let lean: LeanHpa = serde_json::from_value(sent.clone()).unwrap();
            let hpa = HorizontalPodAutoscaler::from(lean);
            assert_eq!(hpa, HorizontalPodAutoscaler::default(), "{sent}");
        }
    }

    #[test]
    fn of_a_pod_is_kept_where_it_is_and_how_far_it_came() {
        let conditions = json!([
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T10:00:00Z"},
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"},
        ]);
        let sent = json!({
            "metadata": everything(),
            "spec": {"nodeName": "one", "containers": [{"name": "web", "image": "web"}]},
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "conditions": conditions,
                "containerStatuses": [{"name": "web", "restartCount": 3, "ready": true, "image": "web", "imageID": ""}],
            },
        });
        let lean: LeanPod = serde_json::from_value(sent).unwrap();
        let kept = json!({
            "metadata": everything(),
            "spec": {"nodeName": "one"},
            "status": {
                "phase": "Running", "conditions": conditions, "containerStatuses": [{"restartCount": 3}],
            },
        });
        assert_eq!(Pod::from(lean), serde_json::from_value(kept).unwrap());
        let bare: LeanPod = serde_json::from_value(json!({"metadata": {}})).unwrap();
        assert_eq!(Pod::from(bare), Pod::default());
    }
}
