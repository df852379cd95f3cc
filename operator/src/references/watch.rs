//! The watch of one object: a list and a watch with a field selector on its name, for as long as someone needs it.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Error};
use sakidori_engine::ObjectKey;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::object::{ObjectReference, Reference, Referenced};
use super::{ReferenceError, Watches};
use crate::lock::lock;

/// First and longest pause after a failure. The longest bounds how late a rotation is seen after the API server came
/// back; the first keeps hundreds of watches from falling on it at once.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Watch {
    pub(super) client: Client,
    pub(super) reference: ObjectReference,
    pub(super) told: Told,
}

/// Where a watch, or whatever else learns of a reference, puts what it learned.
pub(super) struct Told {
    pub(super) reference: Reference,
    pub(super) id: u64,
    pub(super) watches: Weak<Watches>,
    pub(super) changes: mpsc::UnboundedSender<ObjectKey>,
}

impl Told {
    pub(super) fn learned(&self, seen: Option<Referenced>) {
        let Some(watches) = self.watches.upgrade() else {
            return;
        };
        let owners = lock(&watches).learned(&self.reference, self.id, seen.map(Arc::new));
        for owner in owners {
            tracing::debug!(%owner, reference = %self.reference, "a reference changed");
            // No receiver: the operator is shutting down.
            let _ = self.changes.send(owner);
        }
    }

    pub(super) fn failed(&self, error: ReferenceError, failures: u32) {
        let Some(watches) = self.watches.upgrade() else {
            return;
        };
        let unknown = lock(&watches).failed(&self.reference, self.id, error.clone());
        // The first failure is routine (a server restarts); what lasts is worth a line, once.
        if failures == 2 || (unknown && failures == 1) {
            tracing::warn!(reference = %self.reference, %error, "a reference can't be followed; trying again");
        } else {
            tracing::debug!(reference = %self.reference, %error, failures, "a reference can't be followed");
        }
    }
}

impl Watch {
    /// Runs until it is aborted.
    pub(super) async fn run(self) {
        let api: Api<DynamicObject> = match &self.reference.namespace {
            Some(namespace) => {
                Api::namespaced_with(self.client.clone(), namespace, &self.reference.resource)
            }
            None => Api::all_with(self.client.clone(), &self.reference.resource),
        };
        let mut failures: u32 = 0;
        loop {
            let started = Instant::now();
            let error = self.follow(&api).await;
            // A watch that held for a while starts over with short pauses. One that fails right after a list that
            // worked (RBAC grants `list` but not `watch`) ends up as a list every LONGEST_PAUSE.
            failures = if started.elapsed() > LONGEST_PAUSE {
                1
            } else {
                failures.saturating_add(1)
            };
            self.told.failed(explain(&self.reference, &error), failures);
            tokio::time::sleep(pause(failures, FIRST_PAUSE, LONGEST_PAUSE)).await;
        }
    }

    /// Lists and watches until something fails. Starting over with a list is right after any failure: it is one
    /// object, and nothing is missed.
    async fn follow(&self, api: &Api<DynamicObject>) -> watcher::Error {
        let config =
            watcher::Config::default().fields(&format!("metadata.name={}", self.reference.name));
        let mut events = pin!(watcher::watcher(api.clone(), config));
        let mut listed = None;
        loop {
            match events.next().await {
                Some(Ok(Event::Init)) => listed = None,
                Some(Ok(Event::InitApply(object))) => listed = Some(object),
                Some(Ok(Event::InitDone)) => self.learned(listed.take()),
                Some(Ok(Event::Apply(object))) => self.learned(Some(object)),
                Some(Ok(Event::Delete(_))) => self.learned(None),
                Some(Err(error)) => return error,
                // kube's watcher never ends by itself.
                None => return watcher::Error::NoResourceVersion,
            }
        }
    }

    fn learned(&self, object: Option<DynamicObject>) {
        let seen = object.map(|object| Referenced::trim(&self.reference, object));
        self.told.learned(seen);
    }
}

/// Doubles from the first pause to the longest; the second half of each is random, so that many watches spread.
pub(crate) fn pause(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = first
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(longest);
    // RandomState is seeded from the system, which is all the randomness that a spread needs.
    let fraction = (RandomState::new().hash_one(failures) % 1024) as f64 / 1024.0;
    doubled.mul_f64(0.5 + fraction / 2.0)
}

fn explain(reference: &ObjectReference, error: &watcher::Error) -> ReferenceError {
    let object = reference.to_string();
    let status = match error {
        watcher::Error::InitialListFailed(Error::Api(status))
        | watcher::Error::WatchStartFailed(Error::Api(status))
        | watcher::Error::WatchFailed(Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    match status {
        Some(status) if status.is_forbidden() => ReferenceError::Forbidden {
            object,
            resource: reference.group_resource(),
            message: status.message.clone(),
        },
        Some(status) if status.is_not_found() => ReferenceError::NotServed {
            object,
            resource: reference.group_resource(),
        },
        Some(status) => ReferenceError::Unreachable {
            object,
            message: status.message.clone(),
        },
        None => ReferenceError::Unreachable {
            object,
            message: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::{ApiResource, Status};

    fn explain(reference: &Reference, error: &watcher::Error) -> ReferenceError {
        match reference {
            Reference::Object(reference) => super::explain(reference, error),
            Reference::Credential(_) => panic!("{reference} is no object"),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_spread() {
        for failures in 1..40 {
            let longest = FIRST_PAUSE
                .saturating_mul(1 << (failures - 1).min(10))
                .min(LONGEST_PAUSE);
            let pause = pause(failures, FIRST_PAUSE, LONGEST_PAUSE);
            assert!(
                pause >= longest / 2 && pause <= longest,
                "{failures}: {pause:?}"
            );
        }
    }

    #[test]
    fn forbidden_names_the_object_and_what_to_grant() {
        let mut status = Status::failure("secrets \"mq\" is forbidden", "Forbidden");
        status.code = 403;
        let error = watcher::Error::InitialListFailed(Error::Api(status.boxed()));
        let text = explain(&Reference::secret("shop", "mq"), &error).to_string();
        assert!(text.starts_with("Secret shop/mq can't be read"), "{text}");
        assert!(text.contains("get, list and watch secrets"), "{text}");
        assert!(text.contains("rbac.secrets"), "{text}");
        let target = ApiResource {
            group: "argoproj.io".into(),
            plural: "rollouts".into(),
            ..ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&())
        };
        let text = explain(&Reference::target(target, "shop", "web"), &error).to_string();
        assert!(
            text.contains("rollouts.argoproj.io, by rbac.scaledRefKinds"),
            "{text}"
        );
    }

    #[test]
    fn a_kind_that_is_not_served_asks_for_its_crd() {
        let mut status = Status::failure("404 page not found", "NotFound");
        status.code = 404;
        let error = watcher::Error::InitialListFailed(Error::Api(status.boxed()));
        let text = explain(&Reference::trigger_authentication("shop", "mq"), &error).to_string();
        assert!(
            text.contains("does not serve triggerauthentications.keda.sh"),
            "{text}"
        );
    }
}
