//! Follows the pods of one workload: lists and watches them by the workload's own selector.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher;
use kube::{Api, Client};
use sakidori_api::ScaleTargetRef;
use sakidori_engine::resize::{Pod, ResizeEvent};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::pod::{ResizablePod, belongs_to, to_engine};
use super::usage::Used;
use crate::target::{Target, TargetError, Targets};
use crate::tries::Tries;
use crate::watches::resilient;

/// A workload that isn't there may be made: a pod that starts is to be seen at once.
const ABSENT_FOR: Duration = Duration::from_secs(5);
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(15);
/// A workload's selector hardly ever changes, and nothing shows that it did.
const SELECTOR_COUNTS_FOR: Duration = Duration::from_secs(300);

/// Whose pods are followed, and how.
pub struct Follower {
    pub client: Client,
    pub targets: Arc<Targets>,
    pub namespace: String,
    pub reference: ScaleTargetRef,
    pub used: Used,
}

/// A workload whose pods can be found.
struct Found {
    target: Target,
    selector: String,
}

impl Follower {
    /// Tells what is seen of the pods, for ever. A workload that isn't there has none.
    pub async fn run(self, tell: impl Fn(ResizeEvent)) {
        loop {
            match self.look_up().await {
                Some(found) => self.watch(&found, &tell).await,
                None => {
                    // Its pods are on their way out, or are another workload's by now.
                    tell(ResizeEvent::Listed(Vec::new()));
                    sleep(ABSENT_FOR).await;
                }
            }
        }
    }

    /// The workload's selector; `None` where there is no such workload. Tries until the API server can tell.
    async fn look_up(&self) -> Option<Found> {
        let mut tries = Tries::default();
        loop {
            match timeout(LOOKED_UP_WITHIN, self.try_look_up()).await {
                Ok(Ok(Some(found))) => return Some(found),
                Ok(Err(error)) if is_gone(&error) => return None,
                Ok(Err(error)) => {
                    debug!(target = self.reference.name, %error, "its pods can't be found");
                }
                Ok(Ok(None)) | Err(_) => {}
            }
            tries.rest().await;
        }
    }

    /// `None` while the workload's controller has not looked at it: an empty selector would find all pods.
    async fn try_look_up(&self) -> Result<Option<Found>, TargetError> {
        let reference = &self.reference;
        let target = self.targets.resolve(&self.namespace, reference).await?;
        let scale = self.targets.scale(&target).await?;
        let selector = scale.status.and_then(|status| status.selector);
        let selector = selector.filter(|selector| !selector.is_empty());
        Ok(selector.map(|selector| Found { target, selector }))
    }

    /// Watches until the selector is found to be another.
    async fn watch(&self, known: &Found, tell: &impl Fn(ResizeEvent)) {
        let api: Api<ResizablePod> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watcher::Config::default().labels(&known.selector);
        let mut stream = std::pin::pin!(resilient("Pods", watcher(api, config)));
        let seen = |pod: &ResizablePod| -> Option<Pod> {
            let own = belongs_to(pod, &known.target);
            own.then(|| to_engine(pod, &self.used)).flatten()
        };
        let mut listed = Vec::new();
        let mut until = Instant::now() + SELECTOR_COUNTS_FOR;
        let mut looking_up = None;
        loop {
            // Looking it up must not keep pods waiting, however long that takes.
            let event = tokio::select! {
                event = stream.next() => match event {
                    Some(event) => event,
                    None => return,
                },
                () = sleep_until(until), if looking_up.is_none() => {
                    looking_up = Some(Box::pin(timeout(LOOKED_UP_WITHIN, self.try_look_up())));
                    continue;
                }
                found = async {
                    match &mut looking_up {
                        Some(found) => found.await,
                        None => std::future::pending().await,
                    }
                } => {
                    (looking_up, until) = (None, Instant::now() + SELECTOR_COUNTS_FOR);
                    match found {
                        Ok(Ok(Some(newer))) if newer.selector != known.selector => return,
                        Ok(Err(error)) if is_gone(&error) => return,
                        _ => continue,
                    }
                }
            };
            match event {
                watcher::Event::Init => listed.clear(),
                watcher::Event::InitApply(pod) => listed.extend(seen(&pod)),
                watcher::Event::InitDone => tell(ResizeEvent::Listed(std::mem::take(&mut listed))),
                watcher::Event::Apply(pod) => {
                    if let Some(pod) = seen(&pod) {
                        tell(ResizeEvent::Seen(Box::new(pod)));
                    }
                }
                watcher::Event::Delete(pod) => {
                    if let Some(uid) = pod.metadata.uid.as_deref() {
                        tell(ResizeEvent::Gone { uid: uid.into() });
                    }
                }
            }
        }
    }
}

/// There is no such workload, rather than nobody to ask.
fn is_gone(error: &TargetError) -> bool {
    error.is_for_good() || matches!(error, TargetError::NotFound { .. })
}
