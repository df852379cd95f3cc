//! Who is let in, and who is not.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use sakidori_test_cluster::pki::Authority;
use sakidori_test_cluster::{Component, FRONT_PROXY_NAME, eventually};
use serde_json::json;

use crate::SOON;
use crate::bench::{Bench, METRIC, refused};

pub async fn only_probes_are_answered_without_credentials(bench: &Bench) -> Result<()> {
    let nobody = bench.caller(None)?;
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(nobody.get(probe, &[]).await?, (200, json!("ok")), "{probe}");
    }
    for path in [
        METRIC,
        "/apis/external.metrics.k8s.io/v1beta1",
        "/openapi/v2",
        "/metrics",
        // What Kubernetes' own roles allow to everybody.
        "/livez",
        "/version",
        "/",
    ] {
        let message = refused(&nobody.get(path, &[]).await?, 403, "Forbidden")?;
        ensure!(
            message.contains(r#"User "system:anonymous" cannot"#),
            "{path}: {message}"
        );
    }
    // Nor do they learn what there is from the method they may not use.
    let answer = nobody.send(Method::POST, METRIC, &[]).await?;
    refused(&answer, 403, "Forbidden")?;
    Ok(())
}

pub async fn a_spoofed_remote_user_counts_for_nothing(bench: &Bench) -> Result<()> {
    let spoofed = [
        ("X-Remote-User", "admin"),
        ("X-Remote-Group", "system:masters"),
    ];
    let message = refused(
        &bench.caller(None)?.get(METRIC, &spoofed).await?,
        403,
        "Forbidden",
    )?;
    assert_eq!(
        message,
        r#"s0-rabbitmq-orders.external.metrics.k8s.io is forbidden: User "system:anonymous" cannot list resource "s0-rabbitmq-orders" in API group "external.metrics.k8s.io" in the namespace "shop""#
    );
    // Nor for a client that shows a certificate of an authority of its own, though it has the proxy's name.
    let own = Authority::new("requestheader")?.issue(FRONT_PROXY_NAME, &[], &[])?;
    refused(
        &bench.caller(Some(&own))?.get(METRIC, &spoofed).await?,
        401,
        "Unauthorized",
    )?;
    // Nor does it help somebody whom the cluster knows.
    let token = bench.service_account("spoofer", false).await?;
    let bearer = format!("Bearer {token}");
    let headers = [spoofed[0], spoofed[1], ("Authorization", bearer.as_str())];
    let message = refused(
        &bench.caller(None)?.get(METRIC, &headers).await?,
        403,
        "Forbidden",
    )?;
    ensure!(
        message.contains(r#"User "system:serviceaccount:shop:spoofer""#),
        "{message}"
    );
    Ok(())
}

pub async fn a_service_account_needs_the_right(bench: &Bench) -> Result<()> {
    let caller = bench.caller(None)?;
    let reader = bench.service_account("reader", true).await?;
    let stranger = bench.service_account("stranger", false).await?;
    let (code, list) = caller.get_with_token(METRIC, &reader).await?;
    ensure!(
        code == 200 && list["items"][0]["value"] == "500",
        "{code}: {list}"
    );
    // The right ends at the namespace.
    let elsewhere = METRIC.replace("/shop/", "/default/");
    refused(
        &caller.get_with_token(&elsewhere, &reader).await?,
        403,
        "Forbidden",
    )?;
    refused(
        &caller.get_with_token(METRIC, &stranger).await?,
        403,
        "Forbidden",
    )?;
    // A right given later counts once the refusal is forgotten.
    bench.let_read("ServiceAccount", "stranger").await?;
    eventually("answer for who has the right now", SOON, async || {
        let (code, _) = caller.get_with_token(METRIC, &stranger).await?;
        Ok((code == 200).then_some(()))
    })
    .await
}

pub async fn wrong_tokens_are_unauthorized(bench: &Bench) -> Result<()> {
    let caller = bench.caller(None)?;
    for token in ["nonsense", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."] {
        refused(
            &caller.get_with_token(METRIC, token).await?,
            401,
            "Unauthorized",
        )?;
    }
    Ok(())
}

pub async fn a_front_proxy_needs_the_right_name(bench: &Bench) -> Result<()> {
    bench.let_read("User", "jane").await?;
    let jane = [("X-Remote-User", "jane"), ("X-Remote-Group", "shop")];
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    let (code, list) = proxy.get(METRIC, &jane).await?;
    ensure!(code == 200, "{code}: {list}");
    let message = refused(
        &proxy.get(METRIC, &[("X-Remote-User", "joe")]).await?,
        403,
        "Forbidden",
    )?;
    ensure!(message.contains(r#"User "joe""#), "{message}");
    refused(&proxy.get(METRIC, &[]).await?, 401, "Unauthorized")?;

    // A second authority, as during a rotation, is known without a restart; it makes no other name a proxy.
    let second = Authority::new("requestheader-2")?;
    let rotated = bench.caller(Some(&second.issue(FRONT_PROXY_NAME, &[], &[])?))?;
    refused(&rotated.get(METRIC, &jane).await?, 401, "Unauthorized")?;
    bench
        .publish("requestheader-client-ca-file", &second)
        .await?;
    eventually("answer for the rotated front proxy", SOON, async || {
        let (code, _) = rotated.get(METRIC, &jane).await?;
        Ok((code == 200).then_some(()))
    })
    .await?;
    let other = bench.caller(Some(&second.issue(
        "somebody-else",
        &["system:masters"],
        &[],
    )?))?;
    refused(&other.get(METRIC, &jane).await?, 401, "Unauthorized")?;
    Ok(())
}

pub async fn a_client_certificate_names_the_user(bench: &Bench) -> Result<()> {
    let clients = Authority::new("clients-2")?;
    bench.publish("client-ca-file", &clients).await?;
    let jane = bench.caller(Some(&clients.issue("jane", &["shop"], &[])?))?;
    eventually("answer for a client certificate", SOON, async || {
        let (code, _) = jane.get(METRIC, &[]).await?;
        Ok((code == 200).then_some(()))
    })
    .await?;
    let root = bench.caller(Some(&clients.issue("root", &["system:masters"], &[])?))?;
    let (code, version) = root.get("/version", &[]).await?;
    ensure!(
        code == 200 && version["gitVersion"].is_string(),
        "{code}: {version}"
    );
    // The proxy's name on a client's certificate makes no proxy.
    let false_proxy = bench.caller(Some(&clients.issue(FRONT_PROXY_NAME, &[], &[])?))?;
    let headers = [
        ("X-Remote-User", "jane"),
        ("X-Remote-Group", "system:masters"),
    ];
    let message = refused(&false_proxy.get(METRIC, &headers).await?, 403, "Forbidden")?;
    ensure!(
        message.contains(&format!("User {FRONT_PROXY_NAME:?}")),
        "{message}"
    );
    Ok(())
}

pub async fn all_reads_of_the_hpa_controller_cost_one_review(bench: &Bench) -> Result<()> {
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    let controller = [
        (
            "X-Remote-User",
            "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
        ),
        ("X-Remote-Group", "system:serviceaccounts"),
    ];
    let reviews = || -> Result<usize> {
        let writes = bench.cluster.writes("system:serviceaccount:keda:adapter")?;
        Ok(writes.of("subjectaccessreviews", "", "create"))
    };
    let before = reviews()?;
    for index in 0..50 {
        let path = METRIC.replace("s0-rabbitmq-orders", &format!("s{index}-rabbitmq-orders"));
        let (code, answer) = proxy.get(&path, &controller).await?;
        ensure!(
            code == if index == 0 { 200 } else { 404 },
            "{path}: {code}: {answer}"
        );
    }
    // Two, should the machine be so busy that 10 s pass.
    let asked = reviews()? - before;
    ensure!((1..=2).contains(&asked), "50 reads took {asked} reviews");
    Ok(())
}

pub async fn made_up_tokens_hold_up_no_read_of_the_hpa_controller(bench: &Bench) -> Result<()> {
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    bench.let_read("User", "hpa").await?;
    let attackers = (0..8)
        .map(|_| bench.caller(None))
        .collect::<Result<Vec<_>>>()?;
    // One connection each, for all requests: how many connections there may be is not what this is about.
    for caller in attackers.iter().chain([&proxy]) {
        caller.get("/healthz", &[]).await?;
    }
    let flood = stream::iter(0..8000_usize)
        .map(|index| {
            let attacker = &attackers[index % attackers.len()];
            async move {
                let token = format!("made-up-{index}");
                let answer = attacker.get_with_token(METRIC, &token).await;
                answer.map(|(code, _)| code)
            }
        })
        .buffer_unordered(1000)
        .try_collect::<Vec<u16>>();
    let reads = async {
        let mut slowest = Duration::ZERO;
        for index in 0..100 {
            // A group that was not seen before costs a review of its own.
            let group = format!("group-{index}");
            let asked = Instant::now();
            let (code, answer) = proxy
                .get(
                    METRIC,
                    &[("X-Remote-User", "hpa"), ("X-Remote-Group", &group)],
                )
                .await?;
            slowest = slowest.max(asked.elapsed());
            ensure!(code == 200, "read {index}: {code}: {answer}");
        }
        Ok(slowest)
    };
    let (codes, slowest) = futures::try_join!(flood, reads)?;
    let of = |wanted: u16| codes.iter().filter(|code| **code == wanted).count();
    println!(
        "{} of the tokens were judged, {} refused at once; the slowest read took {slowest:?}",
        of(401),
        of(429)
    );
    ensure!(of(401) + of(429) == codes.len(), "{codes:?}");
    ensure!(of(429) > 0, "nothing was refused at once");
    // One too long to be a token isn't judged at all.
    let long = "x".repeat(17 * 1024);
    let attacker = bench.caller(None)?;
    refused(
        &attacker.get_with_token(METRIC, &long).await?,
        401,
        "Unauthorized",
    )?;
    Ok(())
}

pub async fn impersonation_is_refused(bench: &Bench) -> Result<()> {
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    let headers = [("X-Remote-User", "jane"), ("Impersonate-User", "joe")];
    refused(&proxy.get(METRIC, &headers).await?, 400, "BadRequest")?;
    Ok(())
}

pub async fn nobody_is_let_in_while_the_api_server_is_away(bench: &Bench) -> Result<()> {
    let token = bench.service_account("unlucky", true).await?;
    let caller = bench.caller(None)?;
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    bench.cluster.kill(Component::Apiserver);
    refused(
        &caller.get_with_token(METRIC, &token).await?,
        503,
        "ServiceUnavailable",
    )?;
    refused(
        &proxy
            .get(METRIC, &[("X-Remote-User", "never-seen")])
            .await?,
        503,
        "ServiceUnavailable",
    )?;
    // Probes don't need it, and neither does who may do everything.
    assert_eq!(caller.get("/readyz", &[]).await?.0, 200);
    let root = [
        ("X-Remote-User", "root"),
        ("X-Remote-Group", "system:masters"),
    ];
    assert_eq!(proxy.get(METRIC, &root).await?.0, 200);
    bench.cluster.run(Component::Apiserver)?;
    bench.cluster.wait_for_apiserver().await?;
    eventually("answer once the API server is back", SOON, async || {
        let (code, _) = caller.get_with_token(METRIC, &token).await?;
        Ok((code == 200).then_some(()))
    })
    .await
}
