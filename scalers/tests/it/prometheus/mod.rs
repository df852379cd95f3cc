//! The `prometheus` trigger against a real Prometheus: what it reads and how it asks, here; logins, faults and signatures in the
//! modules.

mod faults;
mod login;
#[cfg(feature = "aws")]
mod signature;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_scalers::clients::Clients;
use sakidori_scalers::{Context, Freshness, Scaler, ScalerError, Trigger, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, Prometheus, PrometheusOptions};
use serde_json::json;

use crate::no_cluster::NoCluster;

const SOON: Duration = Duration::from_secs(30);
const API: &str = "/api/v1/query";

fn context() -> Context {
    Context {
        clients: Arc::new(Clients::default()),
        cluster: Arc::new(NoCluster),
    }
}

/// A trigger that asks a server for this.
fn trigger(address: &str, query: &str) -> Trigger {
    Trigger::new("prometheus").metadata([
        ("serverAddress", address),
        ("query", query),
        ("threshold", "5"),
        ("timeout", "2s"),
    ])
}

fn scaler(trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, &context()).unwrap()
}

async fn read(scaler: &dyn Scaler) -> Result<f64, ScalerError> {
    let readings = scaler.read(&Freshness::now()).await?;
    Ok(readings[0].value)
}

async fn read_once(trigger: &Trigger) -> Result<f64, ScalerError> {
    read(&*scaler(trigger)).await
}

/// Waits until it reads this.
async fn reads(scaler: &dyn Scaler, value: f64) -> Result<()> {
    eventually(&format!("reading of {value}"), SOON, async || {
        let found = read(scaler).await?;
        ensure!(found == value, "it reads {found}");
        Ok(Some(()))
    })
    .await
}

/// What Prometheus answers to a query with one element.
fn one(value: &str) -> Answer {
    Answer::json(&json!({
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, value]}]},
    }))
}

#[tokio::test]
async fn a_scraped_number_is_read() -> Result<()> {
    let server = Prometheus::start(PrometheusOptions::default()).await?;
    let waiting = trigger(&server.url(), "sum(waiting)").metadata([("activationThreshold", "7")]);
    let waiting = scaler(&waiting);
    for (value, active) in [(7.0, false), (7.25, true), (0.0, false)] {
        server.set_waiting(value);
        reads(&*waiting, value).await?;
        let reading = waiting.read(&Freshness::now()).await?.remove(0);
        assert_eq!(reading.metric, "s0-prometheus");
        assert_eq!(reading.active, active, "{value}");
    }
    Ok(())
}

#[tokio::test]
async fn what_queries_give() -> Result<()> {
    let server = Prometheus::start(PrometheusOptions::default()).await?;
    for (query, ignored, strict) in [
        ("vector(7.5)", Ok(7.5), Ok(7.5)),
        ("-vector(7)", Ok(-7.0), Ok(-7.0)),
        ("scalar(vector(3))", Ok(3.0), Ok(3.0)),
        ("4", Ok(4.0), Ok(4.0)),
        (
            "vector(1) > 2",
            Ok(0.0),
            Err(
                "not found: 127.0.0.1:PORT: prometheus metrics 'prometheus' target may be lost, the result is empty: query vector(1) > 2",
            ),
        ),
        ("vector(1)/0", Ok(0.0), Err("prometheus query returns +Inf")),
        (
            "-vector(1)/0",
            Ok(0.0),
            Err("prometheus query returns -Inf"),
        ),
        ("vector(0)/0", Ok(0.0), Err("prometheus query returns NaN")),
        (
            "scalar(vector(1) > 2)",
            Ok(0.0),
            Err("prometheus query returns NaN"),
        ),
    ] {
        let ignoring = trigger(&server.url(), query);
        assert_eq!(read_once(&ignoring).await, ignored, "{query}");
        let found = read_once(&ignoring.metadata([("ignoreNullValues", "false")])).await;
        match (found, strict) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{query}"),
            (Err(error), Err(part)) => {
                let part = part.replace("PORT", &server.port().to_string());
                assert!(error.to_string().contains(&part), "{query}: {error}");
            }
            (found, _) => panic!("{query}: {found:?}"),
        }
    }
    for (query, part) in [
        (
            "vector(1) or label_replace(vector(2), \"a\", \"b\", \"\", \"\")",
            "returned multiple elements: 2, expected one",
        ),
        ("up[5m]", "range vector"),
        ("\"text\"", "gives a text"),
        (
            "sum(",
            "prometheus query api returned error. status: 400: invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis",
        ),
    ] {
        for ignore in ["true", "false"] {
            let refused = trigger(&server.url(), query).metadata([("ignoreNullValues", ignore)]);
            let error = read_once(&refused).await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, ScalerError::Malformed(_)), "{text}");
            assert!(text.contains(part), "{query}: {text}");
            assert!(
                text.contains(&format!("127.0.0.1:{}", server.port())),
                "{text}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_server_may_be_under_a_path() -> Result<()> {
    let options = PrometheusOptions {
        path: "/team/a",
        ..PrometheusOptions::default()
    };
    let server = Prometheus::start(options).await?;
    assert_eq!(
        read_once(&trigger(&server.url(), "vector(2)")).await,
        Ok(2.0)
    );
    // Two slashes: the server redirects to where there is one.
    let slash = trigger(&format!("{}/", server.url()), "vector(2)");
    assert_eq!(read_once(&slash).await, Ok(2.0));
    let elsewhere = format!("http://127.0.0.1:{}/team/b", server.port());
    let error = read_once(&trigger(&elsewhere, "vector(2)"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ScalerError::NotFound(text) if text.contains("status: 404")),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn requests_are_kedas() {
    let source = HttpSource::start().unwrap();
    source.set(API, one("3"));
    let asking = trigger(&source.url(""), "sum(a{b=\"c d\"})").metadata([
        ("namespace", "shop"),
        ("queryParameters", "first=foo, second=b&r"),
        (
            "customHeaders",
            "X-Client-Id=cid, X-Tenant-Id = tid,Host=other,Authorization=Token t",
        ),
    ]);
    let before = jiff::Timestamp::now().as_second();
    assert_eq!(read_once(&asking).await, Ok(3.0));
    let after = jiff::Timestamp::now().as_second();
    let received = source.last(API).unwrap();
    assert_eq!(received.method, "GET");
    assert_eq!(received.headers["x-client-id"], "cid");
    assert_eq!(received.headers["x-tenant-id"], "tid");
    assert_eq!(received.headers["authorization"], "Token t");
    assert_eq!(
        received.headers["host"],
        format!("127.0.0.1:{}", source.port())
    );
    let (start, rest) = received.query.split_once("&time=").unwrap();
    let (time, end) = rest.split_once('&').unwrap();
    assert_eq!(start, "query=sum%28a%7Bb%3D%22c%20d%22%7D%29");
    assert_eq!(end, "namespace=shop&first=foo&second=b%26r");
    let time: jiff::Timestamp = time.parse().unwrap();
    assert!((before..=after).contains(&time.as_second()), "{time}");
    assert_eq!(time.subsec_nanosecond(), 0);
    // A login goes before a header of the same name.
    let both = asking
        .metadata([("authModes", "bearer")])
        .authentication([("bearerToken", "tooken")]);
    assert_eq!(read_once(&both).await, Ok(3.0));
    let received = source.last(API).unwrap();
    let sent: Vec<_> = received.headers.get_all("authorization").iter().collect();
    assert_eq!(sent, ["Bearer tooken"]);
}

#[tokio::test]
async fn the_same_query_is_asked_once() {
    let source = HttpSource::start().unwrap();
    source.set(API, one("3").after(Duration::from_millis(100)));
    let context = context();
    let asking = |threshold: usize, query: &str, headers: &str| {
        let threshold = threshold.to_string();
        let trigger = trigger(&source.url(""), query).metadata([
            ("threshold", threshold.as_str()),
            ("customHeaders", headers),
        ]);
        build(&trigger, &context).unwrap()
    };
    let all: Vec<_> = (1..=500)
        .map(|number| asking(number, "up", "A=b"))
        .collect();
    let read_all = async || {
        let reads = all.iter().map(async |scaler| {
            let within = Freshness::within(Duration::from_secs(60));
            scaler.read(&within).await.unwrap()[0].value
        });
        assert_eq!(futures::future::join_all(reads).await, [3.0; 500]);
    };
    read_all().await;
    read_all().await;
    assert_eq!(source.requests(API), 1);
    // Another query, and another tenant, are other questions; nothing is remembered of failures.
    for (query, headers) in [("down", "A=b"), ("up", "A=c")] {
        let other = asking(1, query, headers);
        assert_eq!(read(&*other).await, Ok(3.0));
    }
    assert_eq!(source.requests(API), 3);
    source.set(API, Answer::status(503));
    for _ in 0..2 {
        assert!(read(&*all[0]).await.is_err());
    }
    assert_eq!(source.requests(API), 5);
}

#[tokio::test]
async fn five_hundred_triggers_share_a_few_connections() {
    let source = HttpSource::start().unwrap();
    source.set(API, one("3"));
    let context = context();
    let all: Vec<_> = (0..500)
        .map(|number| {
            let query = format!("waiting_{number}");
            build(&trigger(&source.url(""), &query), &context).unwrap()
        })
        .collect();
    for scaler in &all {
        assert_eq!(read(&**scaler).await, Ok(3.0));
    }
    assert_eq!(source.requests(API), 500);
    let open = crate::bystanders::connections_to(source.port());
    assert!(open <= 3, "{open} connections");
}
