//! The `rabbitmq` trigger against a real broker: what it reads, what it says when it can't, and how it comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use sakidori_scalers::clients::Clients;
use sakidori_scalers::{Context, Freshness, Reading, Scaler, ScalerError, Trigger, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, RabbitMq, RabbitMqOptions, Tls};

use crate::bystanders::connections_to;
use crate::no_cluster::NoCluster;

/// Longer than any back-off and a statistics interval together.
const SOON: Duration = Duration::from_secs(60);

fn context() -> Context {
    Context {
        clients: Arc::new(Clients::default()),
        cluster: Arc::new(NoCluster),
    }
}

fn trigger(host: &str, queue: &str) -> Trigger {
    Trigger::new("rabbitmq").metadata([("host", host), ("queueName", queue)])
}

fn scaler(context: &Context, trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, context).unwrap()
}

async fn value(scaler: &dyn Scaler) -> Result<f64, ScalerError> {
    scaler
        .read(&Freshness::now())
        .await
        .map(|readings| readings[0].value)
}

/// Reads until the reading is as wanted: counts of the management API are a moment old.
async fn settles(scaler: &dyn Scaler, wanted: impl Fn(&Reading) -> bool) -> Reading {
    eventually("reading as wanted", SOON, async || {
        let reading = scaler.read(&Freshness::now()).await?.remove(0);
        match wanted(&reading) {
            true => Ok(Some(reading)),
            false => anyhow::bail!("{reading:?}"),
        }
    })
    .await
    .unwrap()
}

/// AMQP connections with this client's name, as the broker lists them.
async fn connections(rabbit: &RabbitMq) -> usize {
    let url = format!("{}/api/connections", rabbit.http_url());
    let listed: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let named = |connection: &&serde_json::Value| {
        connection["client_properties"]["connection_name"] == "sakidori"
    };
    listed.as_array().unwrap().iter().filter(named).count()
}

/// Connections to the broker's AMQP port. A thread of the client that was left behind holds one, too.
fn sockets(rabbit: &RabbitMq) -> usize {
    let address = rabbit.amqp_address();
    let (_, port) = address.split_once(':').unwrap();
    connections_to(port.parse().unwrap())
}

#[tokio::test]
async fn amqp_counts_ready_messages_and_recovers_from_errors_on_one_connection() {
    let rabbit = RabbitMq::start().await.unwrap();
    rabbit.declare_queue("/", "orders").await.unwrap();
    rabbit.publish("/", "orders", 7).await.unwrap();
    let context = context();
    let url = rabbit.amqp_url();

    let orders = scaler(
        &context,
        &trigger(&url, "orders").metadata([("activationValue", "6")]),
    );
    let reading = orders.read(&Freshness::now()).await.unwrap().remove(0);
    assert_eq!(
        (reading.metric.as_str(), reading.value, reading.active),
        ("s0-rabbitmq-orders", 7.0, true)
    );

    // Messages under way to a consumer are not ready.
    let held = rabbit.hold("/", "orders", 3).await.unwrap();
    assert_eq!(held.count(), 3);
    let reading = orders.read(&Freshness::now()).await.unwrap().remove(0);
    assert_eq!((reading.value, reading.active), (4.0, false));
    drop(held);

    // A queue that isn't there closes a channel, not the connection, and may appear later.
    let missing = scaler(&context, &trigger(&url, "later"));
    let before = rabbit.accepted_connections().unwrap();
    for _ in 0..50 {
        let error = missing.read(&Freshness::now()).await.unwrap_err();
        assert!(
            matches!(&error, ScalerError::NotFound(text) if text.contains("no queue 'later' in vhost '/'")),
            "{error}"
        );
        assert!(value(&*orders).await.is_ok());
    }
    assert_eq!(rabbit.accepted_connections().unwrap(), before);
    rabbit.declare_queue("/", "later").await.unwrap();
    assert_eq!(value(&*missing).await, Ok(0.0));

    // Five hundred triggers are one connection.
    let many: Vec<_> = (0..500)
        .map(|_| scaler(&context, &trigger(&url, "orders")))
        .collect();
    let before = rabbit.accepted_connections().unwrap();
    for found in join_all(many.iter().map(|scaler| value(&**scaler))).await {
        assert_eq!(found, Ok(7.0));
    }
    assert_eq!(rabbit.accepted_connections().unwrap(), before);
    eventually("single connection in the broker's list", SOON, async || {
        Ok((connections(&rabbit).await == 1).then_some(()))
    })
    .await
    .unwrap();

    // It closes with the last of them.
    drop((many, orders, missing));
    eventually("closed connection", SOON, async || {
        Ok((connections(&rabbit).await == 0).then_some(()))
    })
    .await
    .unwrap();
    let log = std::fs::read_to_string(rabbit.log()).unwrap();
    assert!(
        !log.contains("closed unexpectedly"),
        "closed by AMQP's own handshake"
    );
}

#[tokio::test]
async fn concurrent_first_reads_share_one_attempt() {
    let rabbit = RabbitMq::start().await.unwrap();
    rabbit.declare_queue("/", "orders").await.unwrap();
    let context = context();
    let many: Vec<_> = (0..100)
        .map(|_| scaler(&context, &trigger(&rabbit.amqp_url(), "orders")))
        .collect();
    let before = rabbit.accepted_connections().unwrap();
    // Some give up before there is an answer, which is none of the others' business.
    let reads = join_all(many.iter().enumerate().map(|(at, scaler)| async move {
        let patience = if at % 2 == 0 {
            Duration::from_micros(1)
        } else {
            SOON
        };
        tokio::time::timeout(patience, scaler.read(&Freshness::now())).await
    }));
    let answered = reads
        .await
        .into_iter()
        .filter(|read| matches!(read, Ok(Ok(_))))
        .count();
    assert!(answered >= 50);
    assert_eq!(rabbit.accepted_connections().unwrap(), before + 1);
}

#[tokio::test]
async fn a_killed_broker_is_unreachable_and_comes_back_on_the_same_scaler() {
    let mut rabbit = RabbitMq::start().await.unwrap();
    rabbit.declare_queue("/", "orders").await.unwrap();
    rabbit.publish("/", "orders", 7).await.unwrap();
    let context = context();
    let amqp = scaler(&context, &trigger(&rabbit.amqp_url(), "orders"));
    let http = scaler(&context, &trigger(&rabbit.http_url(), "orders"));
    assert_eq!(value(&*amqp).await, Ok(7.0));
    settles(&*http, |reading| reading.value == 7.0).await;

    rabbit.kill();
    // The first failures notice the lost connections.
    for scaler in [&amqp, &http] {
        let error = scaler.read(&Freshness::now()).await.unwrap_err();
        assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        for scaler in [&amqp, &http] {
            let error = scaler.read(&Freshness::now()).await.unwrap_err();
            assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
            assert!(!error.to_string().contains("guest"), "{error}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sockets(&rabbit), 0, "failed attempts leave no sockets");

    // While it starts, answers may be errors, but never a lower count.
    let poll = async {
        let mut recovered = (false, false);
        while recovered != (true, true) {
            for (scaler, recovered) in [(&amqp, &mut recovered.0), (&http, &mut recovered.1)] {
                match value(&**scaler).await {
                    Ok(messages) => {
                        assert_eq!(messages, 7.0);
                        *recovered = true;
                    }
                    Err(error) => {
                        assert!(!matches!(error, ScalerError::Unauthorized(_)), "{error}")
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (restarted, polled) = tokio::join!(rabbit.restart(), tokio::time::timeout(SOON * 2, poll));
    restarted.unwrap();
    polled.unwrap();
}

#[tokio::test]
async fn a_hung_broker_costs_a_bounded_wait_and_no_sockets() {
    let rabbit = RabbitMq::start().await.unwrap();
    rabbit.declare_queue("/", "orders").await.unwrap();
    let context = context();
    let orders = scaler(&context, &trigger(&rabbit.amqp_url(), "orders"));
    assert_eq!(value(&*orders).await, Ok(0.0));
    rabbit.pause();

    // The signal may take a moment to reach all of its threads.
    let error = loop {
        let asked = Instant::now();
        match orders.read(&Freshness::now()).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => {
                assert!(asked.elapsed() < Duration::from_secs(8), "{error}");
                break error;
            }
        }
    };
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("no answer within")),
        "{error}"
    );

    eventually("socket given up", SOON, async || {
        Ok((sockets(&rabbit) == 0).then_some(()))
    })
    .await
    .unwrap();

    // New connections are accepted by the kernel, and hang in the handshake.
    let error = eventually("attempt that timed out", SOON, async || {
        match orders.read(&Freshness::now()).await {
            Err(ScalerError::Unreachable(text)) => {
                Ok(text.contains("no connection within").then_some(text))
            }
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;
    error.unwrap();
    eventually("socket of the attempt gone", SOON, async || {
        Ok((sockets(&rabbit) == 0).then_some(()))
    })
    .await
    .unwrap();

    rabbit.resume();
    eventually("answer", SOON, async || Ok(Some(value(&*orders).await?)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_unauthorized_and_backs_off() {
    let rabbit = RabbitMq::start().await.unwrap();
    rabbit.declare_queue("/", "orders").await.unwrap();
    rabbit.set_user("late", "right").await.unwrap();
    rabbit.allow("late", "/").await.unwrap();
    let context = context();
    let wrong = rabbit.amqp_url_of("late", "hunter2");
    let scalers: Vec<_> = (0..20)
        .map(|_| scaler(&context, &trigger(&wrong, "orders")))
        .collect();
    let refused_before = rabbit.refused_logins().unwrap();
    let started = Instant::now();
    let now = Freshness::now();
    while started.elapsed() < Duration::from_secs(6) {
        for error in join_all(scalers.iter().map(|scaler| scaler.read(&now))).await {
            let error = error.unwrap_err();
            assert!(
                matches!(&error, ScalerError::Unauthorized(text) if text.contains("ACCESS_REFUSED")),
                "{error}"
            );
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // At 0 s, 1 s, 3 s, with jitter perhaps one more.
    let refused = rabbit.refused_logins().unwrap() - refused_before;
    assert!(
        (2..=5).contains(&refused),
        "{refused} attempts of 20 scalers in 6 s"
    );
    eventually("end of the refused attempts' sockets", SOON, async || {
        Ok((sockets(&rabbit) == 0).then_some(()))
    })
    .await
    .unwrap();

    let http = scaler(
        &context,
        &trigger(&rabbit.http_url_of("late", "hunter2"), "orders"),
    );
    let error = http.read(&Freshness::now()).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unauthorized(text) if text.contains("401")),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");

    // New credentials are another endpoint: they don't wait for the back-off.
    let rotated =
        trigger(&wrong, "orders").authentication([("username", "late"), ("password", "right")]);
    assert_eq!(value(&*scaler(&context, &rotated)).await, Ok(0.0));
}

#[tokio::test]
async fn virtual_hosts_are_in_the_path_or_a_parameter() {
    let rabbit = RabbitMq::start().await.unwrap();
    rabbit.create_vhost("team/a b").await.unwrap();
    rabbit.declare_queue("team/a b", "orders").await.unwrap();
    rabbit.publish("team/a b", "orders", 3).await.unwrap();
    rabbit.declare_queue("/", "orders").await.unwrap();
    rabbit.publish("/", "orders", 1).await.unwrap();
    let context = context();
    for base in [rabbit.amqp_url(), rabbit.http_url()] {
        for (path, vhost, messages) in [
            ("", "", 1.0),
            ("/", "", 1.0),
            ("/%2F", "", 1.0),
            ("/team%2Fa%20b", "", 3.0),
            ("", "team/a b", 3.0),
            ("/team%2Fa%20b", "/", 1.0),
        ] {
            let trigger =
                trigger(&format!("{base}{path}"), "orders").metadata([("vhostName", vhost)]);
            let reading = settles(&*scaler(&context, &trigger), |_| true).await;
            let reading = if base.starts_with("http") {
                settles(&*scaler(&context, &trigger), |reading| {
                    reading.value == messages
                })
                .await
            } else {
                reading
            };
            assert_eq!(reading.value, messages, "{base}{path} {vhost}");
        }
        let nowhere = trigger(&format!("{base}/nowhere"), "orders");
        let error = scaler(&context, &nowhere)
            .read(&Freshness::now())
            .await
            .unwrap_err();
        assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
        // A user without permissions, by parameters that win over the URL.
        rabbit.set_user("stranger", "pw").await.unwrap();
        let stranger =
            trigger(&base, "orders").authentication([("username", "stranger"), ("password", "pw")]);
        let error = scaler(&context, &stranger)
            .read(&Freshness::now())
            .await
            .unwrap_err();
        assert!(matches!(error, ScalerError::Unauthorized(_)), "{error}");
    }
}

#[tokio::test]
async fn the_management_api_knows_unacknowledged_messages_rates_and_expressions() {
    let rabbit = RabbitMq::start().await.unwrap();
    for (queue, messages) in [("orders-eu", 9), ("orders-us", 4), ("other", 50)] {
        rabbit.declare_queue("/", queue).await.unwrap();
        rabbit.publish("/", queue, messages).await.unwrap();
    }
    let context = context();
    let url = rabbit.http_url();
    let with = |queue: &str, metadata: &[(&str, &str)]| {
        scaler(
            &context,
            &trigger(&url, queue).metadata(metadata.iter().copied()),
        )
    };

    let held = rabbit.hold("/", "orders-eu", 2).await.unwrap();
    settles(
        &*with("orders-eu", &[("excludeUnacknowledged", "true")]),
        |reading| reading.value == 7.0,
    )
    .await;
    settles(&*with("orders-eu", &[]), |reading| reading.value == 9.0).await;
    drop(held);

    for (operation, value) in [("sum", 13.0), ("avg", 6.0), ("max", 9.0)] {
        let matching = with(
            "^orders-.*$",
            &[("useRegex", "true"), ("operation", operation)],
        );
        settles(&*matching, |reading| reading.value == value).await;
    }
    assert_eq!(
        value(&*with("^nothing$", &[("useRegex", "true")])).await,
        Ok(0.0)
    );
    let error = with("^orders-", &[("useRegex", "true"), ("pageSize", "1")])
        .read(&Freshness::now())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("regex matches more queues than can be recovered at once"),
        "{error}"
    );
    let error = with("missing", &[])
        .read(&Freshness::now())
        .await
        .unwrap_err();
    assert!(matches!(error, ScalerError::NotFound(_)), "{error}");

    let rate = with("orders-us", &[("mode", "MessageRate"), ("value", "1")]);
    let ratio = with(
        "orders-us",
        &[
            ("mode", "PublishedToDeliveredRatio"),
            ("value", "1"),
            ("activationValue", "3"),
        ],
    );
    let stop = Arc::new(tokio::sync::Notify::new());
    let publishing = async {
        loop {
            tokio::select! {
                () = stop.notified() => break,
                () = tokio::time::sleep(Duration::from_millis(50)) => rabbit.publish("/", "orders-us", 5).await.unwrap(),
            }
        }
    };
    let reading = async {
        let reading = settles(&*rate, |reading| reading.value > 1.0).await;
        assert!(reading.active);
        // Nobody consumes: the value is the activation value, and active.
        let reading = settles(&*ratio, |reading| reading.active).await;
        assert_eq!(reading.value, 3.0);
        stop.notify_one();
    };
    tokio::join!(publishing, reading);
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_shows_the_client_certificate() {
    for tls in [Tls::Server, Tls::Mutual] {
        let options = RabbitMqOptions {
            tls,
            ..RabbitMqOptions::default()
        };
        let rabbit = RabbitMq::start_with(options).await.unwrap();
        rabbit.declare_queue("/", "orders").await.unwrap();
        let material = rabbit.tls().unwrap();
        let context = context();
        for url in [rabbit.amqps_url().unwrap(), rabbit.https_url().unwrap()] {
            let untrusting = scaler(&context, &trigger(&url, "orders"));
            let error = untrusting.read(&Freshness::now()).await.unwrap_err();
            assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");

            let mut trigger = trigger(&url, "orders");
            trigger = trigger.authentication([("tls", "enable"), ("ca", material.ca())]);
            if tls == Tls::Mutual {
                let error = scaler(&context, &trigger)
                    .read(&Freshness::now())
                    .await
                    .unwrap_err();
                assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
                let client = &material.client;
                trigger = trigger.authentication([
                    ("cert", client.certificate.as_str()),
                    ("key", client.key.as_str()),
                ]);
            }
            settles(&*scaler(&context, &trigger), |reading| reading.value == 0.0).await;
            trigger.authentication.remove("ca");
            trigger
                .metadata
                .insert("unsafeSsl".to_owned(), "true".to_owned());
            settles(&*scaler(&context, &trigger), |reading| reading.value == 0.0).await;
        }
    }
}

#[tokio::test]
async fn an_oauth_client_logs_in_to_the_management_api() {
    // A broker that takes OAuth2 tokens needs an identity provider with keys; these two answer as both would.
    let (broker, tokens) = (HttpSource::start().unwrap(), HttpSource::start().unwrap());
    let queue = serde_json::json!({"name": "orders", "messages": 7, "messages_ready": 5});
    broker.set(
        "/api/queues/%2F/orders",
        Answer::json(&queue).requiring("authorization", "Bearer t"),
    );
    tokens.set(
        "/token",
        Answer::json(&serde_json::json!({"access_token": "t", "expires_in": 3600})),
    );
    let host = broker.url("/").replace("http://", "http://u:hunter2@");
    let trigger = trigger(&host, "orders").authentication([
        ("oauthTokenURI", tokens.url("/token").as_str()),
        ("clientID", "shop"),
        ("clientSecret", "hunter2"),
        ("scope", "rabbitmq.read:*/*"),
        ("endpointParams", "audience=rabbitmq"),
    ]);
    let scaler = scaler(&context(), &trigger);
    for _ in 0..3 {
        assert_eq!(value(&*scaler).await, Ok(7.0));
    }
    let asked = tokens.last("/token").unwrap();
    assert_eq!(tokens.requests("/token"), 1);
    assert_eq!(asked.headers["authorization"], "Basic c2hvcDpodW50ZXIy");
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&scope=rabbitmq.read%3A*%2F*&audience=rabbitmq"
    );

    // A refusal is told in KEDA's words, without credentials, and the token is asked for anew.
    broker.set(
        "/api/queues/%2F/orders",
        Answer {
            status: 401,
            ..Answer::json(&serde_json::json!({"error": "not_authorized"}))
        },
    );
    let error = value(&*scaler).await.unwrap_err();
    let expected = format!(
        "RabbitMQ at {}: error requesting RabbitMQ API status: 401 Unauthorized, response: {{\"error\":\"not_authorized\"}}",
        broker.url("/api/queues/%2F/orders")
    );
    assert_eq!(error, ScalerError::Unauthorized(expected));
    assert!(value(&*scaler).await.is_err());
    assert_eq!(tokens.requests("/token"), 2);
}
