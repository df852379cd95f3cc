//! Kubeconfig files, with all they need inside.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::pki::{self, Identity};

/// A kubeconfig of one cluster and one user. Written as JSON, which is YAML too.
#[derive(Debug, Clone)]
pub struct Kubeconfig(Value);

impl Kubeconfig {
    /// For a user with a client certificate.
    pub fn with_certificate(server: &str, ca: &str, user: &str, identity: &Identity) -> Kubeconfig {
        let credentials = json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        });
        Kubeconfig::new(server, ca, user, &credentials)
    }

    /// For a user with a bearer token.
    pub fn with_token(server: &str, ca: &str, user: &str, token: &str) -> Kubeconfig {
        Kubeconfig::new(server, ca, user, &json!({ "token": token }))
    }

    fn new(server: &str, ca: &str, user: &str, credentials: &Value) -> Kubeconfig {
        Kubeconfig(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "test-cluster",
                "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(ca)},
            }],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "test-cluster", "context": {"cluster": "test-cluster", "user": user}}],
            "current-context": "test-cluster",
        }))
    }

    /// A client of that user.
    ///
    /// # Errors
    /// When the certificates can't be used.
    pub async fn client(&self) -> Result<kube::Client> {
        let kubeconfig = serde_json::from_value(self.0.clone())
            .context("kube does not understand our kubeconfig")?;
        let config = kube::Config::from_custom_kubeconfig(
            kubeconfig,
            &kube::config::KubeConfigOptions::default(),
        )
        .await
        .context("kube can't use our kubeconfig")?;
        kube::Client::try_from(config).context("can't make a client")
    }

    /// Writes it to `path` and gives that path.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> Result<PathBuf> {
        let dir = path.parent().context("a kubeconfig needs a folder")?;
        let name = path
            .file_name()
            .context("a kubeconfig needs a name")?
            .to_string_lossy();
        pki::write(dir, &name, &serde_json::to_string_pretty(&self.0)?)
    }
}
