//! Each way to log in, and where credentials go: to the server that they are for, and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use sakidori_scalers::{ScalerError, Trigger};
use sakidori_test_servers::{Answer, HttpSource};
use serde_json::json;

use super::{depth, read, read_once, scaler, trigger};

#[tokio::test]
async fn each_authentication_reaches_the_server() {
    let source = HttpSource::start().unwrap();
    let given = [
        ("apiKey", "key-1"),
        ("username", "shop"),
        ("password", "hunter2"),
        ("bearerToken", "token-1"),
        ("customAuthHeader", "X-Shop"),
        ("customAuthValue", "custom-1"),
    ];
    for (mode, metadata, header, value) in [
        ("apiKey", None, "x-api-key", "key-1"),
        ("apiKey", Some(("keyParamName", "X-Key")), "x-key", "key-1"),
        ("basic", None, "authorization", "Basic c2hvcDpodW50ZXIy"),
        ("bearer", None, "authorization", "Bearer token-1"),
        ("custom", None, "x-shop", "custom-1"),
    ] {
        source.set("/q", depth(3).requiring(header, value));
        let without = trigger(&source.url("/q")).authentication(given);
        let error = read_once(&without).await.unwrap_err();
        assert!(matches!(error, ScalerError::Unauthorized(_)), "{error}");
        let with = without.metadata([("authModes", mode)]).metadata(metadata);
        assert_eq!(read_once(&with).await, Ok(3.0), "{mode}");
    }

    source.set("/q", depth(3));
    for (metadata, query) in [
        (None, "of=orders&api_key=key-1"),
        (Some(("keyParamName", "k")), "of=orders&k=key-1"),
    ] {
        let trigger = trigger(&source.url("/q?of=orders"))
            .metadata([("authModes", "apiKey"), ("method", "query")])
            .metadata(metadata)
            .authentication(given);
        assert_eq!(read_once(&trigger).await, Ok(3.0));
        assert_eq!(source.last("/q").unwrap().query, query);
    }
}

#[tokio::test]
async fn a_user_in_the_url_is_the_login_and_stays_out_of_messages() {
    let source = HttpSource::start().unwrap();
    source.set("/q", depth(3).requiring("authorization", "Basic c0Bvcjpo"));
    let url = |user: &str| format!("http://{user}@127.0.0.1:{}/q", source.port());
    assert_eq!(read_once(&trigger(&url("s%40or:h"))).await, Ok(3.0));
    let error = read_once(&trigger(&url("me:hunter2"))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "unauthorized: 127.0.0.1:{}: the server answered 401 Unauthorized",
            source.port()
        )
    );

    let spaced = format!("http://127.0.0.1:{}/a b", source.port());
    source.set("/a%20b", depth(4));
    assert_eq!(read_once(&trigger(&spaced)).await, Ok(4.0));
}

/// A trigger that reads `/q` of a source with a token from `/token` of another.
fn with_oauth(source: &HttpSource, tokens: &HttpSource) -> Trigger {
    trigger(&source.url("/q"))
        .metadata([("authModes", "oauth")])
        .authentication([
            ("oauthTokenURI", tokens.url("/token").as_str()),
            ("clientID", "shop:1"),
            ("clientSecret", "hunter 2"),
            ("scopes", "read, list"),
            ("endpointParams", "audience=stats%2Fv1"),
        ])
}

fn token(access: &str, expires_in: u32) -> Answer {
    Answer::json(&json!({"access_token": access, "token_type": "bearer", "expires_in": expires_in}))
}

#[tokio::test]
async fn oauth_tokens_are_kept_and_renewed() {
    let (source, tokens) = (HttpSource::start().unwrap(), HttpSource::start().unwrap());
    source.set("/q", depth(3).requiring("authorization", "Bearer first"));
    // Id and secret are form-encoded in the header (RFC 6749, 2.3.1): shop%3A1:hunter+2.
    const CLIENT: &str = "Basic c2hvcCUzQTE6aHVudGVyKzI=";
    tokens.set(
        "/token",
        token("first", 3600).requiring("authorization", CLIENT),
    );
    let scaler = scaler(&with_oauth(&source, &tokens));
    let reads = futures::future::join_all((0..20).map(|_| read(&*scaler))).await;
    assert!(reads.iter().all(|value| *value == Ok(3.0)), "{reads:?}");
    assert_eq!(tokens.requests("/token"), 1);
    assert_eq!(
        tokens.last("/token").unwrap().body,
        "grant_type=client_credentials&scope=read+list&audience=stats%2Fv1"
    );

    // The server stops taking the token: that reading fails, the next one has a new token. It ends before the ten seconds
    // by which tokens are renewed early, so it is used once only.
    source.set("/q", depth(4).requiring("authorization", "Bearer second"));
    tokens.set(
        "/token",
        token("second", 5).requiring("authorization", CLIENT),
    );
    let error = read(&*scaler).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unauthorized(_)), "{error}");
    assert_eq!(read(&*scaler).await, Ok(4.0));
    assert_eq!(tokens.requests("/token"), 2);
    assert_eq!(read(&*scaler).await, Ok(4.0));
    assert_eq!(tokens.requests("/token"), 3);
}

#[tokio::test]
async fn oauth_failures_say_whose_they_are() {
    let (source, mut tokens) = (HttpSource::start().unwrap(), HttpSource::start().unwrap());
    source.set("/q", depth(3).requiring("authorization", "Bearer t"));
    let scaler = scaler(&with_oauth(&source, &tokens));
    let place = format!("token from 127.0.0.1:{}", tokens.port());
    for (answer, kind) in [
        (Answer::status(401), "unauthorized"),
        (
            Answer {
                status: 400,
                ..Answer::json(&json!({"error": "invalid_client"}))
            },
            "unauthorized",
        ),
        (Answer::status(404), "not found"),
        (Answer::status(503), "unreachable"),
        (Answer::json(&json!({"token": "hunter2"})), "malformed"),
        (Answer::hang(), "unreachable"),
    ] {
        tokens.set("/token", answer);
        let error = read(&*scaler).await.unwrap_err().to_string();
        assert!(
            error.starts_with(kind) && error.contains(&place),
            "{kind}: {error}"
        );
        assert!(!error.contains("hunter"), "{error}");
    }
    assert_eq!(source.all_requests(), 0);
    tokens.stop();
    let error = read(&*scaler).await.unwrap_err().to_string();
    assert!(
        error.starts_with("unreachable") && error.contains(&place),
        "{error}"
    );
}

#[tokio::test]
async fn an_oauth_client_goes_into_the_form_where_the_header_is_not_taken() {
    let source = HttpSource::start().unwrap();
    source.set("/q", depth(3).requiring("authorization", "Bearer t"));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    // Tokens that end at once, so that each reading asks for one.
    let answer = async move |form: String| {
        counted.fetch_add(1, Ordering::SeqCst);
        match form.contains("client_id=shop%3A1&client_secret=hunter+2") {
            true => (StatusCode::OK, r#"{"access_token":"t","expires_in":1}"#),
            false => (StatusCode::BAD_REQUEST, r#"{"error":"invalid_client"}"#),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/token", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let trigger = with_oauth(&source, &source).authentication([("oauthTokenURI", url.as_str())]);
    let scaler = scaler(&trigger);
    // Twice at first; from then on it is known where the client belongs.
    for requests in [2, 3, 4] {
        assert_eq!(read(&*scaler).await, Ok(3.0));
        assert_eq!(asked.load(Ordering::SeqCst), requests);
    }
}

#[tokio::test]
async fn credentials_stay_behind_when_a_redirect_leads_elsewhere() {
    let (first, second) = (HttpSource::start().unwrap(), HttpSource::start().unwrap());
    second.set("/q", depth(3));
    first.set("/moved", depth(5));
    let trigger = trigger(&first.url("/q"))
        .metadata([("authModes", "apiKey,basic,custom")])
        .authentication([
            ("apiKey", "key-1"),
            ("username", "shop"),
            ("password", "hunter2"),
            ("customAuthHeader", "X-Shop"),
            ("customAuthValue", "custom-1"),
        ]);
    let to = |location: &str| Answer::status(302).with_header("location", location);
    first.set("/q", to("/moved"));
    assert_eq!(read_once(&trigger).await, Ok(5.0));
    let sent = first.last("/moved").unwrap().headers;
    assert!(sent.contains_key("authorization") && sent.contains_key("x-api-key"));

    for elsewhere in [
        second.url("/q"),
        second.url("/q").replace("127.0.0.1", "localhost"),
        first.url("/moved").replace("127.0.0.1", "localhost"),
    ] {
        first.set("/q", to(&elsewhere));
        let value = read_once(&trigger).await.unwrap();
        let source = if value == 3.0 { &second } else { &first };
        let path = if value == 3.0 { "/q" } else { "/moved" };
        let sent = source.last(path).unwrap();
        for header in ["authorization", "x-api-key", "x-shop", "referer", "cookie"] {
            assert!(!sent.headers.contains_key(header), "{elsewhere}: {header}");
        }
    }
    let error_at = |location: &str| {
        first.set("/q", to(location));
        read_once(&trigger)
    };
    let error = error_at("file:///etc/passwd").await.unwrap_err();
    assert!(matches!(error, ScalerError::Malformed(_)), "{error}");
    second.set("/q", Answer::status(500));
    let error = error_at(&second.url("/q")).await.unwrap_err().to_string();
    let place = format!("redirected to 127.0.0.1:{}: ", second.port());
    assert!(
        error.starts_with("unreachable") && error.contains(&place),
        "{error}"
    );
}
