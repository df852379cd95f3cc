//! An HTTPS server: accepts connections, within bounds, and ends them in time. What it answers is its router's business.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::MapRequestLayer;

use crate::mutual_tls;
use crate::server::ServerError;
use crate::tls::{self, CertificateHandle, Peer};

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
pub(crate) struct Deadlines {
    pub(crate) handshake: Duration,
    /// For a request's headers, for the first request of a connection, and for an idle HTTP/1 connection.
    pub(crate) headers: Duration,
}

/// Serves a router over TLS.
pub struct HttpsServer {
    pub(crate) deadlines: Deadlines,
    acceptor: TlsAcceptor,
    router: Router,
}

impl HttpsServer {
    /// A server that shows the handle's certificate, whatever it is at the time of the handshake.
    ///
    /// # Errors
    /// When the TLS library refuses its settings.
    pub fn new(certificate: &CertificateHandle, router: Router) -> Result<Self, ServerError> {
        Ok(Self {
            deadlines: DEADLINES,
            acceptor: TlsAcceptor::from(Arc::new(tls::server_config(certificate)?)),
            router,
        })
    }

    /// The same for clients that have to show a certificate of this installation, which is good for `name`: see [`mutual_tls`].
    ///
    /// # Errors
    /// When the TLS library refuses its settings.
    pub fn mutual(
        certificate: &CertificateHandle,
        name: ServerName<'static>,
        router: Router,
    ) -> Result<Self, ServerError> {
        let config = mutual_tls::server_config(certificate, name)?;
        Ok(Self {
            deadlines: DEADLINES,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            router,
        })
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
