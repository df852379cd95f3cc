//! Sources that mean harm: each is told by the limit that it passed, in bounded time and memory, and nobody beside it waits.

mod crowd;
mod documents;
mod hints;
mod http;
#[cfg(feature = "postgresql")]
mod recursion;
mod servers;
mod wires;

use std::sync::Arc;
use std::time::Duration;

use sakidori_scalers::clients::{ClientSettings, Clients};
use sakidori_scalers::{Context, Freshness, ScalerError, Trigger, build};

use crate::no_cluster::NoCluster;

/// Answers have so long where the trigger type has no limit of its own.
fn context(within: Duration) -> Context {
    let mut settings = ClientSettings::default();
    settings.http_timeout = within;
    Context {
        clients: Arc::new(Clients::new(settings)),
        cluster: Arc::new(NoCluster),
    }
}

async fn value(context: &Context, trigger: &Trigger) -> Result<f64, ScalerError> {
    let scaler = build(trigger, context).unwrap();
    let readings = scaler.read(&Freshness::now()).await?;
    Ok(readings[0].value)
}

/// Runs a test in a process of its own, which may be ended, and whose memory is nobody else's. True in that process, which goes on with
/// the test; false, and the test is over, in the one that started it.
fn alone(name: &str) -> bool {
    const ALONE: &str = "SAKIDORI_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let alone = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = [&alone.stdout[..], &alone.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(alone.status.success(), "{}: {said}", alone.status);
    print!("{said}");
    false
}

/// The most memory that this process has had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1024
}

/// What the operator runs on: as many threads as the machine has processors, with stacks of the usual size.
fn run(test: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::spawn(test).await.unwrap() });
}
