//! Real NATS servers with JetStream and monitoring: one, or a cluster of three.
//!
//! The servers of a cluster are on 127.0.0.1, 127.0.0.2 and 127.0.0.3, with the same ports: that is how they are found, since only hosts tell
//! them apart.

mod client;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use sakidori_test_cluster::{eventually, python};
use serde_json::{Value, json};

use crate::tls::TlsMaterial;
use client::Client;

/// It takes less than 1 s, a cluster some more.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The servers' accounts, each with streams of its own, and a user of the same name and password.
const ACCOUNTS: [&str; 2] = ["APP", "OTHER"];

/// Servers that run. Dropped, they are killed, and their streams are gone.
#[derive(Debug)]
pub struct Nats {
    // Before `sandbox`: fields are dropped in this order, and the processes end before their folder.
    servers: Vec<Option<Process>>,
    program: PathBuf,
    client_port: Port,
    monitoring_port: Port,
    cluster_port: Port,
    tls: Option<TlsMaterial>,
    sandbox: Sandbox,
}

impl Nats {
    /// Starts one server, installing NATS first when it is not there yet.
    ///
    /// # Errors
    /// When it can't be installed, or does not answer in 60 s.
    pub async fn start() -> Result<Nats> {
        Nats::start_servers(1, None).await
    }

    /// Starts one server whose monitoring endpoint speaks HTTPS, with a certificate for these names.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_https(hosts: &[&str]) -> Result<Nats> {
        let material = TlsMaterial::for_hosts("nats", hosts)?;
        Nats::start_servers(1, Some(material)).await
    }

    /// Starts a cluster of three.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_cluster() -> Result<Nats> {
        Nats::start_servers(3, None).await
    }

    async fn start_servers(count: usize, tls: Option<TlsMaterial>) -> Result<Nats> {
        let program = tokio::task::spawn_blocking(python::nats).await??;
        let mut nats = Nats {
            servers: (0..count).map(|_| None).collect(),
            program,
            client_port: Port::take()?,
            monitoring_port: Port::take()?,
            cluster_port: Port::take()?,
            tls,
            sandbox: Sandbox::new("sakidori-nats")?,
        };
        for server in 0..count {
            std::fs::write(nats.configuration_file(server), nats.configuration(server)?)?;
            nats.spawn(server)?;
        }
        nats.until_ready().await?;
        Ok(nats)
    }

    /// NATS reads JSON, too.
    fn configuration(&self, server: usize) -> Result<String> {
        let at = |port: &Port| format!("{}:{}", host(server), port.number());
        let accounts = ACCOUNTS.map(|name| {
            let users = json!([{"user": name, "password": name}]);
            (
                name.to_owned(),
                json!({"jetstream": "enabled", "users": users}),
            )
        });
        let mut configuration = json!({
            "server_name": name(server),
            "listen": at(&self.client_port),
            "jetstream": {"store_dir": self.sandbox.dir().join(name(server))},
            "accounts": Value::Object(accounts.into_iter().collect()),
        });
        match &self.tls {
            None => configuration["http"] = json!(at(&self.monitoring_port)),
            Some(material) => {
                let (_, identity) = material.write(self.sandbox.dir())?;
                configuration["https"] = json!(at(&self.monitoring_port));
                configuration["tls"] =
                    json!({"cert_file": identity.certificate, "key_file": identity.key});
                configuration["allow_non_tls"] = json!(true);
            }
        }
        if self.servers.len() > 1 {
            let routes: Vec<String> = (0..self.servers.len())
                .map(|server| format!("nats://{}:{}", host(server), self.cluster_port.number()))
                .collect();
            configuration["cluster"] =
                json!({"name": "test", "listen": at(&self.cluster_port), "routes": routes});
        }
        Ok(configuration.to_string())
    }

    fn configuration_file(&self, server: usize) -> PathBuf {
        self.sandbox.dir().join(format!("{}.conf", name(server)))
    }

    fn spawn(&mut self, server: usize) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.configuration_file(server));
        self.servers[server] = Some(self.sandbox.spawn(&name(server), command)?);
        Ok(())
    }

    async fn until_ready(&mut self) -> Result<()> {
        for server in 0..self.servers.len() {
            let port = self.client_port.number();
            let Some(process) = &mut self.servers[server] else {
                continue;
            };
            let ready = eventually("answer of NATS", START_TIMEOUT, async || {
                process.check()?;
                let mut client = Client::connect(host(server), port, "APP").await?;
                client.ask("$JS.API.INFO", &Value::Null).await.map(Some)
            });
            let ready = ready.await;
            ready.with_context(|| format!("the log ends with:\n{}", process.tail()))?;
        }
        Ok(())
    }

    /// Kills a server with SIGKILL, as a crash does. Its streams stay.
    pub fn kill(&mut self, server: usize) {
        self.servers[server] = None;
    }

    /// Starts a killed server again, and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in 60 s.
    pub async fn restart(&mut self, server: usize) -> Result<()> {
        self.kill(server);
        self.spawn(server)?;
        self.until_ready().await
    }

    /// Stops a server where it is: connections stay open and nothing is answered, until [`resume`](Self::resume).
    pub fn pause(&self, server: usize) {
        if let Some(server) = &self.servers[server] {
            server.pause();
        }
    }

    /// Lets a paused server go on.
    pub fn resume(&self, server: usize) {
        if let Some(server) = &self.servers[server] {
            server.resume();
        }
    }

    /// The monitoring endpoint of the first server, `HOST:PORT`.
    pub fn monitoring(&self) -> String {
        self.monitoring_of(0)
    }

    /// The monitoring endpoint of a server.
    pub fn monitoring_of(&self, server: usize) -> String {
        format!("{}:{}", host(server), self.monitoring_port.number())
    }

    /// The port of the monitoring endpoints.
    pub fn monitoring_port(&self) -> u16 {
        self.monitoring_port.number()
    }

    /// The authority of [`start_https`](Self::start_https).
    pub fn tls(&self) -> Option<&TlsMaterial> {
        self.tls.as_ref()
    }

    /// Asks JetStream's API as an account: `$JS.API.` and the subject. Any server that runs is asked.
    ///
    /// # Errors
    /// When it refuses, with what it says, or does not answer in 5 s.
    pub async fn ask(&self, account: &str, subject: &str, question: &Value) -> Result<Value> {
        let mut client = self.client(account).await?;
        client.ask(&format!("$JS.API.{subject}"), question).await
    }

    /// Makes a stream of the subjects `NAME.>` with so many replicas, and the durable consumer `worker` of it, of which messages
    /// must be acknowledged.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn create_stream(&self, account: &str, stream: &str, replicas: usize) -> Result<()> {
        let subjects = [format!("{stream}.>")];
        let question = json!({"name": stream, "subjects": subjects, "num_replicas": replicas});
        self.ask(account, &format!("STREAM.CREATE.{stream}"), &question)
            .await?;
        self.create_consumer(account, stream, "worker").await
    }

    /// Makes a durable consumer.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn create_consumer(&self, account: &str, stream: &str, name: &str) -> Result<()> {
        let config = json!({"durable_name": name, "ack_policy": "explicit"});
        let question = json!({"stream_name": stream, "config": config});
        let subject = format!("CONSUMER.DURABLE.CREATE.{stream}.{name}");
        self.ask(account, &subject, &question).await.map(drop)
    }

    /// Publishes so many messages, which the stream has when this returns.
    ///
    /// # Errors
    /// When the stream does not say so in time.
    pub async fn publish(&self, account: &str, stream: &str, messages: usize) -> Result<()> {
        let mut client = self.client(account).await?;
        client.publish(&format!("{stream}.new"), messages).await
    }

    /// Takes so many messages as the consumer `worker`, and acknowledges them or not.
    ///
    /// # Errors
    /// When they don't come in time.
    pub async fn take(
        &self,
        account: &str,
        stream: &str,
        messages: usize,
        acknowledge: bool,
    ) -> Result<()> {
        let mut client = self.client(account).await?;
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.worker");
        client.take(&next, messages, acknowledge).await
    }

    /// The name of the server that leads the consumer `worker`; `None` while there is none.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn leader(&self, account: &str, stream: &str) -> Result<Option<usize>> {
        let subject = format!("CONSUMER.INFO.{stream}.worker");
        let consumer = self.ask(account, &subject, &Value::Null).await?;
        let leader = consumer["cluster"]["leader"].as_str().unwrap_or_default();
        Ok((0..self.servers.len()).find(|server| name(*server) == leader))
    }

    /// How often the first server was asked for `/jsz`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn asked(&self) -> Result<u64> {
        // As in `RabbitMq`: reqwest wants one for the process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            // Its connections are not those that a test counts.
            .pool_max_idle_per_host(0)
            .build()?;
        let url = format!("http://{}/varz", self.monitoring());
        let varz: Value = http.get(url).send().await?.json().await?;
        let asked = varz["http_req_stats"]["/jsz"].as_u64();
        Ok(asked.unwrap_or_default())
    }

    async fn client(&self, account: &str) -> Result<Client> {
        let running = self.servers.iter().position(Option::is_some);
        let server = running.context("no server of NATS runs")?;
        Client::connect(host(server), self.client_port.number(), account).await
    }
}

fn name(server: usize) -> String {
    format!("nats-{server}")
}

fn host(server: usize) -> &'static str {
    ["127.0.0.1", "127.0.0.2", "127.0.0.3"][server]
}
