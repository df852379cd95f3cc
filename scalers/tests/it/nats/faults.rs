//! What a NATS server does wrong, what a reading says then, and that nothing of it stays open.

use std::time::{Duration, Instant};

use sakidori_scalers::ScalerError;
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, Nats};
use serde_json::json;

use super::{SOON, read, scaler, trigger, until};
use crate::bystanders::{canned, connections_to, failing_polls, nobody, tasks};

/// The time for an answer, and some more.
const BOUNDED: Duration = Duration::from_secs(6);

/// Reads once and expects an error of a kind that names the server.
async fn fails(monitoring: &str, kind: &str, shown: &str) {
    let asked = Instant::now();
    let scaler = scaler(&trigger(monitoring, "APP", "orders"));
    let error = read(&*scaler).await.unwrap_err().to_string();
    assert!(
        error.starts_with(kind) && error.contains(shown) && error.contains(monitoring),
        "{kind}, {shown}: {error}"
    );
    assert!(asked.elapsed() < BOUNDED, "{:?}: {error}", asked.elapsed());
}

#[tokio::test]
async fn faults_are_told_apart() {
    let at = |port: u16| format!("127.0.0.1:{port}");
    fails(&at(nobody()), "unreachable", "refused").await;
    fails(&at(canned(b"")), "unreachable", "no complete answer").await;
    fails(&at(canned(b"SSH-2.0-OpenSSH_9.2\r\n")), "unreachable", "").await;
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"account_details\":";
    fails(&at(canned(half)), "unreachable", "no complete answer").await;

    let source = HttpSource::start().unwrap();
    let monitoring = at(source.port());
    let lag = |consumer: serde_json::Value| {
        let stream = json!({"name": "orders", "consumer_detail": [consumer]});
        Answer::json(&json!({"account_details": [{"id": "APP", "stream_detail": [stream]}]}))
    };
    for (answer, kind, shown) in [
        (Answer::status(401), "unauthorized", "401"),
        (Answer::status(403), "unauthorized", "403"),
        (Answer::status(404), "not found", "404"),
        (Answer::status(500), "unreachable", "500"),
        (
            Answer::new("text/html", "<html>"),
            "malformed",
            "no /jsz of NATS",
        ),
        (
            Answer::new("text/plain", "null"),
            "malformed",
            "no /jsz of NATS",
        ),
        (Answer::json(&json!({})), "not found", "no account \"APP\""),
        (
            Answer::json(&json!({"disabled": true})),
            "not found",
            "JetStream is not enabled",
        ),
        (
            lag(json!({"name": "worker", "num_ack_pending": 0})),
            "malformed",
            "consumer \"worker\" has no num_pending",
        ),
        (
            lag(json!({"name": "worker", "num_pending": "7", "num_ack_pending": 0})),
            "malformed",
            "no /jsz of NATS",
        ),
        (
            Answer::json(&json!({"meta_cluster": {"cluster_size": 3}})),
            // The cluster's servers are asked for next, and this one has no such page.
            "not found",
            "404",
        ),
        (
            Answer::new("application/json", " ".repeat(11 * 1024 * 1024)),
            "malformed",
            "larger than 10 MiB",
        ),
    ] {
        source.set("/jsz", answer);
        fails(&monitoring, kind, shown).await;
    }
    let alone = Answer::json(&json!({"meta_cluster": {"cluster_size": 3}}));
    source.set("/jsz", alone);
    source.set("/varz", Answer::json(&json!({"server_name": "n"})));
    fails(&monitoring, "malformed", "leader node not found").await;
    source.set(
        "/jsz",
        lag(json!({"name": "worker", "num_pending": 5, "num_ack_pending": 2})),
    );
    let scaler = scaler(&trigger(&monitoring, "APP", "orders"));
    assert_eq!(read(&*scaler).await.unwrap().value, 7.0);
}

#[tokio::test]
async fn a_server_that_was_away_is_read_again() {
    let mut nats = Nats::start().await.unwrap();
    nats.create_stream("APP", "orders", 1).await.unwrap();
    nats.publish("APP", "orders", 3).await.unwrap();
    let scaler = scaler(&trigger(&nats.monitoring(), "APP", "orders"));
    until(&*scaler, 3.0).await;
    nats.kill(0);
    let error = read(&*scaler).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    nats.restart(0).await.unwrap();
    until(&*scaler, 3.0).await;

    nats.pause(0);
    let asked = Instant::now();
    let error = read(&*scaler).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("no complete answer within 3000 ms")),
        "{error}"
    );
    assert!(asked.elapsed() < BOUNDED);
    nats.resume(0);
    until(&*scaler, 3.0).await;
}

#[tokio::test]
async fn one_thousand_failing_polls_leave_nothing_behind() {
    let mut nats = Nats::start().await.unwrap();
    let port = nats.monitoring_port();
    let scaler = scaler(&trigger(&nats.monitoring(), "APP", "orders"));
    failing_polls(&*scaler, 1).await;
    let before = tasks();
    failing_polls(&*scaler, 500).await;
    nats.kill(0);
    failing_polls(&*scaler, 500).await;
    eventually("end of connections and tasks", SOON, async || {
        let (open, alive) = (connections_to(port), tasks());
        anyhow::ensure!(
            open <= 1 && alive <= before,
            "{open} connections, {alive} tasks, {before} before"
        );
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// Its authority has to be one of the system's: that is set in a process of its own.
#[tokio::test]
async fn https_wants_a_certificate_of_a_known_authority() {
    const ALONE: &str = "SAKIDORI_TEST_ALONE_NATS";
    let https =
        |nats: &Nats| trigger(&nats.monitoring(), "APP", "orders").metadata([("useHttps", "true")]);
    if let Ok(monitoring) = std::env::var(ALONE) {
        let trigger = trigger(&monitoring, "APP", "orders").metadata([("useHttps", "true")]);
        until(&*scaler(&trigger), 3.0).await;
        return;
    }
    let nats = Nats::start_https(&["127.0.0.1"]).await.unwrap();
    nats.create_stream("APP", "orders", 1).await.unwrap();
    nats.publish("APP", "orders", 3).await.unwrap();
    let error = read(&*scaler(&https(&nats))).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("certificate") && text.contains("UnknownIssuer")),
        "{error}"
    );
    let plain = scaler(&trigger(&nats.monitoring(), "APP", "orders"));
    assert!(read(&*plain).await.is_err());

    let authority = std::env::temp_dir().join(format!("sakidori-nats-{}", std::process::id()));
    std::fs::write(&authority, nats.tls().unwrap().ca()).unwrap();
    let alone = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "nats::faults::https_wants_a_certificate_of_a_known_authority",
        ])
        .env(ALONE, nats.monitoring())
        .env("SSL_CERT_FILE", &authority)
        .output()
        .await
        .unwrap();
    std::fs::remove_file(&authority).unwrap();
    let output = String::from_utf8_lossy(&alone.stdout).into_owned();
    assert!(alone.status.success(), "{output}");

    let elsewhere = Nats::start_https(&["nats.shop.svc"]).await.unwrap();
    let error = read(&*scaler(&https(&elsewhere))).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("certificate")),
        "{error}"
    );
}
