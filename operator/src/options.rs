//! What the operator is started with.

use std::net::SocketAddr;
use std::time::Duration;

use sakidori_scalers::clients::ClientSettings;

use crate::certificates::CertificateSettings;
use crate::credentials::CredentialSettings;
use crate::watches::Namespaces;

#[derive(Clone)]
pub struct Options {
    /// Prometheus metrics, plain HTTP.
    pub metrics_bind_address: SocketAddr,
    /// `/healthz` and `/readyz`, plain HTTP.
    pub health_probe_bind_address: SocketAddr,
    /// The external metrics API, HTTPS.
    pub external_metrics_bind_address: SocketAddr,
    /// The admission webhooks, HTTPS.
    pub webhook_bind_address: SocketAddr,
    /// What the HTTPS servers show, and how that is renewed.
    pub certificates: CertificateSettings,
    pub leader_elect: bool,
    /// The operator's own namespace: its Lease, its Service names.
    pub namespace: String,
    pub watch: Namespaces,
    /// Where ClusterTriggerAuthentications have their Secrets.
    pub cluster_object_namespace: String,
    /// Secrets of no other namespace than that one may be read.
    pub restrict_secret_access: bool,
    /// Credentials from elsewhere than Secrets.
    pub credentials: CredentialSettings,
    /// How long an HPA's read waits for a source.
    pub external_metrics_wait: Duration,
    /// Publish a Warning for each metadata key that no parameter of the trigger reads.
    pub publish_unmatched_parameters: bool,
    /// What holds for all clients of event sources.
    pub clients: ClientSettings,
    /// Names this process in Events and in the election.
    pub identity: String,
}
