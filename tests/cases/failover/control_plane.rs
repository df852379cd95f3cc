//! kube-apiserver and etcd go away under three replicas and come back, and meanwhile the certificate that they show expires.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use sakidori_test_cluster::Component;
use sakidori_tests::reads::ADMINISTRATOR;
use sakidori_tests::{OperatorSettings, operator};

use super::{REPLICAS, Reads, Stage, play};

/// As long as a leader goes on without a renewal of its lease, so that it loses it.
const AWAY: Duration = Duration::from_secs(10);
/// A certificate is renewed after two thirds of that, so 20 s before its end: time for a control plane that was away for half of that to
/// start, and for somebody to lead again.
const VALIDITY: Duration = Duration::from_secs(60);

#[test]
fn replicas_outlive_the_control_plane_and_their_certificate() {
    let rotating = |settings: &mut OperatorSettings| {
        settings.cert_rotation = true;
        settings.patching = true;
        let validity = format!("--cert-validity={}s", VALIDITY.as_secs());
        settings.extra_args.push(validity);
    };
    play(ADMINISTRATOR, rotating, async |stage| {
        let (began, certificate) = (Instant::now(), certificate(stage).await?);
        let pids = pids(stage);
        for component in [Component::Apiserver, Component::Etcd] {
            outlive(stage, component).await?;
        }
        // Whoever is still shown the first one gets no further from then on.
        let expired = began + VALIDITY;
        tokio::time::sleep(expired.saturating_duration_since(Instant::now())).await;
        let all: Vec<usize> = (0..REPLICAS).collect();
        stage.aftermath("expired", expired, &all).await?;
        ensure!(
            self::certificate(stage).await? != certificate,
            "the certificate was not renewed"
        );
        ensure!(self::pids(stage) == pids, "a replica was restarted");
        Ok(())
    });
}

/// What the Secret holds.
async fn certificate(stage: &Stage<'_>) -> Result<Vec<u8>> {
    let api: Api<Secret> = Api::namespaced(stage.client.clone(), operator::NAMESPACE);
    let mut secret = api.get("kedaorg-certs").await?.data.unwrap_or_default();
    Ok(secret.remove("tls.crt").context("no tls.crt in it")?.0)
}

fn pids(stage: &Stage<'_>) -> Vec<Option<u32>> {
    let each = stage.replicas.each().iter();
    each.map(|replica| replica.operator.pid()).collect()
}

async fn outlive(stage: &mut Stage<'_>, component: Component) -> Result<()> {
    let all: Vec<usize> = (0..REPLICAS).collect();
    stage.cluster.kill(component);
    let gone = Instant::now();
    tokio::time::sleep(AWAY).await;
    stage.cluster.run(component)?;
    stage.cluster.wait_for_apiserver().await?;
    let back = Instant::now();
    println!("without {component:?} for {:.1?}", back - gone);
    // Who may read without being looked up is answered all the time.
    for number in &all {
        let reads = Reads::new(&stage.direct[*number], gone, back);
        let what = format!("without {component:?}: reads by replica {number}");
        println!("{what}: {}", reads.told());
        stage.answered(&what, &reads);
    }
    stage
        .aftermath(&format!("{component:?} is back"), back, &all)
        .await
}
