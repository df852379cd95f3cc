//! Whether what an object refers to is there. That it isn't is a warning at most: manifests are applied in any order.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use sakidori_api::{ClusterTriggerAuthentication, Trigger, TriggerAuthentication};
use tokio::time::timeout_at;

use super::cluster::ClusterReads;
use super::triggers::{authentication, named};
use super::verdict::Verdict;
use crate::path_name;

/// What is looked for, and how many at a time: an object that refers to more is one nobody wrote by hand.
const LOOKS: usize = 32;
const AT_ONCE: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Referred {
    TriggerAuthentication,
    ClusterTriggerAuthentication,
    ConfigMap,
    Secret,
}

impl Referred {
    /// What an `authenticationRef` refers to.
    pub fn by_authentication(kind: Option<&str>) -> Self {
        match kind {
            Some("ClusterTriggerAuthentication") => Self::ClusterTriggerAuthentication,
            _ => Self::TriggerAuthentication,
        }
    }

    /// `the ConfigMap "drops" is not there yet`.
    pub fn absent(self, name: &str) -> String {
        format!("the {self:?} {name:?} is not there yet")
    }

    /// False only where the API server says that there is none.
    async fn is_there(self, client: Client, namespace: &str, name: &str) -> bool {
        if path_name::check(name).is_err() {
            return false;
        }
        let found = match self {
            Self::TriggerAuthentication => {
                let api: Api<TriggerAuthentication> = Api::namespaced(client, namespace);
                api.get_metadata_opt(name)
                    .await
                    .map(|found| found.is_some())
            }
            Self::ClusterTriggerAuthentication => {
                let api: Api<ClusterTriggerAuthentication> = Api::all(client);
                api.get_metadata_opt(name)
                    .await
                    .map(|found| found.is_some())
            }
            Self::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(client, namespace);
                api.get_metadata_opt(name)
                    .await
                    .map(|found| found.is_some())
            }
            Self::Secret => {
                let api: Api<Secret> = Api::namespaced(client, namespace);
                api.get_metadata_opt(name)
                    .await
                    .map(|found| found.is_some())
            }
        };
        found.unwrap_or(true)
    }
}

/// Names what is looked for, with the warning where it isn't there. Each is looked for once.
pub type Wanted = BTreeMap<(Referred, String), String>;

impl ClusterReads {
    /// Warns of what isn't there.
    pub async fn look_for_referred(
        &self,
        namespace: &str,
        wanted: Wanted,
        until: Instant,
        verdict: &mut Verdict,
    ) {
        let looks = futures::stream::iter(wanted.into_iter().take(LOOKS))
            .map(|((kind, name), warning)| async move {
                let there = kind.is_there(self.client.clone(), namespace, &name).await;
                (!there).then_some(warning)
            })
            .buffered(AT_ONCE)
            .filter_map(std::future::ready);
        let missing: Vec<String> = timeout_at(until.into(), looks.collect())
            .await
            .unwrap_or_default();
        for warning in missing {
            verdict.warn(warning);
        }
    }
}

/// The authentications of triggers.
pub fn authentications(triggers: &[Trigger]) -> Wanted {
    let mut wanted = Wanted::new();
    for (index, trigger) in triggers.iter().enumerate() {
        if let Some(reference) = authentication(trigger) {
            let kind = Referred::by_authentication(reference.kind.as_deref());
            wanted
                .entry((kind, reference.name.clone()))
                .or_insert_with(|| named(index, trigger, &kind.absent(&reference.name)));
        }
    }
    wanted
}
