//! The HTTP source.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, Tls};
use serde_json::json;

use crate::SOON;

fn client() -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // No pooling: each request shows whether the source is reachable now.
    reqwest::Client::builder().pool_max_idle_per_host(0)
}

#[tokio::test]
async fn answers_are_set_and_requests_counted_per_path() -> Result<()> {
    let source = HttpSource::start()?;
    let client = client().build()?;
    assert_eq!(client.get(source.url("/queue")).send().await?.status(), 404);

    source.set("/queue", Answer::json(&json!({"depth": 7})));
    source.set("/bad", Answer::status(503));
    let body: serde_json::Value = client
        .get(source.url("/queue?of=orders"))
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(body, json!({"depth": 7}));
    assert_eq!(client.get(source.url("/bad")).send().await?.status(), 503);
    assert_eq!(
        (
            source.requests("/queue"),
            source.requests("/bad"),
            source.requests("/never")
        ),
        (2, 1, 0)
    );
    assert_eq!(source.all_requests(), 3);
    assert_eq!(
        source.last("/queue").context("no request")?.query,
        "of=orders"
    );
    Ok(())
}

#[tokio::test]
async fn a_required_header_is_required() -> Result<()> {
    let source = HttpSource::start()?;
    source.set(
        "/",
        Answer::json(&json!(1)).requiring("authorization", "Bearer right"),
    );
    let client = client().build()?;
    assert_eq!(client.get(source.url("/")).send().await?.status(), 401);
    assert_eq!(
        client
            .get(source.url("/"))
            .bearer_auth("wrong")
            .send()
            .await?
            .status(),
        401
    );
    assert_eq!(
        client
            .get(source.url("/"))
            .bearer_auth("right")
            .send()
            .await?
            .status(),
        200
    );
    Ok(())
}

#[tokio::test]
async fn answers_can_be_late_or_never_come() -> Result<()> {
    let source = HttpSource::start()?;
    source.set(
        "/late",
        Answer::json(&json!(1)).after(Duration::from_millis(300)),
    );
    source.set("/hang", Answer::hang());
    let client = client().build()?;
    let start = Instant::now();
    client.get(source.url("/late")).send().await?;
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "{:?}",
        start.elapsed()
    );

    let request = tokio::spawn(client.get(source.url("/hang")).send());
    eventually("request", SOON, async || {
        Ok((source.requests("/hang") == 1).then_some(()))
    })
    .await?;
    source.set("/late", Answer::status(200)); // another path's answer does not wake it
    assert!(!request.is_finished());
    source.set("/hang", Answer::status(204));
    assert_eq!(request.await??.status(), 204);
    Ok(())
}

#[tokio::test]
async fn it_stops_and_runs_again_on_its_port() -> Result<()> {
    let mut source = HttpSource::start()?;
    source.set("/", Answer::json(&json!(1)));
    let client = client().build()?;
    client.get(source.url("/")).send().await?;
    source.stop();
    let refused = client.get(source.url("/")).send().await;
    assert!(
        refused.as_ref().is_err_and(reqwest::Error::is_connect),
        "{refused:?}"
    );
    source.run()?;
    assert_eq!(client.get(source.url("/")).send().await?.status(), 200);
    assert_eq!(source.requests("/"), 2);
    Ok(())
}

#[tokio::test]
async fn a_stop_ends_requests_that_hang() -> Result<()> {
    let mut source = HttpSource::start()?;
    source.set("/hang", Answer::hang());
    let request = tokio::spawn(client().build()?.get(source.url("/hang")).send());
    eventually("request", SOON, async || {
        Ok((source.requests("/hang") == 1).then_some(()))
    })
    .await?;
    tokio::task::spawn_blocking(move || source.stop()).await?;
    assert!(request.await?.is_err());
    Ok(())
}

#[tokio::test]
async fn tls_is_checked_both_ways() -> Result<()> {
    let source = HttpSource::start_with(Tls::Mutual)?;
    source.set("/", Answer::json(&json!(1)));
    let tls = source.tls().context("no TLS")?;
    let authority = reqwest::Certificate::from_pem(tls.ca().as_bytes())?;
    let identity = reqwest::Identity::from_pem(
        format!("{}{}", tls.client.certificate, tls.client.key).as_bytes(),
    )?;

    let stranger = client().build()?;
    assert!(
        stranger.get(source.url("/")).send().await.is_err(),
        "the authority is not a public one"
    );
    let anonymous = client().tls_certs_only([authority.clone()]).build()?;
    assert!(
        anonymous.get(source.url("/")).send().await.is_err(),
        "it wants a client certificate"
    );
    let known = client()
        .tls_certs_only([authority])
        .identity(identity)
        .build()?;
    assert_eq!(known.get(source.url("/")).send().await?.status(), 200);
    Ok(())
}
