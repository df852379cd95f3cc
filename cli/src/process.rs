//! What all processes that run until a signal have in common: logs, the runtime, addresses.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// How a process logs, on standard error.
#[derive(Args)]
pub struct Logs {
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// error, warn, info, debug or trace; or a filter such as info,sakidori_operator=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    log_level: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Logs {
    /// Starts logging.
    pub fn start(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(log_filter(&self.log_level)).with_context(|| {
            format!(
                "--log-level {:?}: expected a level or a filter",
                self.log_level
            )
        })?;
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false);
        match self.log_format {
            LogFormat::Text => logs.init(),
            LogFormat::Json => logs.json().flatten_event(true).init(),
        }
        Ok(())
    }
}

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

/// What the libraries say at a level of their own: their debug lines are about bytes, and lapin reports every refused login as an
/// error, which the trigger's own line says better.
const LIBRARIES: &str = "aws_=info,hyper=info,hyper_util=info,h2=info,kube=info,reqwest=info,rustls=info,tower=info,lapin=off";

/// The user's words come last, and so count.
fn log_filter(text: &str) -> String {
    format!("{LIBRARIES},{text}")
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

fn log_level(text: &str) -> Result<String, String> {
    // A filter takes any word for a module's name: a bare word has to be a level.
    let is_level = text.parse::<tracing::Level>().is_ok() || text.eq_ignore_ascii_case("off");
    match EnvFilter::try_new(text) {
        Ok(_) if is_level || text.contains(['=', ',']) => Ok(text.to_owned()),
        _ => Err(
            "expected error, warn, info, debug, trace, or a filter such as info,kube=debug"
                .to_owned(),
        ),
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

    #[test]
    fn a_log_level_is_a_level_or_a_filter() {
        for good in [
            "info",
            "DEBUG",
            "off",
            "info,kube=debug",
            "sakidori_operator=trace",
        ] {
            assert!(log_level(good).is_ok(), "{good}");
            assert!(EnvFilter::try_new(log_filter(good)).is_ok(), "{good}");
        }
        assert!(log_level("chatty").is_err());
        assert!(log_level("info,kube=loud").is_err());
    }
}
