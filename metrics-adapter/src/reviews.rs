//! Questions to the Kubernetes API server: who a token belongs to, and what somebody may do.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::status::Failure;

/// As kube-apiserver's own delegation: an answer that takes longer is no answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Reviews under way at the same time; the others wait. Somebody who sprays tokens must not flood the API server.
const CONCURRENT: usize = 32;

/// Asks TokenReviews and SubjectAccessReviews.
pub(crate) struct Reviews {
    client: kube::Client,
    slots: Semaphore,
}

impl Reviews {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            client,
            slots: Semaphore::new(CONCURRENT),
        }
    }

    /// Sends `review` and gives it back with its status filled in.
    ///
    /// # Errors
    /// 503 when the API server can't be asked or doesn't answer in time.
    pub(crate) async fn ask<K>(&self, review: &K) -> Result<K, Failure>
    where
        K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>,
        K: Clone + Debug + Serialize + DeserializeOwned,
    {
        let kind = K::kind(&());
        let asked = timeout(DEADLINE, async {
            // The semaphore is never closed, so that the permit is always there.
            let _slot = self.slots.acquire().await;
            Api::<K>::all(self.client.clone())
                .create(&PostParams::default(), review)
                .await
        });
        match asked.await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => {
                tracing::warn!(%error, %kind, "a review could not be asked: the request is refused");
                Err(Failure::unavailable(format!(
                    "the API server could not be asked for a {kind}"
                )))
            }
            Err(_) => {
                tracing::warn!(%kind, "a review took longer than {DEADLINE:?}: the request is refused");
                Err(Failure::unavailable(format!(
                    "the API server did not answer a {kind} in {DEADLINE:?}"
                )))
            }
        }
    }
}
