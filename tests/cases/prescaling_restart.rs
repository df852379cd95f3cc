//! A floor is set within a second of its instant, also by an operator that was started only a second and a half before. What it is
//! measured by is what the API server notes of each write, to the microsecond.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::eventually;
use sakidori_tests::bed::Bed;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::prescaling::{CALENDARS, calendar, floor, trigger, until_bounds};
use crate::scene::{HPAS, OPERATOR, Scene};

/// The promise.
const WITHIN: SignedDuration = SignedDuration::from_secs(1);
/// How long before the instant the operator is started.
const BEFORE: SignedDuration = SignedDuration::from_millis(1500);
/// From now to the instant: time to write the calendar.
const AHEAD: SignedDuration = SignedDuration::from_secs(6);
/// A floor is complete so long before its sale: the `leadTime` of `trigger`.
const LEAD: SignedDuration = SignedDuration::from_secs(6);

/// How slow the machine is meanwhile: how late a timer of the test's own is, and how long the API server takes to answer it.
struct Machine {
    timer_late: SignedDuration,
    slowest_answer: SignedDuration,
}

impl Machine {
    /// Two writes follow each other (what the floor is made of, then the floor), each behind a timer or an answer.
    fn allowance(&self) -> SignedDuration {
        self.timer_late + self.slowest_answer * 2
    }

    /// Watches the machine until `until`.
    async fn watched(scene: &Scene<'_>, until: Timestamp) -> Result<Self> {
        let mut machine = Self {
            timer_late: SignedDuration::ZERO,
            slowest_answer: SignedDuration::ZERO,
        };
        while Timestamp::now() < until {
            let due = Timestamp::now() + SignedDuration::from_millis(50);
            wait_until(due).await;
            let now = Timestamp::now();
            machine.timer_late = machine.timer_late.max(now.duration_since(due));
            scene.get(HPAS, "keda-hpa-web").await?;
            let took = Timestamp::now().duration_since(now);
            machine.slowest_answer = machine.slowest_answer.max(took);
        }
        Ok(machine)
    }
}

async fn wait_until(at: Timestamp) {
    let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
    sleep_until(Instant::now() + left).await;
}

/// The time of the first line of a log that is about this.
fn logged(log: &str, is: impl Fn(&Value) -> bool) -> Option<Timestamp> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let line = lines.into_iter().find(|line: &Value| is(line))?;
    line["timestamp"].as_str()?.parse().ok()
}

/// When the API server got the operator's first write of this resource since `since`.
fn written(
    scene: &Scene<'_>,
    resource: &str,
    name: &str,
    since: Timestamp,
) -> Result<Option<Timestamp>> {
    let log = scene.cluster.write_log()?;
    let of_it = log.iter().filter(|write| {
        write.username == OPERATOR
            && write.namespace == scene.namespace
            && format!("{}/{}", write.resource, write.subresource).trim_end_matches('/') == resource
            && write.name == name
            && write.code < 300
    });
    let times = of_it.filter_map(|write| write.received.parse().ok());
    Ok(times.filter(|at: &Timestamp| *at >= since).min())
}

#[test]
fn an_operator_that_was_started_just_before_a_floors_instant_sets_it_within_a_second() -> Result<()>
{
    let bed = Bed::start()?;
    bed.run(async {
        let scene = Scene::open(&bed.cluster, "prescaling-instant").await?;
        // One whose floor is a multiple of what it has, which only a start reads; and one that sleeps, which no HPA wakes.
        scene.set(20);
        scene.deploy("web", 1).await?;
        scene.deploy("asleep", 0).await?;
        scene.apply(calendar("sales", &[])).await?;
        let times = json!({"multiplier": "2", "baseline": "observed:1h"});
        let spec = json!({
            "minReplicaCount": 1,
            "pollingInterval": 30,
            "triggers": [trigger("sales", times), scene.trigger()],
        });
        scene.apply(scene.scaled_object("web", spec)).await?;
        let spec = json!({"pollingInterval": 30, "triggers": [trigger("sales", floor(3))]});
        scene.apply(scene.scaled_object("asleep", spec)).await?;
        scene.ready("web").await?;
        scene.ready("asleep").await?;
        until_bounds(&scene, "web", 1, 5).await?;
        scene.until_replicas("web", 2).await?;

        bed.operator.lock().await.kill()?;
        let instant = Timestamp::now() + AHEAD;
        let instant = Timestamp::from_second(instant.as_second() + 1)?;
        let start = instant + LEAD;
        let sale = ("new-year", start, start + SignedDuration::from_mins(10));
        scene.apply(calendar("sales", &[sale])).await?;
        ensure!(scene.get(CALENDARS, "sales").await?.is_some());
        wait_until(instant - BEFORE).await;
        let log_path = bed.operator.lock().await.log_path();
        let before = std::fs::read_to_string(&log_path)?.len();
        let started = Timestamp::now();
        bed.operator.lock().await.restart()?;
        let machine = Machine::watched(&scene, instant + SignedDuration::from_secs(2)).await?;

        let found = eventually("both writes", Duration::from_secs(30), async || {
            let hpa = written(&scene, "horizontalpodautoscalers", "keda-hpa-web", started)?;
            let scale = written(&scene, "deployments/scale", "asleep", started)?;
            Ok(hpa.zip(scale))
        });
        let (hpa, scale) = found.await?;
        until_bounds(&scene, "web", 4, 5).await?;
        until_bounds(&scene, "asleep", 3, 5).await?;
        scene.until_replicas("asleep", 3).await?;

        let log = std::fs::read_to_string(&log_path)?;
        // Its own start is as slow as the machine: what counts is when it had seen the objects.
        let listed = logged(&log[before..], |line| line["message"] == "ScaledObjects are listed");
        let listed = listed.context("it never listed ScaledObjects")?;
        let due = instant.max(listed);
        let limit = WITHIN + machine.allowance();
        println!(
            "started {:#} before the instant, listed after {:#}; HPA {:#} and scale {:#} after it was due; allowed {limit:#}",
            instant.duration_since(started),
            listed.duration_since(started),
            hpa.duration_since(due),
            scale.duration_since(due),
        );
        for (what, at) in [("the HPA", hpa), ("the sleeping target", scale)] {
            ensure!(at >= instant, "{what} was written at {at}, before {instant}");
            let late = at.duration_since(due);
            ensure!(
                late <= limit,
                "{what} was written {late:#} after {due}, more than {limit:#} (a timer was {:#} late, an answer took {:#})",
                machine.timer_late,
                machine.slowest_answer
            );
        }
        Ok(())
    })
}
