//! TLS: who is trusted, for which name, and who the client is.

use sakidori_test_servers::{RedisOptions, Tls};

use super::*;

async fn start(options: RedisOptions<'_>) -> Redis {
    let redis = Redis::start_with(options).await.unwrap();
    redis.push("orders", 3).await.unwrap();
    redis
}

fn encrypted(redis: &Redis) -> Trigger {
    list(&redis.address(), "orders").metadata([("enableTLS", "true")])
}

async fn refused(trigger: &Trigger, part: &str) {
    let text = refusal_of(trigger).await;
    assert!(
        text.starts_with("unreachable: key \"orders\" of Redis at 127.0.0.1:")
            && text.contains(part),
        "{text}"
    );
}

#[tokio::test]
async fn only_who_is_trusted_is_spoken_with() {
    let tls = Tls::Server;
    let redis = start(RedisOptions {
        tls,
        ..RedisOptions::default()
    })
    .await;
    let ca = redis.tls().unwrap().ca();
    let trusted = encrypted(&redis).authentication([("ca", ca)]);
    assert_eq!(value_of(&trusted).await, Ok(3.0));
    let by_authentication =
        list(&redis.address(), "orders").authentication([("ca", ca), ("tls", "enable")]);
    assert_eq!(value_of(&by_authentication).await, Ok(3.0));
    let by_name = trusted
        .clone()
        .metadata([("address", format!("localhost:{}", redis.port()).as_str())]);
    assert_eq!(value_of(&by_name).await, Ok(3.0));
    refused(
        &encrypted(&redis),
        "invalid peer certificate: UnknownIssuer",
    )
    .await;
    let unsafe_ssl = encrypted(&redis).metadata([("unsafeSsl", "true")]);
    assert_eq!(value_of(&unsafe_ssl).await, Ok(3.0));

    // Either side without it.
    refused(&list(&redis.address(), "orders"), "").await;
    let plain = Redis::start().await.unwrap();
    refused(&encrypted(&plain), "").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (tls, hosts) = (Tls::Server, &["redis.shop"][..]);
    let redis = start(RedisOptions {
        tls,
        hosts,
        ..RedisOptions::default()
    })
    .await;
    let ca = redis.tls().unwrap().ca();
    let trusted = encrypted(&redis).authentication([("ca", ca)]);
    refused(&trusted, "certificate not valid for name \"127.0.0.1\"").await;
    let unsafe_ssl = trusted.metadata([("unsafeSsl", "true")]);
    assert_eq!(value_of(&unsafe_ssl).await, Ok(3.0));
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let (tls, expired) = (Tls::Server, true);
    let redis = start(RedisOptions {
        tls,
        expired,
        ..RedisOptions::default()
    })
    .await;
    let trusted = encrypted(&redis).authentication([("ca", redis.tls().unwrap().ca())]);
    refused(&trusted, "the server's certificate expired on 2021-01-01").await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let tls = Tls::Mutual;
    let redis = start(RedisOptions {
        tls,
        ..RedisOptions::default()
    })
    .await;
    let material = redis.tls().unwrap();
    let nobody = encrypted(&redis).authentication([("ca", material.ca())]);
    refused(&nobody, "ertificate").await;
    let client = nobody.authentication([
        ("cert", material.client.certificate.as_str()),
        ("key", material.client.key.as_str()),
    ]);
    assert_eq!(value_of(&client).await, Ok(3.0));
}

#[tokio::test]
async fn what_is_no_certificate_is_told_before_anything_is_read() {
    let broken =
        list("127.0.0.1:1", "orders").authentication([("ca", "hunter9"), ("tls", "enable")]);
    let error = build(&broken, &context()).err().unwrap().to_string();
    assert_eq!(error, "ca holds no certificate: expected PEM");
    // Not looked at without TLS, as in KEDA.
    let unused = list("127.0.0.1:1", "orders").authentication([("ca", "hunter9")]);
    assert!(build(&unused, &context()).is_ok());
}
