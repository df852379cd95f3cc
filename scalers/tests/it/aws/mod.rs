//! Triggers on AWS against what serves its APIs: ElasticMQ for queues, Moto for everything.

mod counts;
mod faults;
mod identities;
mod metrics;
mod queues;
mod sharing;

use std::sync::Arc;
use std::time::Duration;

use sakidori_scalers::clients::{ClientSettings, Clients};
use sakidori_scalers::{Context, Freshness, Reading, ScalerError, Trigger, build};
use sakidori_test_servers::{AwsApi, Moto};
use tokio::sync::OnceCell;

use crate::no_cluster::NoCluster;

/// The account of everyone who gives keys to Moto.
const ACCOUNT: &str = "123456789012";
const SECRET: &str = "hunter2";

/// The Moto of all tests that only need names of their own. It ends with the process.
async fn moto() -> &'static Moto {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    let start = || async { Moto::start().await.unwrap() };
    MOTO.get_or_init(start).await
}

async fn api() -> AwsApi {
    moto().await.api(ACCOUNT).unwrap()
}

fn context() -> Context {
    context_within(Duration::from_secs(20))
}

/// Answers have so long: on a busy machine more than the default.
fn context_within(within: Duration) -> Context {
    let mut settings = ClientSettings::default();
    settings.http_timeout = within;
    Context {
        clients: Arc::new(Clients::new(settings)),
        cluster: Arc::new(NoCluster),
    }
}

/// A trigger with keys.
fn trigger(kind: &str, endpoint: &str, metadata: &[(&str, &str)]) -> Trigger {
    Trigger::new(kind)
        .metadata([("awsRegion", "ap-northeast-1"), ("awsEndpoint", endpoint)])
        .metadata(metadata.iter().copied())
        .authentication([("awsAccessKeyID", "id"), ("awsSecretAccessKey", SECRET)])
}

/// A trigger of each type, for something of this name.
fn one_of_each(endpoint: &str, name: &str) -> [Trigger; 5] {
    [
        trigger("aws-sqs-queue", endpoint, &[("queueURL", name)]),
        trigger(
            "aws-cloudwatch",
            endpoint,
            &[
                ("namespace", "App"),
                ("metricName", name),
                ("dimensionName", "Queue"),
                ("dimensionValue", "work"),
                ("targetMetricValue", "1"),
                ("minMetricValue", "0"),
            ],
        ),
        trigger("aws-kinesis-stream", endpoint, &[("streamName", name)]),
        trigger(
            "aws-dynamodb",
            endpoint,
            &[
                ("tableName", name),
                ("keyConditionExpression", "#k = :v"),
                ("expressionAttributeNames", r##"{"#k": "pk"}"##),
                ("expressionAttributeValues", r#"{":v": {"S": "a"}}"#),
                ("targetValue", "1"),
            ],
        ),
        trigger("aws-dynamodb-streams", endpoint, &[("tableName", name)]),
    ]
}

async fn read_in(context: &Context, trigger: &Trigger) -> Result<Reading, ScalerError> {
    let scaler = build(trigger, context).unwrap();
    let mut readings = scaler.read(&Freshness::now()).await?;
    assert_eq!(readings.len(), 1);
    assert_eq!(readings[0].metric, scaler.metrics()[0].name);
    Ok(readings.remove(0))
}

async fn read(trigger: &Trigger) -> Result<Reading, ScalerError> {
    read_in(&context(), trigger).await
}

async fn value(trigger: &Trigger) -> Result<f64, ScalerError> {
    read(trigger).await.map(|reading| reading.value)
}

/// The error of a reading, whose text holds no secret.
async fn error(context: &Context, trigger: &Trigger) -> ScalerError {
    let error = read_in(context, trigger).await.unwrap_err();
    assert!(!error.to_string().contains(SECRET), "{error}");
    error
}
