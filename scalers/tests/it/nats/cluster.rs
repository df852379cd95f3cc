//! A cluster: the number is the leader's, whoever that is, and however the servers are found.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use sakidori_scalers::clients::ClientSettings;
use sakidori_scalers::{ScalerError, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Nats;
use serde_json::{Value, json};

use super::{SOON, context_with, read, scaler, trigger, until};

/// The leader's number, through each of the servers.
#[tokio::test]
async fn the_leaders_number_counts_wherever_it_is() {
    let mut nats = Nats::start_cluster().await.unwrap();
    nats.create_stream("APP", "orders", 3).await.unwrap();
    // This one has no replicas: two of the servers know nothing of it.
    nats.create_stream("APP", "lone", 1).await.unwrap();
    nats.publish("APP", "orders", 7).await.unwrap();
    nats.publish("APP", "lone", 3).await.unwrap();
    for server in 0..3 {
        let monitoring = nats.monitoring_of(server);
        until(&*scaler(&trigger(&monitoring, "APP", "orders")), 7.0).await;
        until(&*scaler(&trigger(&monitoring, "APP", "lone")), 3.0).await;
        let missing = trigger(&monitoring, "APP", "bills");
        let error = read(&*scaler(&missing)).await.unwrap_err();
        assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
    }

    // Another leader: the old one says 0 from then on, which must never be read.
    let followed = scaler(&trigger(&nats.monitoring_of(0), "APP", "orders"));
    until(&*followed, 7.0).await;
    let leader = nats.leader("APP", "orders").await.unwrap().unwrap();
    nats.ask(
        "APP",
        "CONSUMER.LEADER.STEPDOWN.orders.worker",
        &Value::Null,
    )
    .await
    .unwrap();
    eventually("election", SOON, async || {
        if let Ok(reading) = read(&*followed).await {
            assert_eq!(reading.value, 7.0);
        }
        let now = nats.leader("APP", "orders").await?;
        Ok(now.filter(|now| *now != leader))
    })
    .await
    .unwrap();
    until(&*followed, 7.0).await;

    // The leader crashes, and another server than it was known by.
    let leader = nats.leader("APP", "orders").await.unwrap().unwrap();
    let known = (leader + 1) % 3;
    let followed = scaler(&trigger(&nats.monitoring_of(known), "APP", "orders"));
    until(&*followed, 7.0).await;
    nats.kill(leader);
    eventually("next leader", SOON, async || {
        let reading = read(&*followed).await?;
        ensure!(reading.value == 7.0, "{reading:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// The settings of a proxy that answers for hosts which no name server knows: with `null` it says that the host is down.
fn proxy(answer: impl Fn(&str) -> Value + Send + 'static) -> ClientSettings {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let asked = line.split(' ').nth(1).unwrap();
            let asked = asked
                .trim_start_matches("http://")
                .split('?')
                .next()
                .unwrap()
                .to_owned();
            while line.trim() != "" {
                line.clear();
                stream.read_line(&mut line).unwrap();
            }
            let (status, body) = match answer(&asked) {
                Value::Null => ("502 Bad Gateway", String::new()),
                answer => ("200 OK", answer.to_string()),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    ClientSettings::from_environment(|name| (name == "HTTP_PROXY").then(|| url.clone())).unwrap()
}

/// Servers that are not advertised, as NATS' Helm chart has them: names that only a cluster's name server knows, so a proxy answers.
#[tokio::test]
async fn servers_that_are_not_advertised_are_found_by_name() {
    static LEADER: AtomicUsize = AtomicUsize::new(2);
    let settings = proxy(|asked| {
        let route = |server: usize| format!("nats-{server}.nats.shop.svc.cluster.local:6222");
        let jsz = |pending: u64| {
            let leader = format!("nats-{}", LEADER.load(Ordering::SeqCst));
            let consumer = json!({"name": "worker", "num_pending": pending, "num_ack_pending": 0, "cluster": {"leader": leader}});
            let stream = json!({"name": "orders", "consumer_detail": [consumer]});
            let account = json!({"id": "APP", "name": "APP", "stream_detail": [stream]});
            json!({"meta_cluster": {"cluster_size": 3}, "account_details": [account]})
        };
        match asked {
            "nats.shop.svc:8222/varz" => {
                let urls: Vec<String> = (0..3).map(route).collect();
                json!({"server_name": "nats-1", "cluster": {"urls": urls}})
            }
            "nats.shop.svc:8222/jsz" | "nats-1.nats.shop.svc:8222/jsz" => jsz(0),
            "nats-2.nats.shop.svc:8222/jsz" => jsz(7),
            // nats-0 is down.
            _ => Value::Null,
        }
    });
    let trigger = trigger("nats.shop.svc:8222", "APP", "orders");
    let scaler = build(&trigger, &context_with(settings)).unwrap();
    assert_eq!(read(&*scaler).await.unwrap().value, 7.0);
    assert_eq!(read(&*scaler).await.unwrap().value, 7.0);
    LEADER.store(1, Ordering::SeqCst);
    assert_eq!(read(&*scaler).await.unwrap().value, 0.0);
    // The one that leads doesn't answer: what the others say is no number.
    LEADER.store(0, Ordering::SeqCst);
    let error = read(&*scaler).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("nats-0.nats.shop.svc")),
        "{error}"
    );
}
