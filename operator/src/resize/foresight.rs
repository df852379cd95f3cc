//! Whether pods can be resized at all, looked up when an object first asks for it: whoever prepares for a sale is to be told before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use sakidori_engine::resize::{ResizeEvent, ResizeOutcome};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::outcome::not_allowed;

/// Somebody may upgrade the cluster, or grant the right.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
const LOOK_WITHIN: Duration = Duration::from_secs(15);
/// What was found for a namespace counts for its other objects, too.
const COUNTS_FOR: Duration = Duration::from_secs(10);

/// Looks, for one namespace after the other. Cheap to clone.
#[derive(Clone)]
pub struct Foresight {
    client: Client,
    found: Arc<Mutex<BTreeMap<String, (Instant, ResizeOutcome)>>>,
}

impl Foresight {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            found: Arc::default(),
        }
    }

    /// Tells what stands in the way in this namespace, and when it no longer does. Ends then: what comes later is told by requests.
    pub async fn run(self, namespace: String, tell: impl Fn(ResizeEvent)) {
        let mut told = None;
        loop {
            match self.look(&namespace).await {
                Ok(ResizeOutcome::Done) if told.is_none() => return,
                Ok(found) => {
                    let is_possible = found == ResizeOutcome::Done;
                    if told.as_ref() != Some(&found) {
                        tell(ResizeEvent::Foreseen(found.clone()));
                        told = Some(found);
                    }
                    if is_possible {
                        return;
                    }
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    debug!(namespace, error, "whether pods can be resized isn't known");
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn look(&self, namespace: &str) -> anyhow::Result<ResizeOutcome> {
        let mut all = self.found.lock().await;
        all.retain(|_, (at, _)| at.elapsed() < COUNTS_FOR);
        if let Some((_, found)) = all.get(namespace) {
            return Ok(found.clone());
        }
        let found = timeout(LOOK_WITHIN, self.ask(namespace)).await??;
        all.insert(namespace.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }

    async fn ask(&self, namespace: &str) -> anyhow::Result<ResizeOutcome> {
        let core = self.client.list_core_api_resources("v1").await?;
        if !core.resources.iter().any(|one| one.name == "pods/resize") {
            return Ok(ResizeOutcome::Unsupported);
        }
        for subresource in [None, Some("resize")] {
            if !self.may_patch(namespace, subresource).await? {
                let resource = ["pods"].into_iter().chain(subresource);
                let resource = resource.collect::<Vec<_>>().join("/");
                let message = format!(
                    "this operator cannot patch resource \"{resource}\" in the namespace \"{namespace}\""
                );
                return Ok(not_allowed(&message));
            }
        }
        Ok(ResizeOutcome::Done)
    }

    async fn may_patch(&self, namespace: &str, subresource: Option<&str>) -> anyhow::Result<bool> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    verb: Some("patch".to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("pods".to_owned()),
                    subresource: subresource.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        let status = answer.status.context("a review without an answer")?;
        Ok(status.allowed)
    }
}
