//! kube-apiserver and etcd go away under a working operator and come back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::{Component, eventually};
use sakidori_test_servers::Answer;
use sakidori_tests::bed::Bed;
use sakidori_tests::namespace::{Namespace, deployment, metrics_api, scaled_object};
use sakidori_tests::throughout::throughout;
use serde_json::{Value, json};

const REPLICAS: i32 = 4;
const METRIC: &str = "s0-metric-api-value";
/// Long enough that watches break and cooldowns end.
const AWAY: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_secs(30);
/// A watch that finds nobody tries again ever more rarely, but every few seconds at least.
const WATCHED_AGAIN: Duration = Duration::from_secs(20);

#[test]
fn the_operator_outlives_the_control_plane() -> Result<()> {
    let bed = Bed::start()?;
    bed.run(async {
        let namespace = bed.namespace("shop").await?;
        bed.source.set("/web", Answer::json(&json!({"value": 40})));
        namespace
            .apply([deployment("web", 0), scaled("web", &bed, 100)])
            .await?;
        namespace.wait_replicas("web", REPLICAS, SOON).await?;
        let process = bed.operator.lock().await.pid();

        // Without kube-apiserver the poll's look at the replicas is refused at once; without etcd it is given up after 5 s.
        for (round, (component, least)) in [(Component::Apiserver, 4), (Component::Etcd, 1)]
            .into_iter()
            .enumerate()
        {
            let polls = bed.source.requests("/web");
            bed.cluster.kill(component);
            let gone = Instant::now();
            tokio::time::sleep(AWAY).await;
            eventually(
                &format!("{least} polls without {component:?}"),
                SOON,
                async || Ok((bed.source.requests("/web") >= polls + least).then_some(())),
            )
            .await?;
            let (polled, gone) = (bed.source.requests("/web") - polls, gone.elapsed());
            bed.cluster.run(component)?;
            let back = Instant::now();
            bed.cluster.wait_for_apiserver().await?;
            println!(
                "without {component:?}: {polled} polls in {gone:?}; it served again after {:?}",
                back.elapsed()
            );
            // What is changed from now on is seen.
            let most = 50 + i32::try_from(round)?;
            eventually("accepted change", SOON, async || {
                Ok(Some(namespace.apply([scaled("web", &bed, most)]).await?))
            })
            .await?;
            eventually("the change in the HPA", WATCHED_AGAIN, async || {
                let spec = namespace.hpa("web").await?.spec.context("no spec")?;
                Ok((spec.max_replicas == most).then_some(()))
            })
            .await?;
            println!("a change was seen {:?} after it came back", back.elapsed());
            throughout("replicas", Duration::from_secs(3), async || {
                unmoved(&namespace).await
            })
            .await?;
            read_again(&namespace, back).await?;
            let polls = bed.source.requests("/web");
            eventually("three more polls", SOON, async || {
                Ok((bed.source.requests("/web") >= polls + 3).then_some(()))
            })
            .await?;
            println!(
                "three more polls until {:?} after it came back",
                back.elapsed()
            );

            // And new objects are taken in.
            let new = format!("new-{round}");
            let path = format!("/{new}");
            bed.source.set(&path, Answer::json(&json!({"value": 20})));
            namespace
                .apply([deployment(&new, 0), scaled(&new, &bed, 100)])
                .await?;
            namespace.wait_replicas(&new, 2, SOON).await?;
            unmoved(&namespace).await?;
            namespace
                .wait_ready("web", "True", "ScaledObjectReady", SOON)
                .await?;
        }
        ensure!(
            bed.operator.lock().await.pid() == process && process.is_some(),
            "the operator was restarted"
        );
        bed.operator.lock().await.wait_ready(SOON).await
    })
}

/// Reads its load from the path of its own name.
fn scaled(name: &str, bed: &Bed, most: i32) -> Value {
    let spec = json!({
        "pollingInterval": 1,
        "cooldownPeriod": 2,
        "maxReplicaCount": most,
        "triggers": [metrics_api(&bed.source.url(&format!("/{name}")))],
    });
    scaled_object(name, spec)
}

async fn unmoved(namespace: &Namespace) -> Result<()> {
    let replicas = namespace.replicas("web").await?;
    ensure!(replicas.wanted == REPLICAS, "{replicas:?}");
    Ok(())
}

async fn read_again(namespace: &Namespace, back: Instant) -> Result<()> {
    eventually("an answered read", SOON, async || {
        Ok(Some(namespace.value(METRIC, "web").await?))
    })
    .await?;
    println!("reads are answered again after {:?}", back.elapsed());
    Ok(())
}
