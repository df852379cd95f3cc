//! What makes the API server ask the operator for external metrics: a Service and an APIService.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use kube::core::DynamicObject;
use serde_json::json;

use crate::manifests;
use crate::operator::Operator;
use crate::wait::wait_for;

/// The namespace the operator is installed in.
pub const NAMESPACE: &str = "keda";
/// The Service before the external metrics API, under the name that KEDA's chart gives it.
pub const SERVICE: &str = "keda-operator-metrics-apiserver";
/// The APIService's name is fixed by the API's group and version.
pub const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// The names a serving certificate needs: the API server checks the Service's name, whatever address it resolves to.
pub fn certificate_names(namespace: &str) -> Vec<String> {
    vec![
        format!("{SERVICE}.{namespace}.svc"),
        format!("{SERVICE}.{namespace}.svc.cluster.local"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ]
}

/// Registers `operator` as the external metrics API. A Service of type ExternalName is how the aggregation layer
/// reaches a process on the host.
///
/// # Errors
/// If the API server refuses one of the objects.
pub async fn register(client: &Client, operator: &Operator) -> Result<()> {
    let port = operator.addresses().external_metrics.port();
    let objects = json!([
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": SERVICE, "namespace": NAMESPACE },
            "spec": { "type": "ExternalName", "externalName": "localhost", "ports": [{ "port": port, "name": "https" }] },
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": { "name": API_SERVICE },
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": { "name": SERVICE, "namespace": NAMESPACE, "port": port },
                "caBundle": STANDARD.encode(operator.authority()),
            },
        },
    ]);
    let objects: Vec<DynamicObject> = serde_json::from_value(objects)?;
    manifests::apply_objects(client, NAMESPACE, &objects).await?;
    Ok(())
}

/// Waits until the API server says that the registered API answers.
///
/// # Errors
/// If it doesn't in time; with the API server's own reason.
pub async fn wait_available(client: &Client, within: Duration) -> Result<()> {
    wait_for("available APIService", within, async || {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}");
        let request = http::Request::get(path).body(Vec::new())?;
        let service: serde_json::Value = client.request(request).await?;
        let conditions = service["status"]["conditions"]
            .as_array()
            .context("it has no conditions yet")?;
        let available = conditions
            .iter()
            .find(|condition| condition["type"] == "Available")
            .context("it has no condition Available yet")?;
        ensure!(
            available["status"] == "True",
            "{}: {}",
            available["reason"],
            available["message"]
        );
        Ok(())
    })
    .await
}
