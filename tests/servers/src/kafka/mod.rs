//! A real Kafka broker (KRaft, one node) with a listener for each kind of login and of TLS: starting, killing, restarting.

mod content;
mod properties;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::maven;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};

use crate::tls::TlsMaterial;
pub use content::Member;

/// It takes 4 s after 6 to set up its storage; a machine that compiles meanwhile needs more.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Any will do, and always the same is as good.
const CLUSTER_ID: &str = "c2FraWRvcmktdGVzdC0xMg";

/// A user who may do everything, and one who may do nothing; both have a password, for each way of showing one.
const USERS: &[(&str, &str)] = &[("app", "hunter2"), ("stranger", "hunter3")];

/// What the broker listens for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KafkaListener {
    /// Everybody, who may do everything.
    Plain,
    /// SASL: `PLAIN`, `SCRAM-SHA-256` and `SCRAM-SHA-512` as `app` (password `hunter2`), who may do everything, or `stranger`
    /// (`hunter3`), who may do nothing.
    Sasl,
    /// The same over TLS.
    SaslTls,
    /// SASL: `OAUTHBEARER` with tokens that nobody signed; `app` is who may do everything.
    Token,
    /// TLS that asks for a client's certificate.
    Mutual,
    /// TLS with a certificate for another name.
    OtherName,
    /// TLS with a certificate that has expired.
    Expired,
}

impl KafkaListener {
    const ALL: [Self; 7] = [
        Self::Plain,
        Self::Sasl,
        Self::SaslTls,
        Self::Token,
        Self::Mutual,
        Self::OtherName,
        Self::Expired,
    ];
}

/// A running broker. Dropped, it is killed and its data is removed.
#[derive(Debug)]
pub struct Kafka {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    broker: Option<Process>,
    archives: PathBuf,
    /// In the order of [`KafkaListener::ALL`].
    ports: Vec<Port>,
    _controller: Port,
    tls: TlsMaterial,
    sandbox: Sandbox,
}

impl Kafka {
    /// Starts a broker without topics, which makes none by itself.
    ///
    /// # Errors
    /// When Kafka or Java can't be had, or the broker does not answer in time; the message ends with its log.
    pub async fn start() -> Result<Kafka> {
        let archives = tokio::task::spawn_blocking(maven::kafka).await??;
        let sandbox = Sandbox::new("sakidori-kafka")?;
        let ports: Result<Vec<Port>> = KafkaListener::ALL.iter().map(|_| Port::take()).collect();
        let (ports, controller) = (ports?, Port::take()?);
        let tls = TlsMaterial::new("kafka")?;
        let keys = [
            tls.server_chain(),
            tls.chain_for(&["elsewhere.example"])?,
            tls.expired_chain()?,
        ];
        let dir = sandbox.dir();
        for (name, text) in ["server", "other", "expired"].iter().zip(&keys) {
            std::fs::write(dir.join(format!("{name}.pem")), text)?;
        }
        std::fs::write(dir.join("ca.pem"), tls.ca())?;
        std::fs::write(dir.join("log4j2.yaml"), properties::LOG)?;
        let numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        let text = properties::of_server(dir, &numbers, controller.number());
        std::fs::write(dir.join("server.properties"), text)?;
        let mut kafka = Kafka {
            broker: None,
            archives,
            ports,
            _controller: controller,
            tls,
            sandbox,
        };
        let mut format = kafka.java("kafka.tools.StorageTool");
        format.args(["format", "-t", CLUSTER_ID, "-c", "server.properties"]);
        for (user, password) in USERS {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                let login = format!("{mechanism}=[name={user},password={password}]");
                format.args(["--add-scram", &login]);
            }
        }
        let mut format = kafka.sandbox.spawn("format", format)?;
        let (status, tail) =
            tokio::task::spawn_blocking(move || (format.wait(), format.tail())).await?;
        ensure!(
            status?.success(),
            "Kafka's storage can't be set up; it said:\n{tail}"
        );
        kafka.restart().await?;
        Ok(kafka)
    }

    /// Kills the broker with SIGKILL, as a crash does. Its data stays; its ports refuse connections.
    pub fn kill(&mut self) {
        self.broker = None;
    }

    /// Kills the broker if it runs, starts it again on the same ports with the same data, and waits until it answers.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = self.java("kafka.Kafka");
        command.arg("server.properties");
        let mut broker = self.sandbox.spawn("kafka", command)?;
        let answered = eventually("answer of Kafka", START_TIMEOUT, async || {
            broker.check()?;
            self.topics().await.map(Some)
        })
        .await;
        let tail = broker.tail();
        self.broker = Some(broker);
        match answered {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(error.context(format!("Kafka does not start; its log ends with:\n{tail}")))
            }
        }
    }

    /// Stops it where it is: new connections are taken by the system and nobody answers, until [`resume`](Self::resume).
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

    /// The port of a listener on 127.0.0.1.
    pub fn port(&self, listener: KafkaListener) -> u16 {
        let at = KafkaListener::ALL.iter().position(|one| *one == listener);
        self.ports[at.unwrap_or_default()].number()
    }

    /// `127.0.0.1:port` of a listener.
    pub fn address(&self, listener: KafkaListener) -> String {
        format!("127.0.0.1:{}", self.port(listener))
    }

    /// The authority of its certificates, and a client's.
    pub fn tls(&self) -> &TlsMaterial {
        &self.tls
    }

    /// What the broker has said.
    pub fn log(&self) -> PathBuf {
        self.sandbox.log("kafka")
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Dlog4j2.configurationFile=log4j2.yaml")
            .arg("-cp")
            .arg(class_path(&self.archives))
            .arg(class);
        command
    }
}

fn class_path(archives: &Path) -> PathBuf {
    archives.join("*")
}
