//! Nodes that have no room, have none ever, or fail.

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::{NodeSize, eventually};
use serde_json::{Value, json};

use super::faults::{
    OWN, TRIPLED, asked, begin_sale, bring_up, counted, end_sale, has_replicas, tell_kubelet,
    tripled, until_any, until_back, until_says, until_some, until_tripled,
};
use super::stage::{PODS, Seen, has, play, pods, shared, until_all};
use super::witness::Witness;
use crate::scene::{SOON, Scene};

const BUDGETS: &str = "apis/policy/v1/poddisruptionbudgets";

fn is_deferred(pod: &Seen) -> bool {
    pod.conditions == ["PodResizePending: Deferred"] && pod.actual == OWN
}

fn is_infeasible(pod: &Seen) -> bool {
    pod.conditions == ["PodResizePending: Infeasible"] && pod.actual == OWN
}

/// The first pod by name.
async fn one(scene: &Scene<'_>) -> Result<String> {
    let pods = pods(scene).await?;
    pods.keys().next().cloned().context("no pods")
}

async fn patch_node(scene: &Scene<'_>, name: &str, path: &str, patch: &Value) -> Result<()> {
    let request = http::Request::patch(format!("/api/v1/nodes/{name}{path}"))
        .header("content-type", "application/merge-patch+json")
        .body(serde_json::to_vec(patch)?)?;
    let _: Value = scene.client.request(request).await?;
    Ok(())
}

#[test]
fn pods_without_room_wait_for_it_and_the_others_go_on() {
    play("resize-deferred", async |scene| {
        // A node for these pods alone, with room for one of them to grow.
        let size = NodeSize {
            cpu: "2600m".to_owned(),
            ..NodeSize::default()
        };
        let node = "node-resize-deferred";
        scene.cluster.add_node(node, &size).await?;
        let taint = json!({"key": "only", "value": "resize-deferred", "effect": "NoSchedule"});
        patch_node(scene, node, "", &json!({"spec": {"taints": [taint]}})).await?;
        let template = json!({"spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [{"key": "only", "operator": "Exists"}],
        }});
        bring_up(scene, 3, template, tripled(), json!({"maxConcurrent": 2})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_some(scene, "one grown", 1, has(TRIPLED)).await?;
        until_some(scene, "one deferred", 1, is_deferred).await?;
        until_says(scene, "Deferred", &["Deferred: 1"]).await?;
        scene.until_told("web", "PodResizeDeferred").await?;
        // The third is not asked while another waits there for room.
        ensure!(asked(scene)?.len() == 2, "{:?}", asked(scene)?);
        let larger = json!({"status": {"capacity": {"cpu": "8"}, "allocatable": {"cpu": "8"}}});
        patch_node(scene, node, "/status", &larger).await?;
        until_tripled(scene, 3).await?;
        end_sale(scene).await?;
        until_back(scene, 3).await?;
        has_replicas(scene, 3).await?;
        witness.content(2)
    });
}

#[test]
fn a_pod_that_waits_for_room_is_told_and_grows_when_there_is_some() {
    play("resize-deferred-one", async |scene| {
        bring_up(scene, 4, json!({}), tripled(), json!({"maxConcurrent": 4})).await?;
        let witness = Witness::of(scene);
        let pod = one(scene).await?;
        tell_kubelet(scene, &pod, &json!({"resize-deferred": "no room for web"})).await?;
        begin_sale(scene).await?;
        until_some(scene, "three grown", 3, has(TRIPLED)).await?;
        until_says(scene, "Deferred", &["Deferred: 1", &pod, "no room for web"]).await?;
        tell_kubelet(scene, &pod, &json!({"resize-deferred": null})).await?;
        until_tripled(scene, 4).await?;
        end_sale(scene).await?;
        until_back(scene, 4).await?;
        witness.content(4)
    });
}

#[test]
fn a_pod_whose_node_never_has_room_is_left_as_it_is() {
    play("resize-infeasible", async |scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 1})).await?;
        let pod = one(scene).await?;
        tell_kubelet(
            scene,
            &pod,
            &json!({"resize-infeasible": "Node didn't have enough capacity: cpu"}),
        )
        .await?;
        begin_sale(scene).await?;
        until_some(scene, "two grown", 2, has(TRIPLED)).await?;
        until_says(
            scene,
            "Infeasible",
            &["Infeasible: 1", &pod, "enough capacity"],
        )
        .await?;
        until_some(scene, "one infeasible", 1, is_infeasible).await?;
        scene.until_told("web", "PodResizeInfeasible").await?;
        ensure!(counted(scene, shared()?, "infeasible").await? == 1.0);
        super::faults::asks_nothing_for(scene, std::time::Duration::from_secs(12)).await?;
        end_sale(scene).await?;
        // Its kubelet says nothing against less.
        tell_kubelet(scene, &pod, &json!({"resize-infeasible": null})).await?;
        let back = until_back(scene, 3).await?;
        ensure!(back.contains_key(&pod), "{back:?}");
        has_replicas(scene, 3).await
    });
}

#[test]
fn an_infeasible_pod_is_evicted_where_that_is_asked_for_and_its_budget_lets_it() {
    play("resize-evict", async |scene| {
        let evict = json!({"maxConcurrent": 1, "onInfeasible": "Evict"});
        bring_up(scene, 3, json!({}), tripled(), evict).await?;
        let budget = |least: i32| {
            json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
                "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}},
            })
        };
        scene.apply(budget(3)).await?;
        scene
            .until("a budget that allows none", BUDGETS, "web", |budget| {
                (budget["status"]["disruptionsAllowed"] == 0
                    && budget["status"]["currentHealthy"] == 3)
                    .then_some(())
            })
            .await?;
        let pod = one(scene).await?;
        tell_kubelet(scene, &pod, &json!({"resize-infeasible": "true"})).await?;
        begin_sale(scene).await?;
        until_says(scene, "Infeasible", &["Infeasible: 1", &pod]).await?;
        let evictions = || -> Result<Vec<u16>> {
            let log = scene.cluster.write_log()?;
            let of_it = log.iter().filter(|write| {
                write.namespace == scene.namespace && write.subresource == "eviction"
            });
            Ok(of_it.map(|write| write.code).collect())
        };
        eventually("a refused eviction", SOON, async || {
            Ok(evictions()?.contains(&429).then_some(()))
        })
        .await?;
        ensure!(scene.get(PODS, &pod).await?.is_some(), "{pod} is gone");
        scene.apply(budget(2)).await?;
        eventually("an eviction", SOON, async || {
            Ok(evictions()?.contains(&201).then_some(()))
        })
        .await?;
        let grown = until_tripled(scene, 3).await?;
        ensure!(!grown.contains_key(&pod), "{grown:?}");
        ensure!(evictions()?.iter().filter(|code| **code == 201).count() == 1);
        end_sale(scene).await?;
        until_back(scene, 3).await?;
        has_replicas(scene, 3).await
    });
}

#[test]
fn a_resize_that_its_node_fails_is_told_and_goes_on_when_it_no_longer_does() {
    play("resize-fails", async |scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 3})).await?;
        let witness = Witness::of(scene);
        let pod = one(scene).await?;
        tell_kubelet(scene, &pod, &json!({"resize-fails": "app"})).await?;
        begin_sale(scene).await?;
        until_some(scene, "two grown", 2, has(TRIPLED)).await?;
        until_any(scene, "a failing pod", |pod| {
            pod.conditions == ["PodResizeInProgress: Error"]
        })
        .await?;
        until_says(scene, "Failed", &["Failed: 1", &pod]).await?;
        scene.until_told("web", "PodResizeFailed").await?;
        tell_kubelet(scene, &pod, &json!({"resize-fails": null})).await?;
        until_tripled(scene, 3).await?;
        end_sale(scene).await?;
        until_all(scene, "pods that are back", 3, super::stage::is_back).await?;
        witness.content(3)
    });
}
