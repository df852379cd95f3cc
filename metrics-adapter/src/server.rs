//! The external metrics API as a server.

use std::net::TcpListener;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::api;
use crate::authentication::{Authenticator, trust};
use crate::authorization::Authorizer;
use crate::https::HttpsServer;
use crate::reviews::Reviews;
use crate::source::ExternalMetrics;
use crate::tls::{CertificateError, CertificateHandle, ServingTls};

/// Serves `external.metrics.k8s.io/v1beta1`.
pub struct Server {
    client: kube::Client,
    trust: Arc<ArcSwapOption<trust::Trust>>,
    https: HttpsServer,
}

/// Why the server can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The serving certificate can't be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The TLS library refuses this server's settings.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The operating system refuses the listening socket.
    #[error("the listening socket can't be used: {0}")]
    Listener(#[from] std::io::Error),
}

impl Server {
    /// A server that shows `certificate`, takes values from `metrics`, and asks reviews through `client`, which needs
    /// the rights of the ClusterRole `system:auth-delegator` and of the Role `extension-apiserver-authentication-reader`
    /// in `kube-system`. `/readyz` is what `ready` says, once the cluster's authorities are known.
    ///
    /// # Errors
    /// When the TLS library refuses its settings.
    pub fn new(
        client: kube::Client,
        certificate: CertificateHandle,
        metrics: Arc<dyn ExternalMetrics>,
        ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    ) -> Result<Self, ServerError> {
        let trust = Arc::new(ArcSwapOption::empty());
        let reviews = Arc::new(Reviews::new(client.clone()));
        let ready: api::Ready = {
            let trust = Arc::clone(&trust);
            Arc::new(move || match trust.load().is_some() {
                true => ready(),
                false => Err(format!("{} has not been read yet", trust::OBJECT)),
            })
        };
        let router = api::router(api::Server {
            authenticator: Authenticator::new(Arc::clone(&trust), Arc::clone(&reviews)),
            authorizer: Authorizer::new(reviews),
            metrics,
            ready,
            under_way: Semaphore::new(api::UNDER_WAY),
        });
        Ok(Self {
            client,
            https: HttpsServer::new(&certificate, router)?,
            trust,
        })
    }

    /// The same server with other settings of TLS; its clients are judged request by request, whatever these say of them.
    ///
    /// # Errors
    /// When the TLS library refuses them.
    pub fn speaking(self, tls: &ServingTls) -> Result<Self, ServerError> {
        let tls = ServingTls {
            clients: None,
            ..tls.clone()
        };
        Ok(Self {
            https: self.https.speaking(&tls)?,
            ..self
        })
    }

    /// Serves until `shutdown`, as [`HttpsServer::serve`] does.
    ///
    /// # Errors
    /// When the listener can't be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        let _following =
            AbortOnDropHandle::new(tokio::spawn(trust::follow(self.client, self.trust)));
        self.https.serve(listener, shutdown).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use sakidori_test_cluster::pki::Authority;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::https::Deadlines;
    use crate::source::{ExternalMetricValue, MetricError};
    use crate::tls::ServingCertificate;

    struct NoMetrics;

    #[async_trait::async_trait]
    impl ExternalMetrics for NoMetrics {
        async fn read(
            &self,
            _: &str,
            metric: &str,
            _: &BTreeMap<String, String>,
        ) -> Result<Vec<ExternalMetricValue>, MetricError> {
            Err(MetricError::NotFound(metric.to_owned()))
        }
    }

    /// Says `start` over TLS with that ALPN protocol.
    async fn say(
        authority: &Authority,
        port: u16,
        protocol: &str,
        start: &str,
    ) -> impl AsyncRead + Unpin {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
            .unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector
            .connect("localhost".try_into().unwrap(), socket)
            .await
            .unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }

    async fn assert_ends(what: &str, mut stream: impl AsyncRead + Unpin) {
        let began = Instant::now();
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(
            ended.is_ok(),
            "{what} is still connected after {:?}",
            began.elapsed()
        );
    }

    #[tokio::test]
    async fn whoever_takes_too_long_is_cut_off() {
        // kube's client asks for it; nothing is sent to that address.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nowhere = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let authority = Authority::new("serving").unwrap();
        let identity = authority.issue("server", &[], &["localhost"]).unwrap();
        let certificate = CertificateHandle::new(&ServingCertificate {
            certificate_pem: identity.certificate.into_bytes(),
            key_pem: identity.key.into_bytes(),
            authorities_pem: Vec::new(),
        })
        .unwrap();
        let client = kube::Client::try_from(nowhere).unwrap();
        let mut server = Server::new(
            client,
            certificate,
            Arc::new(NoMetrics),
            Arc::new(|| Ok(())),
        )
        .unwrap();
        let short = Duration::from_millis(300);
        server.https.deadlines = Deadlines {
            handshake: short,
            headers: short,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = AbortOnDropHandle::new(tokio::spawn(
            server.serve(listener, CancellationToken::new()),
        ));

        assert_ends(
            "a handshake",
            TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
        )
        .await;
        assert_ends(
            "HTTP/2 without a word",
            say(&authority, port, "h2", "").await,
        )
        .await;
        assert_ends(
            "HTTP/1 without a word",
            say(&authority, port, "http/1.1", "").await,
        )
        .await;
        let half = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
        assert_ends(
            "half a request",
            say(&authority, port, "http/1.1", half).await,
        )
        .await;
        let whole = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_ends(
            "an idle connection",
            say(&authority, port, "http/1.1", whole).await,
        )
        .await;
        assert!(!serving.is_finished());
    }
}
