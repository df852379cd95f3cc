//! A real etcd, or a cluster of several members: the program that the test bed's control plane is made of.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, Identity};
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use sakidori_test_cluster::{eventually, install};
use serde_json::{Value, json};

use crate::tls::{Tls, TlsMaterial};

/// It takes 1 s, a cluster 2.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The password of `root`, once [`Etcd::enable_authentication`] was called.
const PASSWORD: &str = "root";

/// An etcd that runs. Dropped, it is killed, and its keys are gone.
#[derive(Debug)]
pub struct Etcd {
    // Before `sandbox`: fields are dropped in this order, and the processes end before their folder.
    members: Vec<Option<Process>>,
    program: PathBuf,
    /// For clients, and for each other.
    ports: Vec<(Port, Port)>,
    tls: Option<TlsMaterial>,
    mutual: bool,
    http: reqwest::Client,
    authenticated: bool,
    /// More of them.
    flags: Vec<String>,
    sandbox: Sandbox,
}

impl Etcd {
    /// Starts one member.
    ///
    /// # Errors
    /// When it can't be built, or does not answer in 60 s.
    pub async fn start() -> Result<Etcd> {
        Etcd::start_members(1, Tls::Off, &[], &[]).await
    }

    /// Starts one member that tells watchers so often that it is there.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with_progress_every(interval: &str) -> Result<Etcd> {
        let flag = format!("--watch-progress-notify-interval={interval}");
        Etcd::start_members(1, Tls::Off, &[], &[flag]).await
    }

    /// Starts one member whose users' tokens end after so many seconds.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with_tokens_of(seconds: u32) -> Result<Etcd> {
        let flag = format!("--auth-token-ttl={seconds}");
        Etcd::start_members(1, Tls::Off, &[], &[flag]).await
    }

    /// Starts a cluster of three.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_cluster() -> Result<Etcd> {
        Etcd::start_members(3, Tls::Off, &[], &[]).await
    }

    /// Starts one member with TLS, and a certificate for these names.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_for(tls: Tls, hosts: &[&str]) -> Result<Etcd> {
        Etcd::start_members(1, tls, hosts, &[]).await
    }

    async fn start_members(
        count: usize,
        tls: Tls,
        hosts: &[&str],
        flags: &[String],
    ) -> Result<Etcd> {
        let programs = tokio::task::spawn_blocking(install::programs).await??;
        let ports = (0..count).map(|_| Ok((Port::take()?, Port::take()?)));
        let material = (tls != Tls::Off)
            .then(|| TlsMaterial::for_hosts("etcd", hosts))
            .transpose()?;
        // reqwest wants one for the process; fails when another part installed it before, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .no_proxy()
            // Its connections are not those that a test counts.
            .pool_max_idle_per_host(0);
        if let Some(material) = &material {
            let pem = [&material.client.certificate[..], &material.client.key].concat();
            http = http
                .tls_certs_only([Certificate::from_pem(material.ca().as_bytes())?])
                .identity(Identity::from_pem(pem.as_bytes())?)
                // What it is called is what a test is about.
                .tls_danger_accept_invalid_hostnames(true);
        }
        let mut etcd = Etcd {
            members: (0..count).map(|_| None).collect(),
            program: programs.controlplane,
            ports: ports.collect::<Result<_>>()?,
            tls: material,
            mutual: tls == Tls::Mutual,
            http: http.build()?,
            authenticated: false,
            flags: flags.to_vec(),
            sandbox: Sandbox::new("sakidori-etcd")?,
        };
        // A member answers when a majority is there: all are started before any is waited for.
        for member in 0..count {
            etcd.spawn(member)?;
        }
        etcd.until_ready().await?;
        Ok(etcd)
    }

    fn spawn(&mut self, member: usize) -> Result<()> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://{}", self.endpoint_of(member));
        let peer = |member: usize| format!("http://127.0.0.1:{}", self.ports[member].1.number());
        let members: Vec<String> = (0..self.members.len())
            .map(|member| format!("member-{member}={}", peer(member)))
            .collect();
        let name = format!("member-{member}");
        let mut command = Command::new(&self.program);
        command
            .arg("etcd")
            .arg(format!("--name={name}"))
            .arg(format!(
                "--data-dir={}",
                self.sandbox.dir().join(&name).display()
            ))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={}", peer(member)))
            .arg(format!("--initial-advertise-peer-urls={}", peer(member)))
            .arg(format!("--initial-cluster={}", members.join(",")))
            .args(&self.flags)
            // The cheapest there is: each login costs the time that it takes.
            .arg("--bcrypt-cost=4")
            // A crash of the machine may lose data here; in exchange a write takes microseconds on any disk.
            .args(["--unsafe-no-fsync", "--log-level=warn"]);
        if let Some(material) = &self.tls {
            let (ca, server) = material.write(self.sandbox.dir())?;
            command
                .arg(format!("--cert-file={}", server.certificate.display()))
                .arg(format!("--key-file={}", server.key.display()));
            if self.mutual {
                command
                    .arg("--client-cert-auth")
                    .arg(format!("--trusted-ca-file={}", ca.display()));
            }
        }
        self.members[member] = Some(self.sandbox.spawn(&name, command)?);
        Ok(())
    }

    async fn until_ready(&mut self) -> Result<()> {
        for member in 0..self.members.len() {
            let url = self.url(member, "health");
            let http = self.http.clone();
            let Some(process) = &mut self.members[member] else {
                continue;
            };
            let ready = eventually("healthy etcd", START_TIMEOUT, async || {
                process.check()?;
                let answer = http.get(&url).send().await?;
                Ok(answer.status().is_success().then_some(()))
            });
            let ready = ready.await;
            ready.with_context(|| format!("the log ends with:\n{}", process.tail()))?;
        }
        Ok(())
    }

    /// Kills a member with SIGKILL, as a crash does. Its keys stay.
    pub fn kill(&mut self, member: usize) {
        self.members[member] = None;
    }

    /// Kills the member that leads, and says which one it was.
    ///
    /// # Errors
    /// When none answers, or none leads.
    pub async fn kill_leader(&mut self) -> Result<usize> {
        for member in 0..self.members.len() {
            let url = self.url(member, "v3/maintenance/status");
            let answer = self.http.post(url).body("{}").send().await?;
            let status: Value = serde_json::from_str(&answer.text().await?)?;
            if status["leader"] == status["header"]["member_id"] {
                self.kill(member);
                return Ok(member);
            }
        }
        bail!("no member of etcd leads")
    }

    /// Starts a killed member again, and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in 60 s.
    pub async fn restart(&mut self, member: usize) -> Result<()> {
        self.kill(member);
        self.spawn(member)?;
        self.until_ready().await
    }

    /// Stops a member where it is: connections stay open and nothing is answered, until [`resume`](Self::resume).
    pub fn pause(&self, member: usize) {
        if let Some(member) = &self.members[member] {
            member.pause();
        }
    }

    /// Lets a paused member go on.
    pub fn resume(&self, member: usize) {
        if let Some(member) = &self.members[member] {
            member.resume();
        }
    }

    /// All endpoints, with commas between them.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = (0..self.members.len())
            .map(|member| self.endpoint_of(member))
            .collect();
        all.join(",")
    }

    /// `127.0.0.1:PORT` of a member.
    pub fn endpoint_of(&self, member: usize) -> String {
        format!("127.0.0.1:{}", self.port_of(member))
    }

    /// The port of a member.
    pub fn port_of(&self, member: usize) -> u16 {
        self.ports[member].0.number()
    }

    /// The authority and a client's certificate, when it was started with TLS.
    pub fn tls(&self) -> Option<&TlsMaterial> {
        self.tls.as_ref()
    }

    /// Puts a value.
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub async fn put(&self, key: &str, value: impl AsRef<[u8]>) -> Result<()> {
        let put = json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)});
        self.ask("kv/put", &put).await.map(drop)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: &str) -> Result<()> {
        let key = json!({"key": STANDARD.encode(key)});
        self.ask("kv/deleterange", &key).await.map(drop)
    }

    /// Watches that anybody has open, at the first member.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn watchers(&self) -> Result<u64> {
        let metrics = self.http.get(self.url(0, "metrics")).send().await?;
        let metrics = metrics.text().await?;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("etcd_debugging_mvcc_watcher_total "));
        Ok(line.context("no count of watchers")?.trim().parse()?)
    }

    /// Makes a user who may read this one key.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn create_user(&self, user: &str, password: &str, key: &str) -> Result<()> {
        let permission = json!({"permType": "READ", "key": STANDARD.encode(key)});
        for (path, question) in [
            ("auth/user/add", json!({"name": user, "password": password})),
            ("auth/role/add", json!({"name": user})),
            ("auth/role/grant", json!({"name": user, "perm": permission})),
            ("auth/user/grant", json!({"user": user, "role": user})),
        ] {
            self.ask(path, &question).await?;
        }
        Ok(())
    }

    /// Gives a user another password, which ends its tokens.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn change_password(&self, user: &str, password: &str) -> Result<()> {
        let question = json!({"name": user, "password": password});
        self.ask("auth/user/changepw", &question).await.map(drop)
    }

    /// Lets nobody in without a user from now on.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn enable_authentication(&mut self) -> Result<()> {
        for (path, question) in [
            (
                "auth/user/add",
                json!({"name": "root", "password": PASSWORD}),
            ),
            ("auth/role/add", json!({"name": "root"})),
            ("auth/user/grant", json!({"user": "root", "role": "root"})),
            ("auth/enable", json!({})),
        ] {
            self.ask(path, &question).await?;
        }
        self.authenticated = true;
        Ok(())
    }

    /// Asks a running member, by its gateway for JSON.
    async fn ask(&self, path: &str, question: &Value) -> Result<Value> {
        let mut token = String::new();
        if self.authenticated {
            let login = json!({"name": "root", "password": PASSWORD});
            let answer = self.post("auth/authenticate", &login, "").await?;
            token = answer["token"].as_str().context("no token")?.to_owned();
        }
        self.post(path, question, &token).await
    }

    async fn post(&self, path: &str, question: &Value, token: &str) -> Result<Value> {
        let running = self.members.iter().position(Option::is_some);
        let member = running.context("no member of etcd runs")?;
        let mut request = self.http.post(self.url(member, &format!("v3/{path}")));
        if !token.is_empty() {
            request = request.header("authorization", token);
        }
        let answer = request.body(question.to_string()).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    fn url(&self, member: usize, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/{path}", self.endpoint_of(member))
    }
}
