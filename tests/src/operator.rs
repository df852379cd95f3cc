//! The operator as a process of its own, started the way its command line is documented, and killed when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use kube::Client;
use sakidori_test_cluster::pki::Identity;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use sakidori_test_cluster::{Cluster, ExternalMetricsTrust, eventually};
use serde_json::Value;

use crate::certificates::Certificates;
use crate::memory::{self, Memory};
use crate::{binary, canary, chart, manifests};

/// The namespace the operator is installed in.
pub const NAMESPACE: &str = "keda";

/// Which of the installation's processes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subcommand {
    Operator,
    /// It knows nothing of [`OperatorSettings::watch_namespace`], of elections and of webhooks.
    MetricsAdapter,
}

/// How an operator is to be started.
#[derive(Clone, Debug)]
pub struct OperatorSettings {
    pub subcommand: Subcommand,
    pub kubeconfig: PathBuf,
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// `WATCH_NAMESPACE`: empty for all, else a comma list.
    pub watch_namespace: String,
    pub leader_elect: bool,
    /// `--enable-cert-rotation`: it makes its certificates itself, and the files it is given count for nothing.
    pub cert_rotation: bool,
    /// `--enable-apiservice-patching` and `--enable-webhook-patching`. There is one APIService in a cluster, and cases run side by side.
    pub patching: bool,
    /// `--log-level`.
    pub log_level: String,
    /// Arguments after all others.
    pub extra_args: Vec<String>,
    /// More environment variables.
    pub environment: Vec<(String, String)>,
    /// The soft limit of open files that it is started with; the test's own if `None`.
    pub open_files: Option<u32>,
}

impl OperatorSettings {
    /// One operator in namespace `keda` that watches all namespaces and is its own leader.
    pub fn new(kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            subcommand: Subcommand::Operator,
            kubeconfig: kubeconfig.into(),
            namespace: NAMESPACE.to_owned(),
            watch_namespace: String::new(),
            leader_elect: false,
            cert_rotation: false,
            patching: false,
            log_level: "info".to_owned(),
            extra_args: Vec::new(),
            environment: Vec::new(),
            open_files: None,
        }
    }
}

/// The ports of 127.0.0.1 that an operator listens on; its own over restarts.
#[derive(Debug)]
struct Ports {
    metrics: Port,
    health_probe: Port,
    external_metrics: Port,
    webhook: Port,
    values: Port,
}

/// One operator process, running or not.
pub struct Operator {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    process: Option<Process>,
    settings: OperatorSettings,
    ports: Ports,
    certificates: Arc<Certificates>,
    http: reqwest::Client,
    sandbox: Sandbox,
}

impl Operator {
    /// Installs the CRDs, starts an operator that watches all of `cluster` with the rights that the chart gives it, waits
    /// until it is ready, and registers it as the external metrics API: what most callers want.
    ///
    /// # Errors
    /// If one of these steps fails; the message ends with the operator's log where that may help.
    pub async fn install(cluster: &Cluster) -> Result<Self> {
        Self::install_with(cluster, |_| {}).await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// If one of these steps fails; the message ends with the operator's log where that may help.
    pub async fn install_with(
        cluster: &Cluster,
        change: impl FnOnce(&mut OperatorSettings),
    ) -> Result<Self> {
        manifests::install_crds(&cluster.client()).await?;
        let kubeconfig = chart::service_account(cluster).await?;
        let mut settings = OperatorSettings::new(kubeconfig);
        change(&mut settings);
        let mut operator = Self::start(settings)?;
        operator.wait_ready(Duration::from_secs(30)).await?;
        operator.register(cluster).await?;
        operator
            .wait_registered(&cluster.client(), Duration::from_secs(30))
            .await?;
        Ok(operator)
    }

    /// Starts an operator with new certificates on free ports. It may not be ready yet: see [`Operator::wait_ready`].
    ///
    /// # Errors
    /// If there is no binary, or it can't be started.
    pub fn start(settings: OperatorSettings) -> Result<Self> {
        Self::start_with(settings, Arc::new(Certificates::new()?))
    }

    /// The same with certificates that it shares with others.
    ///
    /// # Errors
    /// If there is no binary, or it can't be started.
    pub fn start_with(settings: OperatorSettings, certificates: Arc<Certificates>) -> Result<Self> {
        // An error means that one is chosen already, and ring is the only one that is compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = Sandbox::new("sakidori-operator")?;
        certificates.write(sandbox.dir())?;
        let ports = Ports {
            metrics: Port::take()?,
            health_probe: Port::take()?,
            external_metrics: Port::take()?,
            webhook: Port::take()?,
            values: Port::take()?,
        };
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let mut operator = Self {
            process: None,
            settings,
            ports,
            certificates,
            http,
            sandbox,
        };
        operator.spawn()?;
        Ok(operator)
    }

    /// Starts it again on the same ports with the same certificates.
    ///
    /// # Errors
    /// If it still runs or can't be started.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the operator still runs");
        self.spawn()
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// If it ended, or wasn't ready in time; with the end of its log.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<()> {
        let url = format!("http://{}/readyz", self.health_probe_address());
        let process = self
            .process
            .as_mut()
            .context("the operator is not running")?;
        let deadline = Instant::now() + within;
        loop {
            process.check()?;
            let said = match self.http.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => format!(
                    "{}: {}",
                    answer.status(),
                    answer.text().await.unwrap_or_default()
                ),
                Err(error) => format!("{:#}", anyhow!(error)),
            };
            ensure!(
                Instant::now() < deadline,
                "the operator is not ready after {within:?}; {url} says {said}; its log ends with\n{}",
                process.tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes `cluster` ask this operator for external metrics.
    ///
    /// # Errors
    /// If the API server refuses one of the objects.
    pub async fn register(&self, cluster: &Cluster) -> Result<()> {
        cluster
            .register_external_metrics(self.ports.external_metrics.number(), &self.trust())
            .await
    }

    /// Whom the API server has to be told to believe.
    pub fn trust(&self) -> ExternalMetricsTrust {
        if self.settings.cert_rotation {
            ExternalMetricsTrust::Unknown
        } else {
            ExternalMetricsTrust::Authority(self.authority().to_owned())
        }
    }

    /// Waits until the API server says that the registered API answers.
    ///
    /// # Errors
    /// If it doesn't in time; with the API server's own reason and the end of the operator's log.
    pub async fn wait_registered(&self, client: &Client, within: Duration) -> Result<()> {
        let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
        eventually("available APIService", within, async || {
            let service: Value = client
                .request(http::Request::get(path).body(Vec::new())?)
                .await?;
            let conditions = service["status"]["conditions"]
                .as_array()
                .context("it has no conditions yet")?;
            let available = conditions
                .iter()
                .find(|condition| condition["type"] == "Available")
                .context("it has no condition Available yet")?;
            ensure!(
                available["status"] == "True",
                "{}: {}",
                available["reason"],
                available["message"]
            );
            Ok(Some(()))
        })
        .await
        .map_err(|error| {
            anyhow!(
                "{error:#}\nthe operator's log ends with\n{}",
                self.log_tail()
            )
        })
    }

    /// Kills it as the kernel would (SIGKILL): it gets no chance to say goodbye.
    ///
    /// # Errors
    /// If it isn't running.
    pub fn kill(&mut self) -> Result<()> {
        self.process
            .take()
            .context("the operator is not running")?
            .kill();
        Ok(())
    }

    /// Asks it to end (SIGTERM), and gives how it ended and how long that took.
    ///
    /// # Errors
    /// If it isn't running, or had to be killed after `within`.
    pub async fn terminate(&mut self, within: Duration) -> Result<(ExitStatus, Duration)> {
        let mut process = self.process.take().context("the operator is not running")?;
        process.check()?;
        let start = Instant::now();
        let status = tokio::task::spawn_blocking(move || process.stop(within)).await?;
        let took = start.elapsed();
        ensure!(
            took < within,
            "the operator still ran {within:?} after SIGTERM"
        );
        Ok((status.context("the operator's exit status is lost")?, took))
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Its resident memory.
    ///
    /// # Errors
    /// If it isn't running.
    pub fn memory(&self) -> Result<Memory> {
        memory::of_process(self.pid().context("the operator is not running")?)
    }

    /// What it serves on `/metrics`, in Prometheus' text format.
    ///
    /// # Errors
    /// If it doesn't answer with 200.
    pub async fn metrics(&self) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.ports.metrics.number());
        Ok(self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.metrics.number()))
    }

    pub fn health_probe_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.health_probe.number()))
    }

    pub fn external_metrics_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.external_metrics.number()))
    }

    /// Where its certificate files are: `ca.crt`, `tls.crt` and `tls.key`.
    pub fn certificate_directory(&self) -> &Path {
        self.sandbox.dir()
    }

    /// The authority (PEM) of the certificate in its files.
    pub fn authority(&self) -> &str {
        self.certificates.authority()
    }

    /// Its own certificate and key, and the authority: a tool in the cluster has them from the Secret.
    pub fn certificates(&self) -> PathBuf {
        self.sandbox.dir().to_owned()
    }

    /// Another certificate of its authority.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn issue(&self, hosts: &[&str]) -> Result<Identity> {
        self.certificates.issue(hosts)
    }

    /// Where its gRPC services are.
    pub fn metrics_service_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.values.number()))
    }

    pub fn webhook_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.webhook.number()))
    }

    /// Where others find its values, which is what its Lease tells while it leads.
    pub fn values_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.values.number()))
    }

    /// Where it logs; one file over restarts, gone when this value is dropped.
    pub fn log_path(&self) -> PathBuf {
        self.sandbox.log("operator")
    }

    /// Stops it in its tracks (SIGSTOP): its ports take connections, and nothing answers.
    ///
    /// # Errors
    /// If it isn't running.
    pub fn pause(&self) -> Result<()> {
        self.process
            .as_ref()
            .context("the operator is not running")?
            .pause();
        Ok(())
    }

    /// Lets it go on after [`pause`](Self::pause) (SIGCONT).
    ///
    /// # Errors
    /// If it isn't running.
    pub fn resume(&self) -> Result<()> {
        self.process
            .as_ref()
            .context("the operator is not running")?
            .resume();
        Ok(())
    }

    /// The status and text of a probe, such as `/readyz`.
    ///
    /// # Errors
    /// If nothing answers.
    pub async fn probe(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}{path}", self.health_probe_address());
        let answer = self.http.get(url).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The last lines of its log, for messages.
    pub fn log_tail(&self) -> String {
        match &self.process {
            Some(process) => process.tail(),
            None => std::fs::read_to_string(self.log_path()).unwrap_or_default(),
        }
    }

    /// # Errors
    /// With the lines of its log that tell a secret.
    pub fn tells_no_secret(&self) -> Result<()> {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        canary::tells_no_secret("the operator's log", &String::from_utf8_lossy(&log))
    }

    fn spawn(&mut self) -> Result<()> {
        let mut command = match self.settings.open_files {
            None => Command::new(binary::sakidori()?),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", "ulimit -S -n \"$0\" && exec \"$@\""])
                    .arg(limit.to_string())
                    .arg(binary::sakidori()?);
                shell
            }
        };
        command
            .args(match self.settings.subcommand {
                Subcommand::Operator => self.operator_arguments(),
                Subcommand::MetricsAdapter => self.metrics_adapter_arguments(),
            })
            .arg(format!(
                "--metrics-bind-address={}",
                address(&self.ports.metrics)
            ))
            .arg(format!(
                "--health-probe-bind-address={}",
                address(&self.ports.health_probe)
            ))
            .arg(format!("--cert-dir={}", self.sandbox.dir().display()))
            .arg("--log-format=json")
            .arg(format!("--log-level={}", self.settings.log_level))
            .args(&self.settings.extra_args)
            .env("KUBECONFIG", &self.settings.kubeconfig)
            .env("POD_NAMESPACE", &self.settings.namespace)
            .env("WATCH_NAMESPACE", &self.settings.watch_namespace)
            .envs(self.settings.environment.iter().cloned());
        self.process = Some(self.sandbox.spawn("operator", command)?);
        Ok(())
    }
}

impl Operator {
    fn operator_arguments(&self) -> Vec<String> {
        vec![
            "operator".to_owned(),
            format!(
                "--external-metrics-bind-address={}",
                address(&self.ports.external_metrics)
            ),
            format!("--webhook-bind-address={}", address(&self.ports.webhook)),
            format!(
                "--metrics-service-bind-address={}",
                address(&self.ports.values)
            ),
            format!("--enable-cert-rotation={}", self.settings.cert_rotation),
            format!("--enable-apiservice-patching={}", self.settings.patching),
            format!("--enable-webhook-patching={}", self.settings.patching),
            format!("--leader-elect={}", self.settings.leader_elect),
        ]
    }

    fn metrics_adapter_arguments(&self) -> Vec<String> {
        vec![
            "metrics-adapter".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.external_metrics.number()),
        ]
    }
}

fn address(port: &Port) -> String {
    format!("127.0.0.1:{}", port.number())
}

impl Drop for Operator {
    fn drop(&mut self) {
        // A case that failed has something else to say.
        if !std::thread::panicking()
            && let Err(error) = self.tells_no_secret()
        {
            panic!("{error:#}");
        }
    }
}
