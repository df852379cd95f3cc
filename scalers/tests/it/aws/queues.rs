//! `aws-sqs-queue`: what counts, on two servers.

use sakidori_scalers::Trigger;
use sakidori_test_servers::{AwsApi, ElasticMq};

use super::{api, moto, read, trigger, value};

/// Nine messages that wait, three in flight, two delayed.
async fn fill(api: &AwsApi, name: &str) -> String {
    let url = api.create_queue(name).await.unwrap();
    api.send(&url, 12, 0).await.unwrap();
    let mut received = 0;
    while received < 3 {
        received += api.receive(&url, 3 - received).await.unwrap();
    }
    api.send(&url, 2, 600).await.unwrap();
    url
}

async fn counts(endpoint: &str, queue: &str) {
    let queue = |more: &[(&str, &str)]| -> Trigger {
        trigger("aws-sqs-queue", endpoint, &[("queueURL", queue)]).metadata(more.iter().copied())
    };
    for (more, expected) in [
        (&[][..], 12.0),
        (&[("scaleOnInFlight", "false")], 9.0),
        (&[("scaleOnDelayed", "true")], 14.0),
        (
            &[("scaleOnInFlight", "false"), ("scaleOnDelayed", "true")],
            11.0,
        ),
    ] {
        assert_eq!(value(&queue(more)).await, Ok(expected), "{more:?}");
    }
    for (activation, active) in [("11", true), ("12", false)] {
        let reading = read(&queue(&[("activationQueueLength", activation)]))
            .await
            .unwrap();
        assert_eq!((reading.active, reading.value), (active, 12.0));
        assert_eq!(reading.metric, "s0-aws-sqs-orders");
    }
}

#[tokio::test]
async fn elasticmq_counts_what_waits_what_is_in_flight_and_what_is_delayed() {
    let server = ElasticMq::start().await.unwrap();
    let api = server.api().unwrap();
    let url = fill(&api, "orders").await;
    counts(&server.url(), &url).await;
    // An empty queue is 0, whoever says so.
    let empty = api.create_queue("empty").await.unwrap();
    let empty = trigger("aws-sqs-queue", &server.url(), &[("queueURL", &empty)]);
    assert_eq!(value(&empty).await, Ok(0.0));
    let missing = format!("{url}-missing");
    let missing = trigger("aws-sqs-queue", &server.url(), &[("queueURL", &missing)]);
    let error = value(&missing).await.unwrap_err().to_string();
    assert!(error.starts_with("not found: 127.0.0.1:"), "{error}");
    assert!(error.contains("orders-missing"), "{error}");
}

#[tokio::test]
async fn moto_counts_the_same_by_the_queues_url_and_by_its_name() {
    let url = fill(&api().await, "orders").await;
    counts(&moto().await.url(), &url).await;
    counts(&moto().await.url(), "orders").await;
}
