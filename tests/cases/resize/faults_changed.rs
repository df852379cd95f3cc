//! What pods belong to changes while they are resized: their template, they themselves, how many there are, the target.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::faults::{
    OWN, TRIPLED, another, asks_nothing_for, begin_sale, bring_up, end_sale, shop, slow, tripled,
    until_any, until_back, until_of, until_tripled,
};
use super::stage::{PODS, has, is_back, play, until_all, web};
use super::witness::Witness;
use crate::prescaling::calendar;
use crate::scene::{DEPLOYMENTS, SCALED_OBJECTS, merge};
use crate::targets::STATEFUL_SETS;

#[test]
fn a_template_that_changes_within_a_sale_is_what_new_pods_grow_from() {
    play("resize-template", async |scene| {
        bring_up(scene, 4, slow("1s"), tripled(), json!({"maxConcurrent": 2})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_any(scene, "a pod under way", |pod| pod.wanted != pod.actual).await?;
        let patch = json!({"spec": {"template": {"spec": {"containers": [{
            "name": "app", "image": "example.org/none:1",
            "resources": {"requests": {"cpu": "600m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        }]}}}});
        scene.patch(DEPLOYMENTS, "web", &patch).await?;
        until_all(
            scene,
            "grown pods of the new template",
            4,
            has("1800m 256Mi"),
        )
        .await?;
        scene.condition("web", "Resized", "True", "Resized").await?;
        end_sale(scene).await?;
        until_all(scene, "pods at the new template", 4, |pod| {
            has("600m 256Mi")(pod) && pod.limits == "1 256Mi" && !pod.remembers
        })
        .await?;
        witness.content(2)
    });
}

#[test]
fn a_pod_that_takes_anothers_name_is_another_pod() {
    play("resize-replaced", async |scene| {
        let mut set = web(3, slow("2s"));
        merge(
            &mut set,
            json!({"kind": "StatefulSet", "spec": {"serviceName": "web", "podManagementPolicy": "Parallel"}}),
        );
        scene.apply(set).await?;
        until_all(scene, "pods", 3, has(OWN)).await?;
        scene.apply(calendar("sales", &[])).await?;
        let mut object = shop(scene, 3, tripled(), json!({"maxConcurrent": 1}))?;
        object["spec"]["scaleTargetRef"]["kind"] = "StatefulSet".into();
        scene.apply(object).await?;
        scene.ready("web").await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        let name = until_any(scene, "a pod under way", |pod| pod.wanted != pod.actual).await?;
        let uid = async || {
            let pod = scene.get(PODS, &name).await?;
            anyhow::Ok(pod.unwrap_or_default()["metadata"]["uid"].clone())
        };
        let before = uid().await?;
        scene.delete(PODS, &name).await?;
        until_tripled(scene, 3).await?;
        ensure!(uid().await? != before, "{name} is the same pod");
        end_sale(scene).await?;
        until_back(scene, 3).await?;
        ensure!(scene.replicas_of(STATEFUL_SETS, "web").await? == 3);
        witness.content(1)
    });
}

#[test]
fn pods_that_come_within_a_sale_grow_and_those_that_go_are_missed_by_nobody() {
    play("resize-scaled-out", async |scene| {
        bring_up(scene, 3, slow("1s"), tripled(), json!({"maxConcurrent": 1})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        let name = until_any(scene, "a pod under way", |pod| pod.wanted != pod.actual).await?;
        scene.set(60);
        scene.until_replicas("web", 6).await?;
        scene.delete(PODS, &name).await?;
        until_tripled(scene, 6).await?;
        end_sale(scene).await?;
        until_back(scene, 6).await?;
        witness.content(1)
    });
}

#[test]
fn pods_of_a_target_that_an_object_no_longer_has_go_back() {
    play("resize-retargeted", async |scene| {
        scene.apply(another("other", 2)).await?;
        until_all(scene, "pods of the other", 2, has(OWN)).await?;
        scene.apply(web(2, json!({}))).await?;
        until_all(scene, "all pods", 4, has(OWN)).await?;
        scene.apply(calendar("sales", &[])).await?;
        let mut object = shop(scene, 2, tripled(), json!({"maxConcurrent": 2}))?;
        scene.apply(object.clone()).await?;
        scene.ready("web").await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_of(scene, "grown pods", "web-", 2, has(TRIPLED)).await?;
        until_of(scene, "the other's as they were", "other-", 2, is_back).await?;
        object["spec"]["scaleTargetRef"]["name"] = "other".into();
        scene.apply(object).await?;
        until_of(scene, "pods that are back", "web-", 2, is_back).await?;
        until_of(scene, "grown pods of the other", "other-", 2, has(TRIPLED)).await?;
        scene.condition("web", "Resized", "True", "Resized").await?;
        end_sale(scene).await?;
        until_of(scene, "the other's that are back", "other-", 2, is_back).await?;
        // Each of the two has waves of its own.
        witness.content(2 * 2)
    });
}

#[test]
fn pods_of_a_target_that_two_objects_want_are_resized_for_its_owner_alone() {
    play("resize-rivals", async |scene| {
        bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_tripled(scene, 2).await?;
        let doubled = json!([{"container": "app", "when": "prescale", "cpu": "x2"}]);
        let mut other = shop(scene, 2, doubled, json!({"maxConcurrent": 2}))?;
        other["metadata"]["name"] = "other".into();
        scene.apply(other.clone()).await?;
        scene.check_failed("other").await?;
        asks_nothing_for(scene, Duration::from_secs(3)).await?;
        // One that never had the pods takes nothing back.
        scene.delete(SCALED_OBJECTS, "other").await?;
        scene.until_gone(SCALED_OBJECTS, "other").await?;
        asks_nothing_for(scene, Duration::from_secs(3)).await?;
        until_tripled(scene, 2).await?;

        scene.apply(other).await?;
        scene.check_failed("other").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        scene.ready("other").await?;
        until_all(scene, "pods of the other", 2, has("1 256Mi")).await?;
        end_sale(scene).await?;
        until_all(scene, "pods that are back", 2, is_back).await?;
        witness.content(2)
    });
}
