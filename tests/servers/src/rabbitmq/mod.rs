//! A real RabbitMQ broker with its management API: starting, killing, restarting.
//!
//! The broker is one node of its own with its own epmd (Erlang's port mapper, which a node otherwise starts as a
//! daemon that outlives it and that all nodes of a machine share).

mod management;
mod queues;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::install::RABBITMQ_SERVER;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};

use crate::tls::{Tls, TlsMaterial};
pub use queues::Unacknowledged;

/// It takes 4 to 6 s; a machine that compiles meanwhile needs more.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const USER: &str = "guest";
const PASSWORD: &str = "guest";

/// Options of [`RabbitMq::start_with`].
#[derive(Debug, Clone)]
pub struct RabbitMqOptions {
    /// Whether it also listens for AMQPS and HTTPS.
    pub tls: Tls,
    /// How old the queue counts and rates of the management API may be. Default 200 ms; RabbitMQ's own is 5 s.
    pub statistics_interval: Duration,
}

impl Default for RabbitMqOptions {
    fn default() -> RabbitMqOptions {
        RabbitMqOptions {
            tls: Tls::Off,
            statistics_interval: Duration::from_millis(200),
        }
    }
}

/// A running broker. Dropped, it is killed and its data is removed.
#[derive(Debug)]
pub struct RabbitMq {
    // Before `sandbox`: fields are dropped in this order, and processes end before their folder.
    broker: Option<Process>,
    _epmd: Process,
    ports: Ports,
    tls: Option<TlsMaterial>,
    http: reqwest::Client,
    sandbox: Sandbox,
}

#[derive(Debug)]
struct Ports {
    amqp: Port,
    http: Port,
    /// AMQPS and HTTPS.
    tls: Option<(Port, Port)>,
    epmd: Port,
    /// Erlang's distribution protocol, for rabbitmqctl.
    distribution: Port,
}

impl RabbitMq {
    /// Starts a broker with the user `guest`, password `guest`, who may do everything, and the virtual host `/`.
    ///
    /// # Errors
    /// When RabbitMQ is not installed, or does not answer in 90 s; the message ends with its log.
    pub async fn start() -> Result<RabbitMq> {
        RabbitMq::start_with(RabbitMqOptions::default()).await
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(options: RabbitMqOptions) -> Result<RabbitMq> {
        if !Path::new(RABBITMQ_SERVER).exists() {
            bail!(
                "RabbitMQ is not installed (no {RABBITMQ_SERVER}): run `apt-get install rabbitmq-server` or \
                 `test-cluster install`"
            );
        }
        // More than one provider may be linked into a test; then rustls wants to be told, and the first to tell wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = Sandbox::new("sakidori-rabbitmq")?;
        let tls = (options.tls != Tls::Off)
            .then(|| TlsMaterial::new("rabbitmq"))
            .transpose()?;
        let ports = Ports {
            amqp: Port::take()?,
            http: Port::take()?,
            tls: if tls.is_some() {
                Some((Port::take()?, Port::take()?))
            } else {
                None
            },
            epmd: Port::take()?,
            distribution: Port::take()?,
        };
        std::fs::write(
            sandbox.dir().join("rabbitmq.conf"),
            configuration(&sandbox, &ports, tls.as_ref(), &options)?,
        )?;
        std::fs::write(
            sandbox.dir().join("enabled_plugins"),
            "[rabbitmq_management].\n",
        )?;

        let mut epmd = Command::new("epmd");
        epmd.args([
            "-address",
            "127.0.0.1",
            "-port",
            &ports.epmd.number().to_string(),
        ]);
        let epmd = sandbox.spawn("epmd", epmd)?;
        let mut rabbit = RabbitMq {
            broker: None,
            _epmd: epmd,
            ports,
            tls,
            http: reqwest::Client::new(),
            sandbox,
        };
        rabbit.restart().await?;
        Ok(rabbit)
    }

    /// Kills the broker with SIGKILL, as a crash does. Its data stays; its port refuses connections.
    pub fn kill(&mut self) {
        self.broker = None;
    }

    /// Kills the broker if it runs, starts it again on the same ports with the same data, and waits until it serves.
    /// Durable queues and their persistent messages are there again, and with them some that were acknowledged just
    /// before the kill: the broker writes acknowledgements down a moment later, and delivers at least once.
    ///
    /// # Errors
    /// When it does not answer in 90 s.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.broker = Some(self.sandbox.spawn("rabbitmq", self.command())?);
        let found = {
            // Two ways in, and either may be late.
            let mut broker = self.broker.take();
            let found = eventually("answer of RabbitMQ", START_TIMEOUT, async || {
                if let Some(Err(ended)) = broker.as_mut().map(Process::check) {
                    return Ok(Some(Err(ended)));
                }
                self.ping().await?;
                self.connect("/").await?;
                Ok(Some(Ok(())))
            })
            .await;
            self.broker = broker;
            found
        };
        found.and_then(|served| served).with_context(|| {
            let tail = self.broker.as_ref().map(Process::tail).unwrap_or_default();
            format!("RabbitMQ does not start; its log ends with:\n{tail}")
        })
    }

    /// Stops it where it is: connections stay open and nothing is answered, until [`resume`](Self::resume).
    pub fn pause(&self) {
        if let Some(broker) = &self.broker {
            broker.pause();
        }
    }

    /// Lets a paused broker go on.
    pub fn resume(&self) {
        if let Some(broker) = &self.broker {
            broker.resume();
        }
    }

    /// `amqp://guest:guest@127.0.0.1:PORT`, without a virtual host: append `/%2F` or `/name`.
    pub fn amqp_url(&self) -> String {
        self.amqp_url_of(USER, PASSWORD)
    }

    /// The same for a user; name and password are not escaped.
    pub fn amqp_url_of(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@{}", self.amqp_address())
    }

    /// `127.0.0.1:PORT` of AMQP.
    pub fn amqp_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.amqp.number())
    }

    /// `http://guest:guest@127.0.0.1:PORT` of the management API.
    pub fn http_url(&self) -> String {
        self.http_url_of(USER, PASSWORD)
    }

    /// The same for a user; name and password are not escaped.
    pub fn http_url_of(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}", self.http_address())
    }

    /// `127.0.0.1:PORT` of the management API.
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.http.number())
    }

    /// `amqps://guest:guest@127.0.0.1:PORT`, when it was started with TLS.
    pub fn amqps_url(&self) -> Option<String> {
        let (port, _) = self.ports.tls.as_ref()?;
        Some(format!(
            "amqps://{USER}:{PASSWORD}@127.0.0.1:{}",
            port.number()
        ))
    }

    /// `https://guest:guest@127.0.0.1:PORT` of the management API, when it was started with TLS.
    pub fn https_url(&self) -> Option<String> {
        let (_, port) = self.ports.tls.as_ref()?;
        Some(format!(
            "https://{USER}:{PASSWORD}@127.0.0.1:{}",
            port.number()
        ))
    }

    /// The authority and a client's certificate, when it was started with TLS.
    pub fn tls(&self) -> Option<&TlsMaterial> {
        self.tls.as_ref()
    }

    /// The broker's log. It goes on over restarts.
    pub fn log(&self) -> PathBuf {
        self.sandbox.log("rabbitmq")
    }

    /// The broker's private folder; it goes away with the broker.
    pub fn dir(&self) -> &Path {
        self.sandbox.dir()
    }

    /// How many AMQP connections it has accepted over all restarts, counted in its log; each look by this library's
    /// own calls is one too.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn accepted_connections(&self) -> Result<usize> {
        self.count_in_log("accepting AMQP connection")
    }

    /// How many logins it has refused over all restarts, counted in its log: AMQP connections with a wrong password,
    /// and requests of the management API.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn refused_logins(&self) -> Result<usize> {
        Ok(self.count_in_log("login refused")? + self.count_in_log("HTTP access denied")?)
    }

    fn count_in_log(&self, text: &str) -> Result<usize> {
        let path = self.log();
        let log = std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&log)
            .lines()
            .filter(|line| line.contains(text))
            .count())
    }

    fn command(&self) -> Command {
        let dir = self.sandbox.dir();
        let mut command = Command::new(RABBITMQ_SERVER);
        command
            // Where the Erlang cookie is made.
            .env("HOME", dir)
            .env("RABBITMQ_BASE", dir)
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            // The machine's own configuration of a broker must not reach this one.
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_NODENAME", "rabbit@localhost")
            .env("RABBITMQ_DIST_PORT", self.ports.distribution.number().to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.ports.epmd.number().to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                // Idle schedulers sleep instead of spinning: the machine has more to do.
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
            )
            // The start script then becomes the broker instead of staying its parent, so that a kill reaches it.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env_remove("NOTIFY_SOCKET");
        command
    }
}

fn configuration(
    sandbox: &Sandbox,
    ports: &Ports,
    tls: Option<&TlsMaterial>,
    options: &RabbitMqOptions,
) -> Result<String> {
    let mut lines = vec![
        format!("listeners.tcp.1 = 127.0.0.1:{}", ports.amqp.number()),
        "management.tcp.ip = 127.0.0.1".to_owned(),
        format!("management.tcp.port = {}", ports.http.number()),
        "loopback_users = none".to_owned(),
        // Rates per queue, which triggers read.
        "management.rates_mode = detailed".to_owned(),
        format!(
            "collect_statistics_interval = {}",
            options.statistics_interval.as_millis()
        ),
    ];
    if let (Some(tls), Some((amqps, https))) = (tls, &ports.tls) {
        let (ca, server) = tls.write(sandbox.dir())?;
        let mutual = options.tls == Tls::Mutual;
        lines.push(format!("listeners.ssl.1 = 127.0.0.1:{}", amqps.number()));
        lines.push("management.ssl.ip = 127.0.0.1".to_owned());
        lines.push(format!("management.ssl.port = {}", https.number()));
        for prefix in ["ssl_options", "management.ssl"] {
            lines.push(format!("{prefix}.cacertfile = {}", ca.display()));
            lines.push(format!(
                "{prefix}.certfile = {}",
                server.certificate.display()
            ));
            lines.push(format!("{prefix}.keyfile = {}", server.key.display()));
            lines.push(format!(
                "{prefix}.verify = {}",
                if mutual { "verify_peer" } else { "verify_none" }
            ));
            lines.push(format!("{prefix}.fail_if_no_peer_cert = {mutual}"));
        }
    }
    Ok(lines.join("\n") + "\n")
}
