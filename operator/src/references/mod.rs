//! What ScaledObjects refer to: objects of the cluster, each watched by its name, and credentials from elsewhere.
//!
//! A ScaledObject's preparation asks for Secrets, ConfigMaps, TriggerAuthentications and its target with
//! [`References::get`]. The first question for an object starts a watch of that one object; from then on its last
//! state is in memory, and every change of its content sends the key of each ScaledObject that asked for it to the
//! channel given to [`References::new`]. Memory and traffic grow with what is referenced, never with the cluster, and
//! RBAC rules may name the Secrets that the operator may see. The price is one connection to the API server per
//! referenced object, since kube's client speaks HTTP/1.1.
//!
//! Credentials that are no objects (`credentials/`) are kept in the same way, only that they are fetched again and again instead of
//! watched: the last state is in memory, a failure never replaces it, and whoever asked is told of a change.

mod book;
mod fetch;
mod object;
mod watch;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kube::Client;
use sakidori_engine::ObjectKey;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::credentials::Fetcher;
use book::{Book, Sight};

use crate::lock::lock;
pub use object::{Reference, Referenced};
pub(crate) use watch::pause;

/// How long [`References::get`] waits for the first state of an object: an API server that works answers in
/// milliseconds, and a preparation shouldn't hang longer on one that doesn't.
const FIRST_STATE_WITHIN: Duration = Duration::from_secs(5);

/// Why nothing is known of a referenced object. The texts hold no contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// RBAC does not let the operator see it.
    #[error(
        "{object} can't be read: allow the operator's ServiceAccount to get, list and watch {resource}{} ({message})",
        value_of_the_chart(resource)
    )]
    Forbidden {
        object: String,
        resource: String,
        message: String,
    },
    /// The API server does not serve such a resource: a CRD that isn't installed.
    #[error("{object} can't be read: the API server does not serve {resource}; install its CRD")]
    NotServed { object: String, resource: String },
    /// The API server can't be reached, or answered with another error.
    #[error("{object} can't be read: {message}")]
    Unreachable { object: String, message: String },
    /// The API server hasn't answered in time; the owner is told as soon as it has.
    #[error("{object} is not known yet: no answer within {} s", FIRST_STATE_WITHIN.as_secs())]
    NotYetKnown { object: String },
    /// `KEDA_RESTRICT_SECRET_ACCESS` forbids it.
    #[error(
        "{object} may not be read: KEDA_RESTRICT_SECRET_ACCESS allows Secrets of the namespace {allowed:?} only; \
         put it there and name it in a ClusterTriggerAuthentication"
    )]
    Restricted { object: String, allowed: String },
    /// A credential that is no object of the cluster.
    #[error("{object} can't be had: {message}")]
    NotFetched { object: String, message: String },
}

/// What gives the right to read a resource where the Helm chart may leave it out.
fn value_of_the_chart(resource: &str) -> &'static str {
    match resource {
        "secrets" => ", by rbac.secrets of its Helm chart",
        "configmaps" | "serviceaccounts" => "",
        _ if resource.ends_with(".keda.sh") => "",
        // A target's pod template.
        _ => ", by rbac.scaledRefKinds of its Helm chart",
    }
}

type Watches = Mutex<Book<AbortOnDropHandle<()>>>;

/// All objects that are referred to. Cheap to clone; dropping the last clone ends all watches.
#[derive(Clone)]
pub struct References {
    client: Client,
    changes: mpsc::UnboundedSender<ObjectKey>,
    watches: Arc<Watches>,
    fetcher: Arc<Fetcher>,
    secrets_only_in: Option<Arc<str>>,
}

impl References {
    /// `changes` gets the key of a ScaledObject when something that it refers to appeared, changed or went; once,
    /// until that ScaledObject asks for one of its references again. `secrets_only_in` is the one namespace whose Secrets may
    /// be read, where not all may.
    pub fn new(
        client: Client,
        fetcher: Fetcher,
        secrets_only_in: Option<&str>,
        changes: mpsc::UnboundedSender<ObjectKey>,
    ) -> Self {
        Self {
            client,
            changes,
            watches: Arc::new(Mutex::new(Book::new())),
            fetcher: Arc::new(fetcher),
            secrets_only_in: secrets_only_in.map(Arc::from),
        }
    }

    /// The object's last known state, `None` when there is no such object. Notes that `owner` depends on it.
    /// Waits a few seconds at most, and only for an object that nobody asked for before.
    ///
    /// # Errors
    /// When nothing is known of the object; `owner` is told as soon as that changes. An object that was seen once is
    /// answered from memory, even while the API server is away.
    pub async fn get(
        &self,
        owner: &ObjectKey,
        reference: &Reference,
    ) -> Result<Option<Arc<Referenced>>, ReferenceError> {
        if let (Some(allowed), Some(namespace)) = (&self.secrets_only_in, reference.secret_in())
            && **allowed != *namespace
        {
            return Err(ReferenceError::Restricted {
                object: reference.to_string(),
                allowed: allowed.to_string(),
            });
        }
        let mut first_state = match self.look(owner, reference) {
            Ok(sight) => return answer(reference, sight),
            Err(first_state) => first_state,
        };
        let _waiting = WaitingOwner {
            references: self,
            owner,
            reference,
        };
        let known = first_state.wait_for(|sight| !matches!(sight, Sight::Unknown));
        // Whether it came or not, what counts is what the book says now.
        let _ = tokio::time::timeout(FIRST_STATE_WITHIN, known).await;
        answer(
            reference,
            self.look(owner, reference).unwrap_or(Sight::Unknown),
        )
    }

    /// `owner` refers to `kept` and nothing else any more; watches that nobody needs end.
    pub fn retain(&self, owner: &ObjectKey, kept: &HashSet<Reference>) {
        self.book().retain(owner, kept);
    }

    /// `owner` was deleted.
    pub fn forget(&self, owner: &ObjectKey) {
        self.book().forget(owner);
    }

    fn look(
        &self,
        owner: &ObjectKey,
        reference: &Reference,
    ) -> Result<Sight, tokio::sync::watch::Receiver<Sight>> {
        self.book().look(owner, reference, |id| {
            let told = watch::Told {
                reference: reference.clone(),
                id,
                // Weak: the book owns the watches, and must end with the last `References`.
                watches: Arc::downgrade(&self.watches),
                changes: self.changes.clone(),
            };
            AbortOnDropHandle::new(match reference.clone() {
                Reference::Object(reference) => {
                    let client = self.client.clone();
                    let watch = watch::Watch {
                        client,
                        reference,
                        told,
                    };
                    tokio::spawn(watch.run())
                }
                Reference::Credential(credential) => {
                    tokio::spawn(fetch::follow(self.fetcher.clone(), credential, told))
                }
            })
        })
    }

    fn book(&self) -> MutexGuard<'_, Book<AbortOnDropHandle<()>>> {
        lock(&self.watches)
    }
}

fn answer(reference: &Reference, sight: Sight) -> Result<Option<Arc<Referenced>>, ReferenceError> {
    match sight {
        Sight::Known(seen) => Ok(seen),
        Sight::Failed(error) => Err(error),
        Sight::Unknown => Err(ReferenceError::NotYetKnown {
            object: reference.to_string(),
        }),
    }
}

/// Takes an owner off the waiting list, also when its `get` is dropped half-way: else it would never be told.
struct WaitingOwner<'a> {
    references: &'a References,
    owner: &'a ObjectKey,
    reference: &'a Reference,
}

impl Drop for WaitingOwner<'_> {
    fn drop(&mut self) {
        self.references
            .book()
            .stop_waiting(self.owner, self.reference);
    }
}
