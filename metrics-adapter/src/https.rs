//! A server for HTTP, with TLS or without: accepts connections, within bounds, and ends them in time. What it answers is its router's
//! business.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use rustls_pki_types::ServerName;
use sakidori_engine::Spell;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::{Connections, Place};
use crate::mutual_tls;
use crate::server::ServerError;
use crate::tls::{self, CertificateHandle, Peer, ServingTls};

/// Connections at the same time. A cluster's API servers open a few each; the kubelet and Prometheus, one for each question.
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
/// Requests at the same time on one HTTP/2 connection (Go's limit is 250). An API server has one connection for all its requests.
const STREAMS: u32 = 250;
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
    certificate: CertificateHandle,
    acceptor: TlsAcceptor,
    router: Router,
}

/// Serves a router without TLS: what the kubelet and Prometheus ask.
pub struct HttpServer {
    router: Router,
}

impl HttpServer {
    /// A server for everybody who reaches it.
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    /// As [`HttpsServer::serve`].
    ///
    /// # Errors
    /// When the listener can't be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        serve(DEADLINES, None, self.router, listener, shutdown).await
    }
}

impl HttpsServer {
    /// A server that shows the handle's certificate, whatever it is at the time of the handshake, and speaks TLS 1.3.
    ///
    /// # Errors
    /// When the TLS library refuses its settings.
    pub fn new(certificate: &CertificateHandle, router: Router) -> Result<Self, ServerError> {
        Ok(Self {
            deadlines: DEADLINES,
            certificate: certificate.clone(),
            acceptor: acceptor(certificate, &ServingTls::default())?,
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
            certificate: certificate.clone(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            router,
        })
    }

    /// The same server with other settings of TLS.
    ///
    /// # Errors
    /// When the TLS library refuses them.
    pub fn speaking(self, tls: &ServingTls) -> Result<Self, ServerError> {
        Ok(Self {
            acceptor: acceptor(&self.certificate, tls)?,
            ..self
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
        serve(
            self.deadlines,
            Some(self.acceptor),
            self.router,
            listener,
            shutdown,
        )
        .await
    }
}

fn acceptor(
    certificate: &CertificateHandle,
    tls: &ServingTls,
) -> Result<TlsAcceptor, rustls::Error> {
    Ok(TlsAcceptor::from(Arc::new(tls::server_config(
        certificate,
        tls,
    )?)))
}

/// Without an acceptor there is no TLS.
async fn serve(
    deadlines: Deadlines,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let running = TaskTracker::new();
    let abandon = CancellationToken::new();
    let _abandon_at_end = abandon.clone().drop_guard();
    let connections = Connections::new(CONNECTIONS);
    let mut accepting = Spell::default();
    loop {
        let accepted = async {
            let accepted = listener.accept().await;
            // Only when somebody is there: a place may have to be taken from another.
            match accepted {
                Ok((socket, _)) => Ok((socket, connections.place().await)),
                Err(error) => Err(error),
            }
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((socket, place)) => {
                if accepting.works() {
                    tracing::info!("connections are accepted again");
                }
                let served = serve_connection(
                    deadlines,
                    acceptor.clone(),
                    socket,
                    place,
                    router.clone(),
                    shutdown.clone(),
                );
                let abandon = abandon.clone();
                running.spawn(async move { abandon.run_until_cancelled(served).await });
            }
            Err(error) => {
                if accepting.fails(Timestamp::now(), &error.to_string()) {
                    tracing::warn!(%error, "connections can't be accepted; trying again");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    running.close();
    if timeout(GRACE, running.wait()).await.is_err() {
        tracing::warn!(
            open = running.len(),
            "connections are cut off: their requests took longer than {GRACE:?}"
        );
    }
    Ok(())
}

async fn serve_connection(
    deadlines: Deadlines,
    acceptor: Option<TlsAcceptor>,
    socket: TcpStream,
    place: Place,
    router: Router,
    shutdown: CancellationToken,
) {
    // A ping of the aggregation layer or an HPA read is a small packet: it should leave at once.
    let _ = socket.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        return serve_stream(
            deadlines,
            socket,
            Peer::default(),
            false,
            place,
            router,
            shutdown,
        )
        .await;
    };
    let stream = tokio::select! {
        () = shutdown.cancelled() => return,
        () = place.activity.given_up() => return tracing::debug!("a TLS handshake gave its place to another"),
        handshake = timeout(deadlines.handshake, acceptor.accept(socket)) => match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took longer than {:?}", deadlines.handshake),
        },
    };
    let (_, session) = stream.get_ref();
    let peer = Peer::of(session.peer_certificates());
    let http2 = session.alpn_protocol() == Some(b"h2");
    serve_stream(deadlines, stream, peer, http2, place, router, shutdown).await;
}

async fn serve_stream(
    deadlines: Deadlines,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: Peer,
    http2: bool,
    place: Place,
    router: Router,
    shutdown: CancellationToken,
) {
    let place = Arc::new(place);
    let router = router.layer(axum::middleware::from_fn({
        let place = Arc::clone(&place);
        move |mut request: Request, next: Next| {
            let under_way = place.request();
            request.extensions_mut().insert(peer.clone());
            async move {
                let response = next.run(request).await;
                drop(under_way);
                response
            }
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
            () = place.activity.given_up() => {
                return tracing::debug!("an idle connection gave its place to another");
            }
            () = silence.as_mut(), if waiting => {
                if !place.activity.has_asked() {
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
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES as u32);
    builder
}
