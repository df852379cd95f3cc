//! What is wrong with a ScaledObject is told in full, costs nothing that worked before, and ends by itself once put right.

use anyhow::{Context, ensure};
use serde_json::json;

use crate::scene::{HPAS, PATH, SCALED_OBJECTS, play, same};

const HPA_FAILED: &str = "failed to ensure HPA is correctly created for ScaledObject: ";

#[test]
fn all_problems_of_all_triggers_are_in_one_message() {
    play("input-problems", async |scene| {
        scene.deploy("web", 0).await?;
        let triggers = json!([
            {"type": "metrics-api", "metadata": {
                "url": "ftp://x", "valueLocation": "a", "targetValue": "many", "format": "toml", "targetValu": "1",
            }},
            {"type": "cron", "metadata": {"timezone": "Mars/Base", "start": "0 8 * * *", "end": "61 * * * *"}},
            {"type": "kubernetes-workload", "metadata": {"podSelector": "app in", "value": "0"}},
        ]);
        scene
            .apply(scene.scaled_object("web", json!({"triggers": triggers})))
            .await?;
        let message = scene.check_failed("web").await?;
        ensure!(message.starts_with(HPA_FAILED), "{message}");
        let expected = [
            "trigger 0 (metrics-api)",
            "targetValue",
            "many",
            "format",
            "toml",
            "trigger 1 (cron)",
            "desiredReplicas",
            "trigger 2 (kubernetes-workload)",
            "value",
        ];
        for part in expected {
            ensure!(message.contains(part), "no {part:?} in: {message}");
        }
        let note = scene.until_told("web", "ScaledObjectCheckFailed").await?;
        ensure!(note == message, "{note}");
        ensure!(
            scene.get(HPAS, "keda-hpa-web").await?.is_none(),
            "it got an HPA"
        );
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        scene.ready("web").await
    });
}

#[test]
fn a_bad_edit_loses_nothing() {
    play("input-bad-edit", async |scene| {
        scene.bring_up(0, json!({})).await?;
        let before = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        let edits = [
            (
                "unknown",
                json!({"triggers": [{"type": "metrics-ap", "metadata": {"url": "http://x"}}]}),
            ),
            (
                "valueLocation",
                json!({"triggers": [{"type": "metrics-api", "metadata": {"url": "http://x"}}]}),
            ),
            ("absent", json!({"scaleTargetRef": {"name": "absent"}})),
            (
                "twice",
                json!({"triggers": [
                    {"type": "cpu", "name": "twice", "metricType": "Utilization", "metadata": {"value": "1"}},
                    {"type": "metrics-api", "name": "twice", "metadata": scene.trigger()["metadata"]},
                ]}),
            ),
        ];
        for (index, (what, edit)) in edits.into_iter().enumerate() {
            scene.apply(scene.scaled_object("web", edit)).await?;
            if what != "unknown" {
                scene
                    .until_told_that("web", "ScaledObjectCheckFailed", what)
                    .await?;
            }
            scene.check_failed("web").await?;
            let now = scene
                .get(HPAS, "keda-hpa-web")
                .await?
                .context("the HPA went")?;
            same("the HPA's spec", &now["spec"], &before["spec"])?;
            if index % 2 == 0 {
                // What it was before goes on scaling: up from zero at least.
                scene.set(1);
                scene.until_replicas("web", 1).await?;
                scene.stays("web", 1, PATH, 1).await?;
            }
            scene.set(0);
            scene
                .apply(scene.scaled_object("web", json!({"cooldownPeriod": 0})))
                .await?;
            scene.ready("web").await?;
            scene.until_replicas("web", 0).await?;
        }
        Ok(())
    });
}

/// While it can't be scaled as it stands, nothing is scaled in.
#[test]
fn a_bad_edit_scales_nothing_in() {
    play("input-no-scale-in", async |scene| {
        scene.deploy("web", 0).await?;
        scene
            .apply(scene.scaled_object("web", json!({"cooldownPeriod": 0})))
            .await?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        let bad = json!({"cooldownPeriod": 0, "triggers": [scene.trigger(), {"type": "nonsense", "metadata": {}}]});
        scene.apply(scene.scaled_object("web", bad)).await?;
        scene.check_failed("web").await?;
        scene.set(0);
        scene.stays("web", 1, PATH, 3).await?;
        scene
            .apply(scene.scaled_object("web", json!({"cooldownPeriod": 0})))
            .await?;
        scene.until_replicas("web", 0).await
    });
}

#[test]
fn an_unknown_trigger_type_gets_a_hint() {
    play("input-type", async |scene| {
        scene.deploy("web", 0).await?;
        let trigger = json!({"type": "metric-api", "metadata": scene.trigger()["metadata"]});
        scene
            .apply(scene.scaled_object("web", json!({"triggers": [trigger]})))
            .await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.starts_with(HPA_FAILED)
                && message.contains("trigger 0 (metric-api)")
                && message.contains("\"metrics-api\""),
            "{message}"
        );
        Ok(())
    });
}

#[test]
fn bounds_that_contradict_each_other_are_told() {
    play("input-bounds", async |scene| {
        scene.deploy("web", 0).await?;
        let bounds = json!({"minReplicaCount": 2, "idleReplicaCount": 2});
        scene.apply(scene.scaled_object("web", bounds)).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message
                == "ScaledObject doesn't have correct Idle/Min/Max Replica Counts specification: \
                    IdleReplicaCount=2 must be less than MinReplicaCount=2",
            "{message}"
        );
        // The CRD's own rule refuses this one.
        let refused = scene
            .apply(scene.scaled_object("web", json!({"minReplicaCount": 9})))
            .await
            .err();
        let refused = format!("{:#}", refused.context("it was taken")?);
        ensure!(
            refused.contains("minReplicaCount must be less than or equal to maxReplicaCount"),
            "{refused}"
        );
        Ok(())
    });
}

#[test]
fn two_triggers_of_one_metric_name_are_refused() {
    play("input-names", async |scene| {
        scene.deploy("web", 0).await?;
        let mut triggers = vec![scene.trigger(), scene.trigger()];
        for trigger in &mut triggers {
            trigger["name"] = json!("queue");
        }
        scene
            .apply(scene.scaled_object("web", json!({"triggers": triggers})))
            .await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.starts_with("ScaledObject doesn't have correct triggers specification: ")
                && message.contains("triggerName \"queue\" is defined multiple times"),
            "{message}"
        );
        Ok(())
    });
}

#[test]
fn a_missing_trigger_authentication_is_named_and_stops_its_own_trigger_only() {
    play("input-authentication", async |scene| {
        scene.deploy("web", 0).await?;
        let mut guarded = scene.trigger_on("/guarded");
        guarded["metadata"]["authMode"] = json!("bearer");
        guarded["authenticationRef"] = json!({"name": "token"});
        let spec = json!({"triggers": [guarded, scene.trigger()]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.contains("trigger 0 (metrics-api)")
                && message
                    .contains("TriggerAuthentication input-authentication/token doesn't exist"),
            "{message}"
        );
        scene.set(1);
        scene.until_replicas("web", 1).await?;

        // It comes, then its Secret, and each time it is seen without a change of the ScaledObject.
        let secret_ref = json!([{"parameter": "token", "name": "credentials", "key": "token"}]);
        let authentication = json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "TriggerAuthentication",
            "metadata": {"name": "token"},
            "spec": {"secretTargetRef": secret_ref},
        });
        scene.apply(authentication).await?;
        let message = scene
            .until(
                "the Secret's name in Ready",
                SCALED_OBJECTS,
                "web",
                |object| {
                    let message = crate::scene::condition(object, "Ready")?["message"].as_str()?;
                    message
                        .contains("Secret input-authentication/credentials")
                        .then(|| message.to_owned())
                },
            )
            .await?;
        ensure!(message.contains("doesn't exist"), "{message}");
        let bearer = crate::scene::answer(3).requiring("authorization", "Bearer s3cret");
        scene.source.set("/guarded", bearer);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "credentials"}, "stringData": {"token": "s3cret"},
        });
        scene.apply(secret).await?;
        scene.ready("web").await
    });
}

/// KEDA's operator ends with a panic.
#[test]
fn a_value_that_is_no_quantity_is_told_and_ends_nothing() {
    play("input-quantity", async |scene| {
        scene.deploy("web", 1).await?;
        let with = |value: &str| {
            let memory = json!({"type": "memory", "metricType": "AverageValue", "metadata": {"value": value}});
            scene.scaled_object("web", json!({"minReplicaCount": 1, "triggers": [memory]}))
        };
        scene.apply(with("512Mi")).await?;
        scene.ready("web").await?;
        let before = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        scene.apply(with("lots")).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.contains("trigger 0 (memory)") && message.contains("lots"),
            "{message}"
        );
        let after = scene
            .get(HPAS, "keda-hpa-web")
            .await?
            .context("the HPA went")?;
        same("its spec", &after["spec"], &before["spec"])?;
        scene.apply(with("1Gi")).await?;
        scene.ready("web").await
    });
}
