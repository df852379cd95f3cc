//! The trigger types of Redis against real servers: what they read, what they say when they can't, and how they come back.

mod cluster;
mod faults;
mod lists;
mod sentinel;
mod streams;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use sakidori_scalers::clients::Clients;
use sakidori_scalers::{Context, Freshness, Reading, Scaler, ScalerError, Trigger, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Redis;

use crate::no_cluster::NoCluster;

/// Longer than any back-off, and than a failover.
const SOON: Duration = Duration::from_secs(60);

/// In each error's text, this would be a secret told.
const PASSWORD: &str = Redis::PASSWORD;

fn context() -> Context {
    Context {
        clients: Arc::new(Clients::default()),
        cluster: Arc::new(NoCluster),
    }
}

/// A trigger of that type with the server's password.
fn trigger(kind: &str, addresses: &str) -> Trigger {
    Trigger::new(kind)
        .metadata([("address", addresses)])
        .authentication([("password", PASSWORD)])
}

fn list(addresses: &str, name: &str) -> Trigger {
    trigger("redis", addresses).metadata([("listName", name)])
}

fn scaler(context: &Context, trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, context).unwrap()
}

async fn reading(scaler: &dyn Scaler) -> Result<Reading, ScalerError> {
    let mut readings = scaler.read(&Freshness::now()).await?;
    Ok(readings.remove(0))
}

async fn value(scaler: &dyn Scaler) -> Result<f64, ScalerError> {
    reading(scaler).await.map(|reading| reading.value)
}

/// What a new scaler reads once.
async fn value_of(trigger: &Trigger) -> Result<f64, ScalerError> {
    value(&*scaler(&context(), trigger)).await
}

/// Why it can't be read, without any secret.
async fn refusal_of(trigger: &Trigger) -> String {
    told(&value_of(trigger).await.unwrap_err())
}

fn told(error: &ScalerError) -> String {
    let text = error.to_string();
    assert!(!text.contains("hunter"), "{text}");
    text
}

/// Reads until there is an answer again.
async fn recovers(scaler: &dyn Scaler) -> f64 {
    let again = eventually("answer", SOON, async || Ok(Some(value(scaler).await?)));
    again.await.unwrap()
}
