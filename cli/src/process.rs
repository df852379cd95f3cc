//! What all processes that run until a signal have in common: the runtime, signals, addresses.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Runs `work` until it ends, having told it of SIGTERM and SIGINT.
pub fn until_signal<W>(work: impl FnOnce(CancellationToken) -> W) -> anyhow::Result<()>
where
    W: Future<Output = anyhow::Result<()>>,
{
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        stop_on_signal(shutdown.clone())?;
        work(shutdown).await
    });
    // A task that doesn't end must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// Lets the process have as many open files as it may. The soft limit, 1024 on many systems, is there for programs that can't
/// cope with more; each poll that waits for its source has a socket, so a thousand sources that hang would take all there are.
/// (Go does the same for KEDA.)
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, limit = limit.current, "the number of open files stays limited");
    }
}

fn stop_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
        shutdown.cancel();
        // Whoever asks twice, as with any operator (controller-runtime), doesn't want to wait.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        warn!("a second signal: ending at once");
        std::process::exit(1);
    });
    Ok(())
}

/// `:8080` means all interfaces, as in KEDA's flags.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let parsed = match text.strip_prefix(':') {
        Some(port) => port
            .parse()
            .ok()
            .map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| {
        "expected :PORT or ADDRESS:PORT, for example :8080 or 127.0.0.1:8080".to_owned()
    })
}

/// Where something is served, if it is; a name of its own keeps clap from taking the flag for one without a default.
pub type Optional = Option<SocketAddr>;

/// `0` means nowhere, as for controller-runtime's operators.
pub fn address_or_none(text: &str) -> Result<Optional, String> {
    match text {
        "0" => Ok(None),
        _ => address(text)
            .map(Some)
            .map_err(|expected| format!("{expected}, or 0 for none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_the_host() {
        assert_eq!(address(":8080"), Ok("[::]:8080".parse().unwrap()));
        assert_eq!(address("127.0.0.1:1"), Ok("127.0.0.1:1".parse().unwrap()));
        assert!(address("8080").is_err());
        assert!(address(":http").is_err());
    }

    #[test]
    fn zero_is_no_address() {
        assert_eq!(address_or_none("0"), Ok(None));
        let some = address_or_none("127.0.0.1:0");
        assert_eq!(some, Ok(Some("127.0.0.1:0".parse().unwrap())));
        assert!(address_or_none("off").unwrap_err().ends_with("0 for none"));
        assert!(address("0").is_err());
    }
}
