//! The external metrics API as a process of its own: it polls nothing and writes nothing, and serves what the replica that leads tells.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sakidori_metrics_adapter::Server;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::certificates::{CertificateMetrics, Certificates};
use crate::leader;
use crate::probes::{Check, Probes, probes_router};
use crate::prometheus::{self, ApiRequests, Metrics, MetricsOptions};
use crate::replica::Replica;
use crate::run::{bind, client, cluster};
use crate::serving::Open;

/// How often certificates that aren't there yet are looked for: the operator makes them, and may start later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the metrics adapter is started with.
pub struct MetricsAdapterOptions {
    /// Prometheus metrics, plain HTTP; `None` where there are none.
    pub metrics_bind_address: Option<SocketAddr>,
    /// `/healthz` and `/readyz`, plain HTTP.
    pub health_probe_bind_address: SocketAddr,
    /// The external metrics API, HTTPS.
    pub external_metrics_bind_address: SocketAddr,
    /// HOST:PORT of the operator; `None`: of the replica that holds the Lease.
    pub metrics_service_address: Option<String>,
    /// The Lease's name: KEDA's `--leader-election-id`.
    pub leader_election_id: String,
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
    let metrics_listener = match options.metrics_bind_address {
        Some(address) => Some(bind(address, "--metrics-bind-address").await?),
        None => None,
    };
    let probes_listener = bind(
        options.health_probe_bind_address,
        "--health-probe-bind-address",
    )
    .await?;
    let api_listener = bind(options.external_metrics_bind_address, "--secure-port")
        .await?
        .into_std()?;
    let requests = ApiRequests::new().context("registering metrics")?;
    let client = client(cluster().await?, &requests)?;
    let metrics = Arc::new(Metrics::new(MetricsOptions::default()).context("registering metrics")?);

    // From the start, also while the certificates are waited for.
    let (known, replica) = watch::channel(None::<Replica>);
    let ready = move || match &*replica.borrow() {
        Some(replica) => replica.fit_to_serve(),
        None => Err("there are no certificates yet".to_owned()),
    };
    let probes = Arc::new(Probes {
        alive: Vec::new(),
        ready: vec![Check::new("values", ready.clone())],
    });
    let mut servers = JoinSet::new();
    let probes = Open::plain(probes_router(probes));
    servers.spawn(probes.serve(probes_listener, shutdown.clone()));
    if let Some(listener) = metrics_listener {
        let scraped = Open::plain(prometheus::router(metrics.clone()));
        servers.spawn(scraped.serve(listener, shutdown.clone()));
    }

    metrics
        .add(Box::new(requests))
        .context("registering metrics")?;
    let certificate_metrics = CertificateMetrics::new().context("registering metrics")?;
    let collected = Box::new(certificate_metrics.clone());
    metrics.add(collected).context("registering metrics")?;
    let first = first_certificates(&options, &certificate_metrics);
    let Some(certificates) = shutdown.run_until_cancelled(first).await else {
        return Ok(());
    };
    let certificate = certificates.handle();
    let fixed = options.metrics_service_address;
    let observed = fixed.is_none();
    // Kept here, so that it never ends.
    let (tell_leader, leader) = watch::channel(fixed);
    if observed {
        let (namespace, lease) = (&options.namespace, &options.leader_election_id);
        let observing = leader::observe(client.clone(), namespace, lease, tell_leader.clone());
        let stop = shutdown.clone();
        servers.spawn(async move {
            stop.run_until_cancelled(observing).await;
        });
    }
    let replica = Replica::new(&options.namespace, certificate.clone(), leader)?;
    replica.show(&metrics).context("registering metrics")?;
    known.send_replace(Some(replica.clone()));

    let reads = Arc::new(replica.reads(options.external_metrics_wait));
    let api = Server::new(client, certificate, reads, Arc::new(ready))
        .context("preparing the external metrics API")?;
    servers.spawn(certificates.follow(shutdown.clone()));
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

/// The certificates, as soon as there are some.
async fn first_certificates(
    options: &MetricsAdapterOptions,
    metrics: &CertificateMetrics,
) -> Certificates {
    let mut told = false;
    loop {
        match Certificates::read(options.cert_dir.clone(), metrics.clone()) {
            Ok(certificates) => return certificates,
            Err(error) if !told => {
                warn!(error = format!("{error:#}"), "waiting for certificates");
                told = true;
            }
            Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}
