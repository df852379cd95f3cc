//! What each fault is told as, how long that takes, and what is left behind.

use std::time::{Duration, Instant};

use sakidori_scalers::{ScalerError, Trigger, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Kafka, KafkaListener};

use super::{SOON, broker, context, trigger, value};
use crate::bystanders::{canned, connections_to, failing_polls, nobody, tasks, threads};

/// A trigger's error, which has to be there within so many seconds and hold these texts.
async fn error_of(trigger: &Trigger, seconds: u64, texts: &[&str]) -> ScalerError {
    let scaler = build(trigger, &context()).unwrap();
    let began = Instant::now();
    let error = value(&*scaler).await.unwrap_err();
    println!("{error} after {:?}", began.elapsed());
    assert!(
        began.elapsed() < Duration::from_secs(seconds),
        "{error} after {:?}",
        began.elapsed()
    );
    for text in texts {
        assert!(error.to_string().contains(text), "no {text:?} in {error}");
    }
    error
}

#[tokio::test]
async fn nobody_listens() {
    let port = nobody();
    let servers = format!("127.0.0.1:{port}");
    let error = error_of(
        &trigger(&servers, "g", "orders"),
        5,
        &[&servers, "Connection refused"],
    )
    .await;
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    let error = error_of(
        &trigger("no-such-host.invalid:9092", "g", "orders"),
        8,
        &["no-such-host.invalid"],
    )
    .await;
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_topic_or_a_partition_that_is_not_there() {
    let kafka = broker().await;
    let servers = kafka.address(KafkaListener::Plain);
    let missing = trigger(&servers, "g", "nothing");
    let error = error_of(&missing, 3, &[&servers, "topic \"nothing\""]).await;
    assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
    let made: Vec<String> = kafka.topics().await.unwrap();
    assert!(!made.contains(&"nothing".to_owned()), "asking made it");

    kafka.create_topics(&["there"], 2).await.unwrap();
    let mut list = trigger(&servers, "g", "there,nothing");
    list.kind = "apache-kafka".to_owned();
    let error = error_of(&list, 3, &["topic \"nothing\""]).await;
    assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
    let beyond = trigger(&servers, "g", "there").metadata([("partitionLimitation", "2-9")]);
    let mut apache = beyond.clone();
    apache.kind = "apache-kafka".to_owned();
    for beyond in [beyond, apache] {
        let error = error_of(
            &beyond,
            3,
            &["expected at least one active partition within the topic 'there'"],
        )
        .await;
        assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
    }
}

#[tokio::test]
async fn certificates_that_are_not_good() {
    let kafka = broker().await;
    let ca = kafka.tls().ca();
    for (listener, ca, why) in [
        (KafkaListener::OtherName, Some(ca), "not valid for name"),
        (KafkaListener::Expired, Some(ca), "expired on 2021-01-01"),
        (KafkaListener::SaslTls, None, "UnknownIssuer"),
    ] {
        let mut trigger =
            trigger(&kafka.address(listener), "g", "orders").metadata([("tls", "enable")]);
        if let Some(ca) = ca {
            trigger = trigger.authentication([("ca", ca)]);
        }
        let error = error_of(&trigger, 5, &["certificate", why]).await;
        assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    }
}

#[tokio::test]
async fn a_listener_of_another_kind() {
    let kafka = broker().await;
    // TLS to one without, plain TCP to one with, no login where there has to be one.
    for (listener, tls, why) in [
        (KafkaListener::Plain, "enable", "PLAINTEXT broker listener?"),
        (KafkaListener::SaslTls, "disable", "Disconnected"),
        (KafkaListener::Sasl, "disable", "Disconnected"),
    ] {
        let trigger = trigger(&kafka.address(listener), "g", "orders").metadata([("tls", tls)]);
        let error = error_of(&trigger, 12, &[&kafka.address(listener)]).await;
        assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
        // Whether the connection ends while something is sent, or later, is chance.
        let text = error
            .to_string()
            .replace("Send failed: Broken pipe", "Disconnected");
        assert!(text.contains(why), "no {why:?} in {text}");
    }
}

#[tokio::test]
async fn a_server_that_is_no_kafka() {
    for (answer, seconds) in [
        (&b""[..], 12),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", 12),
        (b"\x00\x00\x00\x04\x00\x00\x00\x63", 12),
    ] {
        let servers = format!("127.0.0.1:{}", canned(answer));
        let error = error_of(&trigger(&servers, "g", "orders"), seconds, &[&servers]).await;
        assert!(
            matches!(
                error,
                ScalerError::Unreachable(_) | ScalerError::Malformed(_)
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_broker_that_hangs_dies_and_comes_back() {
    let mut kafka = Kafka::start().await.unwrap();
    kafka.create_topics(&["orders"], 2).await.unwrap();
    kafka.publish("orders", 0, 6).await.unwrap();
    kafka
        .commit("g", "orders", &[(0, 0), (1, 0)])
        .await
        .unwrap();
    let servers = kafka.address(KafkaListener::Plain);
    let port = kafka.port(KafkaListener::Plain);
    let context = context();
    let scaler = build(&trigger(&servers, "g", "orders"), &context).unwrap();
    // Its group's coordinator is not known to the client when the broker hangs.
    let other = build(&trigger(&servers, "other", "orders"), &context).unwrap();
    assert_eq!(value(&*scaler).await, Ok(6.0));

    kafka.pause();
    let began = Instant::now();
    let error = value(&*scaler).await.unwrap_err();
    println!("{error} after {:?}", began.elapsed());
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    assert!(began.elapsed() < Duration::from_secs(8), "{error}");
    let _ = value(&*other).await.unwrap_err();
    kafka.resume();
    for scaler in [&scaler, &other] {
        eventually("lag after the pause", SOON, async || {
            Ok((value(&**scaler).await? > 0.0).then_some(()))
        })
        .await
        .unwrap();
    }

    kafka.kill();
    let began = Instant::now();
    let error = value(&*scaler).await.unwrap_err();
    println!("{error} after {:?}", began.elapsed());
    assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    assert!(began.elapsed() < Duration::from_secs(8), "{error}");
    eventually("end of the sockets", SOON, async || {
        Ok((connections_to(port) == 0).then_some(()))
    })
    .await
    .unwrap();
    kafka.restart().await.unwrap();
    for (scaler, lag) in [(&scaler, 6.0), (&other, 2.0)] {
        let found = eventually("lag after the restart", SOON, async || {
            Ok(Some(value(&**scaler).await?))
        });
        assert_eq!(found.await.unwrap(), lag);
    }
}

#[tokio::test]
async fn a_topic_that_goes_away_and_comes_back_is_seen_by_the_same_scaler() {
    let kafka = broker().await;
    kafka.create_topics(&["fleeting"], 1).await.unwrap();
    kafka.publish("fleeting", 0, 3).await.unwrap();
    let servers = kafka.address(KafkaListener::Plain);
    let scaler = build(
        &trigger(&servers, "g", "fleeting").metadata([("offsetResetPolicy", "earliest")]),
        &context(),
    )
    .unwrap();
    assert_eq!(value(&*scaler).await, Ok(3.0));
    kafka.delete_topic("fleeting").await.unwrap();
    eventually("missing topic", SOON, async || {
        match value(&*scaler).await {
            Err(ScalerError::NotFound(_)) => Ok(Some(())),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await
    .unwrap();
    kafka.create_topics(&["fleeting"], 2).await.unwrap();
    kafka.publish("fleeting", 1, 4).await.unwrap();
    let found = eventually("lag of the new topic", SOON, async || {
        Ok(Some(value(&*scaler).await?))
    });
    assert_eq!(found.await.unwrap(), 4.0);
}

#[tokio::test]
async fn a_thousand_failing_polls_leave_nothing_behind() {
    let port = nobody();
    let servers = format!("127.0.0.1:{port}");
    let scaler = build(&trigger(&servers, "g", "orders"), &context()).unwrap();
    failing_polls(&*scaler, 1).await;
    let before = tasks();
    failing_polls(&*scaler, 1000).await;
    assert!(tasks() <= before, "{} tasks, {before} before", tasks());
    assert_eq!(connections_to(port), 0);

    // A topic that isn't there costs no client.
    let kafka = broker().await;
    let missing = trigger(&kafka.address(KafkaListener::Plain), "g", "never");
    let scaler = build(&missing, &context()).unwrap();
    failing_polls(&*scaler, 5).await;
    let before = tasks();
    failing_polls(&*scaler, 1000).await;
    assert!(tasks() <= before + 1, "{} tasks, {before} before", tasks());
    println!("{} threads of all clients", threads("rdk:"));
}
