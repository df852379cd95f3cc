//! Sales on a real HPA: capacity is there before the start, whatever happens in between, and goes after the end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_tests::bed::Bed;
use sakidori_tests::namespace::deployment;
use serde_json::{Value, json};

use crate::scene::{HPAS, SCALED_OBJECTS, Scene, play};

pub const CALENDARS: &str = "apis/sakidori.dev/v1alpha1/salecalendars";

/// Seconds from now, to the whole second.
pub fn from_now(seconds: i64) -> Timestamp {
    let at = Timestamp::now() + SignedDuration::from_secs(seconds);
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

pub fn calendar(name: &str, sales: &[(&str, Timestamp, Timestamp)]) -> Value {
    let events: Vec<Value> = sales
        .iter()
        .map(|(name, start, end)| {
            json!({"name": name, "start": start.to_string(), "end": end.to_string(), "labels": {"tier": "S"}})
        })
        .collect();
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": "SaleCalendar",
        "metadata": {"name": name},
        "spec": {"events": events},
    })
}

/// Complete 6 s before the start, gone right after the end; `more` is merged over that.
pub fn trigger(calendar: &str, more: Value) -> Value {
    let mut metadata = json!({
        "calendar": calendar,
        "calendarKind": "SaleCalendar",
        "baseline": "1",
        "leadTime": "6s",
        "rampUp": "0",
        "holdAfter": "0",
        "rampDown": "0",
    });
    crate::scene::merge(&mut metadata, more);
    json!({"type": "sale-calendar", "metadata": metadata})
}

pub fn floor(replicas: i64) -> Value {
    json!({"desiredReplicas": replicas.to_string()})
}

pub async fn until_bounds(scene: &Scene<'_>, name: &str, min: i64, max: i64) -> Result<()> {
    let what = format!("bounds {min} to {max}");
    scene
        .until(&what, HPAS, &format!("keda-hpa-{name}"), |hpa| {
            let is = hpa["spec"]["minReplicas"] == min && hpa["spec"]["maxReplicas"] == max;
            is.then_some(())
        })
        .await
}

/// Waits until condition Prescaled of ScaledObject `web` is False for this reason, with these parts in its message. Its numbers follow
/// the pods.
pub async fn until_not_prescaled(scene: &Scene<'_>, reason: &str, parts: &[&str]) -> Result<()> {
    let what = format!("Prescaled False {reason} with {parts:?}");
    scene
        .until(&what, SCALED_OBJECTS, "web", |object| {
            let condition = crate::scene::condition(object, "Prescaled")?;
            let message = condition["message"].as_str()?;
            let is = condition["status"] == "False" && condition["reason"] == reason;
            (is && parts.iter().all(|part| message.contains(part))).then_some(())
        })
        .await
}

#[test]
fn a_floor_is_ready_before_the_start_and_falls_after_the_end() {
    play("prescaling-floor", async |scene| {
        scene.deploy("web", 0).await?;
        let (start, end) = (from_now(40), from_now(50));
        scene
            .apply(calendar("sales", &[("new-year", start, end)]))
            .await?;
        let times = json!({"desiredReplicas": "4", "leadTime": "20s"});
        let spec = json!({"triggers": [trigger("sales", times)]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        until_bounds(scene, "web", 1, 5).await?;
        ensure!(scene.replicas("web").await? == 0, "it is too early");
        // From zero, at the instant.
        scene.until_replicas("web", 4).await?;
        let now = Timestamp::now();
        let due = start - SignedDuration::from_secs(20);
        ensure!(due <= now, "{now} is before {due}");
        ensure!(now < start, "{now} is after the start");
        until_bounds(scene, "web", 4, 5).await?;
        let message = scene
            .condition("web", "Prescaled", "True", "FloorReady")
            .await?;
        ensure!(
            message == "4 of 4 replicas for new-year are Ready",
            "{message}"
        );
        let note = scene.until_told("web", "PrescaleReady").await?;
        ensure!(note.contains("before the start"), "{note}");
        let object = scene.get(SCALED_OBJECTS, "web").await?.context("gone")?;
        let runs = &object["status"]["sakidori"]["prescaling"]["runs"];
        ensure!(runs[0]["occurrence"]["name"] == "new-year", "{runs:#}");

        until_bounds(scene, "web", 1, 5).await?;
        ensure!(Timestamp::now() >= end, "it fell too early");
        scene.until_replicas("web", 0).await?;
        let report = scene
            .until("a report", SCALED_OBJECTS, "web", |object| {
                let prescaling = &object["status"]["sakidori"]["prescaling"];
                let report = prescaling["reports"].get(0)?.clone();
                prescaling.get("runs").is_none().then_some(report)
            })
            .await?;
        ensure!(report["floor"] == 4, "{report:#}");
        let before = report["readySecondsBeforeStart"].as_i64();
        ensure!(
            before.is_some_and(|it| (0..=20).contains(&it)),
            "{report:#}"
        );
        let note = scene.until_told("web", "PrescaleEnded").await?;
        ensure!(
            note.contains("new-year is over: the floor was 4 replicas"),
            "{note}"
        );
        Ok(())
    });
}

#[test]
fn a_floor_costs_a_write_of_its_hpa_and_three_of_its_status() {
    play("prescaling-writes", async |scene| {
        scene.deploy("web", 1).await?;
        scene.apply(calendar("sales", &[])).await?;
        // The time of the last activity is no news for a minute, and pods are late after half of the lead time.
        let sale = trigger("sales", json!({"desiredReplicas": "2", "leadTime": "1m"}));
        let spec = json!({"minReplicaCount": 1, "cooldownPeriod": 300, "triggers": [sale]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene
            .condition("web", "HPAActive", "True", "HPAActive")
            .await?;
        let earlier = scene.writes()?.len();
        let sale = ("a", from_now(66), from_now(600));
        scene.apply(calendar("sales", &[sale])).await?;
        scene
            .condition("web", "Prescaled", "True", "FloorReady")
            .await?;
        let writes = scene.writes()?.split_off(earlier);
        let of = |what: &str| writes.iter().filter(|write| *write == what).count();
        let hpas = of("patch horizontalpodautoscalers keda-hpa-web");
        let statuses = of("patch scaledobjects/status web");
        ensure!(hpas == 1 && statuses <= 3, "{writes:#?}");
        Ok(())
    });
}

#[test]
fn two_calendars_make_the_higher_floor_and_a_limit_wins_over_both() {
    play("prescaling-two", async |scene| {
        scene.deploy("web", 1).await?;
        scene.deploy("batch", 4).await?;
        let (start, end) = (from_now(8), from_now(600));
        scene.apply(calendar("one", &[("a", start, end)])).await?;
        scene.apply(calendar("two", &[("b", start, end)])).await?;
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("one", floor(2)), trigger("two", floor(4))]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let limit = json!({"limitReplicas": "2"});
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("one", floor(3)), trigger("two", limit)]});
        scene.apply(scene.scaled_object("batch", spec)).await?;
        until_bounds(scene, "web", 4, 5).await?;
        scene.until_replicas("web", 4).await?;
        until_bounds(scene, "batch", 2, 2).await?;
        scene.until_replicas("batch", 2).await?;
        let note = scene.until_told("batch", "PrescaleLimited").await?;
        ensure!(
            note.contains("limitReplicas 2 for b wins over it"),
            "{note}"
        );
        Ok(())
    });
}

#[test]
fn a_calendar_that_is_deleted_within_a_sale_takes_nothing_away() {
    play("prescaling-deleted", async |scene| {
        scene.deploy("web", 1).await?;
        let sale = ("a", from_now(5), from_now(600));
        scene.apply(calendar("sales", &[sale])).await?;
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("sales", floor(4)), scene.trigger()]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 4).await?;
        scene.delete(CALENDARS, "sales").await?;
        scene.stays("web", 4, crate::scene::PATH, 5).await?;
        until_bounds(scene, "web", 4, 5).await?;
        // A sale that is taken out of a calendar that is there is another thing.
        scene.apply(calendar("sales", &[])).await?;
        until_bounds(scene, "web", 1, 5).await?;
        scene.until_replicas("web", 1).await
    });
}

#[test]
fn a_floor_above_the_maximum_says_so_and_max_replicas_raises_it() {
    play("prescaling-max", async |scene| {
        scene.deploy("web", 1).await?;
        let sale = ("a", from_now(5), from_now(600));
        scene.apply(calendar("sales", &[sale])).await?;
        let times = json!({"multiplier": "8"});
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("sales", times)]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 5).await?;
        let message = scene
            .condition("web", "Prescaled", "False", "LimitedByMaxReplicas")
            .await?;
        ensure!(message.contains("raise maxReplicaCount"), "{message}");
        let times = json!({"multiplier": "8", "maxReplicas": "8"});
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("sales", times)]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        until_bounds(scene, "web", 8, 8).await?;
        scene.until_replicas("web", 8).await
    });
}

#[test]
fn an_operator_that_dies_between_ramp_and_start_changes_nothing() -> Result<()> {
    let bed = Bed::start()?;
    bed.run(async {
        let scene = Scene::open(&bed.cluster, "prescaling-restart").await?;
        scene.deploy("web", 1).await?;
        let (start, end) = (from_now(38), from_now(59));
        scene.apply(calendar("sales", &[("a", start, end)])).await?;
        // It climbs from 26 s to 20 s before the start, and the operator comes back when it is complete.
        let times = json!({"multiplier": "4", "baseline": "observed:1h", "rampUp": "6s", "leadTime": "20s"});
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("sales", times)]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        scene
            .until("a run in the status", SCALED_OBJECTS, "web", |object| {
                let run = object["status"]["sakidori"]["prescaling"]["runs"].get(0)?;
                (run["baseline"] == 1).then_some(())
            })
            .await?;
        // What a killed operator had still to write of its Events is lost, and not to be told again.
        scene.until_told("web", "PrescaleStarted").await?;
        bed.operator.lock().await.kill()?;
        tokio::time::sleep(Duration::from_secs(7)).await;
        bed.operator.lock().await.restart()?;
        // From the baseline of before, not from what the ramp has made of it.
        scene.until_replicas("web", 4).await?;
        ensure!(Timestamp::now() < start, "it is after the start");
        until_bounds(&scene, "web", 4, 5).await?;
        scene.until_told("web", "PrescaleReady").await?;
        // And once more before the sale: nothing moves.
        bed.operator.lock().await.kill()?;
        bed.operator.lock().await.restart()?;
        let left = end.duration_since(Timestamp::now()) - SignedDuration::from_secs(1);
        let left = Duration::try_from(left).unwrap_or_default();
        scene.stays_for("web", 4, left).await?;
        until_bounds(&scene, "web", 1, 5).await?;
        let started = scene.told("web").await?;
        let started = started.iter().filter(|told| told.1 == "PrescaleStarted");
        ensure!(started.count() == 1, "it is told once");
        Ok(())
    })
}

#[test]
fn pods_that_find_no_node_are_told_before_the_start() {
    play("prescaling-no-room", async |scene| {
        let mut deployment = deployment("web", 1);
        deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"room": "none"});
        scene.apply(deployment).await?;
        let (start, end) = (from_now(25), from_now(600));
        scene.apply(calendar("sales", &[("a", start, end)])).await?;
        let lead = json!({"desiredReplicas": "3", "leadTime": "20s"});
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("sales", lead)]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let message = scene
            .condition("web", "Prescaled", "False", "Unschedulable")
            .await?;
        ensure!(
            message.starts_with("0 of 3 replicas for a are Ready"),
            "{message}"
        );
        let note = scene.until_told("web", "PrescaleLate").await?;
        ensure!(note.contains("before the start"), "{note}");
        Ok(())
    });
}

#[test]
fn wrong_parameters_are_told_by_name() {
    play("prescaling-wrong", async |scene| {
        scene.deploy("web", 1).await?;
        let wrong = json!({"desiredReplicas": "3", "match": "tier in S", "leedTime": "5m"});
        let spec = json!({"triggers": [trigger("sales", wrong)]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let message = scene.check_failed("web").await?;
        for part in ["did you mean leadTime?", "trigger 0 (sale-calendar): match"] {
            ensure!(message.contains(part), "{message}");
        }
        Ok(())
    });
}
