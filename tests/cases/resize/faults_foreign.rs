//! Another actor sets the resources of pods, as the VPA does: that one wins.

use anyhow::{Result, ensure};
use serde_json::json;

use super::faults::{
    OWN, TRIPLED, asked, begin_sale, bring_up, counted, end_sale, has_replicas, resize_as_another,
    slow, tripled, until_any, until_back, until_says, until_some, until_tripled,
};
use super::stage::{PODS, has, play, pods, shared, until_all};
use super::witness::Witness;
use crate::scene::Scene;

/// What the VPA gives a pod, and its limit.
const VPAS: &str = "800m 256Mi";

async fn as_vpa(scene: &Scene<'_>, pod: &str) -> Result<()> {
    resize_as_another(scene, pod, "800m", "1200m").await
}

#[test]
fn another_actor_wins_within_a_sale_and_the_others_go_on() {
    play("resize-foreign", async |scene| {
        bring_up(scene, 4, slow("1s"), tripled(), json!({"maxConcurrent": 1})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        // Mid-wave.
        let pod = until_any(scene, "a pod under way", |pod| pod.wanted == TRIPLED).await?;
        as_vpa(scene, &pod).await?;
        until_some(scene, "the others grown", 3, has(TRIPLED)).await?;
        until_some(scene, "the VPA's as it left it", 1, has(VPAS)).await?;
        let message = until_says(scene, "Foreign", &["Foreign: 1"]).await?;
        ensure!(message.contains(&pod), "{message}");
        scene.until_told("web", "PodResizedByAnother").await?;
        ensure!(counted(scene, shared()?, "foreign").await? == 1.0);
        ensure!(counted(scene, shared()?, "resized").await? == 3.0);
        let before = asked(scene)?.len();
        // It changes its mind: still its own.
        resize_as_another(scene, &pod, "900m", "1200m").await?;
        until_some(scene, "the VPA's new number", 1, has("900m 256Mi")).await?;
        until_says(scene, "Foreign", &["Foreign: 1"]).await?;
        ensure!(asked(scene)?.len() == before, "{:?}", asked(scene)?);
        // It gives back what this operator had asked for.
        resize_as_another(scene, &pod, "1500m", "1501m").await?;
        until_tripled(scene, 4).await?;
        // It takes it away again, and gives back what the template has.
        as_vpa(scene, &pod).await?;
        until_says(scene, "Foreign", &["Foreign: 1"]).await?;
        resize_as_another(scene, &pod, "500m", "1").await?;
        until_tripled(scene, 4).await?;
        end_sale(scene).await?;
        until_back(scene, 4).await?;
        has_replicas(scene, 4).await?;
        witness.content(2)
    });
}

#[test]
fn a_pod_that_another_actor_has_stays_as_it_is_after_the_sale() {
    play("resize-foreign-after", async |scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 3})).await?;
        begin_sale(scene).await?;
        let grown = until_tripled(scene, 3).await?;
        let pod = grown.keys().next().cloned().unwrap_or_default();
        as_vpa(scene, &pod).await?;
        until_says(scene, "Foreign", &[]).await?;
        end_sale(scene).await?;
        until_some(scene, "the others back", 2, has(OWN)).await?;
        until_says(scene, "Foreign", &["No policy holds", &pod]).await?;
        ensure!(pods(scene).await?[&pod].wanted == VPAS);
        resize_as_another(scene, &pod, "500m", "1").await?;
        until_back(scene, 3).await?;
        Ok(())
    });
}

#[test]
fn what_another_actor_gave_before_a_sale_is_what_a_pod_grows_from_and_goes_back_to() {
    play("resize-foreign-before", async |scene| {
        bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
        let all = pods(scene).await?;
        let pod = all.keys().next().cloned().unwrap_or_default();
        as_vpa(scene, &pod).await?;
        until_some(scene, "the VPA's", 1, has(VPAS)).await?;
        begin_sale(scene).await?;
        until_some(scene, "grown from the VPA's", 1, has("2400m 256Mi")).await?;
        until_some(scene, "grown from the template's", 1, has(TRIPLED)).await?;
        scene.condition("web", "Resized", "True", "Resized").await?;
        end_sale(scene).await?;
        until_says(scene, "NoPolicyHolds", &[]).await?;
        let back = until_all(scene, "pods that are back", 2, |pod| {
            !pod.remembers && (has(VPAS)(pod) || has(OWN)(pod))
        })
        .await?;
        ensure!(
            back[&pod].wanted == VPAS && back[&pod].limits == "1200m 256Mi",
            "{back:?}"
        );
        Ok(())
    });
}

#[test]
fn a_deletion_leaves_the_pod_of_another_actor_alone() {
    play("resize-foreign-deleted", async |scene| {
        bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
        begin_sale(scene).await?;
        let grown = until_tripled(scene, 2).await?;
        let pod = grown.keys().next().cloned().unwrap_or_default();
        as_vpa(scene, &pod).await?;
        until_says(scene, "Foreign", &[]).await?;
        scene.delete(crate::scene::SCALED_OBJECTS, "web").await?;
        scene
            .until_gone(crate::scene::SCALED_OBJECTS, "web")
            .await?;
        let left = until_all(scene, "no annotation", 2, |pod| !pod.remembers).await?;
        ensure!(left[&pod].wanted == VPAS, "{left:?}");
        ensure!(left.values().any(has(OWN)), "{left:?}");
        Ok(())
    });
}

#[test]
fn an_annotation_that_somebody_removes_is_written_again() {
    play("resize-annotation", async |scene| {
        bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
        begin_sale(scene).await?;
        let grown = until_tripled(scene, 2).await?;
        let pod = grown.keys().next().cloned().unwrap_or_default();
        let without = json!({"metadata": {"annotations": {"sakidori.dev/resize": null}}});
        scene.patch(PODS, &pod, &without).await?;
        until_all(scene, "both with their annotation", 2, |pod| {
            pod.remembers && has(TRIPLED)(pod)
        })
        .await?;
        end_sale(scene).await?;
        until_back(scene, 2).await?;
        Ok(())
    });
}
