//! What triggers share: connections, and answers to the same question. And what failures leave behind: nothing.

use std::time::Duration;

use futures::future::join_all;
use sakidori_scalers::{Freshness, Scaler, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, Moto};

use super::{ACCOUNT, context, context_within, one_of_each, trigger};
use crate::bystanders::{connections_to, failing_polls, nobody, tasks};

/// As many questions as are asked of one place at once.
const HANDFUL: usize = 8;

#[tokio::test]
async fn five_hundred_triggers_share_a_handful_of_connections() {
    // A server of its own, so that nobody else's connections are counted.
    let moto = Moto::start().await.unwrap();
    let api = moto.api(ACCOUNT).unwrap();
    let queue = api.create_queue("shared").await.unwrap();
    api.send(&queue, 4, 0).await.unwrap();
    let context = context();
    let endpoint = moto.url();
    // Half of them ask for the one queue, half for queues that aren't there.
    let scalers: Vec<Box<dyn Scaler>> = (0..500)
        .map(|number| {
            let name = format!(
                "shared{}",
                "x".repeat(usize::from(number % 2 == 1) * number)
            );
            let queue = trigger("aws-sqs-queue", &endpoint, &[("queueURL", &name)]);
            build(&queue, &context).unwrap()
        })
        .collect();
    let before = connections_to(moto.port());
    let fresh = Freshness::within(Duration::from_secs(60));
    let answers = join_all(scalers.iter().map(|scaler| scaler.read(&fresh))).await;
    let found = answers.iter().filter(|answer| {
        let readings = answer.as_ref();
        readings.is_ok_and(|readings| readings[0].value == 4.0)
    });
    assert_eq!(found.count(), 250);
    let opened = connections_to(moto.port()).saturating_sub(before);
    assert!(opened <= HANDFUL, "{opened} connections");
}

#[tokio::test]
async fn the_same_question_is_asked_once() {
    let source = HttpSource::start().unwrap();
    source.set(
        "/",
        Answer::new(
            "application/x-amz-json-1.0",
            r#"{"Attributes": {"ApproximateNumberOfMessages": "3", "ApproximateNumberOfMessagesNotVisible": "1"}}"#,
        ),
    );
    let context = context();
    let queue = |name: &str| trigger("aws-sqs-queue", &source.url("/"), &[("queueURL", name)]);
    let scaler = |trigger| build(&trigger, &context).unwrap();
    let mut scalers: Vec<Box<dyn Scaler>> = (1..=500)
        .map(|length| {
            scaler(queue("orders").metadata([("queueLength", length.to_string().as_str())]))
        })
        .collect();
    let fresh = Freshness::within(Duration::from_secs(60));
    for answer in join_all(scalers.iter().map(|scaler| scaler.read(&fresh))).await {
        assert_eq!(answer.unwrap()[0].value, 4.0);
    }
    assert_eq!(source.requests("/"), 1);
    // Another queue, other attributes, other keys: other questions.
    scalers.clear();
    let others = [
        queue("others"),
        queue("orders").metadata([("scaleOnDelayed", "true")]),
        queue("orders").authentication([("awsAccessKeyID", "other")]),
    ];
    for other in others {
        let _ = scaler(other).read(&fresh).await;
    }
    assert_eq!(source.requests("/"), 4);
}

#[tokio::test]
async fn a_thousand_failing_polls_leave_nothing_behind() {
    let port = nobody();
    let context = context_within(Duration::from_secs(3));
    for trigger in one_of_each(&format!("http://127.0.0.1:{port}"), "work") {
        let scaler = build(&trigger, &context).unwrap();
        failing_polls(&*scaler, 10).await;
        let before = tasks();
        failing_polls(&*scaler, 190).await;
        eventually("end of tasks", Duration::from_secs(20), async || {
            Ok((tasks() <= before).then_some(()))
        })
        .await
        .unwrap();
        assert_eq!(connections_to(port), 0, "{}", trigger.kind);
    }
}
