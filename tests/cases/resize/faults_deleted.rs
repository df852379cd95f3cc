//! The ScaledObject goes, or its policies do: its pods go back first.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use serde_json::{Value, json};

use super::faults::{
    begin_sale, bring_up, end_sale, shop, slow, tripled, until_any, until_nothing_is_left,
    until_says, until_tripled,
};
use super::stage::{Seen, is_back, play, pods, until_all};
use super::witness::Witness;
use crate::scene::{DEPLOYMENTS, SCALED_OBJECTS, SOON, Scene};

fn is_under_way(pod: &Seen) -> bool {
    pod.wanted != pod.actual
}

/// Waits until the ScaledObject is gone: then all pods are back already.
pub async fn until_gone_after_pods(scene: &Scene<'_>, count: usize) -> Result<()> {
    eventually("no ScaledObject", SOON, async || {
        let is_there = scene.get(SCALED_OBJECTS, "web").await?.is_some();
        Ok((!is_there).then_some(()))
    })
    .await?;
    let pods = pods(scene).await?;
    ensure!(
        pods.len() == count && pods.values().all(is_back),
        "{pods:#?}"
    );
    Ok(())
}

#[test]
fn a_deletion_mid_wave_waits_for_every_pod() {
    play("resize-deleted", async |scene| {
        let two = json!({"maxConcurrent": 2});
        bring_up(scene, 6, slow("1s"), tripled(), two).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_any(scene, "a resized pod", |pod| {
            pod.actual == super::faults::TRIPLED
        })
        .await?;
        until_any(scene, "a pod under way", is_under_way).await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        until_gone_after_pods(scene, 6).await?;
        witness.content(2)
    });
}

#[test]
fn policies_that_are_removed_take_pods_back_and_leave_nothing() {
    play("resize-removed", async |scene| {
        bring_up(scene, 4, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_tripled(scene, 4).await?;
        let none = json!({"spec": {"advanced": {"sakidori": null}}});
        scene.patch(SCALED_OBJECTS, "web", &none).await?;
        until_all(scene, "pods that are back", 4, is_back).await?;
        until_nothing_is_left(scene).await?;
        // They come back within the sale.
        let policies =
            json!({"spec": {"advanced": {"sakidori": {"inPlaceResize": {"policies": tripled()}}}}});
        scene.patch(SCALED_OBJECTS, "web", &policies).await?;
        until_tripled(scene, 4).await?;
        witness.content(2)
    });
}

#[test]
fn a_deletion_together_with_the_deployment_does_not_hang() {
    play("resize-deleted-both", async |scene| {
        bring_up(scene, 4, slow("2s"), tripled(), json!({"maxConcurrent": 2})).await?;
        begin_sale(scene).await?;
        until_any(scene, "a pod under way", is_under_way).await?;
        scene.delete(DEPLOYMENTS, "web").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(DEPLOYMENTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;

        // A Deployment that goes first, and an object on one that never was.
        let mut object = scene.scaled_object(
            "other",
            json!({
                "advanced": {"sakidori": {"inPlaceResize": {"policies": tripled()}}},
            }),
        );
        object["spec"]["scaleTargetRef"]["name"] = "nowhere".into();
        scene.apply(object).await?;
        scene
            .until("the finalizer", SCALED_OBJECTS, "other", |object| {
                object["metadata"]["finalizers"].get(0).map(|_| ())
            })
            .await?;
        scene.delete(SCALED_OBJECTS, "other").await?;
        scene.until_gone(SCALED_OBJECTS, "other").await
    });
}

#[test]
fn a_deletion_together_with_the_namespace_does_not_hang() {
    play("resize-deleted-namespace", async |scene| {
        bring_up(scene, 4, slow("2s"), tripled(), json!({"maxConcurrent": 2})).await?;
        begin_sale(scene).await?;
        until_any(scene, "a pod under way", is_under_way).await?;
        let path = format!("/api/v1/namespaces/{}", scene.namespace);
        let delete = http::Request::delete(&path).body(Vec::new())?;
        let _: Value = scene.client.request(delete).await?;
        eventually("no namespace", Duration::from_secs(60), async || {
            let request = http::Request::get(&path).body(Vec::new())?;
            match scene.client.request::<Value>(request).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(())),
                Ok(_) => Ok(None),
                Err(error) => Err(error).context("reading the namespace"),
            }
        })
        .await
    });
}

#[test]
fn a_target_that_is_gone_for_a_while_is_resized_when_it_is_there_again() {
    play("resize-target-again", async |scene| {
        bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
        begin_sale(scene).await?;
        until_tripled(scene, 2).await?;
        scene.delete(DEPLOYMENTS, "web").await?;
        until_all(scene, "no pods", 0, |_| true).await?;
        scene.apply(super::stage::web(2, json!({}))).await?;
        until_tripled(scene, 2).await?;
        end_sale(scene).await?;
        until_all(scene, "pods that are back", 2, is_back).await?;
        until_says(scene, "NoPolicyHolds", &[]).await?;
        Ok(())
    });
}

#[test]
fn a_finalizer_that_an_edit_drops_comes_back() {
    play("resize-finalizer", async |scene| {
        bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
        begin_sale(scene).await?;
        until_tripled(scene, 2).await?;
        // As `kubectl replace` does with a manifest that has none.
        let edit = json!({"metadata": {"finalizers": null}, "spec": {"cooldownPeriod": 77}});
        scene.patch(SCALED_OBJECTS, "web", &edit).await?;
        scene
            .until("the finalizer", SCALED_OBJECTS, "web", |object| {
                object["metadata"]["finalizers"].get(0).map(|_| ())
            })
            .await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        until_gone_after_pods(scene, 2).await
    });
}

/// Somebody doesn't wait for the finalizer: the object is gone while its pods are on their way back.
async fn torn_away(scene: &Scene<'_>) -> Result<()> {
    let one = json!({"maxConcurrent": 1});
    bring_up(scene, 4, slow("1s"), tripled(), one).await?;
    begin_sale(scene).await?;
    until_tripled(scene, 4).await?;
    let free = json!({"metadata": {"finalizers": null}});
    scene.delete(SCALED_OBJECTS, "web").await?;
    scene.patch(SCALED_OBJECTS, "web", &free).await?;
    scene.until_gone(SCALED_OBJECTS, "web").await?;
    until_any(scene, "a pod on its way back", is_under_way).await?;
    Ok(())
}

#[test]
fn an_object_that_takes_anothers_name_and_resizes_nothing_lets_its_pods_go_back() {
    play("resize-recreated-plain", async |scene| {
        torn_away(scene).await?;
        let witness = Witness::of(scene);
        let plain = json!({"minReplicaCount": 4, "maxReplicaCount": 8});
        scene.apply(scene.scaled_object("web", plain)).await?;
        scene.ready("web").await?;
        until_all(scene, "pods that are back", 4, is_back).await?;
        until_nothing_is_left(scene).await?;
        witness.content(1)
    });
}

#[test]
fn an_object_that_takes_anothers_name_has_its_pods() {
    play("resize-recreated", async |scene| {
        torn_away(scene).await?;
        let witness = Witness::of(scene);
        let one = json!({"maxConcurrent": 1});
        scene.apply(shop(scene, 4, tripled(), one)?).await?;
        until_tripled(scene, 4).await?;
        scene.condition("web", "Resized", "True", "Resized").await?;
        end_sale(scene).await?;
        until_all(scene, "pods that are back", 4, is_back).await?;
        witness.content(1)
    });
}
