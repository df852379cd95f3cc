//! Client certificates: whether an authority issued them, and whom they name.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::User;

/// A peer's certificates, its own first. Never empty.
pub(crate) type Chain = [CertificateDer<'static>];

/// The authorities of one PEM bundle.
#[derive(Debug)]
pub(crate) struct Authorities {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Authorities {
    /// # Errors
    /// Says what is wrong with the bundle.
    pub(crate) fn from_pem(bundle: &str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            // One odd certificate of a bundle must not cut off those whom the others issued.
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|one| roots.add(one).map_err(|error| error.to_string()));
            if let Err(error) = added {
                tracing::warn!(%error, "a certificate of a bundle of authorities is left out");
            }
        }
        if roots.is_empty() {
            return Err("no certificate of an authority in the PEM bundle".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| format!("the authorities can't be used: {error}"))?;
        Ok(Self { verifier })
    }

    /// Whether one of the authorities issued the certificate for a client, and it is valid now. That the peer has its
    /// key was shown in the TLS handshake.
    ///
    /// # Errors
    /// Says why not.
    pub(crate) fn verify(&self, chain: &Chain) -> Result<(), String> {
        let (own, intermediates) = chain.split_first().ok_or("no certificate")?;
        self.verifier
            .verify_client_cert(own, intermediates, UnixTime::now())
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
}

/// The certificate's common name; the last one, should there be several, as Go's TLS library reads it.
///
/// # Errors
/// When the certificate can't be read or has none.
pub(crate) fn common_name(chain: &Chain) -> Result<String, String> {
    user(chain).map(|user| user.name)
}

/// Whom a verified certificate names: the common name is the user, the organizations are the groups.
///
/// # Errors
/// When the certificate can't be read or has no common name.
pub(crate) fn user(chain: &Chain) -> Result<User, String> {
    let own = chain.first().ok_or("no certificate")?;
    let (_, certificate) = X509Certificate::from_der(own)
        .map_err(|error| format!("the certificate can't be read: {error}"))?;
    let subject = certificate.subject();
    let name = subject
        .iter_common_name()
        .last()
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default();
    if name.is_empty() {
        return Err("the certificate has no common name".to_owned());
    }
    let groups = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok())
        .map(str::to_owned)
        .collect();
    Ok(User {
        name: name.to_owned(),
        groups,
        ..User::default()
    })
}
