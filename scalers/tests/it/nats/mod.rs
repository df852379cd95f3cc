//! The `nats-jetstream` trigger against real NATS servers: what it reads, here; clusters and faults in the modules.

mod cluster;
mod faults;

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use sakidori_scalers::clients::{ClientSettings, Clients};
use sakidori_scalers::{Context, Freshness, Reading, Scaler, ScalerError, Trigger, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Nats;

use crate::bystanders::connections_to;
use crate::no_cluster::NoCluster;

const SOON: Duration = Duration::from_secs(20);

fn context() -> Context {
    context_with(ClientSettings::default())
}

fn context_with(settings: ClientSettings) -> Context {
    Context {
        clients: Arc::new(Clients::new(settings)),
        cluster: Arc::new(NoCluster),
    }
}

fn trigger(monitoring: &str, account: &str, stream: &str) -> Trigger {
    Trigger::new("nats-jetstream").metadata([
        ("natsServerMonitoringEndpoint", monitoring),
        ("account", account),
        ("stream", stream),
        ("consumer", "worker"),
    ])
}

fn scaler(trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, &context()).unwrap()
}

async fn read(scaler: &dyn Scaler) -> Result<Reading, ScalerError> {
    let readings = scaler.read(&Freshness::now()).await?;
    assert_eq!(readings.len(), 1);
    Ok(readings.into_iter().next().unwrap())
}

/// Waits for a value: a stream tells its consumers a moment after it has a message.
async fn until(scaler: &dyn Scaler, value: f64) -> Reading {
    let read = eventually("value", SOON, async || {
        let reading = read(scaler).await?;
        ensure!(reading.value == value, "{reading:?}, not {value}");
        Ok(Some(reading))
    });
    read.await.unwrap()
}

#[tokio::test]
async fn what_waits_for_a_consumer_is_counted() {
    let nats = Nats::start().await.unwrap();
    let scaler = scaler(
        &trigger(&nats.monitoring(), "APP", "orders")
            .metadata([("lagThreshold", "20"), ("activationLagThreshold", "4")]),
    );
    let metric = &scaler.metrics()[0];
    assert_eq!(metric.name, "s0-nats-jetstream-orders");
    assert_eq!(metric.target.to_string(), "20");

    let missing = read(&*scaler).await.unwrap_err().to_string();
    assert!(
        missing.starts_with("not found") && missing.contains("\"orders\""),
        "{missing}"
    );
    nats.create_stream("APP", "orders", 1).await.unwrap();
    let reading = until(&*scaler, 0.0).await;
    assert_eq!(reading.metric, metric.name);
    assert!(!reading.active);

    nats.publish("APP", "orders", 4).await.unwrap();
    assert!(!until(&*scaler, 4.0).await.active, "4 is not above 4");
    nats.publish("APP", "orders", 3).await.unwrap();
    assert!(until(&*scaler, 7.0).await.active);
    // Delivered and not acknowledged still counts.
    nats.take("APP", "orders", 2, false).await.unwrap();
    until(&*scaler, 7.0).await;
    nats.take("APP", "orders", 3, true).await.unwrap();
    until(&*scaler, 4.0).await;

    // Another consumer of the same stream has all before it; another account has a stream of that name of its own.
    nats.create_consumer("APP", "orders", "late").await.unwrap();
    let late = trigger(&nats.monitoring(), "APP", "orders").metadata([("consumer", "late")]);
    until(&*self::scaler(&late), 7.0).await;
    nats.create_stream("OTHER", "orders", 1).await.unwrap();
    let other = trigger(&nats.monitoring(), "OTHER", "orders");
    until(&*self::scaler(&other), 0.0).await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let nats = Nats::start().await.unwrap();
    nats.create_stream("APP", "orders", 1).await.unwrap();
    let consumer = ("consumer", "nobody");
    for (trigger, expected) in [
        (
            trigger(&nats.monitoring(), "NONE", "orders"),
            "no account \"NONE\" with JetStream",
        ),
        (
            trigger(&nats.monitoring(), "OTHER", "orders"),
            "stream \"orders\" not found in account \"OTHER\"",
        ),
        (
            trigger(&nats.monitoring(), "APP", "bills"),
            "stream \"bills\" not found in account \"APP\"",
        ),
        (
            trigger(&nats.monitoring(), "APP", "orders").metadata([consumer]),
            "consumer \"nobody\" not found in stream \"orders\"",
        ),
    ] {
        let error = read(&*scaler(&trigger)).await.unwrap_err();
        assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
        let error = error.to_string();
        let place = format!("NATS at {}", nats.monitoring());
        assert!(
            error.contains(expected) && error.contains(&place),
            "{error}"
        );
    }

    // What is deleted is missing, too: the last count stands for nothing.
    let scaler = scaler(&trigger(&nats.monitoring(), "APP", "orders"));
    nats.publish("APP", "orders", 3).await.unwrap();
    until(&*scaler, 3.0).await;
    let question = serde_json::Value::Null;
    let deleted = nats.ask("APP", "STREAM.DELETE.orders", &question);
    deleted.await.unwrap();
    let gone = eventually("error", SOON, async || Ok(read(&*scaler).await.err()));
    let gone = gone.await.unwrap();
    assert!(matches!(gone, ScalerError::NotFound(_)), "{gone}");
}

#[tokio::test]
async fn five_hundred_triggers_ask_once_over_one_connection() {
    let nats = Nats::start().await.unwrap();
    nats.create_stream("APP", "orders", 1).await.unwrap();
    nats.publish("APP", "orders", 3).await.unwrap();
    let context = context();
    let scalers: Vec<_> = (0..500)
        .map(|number| {
            let threshold = (number + 1).to_string();
            let trigger = trigger(&nats.monitoring(), "APP", "orders")
                .metadata([("lagThreshold", threshold.as_str())]);
            build(&trigger, &context).unwrap()
        })
        .collect();
    until(&*scalers[0], 3.0).await;
    let before = nats.asked().await.unwrap();
    let interval = Duration::from_secs(30);
    for _ in 0..2 {
        let all = scalers.iter().map(|scaler| async move {
            let freshness = Freshness::within(interval);
            scaler.read(&freshness).await.unwrap()[0].value
        });
        let values = futures::future::join_all(all).await;
        assert!(values.iter().all(|value| *value == 3.0));
    }
    assert!(nats.asked().await.unwrap() - before <= 1);
    let open = connections_to(nats.monitoring_port());
    assert!(open <= 2, "{open} connections");
}
