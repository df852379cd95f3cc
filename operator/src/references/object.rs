//! What a reference names, and what is kept of what it leads to.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret, ServiceAccount};
use kube::api::DynamicObject;
use kube::core::ApiResource;
use sakidori_api::annotations::AWS_ROLE_ARN;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::credentials::Credential;

/// Names something that a ScaledObject depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    Object(ObjectReference),
    /// What no watch of the cluster shows: it is fetched, and fetched again.
    Credential(Credential),
}

/// Names one object of the cluster, and the part of it that matters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ObjectReference {
    pub(super) resource: ApiResource,
    /// `None` for a cluster-scoped object.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) part: Part,
}

/// What of an object is kept, and whose changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Everything but `metadata` and `status`.
    Content,
    /// `spec.template` only: a scale target's replicas and status change all the time and must wake nobody.
    PodTemplate,
    /// The uid, and the annotation that names an AWS role: a token is bound to the one, a pod's identity is the other.
    Identity,
}

impl Reference {
    pub fn secret(namespace: &str, name: &str) -> Self {
        Self::content(ApiResource::erase::<Secret>(&()), Some(namespace), name)
    }

    pub fn config_map(namespace: &str, name: &str) -> Self {
        Self::content(ApiResource::erase::<ConfigMap>(&()), Some(namespace), name)
    }

    pub fn trigger_authentication(namespace: &str, name: &str) -> Self {
        Self::content(
            keda("TriggerAuthentication", "triggerauthentications"),
            Some(namespace),
            name,
        )
    }

    pub fn cluster_trigger_authentication(name: &str) -> Self {
        Self::content(
            keda(
                "ClusterTriggerAuthentication",
                "clustertriggerauthentications",
            ),
            None,
            name,
        )
    }

    /// A scale target of any kind: that it exists, and its `spec.template`.
    pub fn target(resource: ApiResource, namespace: &str, name: &str) -> Self {
        Self::object(resource, Some(namespace), name, Part::PodTemplate)
    }

    /// A ServiceAccount: that it exists, and who it is.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let resource = ApiResource::erase::<ServiceAccount>(&());
        Self::object(resource, Some(namespace), name, Part::Identity)
    }

    fn content(resource: ApiResource, namespace: Option<&str>, name: &str) -> Self {
        Self::object(resource, namespace, name, Part::Content)
    }

    fn object(resource: ApiResource, namespace: Option<&str>, name: &str, part: Part) -> Self {
        Self::Object(ObjectReference {
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            part,
        })
    }

    pub fn is_secret(&self) -> bool {
        self.secret_in().is_some()
    }

    /// The namespace of a Secret.
    pub(super) fn secret_in(&self) -> Option<&str> {
        match self {
            Self::Object(object) if object.resource.kind == "Secret" => object.namespace.as_deref(),
            _ => None,
        }
    }
}

impl ObjectReference {
    /// `secrets`, or `deployments.apps` with a group: as RBAC rules and `kubectl auth can-i` write it.
    pub(super) fn group_resource(&self) -> String {
        if self.resource.group.is_empty() {
            self.resource.plural.clone()
        } else {
            format!("{}.{}", self.resource.plural, self.resource.group)
        }
    }
}

fn keda(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "keda.sh".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "keda.sh/v1alpha1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// `Secret shop/rabbitmq`, or `ClusterTriggerAuthentication vault` without a namespace.
impl fmt::Display for ObjectReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.resource.kind, self.name),
            None => write!(f, "{} {}", self.resource.kind, self.name),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Credential(credential) => credential.fmt(f),
        }
    }
}

/// A credential's key may hold what it is fetched with: only its name is told.
impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => write!(f, "{object} ({:?})", object.part),
            Self::Credential(credential) => write!(f, "{credential}"),
        }
    }
}

/// What a reference asked for, as last seen. Holds secrets: its `Debug` says only what it is.
#[derive(Clone, PartialEq)]
pub struct Referenced {
    title: String,
    content: Value,
}

impl Referenced {
    /// Keeps of `object` what `reference` asks for and lets the rest go: annotations too, since
    /// `last-applied-configuration` repeats a whole Secret.
    pub(super) fn trim(reference: &ObjectReference, object: DynamicObject) -> Self {
        let mut content = object.data;
        match reference.part {
            Part::Content => {
                if let Some(fields) = content.as_object_mut() {
                    fields.remove("status");
                }
            }
            Part::PodTemplate => {
                content = content
                    .pointer_mut("/spec/template")
                    .map(Value::take)
                    .unwrap_or_default();
                // The template's own metadata is never looked at, and rollout tools write there.
                if let Some(fields) = content.as_object_mut() {
                    fields.remove("metadata");
                }
            }
            Part::Identity => {
                let mut annotations = object.metadata.annotations.unwrap_or_default();
                content = json!({
                    "uid": object.metadata.uid,
                    "roleArn": annotations.remove(AWS_ROLE_ARN),
                });
            }
        }
        Self {
            title: reference.to_string(),
            content,
        }
    }

    /// What was fetched of a credential.
    pub(super) fn fetched(credential: &Credential, content: Map<String, Value>) -> Self {
        Self {
            title: credential.to_string(),
            content: Value::Object(content),
        }
    }

    /// The fields of a credential, each in the shape in which its source gave it.
    pub fn fields(&self) -> Map<String, Value> {
        self.content.as_object().cloned().unwrap_or_default()
    }

    /// The value at a JSON pointer such as `/spec`; `None` where there is none.
    ///
    /// # Errors
    /// When the value has another shape than `T`; the text names the object and the pointer.
    pub fn field<T: DeserializeOwned>(&self, pointer: &str) -> Result<Option<T>, String> {
        match self.content.pointer(pointer) {
            None | Some(Value::Null) => Ok(None),
            // serde's message may quote the value, and the value may be a secret.
            Some(value) => T::deserialize(value).map(Some).map_err(|_| {
                format!(
                    "{}: the field {pointer} has an unexpected shape",
                    self.title
                )
            }),
        }
    }

    /// The pod spec of a [`Reference::target`]; `None` where the target has no `spec.template` or a template without
    /// containers (KEDA: then there is no environment to read).
    ///
    /// # Errors
    /// When `spec.template.spec` isn't a pod spec.
    pub fn pod_spec(&self) -> Result<Option<PodSpec>, String> {
        let spec: Option<PodSpec> = self.field("/spec")?;
        Ok(spec.filter(|spec| !spec.containers.is_empty()))
    }

    /// A Secret's `data`, decoded.
    ///
    /// # Errors
    /// When a value isn't base64; the text names the key, never the value.
    pub fn secret(&self) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let encoded: BTreeMap<String, String> = self.field("/data")?.unwrap_or_default();
        encoded
            .into_iter()
            .map(|(key, value)| match BASE64_STANDARD.decode(value) {
                Ok(decoded) => Ok((key, decoded)),
                Err(_) => Err(format!(
                    "{}: the value of key {key:?} is not base64",
                    self.title
                )),
            })
            .collect()
    }

    /// A ConfigMap's `data` (KEDA reads no `binaryData`).
    ///
    /// # Errors
    /// When `data` isn't a map of strings.
    pub fn config_map(&self) -> Result<BTreeMap<String, String>, String> {
        Ok(self.field("/data")?.unwrap_or_default())
    }
}

impl fmt::Debug for Referenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Referenced({})", self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::GroupVersionKind;
    use serde_json::json;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn trim(reference: &Reference, object: DynamicObject) -> Referenced {
        match reference {
            Reference::Object(reference) => Referenced::trim(reference, object),
            Reference::Credential(_) => panic!("{reference} is no object"),
        }
    }

    fn deployments() -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"))
    }

    #[test]
    fn a_secret_never_shows_in_debug() {
        let reference = Reference::secret("shop", "mq");
        let secret = trim(
            &reference,
            object(
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mq"}, "data": {"p": "aHVudGVyMg=="}}),
            ),
        );
        assert_eq!(format!("{secret:?}"), "Referenced(Secret shop/mq)");
        assert_eq!(secret.secret().unwrap()["p"], b"hunter2");
    }

    #[test]
    fn a_value_that_is_not_base64_is_named_by_its_key_only() {
        let reference = Reference::secret("shop", "mq");
        let secret = trim(
            &reference,
            object(json!({"metadata": {}, "data": {"p": "%hunter2"}})),
        );
        let problem = secret.secret().unwrap_err();
        assert!(
            problem.contains("\"p\"") && !problem.contains("hunter2"),
            "{problem}"
        );
    }

    #[test]
    fn only_the_pod_template_of_a_target_counts() {
        let reference = Reference::target(deployments(), "shop", "orders");
        let deployment = |replicas: i32, image: &str, restarted: &str| {
            trim(
                &reference,
                object(json!({
                    "metadata": {"name": "orders", "resourceVersion": replicas.to_string()},
                    "spec": {"replicas": replicas, "template": {
                        "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": restarted}},
                        "spec": {"containers": [{"name": "app", "image": image}]}}},
                    "status": {"replicas": replicas},
                })),
            )
        };
        assert_eq!(deployment(1, "a", "x"), deployment(5, "a", "y"));
        assert_ne!(deployment(1, "a", "x"), deployment(1, "b", "x"));
        assert_eq!(
            deployment(1, "a", "x")
                .pod_spec()
                .unwrap()
                .unwrap()
                .containers[0]
                .name,
            "app"
        );
    }

    #[test]
    fn status_and_metadata_of_a_trigger_authentication_do_not_count() {
        let reference = Reference::trigger_authentication("shop", "mq");
        let authentication = |version: &str, users: &str, key: &str| {
            trim(
                &reference,
                object(json!({
                    "metadata": {"resourceVersion": version, "managedFields": []},
                    "spec": {"secretTargetRef": [{"parameter": "host", "name": "mq", "key": key}]},
                    "status": {"scaledobjects": users},
                })),
            )
        };
        assert_eq!(
            authentication("1", "", "a"),
            authentication("2", "orders", "a")
        );
        assert_ne!(authentication("1", "", "a"), authentication("1", "", "b"));
    }

    #[test]
    fn of_a_service_account_only_who_it_is_counts() {
        let reference = Reference::service_account("shop", "orders");
        let account = |uid: &str, role: &str, other: &str| {
            trim(
                &reference,
                object(json!({
                    "metadata": {"uid": uid, "annotations": {AWS_ROLE_ARN: role, "other": other}},
                    "secrets": [{"name": other}],
                })),
            )
        };
        assert_eq!(account("1", "a", "x"), account("1", "a", "y"));
        assert_ne!(account("1", "a", "x"), account("2", "a", "x"));
        assert_ne!(account("1", "a", "x"), account("1", "b", "x"));
        let role: Option<String> = account("1", "a", "x").field("/roleArn").unwrap();
        assert_eq!(role.as_deref(), Some("a"));
    }

    #[test]
    fn a_target_without_a_template_has_no_pod_spec() {
        let reference = Reference::target(deployments(), "shop", "orders");
        let custom = trim(
            &reference,
            object(json!({"metadata": {}, "spec": {"replicas": 1}})),
        );
        assert!(custom.pod_spec().unwrap().is_none());
    }
}
