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
use crate::gate::{Gate, QUICK_REQUEST};
use crate::lock::lock;

/// Between two looks: somebody may upgrade the cluster, or grant the right. Each time twice as long, up to the second.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
const AT_LEAST_EVERY: Duration = Duration::from_secs(120);
/// After a request that shows that they can't be: an API server that has just started knows no roles for a moment, and refuses what it will allow.
/// Each time twice as long, up to 9 minutes.
const LOOK_AFTER_A_STOP: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 9;
const LOOK_WITHIN: Duration = Duration::from_secs(15);
/// Of all namespaces: whoever has just started is not to be asked for thousands at once.
const LOOKS_AT_ONCE: usize = 8;
/// What was found counts for others, too, but not for so long as whoever asks has waited: what a request has shown meanwhile is newer.
const COUNTS_FOR: Duration = Duration::from_secs(10);

/// What was last found, and when; `None` where it couldn't be told.
#[derive(Default)]
struct Found(Mutex<Option<(Instant, Option<ResizeOutcome>)>>);

/// When to look after a request has shown for so many times before that pods can't be resized, whatever was looked up: of several API servers some
/// may be older.
pub fn after_a_stop(stops: u32) -> Duration {
    LOOK_AFTER_A_STOP * (1 << stops.min(MOST_DOUBLINGS))
}

/// Looks, for all workloads of a namespace together. Cheap to clone.
#[derive(Clone)]
pub struct Foresight {
    client: Client,
    gate: Arc<Gate>,
    /// Of the cluster.
    cluster: Arc<Found>,
    /// Of each namespace.
    namespaces: Arc<std::sync::Mutex<BTreeMap<String, Arc<Found>>>>,
}

impl Foresight {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            gate: Arc::new(Gate::new(LOOKS_AT_ONCE, QUICK_REQUEST)),
            cluster: Arc::default(),
            namespaces: Arc::default(),
        }
    }

    /// Tells what stands in the way in this namespace, and when it no longer does. Ends then: what comes later is told by requests. Where one
    /// has shown that something does, it is looked after this time, and told that nothing does.
    pub async fn run(
        self,
        namespace: String,
        after_a_stop: Option<Duration>,
        tell: impl Fn(ResizeEvent),
    ) {
        sleep(after_a_stop.unwrap_or_default()).await;
        let mut is_stopped = after_a_stop.is_some();
        let pause = after_a_stop.unwrap_or(LOOK_AGAIN);
        let (mut pause, mut told) = (pause.min(AT_LEAST_EVERY), None);
        loop {
            // Where it can't be told, requests will tell.
            let found = self.look(&namespace, COUNTS_FOR.min(pause * 9 / 10)).await;
            let is_possible = found == Some(ResizeOutcome::Done);
            let is_news = found.is_some() && found != told && (is_stopped || !is_possible);
            if let Some(found) = found.filter(|_| is_news) {
                tell(ResizeEvent::Foreseen(found.clone()));
                (told, is_stopped) = (Some(found), true);
            }
            if is_possible {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(AT_LEAST_EVERY);
        }
    }

    async fn look(&self, namespace: &str, counts_for: Duration) -> Option<ResizeOutcome> {
        let look = self.gate.pass(self.is_served());
        let of_cluster = self.cluster.get(counts_for, look).await?;
        if of_cluster != ResizeOutcome::Done {
            return Some(of_cluster);
        }
        let of_namespace = {
            let mut all = lock(&self.namespaces);
            all.entry(namespace.to_owned()).or_default().clone()
        };
        let look = self.gate.pass(self.may_resize(namespace));
        of_namespace.get(counts_for, look).await
    }

    async fn is_served(&self) -> anyhow::Result<ResizeOutcome> {
        let core = self.client.list_core_api_resources("v1").await?;
        let mut names = core.resources.iter().map(|one| &*one.name);
        Ok(match names.any(|name| name == "pods/resize") {
            true => ResizeOutcome::Done,
            false => ResizeOutcome::Unsupported,
        })
    }

    async fn may_resize(&self, namespace: &str) -> anyhow::Result<ResizeOutcome> {
        for (resource, subresource) in [("pods", None), ("pods/resize", Some("resize"))] {
            if !self.may_patch(namespace, subresource).await? {
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

impl Found {
    /// What was found not longer ago than that, or is found now by one for all who ask.
    async fn get(
        &self,
        counts_for: Duration,
        look: impl Future<Output = anyhow::Result<ResizeOutcome>>,
    ) -> Option<ResizeOutcome> {
        let mut last = self.0.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < counts_for
        {
            return found.clone();
        }
        let found = match timeout(LOOK_WITHIN, look).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                let error = format!("{error:#}");
                debug!(error, "whether pods can be resized isn't known");
                None
            }
            Err(_) => {
                debug!("whether pods can be resized isn't known: no answer in time");
                None
            }
        };
        *last = Some((Instant::now(), found.clone()));
        found
    }
}
