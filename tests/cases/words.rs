//! Conditions and Events, word for word: people's alerts and scripts match on them.

use anyhow::{Context, Result, ensure};
use sakidori_test_servers::Answer;
use sakidori_tests::{Operator, bed};
use serde_json::{Value, json};

use crate::installed::play_installed;
use crate::scene::{PATH, SCALED_OBJECTS, SOON, Scene, Told, condition, play, text};

/// Waits until the conditions of ScaledObject `web` are these: type, status, reason and message. Others may be as they are.
async fn until_conditions(scene: &Scene<'_>, expected: &[[&str; 4]]) -> Result<()> {
    let all = |object: &Value| {
        let is = |[kind, status, reason, message]: &[&str; 4]| {
            condition(object, kind).is_some_and(|condition| {
                // Empty fields are left out.
                [("status", status), ("reason", reason), ("message", message)]
                    .iter()
                    .all(|(field, expected)| text(&condition[*field]) == **expected)
            })
        };
        expected.iter().all(is).then_some(())
    };
    let what = format!("conditions {expected:#?}");
    scene.until(&what, SCALED_OBJECTS, "web", all).await
}

const READY: [&str; 4] = [
    "Ready",
    "True",
    "ScaledObjectReady",
    "ScaledObject is defined correctly and is ready for scaling",
];
const ACTIVE: [&str; 4] = [
    "Active",
    "True",
    "ScalerActive",
    "Scaling is performed because triggers are active",
];
const NOT_ACTIVE: [&str; 4] = [
    "Active",
    "False",
    "ScalerNotActive",
    "Scaling is not performed because triggers are not active",
];
const NO_FALLBACK: [&str; 4] = [
    "Fallback",
    "False",
    "NoFallbackFound",
    "No fallbacks are active on this scaled object",
];

async fn annotate(scene: &Scene<'_>, key: &str, value: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {format!("autoscaling.keda.sh/{key}"): value}}});
    scene.patch(SCALED_OBJECTS, "web", &patch).await?;
    Ok(())
}

#[test]
fn every_condition_has_kedas_words() {
    play("words-conditions", async |scene| {
        scene.deploy("web", 0).await?;
        let second = "/second";
        scene.source.set(second, crate::scene::answer(0));
        let both = json!({
            "cooldownPeriod": 4,
            "triggers": [scene.trigger(), scene.trigger_on(second)],
        });
        scene
            .apply(scene.scaled_object("web", both.clone()))
            .await?;
        let never_paused = ["Paused", "False", "", ""];
        until_conditions(scene, &[READY, NOT_ACTIVE, NO_FALLBACK, never_paused]).await?;

        scene.set(1);
        until_conditions(scene, &[READY, ACTIVE]).await?;
        scene.until_replicas("web", 1).await?;

        scene.source.set(second, Answer::status(500));
        let partial = [
            "Ready",
            "Unknown",
            "PartialTriggerError",
            "Some triggers defined in ScaledObject are not working correctly",
        ];
        until_conditions(scene, &[partial, ACTIVE]).await?;

        scene.set(0);
        let failing = [
            "Ready",
            "False",
            "TriggerError",
            "Triggers defined in ScaledObject are not working correctly",
        ];
        until_conditions(scene, &[failing, NOT_ACTIVE]).await?;

        // Nothing was active for longer than the cooldown, but that is known only now.
        scene.set(1);
        scene.source.set(second, crate::scene::answer(0));
        until_conditions(scene, &[READY, ACTIVE]).await?;
        scene.set(0);
        let cooling = [
            "Active",
            "False",
            "ScalerCooldown",
            "Scaler cooling down because triggers are not active",
        ];
        until_conditions(scene, &[READY, cooling]).await?;
        until_conditions(scene, &[READY, NOT_ACTIVE]).await?;
        scene.until_replicas("web", 0).await?;

        annotate(scene, "force-activation", Some("true")).await?;
        let forced = [
            "Active",
            "True",
            "ScalerActive",
            "Scaling is performed because activation is being forced by annotation",
        ];
        until_conditions(scene, &[READY, forced]).await?;
        annotate(scene, "force-activation", None).await?;

        annotate(scene, "paused", Some("true")).await?;
        let paused = [
            "Paused",
            "True",
            "ScaledObjectPaused",
            "ScaledObject is paused",
        ];
        until_conditions(scene, &[paused]).await?;
        annotate(scene, "paused", None).await?;
        let unpaused = [
            "Paused",
            "False",
            "ScaledObjectUnpaused",
            "pause annotation removed for ScaledObject",
        ];
        until_conditions(scene, &[READY, unpaused]).await?;

        let mut object = scene.scaled_object("web", both);
        object["spec"]["triggers"][0]["name"] = json!("same");
        object["spec"]["triggers"][1]["name"] = json!("same");
        scene.apply(object).await?;
        let check_failed = [
            "Ready",
            "False",
            "ScaledObjectCheckFailed",
            "ScaledObject doesn't have correct triggers specification: triggerName \"same\" is defined multiple \
             times in the ScaledObject/ScaledJob, but it must be unique",
        ];
        let unknown = [
            "Active",
            "Unknown",
            "UnknownState",
            "ScaledObject check failed",
        ];
        until_conditions(scene, &[check_failed, unknown]).await
    });
}

/// In the order in which one life brings them.
#[test]
fn every_event_has_kedas_words() {
    play("words-events", async |scene| {
        scene.deploy("web", 0).await?;
        // An Event names the metric, also of a trigger that has a name.
        let named = || {
            let mut trigger = scene.trigger();
            trigger["name"] = json!("orders");
            json!({"cooldownPeriod": 0, "triggers": [trigger, scene.trigger_on("/second")]})
        };
        scene.source.set("/second", crate::scene::answer(0));
        scene.apply(scene.scaled_object("web", named())).await?;
        scene.ready("web").await?;
        scene.source.set("/second", crate::scene::answer(1));
        scene.set(1);
        scene.until_told("web", "KEDAScaleTargetActivated").await?;
        scene.set(0);
        scene.source.set("/second", crate::scene::answer(0));
        scene
            .until_told("web", "KEDAScaleTargetDeactivated")
            .await?;
        scene.source.set(PATH, Answer::status(503));
        scene.until_told("web", "KEDAScalerFailed").await?;
        scene.set(0);
        scene.ready("web").await?;
        annotate(scene, "paused", Some("true")).await?;
        scene.until_told("web", "ScaledObjectPaused").await?;
        annotate(scene, "paused", None).await?;
        scene.until_told("web", "ScaledObjectUnpaused").await?;
        until_conditions(scene, &[READY]).await?;
        let absent = json!({"scaleTargetRef": {"name": "absent"}});
        let mut object = named();
        object["scaleTargetRef"] = absent["scaleTargetRef"].clone();
        scene.apply(scene.scaled_object("web", object)).await?;
        scene.check_failed("web").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_told("web", "ScaledObjectDeleted").await?;

        let told = scene.told("web").await?;
        let normal =
            |reason: &str, note: &str| -> Told { ("Normal".into(), reason.into(), note.into()) };
        let warning =
            |reason: &str, note: &str| -> Told { ("Warning".into(), reason.into(), note.into()) };
        let port = scene.source.port();
        let mut expected = vec![
            normal("KEDAScalersStarted", "Scaler metrics-api is built"),
            normal("KEDAScalersStarted", "Started scalers watch"),
            normal("ScaledObjectReady", "ScaledObject is ready for scaling"),
            normal(
                "KEDAScaleTargetDeactivated",
                "Deactivated apps/v1.Deployment words-events/web from 1 to 0",
            ),
            warning(
                "KEDAScalerFailed",
                &format!(
                    "trigger 0 (metrics-api): unreachable: 127.0.0.1:{port}: the server answered 503 Service Unavailable"
                ),
            ),
            normal("ScaledObjectPaused", "ScaledObject is paused"),
            normal(
                "ScaledObjectUnpaused",
                "pause annotation removed for ScaledObject",
            ),
            warning("ScaledObjectCheckFailed", "Target resource doesn't exist"),
            warning(
                "ScaledObjectCheckFailed",
                "ScaledObject doesn't have correct scaleTargetRef specification: deployments.apps \"absent\" not found",
            ),
            normal("KEDAScalersStopped", "Stopped scalers watch"),
            warning("ScaledObjectDeleted", "ScaledObject was deleted"),
        ];
        // Whichever of the two was active first, or both: by their metrics' names, in their order.
        let activated = told
            .iter()
            .find(|(_, reason, _)| reason == "KEDAScaleTargetActivated")
            .context("it was not activated")?;
        let from = "Scaled apps/v1.Deployment words-events/web from 0 to 1, triggered by ";
        let by = activated.2.strip_prefix(from).context("other words")?;
        let metrics = ["s0-metric-api-value", "s1-metric-api-value"];
        ensure!(
            by == metrics.join(";") || metrics.contains(&by),
            "triggered by {by}"
        );
        expected.push(activated.clone());
        // A sentence that is told again counts as one series.
        let mut found = told.clone();
        found.sort();
        found.dedup();
        expected.sort();
        ensure!(found == expected, "{told:#?}\nexpected\n{expected:#?}");
        Ok(())
    });
}

/// A line in the log otherwise.
#[test]
fn parameters_that_nothing_reads_are_told_where_that_is_asked_for() {
    play_installed(async |installed| {
        let mut settings = installed.watching("words-unread");
        let variable = ("KEDA_CHECK_UNEXPECTED_SCALERS_PARAMS", "enabled");
        settings
            .environment
            .push((variable.0.to_owned(), variable.1.to_owned()));
        let mut operator = Operator::start(settings)?;
        operator.wait_ready(SOON).await?;
        let scene = Scene::open(&installed.cluster, "words-unread").await?;
        scene.deploy("web", 0).await?;
        let mut trigger = scene.trigger();
        trigger["name"] = json!("orders");
        trigger["metadata"]["targetValu"] = json!("5");
        scene
            .apply(scene.scaled_object("web", json!({"triggers": [trigger]})))
            .await?;
        let note = scene.until_told("web", "KEDAScalerInfo").await?;
        ensure!(
            note == "Unmatched input property targetValu in scaler metrics-api (orders), did you mean \"targetValue\"?",
            "{note}"
        );
        scene.ready("web").await
    });
}

/// KEDA counts the HPA's failed reads there, and no failed poll.
#[test]
fn a_failed_poll_is_counted_once() {
    play("words-counted", async |scene| {
        scene.bring_up(0, json!({})).await?;
        ensure!(errors(scene).await? == 0.0, "errors before any");
        scene.source.set(PATH, Answer::status(503));
        let before = scene.source.requests(PATH);
        scene.stays("web", 0, PATH, 3).await?;
        scene.set(0);
        scene.ready("web").await?;
        let (asked, counted) = (scene.source.requests(PATH) - before, errors(scene).await?);
        // The first of them may have been answered before, the last after the source was well again.
        ensure!(
            counted >= 3.0 && counted <= asked as f64,
            "{counted} errors in {asked} polls"
        );
        Ok(())
    });
}

/// `keda_scaler_detail_errors_total` of the scene's ScaledObject.
async fn errors(scene: &Scene<'_>) -> Result<f64> {
    let metrics = bed::shared()?.operator.lock().await.metrics().await?;
    let line = metrics
        .lines()
        .filter(|line| line.starts_with("keda_scaler_detail_errors_total{"))
        .find(|line| line.contains(&format!("namespace=\"{}\"", scene.namespace)))
        .context("no series of it")?;
    Ok(line.rsplit(' ').next().context("no value")?.parse()?)
}
