//! The one module that writes HPAs: by server-side apply, and only where the one in the cluster differs.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::hpa::{FIELD_MANAGER, Wanted};
use crate::hpa_index::controller;
use crate::lean::LeanHpa;

pub struct HpaWriter {
    client: Client,
}

impl HpaWriter {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes what is asked for be in the cluster; `known` is what the watch last showed of it. Returns what the API server made of
    /// it, or `None` where nothing had to be written.
    ///
    /// # Errors
    /// The API server's refusal, or that it can't be reached; and an HPA of that name that belongs to someone else.
    pub async fn ensure(
        &self,
        wanted: &Wanted,
        known: Option<&HorizontalPodAutoscaler>,
    ) -> Result<Option<HorizontalPodAutoscaler>, kube::Error> {
        if known.is_some_and(|known| wanted.is_met_by(known)) {
            return Ok(None);
        }
        let desired = &wanted.desired;
        let api: Api<LeanHpa> = self.api(desired);
        let name = desired.name_any();
        // An HPA whose ScaledObject was deleted and made again still names the old one as its controller: take it over
        // before the garbage collector removes it, so that the target is never without an HPA.
        if known.is_some_and(|known| has_stale_owner(desired, known)) {
            let owners =
                json!({"metadata": {"ownerReferences": desired.metadata.owner_references}});
            match api
                .patch(&name, &PatchParams::default(), &Patch::Merge(&owners))
                .await
            {
                // The garbage collector was quicker: then it is made anew.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                taken => drop(taken?),
            }
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&name, &params, &Patch::Apply(desired)).await?;
        let applied = HorizontalPodAutoscaler::from(applied);
        if wanted.is_met_by(&applied) {
            return Ok(Some(applied));
        }
        // Someone else (a person, or KEDA before it was replaced) set what is not wanted, which apply leaves alone: replace the
        // whole. What still differs then is the API server's way, and is remembered as that.
        let mut whole = desired.clone();
        whole.metadata.resource_version = applied.metadata.resource_version;
        let api: Api<HorizontalPodAutoscaler> = self.api(desired);
        api.replace(&name, &Default::default(), &whole)
            .await
            .map(Some)
    }

    /// Deletes the HPA `name` if it is the one with `uid`. One that is gone already is no error.
    ///
    /// # Errors
    /// The API server's refusal, or that it can't be reached.
    pub async fn delete(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<String>,
    ) -> Result<(), kube::Error> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), namespace);
        let params = DeleteParams {
            preconditions: uid.map(|uid| Preconditions {
                uid: Some(uid),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// That the API server can't be reached or refuses.
    pub async fn get(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<HorizontalPodAutoscaler>, kube::Error> {
        let api: Api<LeanHpa> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await?;
        Ok(found.map(HorizontalPodAutoscaler::from))
    }

    fn api<K>(&self, hpa: &HorizontalPodAutoscaler) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &hpa.namespace().unwrap_or_default())
    }
}

/// True where the HPA's controller is a ScaledObject that is there no more: one of the same name with another uid, or (as was
/// checked before) one that was deleted.
fn has_stale_owner(desired: &HorizontalPodAutoscaler, known: &HorizontalPodAutoscaler) -> bool {
    match (controller(desired), controller(known)) {
        (Some(ours), Some(theirs)) => ours.uid != theirs.uid,
        _ => false,
    }
}
