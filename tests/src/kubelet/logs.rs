//! The part of a kubelet's own API that `kubectl logs` and `helm test --logs` read, through the API server.

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use sakidori_test_servers::{Answer, HttpSource, Tls};
use serde_json::json;

/// Serves logs for all nodes of a cluster.
pub struct Logs(HttpSource);

impl Logs {
    /// Starts it, and tells the API server that it is found there.
    ///
    /// # Errors
    /// If it can't be started, or a node can't be written.
    pub async fn start(client: &Client) -> Result<Self> {
        let source = HttpSource::start_with(Tls::Server)?;
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": source.port()}},
        }});
        let nodes: Api<Node> = Api::all(client.clone());
        for node in nodes.list(&ListParams::default()).await? {
            let name = node.metadata.name.unwrap_or_default();
            let patch = Patch::Merge(&status);
            nodes
                .patch_status(&name, &PatchParams::default(), &patch)
                .await?;
        }
        Ok(Self(source))
    }

    /// What a container has logged so far.
    pub fn set(&self, namespace: &str, pod: &str, container: &str, log: &str) {
        let path = format!("/containerLogs/{namespace}/{pod}/{container}");
        self.0.set(&path, Answer::new("text/plain", log));
    }
}
