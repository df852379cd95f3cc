//! What is said on a connection, and how connections begin and end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use sakidori_test_cluster::pki::Authority;
use serde_json::json;

use crate::bench::{Bench, Caller, METRIC, refused, serving_certificate};

pub async fn requests_that_make_no_sense_are_refused(bench: &Bench) -> Result<()> {
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    let root = [
        ("X-Remote-User", "root"),
        ("X-Remote-Group", "system:masters"),
    ];
    for path in [
        "/",
        "/metrics",
        "/apis/custom.metrics.k8s.io",
        "/apis/external.metrics.k8s.io/v1beta1/s0-rabbitmq-orders",
    ] {
        refused(&proxy.get(path, &root).await?, 404, "NotFound")
            .with_context(|| path.to_owned())?;
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        refused(
            &proxy.send(method, METRIC, &root).await?,
            405,
            "MethodNotAllowed",
        )?;
    }
    let protobuf = [
        root[0],
        root[1],
        ("Accept", "application/vnd.kubernetes.protobuf"),
    ];
    for path in [METRIC, "/apis", "/openapi/v2"] {
        refused(&proxy.get(path, &protobuf).await?, 406, "NotAcceptable")?;
    }
    let fallback = [
        root[0],
        root[1],
        (
            "Accept",
            "application/vnd.kubernetes.protobuf,application/json",
        ),
    ];
    let (code, list) = proxy.get(METRIC, &fallback).await?;
    ensure!(
        code == 200 && list["kind"] == "ExternalMetricValueList",
        "{code}: {list}"
    );
    let set = METRIC.replace("%3D", "%20notin%20(a)%2Cb%3D");
    let message = refused(&proxy.get(&set, &root).await?, 400, "BadRequest")?;
    ensure!(message.contains("by equality only"), "{message}");
    let long = "x".repeat(100_000);
    let large = [root[0], root[1], ("X-Long", long.as_str())];
    match proxy.get(METRIC, &large).await {
        Ok((code, _)) => ensure!(code == 431, "100 kB of headers were taken: {code}"),
        // The server may also end the stream.
        Err(error) => ensure!(!format!("{error:#}").contains("timed out"), "{error:#}"),
    }
    Ok(())
}

pub async fn plain_http_and_silence_get_nowhere(bench: &Bench) -> Result<()> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    if let Ok(answer) = http
        .get(format!("http://127.0.0.1:{}/healthz", bench.port))
        .send()
        .await
    {
        bail!("plain HTTP was answered: {}", answer.status());
    }
    // Connections that say nothing don't keep others out.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(("127.0.0.1", bench.port)).await?);
    }
    let (code, _) = bench.caller(None)?.get("/healthz", &[]).await?;
    assert_eq!(code, 200);
    Ok(())
}

pub async fn the_certificate_is_replaced_without_a_restart(bench: &Bench) -> Result<()> {
    let before = bench.caller(None)?;
    before.get("/healthz", &[]).await?;
    let next = Authority::new("serving-2")?;
    let Err(error) = bench.certificate.replace(&{
        let mut mismatched = serving_certificate(&next)?;
        mismatched.key_pem = serving_certificate(&next)?.key_pem;
        mismatched
    }) else {
        bail!("a certificate was taken with another's key");
    };
    ensure!(error.to_string().contains("can't be used"), "{error}");
    bench.certificate.replace(&serving_certificate(&next)?)?;
    // Connections go on; new ones see the new certificate, and only that.
    assert_eq!(before.get("/healthz", &[]).await?.0, 200);
    let after = Caller::trusting(&next, bench.port, None)?;
    assert_eq!(after.get("/healthz", &[]).await?.0, 200);
    if bench.caller(None)?.get("/healthz", &[]).await.is_ok() {
        bail!("a new connection still sees the old certificate");
    }
    bench
        .certificate
        .replace(&serving_certificate(&bench.authority)?)?;
    assert_eq!(bench.caller(None)?.get("/healthz", &[]).await?.0, 200);
    Ok(())
}

pub async fn shutdown_ends_it_at_once(bench: Bench) -> Result<()> {
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    let slow = tokio::spawn(async move {
        let path = METRIC.replace("s0-rabbitmq-orders", "slow");
        proxy
            .get(
                &path,
                &[
                    ("X-Remote-User", "root"),
                    ("X-Remote-Group", "system:masters"),
                ],
            )
            .await
    });
    bench.slow_read.notified().await;
    // A connection that never ends by itself.
    let idle = tokio::net::TcpStream::connect(("127.0.0.1", bench.port)).await?;
    let asked = Instant::now();
    bench.shutdown.cancel();
    bench.serving.await??;
    let took = asked.elapsed();
    ensure!(took < Duration::from_secs(4), "it took {took:?}");
    drop(idle);
    // The request under way got its answer.
    let (code, list) = slow.await??;
    ensure!(code == 200 && list["items"] == json!([]), "{code}: {list}");
    if tokio::net::TcpStream::connect(("127.0.0.1", bench.port))
        .await
        .is_ok()
    {
        bail!("the port is still open");
    }
    Ok(())
}
