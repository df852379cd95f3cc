//! What the operator finds when it starts: what it left itself, what came meanwhile, what KEDA left. Nothing moves for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_servers::Answer;
use sakidori_tests::Operator;
use serde_json::json;

use crate::installed::play_installed;
use crate::scene::{self, HPAS, PATH, SCALED_OBJECTS, SOON, Scene, answer};

#[test]
fn killed_at_n_replicas_with_its_source_down_it_comes_back_and_nothing_moves() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "process-killed").await?;
        let mut operator = Operator::start(installed.watching("process-killed"))?;
        operator.wait_ready(SOON).await?;
        operator.register(&installed.cluster).await?;
        scene.source.set("/quiet", answer(0));
        scene.deploy("web", 0).await?;
        scene.deploy("quiet", 0).await?;
        scene
            .apply(scene.scaled_object("web", json!({"cooldownPeriod": 0})))
            .await?;
        let quiet = json!({"triggers": [scene.trigger_on("/quiet")]});
        scene.apply(scene.scaled_object("quiet", quiet)).await?;
        scene.set(25);
        scene.until_replicas("web", 3).await?;
        scene.source.set(PATH, Answer::status(503));
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene
            .condition("quiet", "HPAActive", "True", "ScalingDisabled")
            .await?;
        scene.stays("web", 3, PATH, 2).await?;

        operator.kill()?;
        scene.stays_for("web", 3, Duration::from_secs(2)).await?;
        let before = scene.writes()?.len();
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        scene.stays("web", 3, PATH, 4).await?;
        let writes = scene.writes()?.split_off(before);
        // What the HPA says of itself may have changed while nobody served its metric; nothing else has.
        let statuses = writes
            .iter()
            .filter(|write| *write == "patch scaledobjects/status web")
            .count();
        ensure!(
            writes.len() == statuses && statuses <= 2,
            "written after the restart: {writes:#?}"
        );
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;

        scene.set(45);
        scene.until_replicas("web", 5).await?;
        scene.ready("web").await
    });
}

/// Objects at zero, which nobody else scales, are polled first after a start, whatever their pollingInterval.
#[test]
fn what_came_while_it_was_away_is_seen_at_once() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "process-away").await?;
        let mut operator = Operator::start(installed.watching("process-away"))?;
        operator.wait_ready(SOON).await?;
        scene.deploy("web", 0).await?;
        scene.deploy("late", 0).await?;
        let slow = json!({"pollingInterval": 600});
        scene.apply(scene.scaled_object("web", slow)).await?;
        scene.ready("web").await?;
        operator.kill()?;
        scene.set(1);
        // And what was created, and then deleted, meanwhile.
        scene.apply(scene.scaled_object("late", json!({}))).await?;
        operator.restart()?;
        let started = Instant::now();
        scene.until_replicas("web", 1).await?;
        let took = started.elapsed();
        // Its next poll would be minutes away.
        ensure!(took < Duration::from_secs(20), "it took {took:?}");
        scene.until_replicas("late", 1).await?;
        operator.kill()?;
        scene.delete(SCALED_OBJECTS, "late").await?;
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        scene.ready("web").await?;
        scene.until_gone(HPAS, "keda-hpa-late").await
    });
}

#[test]
fn after_a_restart_the_first_on_a_target_is_still_the_first() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "process-shared").await?;
        scene.deploy("web", 0).await?;
        let target = json!({"scaleTargetRef": {"name": "web"}});
        // In one second, so that the name decides.
        scene
            .apply(scene.scaled_object("b", target.clone()))
            .await?;
        scene
            .apply(scene.scaled_object("a", target.clone()))
            .await?;
        let created = async |name: &str| -> Result<String> {
            let object = scene
                .get(SCALED_OBJECTS, name)
                .await?
                .context("no ScaledObject")?;
            Ok(scene::text(&object["metadata"]["creationTimestamp"]))
        };
        let (first, second) = if created("b").await? < created("a").await? {
            ("b", "a")
        } else {
            ("a", "b")
        };
        let mut operator = Operator::start(installed.watching("process-shared"))?;
        operator.wait_ready(SOON).await?;
        scene.ready(first).await?;
        let message = scene.check_failed(second).await?;
        ensure!(
            message.contains(&format!("managed by the ScaledObject '{first}'")),
            "{message}"
        );
        let before = scene.writes()?.len();
        operator.kill()?;
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        scene.stays("web", 0, PATH, 3).await?;
        let writes = scene.writes()?.split_off(before);
        ensure!(
            writes.iter().all(|write| write.contains("status")),
            "{writes:#?}"
        );
        let none = scene.get(HPAS, &format!("keda-hpa-{second}")).await?;
        ensure!(none.is_none(), "it got an HPA");
        scene.check_failed(second).await.map(drop)
    });
}

/// KEDA is stopped and this operator started: the same HPA goes on, and nothing moves.
#[test]
fn what_keda_left_is_taken_over() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "process-keda").await?;
        scene.deploy("web", 3).await?;
        scene.source.set(PATH, Answer::status(503));
        let mut object = scene.scaled_object("web", json!({"cooldownPeriod": 1}));
        let metadata = json!({
            "finalizers": ["finalizer.keda.sh"], "labels": {"scaledobject.keda.sh/name": "web"},
        });
        scene::merge(&mut object["metadata"], metadata);
        let applied = scene.apply(object).await?;
        let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message});
        let status = json!({
            "scaleTargetKind": "apps/v1.Deployment",
            "scaleTargetGVKR": {"group": "apps", "version": "v1", "kind": "Deployment", "resource": "deployments"},
            "originalReplicaCount": 7,
            "lastActiveTime": "2026-01-01T00:00:00Z",
            "externalMetricNames": ["s0-metric-api-value"],
            "hpaName": "keda-hpa-web",
            "conditions": [
                condition("Ready", "True", "ScaledObjectReady",
                    "ScaledObject is defined correctly and is ready for scaling"),
                condition("Active", "True", "ScalerActive", "Scaling is performed because triggers are active"),
                condition("Fallback", "False", "NoFallbackFound", "No fallbacks are active on this scaled object"),
                condition("Paused", "False", "", ""),
            ],
        });
        scene
            .patch(SCALED_OBJECTS, "web/status", &json!({"status": status}))
            .await?;
        let selector = json!({"matchLabels": {"scaledobject.keda.sh/name": "web"}});
        let hpa = json!({
            "metadata": {
                "name": "keda-hpa-web",
                "labels": {
                    "app.kubernetes.io/name": "keda-hpa-web",
                    "app.kubernetes.io/version": "2.20.0",
                    "app.kubernetes.io/part-of": "web",
                    "app.kubernetes.io/managed-by": "keda-operator",
                    "scaledobject.keda.sh/name": "web",
                },
                "ownerReferences": [{
                    "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "web",
                    "uid": applied["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 1,
                "maxReplicas": 4,
                "metrics": [{"type": "External", "external": {
                    "metric": {"name": "s0-metric-api-value", "selector": selector},
                    "target": {"type": "AverageValue", "averageValue": "10"},
                }}],
            },
        });
        let before = scene.create(HPAS, &hpa).await?;

        let mut operator = Operator::start(installed.watching("process-keda"))?;
        operator.wait_ready(SOON).await?;
        scene
            .until(
                "HPA with this operator's maximum",
                HPAS,
                "keda-hpa-web",
                |hpa| (hpa["spec"]["maxReplicas"] == 5).then_some(()),
            )
            .await?;
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene.stays("web", 3, PATH, 3).await?;
        let after = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        scene::same(
            "its uid",
            &after["metadata"]["uid"],
            &before["metadata"]["uid"],
        )?;
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("no ScaledObject")?;
        scene::same(
            "originalReplicaCount",
            &object["status"]["originalReplicaCount"],
            &json!(7),
        )?;
        scene.set(0);
        scene.until_replicas("web", 0).await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await
    });
}
