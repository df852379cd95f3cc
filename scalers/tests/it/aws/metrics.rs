//! `aws-cloudwatch`: values of metrics and of expressions, and their absence.

use sakidori_scalers::{ScalerError, Trigger};
use sakidori_test_servers::Moto;

use super::{ACCOUNT, api, moto, read, trigger, value};

/// A metric's trigger whose window holds what was measured just now.
async fn metric(name: &str, more: &[(&str, &str)]) -> Trigger {
    trigger(
        "aws-cloudwatch",
        &moto().await.url(),
        &[
            ("namespace", "App"),
            ("metricName", name),
            ("dimensionName", "Queue;Zone"),
            ("dimensionValue", "work;a"),
            ("metricStatPeriod", "60"),
            ("metricEndTimeOffset", "-120"),
            ("targetMetricValue", "10"),
            ("minMetricValue", "1.5"),
        ],
    )
    .metadata(more.iter().copied())
}

#[tokio::test]
async fn the_newest_value_of_a_metric_counts() {
    let api = api().await;
    let dimensions = [("Queue", "work"), ("Zone", "a")];
    for measured in [40.0, 44.5] {
        api.put_metric("App", "Depth", &dimensions, measured)
            .await
            .unwrap();
    }
    api.put_metric("App", "Depth", &[("Queue", "other"), ("Zone", "a")], 7.0)
        .await
        .unwrap();
    for (more, expected) in [
        (&[("metricStat", "Sum")][..], 84.5),
        (&[("metricStat", "Maximum")], 44.5),
        (&[("metricStat", "SampleCount")], 2.0),
        (&[], 42.25),
    ] {
        assert_eq!(
            value(&metric("Depth", more).await).await,
            Ok(expected),
            "{more:?}"
        );
    }
    for (activation, active) in [("42.2", true), ("42.25", false)] {
        let more = [("activationTargetMetricValue", activation)];
        let reading = read(&metric("Depth", &more).await).await.unwrap();
        assert_eq!(
            (reading.metric.as_str(), reading.active),
            ("s0-aws-cloudwatch", active)
        );
    }
    // A window before the measurements.
    let before = [("metricEndTimeOffset", "86400")];
    assert_eq!(value(&metric("Depth", &before).await).await, Ok(1.5));
}

#[tokio::test]
async fn without_a_value_it_is_the_least_one_or_an_error() {
    assert_eq!(value(&metric("Absent", &[]).await).await, Ok(1.5));
    let strict = metric("Absent", &[("ignoreNullValues", "false")]).await;
    let error = value(&strict).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::NotFound(text) if text.contains("empty metric data received")),
        "{error}"
    );
}

#[tokio::test]
async fn an_expression_is_evaluated_by_cloudwatch() {
    // One of its own: an expression of Moto's is about all that was ever measured.
    let moto = Moto::start().await.unwrap();
    let api = moto.api(ACCOUNT).unwrap();
    api.put_metric("Shop", "Open", &[("Queue", "work")], 21.0)
        .await
        .unwrap();
    let expression = [
        ("expression", "SELECT AVG(Open) FROM Shop"),
        ("awsEndpoint", &moto.url()),
    ];
    let expression = metric("", &expression).await;
    assert_eq!(value(&expression).await, Ok(21.0));
}
