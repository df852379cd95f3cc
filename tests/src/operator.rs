//! The operator as a process of its own, started the way its command line is documented, and killed when dropped.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::memory::{self, Memory};
use crate::wait::wait_for;
use crate::{binary, certificates, free_port, registration};

/// How an operator is to be started. [`OperatorSettings::new`] gives what most callers want.
#[derive(Clone, Debug)]
pub struct OperatorSettings {
    pub kubeconfig: PathBuf,
    /// Where its certificates and its log go. Must exist and be nobody else's.
    pub dir: PathBuf,
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// `WATCH_NAMESPACE`: empty for all, else a comma list.
    pub watch_namespace: String,
    pub leader_elect: bool,
    /// `--log-level`.
    pub log_level: String,
    /// Arguments after all others.
    pub extra_args: Vec<String>,
}

impl OperatorSettings {
    /// One operator in namespace `keda` that watches all namespaces and is its own leader.
    pub fn new(kubeconfig: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
            dir: dir.into(),
            namespace: registration::NAMESPACE.to_owned(),
            watch_namespace: String::new(),
            leader_elect: false,
            log_level: "info".to_owned(),
            extra_args: Vec::new(),
        }
    }
}

/// The addresses an operator listens on; kept over restarts.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub metrics: SocketAddr,
    pub health_probe: SocketAddr,
    pub external_metrics: SocketAddr,
    pub webhook: SocketAddr,
}

impl Addresses {
    fn free() -> Result<Self> {
        let address = || anyhow::Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)));
        Ok(Self {
            metrics: address()?,
            health_probe: address()?,
            external_metrics: address()?,
            webhook: address()?,
        })
    }
}

/// One operator process, running or not.
#[derive(Debug)]
pub struct Operator {
    settings: OperatorSettings,
    addresses: Addresses,
    authority: String,
    child: Option<Child>,
}

impl Operator {
    /// Starts an operator with new certificates on free ports. It may not be ready yet: see [`Operator::wait_ready`].
    ///
    /// # Errors
    /// If there is no binary, or it can't be started.
    pub fn start(settings: OperatorSettings) -> Result<Self> {
        let names = registration::certificate_names(&settings.namespace);
        let authority = certificates::write(&settings.dir.join("certs"), &names)?;
        let mut operator = Self {
            settings,
            addresses: Addresses::free()?,
            authority,
            child: None,
        };
        operator.spawn()?;
        Ok(operator)
    }

    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The certificate, as PEM, that signed the certificate it serves with.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn log_path(&self) -> PathBuf {
        self.settings.dir.join("operator.log")
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Its resident memory.
    ///
    /// # Errors
    /// If it isn't running.
    pub fn memory(&self) -> Result<Memory> {
        memory::of_process(self.pid().context("the operator is not running")?)
    }

    /// Starts it again on the same ports with the same certificates.
    ///
    /// # Errors
    /// If it still runs or can't be started.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the operator still runs");
        self.spawn()
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// If it ended, or wasn't ready in time; with the end of its log.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<()> {
        crate::choose_tls_provider();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()?;
        let url = format!("http://{}/readyz", self.addresses.health_probe);
        let child = self.child.as_mut().context("the operator is not running")?;
        let ready = async {
            wait_for("ready operator", within, async || {
                let answer = client.get(&url).send().await?;
                let status = answer.status();
                ensure!(
                    status.is_success(),
                    "{url} says {status}: {}",
                    answer.text().await.unwrap_or_default()
                );
                Ok(())
            })
            .await
        };
        let outcome = tokio::select! {
            outcome = ready => outcome,
            status = child.wait() => Err(anyhow!("the operator ended with {}", status?)),
        };
        outcome.with_context(|| format!("the operator's log ends with:\n{}", self.log_tail(20)))
    }

    /// Kills it as the kernel would (SIGKILL): it gets no chance to say goodbye.
    ///
    /// # Errors
    /// If it isn't running.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the operator is not running")?;
        child.kill().await.context("can't kill the operator")
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// If it isn't running, or still runs after `within`; then it is killed.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the operator is not running")?;
        let pid = child
            .id()
            .context("the operator ended before it was asked to")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        match tokio::time::timeout(within, child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                child.kill().await?;
                bail!(
                    "the operator still ran {} s after SIGTERM",
                    within.as_secs_f64()
                )
            }
        }
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn spawn(&mut self) -> Result<()> {
        let program = binary::sakidori()?;
        let log = open_log(&self.log_path())?;
        let mut command = Command::new(&program);
        command
            .arg("operator")
            .arg(format!("--metrics-bind-address={}", self.addresses.metrics))
            .arg(format!(
                "--health-probe-bind-address={}",
                self.addresses.health_probe
            ))
            .arg(format!(
                "--external-metrics-bind-address={}",
                self.addresses.external_metrics
            ))
            .arg(format!("--webhook-bind-address={}", self.addresses.webhook))
            .arg(format!(
                "--cert-dir={}",
                self.settings.dir.join("certs").display()
            ))
            .arg("--enable-cert-rotation=false")
            .arg(format!("--leader-elect={}", self.settings.leader_elect))
            .arg("--log-format=json")
            .arg(format!("--log-level={}", self.settings.log_level))
            .args(&self.settings.extra_args)
            .env("KUBECONFIG", &self.settings.kubeconfig)
            .env("POD_NAMESPACE", &self.settings.namespace)
            .env("WATCH_NAMESPACE", &self.settings.watch_namespace)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Of its own group, so that Ctrl-C on a terminal reaches only the program that decides in which order to stop.
            .process_group(0)
            .kill_on_drop(true);
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("can't start {}", program.display()))?,
        );
        Ok(())
    }
}

/// Appends, so that the log of a restarted operator tells the whole story.
fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("can't open {}", path.display()))
}
