//! The Secret that all replicas share: every one of them shows what is in it, and keeps what it last showed when the Secret is
//! deleted or spoilt.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use sakidori_metrics_adapter::CertificateHandle;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::bundle::Bundle;
use super::held::Held;
use super::metrics::CertificateMetrics;
use super::named;
use crate::api_error::{plain, plain_watch};

/// Nobody waits longer for the API server: it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// While another certificate is shown than the Secret's, it is looked at again without a change: by a clock that is slow it isn't good
/// yet, and soon is.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub(super) struct SharedSecret {
    api: Api<Secret>,
    namespace: String,
    name: String,
    handle: CertificateHandle,
    believed: watch::Sender<Bundle>,
    metrics: CertificateMetrics,
    seen: watch::Sender<Seen>,
}

/// Asks for the Secret as it is now. Who was stopped for a while and leads no more may not have seen a change yet.
pub(super) struct Recheck {
    api: Api<Secret>,
    name: String,
}

impl Recheck {
    /// Whether it has these authorities; false where that can't be told.
    pub(super) async fn has(&self, authorities: &Bundle) -> bool {
        let asked = timeout(ANSWER_WITHIN, self.api.get_opt(&self.name)).await;
        matches!(asked, Ok(Ok(Some(secret))) if read(&secret).bundle() == *authorities)
    }
}

/// What this process knows of the Secret.
#[derive(Clone, Default)]
pub(super) struct Seen {
    /// False before the first look.
    pub(super) known: bool,
    pub(super) object: Option<Secret>,
    /// What is usable of it.
    pub(super) held: Held,
    /// What was shown last, with the key of its authority if this process has ever seen it.
    pub(super) memory: Option<Held>,
}

impl SharedSecret {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        handle: CertificateHandle,
        believed: watch::Sender<Bundle>,
        metrics: CertificateMetrics,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            handle,
            believed,
            metrics,
            seen: watch::Sender::default(),
        }
    }

    /// Shows what is in the Secret; makes one of `made` where there is none.
    pub(super) async fn obtain(&self, made: &Held) {
        let obtained = async {
            loop {
                if let Some(secret) = self.api.get_opt(&self.name).await? {
                    return Ok(secret);
                }
                match self.write(&self.api, None, made).await {
                    Ok(secret) => return Ok(secret),
                    // Another replica was quicker: its certificate is everybody's.
                    Err(error) if is_conflict(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        let problem = match timeout(ANSWER_WITHIN, obtained).await {
            Ok(Ok(secret)) => return self.learn(Some(secret), Timestamp::now()),
            Ok(Err(error)) => plain(&error),
            Err(_) => "the API server doesn't answer".to_owned(),
        };
        warn!(
            error = problem,
            "can't read or make the Secret {self}: nobody believes this process' certificate until that works"
        );
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        if self.seen.borrow().memory.is_some() {
            Ok(())
        } else {
            Err(format!(
                "no certificate could be read from the Secret {self} yet"
            ))
        }
    }

    pub(super) fn api(&self, client: &Client) -> Api<Secret> {
        Api::namespaced(client.clone(), &self.namespace)
    }

    pub(super) fn recheck(&self, client: &Client) -> Recheck {
        Recheck {
            api: self.api(client),
            name: self.name.clone(),
        }
    }

    pub(super) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Never ends.
    pub(super) async fn follow(&self) {
        let mut secrets = pin!(named::follow(self.api.clone(), &self.name));
        let mut complained = false;
        loop {
            let seen = match timeout(LOOK_AGAIN, secrets.next()).await {
                Ok(Some(seen)) => seen,
                Ok(None) => return,
                Err(_) => {
                    self.look_again(Timestamp::now());
                    continue;
                }
            };
            match seen {
                Ok(secret) => {
                    complained = false;
                    self.learn(secret, Timestamp::now());
                }
                Err(error) if !complained => {
                    complained = true;
                    warn!(
                        error = plain_watch(&error),
                        "can't watch the Secret {self}; the last certificate stays"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Shows what is held, if it isn't shown and can be by now.
    fn look_again(&self, now: Timestamp) {
        let seen = self.seen.borrow().clone();
        let is_shown = seen
            .memory
            .is_some_and(|memory| seen.held.clone().with_key_of(&memory) == memory);
        if !is_shown && seen.held.serving(now).is_some() {
            self.learn(seen.object, now);
        }
    }

    /// Replaces what this process shows, if the Secret holds something that can be shown.
    fn learn(&self, object: Option<Secret>, now: Timestamp) {
        let held = object.as_ref().map(read).unwrap_or_default();
        let mut next = self.seen.borrow().clone();
        let is_news = !next.known || next.held != held;
        match held.serving(now) {
            Some(serving) => match self.handle.replace(&serving) {
                Ok(()) => {
                    self.metrics.shown(&serving);
                    self.believed.send_if_modified(|believed| {
                        let changed = *believed != held.bundle();
                        *believed = held.bundle();
                        changed
                    });
                    let memory = next.memory.take().unwrap_or_default();
                    if is_news {
                        info!("showing the certificate of the Secret {self}");
                    }
                    next.memory = Some(held.clone().with_key_of(&memory));
                }
                Err(error) => warn!(%error, "the Secret {self} can't be used"),
            },
            None if is_news => warn!(
                error = if object.is_none() {
                    "it is gone"
                } else {
                    held.problem()
                },
                "the Secret {self} can't be used; the last certificate stays until the leader has mended it"
            ),
            None => {}
        }
        next.known = true;
        next.held = held;
        next.object = object;
        self.seen.send_replace(next);
    }

    /// Writes `held` in the place of `before`, unless somebody else has written meanwhile.
    pub(super) async fn write(
        &self,
        api: &Api<Secret>,
        before: Option<&Secret>,
        held: &Held,
    ) -> Result<Secret, kube::Error> {
        let mut secret = before.cloned().unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        });
        let data = secret.data.get_or_insert_default();
        for (key, value) in held.content() {
            data.insert(key, ByteString(value));
        }
        let options = PostParams::default();
        match before {
            Some(_) => api.replace(&self.name, &options, &secret).await,
            None => api.create(&options, &secret).await,
        }
    }
}

fn read(secret: &Secret) -> Held {
    let data = secret.data.iter().flatten();
    let content: BTreeMap<_, _> = data
        .map(|(key, value)| (key.clone(), value.0.clone()))
        .collect();
    Held::read(&content)
}

pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

impl std::fmt::Display for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
