//! What a scaler is: the trait, what it is given, and what it gives.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::answers::Freshness;
use crate::clients::Clients;
use crate::clients::aws::AwsIdentity;
use crate::limits::shortened;
use crate::metric::{MetricSpec, MetricType, Reading};
use crate::params::ParamErrors;

/// Reads one trigger's event source.
#[async_trait]
pub trait Scaler: Send + Sync {
    /// The external metrics that this trigger publishes, with their full names (`s<index>-<name>`). Does no IO.
    ///
    /// Where the source names them (`external`), they are those that it named last: none before its first answer, and others
    /// after any later one. The object is then prepared anew.
    fn metrics(&self) -> Vec<MetricSpec>;

    /// Asks the source for its metrics, where it is the source that names them; called while an object is prepared of which none
    /// are known. An answer within 2 s, or none.
    ///
    /// # Errors
    /// As [`Scaler::read`]; [`Scaler::metrics`] then stays as it is.
    async fn learn_metrics(&self) -> Result<(), ScalerError> {
        Ok(())
    }

    /// Reads the source once: one reading per entry of [`Scaler::metrics`]. Must be cancel-safe: the caller drops the
    /// future when its time is over. What others asked the source for may be taken while it is fresh enough
    /// ([`Answers`](crate::Answers)).
    ///
    /// # Errors
    /// See [`ScalerError`]: each variant says what the caller should do.
    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError>;

    /// For trigger types whose source also tells by itself that there is work.
    fn push(&self) -> Option<&dyn Push> {
        None
    }
}

/// A source that tells by itself that there is work.
#[async_trait]
pub trait Push: Send + Sync {
    /// Listens until it is dropped, connecting anew with a back-off whenever that is needed.
    async fn listen(&self, pushes: &Pushes);
}

/// What a source told since somebody last looked. Told twice is told once, so that no source can flood anybody.
#[derive(Default)]
pub struct Pushes {
    active: Notify,
    metrics: Notify,
}

impl Pushes {
    /// There is work. (That there is none any more is for polls to see.)
    pub fn active(&self) {
        self.active.notify_one();
    }

    /// [`Scaler::metrics`] are others than before.
    pub fn metrics_changed(&self) {
        self.metrics.notify_one();
    }

    /// Waits until the source tells that there is work.
    pub async fn until_active(&self) {
        self.active.notified().await;
    }

    /// Waits until the source tells of other metrics.
    pub async fn until_metrics_changed(&self) {
        self.metrics.notified().await;
    }
}

/// Why a source could not be read, told by what to do about it. Messages hold no secret.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum ScalerError {
    /// Credentials are missing, wrong or expired: resolve them anew, back off, tell the user.
    #[error("unauthorized: {0}")]
    Unauthorized(String),
    /// The source answers, but the queue, table or path named in the trigger isn't there.
    #[error("not found: {0}")]
    NotFound(String),
    /// No connection, no answer in time, TLS refused.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The source answered something that is not what its protocol promises.
    #[error("malformed answer: {0}")]
    Malformed(String),
    /// The source asks for fewer requests.
    #[error("rate limited: {message}")]
    RateLimited {
        retry_after: Option<Duration>,
        message: String,
    },
}

impl ScalerError {
    /// The same error with the place that it came from: a host, never a whole URL. What a server wrote may be long: its beginning
    /// says it.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        self.map(|message| format!("{place}: {}", shortened(message)))
    }

    /// The same error with another text.
    #[must_use]
    pub fn map(self, text: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Unauthorized(message) => Self::Unauthorized(text(message)),
            Self::NotFound(message) => Self::NotFound(text(message)),
            Self::Unreachable(message) => Self::Unreachable(text(message)),
            Self::Malformed(message) => Self::Malformed(text(message)),
            Self::RateLimited {
                retry_after,
                message,
            } => Self::RateLimited {
                retry_after,
                message: text(message),
            },
        }
    }
}

/// One trigger of a ScaledObject with everything that its scaler may look at. Equal triggers make equal scalers.
#[derive(Clone, PartialEq, Eq)]
pub struct Trigger {
    /// `spec.triggers[].type`.
    pub kind: String,
    /// Position in `spec.triggers`: the `s<index>-` of metric names.
    pub index: usize,
    pub name: Option<String>,
    /// `spec.triggers[].metricType`; `None` means the trigger type's default.
    pub metric_type: Option<MetricType>,
    /// Whether the ScaledObject's formula makes one metric of all triggers: then this one's target has no meaning.
    pub is_part_of_a_formula: bool,
    /// Namespace and name of the ScaledObject.
    pub namespace: String,
    pub object: String,
    pub metadata: BTreeMap<String, String>,
    /// The resolved environment of the target's container.
    pub environment: BTreeMap<String, String>,
    /// What the TriggerAuthentication resolved to.
    pub authentication: BTreeMap<String, String>,
    /// The TriggerAuthentication's `podIdentity`, for trigger types that know it.
    pub pod_identity: Option<PodIdentity>,
}

/// An identity that a cloud gives to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodIdentity {
    Aws(AwsIdentity),
}

impl Trigger {
    /// A trigger of a type, at index 0, with empty maps.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            index: 0,
            name: None,
            metric_type: None,
            is_part_of_a_formula: false,
            namespace: "default".to_owned(),
            object: String::new(),
            metadata: BTreeMap::new(),
            environment: BTreeMap::new(),
            authentication: BTreeMap::new(),
            pod_identity: None,
        }
    }

    /// Adds trigger metadata.
    #[must_use]
    pub fn metadata<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.metadata.extend(owned(pairs));
        self
    }

    /// Adds variables of the target's container.
    #[must_use]
    pub fn environment<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.environment.extend(owned(pairs));
        self
    }

    /// Adds parameters of the TriggerAuthentication.
    #[must_use]
    pub fn authentication<'a>(
        mut self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        self.authentication.extend(owned(pairs));
        self
    }
}

fn owned<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> impl Iterator<Item = (String, String)> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// Never prints values: each of the maps may hold a secret.
impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger")
            .field("kind", &self.kind)
            .field("index", &self.index)
            .field("namespace", &self.namespace)
            .field("object", &self.object)
            .field("metadata", &self.metadata.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// What all scalers share: pooled connections and the view of the cluster.
#[derive(Clone)]
pub struct Context {
    pub clients: Arc<Clients>,
    pub cluster: Arc<dyn Cluster>,
}

/// The few things of the cluster that some trigger types count or look up.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The pods of a namespace that match a label selector (Kubernetes' string form), whatever their phase.
    async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>, ClusterError>;

    /// The ready endpoints of a Service, from all of its EndpointSlices; an endpoint whose readiness is unknown counts
    /// as ready.
    async fn ready_endpoints(
        &self,
        namespace: &str,
        service: &str,
    ) -> Result<Vec<Endpoint>, ClusterError>;

    /// The value under a key of a ConfigMap or Secret.
    async fn stored(
        &self,
        kind: StoreKind,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Stored, ClusterError>;
}

/// What `kubernetes-resource` reads from. Its name is Kubernetes'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum StoreKind {
    ConfigMap,
    Secret,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What was found under a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Stored {
    Value(Vec<u8>),
    /// The object is there, but has no such key.
    NoKey,
    /// There is no such object.
    NoObject,
}

/// What `kubernetes-workload` needs of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `status.phase`.
    pub phase: String,
    /// `spec.nodeName`, once scheduled.
    pub node: Option<String>,
}

/// One address of a Service's endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// An IP address (or, for a slice of type FQDN, a name), without a port.
    pub address: String,
    /// The port numbers of the address's EndpointSlice.
    pub ports: Vec<u16>,
}

/// The cluster could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClusterError(pub String);

/// Why a trigger's scaler can't be built.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BuildError {
    /// No such trigger type; `hint` is `, did you mean "kafka"?` or empty.
    #[error("no trigger type {kind:?}{hint}")]
    UnknownKind { kind: String, hint: String },
    /// A trigger type of a Cargo feature that this build was made without.
    #[error("this build has no `{kind}` (Cargo feature {feature})")]
    LeftOut { kind: String, feature: &'static str },
    /// A trigger type that KEDA has.
    #[error("the trigger type {kind:?} of KEDA is not supported by this version")]
    NotYet { kind: String },
    /// All problems of the trigger's parameters at once.
    #[error("{0}")]
    Parameters(#[from] ParamErrors),
    /// Parameters that parse one by one, but not together, or that the source's client refuses.
    #[error("{0}")]
    Invalid(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn told_twice_is_told_once() {
        let pushes = Pushes::default();
        assert!(pushes.until_active().now_or_never().is_none());
        pushes.active();
        pushes.active();
        pushes.metrics_changed();
        assert!(pushes.until_active().now_or_never().is_some());
        assert!(pushes.until_active().now_or_never().is_none());
        assert!(pushes.until_metrics_changed().now_or_never().is_some());
        assert!(pushes.until_metrics_changed().now_or_never().is_none());
    }
}
