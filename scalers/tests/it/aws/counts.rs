//! `aws-kinesis-stream`, `aws-dynamodb` and `aws-dynamodb-streams`: what they count.

use sakidori_scalers::{ScalerError, Trigger};
use serde_json::json;

use super::{api, moto, read, trigger, value};

#[tokio::test]
async fn open_shards_of_a_stream_count() {
    let api = api().await;
    api.create_stream("clicks", 3).await.unwrap();
    let stream = trigger(
        "aws-kinesis-stream",
        &moto().await.url(),
        &[("streamName", "clicks"), ("activationShardCount", "3")],
    );
    let reading = read(&stream).await.unwrap();
    assert_eq!(
        (reading.metric.as_str(), reading.value, reading.active),
        ("s0-aws-kinesis-clicks", 3.0, false)
    );
    // Those that were split are closed, and count no more.
    api.update_shard_count("clicks", 5).await.unwrap();
    let reading = read(&stream).await.unwrap();
    assert_eq!((reading.value, reading.active), (5.0, true));
}

/// A query for the items of the partition `a`.
async fn query(table: &str, more: &[(&str, &str)]) -> Trigger {
    trigger(
        "aws-dynamodb",
        &moto().await.url(),
        &[
            ("tableName", table),
            ("keyConditionExpression", "#k = :v"),
            ("expressionAttributeNames", r##"{"#k": "pk"}"##),
            ("expressionAttributeValues", r#"{":v": {"S": "a"}}"#),
            ("targetValue", "2"),
        ],
    )
    .metadata(more.iter().copied())
}

#[tokio::test]
async fn items_that_a_query_finds_count() {
    let api = api().await;
    api.create_table("orders", false).await.unwrap();
    for (number, (partition, state)) in [("a", "open"), ("a", "open"), ("a", "done"), ("b", "open")]
        .iter()
        .enumerate()
    {
        let item = json!({
            "pk": {"S": partition},
            "sk": {"S": number.to_string()},
            "state": {"S": state},
            "size": {"N": number.to_string()},
        });
        api.put_item("orders", &item).await.unwrap();
    }
    let reading = read(&query("orders", &[]).await).await.unwrap();
    assert_eq!(
        (reading.metric.as_str(), reading.value, reading.active),
        ("s0-aws-dynamodb-orders", 3.0, true)
    );
    let strict = query("orders", &[("activationTargetValue", "3")]).await;
    assert!(!read(&strict).await.unwrap().active);
    for (more, expected) in [
        (
            &[
                ("indexName", "by-state"),
                ("expressionAttributeNames", r##"{"#k": "state"}"##),
                ("expressionAttributeValues", r#"{":v": {"S": "open"}}"#),
            ][..],
            3.0,
        ),
        (
            &[
                ("filterExpression", "#s = :s"),
                (
                    "expressionAttributeNames",
                    r##"{"#k": "pk", "#s": "state"}"##,
                ),
                (
                    "expressionAttributeValues",
                    r#"{":v": {"S": "a"}, ":s": {"S": "open"}}"#,
                ),
            ],
            2.0,
        ),
        (
            &[
                ("filterExpression", "#s > :s"),
                (
                    "expressionAttributeNames",
                    r##"{"#k": "pk", "#s": "size"}"##,
                ),
                (
                    "expressionAttributeValues",
                    r#"{":v": {"S": "a"}, ":s": {"N": "0"}}"#,
                ),
            ],
            2.0,
        ),
        (
            &[("expressionAttributeValues", r#"{":v": {"S": "nothing"}}"#)],
            0.0,
        ),
    ] {
        assert_eq!(
            value(&query("orders", more).await).await,
            Ok(expected),
            "{more:?}"
        );
    }
    let wrong = query("orders", &[("indexName", "by-nothing")]).await;
    let error = value(&wrong).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::NotFound(text) if text.contains("the index \"by-nothing\"")),
        "{error}"
    );
}

/// DynamoDB looks at 1 MB for a page: three items of 300 KB.
#[tokio::test]
async fn the_first_page_counts_unless_the_filter_left_nothing_of_it() {
    let api = api().await;
    api.create_table("large", false).await.unwrap();
    let padding = "x".repeat(300 * 1024);
    for number in 0..8 {
        let state = if number == 7 { "open" } else { "done" };
        let item = json!({
            "pk": {"S": "a"},
            "sk": {"S": number.to_string()},
            "state": {"S": state},
            "padding": {"S": padding},
        });
        api.put_item("large", &item).await.unwrap();
    }
    let first_page = value(&query("large", &[]).await).await.unwrap();
    assert!((1.0..8.0).contains(&first_page), "{first_page}");
    let filtered = |state: &str| {
        let values = format!(r#"{{":v": {{"S": "a"}}, ":s": {{"S": "{state}"}}}}"#);
        async move {
            let more = [
                ("filterExpression", "#s = :s"),
                (
                    "expressionAttributeNames",
                    r##"{"#k": "pk", "#s": "state"}"##,
                ),
                ("expressionAttributeValues", values.as_str()),
            ];
            value(&query("large", &more).await).await
        }
    };
    // It is on the last page.
    assert_eq!(filtered("open").await, Ok(1.0));
    assert_eq!(filtered("done").await, Ok(first_page));
    assert_eq!(filtered("lost").await, Ok(0.0));
}

#[tokio::test]
async fn shards_of_a_tables_stream_count() {
    let api = api().await;
    api.create_table("changes", true).await.unwrap();
    api.create_table("quiet", false).await.unwrap();
    let streams = async |table: &str| {
        trigger(
            "aws-dynamodb-streams",
            &moto().await.url(),
            &[("tableName", table)],
        )
    };
    let reading = read(&streams("changes").await).await.unwrap();
    assert_eq!(
        (reading.metric.as_str(), reading.value, reading.active),
        ("s0-aws-dynamodb-streams-changes", 1.0, true)
    );
    let error = value(&streams("quiet").await).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::NotFound(text) if text.contains("has no stream")),
        "{error}"
    );
}
