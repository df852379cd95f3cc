//! Starting, using and stopping one control plane.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::audit::{self, Write, WriteCounts};
use crate::components::{Component, Layout};
use crate::eventually::eventually;
use crate::kubeconfig::Kubeconfig;
use crate::options::ClusterOptions;
use crate::pki::IdentityFiles;
use crate::resizing::Resizing;
use crate::sandbox::{Process, Sandbox};
use crate::{install, nodes};

/// How long a component may take to answer. It takes seconds; a machine that compiles meanwhile needs many more.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// A token of a service account.
#[derive(Debug, Clone)]
pub struct Login {
    /// The file with it.
    pub kubeconfig: PathBuf,
    /// What the audit log knows it by: [`Write::credential`].
    pub credential: String,
}

/// A running control plane. Dropped, its processes are killed and its folder is removed; the same happens when the
/// process that holds it is killed.
pub struct Cluster {
    /// The part of the fake kubelet that is not KWOK's, with [`ClusterOptions::acts_out_resizes`].
    resizing: Option<Resizing>,
    // Before `sandbox`: fields are dropped in this order, and processes end before their folder.
    processes: Mutex<BTreeMap<Component, Process>>,
    layout: Layout,
    options: ClusterOptions,
    client: kube::Client,
    start_duration: Duration,
    sandbox: Sandbox,
}

impl Cluster {
    /// Starts a control plane and waits until it serves: the API server is ready, the nodes are registered and the
    /// controllers run (the `default` namespace has its service account). Takes 5 to 10 s, and the time of a build
    /// when a program is not in the cache yet ([`install::programs`]).
    ///
    /// # Errors
    /// When a program can't be built or started, or does not answer in 90 s; the message ends with its log.
    pub async fn start(options: ClusterOptions) -> Result<Cluster> {
        // More than one provider may be linked into a test; then rustls wants to be told, and the first to tell wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let programs = tokio::task::spawn_blocking(install::programs)
            .await
            .context("the build was cancelled")??;

        let started = Instant::now();
        let sandbox = Sandbox::new("sakidori-cluster")?;
        let layout = Layout::create(sandbox.dir(), programs, &options)?;
        let client = layout.admin.client().await?;
        let mut cluster = Cluster {
            resizing: None,
            processes: Mutex::default(),
            layout,
            options,
            client,
            start_duration: Duration::ZERO,
            sandbox,
        };

        // The API server waits for etcd by itself. The others would only fail and retry before it is ready.
        cluster.launch(Component::Etcd)?;
        cluster.launch(Component::Apiserver)?;
        cluster.wait_for_apiserver().await?;
        cluster.launch(Component::ControllerManager)?;
        if cluster.options.scheduler {
            cluster.launch(Component::Scheduler)?;
        }
        cluster.launch(Component::Kwok)?;
        if cluster.options.acts_out_resizes {
            cluster.resizing = Some(Resizing::start(
                cluster.layout.kwok.clone(),
                cluster.options.pod_start_time,
                cluster.options.unmanaged_namespaces.clone(),
            )?);
        }
        for index in 0..cluster.options.nodes {
            cluster
                .create_node(&nodes::node(
                    &format!("node-{index}"),
                    &cluster.options.node,
                )?)
                .await?;
        }
        cluster.wait_for_service_account("default").await?;
        cluster.start_duration = started.elapsed();
        Ok(cluster)
    }

    /// How long [`start`](Self::start) took, without builds.
    pub fn start_duration(&self) -> Duration {
        self.start_duration
    }

    /// A client of a cluster administrator.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The cluster's private folder; it goes away with the cluster.
    pub fn dir(&self) -> &Path {
        self.sandbox.dir()
    }

    /// The administrator's kubeconfig, for `kubectl --kubeconfig` and `KUBECONFIG=`.
    pub fn kubeconfig(&self) -> &Path {
        &self.layout.admin_kubeconfig
    }

    /// `https://127.0.0.1:PORT`.
    pub fn apiserver_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.layout.apiserver_port.number())
    }

    /// The authority that issued the API server's certificate and all client certificates, PEM.
    pub fn ca_path(&self) -> &Path {
        &self.layout.ca
    }

    /// The authority of the aggregation layer, which is also in the ConfigMap
    /// `kube-system/extension-apiserver-authentication`.
    pub fn requestheader_ca_path(&self) -> &Path {
        &self.layout.requestheader_ca
    }

    /// The certificate (and [key](Self::proxy_client_key_path)) that the API server shows extension servers. Whoever
    /// shows it may name any user in `X-Remote-User`.
    pub fn proxy_client_cert_path(&self) -> &Path {
        &self.layout.front_proxy.certificate
    }

    /// The key of [`proxy_client_cert_path`](Self::proxy_client_cert_path).
    pub fn proxy_client_key_path(&self) -> &Path {
        &self.layout.front_proxy.key
    }

    /// A certificate of the same authority whose name the API server doesn't vouch for.
    pub fn proxy_stranger(&self) -> &IdentityFiles {
        &self.layout.front_proxy_stranger
    }

    /// One with the right name that was good for the year 2020 only.
    pub fn proxy_expired(&self) -> &IdentityFiles {
        &self.layout.front_proxy_expired
    }

    /// What a component wrote to stdout and stderr.
    pub fn log(&self, component: Component) -> PathBuf {
        self.sandbox.log(component.name())
    }

    /// A component's process id while it runs.
    pub fn process_id(&self, component: Component) -> Option<u32> {
        self.processes().get(&component).map(Process::id)
    }

    /// Kills a component with SIGKILL, as a crash does; it stays away until [`run`](Self::run).
    pub fn kill(&self, component: Component) {
        self.processes().remove(&component);
    }

    /// Starts a component that was killed, on the same port and with the same state. Doesn't wait until it serves.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn run(&self, component: Component) -> Result<()> {
        self.kill(component);
        self.launch(component)
    }

    /// Kills kube-apiserver, starts it again and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in 90 s.
    pub async fn restart_apiserver(&self) -> Result<()> {
        self.run(Component::Apiserver)?;
        self.wait_for_apiserver().await
    }

    /// Waits until kube-apiserver says it is ready.
    ///
    /// # Errors
    /// When it ended, or is not ready in 90 s.
    pub async fn wait_for_apiserver(&self) -> Result<()> {
        self.wait("ready kube-apiserver", async || {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok((self.client.request_text(request).await? == "ok").then_some(()))
        })
        .await
    }

    /// Creates a namespace and waits until pods can be created in it (it has its `default` service account).
    ///
    /// # Errors
    /// When it exists, or has no service account in 90 s.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::<Namespace>::all(self.client())
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("can't create the namespace {name}"))?;
        self.wait_for_service_account(name).await
    }

    /// Adds a fake node called `name`.
    ///
    /// # Errors
    /// When it exists, or the size is not made of quantities.
    pub async fn add_node(&self, name: &str, size: &crate::NodeSize) -> Result<()> {
        self.create_node(&nodes::node(name, size)?).await
    }

    /// Makes a kubeconfig for a service account, which must exist; its token is good for a day. The file is in
    /// [`dir`](Self::dir).
    ///
    /// # Errors
    /// When the account does not exist.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let file = format!("{namespace}-{name}");
        Ok(self.login(namespace, name, &file).await?.kubeconfig)
    }

    /// The same in a file `FILE.kubeconfig`, for a process whose writes are to be told apart from those of others with the same
    /// service account.
    ///
    /// # Errors
    /// When the account does not exist.
    pub async fn login(&self, namespace: &str, name: &str, file: &str) -> Result<Login> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request: TokenRequest = serde_json::from_value(
            json!({"spec": {"audiences": [], "expirationSeconds": 86_400}}),
        )?;
        let response = api
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| {
                format!("can't make a token for the service account {namespace}/{name}")
            })?;
        let token = response
            .status
            .context("the token request has no status")?
            .token;
        let kubeconfig =
            Kubeconfig::with_token(&self.apiserver_url(), &self.layout.ca_pem, name, &token)
                .write(&self.dir().join(format!("{file}.kubeconfig")))?;
        let credential = token_id(&token).context("a token without an id")?;
        Ok(Login {
            kubeconfig,
            credential,
        })
    }

    /// Every write request since the start, in the order of completion. With
    /// [`ClusterOptions::audit`](crate::ClusterOptions::audit) only.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn write_log(&self) -> Result<Vec<Write>> {
        Ok(self.writes_from(0)?.0)
    }

    /// What was written since an earlier call, from the place in the log that it gave (0 at first), and the place for the next.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn writes_from(&self, place: u64) -> Result<(Vec<Write>, u64)> {
        audit::read(&self.layout.audit_log, place)
    }

    /// Counts the writes of the clients whose User-Agent starts with `actor` or whose user name is `actor`, such as
    /// `sakidori/`, `system:serviceaccount:kube-system:horizontal-pod-autoscaler`.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn writes(&self, actor: &str) -> Result<WriteCounts> {
        let writes = self.write_log()?;
        Ok(writes
            .iter()
            .filter(|write| write.user_agent.starts_with(actor) || write.username == actor)
            .collect())
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<Component, Process>> {
        // The map is right after any panic: entries are inserted and removed whole.
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self, component: Component) -> Result<()> {
        let process = self.sandbox.spawn(
            component.name(),
            self.layout.command(component, &self.options),
        )?;
        self.processes().insert(component, process);
        Ok(())
    }

    /// Waits like [`eventually`], but no longer once a component has ended.
    async fn wait<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let found = eventually(what, START_TIMEOUT, async || {
            if let Err(error) = self.processes().values_mut().try_for_each(Process::check) {
                return Ok(Some(Err(error)));
            }
            Ok(look().await?.map(Ok))
        })
        .await;
        found.and_then(|found| found).map_err(|error| {
            let tail = self
                .processes()
                .get(&Component::Apiserver)
                .map(Process::tail)
                .unwrap_or_default();
            error.context(format!(
                "the test cluster does not start; its API server's log ends with:\n{tail}"
            ))
        })
    }

    async fn wait_for_service_account(&self, namespace: &str) -> Result<()> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        self.wait("default service account", async || {
            Ok(api.get_opt("default").await?.map(drop))
        })
        .await
    }

    async fn create_node(&self, node: &Node) -> Result<()> {
        Api::<Node>::all(self.client())
            .create(&PostParams::default(), node)
            .await
            .context("can't register a fake node")?;
        Ok(())
    }
}

/// The `jti` of a JSON Web Token, which nobody but its issuer needs to verify.
fn token_id(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Some(claims["jti"].as_str()?.to_owned())
}
