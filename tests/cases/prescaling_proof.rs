//! What keeps the pods of a floor from coming up is told before the sale starts, with numbers, and is over by itself once it is gone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::eventually;
use sakidori_tests::namespace::deployment;
use serde_json::{Value, json};

use crate::prescaling::{calendar, floor, from_now, trigger, until_bounds, until_not_prescaled};
use crate::scene::{DEPLOYMENTS, HPAS, SCALED_OBJECTS, Scene, condition, merge, play};

const QUOTAS: &str = "api/v1/resourcequotas";
/// A controller that was refused tries again after a while that doubles.
const TRIED_AGAIN: Duration = Duration::from_secs(120);

fn quota(pods: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"pods": pods}},
    })
}

/// Sets a quota of `pods`, and waits until it counts the target's one pod: before, it refuses everything. That pod is there first: one
/// that comes at the same time may be counted never.
async fn limit(scene: &Scene<'_>, target: &Value, pods: &str) -> Result<()> {
    let sets = "apis/apps/v1/statefulsets";
    let kind = if target["kind"] == "StatefulSet" {
        sets
    } else {
        DEPLOYMENTS
    };
    let ready = |target: &Value| (target["status"]["readyReplicas"] == 1).then_some(());
    scene.until("a pod", kind, "web", ready).await?;
    scene.apply(quota(pods)).await?;
    let counts = |quota: &Value| (quota["status"]["used"]["pods"] == "1").then_some(());
    scene
        .until("a quota that counts", QUOTAS, "small", counts)
        .await
}

async fn until_ready_floor(scene: &Scene<'_>) -> Result<()> {
    eventually("a floor that is Ready", TRIED_AGAIN, async || {
        let object = scene.get(SCALED_OBJECTS, "web").await?.unwrap_or_default();
        let ready =
            condition(&object, "Prescaled").is_some_and(|one| one["reason"] == "FloorReady");
        Ok(ready.then_some(()))
    })
    .await
}

/// Two pods are allowed, four are asked for. `target` is the object's scaleTargetRef.
async fn quota_is_told_in_time(scene: &Scene<'_>, target: Value) -> Result<()> {
    limit(scene, &target, "2").await?;
    let start = from_now(50);
    scene
        .apply(calendar("sales", &[("new-year", start, from_now(900))]))
        .await?;
    let lead = json!({"desiredReplicas": "4", "leadTime": "40s"});
    let spec = json!({"minReplicaCount": 1, "scaleTargetRef": target, "triggers": [trigger("sales", lead)]});
    scene.apply(scene.scaled_object("web", spec)).await?;
    scene.ready("web").await?;
    let parts = [
        "2 of 4 replicas for new-year are Ready: a ResourceQuota is in the way: ",
        "exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2",
    ];
    until_not_prescaled(scene, "QuotaExceeded", &parts).await?;
    let note = scene.until_told("web", "PrescaleLate").await?;
    ensure!(Timestamp::now() < start, "it is told after the start");
    for part in [
        "2 of 4 replicas",
        "before the start",
        "exceeded quota: small",
    ] {
        ensure!(note.contains(part), "{note}");
    }
    scene.delete(QUOTAS, "small").await?;
    until_ready_floor(scene).await?;
    let note = scene.until_told("web", "PrescaleReady").await?;
    ensure!(note.starts_with("all 4 replicas for new-year"), "{note}");
    Ok(())
}

#[test]
fn a_quota_in_the_way_of_a_deployment_is_told_in_time_and_recovers_by_itself() {
    play("proof-quota", async |scene| {
        scene.deploy("web", 1).await?;
        quota_is_told_in_time(scene, json!({"name": "web"})).await
    });
}

#[test]
fn a_quota_in_the_way_of_a_stateful_set_is_told_in_time_and_recovers_by_itself() {
    play("proof-quota-set", async |scene| {
        let mut set = deployment("web", 1);
        set["kind"] = json!("StatefulSet");
        set["spec"]["serviceName"] = json!("web");
        scene.apply(set).await?;
        quota_is_told_in_time(scene, json!({"name": "web", "kind": "StatefulSet"})).await
    });
}

/// The HPA controller goes to a raised minimum past `behavior`, and counts that against its policies.
#[test]
fn the_hpa_is_at_the_floor_at_once_whatever_its_behavior_and_above_it_only_as_that_allows() {
    play("proof-behavior", async |scene| {
        scene.deploy("web", 1).await?;
        let sale = ("a", from_now(8), from_now(900));
        scene.apply(calendar("sales", &[sale])).await?;
        let slow = json!({
            "stabilizationWindowSeconds": 3600,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1800}],
        });
        let mut spec = json!({
            "minReplicaCount": 1,
            "triggers": [trigger("sales", floor(4)), scene.trigger()],
        });
        let advanced = json!({"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": slow}}});
        merge(&mut spec, json!({"advanced": advanced}));
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 4).await?;
        until_bounds(scene, "web", 4, 5).await?;
        scene.set(50);
        let wanted = |hpa: &Value| {
            let limited = hpa["status"]["conditions"].as_array()?;
            let limited = limited.iter().find(|one| one["type"] == "ScalingLimited")?;
            (limited["status"] == "True" || hpa["status"]["desiredReplicas"] == 4).then_some(())
        };
        scene.until("a limit", HPAS, "keda-hpa-web", wanted).await?;
        scene.stays_for("web", 4, Duration::from_secs(5)).await
    });
}

#[test]
fn pods_that_find_no_node_are_told_while_somebody_can_still_act() {
    play("proof-no-room", async |scene| {
        let mut deployment = deployment("web", 1);
        deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"room": "none"});
        scene.apply(deployment).await?;
        let start = from_now(35);
        scene
            .apply(calendar("sales", &[("a", start, from_now(600))]))
            .await?;
        let lead = json!({"desiredReplicas": "3", "leadTime": "30s"});
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("sales", lead)]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let note = scene.until_told("web", "PrescaleLate").await?;
        let left = start.duration_since(Timestamp::now());
        // Half of the lead time is left, less what a busy machine takes.
        ensure!(
            left > SignedDuration::from_secs(5),
            "{left:#} are left: {note}"
        );
        ensure!(note.contains("find no node with room"), "{note}");
        let parts = ["0 of 3 replicas for a are Ready: 3 pods find no node"];
        until_not_prescaled(scene, "Unschedulable", &parts).await?;
        let object = scene.get(SCALED_OBJECTS, "web").await?.context("gone")?;
        ensure!(
            condition(&object, "Ready").is_some_and(|one| one["status"] == "True"),
            "it scales all the same"
        );
        Ok(())
    });
}
