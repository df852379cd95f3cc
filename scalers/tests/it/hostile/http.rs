//! Whatever speaks HTTP.

use std::time::{Duration, Instant};

use futures::future::join_all;
use sakidori_scalers::Trigger;

use super::servers::{Mischief, bomb, http};
use super::{alone, context, peak, run, value};

/// For those that never end an answer.
const IMPATIENT: Duration = Duration::from_secs(1);
/// For those that send as much as they can: a debug build on a busy machine takes its time.
const PATIENT: Duration = Duration::from_secs(25);

/// A trigger of each type that speaks HTTP, by the port of its source.
fn triggers(port: u16) -> Vec<Trigger> {
    let url = format!("http://127.0.0.1:{port}/");
    let mut all = vec![Trigger::new("metrics-api").metadata([
        ("url", url.as_str()),
        ("valueLocation", "depth"),
        ("targetValue", "5"),
    ])];
    #[cfg(feature = "prometheus")]
    all.push(Trigger::new("prometheus").metadata([
        ("serverAddress", url.as_str()),
        ("query", "up"),
        ("threshold", "5"),
    ]));
    #[cfg(feature = "rabbitmq")]
    for regex in ["false", "true"] {
        all.push(Trigger::new("rabbitmq").metadata([
            ("host", url.as_str()),
            ("protocol", "http"),
            ("queueName", "orders"),
            ("mode", "QueueLength"),
            ("value", "5"),
            ("useRegex", regex),
        ]));
    }
    #[cfg(feature = "nats")]
    all.push(Trigger::new("nats-jetstream").metadata([
        (
            "natsServerMonitoringEndpoint",
            url.trim_start_matches("http://").trim_end_matches('/'),
        ),
        ("account", "APP"),
        ("stream", "orders"),
        ("consumer", "workers"),
        ("lagThreshold", "5"),
    ]));
    #[cfg(feature = "aws")]
    all.extend(aws(&url));
    all
}

#[cfg(feature = "aws")]
fn aws(url: &str) -> Vec<Trigger> {
    let trigger = |kind: &str, metadata: &[(&str, &str)]| {
        Trigger::new(kind)
            .metadata([("awsRegion", "ap-northeast-1"), ("awsEndpoint", url)])
            .metadata(metadata.iter().copied())
            .authentication([("awsAccessKeyID", "id"), ("awsSecretAccessKey", "key")])
    };
    vec![
        trigger("aws-sqs-queue", &[("queueURL", "orders")]),
        trigger(
            "aws-cloudwatch",
            &[
                ("namespace", "App"),
                ("metricName", "depth"),
                ("dimensionName", "Queue"),
                ("dimensionValue", "orders"),
                ("targetMetricValue", "1"),
                ("minMetricValue", "0"),
            ],
        ),
        trigger("aws-kinesis-stream", &[("streamName", "orders")]),
        trigger(
            "aws-dynamodb",
            &[
                ("tableName", "orders"),
                ("keyConditionExpression", "#k = :v"),
                ("expressionAttributeNames", r##"{"#k": "pk"}"##),
                ("expressionAttributeValues", r#"{":v": {"S": "a"}}"#),
                ("targetValue", "1"),
            ],
        ),
        trigger("aws-dynamodb-streams", &[("tableName", "orders")]),
    ]
}

/// How each mischief is told. Empty where each client says it in its own way.
fn told(mischief: Mischief) -> (&'static str, &'static str) {
    match mischief {
        Mischief::Endless | Mischief::Gigabyte | Mischief::GigabyteChunks => {
            ("malformed answer", "the answer is larger than 1")
        }
        Mischief::Trickle | Mischief::SlowHeaders => ("unreachable", "no "),
        Mischief::EndlessHeaders | Mischief::CutOff => ("unreachable", ""),
        Mischief::Bomb | Mischief::Redirects | Mischief::NoText => ("malformed answer", ""),
        // Some don't look where it is deep, and miss what they look for.
        Mischief::Deep => ("", ""),
    }
}

fn patience(mischief: Mischief) -> Duration {
    match told(mischief) {
        ("unreachable", "no ") => IMPATIENT,
        _ => PATIENT,
    }
}

#[test]
fn each_is_told_in_bounded_time_and_memory() {
    if !alone("hostile::http::each_is_told_in_bounded_time_and_memory") {
        return;
    }
    run(async {
        // It takes a while to make.
        bomb();
        let mut wrong = Vec::new();
        for mischief in Mischief::ALL {
            let port = http(mischief);
            let within = patience(mischief);
            let context = context(within);
            let (kind, text) = told(mischief);
            let asked = Instant::now();
            let before = peak();
            let triggers = triggers(port);
            let answers = triggers.iter().map(|trigger| value(&context, trigger));
            for (trigger, answer) in triggers.iter().zip(join_all(answers).await) {
                let error = answer.unwrap_err().to_string();
                println!("{mischief:?}, {}: {error}", trigger.kind);
                if !error.starts_with(kind) || !error.contains(text) {
                    wrong.push(format!("{mischief:?}, {}: {error}", trigger.kind));
                }
            }
            let took = asked.elapsed();
            println!(
                "{mischief:?}: {took:?}, {before} MiB and then {} MiB",
                peak()
            );
            // A token, a connection and an answer may take their time one after the other.
            assert!(took < within * 3 + Duration::from_secs(5), "{took:?}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        // Ten answers of 10 MiB at once, the servers' own buffers, and the process itself.
        assert!(peak() < 300, "{} MiB", peak());
    });
}
