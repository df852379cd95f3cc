//! The trigger type `external`, against a server that KEDA's own generated code serves in Go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answers, ExternalScaler, ExternalScalerOptions, Tls};
use sakidori_tests::bed::Bed;
use sakidori_tests::observe::external_metric;
use serde_json::{Value, json};

use crate::scene::{HPAS, SCALED_OBJECTS, SOON, Scene, play, same};

/// Longer than the operator waits until it prepares once more what could not be prepared, or a server that hangs.
const TRIED_AGAIN: Duration = Duration::from_secs(60);

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
            .set(&web(scene), Answers::metric("orders.open", 10, 50))
            .await?;
        scene.until_replicas("web", 5).await?;
        until_value(scene, "s0-orders-open", "50").await?;
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

/// A server and its ScaledObject `web` with 3 replicas for 30 orders.
async fn three_replicas(scene: &Scene<'_>) -> Result<ExternalScaler> {
    let server = ExternalScaler::start().await?;
    server
        .set(&web(scene), Answers::metric("orders", 10, 30))
        .await?;
    scene.deploy("web", 0).await?;
    let trigger = trigger("external", &server);
    scene
        .apply(scene.scaled_object("web", json!({"triggers": [trigger]})))
        .await?;
    scene.until_replicas("web", 3).await?;
    Ok(server)
}

async fn ready_again(scene: &Scene<'_>) -> Result<()> {
    eventually("Ready again", TRIED_AGAIN, async || {
        let object = scene.get(SCALED_OBJECTS, "web").await?;
        let ready = object
            .as_ref()
            .and_then(|it| crate::scene::condition(it, "Ready"));
        Ok(ready.is_some_and(|it| it["status"] == "True").then_some(()))
    })
    .await
}

#[test]
fn a_server_that_is_down_at_the_start_is_found_when_it_comes() {
    play("external-late", async |scene| {
        let mut server = ExternalScaler::down(ExternalScalerOptions::default())?;
        server
            .set(&web(scene), Answers::metric("orders", 10, 30))
            .await?;
        scene.deploy("web", 2).await?;
        let trigger = trigger("external", &server);
        scene
            .apply(scene.scaled_object("web", json!({"triggers": [trigger]})))
            .await?;
        let message = scene.check_failed("web").await?;
        let expected = format!("GetMetricSpec at {}", server.address());
        for part in [
            "trigger 0 (external): unreachable",
            &expected,
            "Connection refused",
        ] {
            ensure!(message.contains(part), "{part:?} is not in {message:?}");
        }
        scene.stays_for("web", 2, Duration::from_secs(3)).await?;
        server.restart().await?;
        ready_again(scene).await?;
        scene.until_replicas("web", 3).await?;
        until_metrics(scene, &[("s0-orders", average("10"))]).await
    });
}

#[test]
fn a_server_that_goes_down_takes_neither_replicas_nor_metrics_and_is_found_again() {
    play("external-down", async |scene| {
        let mut server = three_replicas(scene).await?;
        server.kill();
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        let note = scene.until_told("web", "KEDAScalerFailed").await?;
        ensure!(note.contains("Connection refused"), "{note}");
        // An edit while it is down: the object is prepared anew, and the metrics stay.
        let spec = json!({"triggers": [trigger("external", &server)], "maxReplicaCount": 6});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene
            .until("the edit", HPAS, "keda-hpa-web", |hpa| {
                (hpa["spec"]["maxReplicas"] == 6).then_some(())
            })
            .await?;
        // Another trigger of the same server: nothing is known of it, and what stands there stays.
        let mut other = trigger("external", &server);
        other["metadata"]["warehouse"] = json!("tokyo");
        let spec = json!({"triggers": [other], "maxReplicaCount": 7});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene
            .until("the edit", HPAS, "keda-hpa-web", |hpa| {
                (hpa["spec"]["maxReplicas"] == 7).then_some(())
            })
            .await?;
        until_metrics(scene, &[("s0-orders", average("10"))]).await?;
        scene.stays_for("web", 3, Duration::from_secs(5)).await?;
        server
            .set(&web(scene), Answers::metric("orders", 10, 60))
            .await?;
        server.restart().await?;
        ready_again(scene).await?;
        scene.until_replicas("web", 6).await?;
        ensure!(server.seen(&web(scene)).await?.metadata["warehouse"] == "tokyo");
        Ok(())
    });
}

/// Nothing of a server is in the operator's memory then: what stands in the HPA stays.
#[test]
fn a_restart_while_the_server_is_down_takes_neither_replicas_nor_metrics() -> Result<()> {
    let bed = Bed::start()?;
    bed.run(async {
        let scene = Scene::open(&bed.cluster, "external-restart").await?;
        let mut server = three_replicas(&scene).await?;
        server.kill();
        {
            let mut operator = bed.operator.lock().await;
            operator.kill()?;
            operator.restart()?;
            operator.wait_ready(SOON).await?;
        }
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        until_metrics(&scene, &[("s0-orders", average("10"))]).await?;
        scene.stays_for("web", 3, Duration::from_secs(8)).await?;
        // It comes back with another target, which the next poll learns.
        server
            .set(&web(&scene), Answers::metric("orders", 5, 25))
            .await?;
        server.restart().await?;
        ready_again(&scene).await?;
        until_metrics(&scene, &[("s0-orders", average("5"))]).await?;
        scene.until_replicas("web", 5).await
    })
}

#[test]
fn another_trigger_works_beside_a_server_that_was_never_there() {
    play("external-beside", async |scene| {
        let mut server = ExternalScaler::down(ExternalScalerOptions::default())?;
        server
            .set(&web(scene), Answers::metric("orders", 10, 50))
            .await?;
        scene.set(30);
        scene.deploy("web", 0).await?;
        let triggers = [scene.trigger(), trigger("external", &server)];
        scene
            .apply(scene.scaled_object("web", json!({"triggers": triggers})))
            .await?;
        scene.until_replicas("web", 3).await?;
        scene
            .condition("web", "Ready", "Unknown", "PartialTriggerError")
            .await?;
        // A metric that can't be read is in the HPA for it, so that nothing is scaled in.
        scene.set(10);
        scene.stays("web", 3, crate::scene::PATH, 4).await?;
        server.restart().await?;
        ready_again(scene).await?;
        let metric = ("s0-metric-api-value", average("10"));
        until_metrics(scene, &[metric, ("s1-orders", average("10"))]).await?;
        scene.until_replicas("web", 5).await
    });
}

#[test]
fn a_server_that_hangs_keeps_replicas() {
    play("external-hangs", async |scene| {
        let server = three_replicas(scene).await?;
        server.set(&web(scene), Answers::hanging()).await?;
        let note = scene
            .until_told_that("web", "KEDAScalerFailed", "no answer within")
            .await?;
        ensure!(note.contains(&server.address()), "{note}");
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene.stays_for("web", 3, Duration::from_secs(3)).await?;
        // The whole process, with its connections.
        server.pause();
        scene.stays_for("web", 3, Duration::from_secs(12)).await?;
        server.resume();
        server
            .set(&web(scene), Answers::metric("orders", 10, 50))
            .await?;
        ready_again(scene).await?;
        scene.until_replicas("web", 5).await
    });
}

#[test]
fn garbage_is_an_error_and_never_lowers_replicas() {
    play("external-garbage", async |scene| {
        let server = three_replicas(scene).await?;
        let orders = || Answers::metric("orders", 10, 30);
        let idle = || orders().active(false);
        let cases = [
            (idle().floats(&["NaN"]), "it gave NaN: expected a number"),
            (idle().floats(&["+Inf"]), "it gave inf: expected a number"),
            (
                idle().floats(&["1", "-Inf"]),
                "it gave -inf: expected a number",
            ),
            (idle().floats(&[]), "it gave no value: expected one"),
            (idle().without_metrics(), "got empty metric spec"),
            (
                Answers::failing(2, "the database is away"),
                "Unknown: the database is away",
            ),
            (
                Answers::failing(16, "who are you"),
                "unauthorized: GetMetricSpec at",
            ),
        ];
        for (answers, told) in cases {
            server.set(&web(scene), orders()).await?;
            ready_again(scene).await?;
            server.set(&web(scene), answers).await?;
            scene
                .condition("web", "Ready", "False", "TriggerError")
                .await?;
            scene
                .until_told_that("web", "KEDAScalerFailed", told)
                .await?;
            scene.stays_for("web", 3, Duration::from_secs(3)).await?;
        }
        // A number below zero is one, and counts as none (KEDA).
        server
            .set(&web(scene), Answers::metric("orders", 10, -5).active(true))
            .await?;
        ready_again(scene).await?;
        until_value(scene, "s0-orders", "0").await?;
        scene.until_replicas("web", 1).await
    });
}

#[test]
fn what_the_server_names_anew_is_in_the_hpa_after_a_poll() {
    play("external-names", async |scene| {
        let server = three_replicas(scene).await?;
        let set = async |answers| server.set(&web(scene), answers).await;
        set(Answers::metric("orders", 6, 30)).await?;
        until_metrics(scene, &[("s0-orders", average("6"))]).await?;
        scene.until_replicas("web", 5).await?;
        set(Answers::metric("returns", 10, 30).and_metric("claims", "7.5")).await?;
        let both = [
            ("s0-returns", average("10")),
            ("s0-claims", average("7500m")),
        ];
        until_metrics(scene, &both).await?;
        until_value(scene, "s0-claims", "30").await?;
        scene
            .until("its names in the status", SCALED_OBJECTS, "web", |object| {
                let names = &object["status"]["externalMetricNames"];
                (*names == json!(["s0-returns", "s0-claims"])).then_some(())
            })
            .await?;
        scene.ready("web").await
    });
}

#[test]
fn mutual_tls_is_spoken_with_what_the_trigger_authentication_gives() {
    play("external-tls", async |scene| {
        let options = ExternalScalerOptions {
            tls: Tls::Mutual,
            ..ExternalScalerOptions::default()
        };
        let server = ExternalScaler::start_with(options).await?;
        server
            .set(&web(scene), Answers::metric("orders", 10, 30))
            .await?;
        scene.deploy("web", 0).await?;
        let mut trigger = trigger("external", &server);
        trigger["metadata"]["enableTLS"] = json!("true");
        let object = |trigger: &Value| scene.scaled_object("web", json!({"triggers": [trigger]}));
        scene.apply(object(&trigger)).await?;
        let message = scene.check_failed("web").await?;
        ensure!(message.contains("certificate"), "{message}");

        let tls = server.tls().context("no TLS")?;
        let values = json!({"ca": tls.ca(), "cert": tls.client.certificate, "key": tls.client.key});
        scene
            .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "stringData": values}))
            .await?;
        let parameter =
            |parameter: &str, key: &str| json!({"parameter": parameter, "name": "tls", "key": key});
        let given = [
            parameter("caCert", "ca"),
            parameter("tlsClientCert", "cert"),
            parameter("tlsClientKey", "key"),
        ];
        scene
            .apply(json!({
                "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication", "metadata": {"name": "tls"},
                "spec": {"secretTargetRef": given},
            }))
            .await?;
        trigger["authenticationRef"] = json!({"name": "tls"});
        scene.apply(object(&trigger)).await?;
        ready_again(scene).await?;
        scene.until_replicas("web", 3).await
    });
}
