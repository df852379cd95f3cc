//! A control plane, the server behind its aggregation layer, and clients of every kind.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use sakidori_engine::Quantity;
use sakidori_metrics_adapter::{
    CertificateHandle, ExternalMetricValue, ExternalMetrics, MetricError, Server, ServerError,
    ServingCertificate,
};
use sakidori_test_cluster::pki::{Authority, Identity};
use sakidori_test_cluster::{
    Cluster, ClusterOptions, ExternalMetricsTrust, Kubeconfig, eventually,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::SOON;

/// What the API server asks for, and what tests ask for.
const HOSTS: [&str; 3] = [
    "localhost",
    "127.0.0.1",
    "keda-operator-metrics-apiserver.keda.svc",
];
pub const METRIC: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-rabbitmq-orders?labelSelector=scaledobject.keda.sh%2Fname%3Dorders";

/// A running server behind a running control plane.
pub struct Bench {
    pub cluster: Cluster,
    pub port: u16,
    /// Issued the serving certificate.
    pub authority: Authority,
    pub certificate: CertificateHandle,
    pub shutdown: CancellationToken,
    /// Told when a read of the metric `slow` is under way, which takes a second.
    pub slow_read: Arc<Notify>,
    pub serving: JoinHandle<Result<(), ServerError>>,
}

impl Bench {
    pub async fn start() -> Result<Self> {
        let options = ClusterOptions {
            nodes: 0,
            scheduler: false,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(options).await?;
        cluster.create_namespace("keda").await?;
        cluster.create_namespace("shop").await?;
        let client = delegating_client(&cluster).await?;

        let authority = Authority::new("serving")?;
        let certificate = CertificateHandle::new(&serving_certificate(&authority)?)?;
        let slow_read = Arc::new(Notify::new());
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let server = Server::new(
            client,
            certificate.clone(),
            Arc::new(FixedMetrics {
                slow_read: Arc::clone(&slow_read),
            }),
            Arc::new(|| Ok(())),
        )?;
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(listener, shutdown.clone()));
        let bench = Self {
            cluster,
            port,
            authority,
            certificate,
            shutdown,
            slow_read,
            serving,
        };
        let ready = bench.caller(None)?;
        eventually("ready server", SOON, async || {
            let (code, _) = ready.get("/readyz", &[]).await?;
            Ok((code == 200).then_some(()))
        })
        .await?;
        let trust = ExternalMetricsTrust::Authority(bench.authority.certificate().to_owned());
        bench
            .cluster
            .register_external_metrics(port, &trust)
            .await?;
        Ok(bench)
    }

    /// A client of the server itself, not through the API server, with that certificate if any.
    pub fn caller(&self, identity: Option<&Identity>) -> Result<Caller> {
        Caller::trusting(&self.authority, self.port, identity)
    }

    /// The certificate by which the API server proves to be the front proxy.
    pub fn front_proxy(&self) -> Result<Identity> {
        Ok(Identity {
            certificate: std::fs::read_to_string(self.cluster.proxy_client_cert_path())?,
            key: std::fs::read_to_string(self.cluster.proxy_client_key_path())?,
        })
    }

    /// Makes the cluster trust one more authority, as in a rotation. kube-apiserver keeps what it finds there.
    pub async fn publish(&self, key: &str, authority: &Authority) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.cluster.client(), "kube-system");
        let name = "extension-apiserver-authentication";
        let data = maps
            .get(name)
            .await?
            .data
            .context("the ConfigMap is empty")?;
        let bundle = format!(
            "{}\n{}",
            data.get(key).context("no such key")?,
            authority.certificate()
        );
        maps.patch(
            name,
            &PatchParams::default(),
            &Patch::Merge(json!({"data": {key: bundle}})),
        )
        .await?;
        Ok(())
    }

    /// Makes a service account in `shop` and gives its token; with `reads` it may read the metrics there.
    pub async fn service_account(&self, name: &str, reads: bool) -> Result<String> {
        create_service_account(&self.cluster, "shop", name).await?;
        if reads {
            self.let_read("ServiceAccount", name).await?;
        }
        service_account_token(&self.cluster, "shop", name).await
    }

    /// Lets a `User` or a service account of `shop` read the metrics of `shop`.
    pub async fn let_read(&self, kind: &str, name: &str) -> Result<()> {
        let subject = match kind {
            "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": "shop"}),
            _ => json!({"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"}),
        };
        let role = json!({
            "metadata": {"name": format!("{name}-reads")},
            "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}],
        });
        let binding = json!({
            "metadata": {"name": format!("{name}-reads")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("{name}-reads")},
            "subjects": [subject],
        });
        let client = &self.cluster.client();
        create(
            client,
            "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles",
            &role,
        )
        .await?;
        create(
            client,
            "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings",
            &binding,
        )
        .await
    }

    /// `kubectl ARGUMENTS` as the cluster's administrator: whether it succeeded, and what it said.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = tokio::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            // A discovery cache of its own: nothing is read from or left in the home directory.
            .arg("--cache-dir")
            .arg(self.cluster.dir().join("kubectl"))
            .args(arguments)
            .output()
            .await
            .context("kubectl can't be started")?;
        let said = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        Ok((output.status.success(), String::from_utf8(said)?))
    }
}

pub fn serving_certificate(authority: &Authority) -> Result<ServingCertificate> {
    let identity = authority.issue("sakidori", &[], &HOSTS)?;
    Ok(ServingCertificate {
        certificate_pem: identity.certificate.into_bytes(),
        key_pem: identity.key.into_bytes(),
        authorities_pem: Vec::new(),
    })
}

/// Speaks to the server.
pub struct Caller {
    http: reqwest::Client,
    base: String,
}

impl Caller {
    pub fn trusting(authority: &Authority, port: u16, identity: Option<&Identity>) -> Result<Self> {
        let root = reqwest::Certificate::from_pem(authority.certificate().as_bytes())?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([root])
            .timeout(Duration::from_secs(20));
        if let Some(Identity { certificate, key }) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(
                format!("{certificate}\n{key}").as_bytes(),
            )?);
        }
        Ok(Self {
            http: builder.build()?,
            base: format!("https://127.0.0.1:{port}"),
        })
    }

    /// The code and the body, a JSON string if it is no JSON.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<(u16, Value)> {
        self.send(http::Method::GET, path, headers).await
    }

    pub async fn send(
        &self,
        method: http::Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(u16, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let code = response.status().as_u16();
        let text = response.text().await?;
        Ok((
            code,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        ))
    }

    pub async fn get_with_token(&self, path: &str, token: &str) -> Result<(u16, Value)> {
        self.get(path, &[("Authorization", &format!("Bearer {token}"))])
            .await
    }
}

/// Checks that the answer is a Status of that code and reason, and gives its message.
pub fn refused(answer: &(u16, Value), code: u16, reason: &str) -> Result<String> {
    let (answered, body) = answer;
    let right = *answered == code
        && body["kind"] == "Status"
        && body["apiVersion"] == "v1"
        && body["status"] == "Failure"
        && body["code"] == code
        && body["reason"] == reason;
    ensure!(
        right,
        "expected a Status {code} {reason}, got {answered}: {body}"
    );
    Ok(body["message"].as_str().unwrap_or_default().to_owned())
}

/// What the tests read.
struct FixedMetrics {
    slow_read: Arc<Notify>,
}

#[async_trait]
impl ExternalMetrics for FixedMetrics {
    async fn read(
        &self,
        namespace: &str,
        metric: &str,
        selector: &BTreeMap<String, String>,
    ) -> Result<Vec<ExternalMetricValue>, MetricError> {
        let object = selector
            .get("scaledobject.keda.sh/name")
            .map(String::as_str);
        match (namespace, metric, object) {
            ("shop", "s0-rabbitmq-orders", Some("orders")) => Ok(vec![ExternalMetricValue {
                metric_name: metric.to_owned(),
                metric_labels: BTreeMap::new(),
                // 2026-11-23T05:20:01.987Z.
                timestamp: jiff::Timestamp::constant(1_795_411_201, 987_000_000),
                value: Quantity::from_integer(500),
            }]),
            (_, "slow", _) => {
                self.slow_read.notify_one();
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(Vec::new())
            }
            (_, "panics", _) => panic!("the source of this test panics"),
            (_, "too-old", _) => Err(MetricError::Unavailable(
                "no reading is young enough".to_owned(),
            )),
            (_, _, None) => Err(MetricError::BadRequest(
                "scaledObject name is not specified".to_owned(),
            )),
            _ => Err(MetricError::NotFound(format!(
                "{namespace} has no metric {metric}"
            ))),
        }
    }
}

/// A client with no more rights than the server needs.
async fn delegating_client(cluster: &Cluster) -> Result<kube::Client> {
    create_service_account(cluster, "keda", "adapter").await?;
    let subjects = json!([{"kind": "ServiceAccount", "name": "adapter", "namespace": "keda"}]);
    let delegator = json!({
        "metadata": {"name": "adapter-delegates"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": subjects,
    });
    let reader = json!({
        "metadata": {"name": "adapter-reads-authorities"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "extension-apiserver-authentication-reader",
        },
        "subjects": subjects,
    });
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    create(
        &cluster.client(),
        &format!("{rbac}/clusterrolebindings"),
        &delegator,
    )
    .await?;
    create(
        &cluster.client(),
        &format!("{rbac}/namespaces/kube-system/rolebindings"),
        &reader,
    )
    .await?;
    let token = service_account_token(cluster, "keda", "adapter").await?;
    let ca = std::fs::read_to_string(cluster.ca_path())?;
    Kubeconfig::with_token(&cluster.apiserver_url(), &ca, "adapter", &token)
        .client()
        .await
}

async fn create_service_account(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    accounts.create(&PostParams::default(), &account).await?;
    Ok(())
}

async fn service_account_token(cluster: &Cluster, namespace: &str, name: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), namespace);
    let request =
        serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}}))?;
    let answer = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await?;
    Ok(answer
        .status
        .context("the token request has no status")?
        .token)
}

/// Creates `object` by its collection's path.
pub async fn create(client: &kube::Client, path: &str, object: &Value) -> Result<()> {
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(serde_json::to_vec(object)?)?;
    client
        .request::<Value>(request)
        .await
        .with_context(|| format!("can't create {object} at {path}"))?;
    Ok(())
}
