//! A real Prometheus that scrapes one number, which a test sets.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::install::PROMETHEUS;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};

use crate::http_source::{Answer, HttpSource};
use crate::tls::{Tls, TlsMaterial};

/// It takes less than a second; a machine that compiles meanwhile needs more.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// bcrypt of [`Prometheus::PASSWORD`], with the least cost: each request is checked.
const HASHED_PASSWORD: &str = "$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm";

/// How a server is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrometheusOptions {
    /// With TLS; `Mutual` wants a client's certificate.
    pub tls: Tls,
    /// The name that its certificate is for; empty for those by which it can be reached.
    pub certificate_for: &'static str,
    /// Whether it wants [`Prometheus::USER`] and [`Prometheus::PASSWORD`].
    pub login: bool,
    /// The path under which its API is, such as `/team`; empty for none.
    pub path: &'static str,
}

/// What one job scrapes, every second.
#[derive(Debug, Clone)]
pub struct Job {
    pub name: String,
    pub targets: Vec<SocketAddr>,
    /// Labels of these targets, as a cluster's service discovery gives them.
    pub labels: Vec<(String, String)>,
    /// Whether a series' own label wins over a target's of that name.
    pub honor_labels: bool,
}

impl Job {
    fn config(&self) -> String {
        let targets: Vec<String> = self.targets.iter().map(|one| format!("'{one}'")).collect();
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}: '{value}'"))
            .collect();
        format!(
            "- job_name: {}\n  honor_labels: {}\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs:\n  - targets: [{}]\n    labels: {{{}}}\n",
            self.name,
            self.honor_labels,
            targets.join(", "),
            labels.join(", ")
        )
    }
}

/// A running server. Dropped, it is killed and its data is removed.
#[derive(Debug)]
pub struct Prometheus {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    process: Option<Process>,
    port: Port,
    tls: Option<TlsMaterial>,
    options: PrometheusOptions,
    scraped: HttpSource,
    sandbox: Sandbox,
}

impl Prometheus {
    /// The user of a server that wants one.
    pub const USER: &'static str = "scaler";
    /// That user's password.
    pub const PASSWORD: &'static str = "hunter2";

    /// Starts one that scrapes the gauge `waiting` five times a second, which is 0.
    ///
    /// # Errors
    /// When Prometheus is not installed, or is not ready in 60 s; the message ends with its log.
    pub async fn start(options: PrometheusOptions) -> Result<Prometheus> {
        Self::start_with(options, &[]).await
    }

    /// Starts one that scrapes these, too.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn scraping(jobs: &[Job]) -> Result<Prometheus> {
        Self::start_with(PrometheusOptions::default(), jobs).await
    }

    async fn start_with(options: PrometheusOptions, jobs: &[Job]) -> Result<Prometheus> {
        ensure!(
            Path::new(PROMETHEUS).exists(),
            "Prometheus is not installed: run `apt-get install prometheus` or `test-cluster install`"
        );
        let sandbox = Sandbox::new("sakidori-prometheus")?;
        let scraped = HttpSource::start()?;
        let tls = match (options.tls, options.certificate_for) {
            (Tls::Off, _) => None,
            (_, "") => Some(TlsMaterial::new("prometheus")?),
            (_, name) => Some(TlsMaterial::for_hosts("prometheus", &[name])?),
        };
        let target = format!("127.0.0.1:{}", scraped.port());
        let mut config = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs:\n- job_name: shop\n  static_configs:\n  - targets: ['{target}']\n"
        );
        config.extend(jobs.iter().map(Job::config));
        std::fs::write(sandbox.dir().join("prometheus.yml"), config)?;
        let web = web_config(sandbox.dir(), tls.as_ref(), options)?;
        std::fs::write(sandbox.dir().join("web.yml"), web)?;
        let mut prometheus = Prometheus {
            process: None,
            port: Port::take()?,
            tls,
            options,
            scraped,
            sandbox,
        };
        prometheus.set_waiting(0.0);
        prometheus.run().await?;
        Ok(prometheus)
    }

    /// Sets the gauge `waiting`, which the next scrape sees.
    pub fn set_waiting(&self, waiting: f64) {
        let page = format!("# TYPE waiting gauge\nwaiting {waiting}\n");
        self.scraped.set("/metrics", Answer::prometheus(page));
    }

    /// Waits until the gauge is there. Prometheus looks for what to scrape five seconds after its start.
    ///
    /// # Errors
    /// When nothing was scraped in 60 s.
    pub async fn wait_scraped(&self) -> Result<()> {
        // The second scrape comes after what the first one found was stored.
        eventually("scrape by Prometheus", START_TIMEOUT, async || {
            Ok((self.scraped.requests("/metrics") >= 2).then_some(()))
        })
        .await
    }

    /// `http://127.0.0.1:PORT` and its path, or `https` with TLS: the `serverAddress` of a trigger.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let path = self.options.path;
        format!("{scheme}://127.0.0.1:{}{path}", self.port.number())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The authority and a client's certificate, when it speaks TLS.
    pub fn tls(&self) -> Option<&TlsMaterial> {
        self.tls.as_ref()
    }

    /// Kills it with SIGKILL, as a crash does. Its data stays; its port refuses connections.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it where it is: connections stay open and nothing is answered, until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.process.iter().for_each(Process::pause);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.iter().for_each(Process::resume);
    }

    /// Starts it again after [`kill`](Self::kill), on the same port with the same data, and waits until it answers queries.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn run(&mut self) -> Result<()> {
        let mut command = Command::new(PROMETHEUS);
        command.args([
            "--config.file=prometheus.yml",
            "--web.config.file=web.yml",
            "--storage.tsdb.path=data",
            &format!("--web.listen-address=127.0.0.1:{}", self.port.number()),
            &format!("--web.route-prefix={}/", self.options.path),
        ]);
        let process = self.sandbox.spawn("prometheus", command)?;
        let process = self.process.insert(process);
        // It says so in its log, whatever logins it wants.
        let log = self.sandbox.log("prometheus");
        let started = std::fs::metadata(&log).map_or(0, |log| log.len());
        eventually("ready Prometheus", START_TIMEOUT, async || {
            process.check()?;
            let said = std::fs::read(&log).context("Prometheus has no log")?;
            let said = String::from_utf8_lossy(said.get(started as usize..).unwrap_or_default());
            Ok(said.contains("ready to receive web requests").then_some(()))
        })
        .await
    }
}

fn web_config(
    folder: &Path,
    tls: Option<&TlsMaterial>,
    options: PrometheusOptions,
) -> Result<String> {
    let mut config = String::new();
    if let Some(tls) = tls {
        let (ca, server) = tls.write(folder)?;
        config.push_str(&format!(
            "tls_server_config:\n  cert_file: {}\n  key_file: {}\n",
            server.certificate.display(),
            server.key.display()
        ));
        if options.tls == Tls::Mutual {
            config.push_str(&format!(
                "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {}\n",
                ca.display()
            ));
        }
    }
    if options.login {
        config.push_str(&format!(
            "basic_auth_users:\n  {}: {HASHED_PASSWORD}\n",
            Prometheus::USER
        ));
    }
    Ok(config)
}
