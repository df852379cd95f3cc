//! TLS as a client, from the parameters that triggers share: `ca`, `cert`, `key`, `keyPassword`, `unsafeSsl`.

use std::sync::{Arc, OnceLock};

use pkcs8::EncryptedPrivateKeyInfo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::TlsVersion;

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
    pub fn client_config(&self, oldest: TlsVersion) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(oldest.and_later())
            .map_err(|error| error.to_string())?;
        let mut roots = system_roots().clone();
        if let Some(ca) = &self.ca {
            for authority in certificates("ca", ca)? {
                let added = roots.add(authority);
                added.map_err(|error| format!("ca holds no usable certificate: {error}"))?;
            }
        }
        let builder = if self.insecure {
            let any = Arc::new(AnyCertificate(provider.signature_verification_algorithms));
            builder.dangerous().with_custom_certificate_verifier(any)
        } else {
            // Without any roots every server is refused, in the handshake.
            builder.with_root_certificates(roots)
        };
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

impl Identity {
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

/// The system's authorities, read once: hundreds of files. Empty in an image made from nothing.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
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
