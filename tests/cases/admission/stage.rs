//! The control plane that the cases share: the CRDs take any object, as those of an older release may, so that every rule is the
//! webhooks' to hold; one operator leads.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::client::Body;
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_tests::webhooks::{self, WebhookSettings};
use sakidori_tests::{Operator, OperatorSettings, chart, manifests};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::scene::SOON;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static STAGE: OnceCell<Stage> = OnceCell::const_new();

/// Kind, plural, group, and whether it has a namespace.
const KINDS: [(&str, &str, &str, bool); 8] = [
    ("ScaledObject", "scaledobjects", "keda.sh", true),
    ("ScaledJob", "scaledjobs", "keda.sh", true),
    (
        "TriggerAuthentication",
        "triggerauthentications",
        "keda.sh",
        true,
    ),
    (
        "ClusterTriggerAuthentication",
        "clustertriggerauthentications",
        "keda.sh",
        false,
    ),
    (
        "CloudEventSource",
        "cloudeventsources",
        "eventing.keda.sh",
        true,
    ),
    (
        "ClusterCloudEventSource",
        "clustercloudeventsources",
        "eventing.keda.sh",
        false,
    ),
    ("SaleCalendar", "salecalendars", "sakidori.dev", true),
    (
        "ClusterSaleCalendar",
        "clustersalecalendars",
        "sakidori.dev",
        false,
    ),
];

pub struct Stage {
    pub cluster: Cluster,
    pub client: Client,
    pub leader: Operator,
    settings: OperatorSettings,
}

/// Runs a case.
pub fn play(case: impl AsyncFnOnce(&'static Stage) -> Result<()>) {
    let played = RUNTIME.block_on(async {
        let stage = STAGE.get_or_try_init(Stage::start).await?;
        case(stage).await
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

impl Stage {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        let client = cluster.client();
        for (kind, plural, group, namespaced) in KINDS {
            let definition = any_object(kind, plural, group, namespaced);
            manifests::apply_objects(&client, "", &[serde_json::from_value(definition)?]).await?;
        }
        let settings = OperatorSettings {
            leader_elect: true,
            ..OperatorSettings::new(chart::service_account(&cluster).await?)
        };
        let mut leader = Operator::start(settings.clone())?;
        leader.wait_ready(SOON).await?;
        Ok(Self {
            cluster,
            client,
            leader,
            settings,
        })
    }

    /// What another operator is started with, which won't lead.
    pub fn settings(&self) -> OperatorSettings {
        self.settings.clone()
    }

    /// A new namespace about which the leader is asked.
    pub async fn ward(&'static self, namespace: &str) -> Result<Ward> {
        self.cluster.create_namespace(namespace).await?;
        let ward = self.unasked(namespace);
        ward.guarded_by(&self.leader, "Fail", 10, false).await?;
        ward.until_guarded().await?;
        Ok(ward)
    }

    /// The same before anyone is asked about it.
    pub fn unasked(&'static self, namespace: &str) -> Ward {
        Ward {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
        }
    }
}

/// A namespace with a ValidatingWebhookConfiguration of its own.
pub struct Ward {
    pub client: Client,
    pub namespace: String,
}

/// What the API server answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    /// Of a refusal.
    pub message: String,
    pub warnings: Vec<String>,
}

impl Answer {
    /// Fails where it was not let through.
    pub fn passed(self) -> Result<Self> {
        ensure!((200..300).contains(&self.code), "{self:?}");
        Ok(self)
    }

    /// The words of a webhook's refusal.
    pub fn refused(self) -> Result<String> {
        ensure!(self.code == 403, "{self:?}");
        let words = self.message.split_once(" denied the request: ");
        let (webhook, words) = words.with_context(|| self.message.clone())?;
        ensure!(webhook.starts_with("admission webhook \"v"), "{webhook}");
        Ok(words.to_owned())
    }
}

impl Ward {
    /// Lets the API server ask this operator about the namespace.
    pub async fn guarded_by(
        &self,
        operator: &Operator,
        failure_policy: &str,
        timeout_seconds: u32,
        cluster_scoped: bool,
    ) -> Result<()> {
        let settings = WebhookSettings {
            name: &self.namespace,
            authority: Some(operator.authority()),
            timeout_seconds,
            cluster_scoped,
            ..self.asking(operator.webhook_address(), failure_policy)
        };
        webhooks::configure(&self.client, &settings).await
    }

    pub fn asking<'a>(
        &'a self,
        address: SocketAddr,
        failure_policy: &'a str,
    ) -> WebhookSettings<'a> {
        WebhookSettings {
            name: &self.namespace,
            address,
            authority: None,
            failure_policy,
            timeout_seconds: 10,
            namespace: &self.namespace,
            cluster_scoped: false,
        }
    }

    /// Waits until the API server knows of the configuration and the operator answers.
    pub async fn until_guarded(&self) -> Result<()> {
        let bad = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "probe"},
            "spec": {"scaleTargetRef": {"name": "probe"}, "triggers": []},
        });
        eventually("refusal by the webhook", SOON, async || {
            let refused = self.dry_run(&bad).await?.refused()?;
            Ok(refused.starts_with("no triggers defined").then_some(()))
        })
        .await
    }

    /// Creates an object as `kubectl create` does.
    pub async fn create(&self, object: &Value) -> Result<Answer> {
        self.ask("POST", &self.path(object, false)?, object).await
    }

    pub async fn dry_run(&self, object: &Value) -> Result<Answer> {
        let path = format!("{}?dryRun=All", self.path(object, false)?);
        self.ask("POST", &path, object).await
    }

    /// Merges `patch` into a stored object.
    pub async fn patch(&self, object: &Value, patch: &Value) -> Result<Answer> {
        self.ask("PATCH", &self.path(object, true)?, patch).await
    }

    pub async fn delete(&self, object: &Value) -> Result<Answer> {
        let options = json!({"propagationPolicy": "Background"});
        self.ask("DELETE", &self.path(object, true)?, &options)
            .await
    }

    /// Status 404 where there is none.
    pub async fn get(&self, object: &Value) -> Result<Answer> {
        self.ask("GET", &self.path(object, true)?, &Value::Null)
            .await
    }

    pub fn path(&self, object: &Value, named: bool) -> Result<String> {
        let kind = object["kind"].as_str().context("no kind")?;
        let version = object["apiVersion"].as_str().context("no apiVersion")?;
        let known = KINDS.iter().find(|(known, ..)| *known == kind);
        let (plural, namespaced) = match known {
            Some((_, plural, _, namespaced)) => ((*plural).to_owned(), *namespaced),
            None => (format!("{}s", kind.to_lowercase()), true),
        };
        let mut path = match version.contains('/') {
            true => format!("/apis/{version}"),
            false => format!("/api/{version}"),
        };
        if namespaced {
            path += &format!("/namespaces/{}", self.namespace);
        }
        path += &format!("/{plural}");
        if named {
            path += &format!(
                "/{}",
                object["metadata"]["name"].as_str().context("no name")?
            );
        }
        Ok(path)
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let content = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = match body {
            Value::Null => Vec::new(),
            body => serde_json::to_vec(body)?,
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .body(Body::from(bytes))?;
        let response = tokio::time::timeout(SOON, self.client.send(request))
            .await
            .context("the API server does not answer")??;
        let code = response.status().as_u16();
        let headers = response.headers().get_all("warning").iter();
        let warnings = headers.map(|header| warning(header.to_str().unwrap_or_default()));
        let warnings = warnings.collect();
        let body = response.into_body().collect_bytes().await?;
        let body: Value = serde_json::from_slice(&body)
            .with_context(|| String::from_utf8_lossy(&body).into_owned())?;
        let message = match code {
            ..300 => String::new(),
            _ => body["message"].as_str().unwrap_or_default().to_owned(),
        };
        Ok(Answer {
            code,
            message,
            warnings,
        })
    }
}

/// The text of `299 - "text"`.
fn warning(header: &str) -> String {
    let text = header.splitn(3, ' ').nth(2).unwrap_or_default();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    text.unwrap_or_default()
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
}

/// A CRD that takes anything.
fn any_object(kind: &str, plural: &str, group: &str, namespaced: bool) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "subresources": {"status": {}},
            }],
        },
    })
}

/// How long something is watched that should not happen.
pub const A_WHILE: Duration = Duration::from_secs(3);
