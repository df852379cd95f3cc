//! Records the replicas of all Deployments of a namespace, each change with its time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use tokio::task::JoinSet;

use super::judge::Step;

/// While the API server is away, it is looked for that often: what happens when it is back is seen at once.
const AGAIN: Duration = Duration::from_millis(100);

type Seen = Arc<Mutex<BTreeMap<String, Vec<Step>>>>;

/// Watches until it is dropped.
pub struct Recorder {
    seen: Seen,
    _task: JoinSet<()>,
}

impl Recorder {
    pub fn start(client: Client, namespace: &str) -> Self {
        let api: Api<Deployment> = Api::namespaced(client, namespace);
        let seen = Seen::default();
        let mut task = JoinSet::new();
        let into = seen.clone();
        task.spawn(async move {
            loop {
                // An API server that goes away ends the watch.
                let _ = watch(&api, &into).await;
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self { seen, _task: task }
    }

    /// Every change of a Deployment's `spec.replicas`.
    pub fn steps(&self, name: &str) -> Vec<Step> {
        lock(&self.seen).get(name).cloned().unwrap_or_default()
    }
}

async fn watch(api: &Api<Deployment>, seen: &Seen) -> Result<()> {
    let list = api.list(&ListParams::default()).await?;
    for deployment in &list.items {
        record(seen, deployment);
    }
    let version = list.metadata.resource_version.unwrap_or_default();
    let mut events = api.watch(&WatchParams::default(), &version).await?.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(deployment) | WatchEvent::Modified(deployment) => {
                record(seen, &deployment);
            }
            WatchEvent::Error(status) => anyhow::bail!("{status}"),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

fn record(seen: &Seen, deployment: &Deployment) {
    let at = Instant::now();
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let mut seen = lock(seen);
    let steps = seen.entry(deployment.name_any()).or_default();
    if let Some(replicas) = replicas
        && steps.last().map(|step| step.replicas) != Some(replicas)
    {
        steps.push(Step { at, replicas });
    }
}

fn lock(seen: &Seen) -> MutexGuard<'_, BTreeMap<String, Vec<Step>>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
