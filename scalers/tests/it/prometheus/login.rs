//! How a trigger logs in, and whom it trusts.

use anyhow::Result;
use sakidori_scalers::ScalerError;
use sakidori_test_servers::{Answer, HttpSource, Prometheus, PrometheusOptions, Tls};
use serde_json::json;

use super::{API, one, read_once, trigger};

#[tokio::test]
async fn users_and_certificates_are_those_of_a_real_server() -> Result<()> {
    let server = Prometheus::start(PrometheusOptions {
        tls: Tls::Mutual,
        login: true,
        ..PrometheusOptions::default()
    })
    .await?;
    let tls = server.tls().unwrap();
    let certificate = [
        ("ca", tls.ca()),
        ("cert", tls.client.certificate.as_str()),
        ("key", tls.client.key.as_str()),
    ];
    let with = |modes: &str, password: &str| {
        trigger(&server.url(), "vector(4)")
            .metadata([("authModes", modes)])
            .authentication(certificate)
            .authentication([("username", Prometheus::USER), ("password", password)])
    };
    assert_eq!(
        read_once(&with("tls,basic", Prometheus::PASSWORD)).await,
        Ok(4.0)
    );
    let insecure = with("tls, basic", Prometheus::PASSWORD)
        .metadata([("unsafeSsl", "true")])
        .authentication([("ca", "")]);
    assert_eq!(read_once(&insecure).await, Ok(4.0));
    for wrong in [with("tls,basic", "hunter3"), with("tls", "")] {
        let error = read_once(&wrong).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ScalerError::Unauthorized(_)), "{text}");
        assert!(
            text.ends_with("prometheus query api returned error. status: 401"),
            "{text}"
        );
    }
    let anonymous = with("basic", Prometheus::PASSWORD);
    let error = read_once(&anonymous).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    let distrusting = with("tls,basic", Prometheus::PASSWORD).authentication([("ca", "")]);
    let error = read_once(&distrusting).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("certificate")),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn tokens_and_headers_are_sent() {
    let source = HttpSource::start().unwrap();
    let token = json!({"access_token": "from-the-server", "token_type": "bearer"});
    source.set("/token", Answer::json(&token));
    let token_url = source.url("/token");
    let oauth = [("oauthTokenURI", token_url.as_str()), ("clientID", "id")];
    for (mode, given, header, value) in [
        (
            "bearer",
            &[("bearerToken", "t")][..],
            "authorization",
            "Bearer t",
        ),
        ("bearer", &[("token", "t")], "authorization", "Bearer t"),
        (
            "custom",
            &[("customAuthHeader", "X-Key\n"), ("customAuthValue", "k\n")],
            "x-key",
            "k",
        ),
        ("apiKey", &[("apiKey", "k")], "x-api-key", "k"),
        ("oauth", &oauth, "authorization", "Bearer from-the-server"),
    ] {
        source.set(API, one("6").requiring(header, value));
        let login = trigger(&source.url(""), "up")
            .metadata([("authModes", mode)])
            .authentication(given.iter().copied());
        assert_eq!(read_once(&login).await, Ok(6.0), "{mode}");
        let error = read_once(&trigger(&source.url(""), "up"))
            .await
            .unwrap_err();
        assert!(matches!(error, ScalerError::Unauthorized(_)), "{error}");
    }
}
