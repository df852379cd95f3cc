//! Several processes of one installation: each answers what the replica that leads reads, while that one lives and for as long as its values
//! are young enough after it.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_tests::bed::HPA_SYNC_PERIOD;
use sakidori_tests::certificates::Certificates;
use sakidori_tests::operator::Subcommand;
use sakidori_tests::{Operator, OperatorSettings, canary, chart, manifests, observe};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::scene::{SOON, Scene};

const METRIC: &str = "s0-metric-api-value";

/// A lease ends after 15 s; the next leader tries every 2 s, lists, and polls.
const TAKEN_OVER: Duration = Duration::from_secs(40);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static INSTALLATION: OnceCell<Installation> = OnceCell::const_new();
/// There is one Lease, and one APIService.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A control plane, and what all processes of an installation in it share.
pub struct Installation {
    pub cluster: Cluster,
    settings: OperatorSettings,
    pub certificates: Arc<Certificates>,
}

impl Installation {
    async fn start() -> Result<Self> {
        let options = ClusterOptions {
            hpa_sync_period: HPA_SYNC_PERIOD,
            hpa_downscale_stabilization: Some(Duration::ZERO),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(options).await?;
        manifests::install_crds(&cluster.client()).await?;
        let settings = OperatorSettings {
            leader_elect: true,
            log_level: "debug".to_owned(),
            ..OperatorSettings::new(chart::service_account(&cluster).await?)
        };
        // So that a process may be asked without the API server between.
        let reader = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        });
        let reader = serde_json::from_value(reader)?;
        manifests::apply_objects(&cluster.client(), "default", &[reader]).await?;
        Ok(Self {
            cluster,
            settings,
            certificates: Arc::new(Certificates::new()?),
        })
    }

    pub fn process(&self, subcommand: Subcommand, scene: &Scene) -> Result<Process> {
        let settings = OperatorSettings {
            subcommand,
            watch_namespace: scene.namespace.clone(),
            ..self.settings.clone()
        };
        Ok(Process {
            operator: Operator::start_with(settings, self.certificates.clone())?,
            namespace: scene.namespace.clone(),
        })
    }

    /// An operator that is ready: the first one leads.
    pub async fn operator(&self, scene: &Scene<'_>) -> Result<Process> {
        let mut process = self.process(Subcommand::Operator, scene)?;
        process.operator.wait_ready(SOON).await?;
        Ok(process)
    }

    /// Asks that process as any client of the API may, without the API server between.
    pub async fn reader(&self, process: &Process) -> Result<Client> {
        let kubeconfig = self
            .cluster
            .service_account_kubeconfig("default", "default")
            .await?;
        let options = KubeConfigOptions::default();
        let mut config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
        // An error is what is to be seen.
        config.default_retry = false;
        let port = process.operator.external_metrics_address().port();
        config.cluster_url = format!("https://localhost:{port}").parse()?;
        let authority = CertificateDer::from_pem_slice(self.certificates.authority().as_bytes())?;
        config.root_cert = Some(vec![authority.to_vec()]);
        Ok(Client::try_from(config)?)
    }
}

pub struct Process {
    pub operator: Operator,
    namespace: String,
}

impl Process {
    async fn probe(&self, path: &str) -> Result<(u16, String)> {
        self.operator.probe(path).await
    }

    /// Waits until it isn't ready because of `why`.
    async fn until_unready(&self, why: &str, within: Duration) -> Result<()> {
        let mut last = (0, String::new());
        eventually("readyz that fails", within, async || {
            last = self.probe("/readyz").await?;
            Ok((last.0 == 503 && last.1.contains(why)).then_some(()))
        })
        .await
        .with_context(|| format!("/readyz says {last:?}\n{}", self.operator.log_tail()))
    }

    fn led(&self) -> Result<bool> {
        let log = std::fs::read_to_string(self.operator.log_path())?;
        Ok(log.contains("\"leading\""))
    }

    async fn value(&self, reader: &Client) -> Result<String> {
        let metric = observe::external_metric(reader, &self.namespace, METRIC, "web").await?;
        Ok(metric.value)
    }

    async fn until_value(&self, reader: &Client, value: &str) -> Result<()> {
        let mut last = String::new();
        eventually("value", SOON, async || {
            last = self.value(reader).await?;
            Ok((last == value).then_some(()))
        })
        .await
        .with_context(|| format!("it is {last:?}, not {value}\n{}", self.operator.log_tail()))
    }
}

pub fn play(namespace: &str, case: impl AsyncFnOnce(&Installation, &Scene) -> Result<()>) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let played = RUNTIME.block_on(async {
        let installation = INSTALLATION.get_or_try_init(Installation::start).await?;
        let scene = Scene::open(&installation.cluster, namespace).await?;
        case(installation, &scene).await?;
        scene.close().await?;
        canary::cluster_tells_no_secret(&installation.cluster.client()).await
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

#[test]
fn a_follower_answers_what_the_leader_reads_and_goes_on_when_that_is_killed() {
    play("replicas-follow", async |installation, scene| {
        let mut leader = installation.operator(scene).await?;
        let follower = installation.operator(scene).await?;
        // The HPA asks the one that doesn't lead.
        follower.operator.register(&installation.cluster).await?;
        let client = installation.cluster.client();
        follower.operator.wait_registered(&client, SOON).await?;
        // Old values are served for 40 s: the next leader is there before.
        let spec = json!({"pollingInterval": 20, "minReplicaCount": 1});
        scene.bring_up(1, spec).await?;
        let ours = installation.reader(&leader).await?;
        let theirs = installation.reader(&follower).await?;
        for value in [20, 30] {
            let asked = Instant::now();
            scene.set(value);
            follower.until_value(&theirs, &value.to_string()).await?;
            println!("the follower had {value} after {:?}", asked.elapsed());
            leader.until_value(&ours, &value.to_string()).await?;
            scene.until_replicas("web", value / 10).await?;
        }
        // A read of either asks the source anew, and once.
        let before = scene.source.requests(crate::scene::PATH);
        let interval = Duration::from_secs(5);
        let end = Instant::now() + interval;
        let mut reads = 0_u64;
        while Instant::now() < end {
            let (one, other) = tokio::join!(leader.value(&ours), follower.value(&theirs));
            ensure!(one? == "30" && other? == "30");
            reads += 2;
        }
        let polls = scene.source.requests(crate::scene::PATH) - before;
        println!("{reads} reads in {interval:?} were {polls} requests of the source");
        // One a second, and the first and the last.
        ensure!(polls <= interval.as_secs() + 2, "{polls} requests");
        ensure!(!follower.led()?, "both lead");

        leader.operator.kill()?;
        let killed = Instant::now();
        scene.set(40);
        let (mut reads, mut slowest) = (0, Duration::ZERO);
        while !follower.led()? || follower.value(&theirs).await? != "40" {
            let began = Instant::now();
            let value = follower.value(&theirs).await.with_context(|| {
                format!(
                    "{:?} after the leader was killed\n{}",
                    killed.elapsed(),
                    follower.operator.log_tail()
                )
            })?;
            ensure!(value == "30" || value == "40", "{value}");
            let (ready, why) = follower.probe("/readyz").await?;
            ensure!(ready == 200, "{ready}: {why}");
            slowest = slowest.max(began.elapsed());
            reads += 1;
            ensure!(
                killed.elapsed() < TAKEN_OVER,
                "{}",
                follower.operator.log_tail()
            );
        }
        println!(
            "{reads} reads were answered, the slowest in {slowest:?}, until it led and had read itself, {:?} after the leader was killed",
            killed.elapsed()
        );
        scene.until_replicas("web", 4).await
    });
}

#[test]
fn the_metrics_adapter_serves_the_hpa_over_a_change_of_the_leader_and_nothing_that_is_too_old() {
    play("replicas-adapter", async |installation, scene| {
        // It is the first that is there.
        let mut adapter = installation.process(Subcommand::MetricsAdapter, scene)?;
        adapter.until_unready("no values yet", SOON).await?;
        ensure!(adapter.probe("/healthz").await?.0 == 200);

        let mut first = installation.operator(scene).await?;
        let mut second = installation.operator(scene).await?;
        adapter.operator.wait_ready(SOON).await?;
        adapter.operator.register(&installation.cluster).await?;
        let client = installation.cluster.client();
        adapter.operator.wait_registered(&client, SOON).await?;

        // Old values are served for 30 s.
        scene.bring_up(0, json!({"pollingInterval": 15})).await?;
        let reader = installation.reader(&adapter).await?;
        scene.set(30);
        scene.until_replicas("web", 3).await?;

        first.operator.kill()?;
        let killed = Instant::now();
        while !second.led()? {
            adapter
                .value(&reader)
                .await
                .with_context(|| format!("{:?} after the leader was killed", killed.elapsed()))?;
            ensure!(scene.replicas("web").await? == 3);
            ensure!(
                killed.elapsed() < TAKEN_OVER,
                "{}",
                second.operator.log_tail()
            );
        }
        println!(
            "another leads {:?} after the first was killed",
            killed.elapsed()
        );
        scene.set(50);
        scene.until_replicas("web", 5).await?;

        // Nobody reads any more.
        second.operator.kill()?;
        let killed = Instant::now();
        scene.set(0);
        let why = loop {
            match adapter.value(&reader).await {
                Ok(value) => ensure!(value == "50", "{value}"),
                Err(error) => break format!("{error:#}"),
            }
            ensure!(killed.elapsed() < SOON + SOON, "a value is served for ever");
        };
        let age = killed.elapsed();
        ensure!(why.contains("no reading is young enough"), "{why}");
        println!("values were served for {age:?} without a leader");
        ensure!(
            (Duration::from_secs(14)..Duration::from_secs(31)).contains(&age),
            "an error after {age:?}"
        );
        adapter.until_unready("values are too old", SOON).await?;
        // An error lowers nothing.
        ensure!(scene.replicas("web").await? == 5);

        second.operator.restart()?;
        adapter.operator.wait_ready(TAKEN_OVER).await?;
        scene.set(20);
        scene.until_replicas("web", 2).await
    });
}
