//! A connection to the replica that leads, over mutual TLS, with certificate and authorities of its moment.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use sakidori_metrics_adapter::CertificateHandle;
use sakidori_metrics_adapter::mutual_tls::client_config;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// A peer that is gone without a word is found out by HTTP/2 pings, so that its connection ends too.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_DEADLINE: Duration = Duration::from_secs(5);

/// Connects to `address` (HOST:PORT), which has to show a certificate for `name`. The channel is for one stream: it isn't shared, and a
/// later one is made anew.
///
/// # Errors
/// With what went wrong, in a sentence.
pub(crate) async fn connect(
    address: &str,
    certificate: &CertificateHandle,
    name: &ServerName<'static>,
) -> Result<Channel, String> {
    // Only its text is used, as the requests' authority.
    let endpoint = Endpoint::from_shared(format!("https://{}", name.to_str()))
        .map_err(|error| error.to_string())?
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE)
        .keep_alive_while_idle(true);
    let stream = tls(address, certificate, name)
        .await
        .map_err(|error| error.to_string())?;
    let mut stream = Some(TokioIo::new(stream));
    let once = service_fn(move |_: Uri| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::other("the connection ended")) }
    });
    endpoint
        .connect_with_connector(once)
        .await
        .map_err(|error| chain(&error))
}

async fn tls(
    address: &str,
    certificate: &CertificateHandle,
    name: &ServerName<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let config = client_config(certificate).map_err(io::Error::other)?;
    let socket = TcpStream::connect(address).await?;
    // A wish for a newer reading is a small packet: it should leave at once.
    socket.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config))
        .connect(name.clone(), socket)
        .await
}

/// An error with its causes: tonic's own says "transport error".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
