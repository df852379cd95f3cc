//! A control plane for these cases, who take turns: there is one APIService in a cluster. And what a client does that believes the
//! authorities which the API server believes at that moment.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_tests::webhooks::{self, WebhookSettings};
use sakidori_tests::{Operator, OperatorSettings, chart, manifests};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

use crate::scene::SOON;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static STAGE: OnceCell<Mutex<Stage>> = OnceCell::const_new();

pub const SECRET: &str = "kedaorg-certs";
/// The name that the API server asks for.
pub const METRICS: &str = "keda-operator-metrics-apiserver.keda.svc";
/// The name by which replicas know each other.
pub const OPERATOR: &str = "keda-operator.keda.svc";
const API_SERVICE: &str =
    "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
const WEBHOOKS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/keda-admission";
/// Where the webhooks are asked.
const NAMESPACE: &str = "certificates";

pub struct Stage {
    pub cluster: Cluster,
    pub client: Client,
    settings: OperatorSettings,
}

/// Runs a case on an installation without certificates.
pub fn play(case: impl AsyncFnOnce(&Stage) -> Result<()>) {
    let played = RUNTIME.block_on(async {
        let stage = STAGE.get_or_try_init(Stage::start).await?.lock().await;
        stage.clear().await?;
        case(&stage).await
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

impl Stage {
    async fn start() -> Result<Mutex<Self>> {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        let client = cluster.client();
        manifests::install_crds(&client).await?;
        cluster.create_namespace(NAMESPACE).await?;
        let settings = OperatorSettings {
            patching: true,
            ..OperatorSettings::new(chart::service_account(&cluster).await?)
        };
        Ok(Mutex::new(Self {
            cluster,
            client,
            settings,
        }))
    }

    /// Takes away what the case before has left.
    async fn clear(&self) -> Result<()> {
        for path in [
            API_SERVICE,
            WEBHOOKS,
            "/apis/coordination.k8s.io/v1/namespaces/keda/leases/operator.keda.sh",
        ] {
            let _ = self.ask("DELETE", path, "", &Value::Null).await;
        }
        let _ = self
            .secrets()
            .delete(SECRET, &DeleteParams::default())
            .await;
        Ok(())
    }

    /// What an operator is started with that makes its own certificates.
    pub fn rotating(&self, extra_args: &[&str]) -> OperatorSettings {
        OperatorSettings {
            cert_rotation: true,
            extra_args: extra_args.iter().map(|one| (*one).to_owned()).collect(),
            ..self.with_files()
        }
    }

    /// What an operator is started with that is given files.
    pub fn with_files(&self) -> OperatorSettings {
        self.settings.clone()
    }

    /// Makes the API server ask this operator for metrics and about objects, and leaves it to the operator to say whom to believe.
    pub async fn register(&self, operator: &Operator) -> Result<()> {
        operator.register(&self.cluster).await?;
        let settings = WebhookSettings {
            name: "keda-admission",
            address: operator.webhook_address(),
            authority: None,
            failure_policy: "Fail",
            timeout_seconds: 10,
            namespace: NAMESPACE,
            cluster_scoped: false,
        };
        webhooks::configure(&self.client, &settings).await
    }

    /// Waits until the API server gets answers from the operator, for metrics and about objects.
    pub async fn until_served(&self) -> Result<()> {
        eventually("answers to the API server", SOON, async || {
            match self.is_served().await {
                Ok(()) => Ok(Some(())),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Fails unless both answer now.
    pub async fn is_served(&self) -> Result<()> {
        let discovery = "/apis/external.metrics.k8s.io/v1beta1";
        self.ask("GET", discovery, "", &Value::Null)
            .await
            .context("metrics")?;
        // Only a webhook knows that.
        let bad = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "probe"},
            "spec": {
                "scaleTargetRef": {"name": "probe"},
                "triggers": [{"type": "no-such-type", "metadata": {}}],
            },
        });
        let path =
            format!("/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects?dryRun=All");
        let refused = self.ask("POST", &path, "application/json", &bad).await;
        let said = refused
            .err()
            .context("a bad object was let through")?
            .to_string();
        ensure!(said.contains("denied the request"), "webhooks: {said}");
        Ok(())
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), "keda")
    }

    /// The content of the Secret; nothing where there is none.
    pub async fn secret(&self) -> Result<BTreeMap<String, String>> {
        let secret = self.secrets().get_opt(SECRET).await?.unwrap_or_default();
        let data = secret.data.into_iter().flatten();
        Ok(data
            .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
            .collect())
    }

    /// Writes the content of the Secret, as somebody who takes no heed of others.
    pub async fn put_secret(&self, content: &[(&str, &str)]) -> Result<()> {
        let data = content.iter();
        let data: BTreeMap<_, _> = data
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
            .collect();
        let api = self.secrets();
        let found = api.get_opt(SECRET).await?;
        let mut secret = found.clone().unwrap_or_default();
        secret.metadata.name = Some(SECRET.to_owned());
        secret.metadata.resource_version = None;
        secret.data = Some(data);
        match found {
            Some(_) => api.replace(SECRET, &PostParams::default(), &secret).await?,
            None => api.create(&PostParams::default(), &secret).await?,
        };
        Ok(())
    }

    /// The authorities that the API server believes behind the APIService, PEM; nothing where it has none.
    pub async fn believed(&self) -> Result<String> {
        let service = self.ask("GET", API_SERVICE, "", &Value::Null).await?;
        decoded(&service["spec"]["caBundle"])
    }

    /// The same behind the first webhook.
    pub async fn believed_by_webhooks(&self) -> Result<String> {
        let configuration = self.ask("GET", WEBHOOKS, "", &Value::Null).await?;
        decoded(&configuration["webhooks"][0]["clientConfig"]["caBundle"])
    }

    /// Merges a patch into the APIService.
    pub async fn patch_api_service(&self, patch: &Value) -> Result<Value> {
        self.ask("PATCH", API_SERVICE, "application/merge-patch+json", patch)
            .await
    }

    /// Merges a patch into the ValidatingWebhookConfiguration.
    pub async fn patch_webhooks(&self, patch: &Value) -> Result<Value> {
        self.ask("PATCH", WEBHOOKS, "application/merge-patch+json", patch)
            .await
    }

    pub async fn webhooks(&self) -> Result<Value> {
        self.ask("GET", WEBHOOKS, "", &Value::Null).await
    }

    async fn ask(&self, method: &str, path: &str, content: &str, body: &Value) -> Result<Value> {
        let bytes = match body {
            Value::Null => Vec::new(),
            body => serde_json::to_vec(body)?,
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .body(bytes)?;
        Ok(self.client.request(request).await?)
    }
}

fn decoded(bundle: &Value) -> Result<String> {
    let pem = BASE64_STANDARD.decode(bundle.as_str().unwrap_or_default())?;
    Ok(String::from_utf8(pem)?)
}

/// How many certificates stand in a PEM text.
pub fn count(pem: &str) -> usize {
    pem.matches("-----BEGIN CERTIFICATE-----").count()
}

/// Whether all of `authorities` stand in `bundle`, however they are written.
pub fn has(bundle: &str, authorities: &str) -> bool {
    let read = |pem: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .filter_map(Result::ok)
            .collect()
    };
    let bundle = read(bundle);
    read(authorities).iter().all(|one| bundle.contains(one))
}

/// A new TLS handshake by one who believes `authorities` (PEM) and asks for `name`; gives the certificate that was shown.
pub async fn handshake(
    address: SocketAddr,
    name: &'static str,
    authorities: &str,
) -> Result<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority.map_err(|error| anyhow!("{error}"))?)?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tokio::task::spawn_blocking(move || {
        let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name)?)?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        while client.is_handshaking() {
            client.complete_io(&mut stream)?;
        }
        let shown = client.peer_certificates().and_then(<[_]>::first);
        Ok(shown
            .context("no certificate was shown")?
            .clone()
            .into_owned())
    })
    .await?
}
