//! `sakidori metrics-adapter`: the external metrics API as a process of its own.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sakidori_operator::MetricsAdapterOptions;

use crate::logs::{self, KlogFlags, Logs};
use crate::process::{Optional, address, address_or_none, until_signal};

/// Serve the external metrics API in a process of its own, with the values that the operator's leader tells it.
///
/// The operator's replicas serve the same; this is for who wants to part what HPAs ask from what polls. It needs no right to read anything but the
/// Lease, and the rights of any aggregated API.
#[derive(Args)]
#[command(after_help = "\
Example: sakidori metrics-adapter --secure-port=6443 --cert-dir=/certs")]
pub struct Arguments {
    /// The port on which external.metrics.k8s.io is served, HTTPS.
    #[arg(long, value_name = "PORT", default_value = "6443")]
    secure_port: u16,

    /// The IP address on which it is served; all of this machine's if it is ::.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
    bind_address: IpAddr,

    /// Where Prometheus metrics are served: /metrics, plain HTTP; 0 for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = ":8080", value_parser = address_or_none)]
    metrics_bind_address: Optional,

    /// Where /healthz and /readyz are served, plain HTTP.
    #[arg(long, value_name = "ADDRESS", default_value = ":8081", value_parser = address)]
    health_probe_bind_address: SocketAddr,

    /// HOST:PORT of an operator that leads; without it, that of the Lease in POD_NAMESPACE.
    #[arg(long, value_name = "ADDRESS")]
    metrics_service_address: Option<String>,

    /// The Lease, as the operator's flag says it.
    #[arg(long, value_name = "NAME", default_value = "operator.keda.sh")]
    leader_election_id: String,

    /// The directory of ca.crt, tls.crt and tls.key, which have to be the operator's; waited for where they are missing.
    #[arg(long, value_name = "DIRECTORY", default_value = "/certs")]
    cert_dir: PathBuf,

    /// How long a read by the HPA waits for a slow source before it gets the last reading.
    #[arg(long, value_name = "MILLISECONDS", default_value = "1000")]
    external_metrics_wait_ms: u64,

    #[command(flatten)]
    logs: Logs,

    #[command(flatten)]
    klog: KlogFlags,

    /// The operator's own namespace.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "keda"
    )]
    pod_namespace: String,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.logs.start()?;
    let options = MetricsAdapterOptions {
        metrics_bind_address: arguments.metrics_bind_address,
        health_probe_bind_address: arguments.health_probe_bind_address,
        external_metrics_bind_address: SocketAddr::new(
            arguments.bind_address,
            arguments.secure_port,
        ),
        metrics_service_address: arguments.metrics_service_address.clone(),
        leader_election_id: arguments.leader_election_id.clone(),
        cert_dir: arguments.cert_dir.clone(),
        namespace: arguments.pod_namespace.clone(),
        external_metrics_wait: Duration::from_millis(arguments.external_metrics_wait_ms),
    };
    let ended = until_signal(|shutdown| sakidori_operator::run_metrics_adapter(options, shutdown));
    Ok(logs::exit_code(ended))
}
