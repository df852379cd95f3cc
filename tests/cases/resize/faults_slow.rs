//! What takes minutes, since the operator has patience. All of it runs side by side: about five and a half minutes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use serde_json::json;

use super::faults::{
    OWN, TRIPLED, asked, begin_sale, bring_up, end_sale, tell_kubelet, tripled, until_any,
    until_back, until_says, until_some, until_tripled,
};
use super::stage::{Seen, has, is_back, play, pods, until_all, until_pods};
use crate::scene::{SCALED_OBJECTS, Scene};

/// The operator's patience with a pod, and with a node that fails; and how long what follows may take.
const PATIENCE: Duration = Duration::from_secs(300);
const FAILING: Duration = Duration::from_secs(60);
const MORE: Duration = Duration::from_secs(40);

async fn until_within(
    scene: &Scene<'_>,
    what: &str,
    time: Duration,
    is: impl Fn(&Seen) -> bool,
) -> Result<()> {
    until_pods(scene, what, time, |pods| {
        pods.values().any(&is).then_some(())
    })
    .await
}

async fn one(scene: &Scene<'_>) -> Result<String> {
    let pods = pods(scene).await?;
    pods.keys().next().cloned().context("no pods")
}

/// A pod is taken back that found no room for five minutes, and not asked again; those that wait for it go on.
async fn deferred_for_long(scene: &Scene<'_>) -> Result<()> {
    bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 1})).await?;
    for pod in pods(scene).await?.keys() {
        tell_kubelet(scene, pod, &json!({"resize-deferred": "no room"})).await?;
    }
    begin_sale(scene).await?;
    let start = Instant::now();
    let first = until_any(scene, "a deferred pod", |pod| !pod.conditions.is_empty()).await?;
    ensure!(asked(scene)?.len() == 1, "{:?}", asked(scene)?);
    for pod in pods(scene).await?.keys().filter(|pod| **pod != first) {
        tell_kubelet(scene, pod, &json!({"resize-deferred": null})).await?;
    }
    let is_taken_back = |pod: &Seen| pod.remembers && has(OWN)(pod) && pod.wanted == OWN;
    // One waits and has no annotation yet, so this is the one that was asked.
    until_within(
        scene,
        "a pod that was taken back",
        PATIENCE + MORE,
        is_taken_back,
    )
    .await?;
    ensure!(
        start.elapsed() > PATIENCE - Duration::from_secs(10),
        "after {:?}",
        start.elapsed()
    );
    until_some(scene, "the other grown", 1, has(TRIPLED)).await?;
    until_says(scene, "Deferred", &["Deferred: 1", &first]).await?;
    end_sale(scene).await?;
    until_back(scene, 2).await?;
    Ok(())
}

/// A deletion waits five minutes for a pod whose kubelet says nothing, and then no longer.
async fn deleted_on_a_silent_node(scene: &Scene<'_>) -> Result<()> {
    bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
    begin_sale(scene).await?;
    until_tripled(scene, 2).await?;
    let pod = one(scene).await?;
    tell_kubelet(scene, &pod, &json!({"resize-silent": "true"})).await?;
    scene.delete(SCALED_OBJECTS, "web").await?;
    let start = Instant::now();
    until_some(scene, "the other back", 1, is_back).await?;
    eventually("no ScaledObject", PATIENCE + MORE, async || {
        let is_there = scene.get(SCALED_OBJECTS, "web").await?.is_some();
        Ok((!is_there).then_some(()))
    })
    .await?;
    ensure!(
        start.elapsed() > PATIENCE - Duration::from_secs(10),
        "after {:?}",
        start.elapsed()
    );
    // It is to have its own, whenever its kubelet comes back.
    let left = pods(scene).await?;
    ensure!(
        left[&pod].wanted == OWN && left[&pod].actual == TRIPLED,
        "{left:?}"
    );
    ensure!(!left[&pod].remembers, "{left:?}");
    tell_kubelet(scene, &pod, &json!({"resize-silent": null})).await?;
    until_all(scene, "both back", 2, is_back).await?;
    Ok(())
}

/// A pod is taken back whose node fails for a minute, and asked again later.
async fn failing_for_long(scene: &Scene<'_>) -> Result<()> {
    bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
    let pod = one(scene).await?;
    tell_kubelet(scene, &pod, &json!({"resize-fails": "app"})).await?;
    begin_sale(scene).await?;
    until_says(scene, "Failed", &["Failed: 1", &pod]).await?;
    let is_taken_back = |pod: &Seen| pod.remembers && pod.wanted == OWN;
    until_within(
        scene,
        "a pod that was taken back",
        FAILING + MORE,
        is_taken_back,
    )
    .await?;
    tell_kubelet(scene, &pod, &json!({"resize-fails": null})).await?;
    // The first wait is a minute, too.
    until_within(scene, "it is asked again", 2 * FAILING + MORE, |pod| {
        pod.wanted == TRIPLED
    })
    .await?;
    eventually("both grown", FAILING * 2 + MORE, async || {
        Ok(pods(scene).await?.values().all(has(TRIPLED)).then_some(()))
    })
    .await?;
    until_tripled(scene, 2).await?;
    end_sale(scene).await?;
    until_back(scene, 2).await?;
    Ok(())
}

/// Memory that is in use is not taken away; the CPU goes back.
async fn memory_in_use(scene: &Scene<'_>) -> Result<()> {
    let policies =
        json!([{"container": "app", "when": "prescale", "cpu": "x3", "memory": "+256Mi"}]);
    bring_up(scene, 2, json!({}), policies, json!({"maxConcurrent": 2})).await?;
    begin_sale(scene).await?;
    until_all(scene, "grown pods", 2, has("1500m 512Mi")).await?;
    let pod = one(scene).await?;
    tell_kubelet(scene, &pod, &json!({"resize-memory-in-use": "400Mi"})).await?;
    end_sale(scene).await?;
    until_says(scene, "Failed", &["Failed: 1", &pod]).await?;
    until_some(scene, "the other back", 1, is_back).await?;
    until_within(
        scene,
        "its CPU back, its memory kept",
        FAILING + MORE,
        has("500m 512Mi"),
    )
    .await?;
    let message = until_says(scene, "MemoryKept", &["MemoryKept: 1", &pod]).await?;
    ensure!(message.contains("No policy holds"), "{message}");
    let seen = pods(scene).await?;
    ensure!(
        seen[&pod].limits.ends_with(" 512Mi") && seen[&pod].qos == "Burstable",
        "{seen:?}"
    );
    // It uses less, and is tried again after a minute or two.
    tell_kubelet(scene, &pod, &json!({"resize-memory-in-use": null})).await?;
    eventually("both back", 3 * FAILING, async || {
        Ok(pods(scene).await?.values().all(is_back).then_some(()))
    })
    .await?;
    until_back(scene, 2).await?;
    Ok(())
}

#[test]
fn whoever_never_gets_there_is_given_up() {
    play("resize-slow", async |scene| {
        let open = async |name: &str| Scene::open(scene.cluster, name).await;
        let (silent, failing, memory) = (
            open("resize-slow-silent").await?,
            open("resize-slow-failing").await?,
            open("resize-slow-memory").await?,
        );
        let (one, two, three, four) = tokio::join!(
            deferred_for_long(scene),
            deleted_on_a_silent_node(&silent),
            failing_for_long(&failing),
            memory_in_use(&memory),
        );
        one.context("deferred for long")?;
        two.context("deleted on a silent node")?;
        three.context("failing for long")?;
        four.context("memory in use")?;
        for scene in [&silent, &failing, &memory] {
            scene.close().await?;
        }
        Ok(())
    });
}
