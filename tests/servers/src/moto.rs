//! [Moto](https://docs.getmoto.org), which serves AWS's APIs from memory. Each account has its own secrets, and who assumed a
//! role of an account is in that account: by what is read one sees as whom.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::python;
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use serde_json::{Value, json};

/// It takes 1 to 3 s.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const REGION: &str = "ap-northeast-1";

/// A running Moto. Dropped, it is killed; nothing is kept.
#[derive(Debug)]
pub struct Moto {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    process: Process,
    port: Port,
    http: reqwest::Client,
    _sandbox: Sandbox,
}

impl Moto {
    /// Starts it, installing it first when it is not there yet.
    ///
    /// # Errors
    /// When it can't be installed, or does not answer in time.
    pub async fn start() -> Result<Moto> {
        let program = tokio::task::spawn_blocking(python::moto).await??;
        let sandbox = Sandbox::new("sakidori-moto")?;
        let port = Port::take()?;
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.number().to_string()]);
        let mut moto = Moto {
            process: sandbox.spawn("moto", command)?,
            port,
            http: reqwest::Client::builder().no_proxy().build()?,
            _sandbox: sandbox,
        };
        let url = format!("{}/moto-api/", moto.url());
        let http = moto.http.clone();
        let process = &mut moto.process;
        eventually("answer of Moto", START_TIMEOUT, async || {
            process.check()?;
            let answer = http.get(&url).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await?;
        Ok(moto)
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

    /// Gives a secret of an account a value, making the secret where there is none.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn put_secret(&self, account: &str, name: &str, value: &str) -> Result<()> {
        let there = json!({"SecretId": name, "SecretString": value});
        if self.ask(account, "PutSecretValue", &there).await.is_err() {
            let new = json!({"Name": name, "SecretString": value});
            self.ask(account, "CreateSecret", &new).await?;
        }
        Ok(())
    }

    async fn ask(&self, account: &str, operation: &str, body: &Value) -> Result<()> {
        // It reads the service and the region from here, and checks no signature.
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/secretsmanager/aws4_request, SignedHeaders=host, Signature=0"
        );
        let answer = self
            .http
            .post(self.url())
            .header("authorization", authorization)
            .header("x-amz-target", format!("secretsmanager.{operation}"))
            .header("x-moto-account-id", account)
            .header("content-type", "application/x-amz-json-1.1")
            .body(body.to_string())
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{operation}: {status}: {text}");
        Ok(())
    }
}
