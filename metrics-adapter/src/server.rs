//! The server: accepts connections, within bounds, and ends them in time.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower::util::MapRequestLayer;

use crate::api;
use crate::authentication::{Authenticator, trust};
use crate::authorization::Authorizer;
use crate::reviews::Reviews;
use crate::source::ExternalMetrics;
use crate::tls::{self, CertificateError, CertificateHandle, Peer, ServingCertificate};

/// Connections at the same time; more wait in the kernel's queue. A cluster's API servers open a few each.
const CONNECTIONS: usize = 512;
const DEADLINES: Deadlines = Deadlines {
    handshake: Duration::from_secs(10),
    // As kube-apiserver allows for headers, rounded.
    headers: Duration::from_secs(30),
};
/// A peer that is gone without a word is found out by HTTP/2 pings.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_DEADLINE: Duration = Duration::from_secs(15);
/// All headers of a request; a token and a long list of groups fit well.
const HEADER_BYTES: usize = 64 * 1024;
/// What requests under way get at shutdown.
const GRACE: Duration = Duration::from_secs(2);
/// After a failed accept, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer may take.
#[derive(Clone, Copy)]
struct Deadlines {
    handshake: Duration,
    /// For a request's headers, for the first request of a connection, and for an idle HTTP/1 connection.
    headers: Duration,
}

/// Serves `external.metrics.k8s.io/v1beta1`.
pub struct Server {
    deadlines: Deadlines,
    client: kube::Client,
    certificate: CertificateHandle,
    acceptor: TlsAcceptor,
    trust: Arc<ArcSwapOption<trust::Trust>>,
    router: Router,
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
    /// When the certificate can't be used.
    pub fn new(
        client: kube::Client,
        certificate: ServingCertificate,
        metrics: Arc<dyn ExternalMetrics>,
        ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    ) -> Result<Self, ServerError> {
        let certificate = CertificateHandle::new(&certificate)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&certificate)?));
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
        });
        Ok(Self {
            deadlines: DEADLINES,
            client,
            certificate,
            acceptor,
            trust,
            router,
        })
    }

    /// Replaces the certificate while the server runs.
    pub fn certificate_handle(&self) -> CertificateHandle {
        self.certificate.clone()
    }

    /// Serves until `shutdown`; then the socket is closed at once, and requests under way get two seconds. Dropping the
    /// future ends everything at once.
    ///
    /// # Errors
    /// When the listener can't be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let _following =
            AbortOnDropHandle::new(tokio::spawn(trust::follow(self.client, self.trust)));
        let connections = TaskTracker::new();
        let abandon = CancellationToken::new();
        let _abandon_at_end = abandon.clone().drop_guard();
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            };
            let (slot, socket) = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = accepted => accepted,
            };
            match socket {
                Ok((socket, _)) => {
                    let served = serve_connection(
                        self.deadlines,
                        self.acceptor.clone(),
                        socket,
                        self.router.clone(),
                        shutdown.clone(),
                    );
                    let abandon = abandon.clone();
                    connections.spawn(async move {
                        let _slot = slot;
                        abandon.run_until_cancelled(served).await
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        connections.close();
        if timeout(GRACE, connections.wait()).await.is_err() {
            tracing::warn!(
                open = connections.len(),
                "connections are cut off: their requests took longer than {GRACE:?}"
            );
        }
        Ok(())
    }
}

async fn serve_connection(
    deadlines: Deadlines,
    acceptor: TlsAcceptor,
    socket: TcpStream,
    router: Router,
    shutdown: CancellationToken,
) {
    // A ping of the aggregation layer or an HPA read is a small packet: it should leave at once.
    let _ = socket.set_nodelay(true);
    let stream = tokio::select! {
        () = shutdown.cancelled() => return,
        handshake = timeout(deadlines.handshake, acceptor.accept(socket)) => match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took longer than {:?}", deadlines.handshake),
        },
    };
    let (_, session) = stream.get_ref();
    let peer = Peer::of(session.peer_certificates());
    let http2 = session.alpn_protocol() == Some(b"h2");

    let asked = Arc::new(AtomicBool::new(false));
    let router = router.layer(MapRequestLayer::new({
        let asked = Arc::clone(&asked);
        move |mut request: Request| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer.clone());
            request
        }
    }));
    // ALPN has told the version, so that none is guessed from the first bytes, for which there is no deadline.
    let builder = match http2 {
        true => connection_builder(deadlines).http2_only(),
        false => connection_builder(deadlines).http1_only(),
    };
    let mut connection = std::pin::pin!(
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let mut silence = std::pin::pin!(sleep(deadlines.headers));
    let (mut waiting, mut ending) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = silence.as_mut(), if waiting => {
                if !asked.load(Ordering::Relaxed) {
                    return tracing::debug!("a connection without a request in {:?}", deadlines.headers);
                }
                waiting = false;
            }
            () = shutdown.cancelled(), if !ending => {
                connection.as_mut().graceful_shutdown();
                ending = true;
            }
        }
    }
}

fn connection_builder(deadlines: Deadlines) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.headers)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE)
        .max_header_list_size(HEADER_BYTES as u32);
    builder
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use sakidori_test_cluster::pki::Authority;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::source::{ExternalMetricValue, MetricError};

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
        let certificate = ServingCertificate {
            certificate_pem: identity.certificate.into_bytes(),
            key_pem: identity.key.into_bytes(),
        };
        let client = kube::Client::try_from(nowhere).unwrap();
        let mut server = Server::new(
            client,
            certificate,
            Arc::new(NoMetrics),
            Arc::new(|| Ok(())),
        )
        .unwrap();
        let short = Duration::from_millis(300);
        server.deadlines = Deadlines {
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
