//! A client of an operator's gRPC services, on KEDA's own generated code (`metricsclient/main.go`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use sakidori_test_cluster::install;
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use serde_json::Value;

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connection {
    /// As tools in the cluster do: mutual TLS.
    #[default]
    Mutual,
    /// TLS without a certificate of its own.
    Nobody,
    /// Mutual TLS of version 1.2.
    Tls12,
    Plain,
}

impl Connection {
    fn flag(self) -> Option<&'static str> {
        match self {
            Self::Mutual => None,
            Self::Nobody => Some("-nobody"),
            Self::Tls12 => Some("-tls12"),
            Self::Plain => Some("-plain"),
        }
    }
}

/// Asks one server.
#[derive(Debug)]
pub struct MetricsClient {
    program: PathBuf,
    address: SocketAddr,
    /// The folder of `ca.crt`, `tls.crt` and `tls.key`.
    certificates: PathBuf,
    connection: Connection,
    /// How many were begun: each has a log of its own.
    streams: AtomicUsize,
    sandbox: Sandbox,
}

/// A stream that is open; ended when dropped.
#[derive(Debug)]
pub struct RawMetricsStream {
    process: Process,
    log: PathBuf,
}

impl MetricsClient {
    /// # Errors
    /// When it can't be built.
    pub async fn new(
        address: SocketAddr,
        certificates: PathBuf,
        connection: Connection,
    ) -> Result<Self> {
        Ok(Self {
            program: tokio::task::spawn_blocking(install::metrics_client).await??,
            address,
            certificates,
            connection,
            streams: AtomicUsize::new(0),
            sandbox: Sandbox::new("sakidori-metrics-client")?,
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-address").arg(self.address.to_string());
        command.arg("-certs").arg(&self.certificates);
        command.args(["-name", "keda-operator.keda.svc", "-timeout", "5m"]);
        command.args(self.connection.flag()).args(arguments);
        command
    }

    /// One call, and what it is answered: a message, or `code` and `message` of an error.
    ///
    /// # Errors
    /// When it prints anything else.
    pub async fn call(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
    }

    /// Begins `GetRawMetricsStream`.
    ///
    /// # Errors
    /// When the client can't be started.
    pub fn stream(&self, subscriber: &str) -> Result<RawMetricsStream> {
        let command = self.command(&["stream", subscriber]);
        let name = format!("stream-{}", self.streams.fetch_add(1, Ordering::Relaxed));
        Ok(RawMetricsStream {
            process: self.sandbox.spawn(&name, command)?,
            log: self.sandbox.log(&name),
        })
    }
}

impl RawMetricsStream {
    /// All messages so far; the last may be the error that it ended with.
    ///
    /// # Errors
    /// When it printed anything else.
    pub fn messages(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.log)?;
        // What stands after the last line's end isn't written to its own end yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// Whether it has ended, well or not.
    pub fn has_ended(&mut self) -> bool {
        self.process.check().is_err()
    }
}
