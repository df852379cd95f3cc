//! Nodes first, on a real API server: a CapacityBuffer stands from before the ramp until the pods are Ready. Nobody provisions
//! nodes here: the kind is a stand-in with the fields of the real one, and what an autoscaler would write is written by the test.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_tests::bed::Bed;
use serde_json::{Value, json};

use crate::prescaling::{calendar, from_now, trigger};
use crate::scene::{HPAS, SCALED_OBJECTS, SOON, Scene};

const BUFFERS: &str = "apis/autoscaling.x-k8s.io/v1beta1/capacitybuffers";

/// The kind as far as it matters: what cluster-autoscaler's own has, with its rules.
fn capacity_buffers() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer", "minimum": 0});
    let spec = json!({
        "type": "object",
        "properties": {
            "provisioningStrategy": {"type": "string", "default": "buffer.x-k8s.io/active-capacity"},
            "podTemplateRef": {"type": "object", "required": ["name"], "properties": {"name": text}},
            "scalableRef": {
                "type": "object",
                "required": ["kind", "name"],
                "properties": {"apiGroup": text, "kind": text, "name": text},
            },
            "replicas": number,
            "percentage": number,
        },
        "x-kubernetes-validations": [
            {"rule": "has(self.podTemplateRef) != has(self.scalableRef)", "message": "one of podTemplateRef and scalableRef"},
        ],
    });
    let condition = json!({
        "type": "object",
        "required": ["type", "status"],
        "properties": {"type": text, "status": text, "reason": text, "message": text},
    });
    let status = json!({
        "type": "object",
        "properties": {"replicas": number, "conditions": {"type": "array", "items": condition}},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "capacitybuffers.autoscaling.x-k8s.io",
            // Without it the API server gives away no name in this group.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
        },
        "spec": {
            "group": "autoscaling.x-k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "CapacityBuffer", "plural": "capacitybuffers", "singular": "capacitybuffer", "shortNames": ["cb"]},
            "versions": [{
                "name": "v1beta1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {"spec": spec, "status": status},
                }},
            }],
        },
    })
}

/// A Deployment with one pod, and a floor of 4 for a sale that starts in so many seconds, with nodes first.
async fn prescale(scene: &Scene<'_>, name: &str, starts_in: i64) -> Result<()> {
    scene.deploy(name, 1).await?;
    let sale = ("new-year", from_now(starts_in), from_now(starts_in + 600));
    scene.apply(calendar(name, &[sale])).await?;
    let nodes = json!({"desiredReplicas": "4", "nodes": "capacity-buffer"});
    let spec = json!({"minReplicaCount": 1, "triggers": [trigger(name, nodes)]});
    scene.apply(scene.scaled_object(name, spec)).await?;
    Ok(())
}

async fn prescaled(scene: &Scene<'_>, name: &str, status: &str, reason: &str) -> Result<String> {
    scene.condition(name, "Prescaled", status, reason).await
}

async fn until_room(scene: &Scene<'_>, name: &str, pods: i64) -> Result<Value> {
    let what = format!("room for {pods} pods");
    scene
        .until(&what, BUFFERS, &format!("sakidori-{name}"), |buffer| {
            (buffer["spec"]["replicas"] == pods).then(|| buffer.clone())
        })
        .await
}

#[test]
fn a_cluster_without_capacity_buffers_says_so_and_one_that_gets_them_has_nodes_first() -> Result<()>
{
    let bed = Bed::start()?;
    bed.run(async {
        let scene = Scene::open(&bed.cluster, "prescaling-nodes").await?;
        prescale(&scene, "without", 30).await?;
        let message = prescaled(&scene, "without", "False", "NodesUnsupported").await?;
        ensure!(
            message.contains("the cluster has no CapacityBuffer"),
            "{message}"
        );
        scene.until_told("without", "PrescaleNodesFailed").await?;
        scene.until_replicas("without", 4).await?;
        prescaled(&scene, "without", "True", "FloorReady").await?;

        scene.apply(capacity_buffers()).await?;
        eventually("the kind to be served", SOON, async || {
            scene.list(BUFFERS).await.map(Some)
        })
        .await?;
        // It looks for the kind every half minute; a restart looks at once.
        bed.operator.lock().await.kill()?;
        bed.operator.lock().await.restart()?;
        // Its floor's pods are there: it wants no room any more.
        prescale(&scene, "web", 100).await?;
        let buffer = until_room(&scene, "web", 3).await?;
        let object = scene.get(SCALED_OBJECTS, "web").await?.context("gone")?;
        let owner = &buffer["metadata"]["ownerReferences"][0];
        ensure!(owner["kind"] == "ScaledObject", "{buffer:#}");
        ensure!(owner["uid"] == object["metadata"]["uid"], "{buffer:#}");
        let label = &buffer["metadata"]["labels"]["scaledobject.keda.sh/name"];
        ensure!(label == "web", "{buffer:#}");
        let spec = json!({
            "provisioningStrategy": "buffer.x-k8s.io/active-capacity",
            "scalableRef": {"apiGroup": "apps", "kind": "Deployment", "name": "web"},
            "replicas": 3,
        });
        ensure!(buffer["spec"] == spec, "{buffer:#}");
        prescaled(&scene, "web", "Unknown", "NodesRequested").await?;
        ensure!(
            scene.get(BUFFERS, "sakidori-without").await?.is_none(),
            "room that nobody needs"
        );

        // One of that name that somebody made is neither taken over nor deleted, and holds nothing up.
        let by_hand = json!({
            "apiVersion": "autoscaling.x-k8s.io/v1beta1",
            "kind": "CapacityBuffer",
            "metadata": {"name": "sakidori-other"},
            "spec": {"podTemplateRef": {"name": "pod"}, "replicas": 1},
        });
        scene.create(BUFFERS, &by_hand).await?;
        prescale(&scene, "other", 45).await?;
        let message = prescaled(&scene, "other", "False", "NodesFailed").await?;
        ensure!(
            message.contains("was not made for this ScaledObject"),
            "{message}"
        );
        // And one whose object goes, goes with it.
        prescale(&scene, "gone", 300).await?;
        until_room(&scene, "gone", 3).await?;
        scene.delete(SCALED_OBJECTS, "gone").await?;

        // What the autoscaler says is read again after a restart, which makes no other buffer.
        let provisioned =
            json!([{"type": "Provisioning", "status": "True", "reason": "FakePodsInjected"}]);
        scene
            .patch(
                BUFFERS,
                "sakidori-web/status",
                &json!({"status": {"conditions": provisioned}}),
            )
            .await?;
        bed.operator.lock().await.kill()?;
        bed.operator.lock().await.restart()?;
        prescaled(&scene, "web", "Unknown", "NodesReady").await?;
        let again = until_room(&scene, "web", 3).await?;
        ensure!(
            again["metadata"]["uid"] == buffer["metadata"]["uid"],
            "another buffer"
        );

        // The ramp, the pods, and the end of the room, while the sale has not begun.
        until_floor(&scene, "other").await?;
        scene.until_replicas("other", 4).await?;
        until_floor(&scene, "web").await?;
        prescaled(&scene, "web", "True", "FloorReady").await?;
        scene.until_gone(BUFFERS, "sakidori-web").await?;
        let room = scene
            .until("no room in the status", SCALED_OBJECTS, "web", |object| {
                let prescaling = &object["status"]["sakidori"]["prescaling"];
                prescaling.get("room").is_none().then(|| prescaling.clone())
            })
            .await?;
        ensure!(room["runs"][0]["housed"] == 4, "{room:#}");
        ensure!(
            scene.get(BUFFERS, "sakidori-other").await?.is_some(),
            "it was not ours"
        );
        scene.until_gone(BUFFERS, "sakidori-gone").await
    })
}

/// Waits until the floor is set, which is a while off: before its ramp there is to be time for all else.
async fn until_floor(scene: &Scene<'_>, name: &str) -> Result<()> {
    eventually("a floor of 4", Duration::from_secs(150), async || {
        let hpa = scene.get(HPAS, &format!("keda-hpa-{name}")).await?;
        let is_set = hpa.is_some_and(|hpa| hpa["spec"]["minReplicas"] == 4);
        Ok(is_set.then_some(()))
    })
    .await
}
