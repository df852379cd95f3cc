//! TLS: this process' certificate and the authorities of its peers, which can be replaced at any time, and what a peer shows of itself.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::authentication::certificate::common_name;
use crate::spell::SharedSpell;

/// What this process shows, its certificate with intermediates, its own first, and the private key; and whom it believes. All PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ServingCertificate {
    /// One or more `CERTIFICATE` blocks.
    pub certificate_pem: Vec<u8>,
    /// One `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY` block.
    pub key_pem: Vec<u8>,
    /// `CERTIFICATE` blocks of the authorities that vouch for other processes of this installation ([`crate::mutual_tls`]): during a
    /// change the old one and the new one. With none, nobody is believed there.
    pub authorities_pem: Vec<u8>,
}

impl fmt::Debug for ServingCertificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").finish_non_exhaustive()
    }
}

/// A serving certificate that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate is no PEM, or there is none.
    #[error("the serving certificate can't be read: {0}")]
    Certificate(String),
    /// The key is no PEM, or there is none.
    #[error("the key of the serving certificate can't be read: {0}")]
    Key(String),
    /// The key is of an unknown kind, or not the certificate's.
    #[error("the serving certificate and its key can't be used: {0}")]
    Pair(#[from] rustls::Error),
    /// One of the authorities is no certificate.
    #[error("the authorities (ca.crt) can't be read: {0}")]
    Authorities(String),
}

/// This process' certificate for all its servers and clients. Replaced while they run: connections go on, new handshakes see the new
/// one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CertificateHandle(Arc<Current>);

#[derive(Debug)]
struct Current(ArcSwap<Shown>);

#[derive(Debug)]
struct Shown {
    certified: Arc<CertifiedKey>,
    authorities: Arc<RootCertStore>,
}

impl CertificateHandle {
    /// A handle that shows `certificate` for a start.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn new(certificate: &ServingCertificate) -> Result<Self, CertificateError> {
        let shown = Shown::new(certificate)?;
        Ok(Self(Arc::new(Current(ArcSwap::from_pointee(shown)))))
    }

    /// Shows `certificate`, and believes its authorities, from the next handshake on.
    ///
    /// # Errors
    /// When it can't be used; then the one before stays.
    pub fn replace(&self, certificate: &ServingCertificate) -> Result<(), CertificateError> {
        self.0.0.store(Arc::new(Shown::new(certificate)?));
        Ok(())
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.0.0.load().certified.clone()
    }

    pub(crate) fn authorities(&self) -> Arc<RootCertStore> {
        self.0.0.load().authorities.clone()
    }

    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.0.clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified.clone())
    }
}

impl Shown {
    fn new(certificate: &ServingCertificate) -> Result<Self, CertificateError> {
        Ok(Self {
            certified: Arc::new(certified(certificate)?),
            authorities: Arc::new(authorities(&certificate.authorities_pem)?),
        })
    }
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(CertificateError::Authorities)?;
    }
    Ok(roots)
}

fn certified(certificate: &ServingCertificate) -> Result<CertifiedKey, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&certificate.certificate_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(CertificateError::Certificate(
            "no CERTIFICATE block in the PEM".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&certificate.key_pem)
        .map_err(|error| CertificateError::Key(error.to_string()))?;
    Ok(CertifiedKey::from_der(
        chain,
        key,
        &ring::default_provider(),
    )?)
}

/// How TLS is spoken with clients.
#[derive(Clone)]
pub struct ServingTls {
    /// Cipher suites and the rest of cryptography.
    pub provider: Arc<CryptoProvider>,
    /// The versions, any of which a client may choose.
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Who is a client. Without, a client may show what it has, and the router judges it.
    pub clients: Option<Clients>,
}

/// Who is a client: each has to show a certificate.
#[derive(Clone)]
pub struct Clients {
    /// Who vouches for them.
    pub authorities: Arc<RootCertStore>,
    /// The common names that their certificates may have; empty allows any.
    pub names: Vec<String>,
}

impl Default for ServingTls {
    /// TLS 1.3, and any client.
    fn default() -> Self {
        static NEWEST: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        Self {
            provider: Arc::new(ring::default_provider()),
            versions: &NEWEST,
            clients: None,
        }
    }
}

/// HTTP/2 and HTTP/1.1.
pub(crate) fn server_config(
    certificate: &CertificateHandle,
    tls: &ServingTls,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::clone(&tls.provider);
    let verifier: Arc<dyn ClientCertVerifier> = match &tls.clients {
        None => Arc::new(Possession {
            provider: Arc::clone(&provider),
        }),
        Some(clients) => {
            let authorities = Arc::clone(&clients.authorities);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authorities, Arc::clone(&provider))
                    .build()
                    .map_err(|error| rustls::Error::General(error.to_string()))?;
            match clients.names.is_empty() {
                true => verifier,
                false => Arc::new(Named {
                    verifier,
                    names: clients.names.clone(),
                    refusing: SharedSpell::default(),
                }),
            }
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(tls.versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate.resolver());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The authorities in a PEM text.
///
/// # Errors
/// When there is none, or one of them is no certificate.
pub fn authorities_of(pem: &[u8]) -> Result<RootCertStore, CertificateError> {
    let found = authorities(pem)?;
    match found.is_empty() {
        true => Err(CertificateError::Authorities(
            "no CERTIFICATE block in the PEM".to_owned(),
        )),
        false => Ok(found),
    }
}

/// The certificates a peer has shown, and the key of which it has proven to hold. Nothing is said about who issued them:
/// that is judged with each request, by the authorities of that moment, since a proxy keeps connections for days.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer(Option<Arc<[CertificateDer<'static>]>>);

impl Peer {
    pub(crate) fn of(certificates: Option<&[CertificateDer<'static>]>) -> Self {
        Self(
            certificates
                .filter(|chain| !chain.is_empty())
                .map(Arc::from),
        )
    }

    /// Its own certificate, then the intermediates; none if it has shown none.
    pub(crate) fn chain(&self) -> Option<&[CertificateDer<'static>]> {
        self.0.as_deref()
    }
}

/// Believes whom the verifier believes, where the certificate has one of the names.
#[derive(Debug)]
struct Named {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
    refusing: SharedSpell,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        let name = common_name(&[end_entity.clone().into_owned()]).unwrap_or_default();
        if self.names.contains(&name) {
            return Ok(verified);
        }
        if self.refusing.fails("") {
            tracing::info!(
                name,
                "a client was refused: its certificate has none of the allowed names; more are told at debug"
            );
        } else {
            tracing::debug!(
                name,
                "a client was refused: its certificate has none of the allowed names"
            );
        }
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Asks for a client certificate, and checks in the handshake no more than that the client has its key (as Go's
/// `RequestClientCert`, which kube-apiserver uses: a wrong certificate gets a 401 that says so, not a broken connection).
#[derive(Debug)]
struct Possession {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a client sends what it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
