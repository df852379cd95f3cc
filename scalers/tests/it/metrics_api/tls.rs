//! TLS: whom a reading trusts, and the certificate that it shows.

use std::net::{TcpListener, TcpStream};

use sakidori_scalers::ScalerError;
use sakidori_test_servers::{HttpSource, Tls};

use super::{depth, read_once, trigger};

#[tokio::test]
async fn tls_is_checked_and_a_client_certificate_shown() {
    let source = HttpSource::start_with(Tls::Server).unwrap();
    source.set("/q", depth(3));
    let ca = source.tls().unwrap().ca().to_owned();
    let trusting = trigger(&source.url("/q")).authentication([("ca", ca.as_str())]);
    assert_eq!(read_once(&trusting).await, Ok(3.0));
    let insecure = trigger(&source.url("/q")).metadata([("unsafeSsl", "true")]);
    assert_eq!(read_once(&insecure).await, Ok(3.0));

    let other = HttpSource::start_with(Tls::Mutual).unwrap();
    let wrong_ca = [("ca", other.tls().unwrap().ca())];
    for refused in [
        trigger(&source.url("/q")),
        trigger(&source.url("/q")).authentication(wrong_ca),
    ] {
        let error = read_once(&refused).await.unwrap_err();
        assert!(
            matches!(&error, ScalerError::Unreachable(text) if text.contains("certificate")),
            "{error}"
        );
    }

    other.set("/q", depth(4));
    let tls = other.tls().unwrap();
    let anonymous = trigger(&other.url("/q")).authentication([("ca", tls.ca())]);
    let error = read_once(&anonymous).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    let known = anonymous.metadata([("authModes", "tls")]).authentication([
        ("cert", tls.client.certificate.as_str()),
        ("key", tls.client.key.as_str()),
    ]);
    assert_eq!(read_once(&known).await, Ok(4.0));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    // The source's certificate is for localhost and 127.0.0.1; its listener takes no other address, so a relay does.
    let source = HttpSource::start_with(Tls::Server).unwrap();
    source.set("/q", depth(3));
    let relay = TcpListener::bind("127.0.0.2:0").unwrap();
    let url = format!("https://{}/q", relay.local_addr().unwrap());
    let target = source.port();
    std::thread::spawn(move || {
        for client in relay.incoming() {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", target)).unwrap();
            let (mut from_server, mut to_client) =
                (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
            });
            let _ = std::io::copy(&mut client, &mut server);
        }
    });
    let ca = source.tls().unwrap().ca();
    let trusting = trigger(&url).authentication([("ca", ca)]);
    let error = read_once(&trusting).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("not valid for name")),
        "{error}"
    );
    // It is the name that is refused: without checks the relay works.
    let insecure = trigger(&url).metadata([("unsafeSsl", "true")]);
    assert_eq!(read_once(&insecure).await, Ok(3.0));
}
