//! The command `test-cluster`: installs what the test bed needs, and runs a control plane in the foreground.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use sakidori_test_cluster::{Cluster, ClusterOptions, NodeSize, install};
use tokio::signal::unix::{SignalKind, signal};

/// A real Kubernetes control plane on this machine, with fake nodes on which pods become Ready.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  test-cluster install\n  test-cluster start --nodes 5 --pod-start-time 3s\n  \
                  (in another terminal, with the path it printed)\n  export KUBECONFIG=/tmp/sakidori-cluster-xxxxxx/kubeconfig\n  \
                  kubectl create deployment web --image web --replicas 3"
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the control plane and the fake kubelet, and install the packages the tests need. Skips what is there.
    Install,
    /// Run a cluster until Ctrl-C or SIGTERM; then everything it started is stopped and removed.
    Start(Start),
}

#[derive(clap::Args)]
struct Start {
    /// How often the HPA controller looks at each HPA (Kubernetes' own: 15s).
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    hpa_sync_period: Duration,
    /// How long the HPA controller remembers higher recommendations (Kubernetes' own: 5m).
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    hpa_downscale_stabilization: Option<Duration>,
    /// Fake nodes.
    #[arg(long, value_name = "N", default_value_t = 2)]
    nodes: u32,
    /// CPUs of each fake node, a quantity.
    #[arg(long, value_name = "QUANTITY", default_value = "64")]
    node_cpu: String,
    /// Memory of each fake node, a quantity.
    #[arg(long, value_name = "QUANTITY", default_value = "256Gi")]
    node_memory: String,
    /// Pods that each fake node takes.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    node_pods: u32,
    /// From the moment a pod has a node until it is Ready.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pod_start_time: Duration,
    /// Act out pod starts and in-place resizes step by step, as the kubelet of Kubernetes 1.36 does; what goes wrong is said by annotations
    /// kubelet.sakidori.test/resize-... (tests/README.md). Without it, any resize is there 200 ms later.
    #[arg(long)]
    act_out_resizes: bool,
    /// One more flag for kube-apiserver, such as --apiserver-arg=--v=3; may be given several times.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    apiserver_arg: Vec<String>,
    /// One more flag for kube-controller-manager; may be given several times.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    controller_manager_arg: Vec<String>,
    /// Stop as well when stdin is closed: for programs that start this one.
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Prints a line. Unlike `println!`, it doesn't panic when the reader of a pipe has gone.
macro_rules! say {
    ($($line:tt)*) => {
        let _ = writeln!(std::io::stdout(), $($line)*);
    };
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Task::Install => tokio::task::spawn_blocking(install::everything).await?,
        Task::Start(start) => run(start).await,
    }
}

async fn run(start: Start) -> Result<()> {
    // Before the cluster starts, so that a Ctrl-C during the start stops it too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (close, mut closed) = tokio::sync::oneshot::channel();
    let until_stdin_closes = start.until_stdin_closes;
    if until_stdin_closes {
        // A thread of its own: tokio's stdin would keep the runtime from ending.
        std::thread::spawn(move || {
            let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
            let _ = close.send(());
        });
    }
    let mut stop = async || {
        tokio::select! {
            _ = interrupt.recv() => "Ctrl-C",
            _ = terminate.recv() => "SIGTERM",
            Ok(()) = &mut closed, if until_stdin_closes => "stdin closed",
        }
    };

    let options = start.into();
    let cluster = tokio::select! {
        cluster = Cluster::start(options) => Ok(cluster?),
        reason = stop() => Err(reason),
    };
    let cluster = match cluster {
        Ok(cluster) => cluster,
        Err(reason) => {
            say!("{reason} while starting: stopped");
            // Not a return: the runtime would wait for a build that is under way on one of its threads. Its sandbox
            // ends with this process.
            std::process::exit(0);
        }
    };
    let path = cluster.kubeconfig().display();
    say!(
        "Ready in {:.1} s. Point kubectl at it with",
        cluster.start_duration().as_secs_f64()
    );
    say!("  export KUBECONFIG={path}");
    say!(
        "Logs are in {}. Ctrl-C stops it and removes everything.",
        cluster.dir().display()
    );
    let reason = stop().await;
    drop(cluster);
    say!("{reason}: stopped and removed");
    Ok(())
}

impl From<Start> for ClusterOptions {
    fn from(start: Start) -> ClusterOptions {
        ClusterOptions {
            hpa_sync_period: start.hpa_sync_period,
            hpa_downscale_stabilization: start.hpa_downscale_stabilization,
            nodes: start.nodes,
            node: NodeSize {
                cpu: start.node_cpu,
                memory: start.node_memory,
                pods: start.node_pods,
            },
            pod_start_time: start.pod_start_time,
            acts_out_resizes: start.act_out_resizes,
            apiserver_args: start.apiserver_arg,
            controller_manager_args: start.controller_manager_arg,
            ..ClusterOptions::default()
        }
    }
}

/// `500ms`, `5s`, `2m`: a whole number and a unit.
fn duration(text: &str) -> Result<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    ensure!(
        digits > 0,
        "{text:?} is not a duration: write a number and a unit, such as 500ms, 5s or 2m"
    );
    let number: u64 = text[..digits]
        .parse()
        .with_context(|| format!("{text:?} is too large"))?;
    let milliseconds = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        unit => anyhow::bail!("{text:?} has the unit {unit:?}; known are ms, s and m"),
    };
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        for bad in ["", "s", "5", "5h", "-1s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
