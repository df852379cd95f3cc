//! TLS between the processes of one installation: 1.3, and both sides show a certificate.
//!
//! Being issued by a known authority is not enough: where the user brings the certificates, the authority may be a company's, which
//! vouches for thousands. So a peer's certificate has to be good for a name of this installation, too.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::tls::CertificateHandle;

/// For a server whose clients have to show a certificate that is good for `name`. Certificate and authorities are those of each
/// handshake's moment.
///
/// # Errors
/// When the TLS library refuses its settings.
pub fn server_config(
    certificate: &CertificateHandle,
    name: ServerName<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = Installation {
        certificate: certificate.clone(),
        name,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(certificate.resolver());
    // A resumed session skips the verifier, so an authority that is dropped would be good for as long as its tickets.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// For one connection of a client, with certificate and authorities of now.
///
/// # Errors
/// When no authority is known, or the TLS library refuses its settings.
pub fn client_config(certificate: &CertificateHandle) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(certificate.authorities(), provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.certified())));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Believes who shows a certificate of this installation.
#[derive(Debug)]
struct Installation {
    certificate: CertificateHandle,
    name: ServerName<'static>,
}

impl Installation {
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(self.certificate.authorities(), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

impl ClientCertVerifier for Installation {
    /// None: a client sends what it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .verifier()?
            .verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    /// TLS 1.2 is not spoken here.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use sakidori_test_cluster::pki::Authority;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::tls::ServingCertificate;

    const NAME: &str = "keda-operator.keda.svc";

    fn handle(issuer: &Authority, name: &str, believed: &[&Authority]) -> CertificateHandle {
        let identity = issuer.issue("process", &[], &[name]).unwrap();
        let authorities: String = believed.iter().map(|one| one.certificate()).collect();
        let certificate = ServingCertificate {
            certificate_pem: identity.certificate.into_bytes(),
            key_pem: identity.key.into_bytes(),
            authorities_pem: authorities.into_bytes(),
        };
        CertificateHandle::new(&certificate).unwrap()
    }

    /// Whether a byte comes through from a client to a server, each with its certificate.
    async fn talk(client: &CertificateHandle, server: &CertificateHandle) -> Result<(), String> {
        let name = ServerName::try_from(NAME).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(server, name).unwrap()));
        let config = client_config(client).map_err(|error| error.to_string())?;
        talk_with(&TlsConnector::from(Arc::new(config)), &acceptor).await
    }

    #[tokio::test]
    async fn only_processes_of_the_installation_talk_to_each_other() {
        let (ours, other) = (
            Authority::new("ours").unwrap(),
            Authority::new("other").unwrap(),
        );
        let good = handle(&ours, NAME, &[&ours]);
        assert_eq!(talk(&good, &good).await, Ok(()));
        for (client, server, expected) in [
            (
                handle(&ours, "shop.example", &[&ours]),
                &good,
                "NotValidForName",
            ),
            (handle(&other, NAME, &[&ours]), &good, "UnknownIssuer"),
            (
                good.clone(),
                &handle(&ours, "shop.example", &[&ours]),
                "NotValidForName",
            ),
            (handle(&ours, NAME, &[&other]), &good, "UnknownIssuer"),
            (
                handle(&ours, NAME, &[]),
                &good,
                "no root trust anchors were provided",
            ),
        ] {
            let said = talk(&client, server).await.unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }

    /// As [`talk`], by a client that keeps its configuration.
    async fn talk_with(connector: &TlsConnector, acceptor: &TlsAcceptor) -> Result<(), String> {
        let name = ServerName::try_from(NAME).unwrap();
        let (near, far) = duplex(64 * 1024);
        let (heard, answered) = tokio::join!(
            async {
                let mut stream = acceptor.accept(far).await?;
                let heard = stream.read_u8().await?;
                stream.write_u8(heard).await?;
                stream.shutdown().await
            },
            async {
                let mut stream = connector.connect(name, near).await?;
                stream.write_u8(7).await?;
                stream.read_u8().await
            }
        );
        match (heard, answered) {
            (Ok(()), Ok(7)) => Ok(()),
            (heard, answered) => Err(format!("server: {heard:?}, client: {answered:?}")),
        }
    }

    #[tokio::test]
    async fn a_session_is_not_resumed_once_its_authority_is_dropped() {
        let (old, new) = (
            Authority::new("old").unwrap(),
            Authority::new("new").unwrap(),
        );
        let server = handle(&old, NAME, &[&old]);
        let name = ServerName::try_from(NAME).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&server, name).unwrap()));
        // A client that would resume.
        let mut config = client_config(&handle(&old, NAME, &[&old, &new])).unwrap();
        config.resumption = Resumption::in_memory_sessions(8);
        let connector = TlsConnector::from(Arc::new(config));
        for _ in 0..2 {
            assert_eq!(talk_with(&connector, &acceptor).await, Ok(()));
        }
        let identity = new.issue("process", &[], &[NAME]).unwrap();
        server
            .replace(&ServingCertificate {
                certificate_pem: identity.certificate.into_bytes(),
                key_pem: identity.key.into_bytes(),
                authorities_pem: new.certificate().as_bytes().to_vec(),
            })
            .unwrap();
        let said = talk_with(&connector, &acceptor).await.unwrap_err();
        assert!(said.contains("UnknownIssuer"), "{said}");
    }

    #[tokio::test]
    async fn during_a_change_old_and_new_believe_each_other() {
        let (old, new) = (
            Authority::new("old").unwrap(),
            Authority::new("new").unwrap(),
        );
        let before = handle(&old, NAME, &[&old, &new]);
        let after = handle(&new, NAME, &[&old, &new]);
        assert_eq!(talk(&before, &after).await, Ok(()));
        assert_eq!(talk(&after, &before).await, Ok(()));
        // Without a restart: the same handle, another certificate.
        let identity = new.issue("process", &[], &[NAME]).unwrap();
        before
            .replace(&ServingCertificate {
                certificate_pem: identity.certificate.into_bytes(),
                key_pem: identity.key.into_bytes(),
                authorities_pem: new.certificate().as_bytes().to_vec(),
            })
            .unwrap();
        assert_eq!(talk(&after, &before).await, Ok(()));
    }
}
