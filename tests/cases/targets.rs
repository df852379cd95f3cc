//! What can be scaled, what can't and says why, targets that come late or change, and two ScaledObjects on one target.

use anyhow::{Context, Result, ensure};
use sakidori_tests::namespace::deployment;
use serde_json::{Value, json};

use crate::scene::{DEPLOYMENTS, HPAS, PATH, SCALED_OBJECTS, Scene, play, same, text};

const WRONG_TARGET: &str = "ScaledObject doesn't have correct scaleTargetRef specification: ";
pub const STATEFUL_SETS: &str = "apis/apps/v1/statefulsets";

#[test]
fn another_target_is_scaled_from_then_on() {
    play("targets-changed", async |scene| {
        scene.deploy("web", 0).await?;
        scene.deploy("api", 0).await?;
        scene
            .apply(scene.scaled_object("web", json!({"cooldownPeriod": 0})))
            .await?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        let spec = json!({"scaleTargetRef": {"name": "api"}, "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("api", 1).await?;
        scene
            .until("HPA of the other target", HPAS, "keda-hpa-web", |hpa| {
                (hpa["spec"]["scaleTargetRef"]["name"] == "api").then_some(())
            })
            .await?;
        scene.set(0);
        scene.until_replicas("api", 0).await?;
        ensure!(
            scene.replicas("web").await? == 1,
            "the old target is none of its business"
        );
        Ok(())
    });
}

#[test]
fn a_target_that_appears_later_is_found_soon() {
    play("targets-late", async |scene| {
        scene.set(1);
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message == format!("{WRONG_TARGET}deployments.apps \"web\" not found"),
            "{message}"
        );
        scene
            .condition("web", "Active", "Unknown", "UnknownState")
            .await?;
        scene
            .until_told_that("web", "ScaledObjectCheckFailed", "\"web\" not found")
            .await?;
        ensure!(
            scene.get(HPAS, "keda-hpa-web").await?.is_none(),
            "it has an HPA without a target"
        );

        scene.deploy("web", 0).await?;
        let created = std::time::Instant::now();
        scene.until_replicas("web", 1).await?;
        let took = created.elapsed();
        ensure!(took.as_secs() < 10, "it was found after {took:?}");
        scene.ready("web").await?;
        scene.until_told("web", "ScaledObjectReady").await.map(drop)
    });
}

#[test]
fn a_target_that_goes_and_comes_back_is_scaled_again() {
    play("targets-back", async |scene| {
        scene.bring_up(0, json!({})).await?;
        scene.delete(DEPLOYMENTS, "web").await?;
        let message = scene
            .condition("web", "Ready", "False", "ErrorGettingCurrentReplicas")
            .await?;
        ensure!(
            message.starts_with("Error getting current replicas count for ScaleTarget: ")
                && message.contains("\"web\" not found"),
            "{message}"
        );
        scene.set(1);
        scene.deploy("web", 0).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await
    });
}

#[test]
fn a_stateful_set_is_scaled() {
    play("targets-statefulset", async |scene| {
        let mut set = deployment("web", 0);
        set["kind"] = json!("StatefulSet");
        set["spec"]["serviceName"] = json!("web");
        scene.apply(set).await?;
        let spec = json!({"scaleTargetRef": {"kind": "StatefulSet"}, "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        scene.set(1);
        scene.until_replicas_of(STATEFUL_SETS, "web", 1).await?;
        let note = scene.until_told("web", "KEDAScaleTargetActivated").await?;
        ensure!(
            note.starts_with("Scaled apps/v1.StatefulSet targets-statefulset/web from 0 to 1"),
            "{note}"
        );
        scene.set(0);
        scene.until_replicas_of(STATEFUL_SETS, "web", 0).await
    });
}

#[test]
fn a_kind_of_the_core_group_is_scaled() {
    play("targets-core", async |scene| {
        scene
            .apply(json!({
                "apiVersion": "v1",
                "kind": "ReplicationController",
                "metadata": {"name": "web"},
                "spec": {
                    "replicas": 0,
                    "selector": {"app": "web"},
                    "template": deployment("web", 0)["spec"]["template"],
                },
            }))
            .await?;
        let target = json!({"apiVersion": "v1", "kind": "ReplicationController"});
        scene
            .apply(scene.scaled_object("web", json!({"scaleTargetRef": target})))
            .await?;
        scene.ready("web").await?;
        scene.set(1);
        scene
            .until_replicas_of("api/v1/replicationcontrollers", "web", 1)
            .await?;
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("no ScaledObject")?;
        same(
            "scaleTargetKind",
            &object["status"]["scaleTargetKind"],
            &json!("/v1.ReplicationController"),
        )
    });
}

pub const WORKERS: &str = "apis/sakidori.test/v1/workers";

/// A Worker without replicas.
pub fn worker(name: &str) -> Value {
    json!({
        "apiVersion": "sakidori.test/v1", "kind": "Worker", "metadata": {"name": name}, "spec": {"replicas": 0},
    })
}

/// A small resource of the tests' own, with a `/scale` subresource.
pub fn workers(plural: &str, kind: &str) -> Value {
    let integer = json!({"type": "integer"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.sakidori.test")},
        "spec": {
            "group": "sakidori.test",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural, "kind": kind},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"replicas": integer}},
                    "status": {"type": "object", "properties": {
                        "replicas": integer, "selector": {"type": "string"},
                    }},
                }}},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
            }],
        },
    })
}

/// Applies an object whose kind may not be served yet.
pub async fn apply_when_served(scene: &Scene<'_>, object: &Value) -> Result<()> {
    sakidori_test_cluster::eventually("served kind", crate::scene::SOON, async || {
        scene.apply(object.clone()).await.map(Some)
    })
    .await
    .map(drop)
}

#[test]
fn a_custom_resource_is_scaled() {
    play("targets-custom", async |scene| {
        scene.apply(workers("workers", "Worker")).await?;
        apply_when_served(scene, &worker("web")).await?;
        let target = json!({"apiVersion": "sakidori.test/v1", "kind": "Worker"});
        let spec = json!({"scaleTargetRef": target, "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        scene.set(1);
        scene.until_replicas_of(WORKERS, "web", 1).await?;
        scene.set(0);
        scene.until_replicas_of(WORKERS, "web", 0).await?;
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("no ScaledObject")?;
        same(
            "scaleTargetGVKR",
            &object["status"]["scaleTargetGVKR"],
            &json!({"group": "sakidori.test", "version": "v1", "kind": "Worker", "resource": "workers"}),
        )?;
        let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        same(
            "its target",
            &hpa["spec"]["scaleTargetRef"],
            &json!({"apiVersion": "sakidori.test/v1", "kind": "Worker", "name": "web"}),
        )
    });
}

#[test]
fn a_kind_that_is_installed_later_is_found() {
    play("targets-unknown", async |scene| {
        let target = json!({"apiVersion": "sakidori.test/v1", "kind": "Latecomer"});
        scene
            .apply(scene.scaled_object("web", json!({"scaleTargetRef": target})))
            .await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.starts_with(WRONG_TARGET)
                && message.contains("Latecomer")
                && message.contains("sakidori.test/v1"),
            "{message}"
        );
        scene.apply(workers("latecomers", "Latecomer")).await?;
        let worker = json!({
            "apiVersion": "sakidori.test/v1", "kind": "Latecomer", "metadata": {"name": "web"}, "spec": {"replicas": 0},
        });
        apply_when_served(scene, &worker).await?;
        scene.set(1);
        scene
            .until_replicas_of("apis/sakidori.test/v1/latecomers", "web", 1)
            .await?;
        scene.ready("web").await
    });
}

#[test]
fn a_target_that_cannot_be_scaled_is_named() {
    play("targets-unscalable", async |scene| {
        let mut set = deployment("web", 0);
        set["kind"] = json!("DaemonSet");
        set["spec"]
            .as_object_mut()
            .context("no spec")?
            .remove("replicas");
        scene.apply(set).await?;
        let target = |kind: &str, version: &str| json!({"scaleTargetRef": {"kind": kind, "apiVersion": version}});
        scene
            .apply(scene.scaled_object("web", target("DaemonSet", "apps/v1")))
            .await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.starts_with(&format!(
                "{WRONG_TARGET}daemonsets.apps \"web\" doesn't expose the /scale subresource"
            )),
            "{message}"
        );
        scene
            .apply(scene.scaled_object("web", target("Deploiment", "apps/v1")))
            .await?;
        let unknown = "no matches for kind \"Deploiment\" in version \"apps/v1\"";
        for (reason, text) in [
            ("ScaledObjectUpdateFailed", unknown.to_owned()),
            (
                "ScaledObjectCheckFailed",
                format!("{WRONG_TARGET}{unknown}"),
            ),
        ] {
            let note = scene.until_told_that("web", reason, &text).await?;
            ensure!(note == text, "{note}");
        }
        scene
            .apply(scene.scaled_object("web", target("Deployment", "a/b/c")))
            .await?;
        let unexpected = "unexpected GroupVersion string: a/b/c";
        scene
            .until_told_that("web", "ScaledObjectUpdateFailed", unexpected)
            .await?;
        scene
            .until_told_that("web", "ScaledObjectCheckFailed", unexpected)
            .await?;
        ensure!(
            scene.get(HPAS, "keda-hpa-web").await?.is_none(),
            "it got an HPA"
        );

        // Put right, it goes on at once.
        scene.deploy("web", 0).await?;
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        scene.ready("web").await
    });
}

#[test]
fn the_second_on_a_target_waits_for_the_first_to_go() {
    play("targets-shared", async |scene| {
        scene.deploy("web", 0).await?;
        scene
            .apply(scene.scaled_object("first", json!({"scaleTargetRef": {"name": "web"}})))
            .await?;
        scene.ready("first").await?;
        // The same target, spelt out; and by name this one would come before the other.
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let second = scene.scaled_object(
            "and-another",
            json!({"scaleTargetRef": target, "triggers": [scene.trigger_on("/another")]}),
        );
        // Creation times have whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        scene.apply(second).await?;
        let message = scene.check_failed("and-another").await?;
        ensure!(
            message.contains("the workload 'web'")
                && message.contains("already managed by the ScaledObject 'first'"),
            "{message}"
        );
        ensure!(
            scene.get(HPAS, "keda-hpa-and-another").await?.is_none(),
            "it got an HPA"
        );
        scene.source.set("/another", crate::scene::answer(1));
        scene.stays("web", 0, PATH, 2).await?;
        scene.ready("first").await?;

        scene.delete(SCALED_OBJECTS, "first").await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("and-another").await?;
        scene.until_gone(HPAS, "keda-hpa-first").await?;
        let hpa = scene
            .get(HPAS, "keda-hpa-and-another")
            .await?
            .context("no HPA")?;
        ensure!(text(&hpa["spec"]["scaleTargetRef"]["name"]) == "web");
        Ok(())
    });
}

/// The first moves to another target, and the second has this one to itself.
#[test]
fn the_second_on_a_target_takes_over_when_the_first_moves_on() {
    play("targets-moved", async |scene| {
        scene.deploy("web", 0).await?;
        scene.deploy("api", 0).await?;
        let on = |target: &str| json!({"scaleTargetRef": {"name": target}});
        scene.apply(scene.scaled_object("first", on("web"))).await?;
        scene.ready("first").await?;
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        scene
            .apply(scene.scaled_object("second", on("web")))
            .await?;
        scene.check_failed("second").await?;
        scene.apply(scene.scaled_object("first", on("api"))).await?;
        scene.ready("second").await?;
        scene.ready("first").await
    });
}
