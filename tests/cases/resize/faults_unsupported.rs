//! A cluster without `pods/resize`, and one where the operator may not: the condition says so, everything else works.

use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_tests::bed::Bed;
use sakidori_tests::chart;
use serde_json::{Value, json};

use super::between::{Between, Resizes};
use super::faults::{
    OWN, TRIPLED, asked, begin_sale, bring_up_to, end_sale, tripled, until_says, until_says_within,
    until_tripled,
};
use super::stage::{has, options, play_on, until_all, until_pods};
use crate::prescaling::until_bounds;
use crate::scene::{SCALED_OBJECTS, Scene};

/// It is looked up after 15 s and after 30 s more; once a request was refused, after 1 s and 2 s.
const LOOKED_UP_TWICE: Duration = Duration::from_secs(90);

/// Prescaling, scaling and deletion, while nothing can be resized. `foreseen` is said before any sale.
async fn everything_else_works(
    scene: &Scene<'_>,
    foreseen: &str,
    reason: &str,
    told: &[&str],
) -> Result<()> {
    let two = json!({"maxConcurrent": 2});
    bring_up_to(foreseen, scene, 2, json!({}), tripled(), two).await?;
    let more = json!({"spec": {"triggers": [
        crate::prescaling::trigger("sales", crate::prescaling::floor(3)), scene.trigger(),
    ]}});
    scene.patch(SCALED_OBJECTS, "web", &more).await?;
    begin_sale(scene).await?;
    until_says(scene, reason, told).await?;
    until_bounds(scene, "web", 3, 6).await?;
    scene.until_replicas("web", 3).await?;
    scene.ready("web").await?;
    scene
        .condition("web", "Prescaled", "True", "FloorReady")
        .await?;
    scene.set(50);
    scene.until_replicas("web", 5).await?;
    until_all(scene, "pods as they are", 5, has(OWN)).await?;
    until_says(scene, reason, told).await?;
    scene.set(0);
    end_sale(scene).await?;
    scene.until_replicas("web", 2).await?;
    scene.delete(SCALED_OBJECTS, "web").await?;
    scene.until_gone(SCALED_OBJECTS, "web").await
}

/// Lets the operator have what the chart gives with these values of `rbac`.
async fn grant(scene: &Scene<'_>, in_place_resize: bool) -> Result<()> {
    let values: Value = json!({"rbac": {"inPlaceResize": in_place_resize}});
    chart::service_account_with(scene.cluster, &values).await?;
    Ok(())
}

#[test]
fn where_pods_cannot_be_resized_everything_else_works() {
    let between = Between::start().unwrap();
    between.set(Resizes::AreMissing);
    let bed = Bed::start_with(options(), |settings| {
        between.stand_before(settings).unwrap()
    });
    let bed = bed.unwrap();
    let unsupported = async |scene: &Scene, foreseen| {
        everything_else_works(scene, foreseen, "Unsupported", &["Kubernetes 1.33"]).await?;
        until_all(scene, "no annotation", 2, |pod| !pod.remembers).await?;
        ensure!(asked(scene)?.is_empty(), "{:?}", asked(scene)?);
        Ok(())
    };
    play_on(&bed, "resize-missing", async |scene| {
        unsupported(scene, "Unsupported").await?;
        // Told before the sale; the cluster is upgraded in time.
        let two = json!({"maxConcurrent": 2});
        bring_up_to("Unsupported", scene, 2, json!({}), tripled(), two).await?;
        scene.until_told("web", "PodResizeUnsupported").await?;
        between.set(Resizes::GoThrough);
        until_says_within(LOOKED_UP_TWICE, scene, "NoPolicyHolds", &[]).await?;
        begin_sale(scene).await?;
        until_tripled(scene, 2).await?;
        Ok(())
    });
    // Something between answers for the API server, which lists the subresource.
    between.set(Resizes::AreUnknown);
    play_on(&bed, "resize-unsupported", async |scene| {
        unsupported(scene, "NoPolicyHolds").await?;
        // It is believed once, tried by one pod, and looked up again.
        let two = json!({"maxConcurrent": 2});
        bring_up_to("NoPolicyHolds", scene, 2, json!({}), tripled(), two).await?;
        let before = between.unknown();
        begin_sale(scene).await?;
        eventually("a try after the first", LOOKED_UP_TWICE, async || {
            Ok((between.unknown() >= before + 2).then_some(()))
        })
        .await?;
        until_says(scene, "Unsupported", &[]).await?;
        between.set(Resizes::GoThrough);
        until_pods(scene, "grown pods", LOOKED_UP_TWICE, |pods| {
            pods.values().all(has(TRIPLED)).then_some(())
        })
        .await
    });
    between.set(Resizes::GoThrough);
    play_on(&bed, "resize-not-allowed", async |scene| {
        grant(scene, false).await?;
        let told = ["cannot", "pods", "rbac.inPlaceResize"];
        everything_else_works(scene, "NotAllowed", "NotAllowed", &told).await?;
        until_all(scene, "no annotation", 2, |pod| !pod.remembers).await?;
        let two = json!({"maxConcurrent": 2});
        bring_up_to("NotAllowed", scene, 2, json!({}), tripled(), two).await?;
        scene.until_told("web", "PodResizeNotAllowed").await?;
        grant(scene, true).await?;
        until_says_within(LOOKED_UP_TWICE, scene, "NoPolicyHolds", &[]).await?;
        Ok(())
    });
}
