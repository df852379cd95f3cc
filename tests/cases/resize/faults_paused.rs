//! A pause, and policies that can't be understood: pods stay as they are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_tests::throughout::throughout;
use serde_json::{Value, json};

use super::faults::{
    TRIPLED, asked, asks_nothing_for, begin_sale, bring_up, end_sale, tripled, until_back,
    until_says, until_tripled,
};
use super::stage::{has, play, pods, until_all};
use super::witness::Witness;
use crate::scene::{SCALED_OBJECTS, Scene};

const A_WHILE: Duration = Duration::from_secs(4);

async fn pause(scene: &Scene<'_>, paused: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": paused}}});
    scene.patch(SCALED_OBJECTS, "web", &patch).await?;
    Ok(())
}

async fn set_policies(scene: &Scene<'_>, policies: Value) -> Result<()> {
    let patch =
        json!({"spec": {"advanced": {"sakidori": {"inPlaceResize": {"policies": policies}}}}});
    scene.patch(SCALED_OBJECTS, "web", &patch).await?;
    Ok(())
}

/// All pods have three times the CPU, and stay so.
async fn stay_tripled(scene: &Scene<'_>, count: usize) -> Result<()> {
    throughout("grown pods", A_WHILE, async || {
        let pods = pods(scene).await?;
        let all = pods.len() == count && pods.values().all(has(TRIPLED));
        ensure!(all, "{pods:#?}");
        Ok(())
    })
    .await
}

#[test]
fn a_pause_leaves_pods_as_they_are_until_it_ends() {
    play("resize-paused", async |scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 1})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_tripled(scene, 3).await?;

        // Within the sale: nothing is asked, also when it ends.
        let before = asked(scene)?.len();
        pause(scene, Some("true")).await?;
        until_says(scene, "ResizingPaused", &["paused"]).await?;
        asks_nothing_for(scene, A_WHILE).await?;
        pause(scene, None).await?;
        until_tripled(scene, 3).await?;
        asks_nothing_for(scene, A_WHILE).await?;
        ensure!(asked(scene)?.len() == before, "{:?}", asked(scene)?);

        // The sale ends within the pause.
        pause(scene, Some("true")).await?;
        until_says(scene, "ResizingPaused", &[]).await?;
        end_sale(scene).await?;
        stay_tripled(scene, 3).await?;
        pause(scene, None).await?;
        until_back(scene, 3).await?;

        // A sale begins within a pause.
        pause(scene, Some("true")).await?;
        until_says(scene, "ResizingPaused", &[]).await?;
        begin_sale(scene).await?;
        asks_nothing_for(scene, A_WHILE).await?;
        pause(scene, None).await?;
        until_tripled(scene, 3).await?;

        // A deletion does not wait for a pause to end.
        pause(scene, Some("true")).await?;
        until_says(scene, "ResizingPaused", &[]).await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        until_all(scene, "pods that are back", 3, super::stage::is_back).await?;
        witness.content(1)
    });
}

#[test]
fn policies_that_cannot_be_understood_take_nothing_back() {
    play("resize-invalid", async |scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 1})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_tripled(scene, 3).await?;
        let before = asked(scene)?.len();
        let twice = json!([
            {"container": "app", "when": "prescale", "cpu": "x3"},
            {"container": "app", "when": "prescale", "cpu": "x2"},
        ]);
        set_policies(scene, twice).await?;
        let message = until_says(scene, "InvalidPolicies", &["policies[1].cpu"]).await?;
        ensure!(message.contains("pods are resized as before"), "{message}");
        stay_tripled(scene, 3).await?;
        // Scaling goes on.
        scene.set(40);
        scene.until_replicas("web", 4).await?;
        until_all(scene, "four grown pods", 4, has(TRIPLED)).await?;
        set_policies(scene, tripled()).await?;
        scene.condition("web", "Resized", "True", "Resized").await?;
        ensure!(asked(scene)?.len() == before + 1, "{:?}", asked(scene)?);
        // While they are wrong, the sale ends: the policies of before are what counts.
        set_policies(
            scene,
            json!([{"container": "app", "when": "prescale", "cpu": "x0"}]),
        )
        .await?;
        until_says(scene, "InvalidPolicies", &["cpu"]).await?;
        end_sale(scene).await?;
        until_all(scene, "pods that are back", 4, super::stage::is_back).await?;
        set_policies(scene, tripled()).await?;
        until_back(scene, 4).await?;
        witness.content(1)
    });
}

#[test]
fn policies_that_come_within_a_sale_count_at_once() {
    play("resize-within", async |scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 3})).await?;
        let none = json!({"spec": {"advanced": {"sakidori": null}}});
        scene.patch(SCALED_OBJECTS, "web", &none).await?;
        scene
            .until("no condition", SCALED_OBJECTS, "web", |object| {
                crate::scene::condition(object, "Resized")
                    .is_none()
                    .then_some(())
            })
            .await?;
        begin_sale(scene).await?;
        scene
            .condition("web", "Prescaled", "True", "FloorReady")
            .await?;
        set_policies(scene, tripled()).await?;
        until_tripled(scene, 3).await?;
        // Stronger ones, too, and they are taken back to the template, not to what was.
        set_policies(
            scene,
            json!([{"container": "app", "when": "prescale", "cpu": "x4"}]),
        )
        .await?;
        until_all(scene, "four times as much", 3, has("2 256Mi")).await?;
        let object = scene.get(SCALED_OBJECTS, "web").await?.context("gone")?;
        ensure!(
            object["metadata"]["finalizers"][0] == "finalizer.keda.sh",
            "{object:#}"
        );
        end_sale(scene).await?;
        until_back(scene, 3).await?;
        Ok(())
    });
}
