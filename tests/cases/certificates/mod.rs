//! Certificates: made at the first start, renewed without a failed handshake, mended; and those that somebody else brings.

mod chart;
mod keda;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::pki::Authority;
use sakidori_tests::{Operator, OperatorSettings};
use serde_json::{Value, json};
use stage::{METRICS, OPERATOR, SECRET, count, handshake, has, play};

use crate::scene::SOON;

/// By how much a second API server is behind the first: less than half of what a new authority is announced before it issues.
const LAG: Duration = Duration::from_secs(2);

/// Between handshakes.
const BEAT: Duration = Duration::from_millis(100);

#[test]
fn a_first_start_makes_everything_and_a_second_replica_shares_it() {
    play(async |stage| {
        let settings = stage.rotating(&["--operator-service-name=mine"]);
        let mut operator = Operator::start(OperatorSettings {
            leader_elect: true,
            ..settings.clone()
        })?;
        operator.wait_ready(SOON).await?;
        stage.register(&operator).await?;
        stage.until_served().await?;
        let secret = stage.secret().await?;
        for key in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
            ensure!(secret.contains_key(key), "no {key}");
        }
        let authority = &secret["ca.crt"];
        ensure!(has(&stage.believed().await?, authority));
        ensure!(has(&stage.believed_by_webhooks().await?, authority));
        for name in [
            METRICS,
            OPERATOR,
            "localhost",
            "mine.keda.svc.cluster.local",
        ] {
            handshake(operator.external_metrics_address(), name, authority).await?;
        }
        let metrics = operator.metrics().await?;
        for certificate in ["serving", "authority"] {
            let series = format!(
                "sakidori_certificate_not_after_timestamp_seconds{{certificate=\"{certificate}\"}}"
            );
            ensure!(metrics.contains(&series), "no {series}");
        }

        // Another replica, which doesn't lead, shows the same certificate and writes nothing.
        let version = || async {
            let secret = stage.secrets().get(SECRET).await?;
            anyhow::Ok(secret.metadata.resource_version)
        };
        let before = version().await?;
        let second = Operator::start(OperatorSettings {
            leader_elect: true,
            ..settings
        })?;
        let address = second.external_metrics_address();
        until("the second replica's certificate", async || {
            let shown = handshake(address, METRICS, authority).await?;
            Ok(pem(&secret["tls.crt"])?.contains(&shown))
        })
        .await?;
        ensure!(version().await? == before, "{}", second.log_tail());

        // What an upgrade takes away is back at once; what only looks different is left alone.
        let bundle = stage.believed().await?;
        stage
            .patch_api_service(&json!({"spec": {"caBundle": null}}))
            .await?;
        until("the authority in the APIService", async || {
            Ok(has(&stage.believed().await?, &bundle))
        })
        .await?;
        let mut webhooks = stage.webhooks().await?["webhooks"].clone();
        webhooks[0]["clientConfig"]["caBundle"] = Value::Null;
        stage.patch_webhooks(&json!({"webhooks": webhooks})).await?;
        until("the authority in the webhooks", async || {
            Ok(has(&stage.believed_by_webhooks().await?, &bundle))
        })
        .await?;
        stage.until_served().await
    });
}

/// With lives of thirty seconds: leaves are renewed every twenty, the authority is changed after a minute.
#[test]
fn leaf_and_authority_change_while_every_handshake_succeeds() {
    play(async |stage| {
        let settings = OperatorSettings {
            leader_elect: true,
            ..stage.rotating(&["--cert-validity=30s"])
        };
        let mut first = Operator::start(settings.clone())?;
        first.wait_ready(SOON).await?;
        let second = Operator::start(settings)?;
        stage.register(&first).await?;
        stage.until_served().await?;
        let pids = (first.pid(), second.pid());
        until("the second replica", async || {
            let believed = stage.believed().await?;
            handshake(second.external_metrics_address(), METRICS, &believed).await?;
            Ok(true)
        })
        .await?;

        let (mut leaves, mut authorities, mut handshakes, mut reads) =
            (Vec::new(), Vec::new(), 0, 0);
        let (mut together, mut alone_again) = (false, false);
        let deadline = Instant::now() + Duration::from_secs(150);
        let original = stage.believed().await?;
        let mut history = vec![(Instant::now(), original.clone())];
        while !alone_again {
            ensure!(
                Instant::now() < deadline,
                "{} leaves and {} authorities: {}",
                leaves.len(),
                authorities.len(),
                first.log_tail()
            );
            let beat = Instant::now();
            let believed = stage.believed().await?;
            for one in pem(&believed)? {
                if !authorities.contains(&one) {
                    authorities.push(one);
                }
            }
            history.push((beat, believed.clone()));
            let late = history.iter().rev().find(|(at, _)| *at + LAG <= beat);
            let late = late.unwrap_or(&history[0]).1.clone();
            together |= count(&believed) > 1;
            alone_again = together && !has(&believed, &original);
            for (operator, address, believed) in [
                (&first, first.external_metrics_address(), &believed),
                (&first, first.webhook_address(), &late),
                (&second, second.external_metrics_address(), &believed),
                (&second, second.webhook_address(), &late),
            ] {
                let shown = handshake(address, METRICS, believed).await;
                let shown = shown.with_context(|| {
                    format!(
                        "handshake {handshakes} with {address}, with {} authorities: {}",
                        count(believed),
                        operator.log_tail()
                    )
                })?;
                handshakes += 1;
                if !leaves.contains(&shown) {
                    leaves.push(shown);
                }
            }
            stage
                .is_served()
                .await
                .with_context(|| format!("read {reads}: {}", first.log_tail()))?;
            reads += 1;
            tokio::time::sleep(BEAT.saturating_sub(beat.elapsed())).await;
        }
        ensure!(leaves.len() >= 4, "only {} leaves", leaves.len());
        ensure!(
            authorities.len() >= 2,
            "only {} authorities",
            authorities.len()
        );
        ensure!((first.pid(), second.pid()) == pids);
        println!(
            "{handshakes} handshakes and {reads} reads through the API server over {} leaves and {} authorities, none failed",
            leaves.len(),
            authorities.len()
        );
        Ok(())
    });
}

#[test]
fn a_secret_that_is_deleted_or_spoilt_comes_back_with_the_same_authority() {
    play(async |stage| {
        let mut operator = Operator::start(stage.rotating(&[]))?;
        operator.wait_ready(SOON).await?;
        stage.register(&operator).await?;
        stage.until_served().await?;
        let before = stage.secret().await?;
        let until_mended = async |what: &str| {
            until(what, async || Ok(stage.secret().await? == before)).await?;
            handshake(
                operator.external_metrics_address(),
                METRICS,
                &before["ca.crt"],
            )
            .await?;
            stage.is_served().await
        };
        stage.secrets().delete(SECRET, &Default::default()).await?;
        until_mended("a deleted Secret").await?;
        stage.put_secret(&[]).await?;
        until_mended("an empty Secret").await?;
        let garbage = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
        stage
            .put_secret(&[
                ("ca.crt", garbage),
                ("ca.key", "garbage"),
                ("tls.crt", garbage),
                ("tls.key", "\u{0}"),
            ])
            .await?;
        until_mended("garbage in the Secret").await?;
        // Only the authority's key is lost: what is shown can be used, and the key is still known.
        let without_key: Vec<(&str, &str)> = before
            .iter()
            .filter(|(key, _)| *key != "ca.key")
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        stage.put_secret(&without_key).await?;
        until_mended("the authority's key").await
    });
}

/// The first thing that an operator finds is of no use, and nobody remembers anything.
#[test]
fn an_operator_starts_with_garbage_and_mends_it() {
    play(async |stage| {
        stage
            .put_secret(&[
                ("ca.crt", "garbage"),
                ("tls.crt", ""),
                ("unrelated", "stays"),
            ])
            .await?;
        let mut operator = Operator::start(stage.rotating(&[]))?;
        operator.wait_ready(SOON).await?;
        stage.register(&operator).await?;
        stage.until_served().await?;
        ensure!(stage.secret().await?["unrelated"] == "stays");
        Ok(())
    });
}

#[test]
fn what_keda_left_is_taken_over_without_a_failed_handshake() {
    play(async |stage| {
        let left = keda::left()?;
        stage
            .put_secret(&[
                ("ca.crt", &left.authority),
                ("ca.key", &left.authority_key),
                ("tls.crt", &left.certificate),
                ("tls.key", &left.key),
            ])
            .await?;
        // The new authority issues after a sixth of that.
        let mut operator = Operator::start(stage.rotating(&["--cert-validity=60s"]))?;
        operator.wait_ready(SOON).await?;
        stage.register(&operator).await?;
        let kedas = pem(&left.certificate)?;
        let address = operator.external_metrics_address();
        ensure!(kedas.contains(&handshake(address, METRICS, &left.authority).await?));
        stage.until_served().await?;
        let mut both = false;
        let deadline = Instant::now() + SOON;
        loop {
            let beat = Instant::now();
            ensure!(beat < deadline, "{}", operator.log_tail());
            let believed = stage.believed().await?;
            ensure!(
                has(&believed, &left.authority),
                "KEDA's authority is gone too early"
            );
            both |= count(&believed) == 2;
            let shown = handshake(address, METRICS, &believed).await?;
            stage.is_served().await?;
            if !kedas.contains(&shown) {
                break;
            }
            tokio::time::sleep(BEAT.saturating_sub(beat.elapsed())).await;
        }
        ensure!(both, "the new certificate came before its authority");
        // Somebody who still believes KEDA's authority alone is the only one who can't know.
        handshake(address, OPERATOR, &stage.believed().await?).await?;
        Ok(())
    });
}

#[test]
fn files_that_change_are_picked_up_and_announced() {
    play(async |stage| {
        let mut operator = Operator::start(stage.with_files())?;
        operator.wait_ready(SOON).await?;
        stage.register(&operator).await?;
        stage.until_served().await?;
        let old = operator.authority().to_owned();
        ensure!(has(&stage.believed_by_webhooks().await?, &old));
        ensure!(
            stage.secret().await?.is_empty(),
            "nobody asked for a Secret"
        );

        // A certificate without its key, then nonsense: the last one stays.
        let (address, directory) = (
            operator.external_metrics_address(),
            operator.certificate_directory(),
        );
        let authority = Authority::new("another")?;
        let identity = authority.issue("sakidori", &[], &[METRICS, "localhost", "127.0.0.1"])?;
        write(directory, "tls.crt", &identity.certificate)?;
        logged(&operator, "the certificate files can't be used").await?;
        handshake(address, METRICS, &old).await?;
        write(directory, "tls.key", &identity.key)?;
        write(directory, "ca.crt", authority.certificate())?;
        until("the new certificate", async || {
            let shown = handshake(address, METRICS, authority.certificate()).await?;
            Ok(pem(&identity.certificate)?.contains(&shown))
        })
        .await?;
        until("the new authority", async || {
            Ok(has(&stage.believed().await?, authority.certificate())
                && has(
                    &stage.believed_by_webhooks().await?,
                    authority.certificate(),
                ))
        })
        .await?;
        stage.until_served().await?;

        // What cert-manager injects into is cert-manager's.
        let annotated =
            json!({"metadata": {"annotations": {"cert-manager.io/inject-ca-from": "keda/certs"}}});
        stage.patch_webhooks(&annotated).await?;
        let mut webhooks = stage.webhooks().await?["webhooks"].clone();
        webhooks[0]["clientConfig"]["caBundle"] = Value::Null;
        stage.patch_webhooks(&json!({"webhooks": webhooks})).await?;
        // The other object, changed after that, is patched: so this one would have been, too.
        stage
            .patch_api_service(&json!({"spec": {"caBundle": null}}))
            .await?;
        until("the authority in the APIService", async || {
            Ok(has(&stage.believed().await?, authority.certificate())
                && count(&stage.believed().await?) == 1)
        })
        .await?;
        ensure!(stage.believed_by_webhooks().await?.is_empty());
        Ok(())
    });
}

fn pem(text: &str) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>();
    all.map_err(|error| anyhow::anyhow!("{error}"))
}

fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    // As the kubelet does: never a file that is half there.
    let next = directory.join("next");
    std::fs::write(&next, text)?;
    std::fs::rename(next, directory.join(name))?;
    Ok(())
}

async fn logged(operator: &Operator, words: &str) -> Result<()> {
    until(words, async || {
        Ok(std::fs::read_to_string(operator.log_path())?.contains(words))
    })
    .await
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    eventually(what, SOON, async || Ok(look().await?.then_some(()))).await
}
