//! TLS for the servers, each with an authority of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use sakidori_test_cluster::pki::{Authority, Identity, IdentityFiles};

/// How a server speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Not at all.
    #[default]
    Off,
    /// The server shows a certificate for `localhost` and `127.0.0.1`.
    Server,
    /// And asks the client for one that the same authority issued.
    Mutual,
}

/// What a client needs to speak TLS with a server: all PEM.
#[derive(Debug)]
pub struct TlsMaterial {
    authority: Authority,
    server: Identity,
    /// A client certificate that the server accepts, and its key.
    pub client: Identity,
}

impl TlsMaterial {
    pub(crate) fn new(server: &str) -> Result<TlsMaterial> {
        TlsMaterial::for_hosts(server, &["localhost", "127.0.0.1"])
    }

    /// With a certificate for these names and addresses.
    pub(crate) fn for_hosts(server: &str, hosts: &[&str]) -> Result<TlsMaterial> {
        let authority = Authority::new(&format!("{server} test authority"))?;
        Ok(TlsMaterial {
            server: authority.issue(server, &[], hosts)?,
            client: authority.issue("client", &[], &[])?,
            authority,
        })
    }

    /// With a certificate that was good until 2021.
    pub(crate) fn expired(server: &str, hosts: &[&str]) -> Result<TlsMaterial> {
        let mut material = TlsMaterial::for_hosts(server, hosts)?;
        material.server = material.authority.issue_expired(server, hosts)?;
        Ok(material)
    }

    /// The authority's certificate: what a client must trust.
    pub fn ca(&self) -> &str {
        self.authority.certificate()
    }

    /// The server's key and certificate, one text.
    pub(crate) fn server_chain(&self) -> String {
        chain(&self.server)
    }

    /// A key and a certificate of the same authority for other names.
    pub(crate) fn chain_for(&self, hosts: &[&str]) -> Result<String> {
        Ok(chain(&self.authority.issue("server", &[], hosts)?))
    }

    /// A key and a certificate of the same authority that has expired.
    pub(crate) fn expired_chain(&self) -> Result<String> {
        let hosts = ["localhost", "127.0.0.1"];
        Ok(chain(&self.authority.issue_expired("server", &hosts)?))
    }

    /// Writes the authority's certificate and the server's identity into `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Result<(std::path::PathBuf, IdentityFiles)> {
        Ok((
            self.authority.write(dir, "ca")?,
            self.server.write(dir, "server")?,
        ))
    }

    /// The configuration of a server in this process.
    pub(crate) fn server_config(&self, mutual: bool) -> Result<ServerConfig> {
        let certificates = CertificateDer::pem_slice_iter(self.server.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .context("the server's certificate is not PEM")?;
        let key = PrivateKeyDer::from_pem_slice(self.server.key.as_bytes())
            .context("the server's key is not PEM")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(self.ca().as_bytes())?)?;
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
            )
        } else {
            builder.with_no_client_auth()
        };
        Ok(builder.with_single_cert(certificates, key)?)
    }
}

fn chain(identity: &Identity) -> String {
    format!("{}{}", identity.key, identity.certificate)
}
