//! `examples/rabbitmq/` as a user applies it: a queue takes a Deployment from 0 over 1 to N and back, by the real HPA.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::core::DynamicObject;
use sakidori_test_cluster::eventually;
use sakidori_tests::bed::{self, Bed};
use sakidori_tests::namespace::Namespace;
use sakidori_tests::{binary, manifests};
use serde_json::json;

const EXAMPLE: &str = "examples/rabbitmq";
/// What the example calls its objects.
const NAME: &str = "orders";
const METRIC: &str = "s0-rabbitmq-orders";
const MESSAGES: usize = 500;
/// 500 messages at 20 per replica are 25 replicas, of which the example allows 10.
const MOST: i32 = 10;
/// The HPA goes to 4, or doubles, at each look: 1, 4, 8, 10.
const TO_MOST: Duration = Duration::from_secs(60);

#[test]
fn the_example_scales_from_zero_to_many_and_back_over_amqp() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async { scales_and_returns(bed, "shop", &bed.rabbit().await?.amqp_url()).await })
}

/// The same manifests with the management API's address, in a namespace and virtual host of their own.
#[test]
fn the_example_scales_from_zero_to_many_and_back_over_http() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let rabbit = bed.rabbit().await?;
        rabbit.create_vhost("http").await?;
        scales_and_returns(bed, "shop-http", &format!("{}/http", rabbit.http_url())).await
    })
}

async fn scales_and_returns(bed: &Bed, namespace: &str, host: &str) -> Result<()> {
    let rabbit = bed.rabbit().await?;
    let vhost = if host.ends_with("/http") { "http" } else { "/" };
    let shop = bed.namespace(namespace).await?;
    rabbit.declare_queue(vhost, NAME).await?;
    manifests::apply_objects(&shop.client, namespace, &example(namespace, host)?).await?;
    shop.wait_ready(NAME, "True", "ScaledObjectReady", Duration::from_secs(15))
        .await?;
    shop.wait_value(METRIC, NAME, 0.0, Duration::from_secs(5))
        .await?;

    let published = Instant::now();
    rabbit.publish(vhost, NAME, MESSAGES).await?;
    let seen = watch_up(&shop).await?;
    // The first replica may be there for less than a look takes; its Event stays.
    shop.wait_note(
        NAME,
        "KEDAScaleTargetActivated",
        "from 0 to 1",
        Duration::from_secs(5),
    )
    .await?;
    ensure!(
        seen.last() == Some(&MOST) && seen.is_sorted(),
        "expected up to {MOST}: {seen:?}"
    );
    let full = published.elapsed();
    // What the HPA scaled by is the queue's length, read the way the HPA controller reads it.
    shop.wait_value(METRIC, NAME, MESSAGES as f64, Duration::from_secs(5))
        .await?;
    let hpa = shop
        .hpa(NAME)
        .await?
        .status
        .context("the HPA has no status")?;
    ensure!(
        hpa.desired_replicas == MOST,
        "the HPA wants {}",
        hpa.desired_replicas
    );

    let drained = Instant::now();
    rabbit.purge(vhost, NAME).await?;
    shop.wait_replicas(NAME, 0, Duration::from_secs(60)).await?;
    println!(
        "{namespace}: replicas {seen:?} in {full:?}, back to 0 in {:?}",
        drained.elapsed()
    );
    for reason in ["KEDAScaleTargetActivated", "KEDAScaleTargetDeactivated"] {
        let notes = shop.notes(NAME, reason).await?;
        ensure!(notes.len() == 1, "one {reason}, expected: {notes:?}");
    }
    Ok(())
}

/// The different numbers of replicas that the Deployment is given, until it has the most.
async fn watch_up(shop: &Namespace) -> Result<Vec<i32>> {
    let mut seen = Vec::new();
    eventually("all replicas", TO_MOST, async || {
        let replicas = shop.replicas(NAME).await?;
        if replicas.wanted > 0 && seen.last() != Some(&replicas.wanted) {
            seen.push(replicas.wanted);
        }
        Ok((replicas.ready == MOST).then_some(()))
    })
    .await
    .with_context(|| format!("after the replicas {seen:?}"))?;
    Ok(seen)
}

/// The example's objects in another namespace, and with the address of a broker that exists: what its README tells a user
/// to change.
fn example(namespace: &str, host: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = manifests::parse_folder(&binary::repository().join(EXAMPLE))?;
    let kind = |object: &DynamicObject| object.types.as_ref().map(|types| types.kind.clone());
    objects.retain(|object| kind(object).as_deref() != Some("Namespace"));
    for object in &mut objects {
        object.metadata.namespace = Some(namespace.to_owned());
        if kind(object).as_deref() == Some("Secret") {
            object.data["stringData"]["host"] = json!(host);
        }
    }
    Ok(objects)
}
