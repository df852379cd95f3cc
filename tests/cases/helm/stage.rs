//! A control plane into which Helm installs, and a kubelet for what is installed.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_tests::bed::{self, HPA_SYNC_PERIOD};
use sakidori_tests::helm::{self, Helm};
use sakidori_tests::kubelet::Kubelet;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

use super::shop::Shop;

/// The namespace that is installed into, and the name of the release: KEDA's documentation has the same.
pub const NAMESPACE: &str = "keda";
pub const RELEASE: &str = "keda";

/// How long a process may take to be Ready, on a machine that compiles meanwhile.
const READY: Duration = Duration::from_secs(60);

pub const API_SERVICES: &str = "apis/apiregistration.k8s.io/v1/apiservices";
pub const EXTERNAL_METRICS: &str = "v1beta1.external.metrics.k8s.io";
pub const WEBHOOKS: &str = "apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
pub const CRDS: &str = "apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAMESPACES: &str = "api/v1/namespaces";

/// A client lives as long as the runtime that it was made on, and the cases share one.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Two control planes, so that a case that waits holds up only half of the others. Names of the chart's objects are the same in each release: in
/// each of the two one case plays at a time.
pub static FIRST: Theatre = Theatre::new();
pub static OTHER: Theatre = Theatre::new();

/// Where cases play one after the other.
pub struct Theatre {
    stage: OnceCell<Stage>,
    one_at_a_time: Mutex<()>,
}

impl Theatre {
    const fn new() -> Self {
        Self {
            stage: OnceCell::const_new(),
            one_at_a_time: Mutex::const_new(()),
        }
    }

    /// Runs a case in a control plane in which nothing is installed.
    pub fn play(&'static self, case: impl AsyncFnOnce(&'static Stage) -> Result<()>) {
        let played = RUNTIME.block_on(async {
            let _one = self.one_at_a_time.lock().await;
            let stage = self.stage.get_or_try_init(Stage::start).await?;
            let played = case(stage).await;
            let logs = stage.kubelet.logs();
            let cleared = stage.clear().await;
            played.with_context(|| format!("the pods' logs end with\n{logs}"))?;
            cleared
        });
        if let Err(error) = played {
            panic!("{error:#}");
        }
    }
}

/// A control plane, and what stands around it.
pub struct Stage {
    pub cluster: Cluster,
    pub kubelet: Kubelet,
    pub helm: Helm,
    client: kube::Client,
}

impl Stage {
    async fn start() -> Result<Self> {
        let options = ClusterOptions {
            hpa_sync_period: HPA_SYNC_PERIOD,
            // Replicas that are wrongly given up are given up at once.
            hpa_downscale_stabilization: Some(Duration::ZERO),
            ..Kubelet::options(&[NAMESPACE])
        };
        let cluster = Cluster::start(options).await?;
        Ok(Self {
            kubelet: Kubelet::start(&cluster, &[NAMESPACE]).await?,
            helm: Helm::new(cluster.kubeconfig()).await?,
            client: bed::without_retries(&cluster).await?,
            cluster,
        })
    }

    /// Installs the repository's chart, and waits until Helm says that it is there.
    pub async fn install(&self, more: &[&str]) -> Result<String> {
        let image = ["--set", "image.keda.repository=example/sakidori"];
        let more = [image.as_slice(), more].concat();
        self.install_from(&helm::chart(), &more).await
    }

    /// Installs a chart.
    pub async fn install_from(&self, chart: &Path, more: &[&str]) -> Result<String> {
        self.put_into_namespace("install", chart, more).await
    }

    /// Upgrades the release to a chart.
    pub async fn upgrade_to(&self, chart: &Path, more: &[&str]) -> Result<String> {
        self.put_into_namespace("upgrade", chart, more).await
    }

    async fn put_into_namespace(&self, verb: &str, chart: &Path, more: &[&str]) -> Result<String> {
        let chart = chart.display().to_string();
        let mut line = vec![verb, RELEASE, &chart, "-n", NAMESPACE];
        line.extend(["--wait", "--timeout", "90s"]);
        if verb == "install" {
            line.push("--create-namespace");
        }
        self.helm.run(&[line.as_slice(), more].concat()).await
    }

    /// An object of no namespace; `null` where there is none.
    pub async fn get(&self, resource: &str, name: &str) -> Result<Value> {
        let request = http::Request::get(format!("/{resource}/{name}")).body(Vec::new())?;
        match self.client.request(request).await {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Value::Null),
            Err(error) => Err(error.into()),
        }
    }

    /// An object of the release's namespace; `null` where there is none.
    pub async fn own(&self, resource: &str, name: &str) -> Result<Value> {
        self.get(&in_namespace(resource), name).await
    }

    /// The pods of the release's namespace that are not on their way out.
    pub async fn pods(&self) -> Result<Vec<Value>> {
        let mut pods = self.list(&in_namespace("api/v1/pods")).await?;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
    }

    /// All objects of a kind; none where there is no such kind.
    pub async fn list(&self, resource: &str) -> Result<Vec<Value>> {
        let request = http::Request::get(format!("/{resource}")).body(Vec::new())?;
        let mut list: Value = match self.client.request(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            answer => answer?,
        };
        let items = list["items"].as_array_mut().context("no list")?;
        Ok(std::mem::take(items))
    }

    /// Merges `patch` into an object of no namespace.
    pub async fn patch(&self, resource: &str, name: &str, patch: &Value) -> Result<Value> {
        let request = http::Request::patch(format!("/{resource}/{name}"))
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(patch)?)?;
        Ok(self.client.request(request).await?)
    }

    /// The same for one of the release's namespace.
    pub async fn patch_own(&self, resource: &str, name: &str, patch: &Value) -> Result<Value> {
        self.patch(&in_namespace(resource), name, patch).await
    }

    /// Waits until the API server reaches the external metrics API.
    pub async fn available(&self) -> Result<()> {
        self.until_available("True").await
    }

    /// Waits until the API server says `status` of whether it reaches the external metrics API.
    pub async fn until_available(&self, status: &str) -> Result<()> {
        let what = format!("APIService with Available={status}");
        eventually(&what, READY, async || {
            let service = self.get(API_SERVICES, EXTERNAL_METRICS).await?;
            let conditions = service["status"]["conditions"].as_array();
            let mut conditions = conditions.context("it has no conditions")?.iter();
            let available = conditions.find(|one| one["type"] == "Available");
            let available = available.context("it has no condition Available")?;
            ensure!(available["status"] == status, "{available}");
            Ok(Some(()))
        })
        .await
    }

    /// A workload in a namespace of its own.
    pub async fn shop(&self, namespace: &str) -> Result<Shop<'_>> {
        Shop::open(&self.cluster, &self.kubelet, namespace).await
    }

    /// A workload that its ScaledObject has brought up, and scaled to 3 replicas.
    pub async fn scaled_shop(&self) -> Result<Shop<'_>> {
        let shop = self.shop("shop").await?;
        shop.bring_up().await?;
        shop.scale_to(3).await?;
        Ok(shop)
    }

    /// Makes a namespace and takes it away: that hangs where an API is registered that nobody serves.
    pub async fn a_namespace_comes_and_goes(&self, name: &str) -> Result<()> {
        self.cluster.create_namespace(name).await?;
        self.delete(NAMESPACES, name).await?;
        eventually("deleted namespace", READY, async || {
            let namespace = self.get(NAMESPACES, name).await?;
            ensure!(namespace.is_null(), "{}", namespace["status"]);
            Ok(Some(()))
        })
        .await
    }

    /// Takes away what a case has left: releases, definitions, and all namespaces but Kubernetes' own.
    async fn clear(&self) -> Result<()> {
        // Finalizers of KEDA's are left where a case ends without Sakidori. A release of KEDA's takes its definitions with it, and waits.
        for object in self.list(crate::scene::SCALED_OBJECTS).await? {
            let [namespace, name] = ["namespace", "name"]
                .map(|field| object["metadata"][field].as_str().unwrap_or_default());
            let path = format!("apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects");
            let free = serde_json::json!({"metadata": {"finalizers": null}});
            self.patch(&path, name, &free).await?;
        }
        let releases = self.helm.run(&["list", "-n", NAMESPACE, "-q"]).await?;
        for release in releases.lines().filter(|line| !line.is_empty()) {
            let line = [
                "uninstall",
                release,
                "-n",
                NAMESPACE,
                "--wait",
                "--no-hooks",
            ];
            self.helm.run(&line).await?;
        }
        for object in self.list(CRDS).await? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            self.delete(CRDS, name).await?;
        }
        let own = |object: &Value| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            (!name.starts_with("kube-") && name != "default").then(|| name.to_owned())
        };
        for name in self.list(NAMESPACES).await?.iter().filter_map(own) {
            self.delete(NAMESPACES, &name).await?;
        }
        eventually("cleared control plane", READY, async || {
            let left = self.list(NAMESPACES).await?;
            let left: Vec<_> = left.iter().filter_map(own).collect();
            let crds = self.list(CRDS).await?.len();
            ensure!(left.is_empty() && crds == 0, "{left:?} and {crds} CRDs");
            Ok(Some(()))
        })
        .await
    }

    async fn delete(&self, resource: &str, name: &str) -> Result<()> {
        let request = http::Request::delete(format!("/{resource}/{name}")).body(Vec::new())?;
        match self.client.request::<Value>(request).await {
            Err(kube::Error::Api(status)) if status.code != 404 => bail!("{status}"),
            _ => Ok(()),
        }
    }
}

/// The path of a kind in the release's namespace.
fn in_namespace(resource: &str) -> String {
    match resource.rsplit_once('/') {
        Some((version, plural)) => format!("{version}/namespaces/{NAMESPACE}/{plural}"),
        None => resource.to_owned(),
    }
}
