//! An external scaler as KEDA's users write them: a gRPC server in Go, on KEDA's own generated code (`externalscaler/main.go`).

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::install;
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use serde_json::{Value, json};

use crate::tls::{Tls, TlsMaterial};

/// It takes a moment; a machine that compiles meanwhile needs more.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Options of [`ExternalScaler::start_with`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ExternalScalerOptions {
    /// Whether it speaks TLS, and wants a client's certificate.
    pub tls: Tls,
    /// Leaves out `StreamMetricSpec`, as servers older than KEDA 2.21 do.
    pub without_metric_stream: bool,
}

/// What the server answers for one ScaledObject.
#[derive(Debug, Clone)]
pub struct Answers(Value);

impl Answers {
    /// One metric with a target for each replica, and its value; active above 0.
    pub fn metric(name: &str, target: i64, value: i64) -> Answers {
        Answers(json!({
            "specs": [{"name": name, "size": target}],
            "values": [{"whole": value}],
            "active": value > 0,
        }))
    }

    /// The same answers, but the values are those texts in `metricValueFloat`: `NaN`, `-Inf`, `2.5`. None at all is an answer too.
    #[must_use]
    pub fn floats(mut self, values: &[&str]) -> Answers {
        let values: Vec<Value> = values.iter().map(|it| json!({"float": it})).collect();
        self.0["values"] = json!(values);
        self
    }

    /// The same answers, but `IsActive` says this.
    #[must_use]
    pub fn active(mut self, active: bool) -> Answers {
        self.0["active"] = json!(active);
        self
    }

    /// The same answers with one more metric. (`GetMetrics` gives the same value for each.)
    #[must_use]
    pub fn and_metric(mut self, name: &str, target: &str) -> Answers {
        if let Some(specs) = self.0["specs"].as_array_mut() {
            specs.push(json!({"name": name, "float": target}));
        }
        self
    }

    /// The server names no metric.
    #[must_use]
    pub fn without_metrics(mut self) -> Answers {
        self.0["specs"] = json!([]);
        self
    }

    /// Calls fail with a status code of gRPC's, such as 16 for Unauthenticated.
    pub fn failing(code: u32, message: &str) -> Answers {
        Answers(json!({"code": code, "message": message}))
    }

    /// Calls get no answer, until others are set.
    pub fn hanging() -> Answers {
        Answers(json!({"hang": true}))
    }
}

/// What the server has seen of one ScaledObject.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Open streams of `StreamIsActive`.
    pub streams: i64,
    /// Open streams of `StreamMetricSpec`.
    pub metric_streams: i64,
    /// Calls by method.
    pub calls: BTreeMap<String, i64>,
    /// The metadata of the last call.
    pub metadata: BTreeMap<String, String>,
    /// The metric that the last `GetMetrics` asked for.
    pub metric: String,
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct ExternalScaler {
    // Before `sandbox`: fields are dropped in this order.
    process: Option<Process>,
    grpc: Port,
    control: Port,
    options: ExternalScalerOptions,
    tls: Option<TlsMaterial>,
    http: reqwest::Client,
    /// To be told again after a restart.
    answers: std::sync::Mutex<BTreeMap<String, Answers>>,
    sandbox: Sandbox,
}

impl ExternalScaler {
    /// Starts one that speaks plain text.
    ///
    /// # Errors
    /// When it can't be built, or does not answer in 30 s.
    pub async fn start() -> Result<ExternalScaler> {
        ExternalScaler::start_with(ExternalScalerOptions::default()).await
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(options: ExternalScalerOptions) -> Result<ExternalScaler> {
        let mut server = ExternalScaler::down(options)?;
        server.restart().await?;
        Ok(server)
    }

    /// Takes an address at which nobody listens until [`restart`](Self::restart).
    ///
    /// # Errors
    /// When no port is free.
    pub fn down(options: ExternalScalerOptions) -> Result<ExternalScaler> {
        // More than one provider may be linked into a test; then rustls wants to be told, and the first to tell wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = (options.tls != Tls::Off)
            .then(|| TlsMaterial::new("external-scaler"))
            .transpose()?;
        Ok(ExternalScaler {
            process: None,
            grpc: Port::take()?,
            control: Port::take()?,
            options,
            tls,
            http: reqwest::Client::new(),
            answers: std::sync::Mutex::default(),
            sandbox: Sandbox::new("sakidori-external-scaler")?,
        })
    }

    /// Kills it if it runs, starts it on the same ports, and tells it all answers again.
    ///
    /// # Errors
    /// When it does not answer in 30 s.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let program = tokio::task::spawn_blocking(install::external_scaler).await??;
        let mut command = Command::new(program);
        command
            .args(["-grpc", &self.address()])
            .args(["-control", &format!("127.0.0.1:{}", self.control.number())]);
        if let Some(tls) = &self.tls {
            let (ca, server) = tls.write(self.sandbox.dir())?;
            command.arg("-cert").arg(server.certificate);
            command.arg("-key").arg(server.key);
            if self.options.tls == Tls::Mutual {
                command.arg("-client-ca").arg(ca);
            }
        }
        if self.options.without_metric_stream {
            command.arg("-without-metric-stream");
        }
        let mut process = self.sandbox.spawn("external-scaler", command)?;
        let started = eventually("answer of the external scaler", START_TIMEOUT, async || {
            process.check()?;
            self.seen("none/none").await.map(Some)
        });
        let started = started.await;
        started.with_context(|| format!("it does not start; its log:\n{}", process.tail()))?;
        self.process = Some(process);
        let answers = self.remembered().clone();
        for (object, answers) in answers {
            self.tell(&object, &answers).await?;
        }
        Ok(())
    }

    /// Kills it with SIGKILL, as a crash does; its port refuses connections.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it where it is: connections stay open and nothing is answered, until [`resume`](Self::resume).
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

    /// `127.0.0.1:PORT`, for a trigger's `scalerAddress`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc.number())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.grpc.number()
    }

    /// The authority and a client's certificate, when it was started with TLS.
    pub fn tls(&self) -> Option<&TlsMaterial> {
        self.tls.as_ref()
    }

    /// Sets what it answers for the ScaledObject `NAMESPACE/NAME`, also to calls that hang at this moment. While it is down, for when
    /// it is up.
    ///
    /// # Errors
    /// When it runs and does not take them.
    pub async fn set(&self, object: &str, answers: Answers) -> Result<()> {
        self.remembered().insert(object.to_owned(), answers.clone());
        match self.process {
            Some(_) => self.tell(object, &answers).await,
            None => Ok(()),
        }
    }

    async fn tell(&self, object: &str, answers: &Answers) -> Result<()> {
        let told = self.http.put(self.control(object)).json(&answers.0);
        accepted(told.send().await?).await
    }

    /// Sends a message to each stream of `StreamIsActive` that is open for an object.
    ///
    /// # Errors
    /// When none is.
    pub async fn push(&self, object: &str, active: bool) -> Result<()> {
        let url = format!("{}/push?active={active}", self.control(object));
        accepted(self.http.post(url).send().await?).await
    }

    /// What it has seen of an object since its start.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn seen(&self, object: &str) -> Result<Seen> {
        let answer = self.http.get(self.control(object)).send().await?;
        let mut seen: Value = answer.error_for_status()?.json().await?;
        Ok(Seen {
            streams: seen["streams"].as_i64().unwrap_or_default(),
            metric_streams: seen["metricStreams"].as_i64().unwrap_or_default(),
            metric: seen["metric"].as_str().unwrap_or_default().to_owned(),
            calls: serde_json::from_value::<Option<_>>(seen["calls"].take())?.unwrap_or_default(),
            metadata: serde_json::from_value::<Option<_>>(seen["metadata"].take())?
                .unwrap_or_default(),
        })
    }

    fn control(&self, object: &str) -> String {
        format!("http://127.0.0.1:{}/{object}", self.control.number())
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Answers>> {
        self.answers.lock().unwrap_or_else(|e| e.into_inner())
    }
}

async fn accepted(answer: reqwest::Response) -> Result<()> {
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "the external scaler says: {text}");
    Ok(())
}
