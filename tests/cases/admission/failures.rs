//! What happens when the webhook is dead, hangs, or is sent nonsense.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_tests::Operator;
use serde_json::json;

use super::rules::{deployment, scaled_object, trigger, triggers};
use super::stage::{Stage, Ward, play};
use crate::scene::SOON;

/// A namespace of its own, about which an operator of its own is asked, with a Deployment and its ScaledObject.
async fn scene(
    stage: &'static Stage,
    namespace: &str,
    failure_policy: &str,
) -> Result<(Ward, Operator)> {
    let operator = Operator::start(stage.settings())?;
    stage.cluster.create_namespace(namespace).await?;
    let ward = stage.unasked(namespace);
    // One second, so that a case needn't wait for long; on a machine that is busy it may take more than one try.
    ward.guarded_by(&operator, failure_policy, 1, false).await?;
    ward.until_guarded().await?;
    let web = deployment("web", &[("main", json!({}))]);
    for object in [web, scaled_object("web", json!({}))] {
        eventually("what is right", SOON, async || {
            ward.create(&object).await?.passed().map(Some)
        })
        .await?;
    }
    Ok((ward, operator))
}

/// What nobody checks is let through, or refused where the user wants that; a deletion is never held up.
async fn ends_well(ward: &Ward, failure_policy: &str) -> Result<()> {
    let bad = triggers("bad", json!([trigger("nonsense", json!({}))]));
    let began = Instant::now();
    let answer = ward.create(&bad).await?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(8), "it took {took:?}");
    if failure_policy == "Ignore" {
        answer.passed()?;
        ward.delete(&bad).await?.passed()?;
    } else {
        let failed = "failed calling webhook \"vscaledobject.kb.io\"";
        ensure!(
            answer.code == 500 && answer.message.contains(failed),
            "{answer:?}"
        );
    }
    let web = scaled_object("web", json!({}));
    let began = Instant::now();
    ward.delete(&web).await?.passed()?;
    eventually("deletion", SOON, async || {
        Ok((ward.get(&web).await?.code == 404).then_some(()))
    })
    .await?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(5), "deleting took {took:?}");
    Ok(())
}

#[test]
fn a_dead_webhook_lets_objects_through_and_never_blocks_deletion() {
    play(async |stage| {
        for failure_policy in ["Ignore", "Fail"] {
            let namespace = format!("admission-dead-{}", failure_policy.to_lowercase());
            let (ward, mut operator) = scene(stage, &namespace, failure_policy).await?;
            operator.kill()?;
            ends_well(&ward, failure_policy)
                .await
                .context(failure_policy)?;
        }
        Ok(())
    });
}

#[test]
fn a_webhook_that_hangs_lets_objects_through_and_never_blocks_deletion() {
    play(async |stage| {
        for failure_policy in ["Ignore", "Fail"] {
            let namespace = format!("admission-hung-{}", failure_policy.to_lowercase());
            let (ward, operator) = scene(stage, &namespace, failure_policy).await?;
            operator.pause()?;
            ends_well(&ward, failure_policy)
                .await
                .context(failure_policy)?;
        }
        Ok(())
    });
}

#[test]
fn nonsense_is_told_and_harms_nobody() {
    play(async |stage| {
        let authority = reqwest::Certificate::from_pem(stage.leader.authority().as_bytes())?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .timeout(SOON)
            .build()?;
        let url = format!(
            "https://{}/validate-keda-sh-v1alpha1-scaledobject?timeout=10s",
            stage.leader.webhook_address()
        );
        let post = async |body: Vec<u8>| -> Result<(u16, String)> {
            let answer = client.post(&url).body(body).send().await?;
            Ok((answer.status().as_u16(), answer.text().await?))
        };
        let (code, text) = post(b"{\"kind\": ".to_vec()).await?;
        ensure!(
            code == 400 && text.contains("AdmissionReview"),
            "{code} {text}"
        );
        let empty = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
        let (code, text) = post(serde_json::to_vec(&empty)?).await?;
        ensure!(code == 400 && text.contains("no request"), "{code} {text}");
        let (code, text) = post(vec![b' '; 8 * 1024 * 1024]).await?;
        ensure!(code == 413, "{code} {text}");
        ensure!(client.get(&url).send().await?.status() == 405);
        let elsewhere = url.replace("scaledobject", "pod");
        ensure!(client.post(elsewhere).send().await?.status() == 404);

        // An object that nobody can read is refused, in the API server's name too.
        let ward = stage.ward("admission-nonsense").await?;
        let refused = ward
            .create(&scaled_object("web", json!({"minReplicaCount": "many"})))
            .await?
            .refused()?;
        ensure!(
            refused.starts_with("the object can't be read: "),
            "{refused}"
        );
        Ok(())
    });
}
