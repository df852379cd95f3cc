//! TLS as a client, from the parameters that triggers share: `ca`, `cert`, `key`, `keyPassword`, `unsafeSsl`.

use std::io;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use pkcs8::EncryptedPrivateKeyInfo;
use rustls::client::WantsClientCert;
#[cfg(feature = "postgresql")]
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::TlsFloor;

/// How to speak TLS with a server. Connections are pooled by it, so equal settings share them.
///
/// No `Debug`: it holds a private key.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// PEM of authorities that are trusted besides the system's.
    pub ca: Option<String>,
    pub identity: Option<Identity>,
    /// Takes any certificate of the server (`unsafeSsl`).
    pub insecure: bool,
}

/// A client certificate, all PEM.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
    /// Of an encrypted PKCS #8 key.
    pub key_password: Option<String>,
}

impl TlsSettings {
    /// # Errors
    /// Names the parameter (`ca`, `cert`, `key`, `keyPassword`) that is not what it should be; quotes none of them.
    pub fn client_config(&self, oldest: TlsFloor) -> Result<ClientConfig, String> {
        let roots = self.roots()?;
        if self.insecure {
            let provider = ring::default_provider();
            let any = AnyCertificate(provider.signature_verification_algorithms);
            return self.verified_by(Arc::new(any), oldest);
        }
        // Without any roots every server is refused, in the handshake.
        self.identified(builder(oldest)?.with_root_certificates(roots))
    }

    /// The same for a server whose certificate may be for any host, but has to be an authority's.
    ///
    /// # Errors
    /// As [`TlsSettings::client_config`]; also where there is no authority at all.
    #[cfg(feature = "postgresql")]
    pub fn client_config_for_any_host(&self, oldest: TlsFloor) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider)
                .build()
                .map_err(|_| "no authority is known that a certificate could be of: give ca")?;
        self.verified_by(Arc::new(AnyHost(verifier)), oldest)
    }

    fn verified_by(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        oldest: TlsFloor,
    ) -> Result<ClientConfig, String> {
        let builder = builder(oldest)?.dangerous();
        self.identified(builder.with_custom_certificate_verifier(verifier))
    }

    /// The system's authorities and `ca`.
    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = system_roots().clone();
        if let Some(ca) = &self.ca {
            for authority in certificates("ca", ca)? {
                let added = roots.add(authority);
                added.map_err(|error| format!("ca holds no usable certificate: {error}"))?;
            }
        }
        Ok(roots)
    }

    fn identified(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, String> {
        match &self.identity {
            Some(identity) => {
                let chain = certificates("cert", &identity.certificate)?;
                let with_identity = builder.with_client_auth_cert(chain, identity.private_key()?);
                with_identity.map_err(|error| format!("cert and key don't go together: {error}"))
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

fn builder(oldest: TlsFloor) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(oldest.provider()))
        .with_protocol_versions(oldest.versions())
        .map_err(|error| error.to_string())
}

impl Identity {
    /// From the parameters `cert`, `key` and `keyPassword`.
    ///
    /// # Errors
    /// When only one of the first two is given.
    #[cfg(any(feature = "mysql", feature = "postgresql"))]
    pub fn given(
        certificate: Option<&String>,
        key: Option<&String>,
        key_password: Option<&String>,
    ) -> Result<Option<Self>, String> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(Self {
                certificate: certificate.clone(),
                key: key.clone(),
                key_password: key_password.cloned(),
            })),
            (None, None) => Ok(None),
            _ => Err("cert and key go together: give both".to_owned()),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        const EXPECTED: &str = "expected a private key in PEM";
        let Some(password) = &self.key_password else {
            return PrivateKeyDer::from_pem_slice(self.key.as_bytes())
                .map_err(|error| format!("key is not usable: {error}: {EXPECTED}"));
        };
        let (_, encrypted) = pkcs8::SecretDocument::from_pem(self.key.trim())
            .map_err(|error| format!("key is not usable: {error}: {EXPECTED}"))?;
        let encrypted = EncryptedPrivateKeyInfo::try_from(encrypted.as_bytes()).map_err(|_| {
            "keyPassword is given, but key is not an encrypted PKCS #8 key".to_owned()
        })?;
        let key = encrypted
            .decrypt(password)
            .map_err(|_| "keyPassword does not decrypt key".to_owned())?;
        Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
    }
}

fn certificates(parameter: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{parameter} holds no certificate: expected PEM")),
    }
}

/// An error with its causes, which say more than it does.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = dates_in_words(error).unwrap_or_else(|| error.to_string());
    let mut cause = error.source();
    while let Some(inner) = cause {
        let dates = dates_in_words(inner);
        let inner_text = dates.unwrap_or_else(|| inner.to_string());
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// What is wrong with a certificate's dates, which rustls gives in seconds since 1970; `None` for all other errors.
fn dates_in_words(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    // Some connectors wrap it twice, and such an error is no `source` of its wrapper's.
    let mut error = error;
    while let Some(inner) = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        error = inner;
    }
    let Error::InvalidCertificate(reason) = error.downcast_ref()? else {
        return None;
    };
    let date = |at: &UnixTime| Timestamp::from_second(i64::try_from(at.as_secs()).ok()?).ok();
    match reason {
        CertificateError::ExpiredContext { not_after, .. } => Some(format!(
            "the server's certificate expired on {}",
            date(not_after)?
        )),
        CertificateError::NotValidYetContext { not_before, .. } => Some(format!(
            "the server's certificate is good from {} on, which is yet to come",
            date(not_before)?
        )),
        _ => None,
    }
}

/// The system's authorities, read once: hundreds of files. Empty in an image made from nothing.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

/// The same as certificates, for a client with a TLS of its own.
#[cfg(feature = "kafka")]
pub fn system_certificates() -> impl Iterator<Item = CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs.into_iter()
}

/// Takes any certificate, but wants the server to hold its key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Takes the certificate of any host, if it is an authority's.
#[cfg(feature = "postgresql")]
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

#[cfg(feature = "postgresql")]
impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        revocation: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .0
            .verify_server_cert(certificate, chain, host, revocation, now);
        match verified {
            // The host is what is looked at last: all else was right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_dates_of_a_certificate_are_told_as_dates() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = || {
            let (time, not_after) = (at(1_800_000_000), at(1_609_459_200));
            Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after })
        };
        let told = "the server's certificate expired on 2021-01-01T00:00:00Z";
        assert_eq!(dates_in_words(&expired()).as_deref(), Some(told));
        let wrapped = io::Error::other(io::Error::other(expired()));
        assert_eq!(dates_in_words(&wrapped).as_deref(), Some(told));
        let (time, not_before) = (at(0), at(1_609_459_200));
        let early =
            Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before });
        let told = dates_in_words(&early).unwrap();
        assert!(told.contains("from 2021-01-01T00:00:00Z on"), "{told}");
        assert_eq!(dates_in_words(&io::Error::other("expired")), None);
    }
}
