//! The certificates of one installation, as a user brings them in a Secret: all its processes share them.

use std::path::Path;

use anyhow::{Context, Result};
use sakidori_test_cluster::pki::{Authority, Identity};

/// What the API server calls the Services, what the replicas call each other, and where all of them are here.
const NAMES: &[&str] = &[
    "keda-operator.keda.svc",
    "keda-operator-metrics-apiserver.keda.svc",
    "keda-admission-webhooks.keda.svc",
    "localhost",
    "127.0.0.1",
];

/// An authority, and a certificate of it that is good for every Service.
#[derive(Debug)]
pub struct Certificates {
    authority: Authority,
    identity: Identity,
}

impl Certificates {
    /// # Errors
    /// If a key or a certificate can't be made.
    pub fn new() -> Result<Self> {
        let authority = Authority::new("sakidori tests")?;
        let identity = authority.issue("sakidori", &[], NAMES)?;
        Ok(Self {
            authority,
            identity,
        })
    }

    /// The authority, PEM.
    pub fn authority(&self) -> &str {
        self.authority.certificate()
    }

    /// Writes `ca.crt`, `tls.crt` and `tls.key`, as the Secret is mounted.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        for (file, text) in [
            ("ca.crt", self.authority()),
            ("tls.crt", &self.identity.certificate),
            ("tls.key", &self.identity.key),
        ] {
            let path = dir.join(file);
            std::fs::write(&path, text)
                .with_context(|| format!("can't write {}", path.display()))?;
        }
        Ok(())
    }
}
