//! The operator as a process: what it is started with, what its probes say, how it ends, and who leads.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Answer;
use sakidori_tests::certificates::Certificates;
use sakidori_tests::{Operator, OperatorSettings, binary};
use serde_json::json;

use crate::installed::play_installed;
use crate::scene::{HPAS, PATH, SCALED_OBJECTS, SOON, Scene};

#[test]
fn sigterm_ends_it_in_five_seconds() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "process-sigterm").await?;
        let mut operator = Operator::start(installed.watching("process-sigterm"))?;
        operator.wait_ready(SOON).await?;
        scene.deploy("web", 0).await?;
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        // With a poll under way that won't be answered.
        scene.source.set(PATH, Answer::hang());
        let polls = scene.source.requests(PATH);
        eventually("poll that hangs", SOON, async || {
            Ok((scene.source.requests(PATH) > polls).then_some(()))
        })
        .await?;
        let (status, took) = operator.terminate(Duration::from_secs(6)).await?;
        ensure!(
            status.success(),
            "it ended with {status}\n{}",
            operator.log_tail()
        );
        ensure!(took < Duration::from_secs(5), "it took {took:?}");
        ensure!(scene.replicas("web").await? == 1);
        Ok(())
    });
}

#[test]
fn it_watches_the_namespaces_that_it_is_given() {
    play_installed(async |installed| {
        let mut operator = Operator::start(installed.watching("process-one, process-two"))?;
        operator.wait_ready(SOON).await?;
        let mut scenes = Vec::new();
        for namespace in ["process-one", "process-two", "process-three"] {
            let scene = Scene::open(&installed.cluster, namespace).await?;
            scene.set(1);
            scene.deploy("web", 0).await?;
            scene.apply(scene.scaled_object("web", json!({}))).await?;
            scenes.push(scene);
        }
        for scene in &scenes[..2] {
            scene.until_replicas("web", 1).await?;
            scene.ready("web").await?;
        }
        let third = &scenes[2];
        ensure!(third.replicas("web").await? == 0);
        ensure!(
            third.get(HPAS, "keda-hpa-web").await?.is_none(),
            "it got an HPA"
        );
        let object = third
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("no ScaledObject")?;
        ensure!(object["status"].is_null(), "{:#}", object["status"]);
        ensure!(third.source.all_requests() == 0, "it is polled");
        // A deletion is seen in each of them, too.
        scenes[1].delete(SCALED_OBJECTS, "web").await?;
        scenes[1]
            .until_told("web", "ScaledObjectDeleted")
            .await
            .map(drop)
    });
}

/// Runs `sakidori operator` with these arguments until it ends.
async fn run(arguments: &[&str], kubeconfig: &str) -> Result<Output> {
    let mut command = tokio::process::Command::from(Command::new(binary::sakidori()?));
    command
        .arg("operator")
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .kill_on_drop(true);
    tokio::time::timeout(SOON, command.output())
        .await
        .with_context(|| format!("it goes on with {arguments:?}"))?
        .map_err(Into::into)
}

#[test]
fn what_it_cannot_start_with_is_told_and_ends_it() {
    play_installed(async |installed| {
        let settings = installed.watching("");
        let kubeconfig = settings.kubeconfig.to_str().context("no text")?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let taken = taken.local_addr()?.to_string();
        let free = "127.0.0.1:0";
        let flags = [
            "--metrics-bind-address",
            "--health-probe-bind-address",
            "--external-metrics-bind-address",
            "--webhook-bind-address",
            "--metrics-service-bind-address",
        ];
        let with = |flag: &str, address: &str| -> Vec<String> {
            flags
                .iter()
                .map(|name| format!("{name}={}", if *name == flag { address } else { free }))
                .collect()
        };
        let mut cases: Vec<(Vec<String>, &str, Vec<&str>)> = vec![
            (
                vec!["--leader-elekt=true".into()],
                kubeconfig,
                vec!["--leader-elekt", "--leader-elect"],
            ),
            (
                vec!["--leader-elect=perhaps".into()],
                kubeconfig,
                vec!["--leader-elect", "perhaps"],
            ),
            (
                vec!["--log-format=xml".into()],
                kubeconfig,
                vec!["--log-format", "xml", "json"],
            ),
            (
                vec!["--log-level=loud".into()],
                kubeconfig,
                vec!["--log-level", "loud", "debug"],
            ),
            (
                with(flags[0], "8080"),
                kubeconfig,
                vec![flags[0], "8080", ":PORT"],
            ),
            (
                with(flags[1], "localhost:http"),
                kubeconfig,
                vec![flags[1], "localhost:http"],
            ),
            (
                with("", ""),
                "/absent/kubeconfig",
                vec!["/absent/kubeconfig"],
            ),
        ];
        for flag in &flags {
            cases.push((with(flag, &taken), kubeconfig, vec![flag, &taken]));
        }
        let mut no_certificates = with("", "");
        no_certificates.push("--cert-dir=/absent/certs".into());
        cases.push((no_certificates, kubeconfig, vec!["/absent/certs"]));
        for (arguments, kubeconfig, told) in cases {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = run(&arguments, kubeconfig).await?;
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(!output.status.success(), "{arguments:?} is taken");
            for part in told {
                ensure!(
                    text.contains(part),
                    "no {part:?} for {arguments:?} in: {text}"
                );
            }
            ensure!(
                !text.contains("panicked") && text.len() < 1000,
                "{arguments:?}: {text}"
            );
        }
        Ok(())
    });
}

/// The status and text of a probe.
async fn probe(operator: &Operator, path: &str) -> Result<(u16, String)> {
    let url = format!("http://{}{path}", operator.health_probe_address());
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let answer = http.get(url).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[test]
fn it_is_alive_but_not_ready_until_it_has_seen_everything() {
    play_installed(async |installed| {
        // Takes connections and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let dir = tempfile::tempdir()?;
        let kubeconfig = dir.path().join("kubeconfig");
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://{}", silent.local_addr()?), "insecure-skip-tls-verify": true,
            }}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        std::fs::write(&kubeconfig, text.to_string())?;
        let operator = Operator::start(OperatorSettings::new(kubeconfig))?;
        let (status, body) = eventually("answer of a probe", SOON, async || {
            probe(&operator, "/readyz").await.map(Some)
        })
        .await?;
        ensure!(
            status == 503 && body.contains("not listed"),
            "{status}: {body}"
        );
        let (status, body) = probe(&operator, "/healthz").await?;
        ensure!(status == 200, "{status}: {body}");
        // Neither changes by itself.
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(probe(&operator, "/readyz").await?.0 == 503);

        let mut other = Operator::start(installed.watching("process-nothing"))?;
        other.wait_ready(SOON).await?;
        for path in ["/healthz", "/readyz"] {
            let (status, body) = probe(&other, path).await?;
            ensure!(status == 200, "{path}: {status}: {body}");
        }
        ensure!(probe(&other, "/other").await?.0 == 404);
        Ok(())
    });
}

#[test]
fn one_of_two_leads_and_the_other_takes_over() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "process-leader").await?;
        let settings = OperatorSettings {
            leader_elect: true,
            ..installed.watching("process-leader")
        };
        let certificates = Arc::new(Certificates::new()?);
        let mut first = Operator::start_with(settings.clone(), certificates.clone())?;
        first.wait_ready(SOON).await?;
        let mut second = Operator::start_with(settings, certificates)?;
        scene.bring_up(0, json!({})).await?;
        scene.stays("web", 0, PATH, 3).await?;
        let (status, body) = probe(&second, "/healthz").await?;
        ensure!(status == 200, "{status}: {body}");
        second.wait_ready(SOON).await?;
        // Both serve, and only one of them works.
        let writes = scene.writes()?;
        let brought_up = writes
            .iter()
            .filter(|write| write.contains("horizontal"))
            .count();
        ensure!(brought_up == 1, "{writes:#?}");

        let (status, _) = first.terminate(Duration::from_secs(5)).await?;
        ensure!(status.success(), "{status}\n{}", first.log_tail());
        let ended = Instant::now();
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        let took = ended.elapsed();
        ensure!(
            took < Duration::from_secs(8),
            "the other scaled after {took:?}\n{}",
            second.log_tail()
        );

        // Back again, the first one waits for its turn.
        first.restart()?;
        first.wait_ready(SOON).await?;
        ensure!(probe(&second, "/readyz").await?.0 == 200);
        let log = std::fs::read_to_string(first.log_path())?;
        let leads = log.matches("\"leading\"").count();
        ensure!(leads == 1, "it led {leads} times");
        Ok(())
    });
}
