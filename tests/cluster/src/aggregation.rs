//! Puts a process on this machine behind the API server's aggregation layer.

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// KEDA's namespace and the name of its metrics Service.
const NAMESPACE: &str = "keda";
const SERVICE: &str = "keda-operator-metrics-apiserver";
const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// How the API server knows the external metrics server.
#[derive(Debug, Clone)]
pub enum ExternalMetricsTrust {
    /// Any certificate will do (`insecureSkipTLSVerify`).
    Anything,
    /// The certificate must be issued by this authority (PEM) for `localhost` **and**
    /// `keda-operator-metrics-apiserver.keda.svc`, which is the name the API server asks for.
    Authority(String),
    /// It has to put its authority into the APIService by itself.
    Unknown,
}

impl Cluster {
    /// Registers the server on `127.0.0.1:PORT` for `external.metrics.k8s.io/v1beta1`: a Service of type ExternalName
    /// `localhost` in the namespace `keda`, and the APIService that names it. Called again, it changes both.
    /// The API server needs a moment to see that the server is there.
    ///
    /// # Errors
    /// When an object can't be written.
    pub async fn register_external_metrics(
        &self,
        port: u16,
        trust: &ExternalMetricsTrust,
    ) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        if namespaces.get_opt(NAMESPACE).await?.is_none() {
            self.create_namespace(NAMESPACE).await?;
        }
        // EndpointSlices may not hold loopback addresses, so this is the way to a process on the host.
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
        });
        apply(
            &Api::<Service>::namespaced(self.client(), NAMESPACE),
            SERVICE,
            &service,
        )
        .await?;
        let mut spec = json!({
            "service": {"name": SERVICE, "namespace": NAMESPACE, "port": port},
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        });
        match trust {
            ExternalMetricsTrust::Anything => spec["insecureSkipTLSVerify"] = json!(true),
            ExternalMetricsTrust::Authority(pem) => {
                spec["caBundle"] = json!(ByteString(pem.clone().into_bytes()))
            }
            ExternalMetricsTrust::Unknown => {}
        }
        let api_service = json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": spec,
        });
        apply(
            &Api::<APIService>::all(self.client()),
            API_SERVICE,
            &api_service,
        )
        .await
    }
}

async fn apply<K>(api: &Api<K>, name: &str, object: &Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.patch(
        name,
        &PatchParams::apply("test-cluster").force(),
        &Patch::Apply(object),
    )
    .await
    .with_context(|| format!("can't apply {} {name}", object["kind"]))?;
    Ok(())
}
