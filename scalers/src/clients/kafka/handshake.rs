//! What is wrong with a broker's certificate: librdkafka says only that it could not be verified. So the handshake is tried once more
//! with the TLS that all other clients have, which knows.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::clients::TlsFloor;
use crate::clients::tls::{TlsSettings, with_causes};

const WITHIN: Duration = Duration::from_secs(2);

/// Why a handshake failed, by librdkafka's text of it, which begins with the broker's address. `None` where nothing more is to be
/// said than librdkafka did.
pub async fn why(text: &str, tls: &TlsSettings, oldest: TlsFloor) -> Option<String> {
    if !text.contains("certificate verify failed") {
        return None;
    }
    let (host, port) = broker(text)?;
    let config = Arc::new(tls.client_config(oldest).ok()?);
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let handshake = async {
        let stream = TcpStream::connect((host, port)).await.ok()?;
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        shaken.err().map(|error| with_causes(&error))
    };
    timeout(WITHIN, handshake).await.ok()?
}

/// The address in `ssl://broker:9093/bootstrap: SSL handshake failed: ...`.
fn broker(text: &str) -> Option<(&str, u16)> {
    let (_, rest) = text.split_once("://")?;
    let (address, _) = rest.split_once('/')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_in_the_text() {
        for (text, found) in [
            (
                "ssl://kafka.shop:9093/bootstrap: SSL handshake failed: x",
                Some(("kafka.shop", 9093)),
            ),
            ("sasl_ssl://[::1]:9094/2: x", Some(("::1", 9094))),
            ("ssl://kafka/1: x", None),
            ("no broker", None),
        ] {
            assert_eq!(broker(text), found, "{text}");
        }
    }
}
