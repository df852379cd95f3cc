//! What the operator logs: each thing that happens once, with its reason, and nothing while nothing happens.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Answer;
use sakidori_tests::certificates::Certificates;
use sakidori_tests::log_lines::{LogLine, log_lines};
use sakidori_tests::{Operator, OperatorSettings, binary};
use serde_json::json;

use crate::calendars;
use crate::installed::{Installed, play_installed};
use crate::prescaling::{calendar, from_now, trigger};
use crate::scene::{PATH, SCALED_OBJECTS, SOON, Scene};

/// From before a sale is written until all of it is over.
const SALE: Duration = Duration::from_secs(75);

/// How an operator of this scene alone is started, which logs what is logged unless more is asked for.
fn usual(installed: &Installed, scene: &Scene<'_>) -> OperatorSettings {
    OperatorSettings {
        log_level: "info".to_owned(),
        ..installed.watching(&scene.namespace)
    }
}

/// All lines so far.
fn lines(operator: &Operator) -> Result<Vec<LogLine>> {
    log_lines(&std::fs::read_to_string(operator.log_path())?)
}

/// Those about one object.
fn about(operator: &Operator, object: &str) -> Result<Vec<LogLine>> {
    let mut lines = lines(operator)?;
    lines.retain(|line| line.field("object") == object);
    Ok(lines)
}

/// Waits until the last line about an object has this reason.
async fn until_last(operator: &Operator, object: &str, reason: &str) -> Result<()> {
    until_line(operator, object, reason, |reasons| {
        reasons.last().is_some_and(|last| last == reason)
    })
    .await
}

async fn until_line(
    operator: &Operator,
    object: &str,
    what: &str,
    is_it: impl Fn(&[String]) -> bool,
) -> Result<()> {
    until_line_within(operator, object, what, SOON, is_it).await
}

async fn until_line_within(
    operator: &Operator,
    object: &str,
    what: &str,
    time: Duration,
    is_it: impl Fn(&[String]) -> bool,
) -> Result<()> {
    let mut reasons = Vec::new();
    eventually(&format!("line {what}"), time, async || {
        let found = about(operator, object)?;
        reasons = found
            .iter()
            .map(|line| line.field("reason").to_owned())
            .collect();
        Ok(is_it(&reasons).then_some(()))
    })
    .await
    .with_context(|| format!("the lines about {object} are {reasons:#?}"))
}

/// Waits for that many more polls of the scene's source on `path`.
async fn polls(scene: &Scene<'_>, path: &str, count: u64) -> Result<()> {
    let end = scene.source.requests(path) + count;
    eventually(&format!("{count} polls of {path}"), SOON, async || {
        Ok((scene.source.requests(path) >= end).then_some(()))
    })
    .await
}

/// No two lines say the same of the same object.
fn each_once(lines: &[LogLine]) -> Result<()> {
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    for line in lines {
        *seen
            .entry((line.field("object"), line.field("message")))
            .or_default() += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "{twice:#?}");
    Ok(())
}

#[test]
fn while_nothing_happens_nothing_is_logged() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "logs-quiet").await?;
        let mut operator = Operator::start(usual(installed, &scene))?;
        operator.wait_ready(SOON).await?;
        // One without work, one with work, and one whose source fails.
        scene.source.set("/busy", crate::scene::answer(10));
        scene.source.set("/broken", Answer::status(500));
        for (name, path, replicas) in [
            ("idle", PATH, 0),
            ("busy", "/busy", 1),
            ("broken", "/broken", 1),
        ] {
            scene.deploy(name, replicas).await?;
            let spec = json!({"triggers": [scene.trigger_on(path)]});
            scene.apply(scene.scaled_object(name, spec)).await?;
        }
        scene.ready("idle").await?;
        scene.ready("busy").await?;
        until_last(&operator, "logs-quiet/broken", "KEDAScalerFailed").await?;
        for path in [PATH, "/busy", "/broken"] {
            polls(&scene, path, 2).await?;
        }
        let before = lines(&operator)?;
        for path in [PATH, "/busy", "/broken"] {
            polls(&scene, path, 8).await?;
        }
        let after = lines(&operator)?;
        ensure!(after == before, "{:#?}", &after[before.len()..]);
        each_once(&after)
    });
}

#[test]
fn each_thing_that_happens_to_an_object_is_one_line() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "logs-scene").await?;
        let mut operator = Operator::start(usual(installed, &scene))?;
        operator.wait_ready(SOON).await?;
        let object = "logs-scene/web";
        scene.bring_up(0, json!({})).await?;
        until_last(&operator, object, "ScaledObjectReady").await?;
        scene.set(1);
        until_last(&operator, object, "KEDAScaleTargetActivated").await?;
        scene.source.set(PATH, Answer::status(500));
        until_last(&operator, object, "KEDAScalerFailed").await?;
        polls(&scene, PATH, 3).await?;
        scene.set(1);
        until_last(&operator, object, "TriggerRecovered").await?;
        scene.set(0);
        until_last(&operator, object, "KEDAScaleTargetDeactivated").await?;
        let pause =
            json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "2"}}});
        scene.patch(SCALED_OBJECTS, "web", &pause).await?;
        until_last(&operator, object, "SetToPausedReplicas").await?;
        let resume =
            json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": null}}});
        scene.patch(SCALED_OBJECTS, "web", &resume).await?;
        // Nothing has work: after its cooldown it is scaled to zero again.
        until_last(&operator, object, "KEDAScaleTargetDeactivated").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        until_last(&operator, object, "ScaledObjectDeleted").await?;

        let lines = about(&operator, object)?;
        let told: Vec<_> = lines.iter().map(LogLine::brief).collect();
        let expected = [
            ("INFO", "HPACreated"),
            ("INFO", "ScaledObjectReady"),
            ("INFO", "KEDAScaleTargetActivated"),
            ("WARN", "KEDAScalerFailed"),
            ("INFO", "TriggerRecovered"),
            ("INFO", "KEDAScaleTargetDeactivated"),
            ("INFO", "ScaledObjectPaused"),
            ("INFO", "HPADeleted"),
            ("INFO", "SetToPausedReplicas"),
            ("INFO", "ScaledObjectUnpaused"),
            ("INFO", "HPACreated"),
            ("INFO", "KEDAScaleTargetDeactivated"),
            ("INFO", "ScaledObjectDeleted"),
        ];
        ensure!(told == expected, "{lines:#?}");

        // A line says what the Event says, and why where that doesn't.
        let activated = &lines[2];
        let note = scene.until_told("web", "KEDAScaleTargetActivated").await?;
        ensure!(activated.field("message") == note, "{activated:?} {note}");
        ensure!(
            activated.0["from"] == 0 && activated.0["to"] == 1,
            "{activated:?}"
        );
        let deactivated = &lines[5];
        ensure!(
            deactivated
                .field("cause")
                .starts_with("no trigger was active since"),
            "{deactivated:?}"
        );
        Ok(())
    });
}

#[test]
fn a_sale_is_told_from_its_floor_to_its_end() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "logs-sale").await?;
        let mut operator = Operator::start(usual(installed, &scene))?;
        operator.wait_ready(SOON).await?;
        scene.deploy("web", 1).await?;
        let (start, end) = (from_now(34), from_now(42));
        scene
            .apply(calendar("sales", &[("new-year", start, end)]))
            .await?;
        // An object that comes before its calendar is known says so, on a machine that is busy.
        calendars::until(&scene, "False", "", &["new-year"]).await?;
        let floor = trigger("sales", json!({"desiredReplicas": "3"}));
        let spec = json!({"minReplicaCount": 1, "triggers": [floor]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let object = "logs-sale/web";
        until_line_within(&operator, object, "PrescaleEnded", SALE, |reasons| {
            reasons.contains(&"PrescaleEnded".to_owned())
                && reasons
                    .last()
                    .is_some_and(|last| last == "PrescaleEnded" || last == "HPABoundsChanged")
                && reasons
                    .iter()
                    .filter(|reason| *reason == "HPABoundsChanged")
                    .count()
                    == 2
        })
        .await?;
        let lines = about(&operator, object)?;
        each_once(&lines)?;
        let mut told: Vec<_> = lines.iter().map(LogLine::brief).collect();
        // On a machine that is busy they may be late, and pods are seen before or after other things.
        told.retain(|(_, reason)| *reason != "PrescaleLate");
        told.sort_unstable();
        let mut expected = [
            ("INFO", "HPABoundsChanged"),
            ("INFO", "HPABoundsChanged"),
            ("INFO", "HPACreated"),
            ("INFO", "PrescaleEnded"),
            ("INFO", "PrescaleReady"),
            ("INFO", "PrescaleStarted"),
            ("INFO", "ScaledObjectReady"),
        ];
        expected.sort_unstable();
        ensure!(told == expected, "{lines:#?}");
        let raised = lines
            .iter()
            .find(|line| line.field("reason") == "HPABoundsChanged")
            .context("no bounds")?;
        let message = raised.field("message");
        ensure!(
            message.ends_with("a floor of 3 replicas for new-year") && raised.0["min"] == 3,
            "{raised:?}"
        );
        Ok(())
    });
}

#[test]
fn only_the_leader_tells_what_it_decides_and_a_restart_tells_nothing_again() {
    play_installed(async |installed| {
        let _lease = installed.lease.lock().await;
        let scene = Scene::open(&installed.cluster, "logs-leader").await?;
        let settings = OperatorSettings {
            leader_elect: true,
            ..usual(installed, &scene)
        };
        let certificates = Arc::new(Certificates::new()?);
        let mut leader = Operator::start_with(settings.clone(), certificates.clone())?;
        leader.wait_ready(SOON).await?;
        let mut follower = Operator::start_with(settings, certificates)?;
        scene.bring_up(0, json!({})).await?;
        follower.wait_ready(SOON).await?;
        scene.set(1);
        let object = "logs-leader/web";
        until_last(&leader, object, "KEDAScaleTargetActivated").await?;
        polls(&scene, PATH, 2).await?;
        let theirs = about(&follower, object)?;
        ensure!(theirs.is_empty(), "{theirs:#?}");

        follower.kill()?;
        leader.kill()?;
        let before = lines(&leader)?.len();
        leader.restart()?;
        leader.wait_ready(SOON).await?;
        polls(&scene, PATH, 3).await?;
        let after = lines(&leader)?;
        let again: Vec<_> = after[before..]
            .iter()
            .filter(|line| line.field("object") == object)
            .collect();
        ensure!(again.is_empty(), "{again:#?}");
        leader.kill()
    });
}

#[test]
fn no_answer_of_a_source_begins_a_line_of_its_own() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "logs-injection").await?;
        // KEDA's flag for the format, too.
        let mut operator = Operator::start(OperatorSettings {
            extra_args: vec!["--zap-encoder=console".to_owned()],
            ..usual(installed, &scene)
        })?;
        operator.wait_ready(SOON).await?;
        let words = "slow\n2027-01-02T03:04:05.678Z ERROR forged\r\u{1b}[31m\u{9b}2J\u{202e}";
        let answer = Answer::json(&json!({"status": "error", "error": words}));
        scene.source.set("/prometheus/api/v1/query", answer);
        let address = scene.source.url("/prometheus");
        let metadata = json!({"serverAddress": address, "query": "up", "threshold": "10"});
        let spec = json!({"triggers": [{"type": "prometheus", "metadata": metadata}]});
        scene.deploy("web", 1).await?;
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_told("web", "KEDAScalerFailed").await?;
        let log = eventually("the failure", SOON, async || {
            let log = std::fs::read_to_string(operator.log_path())?;
            Ok(log.contains("KEDAScalerFailed").then_some(log))
        })
        .await?;
        for line in log.lines() {
            let level = line.split(' ').nth(1).unwrap_or_default();
            ensure!(
                line.starts_with("20") && matches!(level, "INFO" | "WARN"),
                "{line:?}"
            );
            let steers = |letter: char| letter.is_control() || letter == '\u{202e}';
            ensure!(!line.chars().any(steers), "{line:?}");
        }
        let told = log.lines().filter(|line| line.contains("forged")).count();
        ensure!(told == 1, "{log}");
        Ok(())
    });
}

#[test]
fn what_ends_the_operator_is_a_line_like_any_other() {
    let output = Command::new(binary::sakidori().unwrap())
        .args([
            "operator",
            "--log-format=json",
            "--metrics-bind-address=127.0.0.1:1",
        ])
        .env_clear()
        .env("KUBECONFIG", "/absent/kubeconfig")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let log = String::from_utf8(output.stderr).unwrap();
    let lines = log_lines(&log).unwrap();
    let last = lines.last().unwrap();
    assert_eq!(last.field("level"), "ERROR", "{log}");
}
