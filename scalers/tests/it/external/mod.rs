//! The `external` and `external-push` triggers against a gRPC server in this process.

#[path = "../../../src/external_scaler/protocol.rs"]
mod protocol;
mod push;
mod server;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sakidori_scalers::clients::Clients;
use sakidori_scalers::{Context, Freshness, Reading, Scaler, ScalerError, Trigger, build};
use tonic::{Code, Status};

use crate::no_cluster::NoCluster;
use protocol::{MetricSpec, MetricValue};
use server::{Answers, Server, ServerTls, certificate};

fn context() -> Context {
    Context {
        clients: Arc::new(Clients::default()),
        cluster: Arc::new(NoCluster),
    }
}

fn trigger(kind: &str, address: &str) -> Trigger {
    let mut trigger = Trigger::new(kind).metadata([("scalerAddress", address)]);
    trigger.object = "web".to_owned();
    trigger.namespace = "shop".to_owned();
    trigger.index = 2;
    trigger
}

fn scaler(address: &str) -> Box<dyn Scaler> {
    build(&trigger("external", address), &context()).unwrap()
}

async fn failure(scaler: &dyn Scaler) -> ScalerError {
    scaler.read(&Freshness::now()).await.unwrap_err()
}

#[tokio::test]
async fn metrics_are_named_and_read_by_the_server() {
    let server = Server::start(Answers::metric("orders.open", 5, 12.5)).await;
    let scaler = scaler(&server.address);
    assert_eq!(scaler.metrics(), []);
    scaler.learn_metrics().await.unwrap();
    assert_eq!(scaler.metrics()[0].name, "s2-orders-open");
    assert_eq!(scaler.metrics()[0].target.to_string(), "5");
    let expected = Reading {
        metric: "s2-orders-open".to_owned(),
        value: 12.5,
        active: true,
    };
    assert_eq!(scaler.read(&Freshness::now()).await.unwrap(), [expected]);
    let asked = server.asked();
    assert_eq!((&*asked.name, &*asked.namespace), ("web", "shop"));
    assert_eq!(asked.scaler_metadata["scalerAddress"], server.address);

    // Others are learnt by a read, and hold until others come.
    let mut answers = Answers::metric("orders", 5, 12.5);
    answers.specs.push(MetricSpec {
        metric_name: "claims".to_owned(),
        target_size: 1,
        target_size_float: 2.5,
    });
    server.set(answers.clone());
    assert_eq!(scaler.read(&Freshness::now()).await.unwrap().len(), 2);
    assert_eq!(scaler.metrics()[1].target.to_string(), "2500m");
    answers.specs.clear();
    server.set(answers);
    let error = failure(&*scaler).await;
    assert!(
        matches!(&error, ScalerError::Malformed(text) if text.contains("got empty metric spec")),
        "{error}"
    );
    assert_eq!(scaler.metrics().len(), 2);
}

#[tokio::test]
async fn what_is_no_number_is_malformed() {
    let server = Server::start(Answers::metric("orders", 5, f64::NAN)).await;
    let scaler = scaler(&server.address);
    let error = failure(&*scaler).await;
    let expected = format!(
        "malformed answer: GetMetrics at {}: metric \"orders\": it gave NaN: expected a number",
        server.address
    );
    assert_eq!(error.to_string(), expected);
    let mut none = Answers::metric("orders", 5, 0.0);
    none.values.clear();
    server.set(none);
    let error = failure(&*scaler).await.to_string();
    assert!(error.contains("it gave no value"), "{error}");
}

#[tokio::test]
async fn a_status_says_what_to_do_and_tells_no_secret() {
    let server = Server::start(Answers::default()).await;
    let trigger = trigger("external", &server.address)
        .metadata([("tokenFromEnv", "TOKEN")])
        .environment([("TOKEN", "hunter2")]);
    let scaler = build(&trigger, &context()).unwrap();
    type Is = fn(&ScalerError) -> bool;
    let cases: [(Code, Is); 5] = [
        (Code::Unauthenticated, |it| {
            matches!(it, ScalerError::Unauthorized(_))
        }),
        (Code::NotFound, |it| matches!(it, ScalerError::NotFound(_))),
        (Code::Unavailable, |it| {
            matches!(it, ScalerError::Unreachable(_))
        }),
        (Code::ResourceExhausted, |it| {
            matches!(it, ScalerError::RateLimited { .. })
        }),
        (Code::Internal, |it| matches!(it, ScalerError::Malformed(_))),
    ];
    for (code, expected) in cases {
        server.set(Answers {
            failure: Some(Status::new(code, "no such token: hunter2")),
            ..Answers::default()
        });
        let error = failure(&*scaler).await;
        assert!(expected(&error), "{code:?}: {error:?}");
        let text = error.to_string();
        assert!(text.ends_with("no such token: ***"), "{text}");
        assert!(text.contains(&server.address), "{text}");
    }
    assert_eq!(server.asked().scaler_metadata["tokenFromEnv"], "hunter2");
}

#[tokio::test]
async fn tls_is_checked_and_a_client_certificate_shown() {
    let (authority, identity) = certificate("127.0.0.1");
    let answers = Answers::metric("orders", 5, 1.0);
    let tls = |clients: Option<String>| ServerTls {
        identity: identity.clone(),
        clients,
    };
    let server = Server::start_with(answers.clone(), Some(tls(None))).await;
    let ca = [("caCert", authority.certificate())];
    let enabled = [("enableTLS", "true")];
    let read = async |trigger: Trigger| {
        let read = build(&trigger, &context())
            .unwrap()
            .read(&Freshness::now())
            .await;
        read.map(|readings| readings[0].value)
    };
    let plain = || trigger("external", &server.address);
    assert_eq!(read(plain().authentication(ca)).await, Ok(1.0));
    let unsafe_ssl = plain().metadata(enabled).metadata([("unsafeSsl", "true")]);
    assert_eq!(read(unsafe_ssl).await, Ok(1.0));
    let (other, _) = certificate("127.0.0.1");
    for refused in [
        plain().metadata(enabled),
        plain().authentication([("caCert", other.certificate())]),
    ] {
        let error = read(refused).await.unwrap_err();
        assert!(
            matches!(&error, ScalerError::Unreachable(text) if text.contains("certificate")),
            "{error}"
        );
    }
    // Plain text on a port for TLS, and the other way round.
    assert!(matches!(
        read(plain()).await,
        Err(ScalerError::Unreachable(_))
    ));

    let clients = Some(authority.certificate().to_owned());
    let mutual = Server::start_with(answers.clone(), Some(tls(clients))).await;
    let anonymous = trigger("external", &mutual.address).authentication(ca);
    let error = read(anonymous.clone()).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    let client = authority.issue("client", &[], &[]).unwrap();
    let known = anonymous.authentication([
        ("tlsClientCert", client.certificate.as_str()),
        ("tlsClientKey", client.key.as_str()),
    ]);
    assert_eq!(read(known).await, Ok(1.0));

    let plain_text = Server::start(answers).await;
    let wanted = trigger("external", &plain_text.address).authentication(ca);
    assert!(matches!(
        read(wanted).await,
        Err(ScalerError::Unreachable(_))
    ));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let (authority, identity) = certificate("scaler.example");
    let tls = ServerTls {
        identity,
        clients: None,
    };
    let server = Server::start_with(Answers::metric("orders", 5, 1.0), Some(tls)).await;
    let trigger =
        trigger("external", &server.address).authentication([("caCert", authority.certificate())]);
    let error = failure(&*build(&trigger, &context()).unwrap()).await;
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("not valid for name")),
        "{error}"
    );
    // It is the name that is refused.
    let insecure = build(&trigger.metadata([("unsafeSsl", "true")]), &context()).unwrap();
    assert_eq!(
        insecure.read(&Freshness::now()).await.unwrap()[0].value,
        1.0
    );
}

#[test]
fn unusable_tls_parameters_are_named() {
    let trigger = trigger("external", "localhost:1").authentication([
        ("caCert", "hunter2"),
        ("tlsClientCert", "x"),
        ("tlsClientKey", "y"),
    ]);
    let error = build(&trigger, &context()).err().unwrap().to_string();
    assert_eq!(error, "caCert holds no certificate: expected PEM");
}

#[tokio::test]
async fn triggers_of_one_server_share_a_connection_which_failures_leave() {
    let server = Server::start(Answers::metric("orders", 5, 1.0)).await;
    let context = context();
    let mut scalers = Vec::new();
    for index in 0..20 {
        let mut trigger = trigger("external", &server.address);
        trigger.index = index;
        scalers.push(build(&trigger, &context).unwrap());
    }
    for failure in [None, Some(Status::internal("broken")), None] {
        server.set(Answers {
            failure: failure.clone(),
            ..Answers::metric("orders", 5, 1.0)
        });
        for scaler in &scalers {
            assert_eq!(
                scaler.read(&Freshness::now()).await.is_err(),
                failure.is_some()
            );
        }
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_server_that_is_away_is_unreachable_and_found_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let scaler = scaler(&address);
    let error = failure(&*scaler).await.to_string();
    assert!(
        error.starts_with(&format!("unreachable: GetMetricSpec at {address}: ")),
        "{error}"
    );
    assert!(error.contains("Connection refused"), "{error}");
    let listener = TcpListener::bind(&address).unwrap();
    std::thread::spawn(move || {
        // Not a gRPC server, but one that speaks.
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    let error = failure(&*scaler).await;
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let mut answers = Answers::metric("orders", 5, 1.0);
    answers.values = vec![
        MetricValue {
            metric_name: "x".repeat(1000),
            metric_value: 1,
            metric_value_float: 0.0,
        };
        2000
    ];
    let server = Server::start(answers).await;
    let scaler = scaler(&server.address);
    let error = failure(&*scaler).await.to_string();
    assert!(error.contains("too large"), "{error}");
    // The connection is sound.
    server.set(Answers::metric("orders", 5, 1.0));
    assert_eq!(scaler.read(&Freshness::now()).await.unwrap()[0].value, 1.0);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_asked_on_another_connection() {
    let hanging = Answers {
        hang: true,
        ..Answers::default()
    };
    let server = Server::start(hanging).await;
    let scaler = scaler(&server.address);
    let started = Instant::now();
    let error = scaler.learn_metrics().await.unwrap_err().to_string();
    assert!(error.contains("no answer within 2s"), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    // Who prepares an object does not wait for it again at once; who polls does.
    let started = Instant::now();
    let error = scaler.learn_metrics().await.unwrap_err().to_string();
    assert!(
        error.contains("unanswered") && started.elapsed() < Duration::from_secs(1),
        "{error}"
    );
    server.set(Answers::metric("orders", 5, 1.0));
    assert_eq!(scaler.read(&Freshness::now()).await.unwrap()[0].value, 1.0);
    assert_eq!(server.connections(), 2);
    scaler.learn_metrics().await.unwrap();
}
