//! A control plane on which the operator is installed but doesn't run, for cases that start and stop operators. Each watches
//! the case's own namespaces only, so that the cases share it.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_tests::bed::HPA_SYNC_PERIOD;
use sakidori_tests::{OperatorSettings, canary, chart, manifests};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

/// A client lives as long as the runtime that it was made on, and the cases share one.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static INSTALLED: OnceCell<Installed> = OnceCell::const_new();

/// The control plane, and what an operator in it is started with.
pub struct Installed {
    pub cluster: Cluster,
    /// Held by a case whose operators elect a leader: there is one Lease.
    pub lease: Mutex<()>,
    settings: OperatorSettings,
}

impl Installed {
    async fn start() -> Result<Installed> {
        let options = ClusterOptions {
            hpa_sync_period: HPA_SYNC_PERIOD,
            hpa_downscale_stabilization: Some(Duration::ZERO),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(options).await?;
        manifests::install_crds(&cluster.client()).await?;
        let settings = OperatorSettings {
            // So that what is said at that level is searched for secrets, too.
            log_level: "debug".to_owned(),
            ..OperatorSettings::new(chart::service_account(&cluster).await?)
        };
        Ok(Installed {
            cluster,
            lease: Mutex::default(),
            settings,
        })
    }

    /// For an operator that watches these namespaces.
    pub fn watching(&self, namespaces: &str) -> OperatorSettings {
        OperatorSettings {
            watch_namespace: namespaces.to_owned(),
            ..self.settings.clone()
        }
    }
}

/// Runs a case that starts operators itself.
pub fn play_installed(case: impl AsyncFnOnce(&'static Installed) -> Result<()>) {
    let played = RUNTIME.block_on(async {
        let installed = INSTALLED.get_or_try_init(Installed::start).await?;
        case(installed).await?;
        canary::cluster_tells_no_secret(&installed.cluster.client()).await
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}
