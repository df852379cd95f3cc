//! The settings that hold for all clients, as the operator's environment gives them.

use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sakidori_scalers::clients::ClientSettings;
use sakidori_scalers::{Scaler, ScalerError, Trigger, build};
use sakidori_test_servers::{Answer, HttpSource};

use super::{context, depth, read, trigger};

/// The settings of an environment.
fn settings(environment: &[(&str, &str)]) -> ClientSettings {
    let lookup = |name: &str| {
        let found = environment.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    ClientSettings::from_environment(lookup).unwrap()
}

fn scaler_with(environment: &[(&str, &str)], trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, &context(settings(environment), Vec::new())).unwrap()
}

#[tokio::test]
async fn the_timeout_is_for_triggers_without_one() {
    let source = HttpSource::start().unwrap();
    source.set("/q", Answer::hang());
    let environment = [("KEDA_HTTP_DEFAULT_TIMEOUT", "150")];
    for (given, within) in [("0", "within 150 ms"), ("90ms", "within 90 ms")] {
        let trigger = trigger(&source.url("/q")).metadata([("timeout", given)]);
        let error = read(&*scaler_with(&environment, &trigger))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(within), "{error}");
    }
}

#[tokio::test]
async fn proxies_are_asked_for_all_but_loopback_and_what_is_excepted() {
    let (source, proxy) = (HttpSource::start().unwrap(), HttpSource::start().unwrap());
    source.set("/q", depth(3));
    proxy.set("/q", depth(8));
    let proxy_url = proxy.url("");
    let environment = [
        ("http_proxy", proxy_url.as_str()),
        ("NO_PROXY", ".direct.invalid"),
    ];
    let read_of = async |url: &str| read(&*scaler_with(&environment, &trigger(url))).await;
    assert_eq!(read_of(&source.url("/q")).await, Ok(3.0));
    assert_eq!(read_of("http://stats.shop.invalid:81/q").await, Ok(8.0));
    let error = read_of("http://stats.direct.invalid/q").await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    assert_eq!(proxy.all_requests(), 1);
}

#[tokio::test]
async fn keep_alive_can_be_turned_off() {
    // Counts connections: each answers any number of requests.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/q", listener.local_addr().unwrap());
    let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = accepted.clone();
    let router = axum::Router::new().route("/q", axum::routing::get(async || r#"{"depth":3}"#));
    let counting = axum::serve::ListenerExt::tap_io(listener, move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    tokio::spawn(async move { axum::serve(counting, router).await });
    const READS: usize = 5;
    for (disabled, each_its_own) in [("false", false), ("true", true)] {
        accepted.store(0, std::sync::atomic::Ordering::SeqCst);
        let scaler = scaler_with(
            &[("KEDA_HTTP_DISABLE_KEEP_ALIVE", disabled)],
            &trigger(&url),
        );
        for _ in 0..READS {
            assert_eq!(read(&*scaler).await, Ok(3.0));
        }
        let found = accepted.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(found == READS, each_its_own, "{disabled}: {found}");
    }
}

#[tokio::test]
async fn the_oldest_tls_is_a_setting() {
    let url = tls_1_2_only();
    let trigger = trigger(&url).metadata([("unsafeSsl", "true")]);
    for (oldest, works) in [("TLS12", true), ("TLS13", false)] {
        let environment = [("KEDA_HTTP_MIN_TLS_VERSION", oldest)];
        let found = read(&*scaler_with(&environment, &trigger)).await;
        match found {
            Ok(value) => assert!(works && value == 6.0, "{oldest}"),
            Err(error) => {
                assert!(!works, "{error}");
                assert!(error.to_string().contains("ProtocolVersion"), "{error}");
            }
        }
    }
}

/// A server that speaks nothing newer than TLS 1.2.
fn tls_1_2_only() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["old".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = parameters.self_signed(&key).unwrap().into();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/q", listener.local_addr().unwrap());
    // Ends with the test's process; a thread that waits for connections costs nothing.
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
            let _ = stream.read(&mut [0; 4096]);
            let answer =
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\n{\"depth\":6}";
            let _ = stream.write_all(answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    url
}
