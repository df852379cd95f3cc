//! Real Redis servers: one alone, a cluster, and a master with a replica and a sentinel; and commands by redis-cli.

mod cluster;
mod sentinel;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::install::{REDIS_SENTINEL, REDIS_SERVER};
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};

pub use self::cluster::RedisCluster;
pub use self::sentinel::RedisSentinel;
use crate::tls::{Tls, TlsMaterial};

/// It takes a third of a second; a machine that compiles meanwhile needs more.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How a server is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct RedisOptions<'a> {
    /// With it, nothing else is spoken.
    pub tls: Tls,
    /// What its certificate is for; empty is `localhost` and `127.0.0.1`.
    pub hosts: &'a [&'a str],
    /// Its certificate was good until 2021.
    pub expired: bool,
}

/// A running server with 16 databases, whose user `default` has the password [`PASSWORD`](Self::PASSWORD). Dropped, it is killed
/// and its data is removed.
#[derive(Debug)]
pub struct Redis {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    process: Option<Process>,
    port: Port,
    program: &'static str,
    arguments: Vec<String>,
    tls: Option<TlsMaterial>,
    sandbox: Sandbox,
}

impl Redis {
    /// What it asks everybody for.
    pub const PASSWORD: &'static str = "hunter2";

    /// Starts a server.
    ///
    /// # Errors
    /// When Redis is not installed, or does not answer in time.
    pub async fn start() -> Result<Redis> {
        Redis::start_with(RedisOptions::default()).await
    }

    /// Starts it in another way; [`tls`](Self::tls) has what a client needs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(options: RedisOptions<'_>) -> Result<Redis> {
        let hosts = match options.hosts {
            [] => &["localhost", "127.0.0.1"],
            hosts => hosts,
        };
        let tls = match options.tls {
            Tls::Off => None,
            _ if options.expired => Some(TlsMaterial::expired("redis", hosts)?),
            _ => Some(TlsMaterial::for_hosts("redis", hosts)?),
        };
        let sandbox = Sandbox::new("sakidori-redis")?;
        let port = Port::take()?;
        let number = port.number().to_string();
        let mut arguments = match &tls {
            None => words(&["--port", &number]),
            Some(material) => {
                let (ca, server) = material.write(sandbox.dir())?;
                let clients = if options.tls == Tls::Mutual {
                    "yes"
                } else {
                    "no"
                };
                let mut arguments = words(&["--port", "0", "--tls-port", &number]);
                for (name, file) in [
                    ("--tls-ca-cert-file", &ca),
                    ("--tls-cert-file", &server.certificate),
                    ("--tls-key-file", &server.key),
                ] {
                    arguments.extend([name.to_owned(), file.display().to_string()]);
                }
                arguments.extend(words(&["--tls-auth-clients", clients]));
                arguments
            }
        };
        arguments.extend(words(&["--requirepass", Redis::PASSWORD]));
        Redis::start_in(sandbox, port, REDIS_SERVER, arguments, tls).await
    }

    async fn start_in(
        sandbox: Sandbox,
        port: Port,
        program: &'static str,
        arguments: Vec<String>,
        tls: Option<TlsMaterial>,
    ) -> Result<Redis> {
        ensure!(
            Path::new(program).exists(),
            "Redis is not installed: run `apt-get install redis-server redis-sentinel` or `test-cluster install`"
        );
        let mut server = Redis {
            process: None,
            port,
            program,
            arguments,
            tls,
            sandbox,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Another server with the same password, not by TLS, with more arguments.
    async fn start_more(more: &[&str]) -> Result<Redis> {
        let port = Port::take()?;
        let number = port.number().to_string();
        let mut arguments = words(&["--port", &number, "--requirepass", Redis::PASSWORD]);
        arguments.extend(words(more));
        let sandbox = Sandbox::new("sakidori-redis")?;
        Redis::start_in(sandbox, port, REDIS_SERVER, arguments, None).await
    }

    /// A sentinel that reads its configuration from a file, which it writes to as well.
    async fn start_sentinel(port: Port, configuration: &str) -> Result<Redis> {
        let sandbox = Sandbox::new("sakidori-redis")?;
        let file = sandbox.dir().join("sentinel.conf");
        std::fs::write(&file, configuration)?;
        let arguments = vec![file.display().to_string()];
        Redis::start_in(sandbox, port, REDIS_SENTINEL, arguments, None).await
    }

    /// Kills the server with SIGKILL, as a crash does. Its data stays; its port refuses connections.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Kills the server if it runs, starts it again on the same port with the same data, and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = Command::new(self.program);
        command.args(&self.arguments);
        if self.program == REDIS_SERVER {
            command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        }
        let mut process = self.sandbox.spawn("redis", command)?;
        let answered = eventually("answer of Redis", START_TIMEOUT, async || {
            process.check()?;
            let pong = self.run(&["PING"]).await?;
            Ok((pong == "PONG").then_some(()))
        })
        .await;
        let tail = process.tail();
        self.process = Some(process);
        answered.with_context(|| format!("Redis does not start; its log ends with:\n{tail}"))
    }

    /// Stops it where it is: new connections are taken by the system and nobody answers, until [`resume`](Self::resume).
    pub fn pause(&self) {
        if let Some(process) = &self.process {
            process.pause();
        }
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.resume();
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// The authority and a client's certificate, when it was started with TLS.
    pub fn tls(&self) -> Option<&TlsMaterial> {
        self.tls.as_ref()
    }

    /// What redis-cli prints for a command, given by the user `default`.
    ///
    /// # Errors
    /// What the server refuses it with, or when it does not answer.
    pub async fn run(&self, command: &[&str]) -> Result<String> {
        self.run_in(0, command).await
    }

    /// The same in another database.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_in(&self, database: u32, command: &[&str]) -> Result<String> {
        let mut cli = Command::new("redis-cli");
        cli.args(["-e", "--no-auth-warning", "-h", "127.0.0.1", "-p"])
            .arg(self.port().to_string())
            .args(["-n", &database.to_string()])
            .env("REDISCLI_AUTH", Redis::PASSWORD);
        if let Some(tls) = &self.tls {
            // The server's own certificate may be one that nobody is to take.
            cli.args(["--tls", "--insecure"]);
            let client = tls.client.write(self.sandbox.dir(), "client")?;
            cli.arg("--cert").arg(client.certificate);
            cli.arg("--key").arg(client.key);
        }
        cli.args(command);
        let output = tokio::process::Command::from(cli)
            .kill_on_drop(true)
            .output()
            .await
            .context("can't start redis-cli")?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("redis-cli {}: {said}{}", command.join(" "), error.trim());
        }
        Ok(said)
    }

    /// Puts so many elements into a list.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn push(&self, list: &str, elements: usize) -> Result<()> {
        let mut command = vec!["RPUSH", list];
        command.extend(std::iter::repeat_n("x", elements));
        self.run(&command).await.map(drop)
    }

    /// Puts so many entries into a stream.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn add(&self, stream: &str, entries: usize) -> Result<()> {
        for _ in 0..entries {
            self.run(&["XADD", stream, "*", "order", "x"]).await?;
        }
        Ok(())
    }

    /// The connections that it lists, without those of replicas and sentinels, and without the one that asks.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn clients(&self) -> Result<usize> {
        let listed = self.run(&["CLIENT", "LIST", "TYPE", "NORMAL"]).await?;
        let others = listed
            .lines()
            .filter(|line| line.contains(" name= ") && !line.contains(" cmd=client|list "));
        Ok(others.count())
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
