//! The server against a real control plane: behind its aggregation layer, and asked directly by those who would like to
//! get around it.

mod bench;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bench::{Bench, Caller, METRIC, refused, serving_certificate};
use http::Method;
use sakidori_test_cluster::pki::Authority;
use sakidori_test_cluster::{Component, FRONT_PROXY_NAME, eventually};
use serde_json::{Value, json};

/// The machine may be compiling something else meanwhile.
const SOON: Duration = Duration::from_secs(60);

/// One control plane for all cases; they run one after the other, since some change whom it trusts.
#[tokio::test(flavor = "multi_thread")]
async fn external_metrics_behind_a_real_control_plane() -> Result<()> {
    let bench = Bench::start().await?;
    macro_rules! run {
        ($($case:ident),* $(,)?) => {$(
            $case(&bench).await.context(stringify!($case))?;
            println!("{} ... ok", stringify!($case));
        )*};
    }
    run!(
        kubectl_shows_a_metric_through_the_aggregation_layer,
        failures_reach_kubectl_as_kubernetes_words_them,
        the_aggregation_layer_takes_over_discovery_and_openapi,
        only_probes_are_answered_without_credentials,
        a_spoofed_remote_user_counts_for_nothing,
        a_service_account_needs_the_right,
        wrong_tokens_are_unauthorized,
        a_front_proxy_needs_the_right_name,
        a_client_certificate_names_the_user,
        all_reads_of_the_hpa_controller_cost_one_review,
        impersonation_is_refused,
        requests_that_make_no_sense_are_refused,
        plain_http_and_silence_get_nowhere,
        the_certificate_is_replaced_without_a_restart,
        nobody_is_let_in_while_the_api_server_is_away,
    );
    shutdown_ends_it_at_once(bench)
        .await
        .context("shutdown_ends_it_at_once")
}

async fn kubectl_shows_a_metric_through_the_aggregation_layer(bench: &Bench) -> Result<()> {
    let client = bench.cluster.client();
    eventually("available APIService", SOON, async || {
        let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
        let service: Value = client
            .request(http::Request::get(path).body(Vec::new())?)
            .await?;
        let conditions = service["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let available = conditions
            .iter()
            .find(|condition| condition["type"] == "Available")
            .cloned();
        let available = available.context("no condition yet")?;
        ensure!(available["status"] == "True", "{available}");
        Ok(Some(()))
    })
    .await?;
    let (_, said) = bench.kubectl(&["get", "--raw", METRIC]).await?;
    assert_eq!(
        said.trim_end(),
        r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"items":[{"metricName":"s0-rabbitmq-orders","metricLabels":null,"timestamp":"2026-11-23T05:20:01Z","value":"500"}]}"#
    );
    Ok(())
}

async fn failures_reach_kubectl_as_kubernetes_words_them(bench: &Bench) -> Result<()> {
    let base = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop";
    for (path, expected) in [
        (
            "s0-rabbitmq-orders",
            "(BadRequest): scaledObject name is not specified",
        ),
        (
            "s0-rabbitmq-orders?labelSelector=%3D%3D",
            r#"(BadRequest): unable to parse labelSelector "==""#,
        ),
        (
            "s9-other?labelSelector=scaledobject.keda.sh%2Fname%3Dorders",
            "(NotFound): shop has no metric s9-other",
        ),
        (
            "too-old",
            "(ServiceUnavailable): no reading is young enough",
        ),
        (
            "panics",
            "(InternalError): Internal error occurred: reading metric",
        ),
    ] {
        let (succeeded, said) = bench
            .kubectl(&["get", "--raw", &format!("{base}/{path}")])
            .await?;
        ensure!(
            !succeeded && said.contains(expected),
            "{path}: kubectl says {said}"
        );
    }
    Ok(())
}

async fn the_aggregation_layer_takes_over_discovery_and_openapi(bench: &Bench) -> Result<()> {
    let (_, said) = bench
        .kubectl(&["get", "--raw", "/apis/external.metrics.k8s.io/v1beta1"])
        .await?;
    assert_eq!(
        serde_json::from_str::<Value>(&said)?,
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "external.metrics.k8s.io/v1beta1",
            "resources": [{
                "name": "externalmetrics", "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList",
                "verbs": ["get"],
            }],
        })
    );
    let client = bench.cluster.client();
    eventually("aggregated discovery with the resource", SOON, async || {
        let request = http::Request::get("/apis")
            .header(
                "Accept",
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            )
            .body(Vec::new())?;
        let list: Value = client.request(request).await?;
        let groups = list["items"].as_array().context("no groups")?;
        let group = groups
            .iter()
            .find(|group| group["metadata"]["name"] == "external.metrics.k8s.io");
        let version = &group.context("not the group")?["versions"][0];
        ensure!(version["freshness"] == "Current", "{version}");
        ensure!(
            version["resources"][0]["resource"] == "externalmetrics",
            "{version}"
        );
        Ok(Some(()))
    })
    .await?;
    let read = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}";
    for document in [
        "/openapi/v2",
        "/openapi/v3/apis/external.metrics.k8s.io/v1beta1",
    ] {
        eventually(
            &format!("path of the metric in {document}"),
            SOON,
            async || {
                let document: Value = client
                    .request(http::Request::get(document).body(Vec::new())?)
                    .await?;
                ensure!(document["paths"][read]["get"].is_object(), "it isn't there");
                Ok(Some(()))
            },
        )
        .await?;
    }
    Ok(())
}

async fn only_probes_are_answered_without_credentials(bench: &Bench) -> Result<()> {
    let nobody = bench.caller(None)?;
    for probe in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(nobody.get(probe, &[]).await?, (200, json!("ok")), "{probe}");
    }
    for path in [
        METRIC,
        "/apis/external.metrics.k8s.io/v1beta1",
        "/openapi/v2",
        "/metrics",
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

async fn a_spoofed_remote_user_counts_for_nothing(bench: &Bench) -> Result<()> {
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

async fn a_service_account_needs_the_right(bench: &Bench) -> Result<()> {
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

async fn wrong_tokens_are_unauthorized(bench: &Bench) -> Result<()> {
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

async fn a_front_proxy_needs_the_right_name(bench: &Bench) -> Result<()> {
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

async fn a_client_certificate_names_the_user(bench: &Bench) -> Result<()> {
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

async fn all_reads_of_the_hpa_controller_cost_one_review(bench: &Bench) -> Result<()> {
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

async fn impersonation_is_refused(bench: &Bench) -> Result<()> {
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    let headers = [("X-Remote-User", "jane"), ("Impersonate-User", "joe")];
    refused(&proxy.get(METRIC, &headers).await?, 400, "BadRequest")?;
    Ok(())
}

async fn requests_that_make_no_sense_are_refused(bench: &Bench) -> Result<()> {
    let proxy = bench.caller(Some(&bench.front_proxy()?))?;
    let root = [
        ("X-Remote-User", "root"),
        ("X-Remote-Group", "system:masters"),
    ];
    for path in [
        "/",
        "/metrics",
        "/apis/custom.metrics.k8s.io",
        "/apis/external.metrics.k8s.io/v1beta1/s0-rabbitmq-orders",
    ] {
        refused(&proxy.get(path, &root).await?, 404, "NotFound")
            .with_context(|| path.to_owned())?;
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        refused(
            &proxy.send(method, METRIC, &root).await?,
            405,
            "MethodNotAllowed",
        )?;
    }
    let protobuf = [
        root[0],
        root[1],
        ("Accept", "application/vnd.kubernetes.protobuf"),
    ];
    for path in [METRIC, "/apis", "/openapi/v2"] {
        refused(&proxy.get(path, &protobuf).await?, 406, "NotAcceptable")?;
    }
    let fallback = [
        root[0],
        root[1],
        (
            "Accept",
            "application/vnd.kubernetes.protobuf,application/json",
        ),
    ];
    let (code, list) = proxy.get(METRIC, &fallback).await?;
    ensure!(
        code == 200 && list["kind"] == "ExternalMetricValueList",
        "{code}: {list}"
    );
    let set = METRIC.replace("%3D", "%20notin%20(a)%2Cb%3D");
    let message = refused(&proxy.get(&set, &root).await?, 400, "BadRequest")?;
    ensure!(message.contains("by equality only"), "{message}");
    let long = "x".repeat(100_000);
    let large = [root[0], root[1], ("X-Long", long.as_str())];
    match proxy.get(METRIC, &large).await {
        Ok((code, _)) => ensure!(code == 431, "100 kB of headers were taken: {code}"),
        // The server may also end the stream.
        Err(error) => ensure!(!format!("{error:#}").contains("timed out"), "{error:#}"),
    }
    Ok(())
}

async fn plain_http_and_silence_get_nowhere(bench: &Bench) -> Result<()> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    if let Ok(answer) = http
        .get(format!("http://127.0.0.1:{}/healthz", bench.port))
        .send()
        .await
    {
        bail!("plain HTTP was answered: {}", answer.status());
    }
    // Connections that say nothing don't keep others out.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(("127.0.0.1", bench.port)).await?);
    }
    let (code, _) = bench.caller(None)?.get("/healthz", &[]).await?;
    assert_eq!(code, 200);
    Ok(())
}

async fn the_certificate_is_replaced_without_a_restart(bench: &Bench) -> Result<()> {
    let before = bench.caller(None)?;
    before.get("/healthz", &[]).await?;
    let next = Authority::new("serving-2")?;
    let Err(error) = bench.certificate.replace({
        let mut mismatched = serving_certificate(&next)?;
        mismatched.key_pem = serving_certificate(&next)?.key_pem;
        mismatched
    }) else {
        bail!("a certificate was taken with another's key");
    };
    ensure!(error.to_string().contains("can't be used"), "{error}");
    bench.certificate.replace(serving_certificate(&next)?)?;
    // Connections go on; new ones see the new certificate, and only that.
    assert_eq!(before.get("/healthz", &[]).await?.0, 200);
    let after = Caller::trusting(&next, bench.port, None)?;
    assert_eq!(after.get("/healthz", &[]).await?.0, 200);
    if bench.caller(None)?.get("/healthz", &[]).await.is_ok() {
        bail!("a new connection still sees the old certificate");
    }
    bench
        .certificate
        .replace(serving_certificate(&bench.authority)?)?;
    assert_eq!(bench.caller(None)?.get("/healthz", &[]).await?.0, 200);
    Ok(())
}

async fn nobody_is_let_in_while_the_api_server_is_away(bench: &Bench) -> Result<()> {
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

async fn shutdown_ends_it_at_once(bench: Bench) -> Result<()> {
    // A connection that never ends by itself.
    let idle = tokio::net::TcpStream::connect(("127.0.0.1", bench.port)).await?;
    let asked = Instant::now();
    bench.shutdown.cancel();
    bench.serving.await??;
    let took = asked.elapsed();
    ensure!(took < Duration::from_secs(4), "it took {took:?}");
    drop(idle);
    if tokio::net::TcpStream::connect(("127.0.0.1", bench.port))
        .await
        .is_ok()
    {
        bail!("the port is still open");
    }
    Ok(())
}
