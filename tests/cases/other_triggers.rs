//! The trigger types that read no server: `cron`, `kubernetes-resource` and `kubernetes-workload`.

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, ToSpan};
use sakidori_tests::namespace::deployment;
use sakidori_tests::observe::external_metric;
use serde_json::{Value, json};

use crate::scene::{HPAS, Scene, play, same};

/// A cron trigger for a window in UTC that is open between these minutes from now.
fn window(from: i64, to: i64, replicas: &str) -> Result<Value> {
    let schedule = |minutes: i64| -> Result<String> {
        let time = Timestamp::now().checked_add(minutes.minutes())?;
        Ok(time.strftime("%M %H * * *").to_string())
    };
    Ok(json!({
        "type": "cron",
        "metadata": {
            "timezone": "UTC", "start": schedule(from)?, "end": schedule(to)?, "desiredReplicas": replicas,
        },
    }))
}

#[test]
fn cron_scales_within_its_window() {
    play("triggers-cron", async |scene| {
        scene.deploy("web", 0).await?;
        let open = window(-60, 60, "3")?;
        scene
            .apply(scene.scaled_object("web", json!({"triggers": [open]})))
            .await?;
        // 0 to 1 is the operator's, 1 to 3 the HPA's.
        scene.until_replicas("web", 3).await?;
        scene.ready("web").await?;
        let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        let target = &hpa["spec"]["metrics"][0]["external"]["target"];
        same(
            "its target",
            target,
            &json!({"type": "AverageValue", "averageValue": "1"}),
        )?;
        // The window closes: this one is over, and opens again tomorrow.
        let closed = window(-120, -60, "3")?;
        let spec = json!({"triggers": [closed], "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 0).await?;
        scene
            .condition("web", "Active", "False", "ScalerNotActive")
            .await
            .map(drop)
    });
}

#[test]
fn kubernetes_workload_counts_pods() {
    play("triggers-workload", async |scene| {
        scene.deploy("web", 0).await?;
        scene.deploy("frontend", 0).await?;
        scene.deploy("unrelated", 2).await?;
        let trigger = json!({
            "type": "kubernetes-workload",
            "metadata": {"podSelector": "app in (frontend, backend)", "value": "2"},
        });
        let spec = json!({"triggers": [trigger], "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        ensure!(scene.replicas("web").await? == 0, "pods of others count");
        scene.deploy("frontend", 4).await?;
        scene.until_replicas("web", 2).await?;
        until_value(scene, "s0-workload-triggers-workload", "4").await?;
        scene.deploy("frontend", 0).await?;
        scene.until_replicas("web", 0).await
    });
}

#[test]
fn kubernetes_workload_counts_nodes() {
    play("triggers-nodes", async |scene| {
        scene.deploy("web", 0).await?;
        let mut proxy = deployment("proxy", 3);
        proxy["spec"]["template"]["spec"]["nodeName"] = json!(a_node(scene).await?);
        scene.apply(proxy).await?;
        let trigger = |group: &str| {
            json!({
                "type": "kubernetes-workload",
                "metadata": {"podSelector": "app=proxy", "value": "1", "groupByNode": group},
            })
        };
        let by = |group: &str| scene.scaled_object("web", json!({"triggers": [trigger(group)]}));
        scene.apply(by("true")).await?;
        scene.until_replicas("web", 1).await?;
        until_value(scene, "s0-workload-triggers-nodes", "1").await?;
        scene.apply(by("false")).await?;
        until_value(scene, "s0-workload-triggers-nodes", "3").await?;
        scene.until_replicas("web", 3).await
    });
}

#[test]
fn kubernetes_resource_reads_config_maps_and_secrets() {
    play("triggers-resource", async |scene| {
        let config = |orders: &str| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sale"},
                "data": {"forecast.json": format!("{{\"osaka\": {{\"orders\": {orders}}}}}")},
            })
        };
        let secret = |orders: &str| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sale"}, "stringData": {"orders": orders},
            })
        };
        scene.deploy("web", 0).await?;
        scene.apply(config("0")).await?;
        scene.apply(secret("0")).await?;
        let triggers = json!([
            {"type": "kubernetes-resource", "metadata": {
                "resourceKind": "ConfigMap", "resourceName": "sale", "key": "forecast.json", "format": "json",
                "valueLocation": "osaka.orders", "targetValue": "500",
            }},
            {"type": "kubernetes-resource", "metadata": {
                "resourceKind": "Secret", "resourceName": "sale", "key": "orders", "targetValue": "10",
            }},
        ]);
        let spec = json!({"triggers": triggers, "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        scene.apply(config("1500")).await?;
        scene.until_replicas("web", 3).await?;
        until_value(scene, "s0-configmap-sale-forecast-json", "1500").await?;
        scene.apply(secret("50")).await?;
        scene.until_replicas("web", 5).await?;
        // What is gone, or no number, keeps replicas.
        scene.apply(secret("1,000")).await?;
        scene.apply(config("0")).await?;
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        let note = scene.until_told("web", "KEDAScalerFailed").await?;
        ensure!(
            note.contains("key orders of Secret triggers-resource/sale: it is no number"),
            "{note}"
        );
        ensure!(!note.contains("1,000"), "{note}");
        scene
            .stays_for("web", 5, std::time::Duration::from_secs(3))
            .await?;
        scene.delete("api/v1/secrets", "sale").await?;
        scene
            .stays_for("web", 5, std::time::Duration::from_secs(3))
            .await?;
        scene.apply(secret("0")).await?;
        scene.until_replicas("web", 0).await
    });
}

async fn a_node(scene: &Scene<'_>) -> Result<String> {
    let request = http::Request::get("/api/v1/nodes").body(Vec::new())?;
    let nodes: Value = scene.client.request(request).await?;
    Ok(crate::scene::text(&nodes["items"][0]["metadata"]["name"]))
}

/// Waits until the external metrics API serves this value to the HPA.
async fn until_value(scene: &Scene<'_>, metric: &str, value: &str) -> Result<()> {
    let what = format!("{metric} = {value}");
    sakidori_test_cluster::eventually(&what, crate::scene::SOON, async || {
        let served = external_metric(&scene.client, &scene.namespace, metric, "web").await?;
        Ok((served.value == value).then_some(()))
    })
    .await
}
