//! Pausing beside others: what one ScaledObject was refused, its pause doesn't take from the other.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::scene::{HPAS, SCALED_OBJECTS, Scene, play};

async fn pause(scene: &Scene<'_>, name: &str, value: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": value}}});
    scene.patch(SCALED_OBJECTS, name, &patch).await?;
    if value.is_some() {
        scene
            .condition(name, "Paused", "True", "ScaledObjectPaused")
            .await?;
    }
    Ok(())
}

/// The HPA of `web`, with the uid that it had.
async fn hpa_uid(scene: &Scene<'_>) -> Result<Value> {
    let hpa = scene.get(HPAS, "keda-hpa-web").await?;
    Ok(hpa.map_or(Value::Null, |hpa| hpa["metadata"]["uid"].clone()))
}

#[test]
fn the_pause_of_a_refused_object_leaves_the_hpa_of_the_other() {
    play("pause-rivals", async |scene| {
        // The older one, with a target of its own at first.
        scene.deploy("api", 0).await?;
        scene
            .apply(scene.scaled_object("rival", json!({"scaleTargetRef": {"name": "api"}})))
            .await?;
        scene.ready("rival").await?;
        scene.bring_up(0, json!({})).await?;
        let before = hpa_uid(scene).await?;

        for wanted in [
            json!({"scaleTargetRef": {"name": "web"}}),
            json!({"scaleTargetRef": {"name": "api"},
                "advanced": {"horizontalPodAutoscalerConfig": {"name": "keda-hpa-web"}}}),
        ] {
            scene.apply(scene.scaled_object("rival", wanted)).await?;
            let refused = scene.check_failed("rival").await?;
            ensure!(refused.contains("'web'"), "{refused}");
            pause(scene, "rival", Some("true")).await?;
            scene.ready("web").await?;
            let now = hpa_uid(scene).await?;
            ensure!(now == before, "{before} became {now}");
            pause(scene, "rival", None).await?;
            scene.check_failed("rival").await?;
            let now = hpa_uid(scene).await?;
            ensure!(now == before, "{before} became {now}");
        }
        // And it still is the one that scales.
        scene.set(1);
        scene.until_replicas("web", 1).await
    });
}

#[test]
fn who_was_paused_still_holds_its_target_when_it_goes_on() {
    play("pause-holder", async |scene| {
        scene.deploy("api", 0).await?;
        scene
            .apply(scene.scaled_object("older", json!({"scaleTargetRef": {"name": "api"}})))
            .await?;
        scene.ready("older").await?;
        scene.bring_up(0, json!({})).await?;
        scene
            .apply(scene.scaled_object("older", json!({"scaleTargetRef": {"name": "web"}})))
            .await?;
        scene.check_failed("older").await?;

        pause(scene, "web", Some("true")).await?;
        scene.until_gone(HPAS, "keda-hpa-web").await?;
        let refused = scene.check_failed("older").await?;
        ensure!(refused.contains("'web'"), "{refused}");
        pause(scene, "web", None).await?;
        scene
            .condition("web", "Paused", "False", "ScaledObjectUnpaused")
            .await?;
        scene
            .until("the HPA of web", HPAS, "keda-hpa-web", |_| Some(()))
            .await?;
        scene.check_failed("older").await?;
        Ok(())
    });
}
