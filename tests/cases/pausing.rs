//! Pausing and forcing by annotation, set and taken away while the object lives; every text as KEDA words it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_servers::Answer;
use sakidori_tests::{Operator, observe};
use serde_json::{Value, json};

use crate::installed::play_installed;
use crate::scene::{
    DEPLOYMENTS, HPAS, PATH, SCALED_OBJECTS, SOON, Scene, condition, merge, play, same,
};

const HPA: &str = "keda-hpa-web";
const METRIC: &str = "s0-metric-api-value";
const READY: &str = "ScaledObject is defined correctly and is ready for scaling";
const PAUSED: &str = "ScaledObject is paused";
const UNPAUSED: &str = "pause annotation removed for ScaledObject";

/// Long enough for some polls, looks of the HPA controller and cooldowns.
const A_WHILE: Duration = Duration::from_secs(5);

/// Sets an annotation of KEDA's on ScaledObject `web`, or takes it away.
async fn annotate(scene: &Scene<'_>, key: &str, value: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {format!("autoscaling.keda.sh/{key}"): value}}});
    scene.patch(SCALED_OBJECTS, "web", &patch).await?;
    Ok(())
}

/// A Deployment with that many replicas and its ScaledObject, with this number in its source.
async fn bring_up(scene: &Scene<'_>, replicas: i32, value: i64, spec: Value) -> Result<()> {
    scene.set(value);
    scene.bring_up(replicas, spec).await
}

/// Waits until condition Paused is that, with KEDA's text.
async fn until_paused(scene: &Scene<'_>, paused: bool) -> Result<()> {
    let (status, reason, text) = match paused {
        true => ("True", "ScaledObjectPaused", PAUSED),
        false => ("False", "ScaledObjectUnpaused", UNPAUSED),
    };
    let message = scene.condition("web", "Paused", status, reason).await?;
    ensure!(message == text, "{message}");
    Ok(())
}

/// Waits until the object is shown as ready in these words.
async fn until_ready(scene: &Scene<'_>, message: &str) -> Result<()> {
    let is = |object: &Value| {
        let ready = condition(object, "Ready")?;
        let expected = json!({"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": message});
        (*ready == expected).then_some(())
    };
    scene.until(message, SCALED_OBJECTS, "web", is).await
}

/// Waits until `status.pausedReplicaCount` is that.
async fn until_paused_at(scene: &Scene<'_>, replicas: Option<i64>) -> Result<()> {
    let is = |object: &Value| {
        (object["status"]["pausedReplicaCount"].as_i64() == replicas).then_some(())
    };
    let what = format!("pausedReplicaCount {replicas:?}");
    scene.until(&what, SCALED_OBJECTS, "web", is).await
}

/// Waits until the HPA selects its policies so, `null` where it has no behavior.
async fn until_selected(scene: &Scene<'_>, down: Value, up: Value) -> Result<()> {
    let selected = |hpa: &Value| {
        let policy = |direction: &str| &hpa["spec"]["behavior"][direction]["selectPolicy"];
        let is = !hpa.is_null() && *policy("scaleDown") == down && *policy("scaleUp") == up;
        is.then_some(())
    };
    let what = format!("scale down {down}, scale up {up}");
    scene.until(&what, HPAS, HPA, selected).await
}

/// Waits until these Events, and no others, follow the first `before`.
async fn until_told(scene: &Scene<'_>, before: usize, expected: &[(&str, &str)]) -> Result<()> {
    let reason = expected.last().context("nothing to wait for")?.0;
    scene.until_told("web", reason).await?;
    let told = scene.told("web").await?.split_off(before);
    let told: Vec<_> = told
        .iter()
        .map(|(kind, reason, note)| (&**kind, &**reason, &**note))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(reason, note)| ("Normal", *reason, *note))
        .collect();
    ensure!(told == expected, "told {told:#?}\nexpected {expected:#?}");
    Ok(())
}

#[test]
fn paused_nothing_scales_it_and_unpaused_everything_is_back() {
    play("pause-whole", async |scene| {
        bring_up(scene, 0, 15, json!({})).await?;
        scene.until_replicas("web", 2).await?;
        scene
            .condition("web", "HPAActive", "True", "HPAActive")
            .await?;
        let before = scene.get(HPAS, HPA).await?.context("no HPA")?;
        let events = scene.told("web").await?.len();

        annotate(scene, "paused", Some("true")).await?;
        scene.until_gone(HPAS, HPA).await?;
        until_paused(scene, true).await?;
        until_ready(scene, PAUSED).await?;
        let reads = scene.source.requests(PATH);
        scene.set(50);
        scene.stays_for("web", 2, A_WHILE).await?;
        scene.set(0);
        scene.stays_for("web", 2, A_WHILE).await?;
        ensure!(
            scene.source.requests(PATH) == reads,
            "its source was asked while it was paused"
        );
        ensure!(scene.get(HPAS, HPA).await?.is_none(), "the HPA came back");
        let read = observe::external_metric(&scene.client, &scene.namespace, METRIC, "web").await;
        let error = format!("{:#}", read.err().context("a metric of a paused object")?);
        let expected = "ScaledObject pause-whole/web is paused: nothing is read for it";
        ensure!(error.contains(expected), "{error}");
        until_told(
            scene,
            events,
            &[
                ("ScaledObjectPaused", PAUSED),
                ("KEDAScalersStopped", "Stopped scalers watch"),
            ],
        )
        .await?;
        // What else there is in the status stays.
        let status = scene.get(SCALED_OBJECTS, "web").await?.context("gone")?["status"].take();
        same("hpaName", &status["hpaName"], &json!(HPA))?;
        same(
            "triggersActivity",
            &status["triggersActivity"],
            &json!({METRIC: {"isActive": true}}),
        )?;

        let events = scene.told("web").await?.len();
        scene.set(35);
        annotate(scene, "paused", None).await?;
        until_paused(scene, false).await?;
        until_ready(scene, READY).await?;
        scene.until_replicas("web", 4).await?;
        let after = scene.get(HPAS, HPA).await?.context("no HPA")?;
        same("the HPA's spec", &after["spec"], &before["spec"])?;
        ensure!(after["metadata"]["uid"] != before["metadata"]["uid"]);
        until_told(
            scene,
            events,
            // That its scalers are started again continues the first start's series.
            &[("ScaledObjectUnpaused", UNPAUSED)],
        )
        .await
    });
}

#[test]
fn whatever_go_does_not_read_as_false_pauses() {
    play("pause-words", async |scene| {
        bring_up(scene, 0, 0, json!({})).await?;
        for (word, pauses) in [("no", true), ("False", false), ("", true), ("0", false)] {
            annotate(scene, "paused", Some(word)).await?;
            until_paused(scene, pauses).await?;
            if pauses {
                scene.until_gone(HPAS, HPA).await?;
            } else {
                until_selected(scene, Value::Null, Value::Null).await?;
            }
        }
        Ok(())
    });
}

#[test]
fn an_object_that_is_made_paused_is_not_touched_until_it_is_unpaused() {
    play("pause-made", async |scene| {
        scene.set(5);
        scene.deploy("web", 0).await?;
        let mut object = scene.scaled_object("web", json!({"minReplicaCount": 2}));
        merge(
            &mut object["metadata"],
            json!({"annotations": {"autoscaling.keda.sh/paused": "true"}}),
        );
        scene.apply(object.clone()).await?;
        until_paused(scene, true).await?;
        scene.stays_for("web", 0, A_WHILE).await?;
        ensure!(scene.get(HPAS, HPA).await?.is_none(), "it has an HPA");
        ensure!(scene.source.requests(PATH) == 0, "its source was asked");
        let shown = scene.get(SCALED_OBJECTS, "web").await?.context("gone")?["status"].take();
        same(
            "the status",
            &shown,
            &json!({"conditions": [
                {"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": PAUSED},
                {"type": "Active", "status": "Unknown"},
                {
                    "type": "Fallback", "status": "False", "reason": "NoFallbackFound",
                    "message": "No fallbacks are active on this scaled object",
                },
                {"type": "Paused", "status": "True", "reason": "ScaledObjectPaused", "message": PAUSED},
            ]}),
        )?;
        until_told(
            scene,
            0,
            &[
                ("ScaledObjectPaused", PAUSED),
                ("ScaledObjectReady", "ScaledObject is ready for scaling"),
            ],
        )
        .await?;
        // An edit of the spec is taken in when the pause is over.
        object["spec"]["minReplicaCount"] = json!(3);
        scene.apply(object).await?;
        scene.stays_for("web", 0, A_WHILE / 2).await?;
        annotate(scene, "paused", None).await?;
        scene.until_replicas("web", 3).await?;
        until_ready(scene, READY).await?;
        until_selected(scene, Value::Null, Value::Null).await
    });
}

#[test]
fn a_number_of_replicas_is_set_once_and_then_left_to_people() {
    play("pause-at", async |scene| {
        bring_up(scene, 0, 15, json!({})).await?;
        scene.until_replicas("web", 2).await?;
        // The number wins over the other annotation.
        annotate(scene, "paused", Some("false")).await?;
        annotate(scene, "paused-replicas", Some("4")).await?;
        scene.until_replicas("web", 4).await?;
        until_paused_at(scene, Some(4)).await?;
        until_paused(scene, true).await?;
        until_ready(scene, PAUSED).await?;
        scene.until_gone(HPAS, HPA).await?;
        scene.stays_for("web", 4, A_WHILE).await?;

        let by_hand = json!({"spec": {"replicas": 1}});
        scene.patch(DEPLOYMENTS, "web", &by_hand).await?;
        scene.stays_for("web", 1, A_WHILE).await?;
        // Nor does an edit of the spec bring the number back.
        let patch = json!({"spec": {"maxReplicaCount": 7}});
        scene.patch(SCALED_OBJECTS, "web", &patch).await?;
        scene.stays_for("web", 1, A_WHILE).await?;

        annotate(scene, "paused-replicas", Some("0")).await?;
        scene.until_replicas("web", 0).await?;
        until_paused_at(scene, Some(0)).await?;
        scene.stays_for("web", 0, A_WHILE).await?;

        // A pause without a number stops at what there is.
        annotate(scene, "paused", Some("true")).await?;
        annotate(scene, "paused-replicas", None).await?;
        until_paused_at(scene, None).await?;
        scene.stays_for("web", 0, A_WHILE).await?;

        annotate(scene, "paused", None).await?;
        scene.until_replicas("web", 2).await?;
        until_paused(scene, false).await?;
        let told = scene.told("web").await?;
        let scaled: Vec<_> = told
            .iter()
            .filter(|(_, reason, _)| reason.starts_with("KEDAScaleTarget"))
            .map(|(_, _, note)| note.as_str())
            .collect();
        let activated =
            "Scaled apps/v1.Deployment pause-at/web from 0 to 1, triggered by s0-metric-api-value";
        // A pause's own write has no Event; the second activation continues the first one's series.
        ensure!(scaled == [activated], "{scaled:#?}");
        Ok(())
    });
}

#[test]
fn a_number_that_is_none_pauses_and_says_so() {
    play("pause-bad-number", async |scene| {
        bring_up(scene, 0, 15, json!({})).await?;
        scene.until_replicas("web", 2).await?;
        annotate(scene, "paused-replicas", Some("two")).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message
                == "failed to scale target to paused replica count: failed to parse paused replica count: \
                    the annotation autoscaling.keda.sh/paused-replicas is \"two\": expected a whole number from 0 to 2147483647",
            "{message}"
        );
        let told = scene.until_told("web", "ScaledObjectCheckFailed").await?;
        ensure!(told == message, "{told}");
        scene
            .condition("web", "Active", "Unknown", "UnknownState")
            .await?;
        until_paused(scene, true).await?;
        scene.until_gone(HPAS, HPA).await?;
        scene.set(0);
        scene.stays_for("web", 2, A_WHILE).await?;
        annotate(scene, "paused-replicas", Some("3")).await?;
        scene.until_replicas("web", 3).await?;
        until_ready(scene, PAUSED).await
    });
}

#[test]
fn a_target_that_is_missing_is_told_and_set_once_it_is_there() {
    play("pause-no-target", async |scene| {
        let mut object = scene.scaled_object("web", json!({}));
        merge(
            &mut object["metadata"],
            json!({"annotations": {"autoscaling.keda.sh/paused-replicas": "2"}}),
        );
        scene.apply(object).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message
                == "failed to scale target to paused replica count: failed to get scale for target resource: \
                    deployments.apps \"web\" not found",
            "{message}"
        );
        until_paused(scene, true).await?;
        scene.deploy("web", 0).await?;
        scene.until_replicas("web", 2).await?;
        until_ready(scene, PAUSED).await
    });
}

/// The user's own behavior stays beside the direction that is switched off.
#[test]
fn scale_in_paused_it_goes_up_but_not_down() {
    play("pause-scale-in", async |scene| {
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 1}});
        let spec = json!({"advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}}});
        bring_up(scene, 0, 15, spec).await?;
        scene.until_replicas("web", 2).await?;
        until_selected(scene, json!("Max"), json!("Max")).await?;
        let events = scene.told("web").await?.len();

        annotate(scene, "paused-scale-in", Some("true")).await?;
        until_paused(scene, true).await?;
        until_selected(scene, json!("Disabled"), json!("Max")).await?;
        until_ready(scene, READY).await?;
        scene.set(45);
        scene.until_replicas("web", 5).await?;
        scene.set(5);
        scene.stays("web", 5, PATH, 4).await?;
        scene.set(0);
        scene
            .condition("web", "Active", "False", "ScalerNotActive")
            .await?;
        scene.stays("web", 5, PATH, 6).await?;
        let hpa = scene.get(HPAS, HPA).await?.context("no HPA")?;
        let window = &hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"];
        same("the user's window", window, &json!(1))?;
        until_told(scene, events, &[("ScaledObjectPaused", PAUSED)]).await?;

        annotate(scene, "paused-scale-in", Some("false")).await?;
        scene.until_replicas("web", 0).await?;
        until_paused(scene, false).await?;
        until_selected(scene, json!("Max"), json!("Max")).await?;
        let unpaused = scene.until_told("web", "ScaledObjectUnpaused").await?;
        ensure!(unpaused == UNPAUSED, "{unpaused}");
        Ok(())
    });
}

#[test]
fn scale_out_paused_it_goes_down_but_not_up() {
    play("pause-scale-out", async |scene| {
        bring_up(scene, 0, 0, json!({})).await?;
        annotate(scene, "paused-scale-out", Some("true")).await?;
        until_paused(scene, true).await?;
        until_selected(scene, json!("Max"), json!("Disabled")).await?;
        scene.set(45);
        let active = scene
            .condition("web", "Active", "True", "ScalerActive")
            .await?;
        ensure!(
            active == "Scaling is performed because triggers are active",
            "{active}"
        );
        until_ready(scene, READY).await?;
        scene.stays("web", 0, PATH, 4).await?;
        // Nor does the HPA add any to what a person gave it.
        let by_hand = json!({"spec": {"replicas": 2}});
        scene.patch(DEPLOYMENTS, "web", &by_hand).await?;
        scene.stays("web", 2, PATH, 4).await?;
        scene.set(5);
        scene.until_replicas("web", 1).await?;

        scene.set(45);
        annotate(scene, "paused-scale-out", None).await?;
        scene.until_replicas("web", 5).await?;
        until_paused(scene, false).await?;
        // As it was before there was any behavior.
        until_selected(scene, Value::Null, Value::Null).await
    });
}

#[test]
fn forced_it_is_active_whatever_its_triggers_say() {
    play("force", async |scene| {
        bring_up(scene, 0, 0, json!({"minReplicaCount": 0})).await?;
        scene.stays("web", 0, PATH, 2).await?;
        annotate(scene, "force-activation", Some("true")).await?;
        scene.until_replicas("web", 1).await?;
        let active = scene
            .condition("web", "Active", "True", "ScalerActive")
            .await?;
        ensure!(
            active == "Scaling is performed because activation is being forced by annotation",
            "{active}"
        );
        let told = scene.until_told("web", "KEDAScaleTargetActivated").await?;
        ensure!(
            told == "Scaled apps/v1.Deployment force/web from 0 to 1, caused by forced activation annotation",
            "{told}"
        );
        scene.stays("web", 1, PATH, 5).await?;
        // Its source need not even be there.
        scene.source.set(PATH, Answer::status(500));
        let partly = scene
            .condition("web", "Ready", "Unknown", "PartialTriggerError")
            .await?;
        ensure!(
            partly == "Some triggers defined in ScaledObject are not working correctly",
            "{partly}"
        );
        scene.set(0);
        until_ready(scene, READY).await?;
        annotate(scene, "force-activation", None).await?;
        scene.until_replicas("web", 0).await?;
        let paused = scene.get(SCALED_OBJECTS, "web").await?.context("gone")?;
        let paused = condition(&paused, "Paused").context("no condition Paused")?;
        same(
            "Paused",
            paused,
            &json!({"type": "Paused", "status": "False"}),
        )
    });
}

/// Whoever left it paused, this operator or KEDA.
#[test]
fn a_restart_during_a_pause_moves_and_writes_nothing() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "pause-restart").await?;
        let scene = &scene;
        let mut operator = Operator::start(installed.watching("pause-restart"))?;
        operator.wait_ready(SOON).await?;
        bring_up(scene, 0, 15, json!({})).await?;
        scene.until_replicas("web", 1).await?;
        annotate(scene, "paused-replicas", Some("3")).await?;
        until_paused_at(scene, Some(3)).await?;
        scene.until_gone(HPAS, HPA).await?;
        until_ready(scene, PAUSED).await?;
        let metric = "keda_scaled_object_paused{namespace=\"pause-restart\",scaledObject=\"web\"}";
        let metrics = operator.metrics().await?;
        ensure!(metrics.contains(&format!("{metric} 1\n")), "{metrics}");

        operator.kill()?;
        let by_hand = json!({"spec": {"replicas": 2}});
        scene.patch(DEPLOYMENTS, "web", &by_hand).await?;
        let (writes, events) = (scene.writes()?.len(), scene.told("web").await?);
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        scene.stays_for("web", 2, A_WHILE).await?;
        let written = scene.writes()?.split_off(writes);
        ensure!(
            written.is_empty(),
            "written after the restart: {written:#?}"
        );
        ensure!(scene.told("web").await? == events, "it told something");

        annotate(scene, "paused-replicas", None).await?;
        until_paused(scene, false).await?;
        until_paused_at(scene, None).await?;
        until_ready(scene, READY).await?;
        until_selected(scene, Value::Null, Value::Null).await?;
        let metrics = operator.metrics().await?;
        ensure!(metrics.contains(&format!("{metric} 0\n")), "{metrics}");

        // Paused while nobody looks: the HPA goes, and nothing is scaled before.
        operator.kill()?;
        annotate(scene, "paused", Some("true")).await?;
        scene.set(0);
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        scene.until_gone(HPAS, HPA).await?;
        until_paused(scene, true).await?;
        scene.stays_for("web", 2, A_WHILE).await?;

        // Unpaused while nobody looks.
        operator.kill()?;
        annotate(scene, "paused", None).await?;
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        until_paused(scene, false).await?;
        until_selected(scene, Value::Null, Value::Null).await?;
        scene.until_replicas("web", 0).await
    });
}
