//! The external metrics API as a process of its own: it polls nothing and writes nothing, and serves what the replica that leads tells.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use sakidori_metrics_adapter::{CertificateHandle, Server, ServingCertificate};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::probes::{Check, Probes, serve_metrics, serve_probes};
use crate::prometheus::Metrics;
use crate::replica::Replica;
use crate::run::{bind, cluster};
use crate::{certificates, leader_address};

/// How often certificates that aren't there yet are looked for: the operator makes them, and may start later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the metrics adapter is started with.
pub struct MetricsAdapterOptions {
    /// Prometheus metrics, plain HTTP.
    pub metrics_bind_address: SocketAddr,
    /// `/healthz` and `/readyz`, plain HTTP.
    pub health_probe_bind_address: SocketAddr,
    /// The external metrics API, HTTPS.
    pub external_metrics_bind_address: SocketAddr,
    /// HOST:PORT of the operator; `None`: of the replica that holds the Lease.
    pub metrics_service_address: Option<String>,
    /// `ca.crt`, `tls.crt`, `tls.key`.
    pub cert_dir: PathBuf,
    /// Where the operator is installed.
    pub namespace: String,
    /// How long an HPA's read waits for a newer reading.
    pub external_metrics_wait: Duration,
}

/// Runs the metrics adapter until `shutdown`.
///
/// # Errors
/// Where it can't start: an address in use, no way to reach the cluster, unusable certificates.
pub async fn run(
    options: MetricsAdapterOptions,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let metrics_listener = bind(options.metrics_bind_address, "--metrics-bind-address").await?;
    let probes_listener = bind(
        options.health_probe_bind_address,
        "--health-probe-bind-address",
    )
    .await?;
    let api_listener = bind(options.external_metrics_bind_address, "--secure-port")
        .await?
        .into_std()?;
    let client = Client::try_from(cluster().await?).context("preparing the Kubernetes client")?;
    let metrics = Arc::new(Metrics::new().context("registering metrics")?);

    // From the start, also while the certificates are waited for.
    let (known, replica) = watch::channel(None::<Replica>);
    let ready = move || match &*replica.borrow() {
        Some(replica) => replica.fit_to_serve(),
        None => Err("there are no certificates yet".to_owned()),
    };
    let probes = Probes {
        alive: Vec::new(),
        ready: vec![Check::new("values", ready.clone())],
    };
    let mut servers = JoinSet::new();
    servers.spawn(serve_probes(
        probes_listener,
        Arc::new(probes),
        shutdown.clone(),
    ));
    servers.spawn(serve_metrics(
        metrics_listener,
        metrics.clone(),
        shutdown.clone(),
    ));

    let Some(certificate) = shutdown
        .run_until_cancelled(first_certificate(&options))
        .await
    else {
        return Ok(());
    };
    let certificate = CertificateHandle::new(&certificate)?;
    // Kept here, so that it never ends.
    let (_fixed, leader) = match options.metrics_service_address {
        Some(address) => {
            let (fixed, leader) = watch::channel(Some(address));
            (Some(fixed), leader)
        }
        None => (
            None,
            leader_address::observe(client.clone(), &options.namespace),
        ),
    };
    let replica = Replica::new(&options.namespace, certificate.clone(), leader)?;
    let collected = replica.metrics().context("registering metrics")?;
    metrics
        .add(Box::new(collected))
        .context("registering metrics")?;
    known.send_replace(Some(replica.clone()));

    let reads = Arc::new(replica.reads(options.external_metrics_wait));
    let api = Server::new(client, certificate.clone(), reads, Arc::new(ready))
        .context("preparing the external metrics API")?;
    servers.spawn(certificates::follow(
        options.cert_dir,
        certificate,
        shutdown.clone(),
    ));
    servers.spawn(replica.follow(shutdown.clone()));
    let stop = shutdown.clone();
    servers.spawn(async move {
        if let Err(error) = api.serve(api_listener, stop.clone()).await {
            error!(%error, "the external metrics API ended");
            stop.cancel();
        }
    });
    info!("started");
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// The certificate, as soon as there is one.
async fn first_certificate(options: &MetricsAdapterOptions) -> ServingCertificate {
    let mut told = false;
    loop {
        match certificates::read(&options.cert_dir) {
            Ok(certificate) => return certificate,
            Err(error) if !told => {
                warn!(error = format!("{error:#}"), "waiting for certificates");
                told = true;
            }
            Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}
