//! Entries of streams: all, pending, and not read yet.

use super::*;

fn stream(redis: &Redis, more: &[(&'static str, &'static str)]) -> Trigger {
    trigger("redis-streams", &redis.address())
        .metadata([("stream", "orders")])
        .metadata(more.iter().copied())
}

const GROUP: (&str, &str) = ("consumerGroup", "workers");

#[tokio::test]
async fn what_is_counted_follows_from_what_is_given() {
    let redis = Redis::start().await.unwrap();
    let lag = [GROUP, ("lagCount", "3")];
    // Before there is a stream.
    assert_eq!(value_of(&stream(&redis, &[])).await, Ok(0.0));
    assert_eq!(value_of(&stream(&redis, &lag)).await, Ok(0.0));
    let missing = refusal_of(&stream(&redis, &[GROUP])).await;
    let expected = format!(
        "not found: group \"workers\" of stream \"orders\" of Redis at {}: NOGROUP ",
        redis.address()
    );
    assert!(missing.starts_with(&expected), "{missing}");

    // Before there is the group.
    redis.add("orders", 8).await.unwrap();
    redis
        .run(&["XGROUP", "CREATE", "orders", "others", "$"])
        .await
        .unwrap();
    assert_eq!(value_of(&stream(&redis, &[])).await, Ok(8.0));
    assert_eq!(value_of(&stream(&redis, &lag)).await, Ok(8.0));
    let missing = refusal_of(&stream(&redis, &[GROUP])).await;
    assert!(missing.contains("NOGROUP"), "{missing}");

    // Five are read, two of them acknowledged.
    redis
        .run(&["XGROUP", "CREATE", "orders", "workers", "0"])
        .await
        .unwrap();
    let read = [
        "XREADGROUP",
        "GROUP",
        "workers",
        "me",
        "COUNT",
        "5",
        "STREAMS",
        "orders",
        ">",
    ];
    let read = redis.run(&read).await.unwrap();
    let entries: Vec<&str> = read.lines().filter(|line| line.contains('-')).collect();
    redis
        .run(&["XACK", "orders", "workers", entries[0], entries[1]])
        .await
        .unwrap();
    assert_eq!(value_of(&stream(&redis, &[])).await, Ok(8.0));
    assert_eq!(value_of(&stream(&redis, &[GROUP])).await, Ok(3.0));
    assert_eq!(value_of(&stream(&redis, &lag)).await, Ok(3.0));
    redis.add("orders", 2).await.unwrap();
    assert_eq!(value_of(&stream(&redis, &[GROUP])).await, Ok(3.0));
    assert_eq!(value_of(&stream(&redis, &lag)).await, Ok(5.0));
}

#[tokio::test]
async fn the_activation_is_of_whichever_number_is_read() {
    let redis = Redis::start().await.unwrap();
    redis.add("orders", 2).await.unwrap();
    redis
        .run(&["XGROUP", "CREATE", "orders", "workers", "0"])
        .await
        .unwrap();
    for (more, target) in [
        (&[("streamLength", "50")][..], "50"),
        (&[GROUP, ("lagCount", "7")], "7"),
    ] {
        for (activation, active) in [("1", true), ("2", false)] {
            let trigger = stream(&redis, more).metadata([("activationLagCount", activation)]);
            let scaler = scaler(&context(), &trigger);
            let found = reading(&*scaler).await.unwrap();
            assert_eq!(found.metric, "s0-redis-streams-orders");
            assert_eq!((found.value, found.active), (2.0, active), "{activation}");
            assert_eq!(scaler.metrics()[0].target.to_string(), target);
        }
    }
}

#[tokio::test]
async fn a_lag_that_the_server_can_not_tell_is_an_error() {
    let redis = Redis::start().await.unwrap();
    redis.add("orders", 5).await.unwrap();
    redis
        .run(&["XGROUP", "CREATE", "orders", "workers", "0"])
        .await
        .unwrap();
    let read = [
        "XREADGROUP",
        "GROUP",
        "workers",
        "me",
        "COUNT",
        "1",
        "STREAMS",
        "orders",
        ">",
    ];
    redis.run(&read).await.unwrap();
    // One in the middle of what is left to read.
    let all = redis.run(&["XRANGE", "orders", "-", "+"]).await.unwrap();
    let entries: Vec<&str> = all.lines().filter(|line| line.contains('-')).collect();
    redis.run(&["XDEL", "orders", entries[3]]).await.unwrap();
    let scaler = scaler(&context(), &stream(&redis, &[GROUP, ("lagCount", "3")]));
    let error = told(&value(&*scaler).await.unwrap_err());
    assert!(
        error.starts_with(
            "malformed answer: group \"workers\" of stream \"orders\" of Redis at 127.0.0.1"
        ) && error.contains("it can't tell the lag, because entries of the stream were deleted"),
        "{error}"
    );
    let rest = [
        "XREADGROUP",
        "GROUP",
        "workers",
        "me",
        "COUNT",
        "9",
        "STREAMS",
        "orders",
        ">",
    ];
    redis.run(&rest).await.unwrap();
    assert_eq!(value(&*scaler).await, Ok(0.0));
}

#[tokio::test]
async fn a_key_that_is_no_stream_is_an_error_whatever_is_counted() {
    let redis = Redis::start().await.unwrap();
    redis.push("orders", 3).await.unwrap();
    for more in [&[][..], &[GROUP], &[GROUP, ("lagCount", "3")]] {
        let error = refusal_of(&stream(&redis, more)).await;
        assert!(
            error.starts_with("malformed answer:") && error.contains(": WRONGTYPE "),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_lag_takes_the_permissions_that_the_page_names() {
    let redis = Redis::start().await.unwrap();
    redis.add("orders", 2).await.unwrap();
    for (user, permissions) in [
        ("reader", &["+info", "+xinfo|groups", "+xlen"][..]),
        ("no-info", &["+xinfo|groups", "+xlen"]),
        ("no-groups", &["+info", "+xlen"]),
    ] {
        let made = ["ACL", "SETUSER", user, "on", ">hunter4", "~orders"];
        redis.run(&[&made, permissions].concat()).await.unwrap();
    }
    let as_user = |user: &'static str| {
        let lag = [
            GROUP,
            ("lagCount", "3"),
            ("username", user),
            ("password", "hunter4"),
        ];
        stream(&redis, &lag)
    };
    assert_eq!(value_of(&as_user("reader")).await, Ok(2.0));
    let error = refusal_of(&as_user("no-info")).await;
    assert!(
        error.starts_with("unauthorized:") && error.ends_with("(could not find Redis version)"),
        "{error}"
    );
    // KEDA reads the length of the stream instead, which only ever grows.
    let error = refusal_of(&as_user("no-groups")).await;
    assert!(
        error.starts_with("unauthorized:") && error.contains("NOPERM"),
        "{error}"
    );
}
