//! `spec.fallback` on a real HPA: what counts while a trigger can't be read, and how that shows.

use anyhow::{Context, Result, ensure};
use sakidori_test_servers::Answer;
use serde_json::{Value, json};

use crate::scene::{HPAS, PATH, SCALED_OBJECTS, Scene, play, same};

const METRIC: &str = "s0-metric-api-value";

/// `status.health` of the one metric.
async fn until_health(scene: &Scene<'_>, failing: &str, at_least: i64) -> Result<i64> {
    let what = format!("{failing} with {at_least} failures");
    scene
        .until(&what, SCALED_OBJECTS, "web", |object| {
            let health = &object["status"]["health"][METRIC];
            let failures = health["numberOfFailures"].as_i64()?;
            (health["status"] == failing && failures >= at_least).then_some(failures)
        })
        .await
}

#[test]
fn a_trigger_that_fails_falls_back_from_zero_and_returns() {
    play("fallback-static", async |scene| {
        scene.source.set(PATH, Answer::status(503));
        scene.deploy("web", 0).await?;
        let spec = json!({"fallback": {"failureThreshold": 2, "replicas": 4}});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 4).await?;
        let message = scene
            .condition("web", "Fallback", "True", "FallbackExists")
            .await?;
        ensure!(
            message == "At least one trigger is falling back on this scaled object",
            "{message}"
        );
        // An object with a fallback is Ready, as in KEDA.
        scene.ready("web").await?;
        until_health(scene, "Failing", 3).await?;
        let note = scene
            .until_told("web", "ScaledObjectFallbackActivated")
            .await?;
        ensure!(note == "ScaledObject fallback is active", "{note}");
        let note = scene.until_told("web", "KEDAScaleTargetActivated").await?;
        ensure!(
            note.contains(&format!("from 0 to 1, triggered by {METRIC}")),
            "{note}"
        );
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("it is gone")?;
        same(
            "triggersActivity",
            &object["status"]["triggersActivity"],
            &json!({METRIC: {"isActive": true}}),
        )?;

        scene.set(11);
        scene.until_replicas("web", 2).await?;
        let message = scene
            .condition("web", "Fallback", "False", "NoFallbackFound")
            .await?;
        ensure!(
            message == "No fallbacks are active on this scaled object",
            "{message}"
        );
        ensure!(until_health(scene, "Happy", 0).await? == 0);
        let note = scene
            .until_told("web", "ScaledObjectFallbackDeactivated")
            .await?;
        ensure!(
            note == "ScaledObject fallback is no longer active",
            "{note}"
        );
        Ok(())
    });
}

#[test]
fn below_the_threshold_the_hpa_is_told_of_the_failure_and_keeps_the_replicas() {
    play("fallback-threshold", async |scene| {
        scene.set(25);
        scene.deploy("web", 1).await?;
        let spec = json!({"fallback": {"failureThreshold": 1000, "replicas": 1}});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 3).await?;
        scene.source.set(PATH, Answer::status(503));
        scene
            .condition("web", "HPAActive", "False", "FailedGetExternalMetric")
            .await?;
        scene.stays("web", 3, PATH, 5).await?;
        scene
            .condition("web", "Fallback", "False", "NoFallbackFound")
            .await?;
        // And without replicas to fall back to, nothing goes to zero either.
        let spec = json!({"fallback": {"failureThreshold": 1000, "replicas": 0}});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.stays("web", 3, PATH, 6).await
    });
}

#[test]
fn failures_count_once_in_a_polling_interval_though_the_hpa_asks_each_second() {
    play("fallback-count", async |scene| {
        scene.set(25);
        scene.deploy("web", 1).await?;
        let spec =
            json!({"pollingInterval": 4, "fallback": {"failureThreshold": 1000, "replicas": 1}});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 3).await?;
        scene.source.set(PATH, Answer::status(503));
        let first = until_health(scene, "Failing", 1).await?;
        let (start, requests) = (std::time::Instant::now(), scene.source.requests(PATH));
        until_health(scene, "Failing", first + 3).await?;
        let (took, requests) = (start.elapsed(), scene.source.requests(PATH) - requests);
        ensure!(
            took.as_secs() >= 10,
            "three more failures of a pollingInterval of 4 s counted within {took:?}"
        );
        ensure!(
            requests >= 6,
            "only {requests} requests in {took:?}: the HPA didn't ask in between"
        );
        Ok(())
    });
}

#[test]
fn each_behavior_falls_back_to_its_replicas() {
    play("fallback-behaviors", async |scene| {
        scene.source.set("/fails", Answer::status(503));
        let cases = [
            ("static", 3, 1),
            ("currentReplicas", 3, 3),
            ("currentReplicasIfHigher", 3, 3),
            ("currentReplicasIfHigher", 1, 2),
            ("currentReplicasIfLower", 4, 2),
            ("currentReplicasIfLower", 1, 1),
        ];
        for (index, (behavior, current, _)) in cases.iter().enumerate() {
            let name = format!("web-{index}");
            scene.deploy(&name, *current).await?;
            let replicas = if *behavior == "static" { 1 } else { 2 };
            let spec = json!({
                "triggers": [scene.trigger_on("/fails")],
                "fallback": {"failureThreshold": 1, "replicas": replicas, "behavior": behavior},
            });
            scene.apply(scene.scaled_object(&name, spec)).await?;
        }
        for (index, (behavior, current, expected)) in cases.iter().enumerate() {
            let name = format!("web-{index}");
            scene
                .condition(&name, "Fallback", "True", "FallbackExists")
                .await?;
            let told = format!("{behavior} from {current}");
            scene
                .until_replicas(&name, *expected)
                .await
                .context(told.clone())?;
            scene
                .condition(&name, "HPAActive", "True", "HPAActive")
                .await?;
            scene
                .stays(&name, *expected, "/fails", 8)
                .await
                .context(told)?;
        }
        Ok(())
    });
}

#[test]
fn a_value_is_shared_among_the_pods_that_are_ready() {
    play("fallback-value", async |scene| {
        scene.source.set(PATH, Answer::status(503));
        scene.deploy("web", 2).await?;
        let mut trigger = scene.trigger();
        trigger["metricType"] = json!("Value");
        let spec =
            json!({"triggers": [trigger], "fallback": {"failureThreshold": 1, "replicas": 4}});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 4).await?;
        scene
            .condition("web", "Fallback", "True", "FallbackExists")
            .await?;
        // While pods become Ready, the HPA may multiply by more of them than the value was shared among: what counts is the end.
        scene
            .until("an HPA at rest", HPAS, "keda-hpa-web", |hpa| {
                let status = &hpa["status"];
                let value = &status["currentMetrics"][0]["external"]["current"]["value"];
                let at_rest = status["currentReplicas"] == 4 && status["desiredReplicas"] == 4;
                (at_rest && *value == "10").then_some(())
            })
            .await?;
        let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        let value: &Value = &hpa["spec"]["metrics"][0]["external"]["target"];
        same(
            "the HPA's target",
            value,
            &json!({"type": "Value", "value": "10"}),
        )
    });
}
