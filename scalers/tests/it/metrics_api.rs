//! The `metrics-api` trigger against a real HTTP server: formats, authentication, endpoints, faults, and what is left behind.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sakidori_scalers::clients::{ClientSettings, Clients};
use sakidori_scalers::{
    Cluster, ClusterError, Context, Endpoint, Pod, Scaler, ScalerError, Trigger, build,
};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, Tls};
use serde_json::json;

/// Stands in for a cluster whose one Service has these endpoints.
struct Endpoints(Vec<Endpoint>);

#[async_trait]
impl Cluster for Endpoints {
    async fn pods(&self, _: &str, _: &str) -> Result<Vec<Pod>, ClusterError> {
        Err(ClusterError("no pods here".to_owned()))
    }
    async fn ready_endpoints(
        &self,
        namespace: &str,
        service: &str,
    ) -> Result<Vec<Endpoint>, ClusterError> {
        assert_eq!((namespace, service), ("shop", "stats"));
        Ok(self.0.clone())
    }
}

fn context(settings: ClientSettings, endpoints: Vec<Endpoint>) -> Context {
    Context {
        clients: Arc::new(Clients::new(settings)),
        cluster: Arc::new(Endpoints(endpoints)),
    }
}

/// A trigger that reads `depth` of a JSON object.
fn trigger(url: &str) -> Trigger {
    Trigger::new("metrics-api").metadata([
        ("url", url),
        ("valueLocation", "depth"),
        ("targetValue", "5"),
        ("timeout", "2s"),
    ])
}

fn scaler(trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, &context(ClientSettings::default(), Vec::new())).unwrap()
}

async fn read(scaler: &dyn Scaler) -> Result<f64, ScalerError> {
    scaler.read().await.map(|readings| readings[0].value)
}

async fn read_once(trigger: &Trigger) -> Result<f64, ScalerError> {
    read(&*scaler(trigger)).await
}

fn depth(depth: u32) -> Answer {
    Answer::json(&json!({ "depth": depth }))
}

/// A server that answers each connection with these bytes, and then keeps it open without another word.
fn canned(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/q", listener.local_addr().unwrap());
    // Ends with the test's process; a thread that waits for connections costs nothing.
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
            open.push(stream);
        }
    });
    url
}

#[tokio::test]
async fn all_formats_are_read() {
    let source = HttpSource::start().unwrap();
    source.set("/json", Answer::json(&json!({"jobs": [{"n": "1.5k"}]})));
    source.set("/yaml", Answer::yaml("jobs:\n  waiting: 7\n"));
    source.set("/xml", Answer::xml("<jobs><waiting>8</waiting></jobs>"));
    source.set(
        "/prometheus",
        Answer::prometheus("# TYPE jobs gauge\njobs{queue=\"a\"} 1\njobs{queue=\"b\"} 9\n"),
    );
    for (format, location, value) in [
        ("json", "jobs.0.n", 1500.0),
        ("yaml", "jobs.waiting", 7.0),
        ("xml", "jobs.waiting", 8.0),
        ("prometheus", "jobs{queue=\"b\"}", 9.0),
    ] {
        let trigger = trigger(&source.url(&format!("/{format}")))
            .metadata([("format", format), ("valueLocation", location)]);
        assert_eq!(read_once(&trigger).await, Ok(value), "{format}");
        // The same answer read as another format is no number, and never zero.
        let wrong = trigger.metadata([("valueLocation", "elsewhere")]);
        let error = read_once(&wrong).await.unwrap_err();
        assert!(matches!(error, ScalerError::Malformed(_)), "{error}");
    }
    // Active above the activation value, not at it.
    for (activation, active) in [("7", false), ("6.9", true)] {
        source.set("/json", depth(7));
        let trigger =
            trigger(&source.url("/json")).metadata([("activationTargetValue", activation)]);
        let reading = scaler(&trigger).read().await.unwrap().remove(0);
        assert_eq!(reading.active, active, "{activation}");
        assert_eq!(reading.metric, "s0-metric-api-depth");
    }
}

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

#[tokio::test]
async fn ipv6_addresses_are_read() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        // A machine without IPv6 has nothing to read here.
        return;
    };
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"depth\":6}";
        stream.write_all(answer).unwrap();
    });
    let url = format!("http://[::1]:{port}/q");
    assert_eq!(read_once(&trigger(&url)).await, Ok(6.0));
    let error = read_once(&trigger(&url)).await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("[::1]:{port}")),
        "{error}"
    );
}

#[tokio::test]
async fn tls_is_checked_and_a_client_certificate_shown() {
    let source = HttpSource::start_with(Tls::Server).unwrap();
    source.set("/q", depth(3));
    let ca = source.tls().unwrap().ca().to_owned();
    let trusting = trigger(&source.url("/q")).authentication([("ca", ca.as_str())]);
    assert_eq!(read_once(&trusting).await, Ok(3.0));
    let insecure = trigger(&source.url("/q")).metadata([("unsafeSsl", "true")]);
    assert_eq!(read_once(&insecure).await, Ok(3.0));

    let other = HttpSource::start_with(Tls::Mutual).unwrap();
    let wrong_ca = [("ca", other.tls().unwrap().ca())];
    for refused in [
        trigger(&source.url("/q")),
        trigger(&source.url("/q")).authentication(wrong_ca),
    ] {
        let error = read_once(&refused).await.unwrap_err();
        assert!(
            matches!(&error, ScalerError::Unreachable(text) if text.contains("certificate")),
            "{error}"
        );
    }

    other.set("/q", depth(4));
    let tls = other.tls().unwrap();
    let anonymous = trigger(&other.url("/q")).authentication([("ca", tls.ca())]);
    let error = read_once(&anonymous).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    let known = anonymous.metadata([("authModes", "tls")]).authentication([
        ("cert", tls.client.certificate.as_str()),
        ("key", tls.client.key.as_str()),
    ]);
    assert_eq!(read_once(&known).await, Ok(4.0));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    // The source's certificate is for localhost and 127.0.0.1; its listener takes no other address, so a relay does.
    let source = HttpSource::start_with(Tls::Server).unwrap();
    source.set("/q", depth(3));
    let relay = TcpListener::bind("127.0.0.2:0").unwrap();
    let url = format!("https://{}/q", relay.local_addr().unwrap());
    let target = source.port();
    std::thread::spawn(move || {
        for client in relay.incoming() {
            let mut client = client.unwrap();
            let mut server = std::net::TcpStream::connect(("127.0.0.1", target)).unwrap();
            let (mut from_server, mut to_client) =
                (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
            });
            let _ = std::io::copy(&mut client, &mut server);
        }
    });
    let ca = source.tls().unwrap().ca();
    let trusting = trigger(&url).authentication([("ca", ca)]);
    let error = read_once(&trusting).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("not valid for name")),
        "{error}"
    );
    // It is the name that is refused: without checks the relay works.
    let insecure = trigger(&url).metadata([("unsafeSsl", "true")]);
    assert_eq!(read_once(&insecure).await, Ok(3.0));
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
    tokens.run().unwrap();

    // A token server that takes the client in the form only.
    tokens.set("/token", Answer::status(401));
    let taking_form = eventually("the form's client", Duration::from_secs(20), async || {
        let _ = read(&*scaler).await;
        let body = tokens.last("/token").unwrap().body;
        Ok(body
            .contains("client_id=shop%3A1&client_secret=hunter+2")
            .then_some(()))
    });
    taking_form.await.unwrap();
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

#[tokio::test]
async fn faults_are_told_apart() {
    let mut source = HttpSource::start().unwrap();
    let secret = trigger(&source.url("/q?key=hunter2"))
        .metadata([
            ("authModes", "apiKey,basic"),
            ("method", "query"),
            ("timeout", "300ms"),
        ])
        .authentication([
            ("apiKey", "hunter2"),
            ("username", "u"),
            ("password", "hunter2"),
        ]);
    let reading = scaler(&secret);
    let large = format!("{{\"depth\": 1{}}}", " ".repeat(20 * 1024 * 1024));
    let faults = [
        (Answer::status(500), "unreachable", "500"),
        (Answer::status(404), "not found", "404"),
        (Answer::status(401), "unauthorized", "401"),
        (Answer::status(403), "unauthorized", "403"),
        (Answer::status(418), "malformed", "418"),
        (Answer::status(302), "malformed", "302"),
        (Answer::status(204), "malformed", ""),
        (
            Answer::hang(),
            "unreachable",
            "no complete answer within 300 ms",
        ),
        (
            depth(1).after(Duration::from_secs(2)),
            "unreachable",
            "300 ms",
        ),
        (
            Answer::status(302).with_header("location", "/q"),
            "malformed",
            "stopped after 10 redirects",
        ),
        (
            Answer::new("application/json", large),
            "malformed",
            "larger than 10 MiB",
        ),
        (
            Answer::json(&json!({"depth": "hunter2"})),
            "malformed",
            "depth",
        ),
        (Answer::json(&json!({"depth": null})), "malformed", "null"),
        (
            Answer::new("application/json", "{hunter2"),
            "malformed",
            "depth",
        ),
    ];
    for (answer, kind, shown) in faults {
        source.set("/q", answer);
        let asked = Instant::now();
        let error = read(&*reading).await.unwrap_err().to_string();
        assert!(
            error.starts_with(kind) && error.contains(shown),
            "{kind}: {error}"
        );
        assert!(
            error.contains(&format!("127.0.0.1:{}", source.port())),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{error}");
    }

    source.set("/q", Answer::status(429).with_header("retry-after", "7"));
    match read(&*reading).await.unwrap_err() {
        ScalerError::RateLimited { retry_after, .. } => {
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
        other => panic!("{other}"),
    }

    source.stop();
    let error = read(&*reading).await.unwrap_err().to_string();
    assert!(
        error.starts_with("unreachable") && error.contains("refused"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
    source.run().unwrap();
    source.set("/q", depth(2));
    assert_eq!(read(&*reading).await, Ok(2.0));
}

#[tokio::test]
async fn broken_answers_are_errors() {
    for (answer, kind, shown) in [
        (
            // Hangs in the middle of its body.
            &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"depth\":6}"[..],
            "unreachable",
            "no complete answer within 300 ms",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "unreachable", "127.0.0.1"),
        (
            // Compressed though nobody asked for it: never unpacked, so that a small bomb stays small.
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
            "malformed",
            "UTF-8",
        ),
    ] {
        let trigger = trigger(&canned(answer)).metadata([("timeout", "300ms")]);
        let error = read_once(&trigger).await.unwrap_err().to_string();
        assert!(error.starts_with(kind) && error.contains(shown), "{kind}: {error}");
    }
}

#[tokio::test]
async fn the_endpoints_of_a_service_are_put_together() {
    // One port on several loopback addresses, as pods have: the source has 127.0.0.1, the others are relays' addresses.
    let first = HttpSource::start().unwrap();
    first.set("/q", depth(2));
    let address = |address: &str, port: u16| Endpoint {
        address: address.to_owned(),
        ports: vec![port],
    };
    let second = std::net::TcpListener::bind(("127.0.0.3", first.port())).unwrap();
    std::thread::spawn(move || {
        for stream in second.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let answer =
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\n{\"depth\":6}";
            let _ = stream.write_all(answer);
        }
    });
    let both = vec![
        address("127.0.0.1", first.port()),
        address("127.0.0.3", first.port()),
        address("127.0.0.1", first.port()),
    ];
    let url = format!("http://stats.shop.svc:{}/q", first.port());
    let aggregated = |how: &str| {
        trigger(&url).metadata([
            ("aggregateFromKubeServiceEndpoints", "true"),
            ("aggregationType", how),
        ])
    };
    for (how, value) in [("average", 4.0), ("sum", 8.0), ("max", 6.0), ("min", 2.0)] {
        let context = context(ClientSettings::default(), both.clone());
        let scaler = build(&aggregated(how), &context).unwrap();
        assert_eq!(read(&*scaler).await, Ok(value), "{how}");

        // An endpoint that fails never makes the number smaller.
        first.set("/q", Answer::status(500));
        let error = read(&*scaler).await.unwrap_err().to_string();
        assert!(error.starts_with("unreachable"), "{error}");
        assert!(
            error.contains("1 of 2 endpoints of the Service shop/stats failed"),
            "{error}"
        );
        first.set("/q", depth(2));
    }
    let none = build(
        &aggregated("sum"),
        &context(ClientSettings::default(), Vec::new()),
    )
    .unwrap();
    let error = read(&*none).await.unwrap_err();
    assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
}

#[tokio::test]
async fn the_settings_of_all_clients_count() {
    let settings = |environment: &'static [(&str, &str)], extra: Option<(&'static str, String)>| {
        ClientSettings::from_environment(|name| {
            let extra = extra.as_ref().filter(|(key, _)| *key == name);
            let fixed = environment.iter().find(|(key, _)| *key == name);
            extra
                .map(|(_, value)| value.clone())
                .or_else(|| fixed.map(|(_, value)| (*value).to_owned()))
        })
        .unwrap()
    };
    let source = HttpSource::start().unwrap();
    let url = source.url("/q");
    let plain = Trigger::new("metrics-api").metadata([
        ("url", url.as_str()),
        ("valueLocation", "depth"),
        ("targetValue", "5"),
    ]);
    let with = |settings: ClientSettings, trigger: &Trigger| {
        build(trigger, &context(settings, Vec::new())).unwrap()
    };

    source.set("/q", Answer::hang());
    let impatient = with(
        settings(&[("KEDA_HTTP_DEFAULT_TIMEOUT", "150")], None),
        &plain,
    );
    let error = read(&*impatient).await.unwrap_err().to_string();
    assert!(error.contains("within 150 ms"), "{error}");
    source.set("/q", depth(3));

    // Through a proxy, but never to loopback.
    let proxy = HttpSource::start().unwrap();
    proxy.set("/q", depth(8));
    let proxied = || {
        settings(
            &[("NO_PROXY", "direct.shop")],
            Some(("HTTP_PROXY", proxy.url(""))),
        )
    };
    assert_eq!(read(&*with(proxied(), &plain)).await, Ok(3.0));
    let far = plain.clone().metadata([("url", "http://stats.shop:81/q")]);
    assert_eq!(read(&*with(proxied(), &far)).await, Ok(8.0));
    let direct = plain
        .clone()
        .metadata([("url", "http://direct.shop.invalid/q")]);
    let direct = direct.metadata([("timeout", "500ms")]);
    let excepted = settings(
        &[("NO_PROXY", ".invalid")],
        Some(("HTTP_PROXY", proxy.url(""))),
    );
    let error = read(&*with(excepted, &direct)).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    assert_eq!(proxy.all_requests(), 1);
}

/// Sockets that this process has open.
fn sockets() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| {
        let target = std::fs::read_link(entry.as_ref().unwrap().path());
        target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    })
    .count()
}

#[test]
fn failing_reads_leave_no_sockets_behind() {
    // Other tests of this binary open sockets too: a process of its own counts only these.
    const ALONE: &str = "SAKIDORI_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "metrics_api::failing_reads_leave_no_sockets_behind";
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&alone.stderr).into_owned();
        assert!(alone.status.success(), "{output}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let source = HttpSource::start().unwrap();
        let stalled = canned(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        let scalers: Vec<_> = [
            source.url("/q"),
            source.url("/none"),
            source.url("/hang"),
            source.url("/q").replace("http:", "https:"),
        ]
        .iter()
        .map(|url| scaler(&trigger(url).metadata([("timeout", "5ms")])))
        .collect();
        source.set("/q", Answer::status(500));
        source.set("/hang", Answer::hang());
        for scaler in &scalers {
            assert!(read(&**scaler).await.is_err());
        }
        // Idle connections to the source stay open for the next read: one of each client, and of the server.
        let before = sockets();
        for _ in 0..250 {
            for scaler in &scalers {
                assert!(read(&**scaler).await.is_err());
            }
        }
        eventually(
            "as many sockets as before",
            Duration::from_secs(20),
            async || {
                let now = sockets();
                Ok((now <= before + 2).then_some(()))
            },
        )
        .await
        .unwrap();
        drop(stalled);
    });
}
