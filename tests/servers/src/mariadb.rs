//! A real MariaDB server: starting, killing, restarting, and statements by its own client.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::install::MARIADB_SERVER;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};

use crate::service_user::ServiceUser;
use crate::tls::{Tls, TlsMaterial};

/// It takes 2 to 3 s; a machine that compiles meanwhile needs more.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// As whom it runs, which refuses to be root.
const SERVICE: ServiceUser = ServiceUser {
    name: "mysql",
    home: "/var/lib/mysql",
};

/// A running server. Dropped, it is killed and its data is removed.
#[derive(Debug)]
pub struct MariaDb {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    server: Option<Process>,
    port: Port,
    tls: Option<TlsMaterial>,
    /// The options that TLS needs.
    options: Vec<String>,
    sandbox: Sandbox,
}

impl MariaDb {
    /// Starts a server with the databases `shop` and `mysql`, and no users but its own.
    ///
    /// # Errors
    /// When MariaDB is not installed, or does not answer in 60 s; the message ends with its log.
    pub async fn start() -> Result<MariaDb> {
        MariaDb::start_for(Tls::Off, &[]).await
    }

    /// Starts it with TLS, which it then insists on but for its own client, and a certificate for these names and addresses;
    /// [`tls`](Self::tls) has what a client needs. A user can be made that needs a client's certificate (`require x509`).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_for(tls: Tls, hosts: &[&str]) -> Result<MariaDb> {
        ensure!(
            Path::new(MARIADB_SERVER).exists(),
            "MariaDB is not installed: run `apt-get install mariadb-server` or `test-cluster install`"
        );
        let material = (tls != Tls::Off)
            .then(|| TlsMaterial::for_hosts("mariadb", hosts))
            .transpose()?;
        let mut server = MariaDb {
            server: None,
            port: Port::take()?,
            tls: material,
            options: Vec::new(),
            sandbox: Sandbox::new("sakidori-mariadb")?,
        };
        SERVICE.give(server.sandbox.dir())?;
        let mut install = SERVICE.command("mariadb-install-db");
        install
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .arg(format!("--datadir={}", server.data().display()))
            // Several at once would take each other's temporary tables.
            .env("TMPDIR", server.sandbox.dir());
        let mut install = server.sandbox.spawn("mariadb-install-db", install)?;
        let (status, tail) =
            tokio::task::spawn_blocking(move || (install.wait(), install.tail())).await?;
        ensure!(
            status?.success(),
            "mariadb-install-db failed; it said:\n{tail}"
        );
        server.set_up_tls()?;
        server.restart().await?;
        server.execute("create database shop").await?;
        Ok(server)
    }

    fn set_up_tls(&mut self) -> Result<()> {
        let Some(material) = &self.tls else {
            return Ok(());
        };
        let (ca, server) = material.write(self.sandbox.dir())?;
        self.options.push("--require-secure-transport".to_owned());
        for (option, file) in [
            ("ssl-ca", &ca),
            ("ssl-cert", &server.certificate),
            ("ssl-key", &server.key),
        ] {
            SERVICE.give(file)?;
            self.options.push(format!("--{option}={}", file.display()));
        }
        Ok(())
    }

    /// Kills the server with SIGKILL, as a crash does. Its data stays; its port refuses connections.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Kills the server if it runs, starts it again on the same port with the same data, and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in 60 s.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut server = self.spawn()?;
        let answered = eventually("answer of MariaDB", START_TIMEOUT, async || {
            // Right after a crash, what is left of the killed server may still hold its files.
            if server.check().is_err() {
                server = self.spawn()?;
            }
            self.execute("select 1").await.map(Some)
        })
        .await;
        let tail = server.tail();
        self.server = Some(server);
        answered
            .map(drop)
            .with_context(|| format!("MariaDB does not start; its log ends with:\n{tail}"))
    }

    fn spawn(&self) -> Result<Process> {
        let mut command = SERVICE.command(MARIADB_SERVER);
        let file = |name: &str| self.sandbox.dir().join(name).display().to_string();
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", file("data")))
            .arg(format!("--socket={}", file("socket")))
            .arg(format!("--pid-file={}", file("pid")))
            .arg(format!("--tmpdir={}", self.sandbox.dir().display()))
            .arg(format!("--port={}", self.port.number()))
            .args([
                "--bind-address=127.0.0.1",
                // Small, and nothing of it is to outlive a crash of the machine.
                "--innodb-buffer-pool-size=16M",
                "--innodb-log-file-size=8M",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .args(&self.options);
        self.sandbox.spawn("mariadb", command)
    }

    /// Stops it where it is: new connections are taken by the system and nobody answers, until [`resume`](Self::resume).
    pub fn pause(&self) {
        if let Some(server) = &self.server {
            server.pause();
        }
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        if let Some(server) = &self.server {
            server.resume();
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The authority and a client's certificate, when it was started with TLS.
    pub fn tls(&self) -> Option<&TlsMaterial> {
        self.tls.as_ref()
    }

    /// Makes a user who may log in from anywhere, and read all of `shop`.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn create_user(&self, user: &str, password: &str) -> Result<()> {
        let sql = format!(
            "create user '{user}'@'%' identified by '{password}'; grant select, execute on shop.* to '{user}'@'%'"
        );
        self.execute(&sql).await.map(drop)
    }

    /// Executes statements as the superuser, and gives what the client prints, without headers: lines of fields with tabs between.
    ///
    /// # Errors
    /// When one of them fails, with what the server says, or it does not answer.
    pub async fn execute(&self, sql: &str) -> Result<String> {
        let mut client = Command::new("mariadb");
        client
            .args([
                "--no-defaults",
                "--user=root",
                "--batch",
                "--skip-column-names",
            ])
            .arg("--connect-timeout=5")
            .arg(format!(
                "--socket={}",
                self.sandbox.dir().join("socket").display()
            ))
            .args(["--execute", sql]);
        let output = tokio::process::Command::from(client)
            .kill_on_drop(true)
            .output()
            .await
            .context("can't start mariadb")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("mariadb: {}", said.trim());
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    fn data(&self) -> PathBuf {
        self.sandbox.dir().join("data")
    }
}
