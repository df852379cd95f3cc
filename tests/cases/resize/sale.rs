//! Pods grow for a sale and go back after it.

use anyhow::ensure;
use serde_json::json;

use super::faults::{begin_sale, end_sale};
use super::stage::{has, is_back, play, resized_by, until_all, web};
use crate::prescaling::{calendar, floor, trigger};
use crate::scene::merge;

#[test]
fn pods_grow_for_a_sale_in_waves_and_go_back_after_it() {
    play("resize-sale", async |scene| {
        scene.apply(web(4, json!({}))).await?;
        until_all(scene, "four pods", 4, has("500m 256Mi")).await?;
        scene.apply(calendar("sales", &[])).await?;
        let mut spec = resized_by(
            json!([{"container": "app", "when": "prescale", "cpu": "x3", "memory": "+256Mi"}]),
            json!({"maxConcurrent": 2}),
        );
        merge(
            &mut spec,
            json!({"minReplicaCount": 4, "triggers": [trigger("sales", floor(4))]}),
        );
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        let message = scene
            .condition("web", "Resized", "False", "NoPolicyHolds")
            .await?;
        ensure!(message.contains("No policy holds"), "{message}");

        begin_sale(scene).await?;
        let grown = until_all(scene, "grown pods", 4, has("1500m 512Mi")).await?;
        for pod in grown.values() {
            ensure!(
                pod.qos == "Burstable" && pod.restarts == 0 && pod.remembers,
                "{pod:?}"
            );
            // A limit that were its request would make the pod Guaranteed.
            ensure!(pod.limits == "1501m 512Mi", "{pod:?}");
        }
        scene.condition("web", "Resized", "True", "Resized").await?;
        scene.until_told("web", "PodsResizing").await?;
        scene.until_told("web", "PodsResized").await?;

        end_sale(scene).await?;
        let back = until_all(scene, "pods that are back", 4, is_back).await?;
        ensure!(back.keys().eq(grown.keys()), "{back:?} {grown:?}");
        scene.until_told("web", "PodsRestored").await?;
        Ok(())
    });
}
