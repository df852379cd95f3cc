//! Logins and TLS, each with its own listener.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sakidori_scalers::{ScalerError, Trigger, build};
use sakidori_test_servers::{Answer, HttpSource, KafkaListener};
use serde_json::json;

use super::{Pairs, broker, context, trigger, value};

const USER: [(&str, &str); 2] = [("username", "app"), ("password", "hunter2")];

/// A trigger at a listener, on a topic of 4 messages of which nobody has read any.
async fn at(listener: KafkaListener, authentication: Pairs<'_>) -> Trigger {
    let kafka = broker().await;
    let topic = format!("login-{listener:?}");
    // Another test of the listener may have been first.
    if kafka.create_topics(&[&topic], 1).await.is_ok() {
        kafka.publish(&topic, 0, 4).await.unwrap();
        kafka.commit("login", &topic, &[(0, 0)]).await.unwrap();
    }
    trigger(&kafka.address(listener), "login", &topic)
        .authentication(authentication.iter().copied())
}

#[tokio::test]
async fn passwords_in_each_way_that_kafka_knows() {
    let context = context();
    let ca = broker().await.tls().ca();
    for sasl in ["plaintext", "scram_sha256", "scram_sha512"] {
        for listener in [KafkaListener::Sasl, KafkaListener::SaslTls] {
            let mut plain = at(listener, &USER).await.authentication([("sasl", sasl)]);
            if listener == KafkaListener::SaslTls {
                plain = plain.authentication([("tls", "enable"), ("ca", ca)]);
            }
            let mut apache = plain.clone();
            apache.kind = "apache-kafka".to_owned();
            for trigger in [plain, apache] {
                let scaler = build(&trigger, &context).unwrap();
                assert_eq!(value(&*scaler).await, Ok(4.0), "{sasl} {listener:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_not_tried_again_at_each_read() {
    let context = context();
    for sasl in ["plaintext", "scram_sha256", "scram_sha512"] {
        let trigger = at(
            KafkaListener::Sasl,
            &[("username", "app"), ("password", "hunter4")],
        )
        .await
        .metadata([("sasl", sasl)]);
        let scaler = build(&trigger, &context).unwrap();
        let began = Instant::now();
        let error = value(&*scaler).await.unwrap_err();
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
        assert!(
            matches!(&error, ScalerError::Unauthorized(text) if text.contains("Authentication failed") || text.contains("authentication")),
            "{sasl}: {error}"
        );
        assert!(!error.to_string().contains("hunter4"), "{error}");
        println!("{sasl}: {error} after {:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(value(&*scaler).await.unwrap_err(), error);
        assert!(began.elapsed() < Duration::from_millis(100), "remembered");
    }
}

#[tokio::test]
async fn who_may_do_nothing_is_unauthorized() {
    let stranger = [
        ("username", "stranger"),
        ("password", "hunter3"),
        ("sasl", "plaintext"),
    ];
    let trigger = at(KafkaListener::Sasl, &stranger).await;
    let context = context();
    let mut of_group = trigger.clone();
    of_group.metadata.remove("topic");
    for trigger in [trigger, of_group] {
        let scaler = build(&trigger, &context).unwrap();
        let error = value(&*scaler).await.unwrap_err();
        assert!(
            matches!(&error, ScalerError::Unauthorized(text) if text.contains("uthorization failed")),
            "{error}"
        );
        println!("{error}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let tls = broker().await.tls();
    let trusting = [("tls", "enable"), ("ca", tls.ca())];
    let context = context();
    let without = at(KafkaListener::Mutual, &trusting).await;
    let error = value(&*build(&without, &context).unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    println!("{error}");
    let with = without.authentication([
        ("cert", tls.client.certificate.as_str()),
        ("key", tls.client.key.as_str()),
    ]);
    assert_eq!(value(&*build(&with, &context).unwrap()).await, Ok(4.0));
    let mut trusting_nobody = with.metadata([("unsafeSsl", "true")]);
    trusting_nobody.authentication.remove("ca");
    assert_eq!(
        value(&*build(&trusting_nobody, &context).unwrap()).await,
        Ok(4.0)
    );
}

/// A token that nobody signed, which is good until then.
fn token(ends: i64) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": "app", "exp": ends, "iat": 1, "scope": "kafka"});
    format!("{}.{}.", part(json!({"alg": "none"})), part(claims))
}

#[tokio::test]
async fn a_token_of_an_oauth_client_is_fetched_once_and_again_when_it_is_refused() {
    let idp = HttpSource::start().unwrap();
    let uri = idp.url("/token");
    let oauth = [
        USER.as_slice(),
        &[
            ("sasl", "oauthbearer"),
            ("oauthTokenEndpointUri", uri.as_str()),
            ("scopes", "kafka,offsets"),
            ("oauthExtensions", "logicalCluster=lkc"),
        ],
    ]
    .concat();
    let trigger = at(KafkaListener::Token, &oauth).await;
    let serve = |ends| {
        let answer = json!({"access_token": token(ends), "expires_in": 3600});
        idp.set("/token", Answer::json(&answer));
    };
    let context = context();
    let scaler = build(&trigger, &context).unwrap();

    // One that has ended: the broker says so.
    serve(2);
    let began = Instant::now();
    let error = value(&*scaler).await.unwrap_err();
    assert!(matches!(error, ScalerError::Unauthorized(_)), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    println!("{error} after {:?}", began.elapsed());

    serve(4_102_444_800);
    let found = sakidori_test_cluster::eventually("lag", super::SOON, async || {
        Ok(Some(value(&*scaler).await?))
    });
    assert_eq!(found.await.unwrap(), 4.0);
    let asked = idp.requests("/token");
    assert_eq!(value(&*scaler).await, Ok(4.0));
    assert_eq!(idp.requests("/token"), asked, "the token is kept");
    let last = idp.last("/token").unwrap();
    assert_eq!(
        last.body,
        "grant_type=client_credentials&scope=kafka+offsets"
    );

    // A token server that is away is told as that.
    let nowhere = format!("http://127.0.0.1:{}/token", crate::bystanders::nobody());
    let trigger = trigger.authentication([("oauthTokenEndpointUri", nowhere.as_str())]);
    let error = value(&*build(&trigger, &context).unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ScalerError::Unreachable(text) if text.contains("token from 127.0.0.1")),
        "{error}"
    );
}
