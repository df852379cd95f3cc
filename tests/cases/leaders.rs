//! Who leads: a leader that was suspended, a Lease that somebody deletes, and KEDA's operator. (Killed leaders of many
//! objects are `faults`.)

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Answer;
use sakidori_tests::throughout::throughout;
use sakidori_tests::{Operator, OperatorSettings};
use serde_json::{Value, json};

use crate::installed::{Installed, play_installed};
use crate::scene::{OPERATOR, PATH, SOON, Scene};

const LEASES: &str = "apis/coordination.k8s.io/v1/leases";
const LEASE: &str = "operator.keda.sh";

/// What a candidate in the scene's namespace is started with: elections there are the case's own.
pub async fn candidate(installed: &Installed, scene: &Scene<'_>) -> Result<OperatorSettings> {
    let account = json!({"kind": "ServiceAccount", "name": "keda-operator", "namespace": "keda"});
    let verbs = json!(["get", "list", "watch", "create", "update"]);
    let rule =
        json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs});
    for mut object in [
        json!({"kind": "Role", "rules": [rule]}),
        json!({
            "kind": "RoleBinding", "subjects": [account],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leases"},
        }),
    ] {
        object["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        object["metadata"] = json!({"name": "leases"});
        scene.apply(object).await?;
    }
    Ok(OperatorSettings {
        leader_elect: true,
        namespace: scene.namespace.clone(),
        ..installed.watching(&scene.namespace)
    })
}

async fn lease(scene: &Scene<'_>) -> Result<Value> {
    scene.get(LEASES, LEASE).await?.context("there is no Lease")
}

/// Whether it leads, as far as the Lease tells.
async fn leads(scene: &Scene<'_>, operator: &Operator) -> Result<bool> {
    let lease = lease(scene).await?;
    let address = lease["metadata"]["annotations"]["sakidori.dev/address"].as_str();
    let held = lease["spec"]["holderIdentity"] != "";
    Ok(held && address == Some(operator.values_address().to_string().as_str()))
}

pub async fn until_leads(scene: &Scene<'_>, operator: &Operator, within: Duration) -> Result<()> {
    eventually("its leading", within, async || {
        Ok(leads(scene, operator).await?.then_some(()))
    })
    .await
    .with_context(|| format!("its log ends with\n{}", operator.log_tail()))
}

/// Waits for polls that begin now.
pub async fn until_polled(scene: &Scene<'_>, within: Duration) -> Result<()> {
    let polls = scene.source.requests(PATH);
    eventually("a poll", within, async || {
        Ok((scene.source.requests(PATH) > polls).then_some(()))
    })
    .await
}

/// An answer is on its way to the leader that would make it scale, when the leader is suspended past its lease.
#[test]
fn a_leader_that_was_suspended_does_nothing_when_it_wakes() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "leaders-suspended").await?;
        let mut settings = candidate(installed, &scene).await?;
        // The answer counts, however late it is read.
        let patience = ("KEDA_HTTP_DEFAULT_TIMEOUT".to_owned(), "60000".to_owned());
        settings.environment.push(patience);
        let mut first = Operator::start(settings.clone())?;
        first.wait_ready(SOON).await?;
        scene.bring_up(0, json!({})).await?;
        let second = Operator::start(settings)?;
        eventually("the second to listen", SOON, async || {
            second.probe("/healthz").await.map(Some)
        })
        .await?;
        let pid = first.pid();
        let one = Answer::json(&json!({"value": 1}));
        scene.source.set(PATH, one.after(Duration::from_secs(2)));
        until_polled(&scene, SOON).await?;
        first.pause()?;
        scene.set(0);
        let paused = Instant::now();
        until_leads(&scene, &second, Duration::from_secs(20)).await?;
        until_polled(&scene, SOON).await?;
        eprintln!("the next leads and polls after {:?}", paused.elapsed());

        // Now nobody else writes, and the lease is the second one's for 15 s more.
        second.pause()?;
        let woken = Timestamp::now();
        first.resume()?;
        throughout("no replicas", Duration::from_secs(7), async || {
            ensure!(scene.replicas("web").await? == 0, "the woken one scales");
            Ok(())
        })
        .await?;
        let writes = scene.cluster.write_log()?;
        let of_the_woken: Vec<_> = writes
            .iter()
            .filter(|write| write.username == OPERATOR && write.namespace == scene.namespace)
            .filter(|write| {
                write
                    .received
                    .parse::<Timestamp>()
                    .is_ok_and(|at| at > woken)
            })
            .collect();
        ensure!(of_the_woken.is_empty(), "{of_the_woken:#?}");
        // It is a follower now, in the same process, and of its term nothing is left.
        let (status, body) = first.probe("/healthz").await?;
        ensure!(status == 200, "{body}");
        ensure!(first.pid() == pid, "it is another process");
        let metrics = first.metrics().await?;
        ensure!(!metrics.contains("keda_scaler_metrics_value{"), "{metrics}");

        second.resume()?;
        scene.set(1);
        scene.until_replicas("web", 1).await?;
        ensure!(leads(&scene, &second).await?);
        // And it may lead again.
        drop(second);
        until_leads(&scene, &first, Duration::from_secs(20)).await?;
        scene.set(0);
        scene.until_replicas("web", 0).await?;
        first.kill()
    });
}

#[test]
fn a_lease_that_is_deleted_stays_with_its_leader() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "leaders-deleted").await?;
        let settings = candidate(installed, &scene).await?;
        let mut first = Operator::start(settings.clone())?;
        first.wait_ready(SOON).await?;
        let second = Operator::start(settings)?;
        eventually("the second to listen", SOON, async || {
            second.probe("/healthz").await.map(Some)
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = lease(&scene).await?;
        scene.delete(LEASES, LEASE).await?;
        let after = eventually("the Lease to be made anew", SOON, async || {
            scene.get(LEASES, LEASE).await
        })
        .await?;
        ensure!(before["metadata"]["uid"] != after["metadata"]["uid"]);
        ensure!(
            before["spec"]["holderIdentity"] == after["spec"]["holderIdentity"],
            "{after:#}"
        );
        let log = std::fs::read_to_string(first.log_path())?;
        ensure!(!log.contains("no longer leading"), "it stopped");
        ensure!(leads(&scene, &first).await?);
        first.kill()
    });
}

#[test]
fn nobody_leads_while_kedas_operator_does() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "leaders-keda").await?;
        let held = |renewals: i64| {
            let time = Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
                .to_string();
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE},
                "spec": {
                    "holderIdentity": "keda-operator-0_1", "leaseDurationSeconds": 6,
                    "acquireTime": time, "renewTime": time, "leaseTransitions": renewals,
                },
            })
        };
        scene.create(LEASES, &held(0)).await?;
        let settings = candidate(installed, &scene).await?;
        let operator = Operator::start(settings)?;
        eventually("it to listen", SOON, async || {
            operator.probe("/healthz").await.map(Some)
        })
        .await?;
        for renewals in 1..8 {
            scene
                .patch(LEASES, LEASE, &json!({"spec": held(renewals)["spec"]}))
                .await?;
            ensure!(!leads(&scene, &operator).await?);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        ensure!(scene.writes()?.is_empty(), "{:?}", scene.writes()?);
        until_leads(&scene, &operator, SOON).await?;
        let lease = lease(&scene).await?;
        ensure!(lease["spec"]["leaseTransitions"] == 8, "{lease:#}");
        ensure!(lease["spec"]["leaseDurationSeconds"] == 15, "{lease:#}");
        Ok(())
    });
}
