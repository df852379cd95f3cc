//! Plain HTTP and old TLS are not spoken where there is TLS.

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::pki::Authority;
use sakidori_tests::Operator;

use super::victim;
use super::wire::{Place, client, openssl, places, say};
use crate::installed::play_installed;

/// OpenSSL itself speaks these only when it is told that anything goes.
const ANY: &str = "DEFAULT@SECLEVEL=0";

fn encrypted(operator: &Operator) -> impl Iterator<Item = Place> {
    places(operator).into_iter().filter(|place| place.tls)
}

fn refuses(place: &Place, arguments: &[&str]) -> Result<()> {
    let (agreed, said) = openssl(place.address, arguments)?;
    ensure!(!agreed, "{} agreed to {arguments:?}:\n{said}", place.name);
    ensure!(
        said.contains("alert protocol version") || said.contains("handshake failure"),
        "{} refused {arguments:?} for another reason:\n{said}",
        place.name
    );
    Ok(())
}

fn speaks(place: &Place, arguments: &[&str]) -> Result<()> {
    let (agreed, said) = openssl(place.address, arguments)?;
    ensure!(agreed, "{} refused {arguments:?}:\n{said}", place.name);
    Ok(())
}

#[test]
fn plain_http_and_old_tls_are_not_spoken() {
    play_installed(async |installed| {
        let operator = victim(installed, |_| {}).await?;
        for place in encrypted(&operator) {
            let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
            let answer = say(place.address, request)?;
            let text = String::from_utf8_lossy(&answer);
            ensure!(!text.contains("HTTP/"), "{}: {text}", place.name);
            let http2 = say(
                place.address,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            )?;
            ensure!(http2.len() <= 7, "{}: {http2:?}", place.name);
            for old in ["-tls1", "-tls1_1", "-tls1_2"] {
                refuses(&place, &[old, "-cipher", ANY])?;
            }
            speaks(&place, &["-tls1_3"])?;
            place.serves().await?;
        }
        Ok(())
    });
}

#[test]
fn tls_1_2_and_its_cipher_suites_are_spoken_where_the_administrator_says() {
    play_installed(async |installed| {
        let list = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
        let operator = victim(installed, |settings| {
            settings.environment = vec![
                ("KEDA_SERVICE_MIN_TLS_VERSION".into(), "TLS12".into()),
                ("KEDA_SERVICE_TLS_CIPHER_LIST".into(), list.into()),
            ];
            settings.extra_args = vec!["--metrics-secure".into()];
        })
        .await?;
        let metrics = Place {
            name: "metrics over TLS",
            address: operator.metrics_address(),
            tls: true,
        };
        for place in encrypted(&operator).chain([metrics]) {
            speaks(
                &place,
                &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            )?;
            refuses(
                &place,
                &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            )?;
            speaks(&place, &["-tls1_3"])?;
            for old in ["-tls1", "-tls1_1"] {
                refuses(&place, &[old, "-cipher", ANY])?;
            }
        }
        let answer = client(None)?.get(metrics.url("/metrics")).send().await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        let plain = say(metrics.address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
        ensure!(
            !plain.starts_with(b"HTTP/"),
            "metrics were served in the clear"
        );
        Ok(())
    });
}

#[test]
fn what_is_no_version_or_cipher_suite_is_told_at_the_start() {
    play_installed(async |installed| {
        for (variable, value, told) in [
            (
                "KEDA_SERVICE_MIN_TLS_VERSION",
                "TLS11",
                "TLS 1.0 and 1.1 are broken",
            ),
            (
                "KEDA_HTTP_MIN_TLS_VERSION",
                "TLS10",
                "TLS 1.0 and 1.1 are broken",
            ),
            (
                "KEDA_SERVICE_MIN_TLS_VERSION",
                "1.3",
                "expected TLS12 or TLS13",
            ),
            (
                "KEDA_SERVICE_TLS_CIPHER_LIST",
                "TLS_RSA_WITH_RC4_128_SHA",
                "\"TLS_RSA_WITH_RC4_128_SHA\": it is unknown or too weak",
            ),
            (
                "KEDA_HTTP_TLS_CIPHER_LIST",
                "x",
                "KEDA_HTTP_TLS_CIPHER_LIST",
            ),
        ] {
            let started = victim(installed, |settings| {
                settings.environment = vec![(variable.into(), value.into())];
            })
            .await;
            let error = started
                .err()
                .with_context(|| format!("{variable}={value} was taken"))?;
            // What ends the process is a line of JSON.
            let error = format!("{error:#}").replace("\\\"", "\"");
            ensure!(error.contains(told), "{variable}={value}: {error}");
        }
        Ok(())
    });
}

#[test]
fn the_webhooks_answer_to_nobody_but_the_api_server_where_its_authority_is_named() {
    play_installed(async |installed| {
        let (ours, other) = (Authority::new("api server")?, Authority::new("other")?);
        let folder = tempfile::tempdir()?;
        let file = ours.write(folder.path(), "clients")?;
        let operator = victim(installed, |settings| {
            settings.extra_args = vec![
                format!("--webhook-client-ca-file={}", file.display()),
                "--webhook-client-names=kube-apiserver,another".to_owned(),
            ];
        })
        .await?;
        let url = format!("https://{}/", operator.webhook_address());
        let good = ours.issue("kube-apiserver", &[], &[])?;
        let answer = client(Some((&good.certificate, &good.key)))?
            .get(&url)
            .send()
            .await?;
        ensure!(answer.status() == 404, "{}", answer.status());
        let stranger = other.issue("kube-apiserver", &[], &[])?;
        let kubelet = ours.issue("kubelet", &[], &[])?;
        let expired = ours.issue_expired("kube-apiserver", &[])?;
        for (what, identity) in [
            ("nobody", None),
            ("a stranger", Some((&*stranger.certificate, &*stranger.key))),
            ("another name", Some((&*kubelet.certificate, &*kubelet.key))),
            (
                "a certificate that expired",
                Some((&*expired.certificate, &*expired.key)),
            ),
        ] {
            let answer = client(identity)?.get(&url).send().await;
            ensure!(answer.is_err(), "{what} was answered: {answer:?}");
        }
        // The external metrics API goes on as before.
        places(&operator)[2].serves().await
    });
}
