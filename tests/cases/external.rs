//! The trigger type `external`, against a server that KEDA's own generated code serves in Go.

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answers, ExternalScaler, ExternalScalerOptions, Tls};
use sakidori_tests::observe::external_metric;
use serde_json::{Value, json};
use std::time::Duration;

use crate::scene::{HPAS, SOON, Scene, play, same};

/// A trigger on a server, as type `external` or `external-push`.
pub fn trigger(kind: &str, server: &ExternalScaler) -> Value {
    json!({"type": kind, "metadata": {"scalerAddress": server.address(), "warehouse": "osaka"}})
}

/// The name of the scene's ScaledObject `web` as the server knows it.
pub fn web(scene: &Scene<'_>) -> String {
    format!("{}/web", scene.namespace)
}

/// The External metrics of an HPA: name and target.
pub async fn metrics(scene: &Scene<'_>) -> Result<Vec<(String, Value)>> {
    let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
    let metrics = hpa["spec"]["metrics"].as_array().context("no metrics")?;
    let external = metrics.iter().map(|metric| &metric["external"]);
    Ok(external
        .map(|external| {
            let name = crate::scene::text(&external["metric"]["name"]);
            (name, external["target"].clone())
        })
        .collect())
}

/// Waits until the HPA has exactly these metrics.
pub async fn until_metrics(scene: &Scene<'_>, expected: &[(&str, Value)]) -> Result<()> {
    let mut last = Vec::new();
    let found = eventually("the HPA's metrics", SOON, async || {
        last = metrics(scene).await?;
        let is = last.len() == expected.len()
            && last
                .iter()
                .zip(expected)
                .all(|(is, wanted)| is.0 == wanted.0 && is.1 == wanted.1);
        Ok(is.then_some(()))
    });
    found.await.with_context(|| format!("they are {last:?}"))
}

pub fn average(value: &str) -> Value {
    json!({"type": "AverageValue", "averageValue": value})
}

async fn until_value(scene: &Scene<'_>, metric: &str, value: &str) -> Result<()> {
    let what = format!("{metric} = {value}");
    eventually(&what, SOON, async || {
        let served = external_metric(&scene.client, &scene.namespace, metric, "web").await?;
        Ok((served.value == value).then_some(()))
    })
    .await
}

#[test]
fn an_external_scaler_takes_a_target_from_zero_to_many_and_back() {
    play("external-whole", async |scene| {
        let server = ExternalScaler::start().await?;
        server
            .set(&web(scene), Answers::metric("orders.open", 10, 0))
            .await?;
        scene.deploy("web", 0).await?;
        let mut trigger = trigger("external", &server);
        trigger["metadata"]["warehouseFromEnv"] = json!("WAREHOUSE");
        scene
            .apply(scene.scaled_object("web", json!({"triggers": [trigger]})))
            .await?;
        scene.ready("web").await?;
        ensure!(scene.replicas("web").await? == 0, "not active, but scaled");
        same(
            "the HPA's target",
            &json!(metrics(scene).await?),
            &json!([["s0-orders-open", average("10")]]),
        )?;
        server
            .set(&web(scene), Answers::metric("orders.open", 10, 42))
            .await?;
        scene.until_replicas("web", 5).await?;
        until_value(scene, "s0-orders-open", "42").await?;
        let note = scene.until_told("web", "KEDAScaleTargetActivated").await?;
        ensure!(note.ends_with("triggered by s0-orders-open"), "{note}");
        // What the server is told: the metadata, without the variable that the container doesn't have, and KEDA's form of its metric.
        let seen = server.seen(&web(scene)).await?;
        ensure!(seen.metric == "orders-open", "{seen:?}");
        ensure!(seen.metadata["warehouse"] == "osaka", "{seen:?}");
        ensure!(seen.metadata.len() == 2, "{seen:?}");

        server
            .set(&web(scene), Answers::metric("orders.open", 10, 0))
            .await?;
        scene.until_replicas("web", 0).await
    });
}
