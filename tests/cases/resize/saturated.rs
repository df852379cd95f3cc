//! Pods grow when their HPA can't have more of them, on the real HPA controller.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_tests::pod_sizes::{PodSizes, changes};
use serde_json::json;

use super::stage::{bed, has, is_back, play, play_on, resized_by, until_all, web};
use crate::scene::{HPAS, SOON, Scene, merge};

const OWN: &str = "500m 256Mi";
const GROWN: &str = "1 512Mi";

/// Two pods at most, which double at that.
async fn bring_up(scene: &Scene<'_>) -> Result<()> {
    scene.apply(web(1, json!({}))).await?;
    until_all(scene, "a pod", 1, has(OWN)).await?;
    let policies =
        json!([{"container": "app", "when": "saturated", "cpu": "+100%", "memory": "+256Mi"}]);
    let mut spec = resized_by(policies, json!({"maxConcurrent": "100%"}));
    merge(
        &mut spec,
        json!({"minReplicaCount": 1, "maxReplicaCount": 2}),
    );
    scene.apply(scene.scaled_object("web", spec)).await?;
    scene.ready("web").await
}

async fn until_limited(scene: &Scene<'_>, status: &str, reason: &str) -> Result<()> {
    let what = format!("ScalingLimited {status} {reason}");
    scene
        .until(&what, HPAS, "keda-hpa-web", |hpa| {
            let conditions = hpa["status"]["conditions"].as_array()?;
            let mut conditions = conditions.iter();
            let limited = conditions.find(|one| one["type"] == "ScalingLimited")?;
            (limited["status"] == status && limited["reason"] == reason).then_some(())
        })
        .await
}

#[test]
fn pods_grow_while_the_hpa_wants_more_of_them_than_it_may_have() {
    play("saturated", async |scene| {
        bring_up(scene).await?;
        // As many as it may have, and no more than that, is not too many.
        scene.set(20);
        scene.until_replicas("web", 2).await?;
        until_limited(scene, "False", "DesiredWithinRange").await?;
        let pods = until_all(scene, "pods as they are", 2, has(OWN)).await?;

        scene.set(100);
        until_limited(scene, "True", "TooManyReplicas").await?;
        let grown = until_all(scene, "grown pods", 2, has(GROWN)).await?;
        let message = scene.condition("web", "Resized", "True", "Resized").await?;
        ensure!(message.contains("HPA"), "{message}");
        ensure!(grown.keys().eq(pods.keys()), "{grown:?}");

        scene.set(20);
        until_limited(scene, "False", "DesiredWithinRange").await?;
        let back = until_all(scene, "pods that are back", 2, is_back).await?;
        ensure!(back.keys().eq(pods.keys()), "{back:?}");
        Ok(())
    });
}

#[test]
fn a_restart_of_the_operator_while_saturated_takes_nothing_back() {
    let bed = bed().unwrap();
    play_on(&bed, "saturated-restart", async |scene| {
        bring_up(scene).await?;
        scene.set(100);
        let grown = until_all(scene, "grown pods", 2, has(GROWN)).await?;
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        {
            let mut operator = bed.operator.lock().await;
            operator.kill()?;
            operator.restart()?;
            operator.wait_ready(Duration::from_secs(60)).await?;
        }
        // It has taken the object in again: an older condition is the same, so an edit tells.
        let patch = json!({"spec": {"maxReplicaCount": 3}});
        scene
            .patch(crate::scene::SCALED_OBJECTS, "web", &patch)
            .await?;
        until_all(scene, "a third that grows, too", 3, has(GROWN)).await?;
        let courses = watching.courses()?;
        for name in grown.keys() {
            let course = courses.get(name).context("it is gone")?;
            ensure!(changes(course) == 0, "{name} went back: {course:#?}");
        }
        // At zero there is no HPA that could want anything, and no pod.
        scene.set(30);
        until_limited(scene, "False", "DesiredWithinRange").await?;
        until_all(scene, "pods that are back", 3, is_back).await?;
        watching
            .until("quiet", SOON, |all| {
                all.values()
                    .all(|course| course.last().is_some_and(|look| !look.is_under_way()))
            })
            .await?;
        Ok(())
    });
}
