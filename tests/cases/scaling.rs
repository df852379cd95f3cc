//! From 0 to 1 and back, what the HPA does between, and that a source that fails never lowers replicas.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sakidori_test_servers::Answer;
use serde_json::{Value, json};

use crate::scene::{DEPLOYMENTS, HPAS, PATH, SCALED_OBJECTS, answer, play, same};

#[test]
fn from_zero_to_one_and_back_after_the_cooldown() {
    play("scaling-cooldown", async |scene| {
        scene.bring_up(0, json!({"cooldownPeriod": 3})).await?;
        scene.stays("web", 0, PATH, 2).await?;

        scene.set(1);
        scene.until_replicas("web", 1).await?;
        let message = scene
            .condition("web", "Active", "True", "ScalerActive")
            .await?;
        ensure!(
            message == "Scaling is performed because triggers are active",
            "{message}"
        );

        scene.set(0);
        let quiet = Instant::now();
        let message = scene
            .condition("web", "Active", "False", "ScalerCooldown")
            .await?;
        ensure!(
            message == "Scaler cooling down because triggers are not active",
            "{message}"
        );
        scene.until_replicas("web", 0).await?;
        // The last poll that saw activity was up to one pollingInterval before the source went quiet.
        let took = quiet.elapsed();
        ensure!(took > Duration::from_secs(2), "scaled in after {took:?}");
        let message = scene
            .condition("web", "Active", "False", "ScalerNotActive")
            .await?;
        ensure!(
            message == "Scaling is not performed because triggers are not active",
            "{message}"
        );
        scene.stays("web", 0, PATH, 2).await
    });
}

#[test]
fn the_hpa_scales_between_one_and_the_maximum() {
    play("scaling-hpa", async |scene| {
        scene.bring_up(0, json!({})).await?;
        scene.set(35);
        scene.until_replicas("web", 4).await?;
        scene.set(1000);
        scene.until_replicas("web", 5).await?;
        let message = scene
            .condition("web", "HPAActive", "True", "HPAActive")
            .await?;
        ensure!(message == "HPA is actively scaling", "{message}");
        // A source that fails keeps them where they are.
        scene.source.set(PATH, Answer::status(503));
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene.stays("web", 5, PATH, 4).await?;
        scene.set(11);
        scene.until_replicas("web", 2).await?;
        scene.set(0);
        scene.until_replicas("web", 0).await?;
        scene
            .condition("web", "HPAActive", "True", "ScalingDisabled")
            .await
            .map(drop)
    });
}

#[test]
fn activity_begins_above_the_activation_value() {
    play("scaling-activation", async |scene| {
        scene.deploy("web", 0).await?;
        let mut trigger = scene.trigger();
        trigger["metadata"]["activationTargetValue"] = json!("5");
        scene
            .apply(scene.scaled_object("web", json!({"triggers": [trigger]})))
            .await?;
        scene.ready("web").await?;
        scene.set(5);
        scene.stays("web", 0, PATH, 3).await?;
        scene.set(6);
        scene.until_replicas("web", 1).await
    });
}

#[test]
fn idle_replicas_are_held_until_there_is_activity() {
    play("scaling-idle", async |scene| {
        // At the minimum, so that the HPA controller has nothing to write: it repeats a write that met a conflict with
        // the number from before, here over the 0.
        scene.deploy("web", 2).await?;
        let bounds = json!({"idleReplicaCount": 0, "minReplicaCount": 2, "cooldownPeriod": 1});
        scene.apply(scene.scaled_object("web", bounds)).await?;
        scene.until_replicas("web", 0).await?;
        scene.stays("web", 0, PATH, 3).await?;
        let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        same("minReplicas", &hpa["spec"]["minReplicas"], &json!(2))?;
        scene.set(1);
        scene.until_replicas("web", 2).await?;
        let note = scene.until_told("web", "KEDAScaleTargetActivated").await?;
        ensure!(
            note.contains("from 0 to 2, triggered by s0-metric-api-value"),
            "{note}"
        );
        scene.set(0);
        scene.until_replicas("web", 0).await
    });
}

#[test]
fn what_is_below_the_minimum_is_raised_and_stays() {
    play("scaling-minimum", async |scene| {
        scene.deploy("web", 1).await?;
        scene
            .apply(scene.scaled_object("web", json!({"minReplicaCount": 2})))
            .await?;
        scene.until_replicas("web", 2).await?;
        // Quiet or not, for longer than the cooldown.
        scene.stays("web", 2, PATH, 4).await?;
        scene
            .apply(scene.scaled_object("web", json!({"minReplicaCount": 3})))
            .await?;
        scene.until_replicas("web", 3).await?;
        let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        same("minReplicas", &hpa["spec"]["minReplicas"], &json!(3))
    });
}

#[test]
fn a_target_that_was_never_active_waits_for_the_initial_cooldown() {
    play("scaling-initial", async |scene| {
        scene.deploy("web", 2).await?;
        let start = Instant::now();
        let periods = json!({"initialCooldownPeriod": 5, "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", periods)).await?;
        scene
            .condition("web", "Active", "False", "ScalerCooldown")
            .await?;
        scene.until_replicas("web", 0).await?;
        // Creation times have whole seconds.
        let took = start.elapsed();
        ensure!(
            took > Duration::from_secs(4),
            "scaled in {took:?} after it was created"
        );
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("no ScaledObject")?;
        same(
            "lastActiveTime",
            &object["status"]["lastActiveTime"],
            &Value::Null,
        )
    });
}

#[test]
fn a_source_that_fails_lowers_nothing_and_recovers_by_itself() {
    play("scaling-failing", async |scene| {
        scene.deploy("web", 0).await?;
        scene
            .apply(scene.scaled_object("web", json!({"cooldownPeriod": 0})))
            .await?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        let failures = [
            ("503", Answer::status(503)),
            ("401", Answer::status(401)),
            ("valueLocation", Answer::json(&json!({"other": 0}))),
            ("JSON", Answer::new("application/json", "{\"value\": ")),
            ("", Answer::new("application/json", "")),
            ("valueLocation", Answer::json(&json!({"value": "none"}))),
        ];
        for (what, failure) in failures {
            scene.source.set(PATH, failure);
            let message = scene
                .condition("web", "Ready", "False", "TriggerError")
                .await
                .with_context(|| format!("for a failure that says {what}"))?;
            ensure!(
                message == "Triggers defined in ScaledObject are not working correctly",
                "{message}"
            );
            scene
                .condition("web", "Active", "False", "ScalerNotActive")
                .await?;
            scene.stays("web", 1, PATH, 2).await?;
            scene.set(1);
            scene.ready("web").await?;
        }
        let note = scene.until_told("web", "KEDAScalerFailed").await?;
        ensure!(
            note.starts_with("trigger 0 (metrics-api): ") && note.contains("503"),
            "{note}"
        );
        Ok(())
    });
}

#[test]
fn a_source_that_is_down_activates_nothing_and_is_told_once() {
    play("scaling-down", async |scene| {
        scene.deploy("web", 0).await?;
        scene.source.set(PATH, Answer::status(500));
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene.stays("web", 0, PATH, 4).await?;
        let told = scene.told("web").await?;
        let failures = told
            .iter()
            .filter(|(_, reason, _)| reason == "KEDAScalerFailed")
            .count();
        ensure!(failures == 1, "{told:#?}");
        let writes = scene.writes()?;
        let statuses = writes
            .iter()
            .filter(|write| write.contains("status"))
            .count();
        ensure!(statuses <= 3, "{writes:#?}");
        Ok(())
    });
}

#[test]
fn a_source_that_hangs_lowers_nothing() {
    play("scaling-hanging", async |scene| {
        scene.deploy("web", 0).await?;
        let mut trigger = scene.trigger();
        trigger["metadata"]["timeout"] = json!("500ms");
        let spec = json!({"cooldownPeriod": 0, "triggers": [trigger]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        scene.source.set(PATH, Answer::hang());
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene.stays("web", 1, PATH, 2).await?;
        scene.set(0);
        scene.until_replicas("web", 0).await
    });
}

#[test]
fn one_trigger_that_fails_does_not_stop_the_other() {
    play("scaling-partial", async |scene| {
        scene.deploy("web", 0).await?;
        scene.source.set("/down", Answer::status(500));
        let triggers = json!([scene.trigger_on("/down"), scene.trigger()]);
        let spec = json!({"triggers": triggers, "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        let message = scene
            .condition("web", "Ready", "Unknown", "PartialTriggerError")
            .await?;
        ensure!(
            message == "Some triggers defined in ScaledObject are not working correctly",
            "{message}"
        );
        // The other one quiet and this one unknown: nobody knows that nothing is to be done.
        scene.set(0);
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene.stays("web", 1, PATH, 3).await?;
        scene.source.set("/down", answer(0));
        scene.until_replicas("web", 0).await?;
        scene.ready("web").await
    });
}

#[test]
fn last_active_time_is_written_seldom() {
    play("scaling-seldom", async |scene| {
        scene.deploy("web", 0).await?;
        scene
            .apply(scene.scaled_object("web", json!({"cooldownPeriod": 300})))
            .await?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        let active = |object: &Value| {
            object["status"]["lastActiveTime"]
                .as_str()
                .map(str::to_owned)
        };
        scene
            .until("lastActiveTime", SCALED_OBJECTS, "web", active)
            .await?;
        // What the HPA's controller says may still change; then it is quiet.
        scene.stays("web", 1, PATH, 3).await?;
        let before = scene.writes()?.len();
        scene.stays("web", 1, PATH, 4).await?;
        let writes = scene.writes()?;
        ensure!(writes.len() <= before + 1, "{writes:#?}");
        Ok(())
    });
}

#[test]
fn scaled_by_hand_below_the_minimum_it_is_raised_again() {
    play("scaling-by-hand", async |scene| {
        scene.bring_up(2, json!({"minReplicaCount": 2})).await?;
        scene
            .patch(DEPLOYMENTS, "web", &json!({"spec": {"replicas": 0}}))
            .await?;
        scene.until_replicas("web", 2).await?;
        scene.ready("web").await
    });
}
