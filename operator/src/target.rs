//! The scale target: which resource a `scaleTargetRef` names, and its `/scale` subresource.
//!
//! This is the one module that writes replicas.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::api_error::plain;
use crate::gate::{Gate, QUICK_REQUEST};
use crate::lean::LeanPod;
use crate::lock::lock;
use crate::path_name;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use sakidori_api::{GroupVersionKindResource, ScaleTargetRef, defaults};

/// Reads of `/scale` that begin at the same time. Each takes a connection to the API server, and a poll needs one.
const READS_AT_ONCE: usize = 64;

/// Resolves and scales targets of any kind that has a `/scale` subresource.
pub struct Targets {
    client: Client,
    /// Kinds that discovery answered for. Only successes are kept, so a CRD that is installed later is found.
    kinds: Mutex<HashMap<GroupVersionKind, ApiResource>>,
    reads: Gate,
}

/// A `scaleTargetRef` whose resource is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub resource: ApiResource,
    pub namespace: String,
    pub name: String,
}

impl Target {
    /// `apps/v1.Deployment`: how status and Events name the kind. Like KEDA, the core group shows as a leading slash.
    pub fn kind(&self) -> String {
        format!(
            "{}/{}.{}",
            self.resource.group, self.resource.version, self.resource.kind
        )
    }

    /// `deployments.apps`: how the API server's errors name the resource.
    pub fn resource_name(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.plural.clone(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }

    /// True for a Deployment or StatefulSet of `apps/v1`.
    pub fn is_built_in(&self) -> bool {
        let (group, version) = (&self.resource.group, &self.resource.version);
        built_in(&GroupVersionKind::gvk(group, version, &self.resource.kind)).is_some()
    }

    /// The reference that leads to it.
    pub fn reference(&self) -> ScaleTargetRef {
        ScaleTargetRef {
            name: self.name.clone(),
            api_version: Some(self.resource.api_version.clone()),
            kind: Some(self.resource.kind.clone()),
            ..ScaleTargetRef::default()
        }
    }

    /// The form that `status.scaleTargetGVKR` takes.
    pub fn group_version_kind_resource(&self) -> GroupVersionKindResource {
        GroupVersionKindResource {
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            kind: self.resource.kind.clone(),
            resource: self.resource.plural.clone(),
        }
    }
}

/// Why a target can't be scaled. The texts are those of Go's libraries, which KEDA passes on, or begin as KEDA's do.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("unexpected GroupVersion string: {0}")]
    ApiVersion(String),
    #[error("scaleTargetRef: {0}")]
    Name(String),
    #[error("{}", no_kind(api_version, kind, source))]
    Kind {
        api_version: String,
        kind: String,
        source: Box<kube::Error>,
    },
    /// The text is the API server's own, which KEDA passes on.
    #[error("{resource} {name:?} not found")]
    NotFound { resource: String, name: String },
    #[error(
        "{resource} {name:?} doesn't expose the /scale subresource: only such kinds can be scaled"
    )]
    NotScalable { resource: String, name: String },
    /// RBAC does not let the operator scale it.
    #[error(
        "the operator has no right to scale {resource} {name:?} ({message}): add {{apiGroup: {group:?}, kind: {plural:?}}} to \
         rbac.scaledRefKinds of its Helm chart"
    )]
    Forbidden {
        resource: String,
        name: String,
        group: String,
        plural: String,
        message: String,
    },
    #[error("reading /scale of {resource} {name:?}: {}", plain(source))]
    Read {
        resource: String,
        name: String,
        source: Box<kube::Error>,
    },
}

impl TargetError {
    /// True where the reference can't lead to anything: no such kind, and not just nobody to ask.
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::ApiVersion(_) | Self::Name(_) => true,
            Self::Kind { source, .. } => is_unknown(source),
            Self::NotFound { .. }
            | Self::NotScalable { .. }
            | Self::Forbidden { .. }
            | Self::Read { .. } => false,
        }
    }
}

/// True where the API server answered, and does not serve the kind.
fn is_unknown(source: &kube::Error) -> bool {
    match source {
        kube::Error::Api(status) => status.code == 404,
        kube::Error::Discovery(_) => true,
        _ => false,
    }
}

fn no_kind(api_version: &str, kind: &str, source: &kube::Error) -> String {
    if is_unknown(source) {
        format!("no matches for kind {kind:?} in version {api_version:?}")
    } else {
        format!("looking up kind {kind} of {api_version}: {}", plain(source))
    }
}

/// How a write of replicas went.
pub enum ScaleWrite {
    Done,
    /// The target no longer has the replicas that the decision was based on; nothing was written.
    Conflict,
    Failed(String),
}

impl Targets {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            kinds: Mutex::default(),
            reads: Gate::new(READS_AT_ONCE, QUICK_REQUEST),
        }
    }

    /// Finds the resource that `reference` names. Asks the API server once per kind other than the built-in ones.
    ///
    /// # Errors
    /// For an apiVersion that isn't one, and for a kind that the cluster doesn't serve.
    pub async fn resolve(
        &self,
        namespace: &str,
        reference: &ScaleTargetRef,
    ) -> Result<Target, TargetError> {
        let (api_version, kind) = api_version_and_kind(reference);
        let (group, version) = match api_version.split('/').collect::<Vec<_>>()[..] {
            [version] if !version.is_empty() => ("", version),
            [group, version] if !group.is_empty() && !version.is_empty() => (group, version),
            _ => return Err(TargetError::ApiVersion(api_version.to_owned())),
        };
        path_name::check(&reference.name).map_err(TargetError::Name)?;
        if [group, version]
            .iter()
            .any(|part| !part.is_empty() && path_name::check(part).is_err())
        {
            return Err(TargetError::ApiVersion(api_version.to_owned()));
        }
        let kind = GroupVersionKind::gvk(group, version, kind);
        let target = |resource| Target {
            resource,
            namespace: namespace.to_owned(),
            name: reference.name.clone(),
        };
        if let Some(resource) = built_in(&kind).or_else(|| self.known(&kind)) {
            return Ok(target(resource));
        }
        match kube::discovery::pinned_kind(&self.client, &kind).await {
            Ok((resource, _)) => {
                lock(&self.kinds).insert(kind, resource.clone());
                Ok(target(resource))
            }
            Err(source) => Err(TargetError::Kind {
                api_version: api_version.to_owned(),
                kind: kind.kind,
                source: Box::new(source),
            }),
        }
    }

    fn known(&self, kind: &GroupVersionKind) -> Option<ApiResource> {
        lock(&self.kinds).get(kind).cloned()
    }

    /// Reads `/scale`.
    ///
    /// # Errors
    /// Tells a target that isn't there from one that can't be scaled.
    pub async fn scale(&self, target: &Target) -> Result<Scale, TargetError> {
        let api = self.api(target);
        let (resource, name) = (target.resource_name(), target.name.clone());
        match self.reads.pass(api.get_scale(&target.name)).await {
            Ok(scale) => Ok(scale),
            // For an object that isn't there the API server names it; for a subresource that isn't there it knows nothing.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let named = status
                    .details
                    .as_ref()
                    .is_some_and(|details| details.name == name);
                Err(if named {
                    TargetError::NotFound { resource, name }
                } else {
                    TargetError::NotScalable { resource, name }
                })
            }
            // RBAC is asked first, so it also forbids what isn't there.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                if self.has_no_scale(&target.resource).await {
                    return Err(TargetError::NotScalable { resource, name });
                }
                Err(TargetError::Forbidden {
                    resource,
                    name,
                    group: target.resource.group.clone(),
                    plural: target.resource.plural.clone(),
                    message: status.message.clone(),
                })
            }
            Err(source) => Err(TargetError::Read {
                resource,
                name,
                source: Box::new(source),
            }),
        }
    }

    /// True where the API server says that the kind has no `/scale`.
    async fn has_no_scale(&self, resource: &ApiResource) -> bool {
        let kind = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
        let looked_up = kube::discovery::pinned_kind(&self.client, &kind);
        self.reads.pass(looked_up).await.is_ok_and(|(_, found)| {
            let mut subresources = found.subresources.iter();
            !subresources.any(|(subresource, _)| subresource.plural == "scale")
        })
    }

    /// All pods of the target, as far as they are looked at ([`LeanPod`]). `scale` is the target's, which says how they are found.
    ///
    /// # Errors
    /// If the target names no selector, or the pods can't be listed.
    pub async fn pods(&self, target: &Target, scale: &Scale) -> Result<Vec<Pod>, String> {
        let selector = scale
            .status
            .as_ref()
            .and_then(|status| status.selector.as_deref());
        let selector = selector.filter(|selector| !selector.is_empty());
        let selector = selector.ok_or_else(|| "its scale has no selector".to_owned())?;
        let api: Api<LeanPod> = Api::namespaced(self.client.clone(), &target.namespace);
        let params = ListParams::default().labels(selector);
        let pods = self.reads.pass(api.list(&params)).await;
        let pods = pods.map_err(|error| plain(&error))?.items;
        Ok(pods.into_iter().map(Pod::from).collect())
    }

    /// Why the target's pods can't be made, where its controller says so (a Deployment does).
    pub async fn replica_failure(&self, target: &Target) -> Option<String> {
        let api = self.api(target);
        let object = self.reads.pass(api.get(&target.name)).await.ok()?;
        let conditions = object.data.get("status")?.get("conditions")?.as_array()?;
        let failure = conditions
            .iter()
            .find(|one| one["type"] == "ReplicaFailure" && one["status"] == "True")?;
        failure["message"].as_str().map(str::to_owned)
    }

    /// What controllers of a namespace told of pods that they could not make, within the hour for which Events are kept.
    pub async fn failed_creations(&self, namespace: &str) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().fields("reason=FailedCreate");
        let events = self.reads.pass(api.list(&params)).await;
        events.map(|events| events.items).unwrap_or_default()
    }

    /// The target's pods that are Running and Ready. `scale` is the target's, which says how its pods are found.
    ///
    /// # Errors
    /// If the target names no selector, or the pods can't be listed.
    pub async fn ready_pods(&self, target: &Target, scale: &Scale) -> Result<i32, String> {
        let pods = self.pods(target, scale).await?;
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Ok(i32::try_from(ready).unwrap_or(i32::MAX))
    }

    /// Sets the replicas to `to` if the target still has `from`.
    pub async fn write(&self, target: &Target, from: i32, to: i32) -> ScaleWrite {
        let api = self.api(target);
        let mut scale = match self.scale(target).await {
            Ok(scale) => scale,
            Err(error) => return ScaleWrite::Failed(error.to_string()),
        };
        if replicas(&scale) != from {
            return ScaleWrite::Conflict;
        }
        scale.spec.get_or_insert_default().replicas = Some(to);
        // The scale carries its resourceVersion: a change in between is refused by the API server.
        match api
            .replace_scale(&target.name, &PostParams::default(), &scale)
            .await
        {
            Ok(_) => ScaleWrite::Done,
            Err(kube::Error::Api(status)) if status.code == 409 => ScaleWrite::Conflict,
            Err(error) => ScaleWrite::Failed(plain(&error)),
        }
    }

    fn api(&self, target: &Target) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &target.namespace, &target.resource)
    }
}

/// Running and Ready, as the HPA counts (KEDA: getReadyReplicasCount).
fn is_ready(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    status.phase.as_deref() == Some("Running") && ready
}

/// `spec.replicas` of a scale: the API leaves a zero out.
pub fn replicas(scale: &Scale) -> i32 {
    scale
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(0)
}

/// True where two references name the same object, whether they spell the defaults out or not.
pub fn same_target(a: &ScaleTargetRef, b: &ScaleTargetRef) -> bool {
    api_version_and_kind(a) == api_version_and_kind(b) && a.name == b.name
}

/// `apps/v1.Deployment` for a reference, without asking the API server.
pub fn kind_of(reference: &ScaleTargetRef) -> String {
    let (api_version, kind) = api_version_and_kind(reference);
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}.{kind}")
}

/// What a reference means, with the defaults filled in.
pub fn api_version_and_kind(reference: &ScaleTargetRef) -> (&str, &str) {
    (
        reference
            .api_version
            .as_deref()
            .filter(|v| !v.is_empty())
            .unwrap_or(defaults::TARGET_API_VERSION),
        reference
            .kind
            .as_deref()
            .filter(|k| !k.is_empty())
            .unwrap_or(defaults::TARGET_KIND),
    )
}

/// The two kinds that nearly every target has need no discovery.
fn built_in(kind: &GroupVersionKind) -> Option<ApiResource> {
    match (
        kind.group.as_str(),
        kind.version.as_str(),
        kind.kind.as_str(),
    ) {
        ("apps", "v1", "Deployment") => {
            Some(ApiResource::from_gvk_with_plural(kind, "deployments"))
        }
        ("apps", "v1", "StatefulSet") => {
            Some(ApiResource::from_gvk_with_plural(kind, "statefulsets"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_keda_names_them() {
        let target = |group: &str, version: &str, kind: &str| Target {
            resource: ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk(group, version, kind),
                "x",
            ),
            namespace: "shop".into(),
            name: "orders".into(),
        };
        assert_eq!(
            target("apps", "v1", "Deployment").kind(),
            "apps/v1.Deployment"
        );
        assert_eq!(
            target("", "v1", "ReplicationController").kind(),
            "/v1.ReplicationController"
        );
        assert_eq!(
            target("argoproj.io", "v1alpha1", "Rollout").kind(),
            "argoproj.io/v1alpha1.Rollout"
        );
    }

    #[test]
    fn a_scale_without_replicas_is_at_zero() {
        assert_eq!(replicas(&Scale::default()), 0);
    }
}
