//! [Moto](https://docs.getmoto.org), which serves AWS's APIs from memory. Each account has its own secrets, and who assumed a
//! role of an account is in that account: by what is read one sees as whom.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::python;
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use serde_json::json;

use crate::aws::{AwsApi, provide_cryptography};

/// It takes 1 to 3 s.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const REGION: &str = "ap-northeast-1";

/// A running Moto. Dropped, it is killed; nothing is kept.
#[derive(Debug)]
pub struct Moto {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    process: Process,
    port: Port,
    program: PathBuf,
    sandbox: Sandbox,
}

fn command(program: &Path, port: &Port) -> Command {
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.number().to_string()]);
    command
}

impl Moto {
    /// Starts it, installing it first when it is not there yet.
    ///
    /// # Errors
    /// When it can't be installed, or does not answer in time.
    pub async fn start() -> Result<Moto> {
        let program = tokio::task::spawn_blocking(python::moto).await??;
        provide_cryptography();
        let sandbox = Sandbox::new("sakidori-moto")?;
        let port = Port::take()?;
        let mut moto = Moto {
            process: sandbox.spawn("moto", command(&program, &port))?,
            port,
            program,
            sandbox,
        };
        moto.wait().await?;
        Ok(moto)
    }

    /// Waits until it answers.
    async fn wait(&mut self) -> Result<()> {
        let url = format!("{}/moto-api/", self.url());
        let http = reqwest::Client::builder().no_proxy().build()?;
        let process = &mut self.process;
        eventually("answer of Moto", START_TIMEOUT, async || {
            process.check()?;
            let answer = http.get(&url).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// The `AWS_REGION` that its secrets are in.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// Stops it where it is: connections stay open and nothing is answered, until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Stops it: connections are refused, and what it holds is lost.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`kill`](Self::kill), on the same port.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<()> {
        self.process = self
            .sandbox
            .spawn("moto", command(&self.program, &self.port))?;
        self.wait().await
    }

    /// What a test does in one of its accounts.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn api(&self, account: &str) -> Result<AwsApi> {
        AwsApi::new(&self.url(), REGION, account)
    }

    /// Makes it check who asks, from now on or no more. Who may what is IAM's to say, as on AWS.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn check_signatures(&self, check: bool) -> Result<()> {
        let url = format!("{}/moto-api/reset-auth", self.url());
        // So many requests are let in unchecked.
        let unchecked = if check { "0" } else { "inf" };
        let http = reqwest::Client::builder().no_proxy().build()?;
        let answer = http.post(url).body(unchecked).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "resetting its checks: {status}");
        Ok(())
    }

    /// Gives a secret of an account a value, making the secret where there is none.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn put_secret(&self, account: &str, name: &str, value: &str) -> Result<()> {
        let secrets = self.api(account)?;
        let there = json!({"SecretId": name, "SecretString": value});
        if secrets
            .json("secretsmanager.PutSecretValue", &there)
            .await
            .is_err()
        {
            let new = json!({"Name": name, "SecretString": value});
            secrets.json("secretsmanager.CreateSecret", &new).await?;
        }
        Ok(())
    }
}
