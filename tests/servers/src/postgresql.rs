//! A real PostgreSQL server: starting, killing, restarting, and statements by psql.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::install::postgresql;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};

use crate::service_user::ServiceUser;
use crate::tls::{Tls, TlsMaterial};

/// It takes 1 to 2 s; a machine that compiles meanwhile needs more.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// As whom it runs, and the superuser.
const USER: &str = "postgres";
const SERVICE: ServiceUser = ServiceUser {
    name: USER,
    home: "/var/lib/postgresql",
};
/// Of the superuser.
const PASSWORD: &str = "postgres";

/// A running server. Dropped, it is killed and its data is removed.
#[derive(Debug)]
pub struct PostgreSql {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    server: Option<Process>,
    port: Port,
    programs: PathBuf,
    tls: Option<TlsMaterial>,
    sandbox: Sandbox,
}

impl PostgreSql {
    /// Starts a server with the superuser `postgres` and the database `postgres`. Everybody logs in with a password.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not answer in 60 s; the message ends with its log.
    pub async fn start() -> Result<PostgreSql> {
        PostgreSql::start_with(Tls::Off).await
    }

    /// Starts it with TLS, which it then insists on; [`tls`](Self::tls) has what a client needs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(tls: Tls) -> Result<PostgreSql> {
        PostgreSql::start_for(tls, &["localhost", "127.0.0.1"]).await
    }

    /// The same with a certificate for other names than those by which it can be reached.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_for(tls: Tls, hosts: &[&str]) -> Result<PostgreSql> {
        let programs = postgresql()
            .context("PostgreSQL is not installed: run `apt-get install postgresql` or `test-cluster install`")?;
        let sandbox = Sandbox::new("sakidori-postgresql")?;
        let material = (tls != Tls::Off)
            .then(|| TlsMaterial::for_hosts("postgresql", hosts))
            .transpose()?;
        let password = sandbox.dir().join("password");
        std::fs::write(&password, PASSWORD)?;
        SERVICE.give(sandbox.dir())?;
        SERVICE.give(&password)?;
        let mut server = PostgreSql {
            server: None,
            port: Port::take()?,
            programs,
            tls: material,
            sandbox,
        };
        let mut initdb = server.command("initdb");
        initdb
            .args([
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "--auth=scram-sha-256",
            ])
            .args(["--username", USER, "--pgdata"])
            .arg(server.data())
            .arg(format!("--pwfile={}", password.display()));
        let mut initdb = server.sandbox.spawn("initdb", initdb)?;
        let (status, tail) =
            tokio::task::spawn_blocking(move || (initdb.wait(), initdb.tail())).await?;
        ensure!(status?.success(), "initdb failed; it said:\n{tail}");
        server.configure(tls)?;
        server.restart().await?;
        Ok(server)
    }

    fn configure(&self, tls: Tls) -> Result<()> {
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("port = {}", self.port.number()),
            "unix_socket_directories = ''".to_owned(),
            // Nothing of it is to outlive a crash of the machine.
            "fsync = off".to_owned(),
            "log_connections = on".to_owned(),
        ];
        let mut access = "host";
        let mut more = "";
        if let Some(material) = &self.tls {
            let (ca, server) = material.write(self.sandbox.dir())?;
            for file in [&ca, &server.certificate, &server.key] {
                SERVICE.give(file)?;
            }
            std::fs::set_permissions(&server.key, std::fs::Permissions::from_mode(0o600))?;
            lines.push("ssl = on".to_owned());
            lines.push(format!("ssl_ca_file = '{}'", ca.display()));
            lines.push(format!(
                "ssl_cert_file = '{}'",
                server.certificate.display()
            ));
            lines.push(format!("ssl_key_file = '{}'", server.key.display()));
            access = "hostssl";
            if tls == Tls::Mutual {
                more = " clientcert=verify-ca";
            }
        }
        let access = format!("{access} all all 127.0.0.1/32 scram-sha-256{more}\n");
        for (name, text) in [
            ("postgresql.conf", lines.join("\n") + "\n"),
            ("pg_hba.conf", access),
        ] {
            let path = self.data().join(name);
            std::fs::write(&path, text)?;
            SERVICE.give(&path)?;
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
        let answered = eventually("answer of PostgreSQL", START_TIMEOUT, async || {
            // Right after a crash, what is left of the killed server may still hold its memory.
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
            .with_context(|| format!("PostgreSQL does not start; its log ends with:\n{tail}"))
    }

    fn spawn(&self) -> Result<Process> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        self.sandbox.spawn("postgresql", command)
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

    /// Makes a user who may log in, and read what anybody lets it read.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn create_user(&self, user: &str, password: &str) -> Result<()> {
        let sql = format!("create user {user} password '{password}'");
        self.execute(&sql).await.map(drop)
    }

    /// Executes statements as the superuser, and gives what psql prints, without headers.
    ///
    /// # Errors
    /// When one of them fails, with what the server says, or it does not answer.
    pub async fn execute(&self, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.number().to_string())
            .env("PGUSER", USER)
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", "postgres")
            .env("PGCONNECT_TIMEOUT", "5");
        if let Some(tls) = &self.tls {
            // A client's certificate is asked for with `Tls::Mutual` only, and does no harm.
            for (name, text) in [
                ("psql.crt", &tls.client.certificate),
                ("psql.key", &tls.client.key),
            ] {
                let path = self.sandbox.dir().join(name);
                std::fs::write(&path, text)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
                let variable = if name.ends_with("key") {
                    "PGSSLKEY"
                } else {
                    "PGSSLCERT"
                };
                psql.env(variable, path);
            }
        }
        let output = tokio::process::Command::from(psql)
            .kill_on_drop(true)
            .output()
            .await
            .context("can't start psql")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("psql: {}", said.trim());
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    fn data(&self) -> PathBuf {
        self.sandbox.dir().join("data")
    }

    /// A program of the server's, as a user that may run it.
    fn command(&self, program: &str) -> Command {
        SERVICE.command(self.programs.join(program))
    }
}
