//! The `metrics-api` trigger against a real HTTP server: what it reads, here; its logins and faults in the modules.

mod authentication;
mod faults;
mod settings;
mod tls;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use async_trait::async_trait;
use sakidori_scalers::clients::{ClientSettings, Clients};
use sakidori_scalers::{
    Cluster, ClusterError, Context, Endpoint, Freshness, Pod, Scaler, ScalerError, StoreKind,
    Stored, Trigger, build,
};
use sakidori_test_servers::{Answer, HttpSource};
use serde_json::json;

/// Stands in for a cluster whose one Service has these endpoints.
struct Endpoints(Vec<Endpoint>);

#[async_trait]
impl Cluster for Endpoints {
    async fn pods(&self, _: &str, _: &str) -> Result<Vec<Pod>, ClusterError> {
        Err(ClusterError("no pods here".to_owned()))
    }
    async fn ready_endpoints(
        &self,
        namespace: &str,
        service: &str,
    ) -> Result<Vec<Endpoint>, ClusterError> {
        assert_eq!((namespace, service), ("shop", "stats"));
        Ok(self.0.clone())
    }
    async fn stored(
        &self,
        _: StoreKind,
        _: &str,
        _: &str,
        _: &str,
    ) -> Result<Stored, ClusterError> {
        Err(ClusterError("nothing is stored here".to_owned()))
    }
}

fn context(settings: ClientSettings, endpoints: Vec<Endpoint>) -> Context {
    Context {
        clients: Arc::new(Clients::new(settings)),
        cluster: Arc::new(Endpoints(endpoints)),
    }
}

/// A trigger that reads `depth` of a JSON object.
fn trigger(url: &str) -> Trigger {
    Trigger::new("metrics-api").metadata([
        ("url", url),
        ("valueLocation", "depth"),
        ("targetValue", "5"),
        ("timeout", "2s"),
    ])
}

fn scaler(trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, &context(ClientSettings::default(), Vec::new())).unwrap()
}

async fn read(scaler: &dyn Scaler) -> Result<f64, ScalerError> {
    scaler
        .read(&Freshness::now())
        .await
        .map(|readings| readings[0].value)
}

async fn read_once(trigger: &Trigger) -> Result<f64, ScalerError> {
    read(&*scaler(trigger)).await
}

fn depth(depth: u32) -> Answer {
    Answer::json(&json!({ "depth": depth }))
}

#[tokio::test]
async fn all_formats_are_read() {
    let source = HttpSource::start().unwrap();
    source.set("/json", Answer::json(&json!({"jobs": [{"n": "1.5k"}]})));
    source.set("/yaml", Answer::yaml("jobs:\n  waiting: 7\n"));
    source.set("/xml", Answer::xml("<jobs><waiting>8</waiting></jobs>"));
    source.set(
        "/prometheus",
        Answer::prometheus("# TYPE jobs gauge\njobs{queue=\"a\"} 1\njobs{queue=\"b\"} 9\n"),
    );
    for (format, location, value) in [
        ("json", "jobs.0.n", 1500.0),
        ("yaml", "jobs.waiting", 7.0),
        ("xml", "jobs.waiting", 8.0),
        ("prometheus", "jobs{queue=\"b\"}", 9.0),
    ] {
        let trigger = trigger(&source.url(&format!("/{format}")))
            .metadata([("format", format), ("valueLocation", location)]);
        assert_eq!(read_once(&trigger).await, Ok(value), "{format}");
        // The same answer read as another format is no number, and never zero.
        let wrong = trigger.metadata([("valueLocation", "elsewhere")]);
        let error = read_once(&wrong).await.unwrap_err();
        assert!(matches!(error, ScalerError::Malformed(_)), "{error}");
    }
    // Active above the activation value, not at it.
    for (activation, active) in [("7", false), ("6.9", true)] {
        source.set("/json", depth(7));
        let trigger =
            trigger(&source.url("/json")).metadata([("activationTargetValue", activation)]);
        let reading = scaler(&trigger)
            .read(&Freshness::now())
            .await
            .unwrap()
            .remove(0);
        assert_eq!(reading.active, active, "{activation}");
        assert_eq!(reading.metric, "s0-metric-api-depth");
    }
}

#[tokio::test]
async fn ipv6_addresses_are_read() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        // A machine without IPv6 has nothing to read here.
        return;
    };
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"depth\":6}";
        stream.write_all(answer).unwrap();
    });
    let url = format!("http://[::1]:{port}/q");
    assert_eq!(read_once(&trigger(&url)).await, Ok(6.0));
    let error = read_once(&trigger(&url)).await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("[::1]:{port}")),
        "{error}"
    );
}

#[tokio::test]
async fn the_endpoints_of_a_service_are_put_together() {
    // One port on several loopback addresses, as pods have: the source has 127.0.0.1, the others are relays' addresses.
    let first = HttpSource::start().unwrap();
    first.set("/q", depth(2));
    let address = |address: &str, port: u16| Endpoint {
        address: address.to_owned(),
        ports: vec![port],
    };
    let second = std::net::TcpListener::bind(("127.0.0.3", first.port())).unwrap();
    std::thread::spawn(move || {
        for stream in second.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let answer =
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\n{\"depth\":6}";
            let _ = stream.write_all(answer);
        }
    });
    let both = vec![
        address("127.0.0.1", first.port()),
        address("127.0.0.3", first.port()),
        address("127.0.0.1", first.port()),
    ];
    let url = format!("http://stats.shop.svc:{}/q", first.port());
    let aggregated = |how: &str| {
        trigger(&url).metadata([
            ("aggregateFromKubeServiceEndpoints", "true"),
            ("aggregationType", how),
        ])
    };
    for (how, value) in [("average", 4.0), ("sum", 8.0), ("max", 6.0), ("min", 2.0)] {
        let context = context(ClientSettings::default(), both.clone());
        let scaler = build(&aggregated(how), &context).unwrap();
        assert_eq!(read(&*scaler).await, Ok(value), "{how}");

        // An endpoint that fails never makes the number smaller.
        first.set("/q", Answer::status(500));
        let error = read(&*scaler).await.unwrap_err().to_string();
        assert!(error.starts_with("unreachable"), "{error}");
        assert!(
            error.contains("1 of 2 endpoints of the Service shop/stats failed"),
            "{error}"
        );
        first.set("/q", depth(2));
    }
    let none = build(
        &aggregated("sum"),
        &context(ClientSettings::default(), Vec::new()),
    )
    .unwrap();
    let error = read(&*none).await.unwrap_err();
    assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
}
