//! What the operator is started with.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sakidori_engine::LeaseTiming;
use sakidori_scalers::clients::{ClientSettings, TlsFloor};
use sakidori_values::RawMetricsMode;

use crate::certificates::CertificateSettings;
use crate::credentials::CredentialSettings;
use crate::prometheus::MetricsOptions;
use crate::watches::Namespaces;

#[derive(Clone)]
pub struct Options {
    /// Prometheus metrics; `None` where there are none.
    pub metrics_bind_address: Option<SocketAddr>,
    pub metrics: MetricsOptions,
    /// `/healthz` and `/readyz`, plain HTTP.
    pub health_probe_bind_address: SocketAddr,
    /// The external metrics API, HTTPS.
    pub external_metrics_bind_address: SocketAddr,
    /// The admission webhooks, HTTPS; `None` where there are none.
    pub webhook_bind_address: Option<SocketAddr>,
    /// gRPC for the other processes of the installation, mutual TLS.
    pub metrics_service_bind_address: SocketAddr,
    /// Where those find it while it leads; `None` where that isn't known.
    pub advertise_address: Option<IpAddr>,
    /// What the HTTPS servers show, and how that is renewed.
    pub certificates: CertificateSettings,
    /// What TLS may be at worst on the servers.
    pub service_tls: TlsFloor,
    /// Who vouches for the clients of the webhooks, where not everybody is answered: a file of PEM.
    pub webhook_client_ca: Option<PathBuf>,
    /// The common names that their certificates may have; empty allows any.
    pub webhook_client_names: Vec<String>,
    /// Serve Prometheus metrics over TLS.
    pub metrics_secure: bool,
    pub leader_elect: bool,
    /// The name of the Lease, in the operator's own namespace.
    pub leader_election_id: String,
    pub leader_election: LeaseTiming,
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
    /// Which raw metrics subscribers are told; none where they are off.
    pub raw_metrics: Option<RawMetricsMode>,
    /// Names this process in Events and in the election.
    pub identity: String,
}

impl Options {
    /// What the Lease tells of this process while it leads.
    pub fn advertised(&self) -> Option<String> {
        let bound = self.metrics_service_bind_address;
        let listens_on_one = Some(bound.ip()).filter(|ip| !ip.is_unspecified());
        let ip = self.advertise_address.or(listens_on_one)?;
        Some(SocketAddr::new(ip, bound.port()).to_string())
    }
}
