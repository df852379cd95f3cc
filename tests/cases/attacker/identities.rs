//! Nobody is answered who doesn't prove who they are and may have what they ask for.

use anyhow::{Result, ensure};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use reqwest::Method;
use sakidori_test_cluster::FRONT_PROXY_NAME;
use sakidori_test_cluster::pki::Authority;
use serde_json::{Value, json};

use super::victim;
use super::wire::{client, places};
use crate::installed::play_installed;

const METRIC: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-x?labelSelector=scaledobject.keda.sh%2Fname%3Dweb";

const PATHS: [&str; 16] = [
    "/",
    "/healthz",
    "/readyz",
    "/livez",
    "/metrics",
    "/version",
    "/apis",
    "/apis/external.metrics.k8s.io/v1beta1",
    METRIC,
    "/openapi/v2",
    "/debug/pprof/",
    "/healthz/../metrics",
    "//metrics",
    "/metrics/",
    "/validate-keda-sh-v1alpha1-scaledobject",
    "/.git/config",
];

/// What may be had without a word: the probes, and the metrics on their port.
fn is_open(place: &str, path: &str) -> bool {
    match place {
        "metrics" => path == "/metrics",
        "webhooks" => false,
        _ => matches!(path, "/healthz" | "/readyz"),
    }
}

#[test]
fn only_probes_and_metrics_are_answered_without_credentials() {
    play_installed(async |installed| {
        let operator = victim(installed, |_| {}).await?;
        let nobody = client(None)?;
        for place in places(&operator) {
            for path in PATHS {
                let methods = [
                    Method::GET,
                    Method::POST,
                    Method::PUT,
                    Method::DELETE,
                    Method::OPTIONS,
                ];
                for method in methods {
                    // As it stands: a client tidies paths up.
                    let url = place.url(path);
                    let answer = nobody.request(method.clone(), &url).send().await?;
                    let (status, asked) =
                        (answer.status().as_u16(), answer.url().path().to_owned());
                    let what = format!("{} {method} {path}", place.name);
                    if method == Method::GET && is_open(place.name, &asked) {
                        ensure!([200, 503].contains(&status), "{what}: {status}");
                        continue;
                    }
                    let body = answer.text().await?;
                    let refused = [400, 401, 403, 404, 405].contains(&status);
                    ensure!(refused, "{what}: {status} {body}");
                    let quiet = !body.contains("keda_") && !body.contains("\"items\"");
                    ensure!(quiet && body.len() < 1000, "{what}: {body}");
                }
            }
        }
        // A webhook says what is wrong with a review, and nothing else.
        let url = places(&operator)[3].url("/validate-keda-sh-v1alpha1-scaledobject");
        for body in ["", "{}", "[[[[", "\0", r#"{"kind": "AdmissionReview"}"#] {
            let answer = nobody.post(&url).body(body).send().await?;
            ensure!(answer.status() == 400, "{body:?}: {}", answer.status());
        }
        Ok(())
    });
}

#[test]
fn made_up_identities_count_for_nothing() {
    play_installed(async |installed| {
        let cluster = &installed.cluster;
        cluster.create_namespace("attacker-identities").await?;
        let operator = victim(installed, |_| {}).await?;
        let place = places(&operator)[2];
        let url = place.url(METRIC);
        let read = |path: &std::path::Path| std::fs::read_to_string(path);
        let proxy = (
            read(cluster.proxy_client_cert_path())?,
            read(cluster.proxy_client_key_path())?,
        );
        let root = [
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
        ];

        // So that what follows is refused for what it is: the API server itself is answered, that there is no such metric.
        let mut trusted = client(Some((&proxy.0, &proxy.1)))?.get(&url);
        for (name, value) in root {
            trusted = trusted.header(name, value);
        }
        let answer = trusted.send().await?;
        ensure!(answer.status() == 404, "{}", answer.status());

        let forged =
            Authority::new("test-cluster-front-proxy-ca")?.issue(FRONT_PROXY_NAME, &[], &[])?;
        let masters =
            Authority::new("test-cluster-ca")?.issue("admin", &["system:masters"], &[])?;
        let stranger = cluster.proxy_stranger();
        let stranger = (read(&stranger.certificate)?, read(&stranger.key)?);
        let expired = cluster.proxy_expired();
        let expired = (read(&expired.certificate)?, read(&expired.key)?);
        for (what, identity, expected) in [
            ("nobody", None, 403),
            (
                "a proxy of another authority",
                Some((&*forged.certificate, &*forged.key)),
                401,
            ),
            (
                "a certificate of the authority with another name",
                Some((&*stranger.0, &*stranger.1)),
                401,
            ),
            (
                "the proxy's certificate that expired",
                Some((&*expired.0, &*expired.1)),
                401,
            ),
            (
                "an administrator of another authority",
                Some((&*masters.certificate, &*masters.key)),
                401,
            ),
        ] {
            let client = client(identity)?;
            for spoofed in [&root[..], &[][..]] {
                let mut request = client.get(&url);
                for (name, value) in spoofed {
                    request = request.header(*name, *value);
                }
                let answer = request.send().await?;
                let status = answer.status().as_u16();
                let body: Value = answer.json().await?;
                ensure!(status == expected, "{what}: {status} {body}");
                ensure!(body["kind"] == "Status", "{what}: {body}");
            }
        }

        // Tokens: nonsense, unsigned, and one of the cluster's for somebody else.
        let elsewhere = token(installed, &["vault"]).await?;
        let own = token(installed, &[]).await?;
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06YWRtaW4ifQ.";
        for (token, expected) in [
            ("nonsense", 401),
            (unsigned, 401),
            (elsewhere.as_str(), 401),
            (own.as_str(), 403),
        ] {
            let request = client(None)?.get(&url).bearer_auth(token);
            let request = root.iter().fold(request, |request, (name, value)| {
                request.header(*name, *value)
            });
            let status = request.send().await?.status().as_u16();
            ensure!(
                status == expected,
                "{status}, not {expected}, for {}",
                &token[..8]
            );
        }
        // Nobody becomes somebody else here, not even the API server.
        let request = client(Some((&proxy.0, &proxy.1)))?.get(&url);
        let request = request
            .header("x-remote-user", "joe")
            .header("impersonate-user", "admin");
        let status = request.send().await?.status().as_u16();
        ensure!(status == 400, "{status} for an impersonation");
        Ok(())
    });
}

/// A token of a ServiceAccount that may nothing, for these audiences.
async fn token(installed: &crate::installed::Installed, audiences: &[&str]) -> Result<String> {
    let api: Api<ServiceAccount> =
        Api::namespaced(installed.cluster.client(), "attacker-identities");
    let request: TokenRequest =
        serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": audiences}}))?;
    let answer = api
        .create_token_request("default", &PostParams::default(), &request)
        .await?;
    Ok(answer.status.map(|status| status.token).unwrap_or_default())
}
