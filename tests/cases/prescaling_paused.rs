//! Paused objects at a sale: a pause is the user's last word, and that a floor is not applied is told.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::prescaling::{calendar, from_now, trigger, until_bounds, until_not_prescaled};
use crate::scene::{HPAS, SCALED_OBJECTS, Scene, condition, play};

async fn annotate(scene: &Scene<'_>, key: &str, value: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {format!("autoscaling.keda.sh/{key}"): value}}});
    scene.patch(SCALED_OBJECTS, "web", &patch).await?;
    Ok(())
}

/// A service with one replica that is to have four for the sale `a`, 20 s before its start.
async fn bring_up(scene: &Scene<'_>, start: Timestamp, end: Timestamp) -> Result<()> {
    scene.deploy("web", 1).await?;
    scene.apply(calendar("sales", &[("a", start, end)])).await?;
    let four = json!({"desiredReplicas": "4", "leadTime": "20s"});
    let spec = json!({"minReplicaCount": 1, "triggers": [trigger("sales", four)]});
    scene.apply(scene.scaled_object("web", spec)).await?;
    scene.ready("web").await
}

async fn until_paused_sale(scene: &Scene<'_>, start: Timestamp) -> Result<()> {
    let message = scene
        .condition("web", "Prescaled", "False", "Paused")
        .await?;
    let expected =
        format!("a starts at {start}, and its floor is not applied while the object is paused");
    ensure!(message == expected, "{message}");
    let note = scene.until_told("web", "PrescalePaused").await?;
    ensure!(note == expected, "{note}");
    ensure!(Timestamp::now() < start, "it is told after the start");
    Ok(())
}

#[test]
fn a_paused_object_gets_no_floor_and_says_so_before_the_start() {
    play("prescaling-paused", async |scene| {
        let start = from_now(40);
        bring_up(scene, start, from_now(900)).await?;
        annotate(scene, "paused", Some("true")).await?;
        scene.until_gone(HPAS, "keda-hpa-web").await?;
        until_paused_sale(scene, start).await?;
        scene.stays_for("web", 1, Duration::from_secs(5)).await?;
        ensure!(
            scene.get(HPAS, "keda-hpa-web").await?.is_none(),
            "the HPA came back"
        );
        // The pause ends, and the floor is that of the moment.
        annotate(scene, "paused", None).await?;
        until_bounds(scene, "web", 4, 5).await?;
        scene.until_replicas("web", 4).await?;
        scene
            .condition("web", "Prescaled", "True", "FloorReady")
            .await?;
        let told = scene.told("web").await?;
        let paused = told.iter().filter(|told| told.1 == "PrescalePaused");
        ensure!(paused.count() == 1, "{told:#?}");
        Ok(())
    });
}

#[test]
fn paused_replicas_win_over_a_floor() {
    play("prescaling-paused-replicas", async |scene| {
        let start = from_now(40);
        bring_up(scene, start, from_now(900)).await?;
        annotate(scene, "paused-replicas", Some("2")).await?;
        scene.until_replicas("web", 2).await?;
        until_paused_sale(scene, start).await?;
        scene.stays_for("web", 2, Duration::from_secs(5)).await
    });
}

#[test]
fn a_pause_of_scaling_out_keeps_a_floor_from_rising_and_is_named_as_the_reason() {
    play("prescaling-paused-out", async |scene| {
        bring_up(scene, from_now(40), from_now(900)).await?;
        annotate(scene, "paused-scale-out", Some("true")).await?;
        let parts = ["1 of 4 replicas for a are Ready: scaling out is paused"];
        until_not_prescaled(scene, "Paused", &parts).await?;
        let note = scene.until_told("web", "PrescaleLate").await?;
        ensure!(note.contains("scaling out is paused"), "{note}");
        scene.stays_for("web", 1, Duration::from_secs(3)).await?;
        annotate(scene, "paused-scale-out", None).await?;
        scene.until_replicas("web", 4).await
    });
}

#[test]
fn a_pause_of_scaling_in_keeps_the_replicas_of_a_sale_that_is_over() {
    play("prescaling-paused-in", async |scene| {
        bring_up(scene, from_now(30), from_now(34)).await?;
        annotate(scene, "paused-scale-in", Some("true")).await?;
        scene.until_replicas("web", 4).await?;
        scene.until_told("web", "PrescaleEnded").await?;
        until_bounds(scene, "web", 1, 5).await?;
        scene.stays_for("web", 4, Duration::from_secs(4)).await?;
        let gone = |object: &Value| condition(object, "Prescaled").is_none().then_some(());
        scene.until("no floor", SCALED_OBJECTS, "web", gone).await?;
        annotate(scene, "paused-scale-in", None).await?;
        scene.until_replicas("web", 1).await
    });
}
