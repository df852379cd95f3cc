//! Questions to the Kubernetes API server: who a token belongs to, and what somebody may do.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::timeout;

use crate::spell::SharedSpell;
use crate::status::Failure;

/// As kube-apiserver's own delegation: an answer that takes longer is no answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Reviews under way at the same time on a lane that anybody can fill. Somebody who sprays tokens must not flood the API server.
const CONCURRENT: usize = 16;
/// Requests that wait on such a lane, each with its headers in memory: what 16 slots answer well within the deadline.
const WAITING: usize = 64;
/// The same for the front proxy, whose requests the API server has let through and bounds itself.
const FRONT_PROXY_CONCURRENT: usize = 32;
/// That a lane is full is told this often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Where a review waits for its turn. What waits on one never holds up another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// TokenReviews: anybody can make them needed.
    Tokens,
    /// SubjectAccessReviews for those who came with a token or certificate of their own: each pod has a token.
    Direct,
    /// SubjectAccessReviews for those whom the front proxy names: the HPA controller's reads.
    FrontProxy,
}

/// Asks TokenReviews and SubjectAccessReviews.
pub(crate) struct Reviews {
    client: kube::Client,
    tokens: Queue,
    direct: Queue,
    front_proxy: Semaphore,
    asking: SharedSpell,
}

/// A lane that is full at some point.
struct Queue {
    slots: Semaphore,
    /// One for each review, whether it is under way or waits.
    places: Semaphore,
    /// When it was last told that there is none left.
    told: Mutex<Option<Instant>>,
}

impl Queue {
    fn new() -> Self {
        Self {
            slots: Semaphore::new(CONCURRENT),
            places: Semaphore::new(CONCURRENT + WAITING),
            told: Mutex::default(),
        }
    }

    /// Whether it is time to tell that the lane is full.
    fn tell(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|told| told.elapsed() > TOLD_EVERY);
        if due {
            *told = Some(Instant::now());
        }
        due
    }
}

impl Reviews {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            client,
            tokens: Queue::new(),
            direct: Queue::new(),
            front_proxy: Semaphore::new(FRONT_PROXY_CONCURRENT),
            asking: SharedSpell::default(),
        }
    }

    /// Sends `review` and gives it back with its status filled in.
    ///
    /// # Errors
    /// 429 when too many wait on that lane; 503 when the API server can't be asked or doesn't answer in time.
    pub(crate) async fn ask<K>(&self, lane: Lane, review: &K) -> Result<K, Failure>
    where
        K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>,
        K: Clone + Debug + Serialize + DeserializeOwned,
    {
        let kind = K::kind(&());
        let queue = match lane {
            Lane::Tokens => Some(&self.tokens),
            Lane::Direct => Some(&self.direct),
            Lane::FrontProxy => None,
        };
        let slots = queue.map_or(&self.front_proxy, |queue| &queue.slots);
        let place = queue.map(|queue| (queue, queue.places.try_acquire()));
        if let Some((queue, Err(TryAcquireError::NoPermits))) = &place {
            if queue.tell() {
                tracing::warn!(
                    review = %kind,
                    ?lane,
                    "{CONCURRENT} reviews are under way and {WAITING} wait: further requests are refused"
                );
            }
            return Err(Failure::too_many_requests(format!(
                "too many requests wait for a {kind}"
            )));
        }
        let asked = timeout(DEADLINE, async {
            // The semaphore is never closed, so that the permit is always there.
            let _slot = slots.acquire().await;
            Api::<K>::all(self.client.clone())
                .create(&PostParams::default(), review)
                .await
        });
        let answered = asked.await;
        drop(place);
        match answered {
            Ok(Ok(answered)) => {
                if self.asking.works() {
                    tracing::info!("the API server answers reviews again");
                }
                Ok(answered)
            }
            Ok(Err(error)) => {
                self.tell(&kind, &error.to_string());
                Err(Failure::unavailable(format!(
                    "the API server could not be asked for a {kind}"
                )))
            }
            Err(_) => {
                self.tell(&kind, &format!("no answer in {DEADLINE:?}"));
                Err(Failure::unavailable(format!(
                    "the API server did not answer a {kind} in {DEADLINE:?}"
                )))
            }
        }
    }

    /// Once, not for each request.
    fn tell(&self, kind: &str, error: &str) {
        if self.asking.fails(error) {
            tracing::warn!(
                review = kind,
                error,
                "the API server doesn't answer reviews: requests are refused"
            );
        } else {
            tracing::debug!(review = kind, error, "a review was not answered");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::response::IntoResponse;
    use http::{Request, Response, StatusCode, header};
    use k8s_openapi::api::authentication::v1::TokenReview;
    use k8s_openapi::api::authorization::v1::SubjectAccessReview;

    use super::*;

    /// An API server that never answers a TokenReview, nor a SubjectAccessReview for the user `slow`, and gives others back.
    fn reviews() -> Arc<Reviews> {
        let server = tower::service_fn(|request: Request<kube::client::Body>| async move {
            let is_token = request.uri().path().ends_with("/tokenreviews");
            let body = request.into_body().collect_bytes().await?;
            if is_token || String::from_utf8_lossy(&body).contains("slow") {
                std::future::pending::<()>().await;
            }
            Ok::<_, tower::BoxError>(Response::new(Body::from(body)))
        });
        Arc::new(Reviews::new(kube::Client::new(server, "default")))
    }

    fn access(user: &str) -> SubjectAccessReview {
        let mut review = SubjectAccessReview::default();
        review.spec.user = Some(user.to_owned());
        review
    }

    #[tokio::test]
    async fn a_full_lane_refuses_at_once_and_holds_up_no_other() {
        let reviews = reviews();
        let mut waiting = Vec::new();
        for _ in 0..CONCURRENT + WAITING {
            let (tokens, direct) = (Arc::clone(&reviews), Arc::clone(&reviews));
            waiting.push(tokio::spawn(async move {
                tokens
                    .ask(Lane::Tokens, &TokenReview::default())
                    .await
                    .err()
            }));
            waiting.push(tokio::spawn(async move {
                direct.ask(Lane::Direct, &access("slow")).await.err()
            }));
        }
        let places = || {
            let queues = [&reviews.tokens, &reviews.direct];
            queues.map(|queue| queue.places.available_permits())
        };
        while places() != [0, 0] {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        for failure in [
            reviews
                .ask(Lane::Tokens, &TokenReview::default())
                .await
                .unwrap_err(),
            reviews
                .ask(Lane::Direct, &access("jane"))
                .await
                .unwrap_err(),
        ] {
            let response = failure.into_response();
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
        let hpa = reviews.ask(Lane::FrontProxy, &access("hpa")).await;
        assert_eq!(hpa.unwrap().spec.user.as_deref(), Some("hpa"));
        assert!(started.elapsed() < DEADLINE / 2);
        // Whoever gives up makes room.
        for request in waiting {
            request.abort();
            assert!(request.await.unwrap_err().is_cancelled());
        }
        let direct = reviews.ask(Lane::Direct, &access("jane")).await;
        assert!(direct.is_ok());
    }
}
