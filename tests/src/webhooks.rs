//! The admission webhooks as the chart installs them, but at an address of this machine.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{binary, manifests};

/// One webhook of the chart.
#[derive(Deserialize)]
struct Webhook {
    name: String,
    path: String,
    group: String,
    resource: String,
}

/// How the API server is to ask.
#[derive(Clone, Debug)]
pub struct WebhookSettings<'a> {
    /// The name of the ValidatingWebhookConfiguration.
    pub name: &'a str,
    pub address: SocketAddr,
    /// Whom the API server trusts there (PEM); `None` leaves that to the operator.
    pub authority: Option<&'a str>,
    pub failure_policy: &'a str,
    pub timeout_seconds: u32,
    /// Asks only about objects of this namespace,
    pub namespace: &'a str,
    /// and, where this is set, about those that have none.
    pub cluster_scoped: bool,
}

/// Applies a ValidatingWebhookConfiguration with the chart's webhooks.
///
/// # Errors
/// If the chart's file can't be read, or the API server refuses the configuration.
pub async fn configure(client: &Client, settings: &WebhookSettings<'_>) -> Result<()> {
    let path = binary::repository().join("charts/sakidori/files/webhooks.yaml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let webhooks: Vec<Webhook> = serde_saphyr::from_str(&text)?;
    let webhooks: Vec<Value> = webhooks
        .iter()
        .filter(|webhook| settings.cluster_scoped || !webhook.resource.starts_with("cluster"))
        .map(|webhook| {
            let url = format!("https://{}{}", settings.address, webhook.path);
            let mut client = json!({"url": url});
            if let Some(authority) = settings.authority {
                client["caBundle"] = json!(BASE64_STANDARD.encode(authority));
            }
            let own = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": [settings.namespace]});
            json!({
                "name": webhook.name,
                "admissionReviewVersions": ["v1"],
                "clientConfig": client,
                "failurePolicy": settings.failure_policy,
                "matchPolicy": "Equivalent",
                "namespaceSelector": {"matchExpressions": [own]},
                "rules": [{
                    "apiGroups": [webhook.group],
                    "apiVersions": ["v1alpha1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": [webhook.resource],
                }],
                "sideEffects": "None",
                "timeoutSeconds": settings.timeout_seconds,
            })
        })
        .collect();
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": settings.name},
        "webhooks": webhooks,
    });
    let object = serde_json::from_value(configuration)?;
    manifests::apply_objects(client, "", &[object]).await?;
    Ok(())
}
