//! What an end-to-end case runs on: a control plane with an operator, an HTTP source, and a RabbitMQ for those who ask.
//!
//! Most cases share [`shared`], each with a namespace of its own. A case that kills the operator or a part of the control
//! plane starts a bed of its own.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_test_servers::{HttpSource, RabbitMq};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

use crate::canary;
use crate::namespace::Namespace;
use crate::operator::{Operator, OperatorSettings};

/// How often the HPA controller looks at each HPA: Kubernetes' own 15 s would make every case take minutes.
pub const HPA_SYNC_PERIOD: Duration = Duration::from_secs(1);

/// Everything a case needs, running.
pub struct Bed {
    // The processes go before the runtime on which their clients live.
    pub operator: Mutex<Operator>,
    pub source: HttpSource,
    rabbit: OnceCell<RabbitMq>,
    pub cluster: Cluster,
    client: Client,
    runtime: Runtime,
}

/// The bed that is started by the first case that wants it, and ends with the test process.
///
/// # Errors
/// If it could not be started: the same for every case.
pub fn shared() -> Result<&'static Bed> {
    static SHARED: OnceLock<Result<Bed, String>> = OnceLock::new();
    SHARED
        .get_or_init(|| Bed::start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("the shared bed does not start: {error}"))
}

impl Bed {
    /// Starts a control plane and an operator in it. The HPA controller looks every second and remembers no higher
    /// recommendations, so that replicas that are wrongly given up are given up at once.
    ///
    /// # Errors
    /// If something doesn't start.
    pub fn start() -> Result<Self> {
        let options = ClusterOptions {
            hpa_sync_period: HPA_SYNC_PERIOD,
            hpa_downscale_stabilization: Some(Duration::ZERO),
            ..ClusterOptions::default()
        };
        Self::start_with(options, |_| {})
    }

    /// The same with another control plane and other settings of the operator.
    ///
    /// # Errors
    /// If something doesn't start.
    pub fn start_with(
        options: ClusterOptions,
        change: impl FnOnce(&mut OperatorSettings),
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let (cluster, client, operator) = runtime.block_on(async {
            let cluster = Cluster::start(options).await?;
            let operator = Operator::install_with(&cluster, |settings| {
                // So that what is said at that level is searched for secrets, too.
                "debug".clone_into(&mut settings.log_level);
                // It costs nothing while nobody has subscribed.
                let raw = ("RAW_METRICS_GRPC_PROTOCOL".into(), "enabled".into());
                settings.environment.push(raw);
                change(settings);
            })
            .await?;
            let client = without_retries(&cluster).await?;
            anyhow::Ok((cluster, client, operator))
        })?;
        Ok(Self {
            operator: Mutex::new(operator),
            source: HttpSource::start()?,
            rabbit: OnceCell::new(),
            cluster,
            client,
            runtime,
        })
    }

    /// Runs a case. Its error gets the end of the operator's log.
    ///
    /// # Errors
    /// The case's own.
    pub fn run<T>(&self, case: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(async {
            match case.await {
                Ok(done) => {
                    self.operator.lock().await.tells_no_secret()?;
                    canary::cluster_tells_no_secret(&self.client).await?;
                    Ok(done)
                }
                Err(error) => {
                    let log = self.operator.lock().await.log_tail();
                    Err(anyhow!("{error:#}\nthe operator's log ends with\n{log}"))
                }
            }
        })
    }

    /// A broker, started by the first call.
    ///
    /// # Errors
    /// If it doesn't start.
    pub async fn rabbit(&self) -> Result<&RabbitMq> {
        self.rabbit
            .get_or_try_init(RabbitMq::start)
            .await
            .context("RabbitMQ does not start")
    }

    /// A new namespace.
    ///
    /// # Errors
    /// If there is one of that name.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        self.cluster.create_namespace(name).await?;
        Ok(Namespace {
            client: self.client.clone(),
            name: name.to_owned(),
        })
    }
}

/// An administrator's client. kube's own otherwise repeats what was answered with 503, for minutes: a failing read would look like one
/// that hangs.
///
/// # Errors
/// If the kubeconfig can't be used.
pub async fn without_retries(cluster: &Cluster) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}
