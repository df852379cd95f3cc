//! [ElasticMQ](https://github.com/softwaremill/elasticmq): the API of SQS, served from memory.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use sakidori_test_cluster::{eventually, maven};
use serde_json::json;

use crate::aws::AwsApi;

/// It takes 3 to 6 s.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const REGION: &str = "elasticmq";
/// Its only account.
const ACCOUNT: &str = "000000000000";

/// A running ElasticMQ. Dropped, it is killed; nothing is kept.
#[derive(Debug)]
pub struct ElasticMq {
    // Before `_sandbox`: fields are dropped in this order, and the process ends before its folder.
    process: Process,
    port: Port,
    _sandbox: Sandbox,
}

impl ElasticMq {
    /// Starts it, fetching it first when it is not there yet.
    ///
    /// # Errors
    /// When it can't be fetched, or does not answer in time.
    pub async fn start() -> Result<ElasticMq> {
        let jars = tokio::task::spawn_blocking(maven::elasticmq).await??;
        let sandbox = Sandbox::new("sakidori-elasticmq")?;
        let port = Port::take()?;
        let number = port.number();
        let configuration = sandbox.dir().join("elasticmq.conf");
        std::fs::write(
            &configuration,
            format!(
                "include classpath(\"application.conf\")\n\
                 node-address {{ protocol = http, host = 127.0.0.1, port = {number}, context-path = \"\" }}\n\
                 rest-sqs {{ enabled = true, bind-port = {number}, bind-hostname = \"127.0.0.1\", sqs-limits = strict }}\n\
                 rest-stats {{ enabled = false }}\n"
            ),
        )?;
        let mut java = Command::new("java");
        java.args([
            "-Xmx128m",
            "-XX:+UseSerialGC",
            // It lives for seconds: quick to start counts.
            "-XX:TieredStopAtLevel=1",
        ])
        .arg(format!("-Dconfig.file={}", configuration.display()))
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .arg("org.elasticmq.server.Main");
        let mut server = ElasticMq {
            process: sandbox.spawn("elasticmq", java)?,
            port,
            _sandbox: sandbox,
        };
        let api = server.api()?;
        let process = &mut server.process;
        eventually("answer of ElasticMQ", START_TIMEOUT, async || {
            process.check()?;
            api.json("AmazonSQS.ListQueues", &json!({})).await?;
            Ok(Some(()))
        })
        .await?;
        Ok(server)
    }

    /// Its `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// The region that its queues are in.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// What a test does with its queues.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn api(&self) -> Result<AwsApi> {
        AwsApi::new(&self.url(), REGION, ACCOUNT)
    }
}
