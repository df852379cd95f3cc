//! Lengths of keys, logins, databases, and how many connections that takes.

use futures::future::join_all;

use super::*;
use crate::bystanders::connections_to;

#[tokio::test]
async fn each_type_of_key_is_counted_as_keda_counts_it() {
    let redis = Redis::start().await.unwrap();
    redis.push("list", 7).await.unwrap();
    for command in [
        &["SADD", "set", "a", "b", "c"][..],
        &["ZADD", "zset", "1", "a", "2", "b"],
        &["HSET", "hash", "a", "1", "b", "2", "c", "3", "d", "4"],
        &["SET", "string", "x"],
        &["XADD", "stream", "*", "a", "1"],
        &["RPUSH", "emptied", "a"],
        &["LPOP", "emptied"],
        &["RPUSH", "shop:orders/new.1", "a"],
    ] {
        redis.run(command).await.unwrap();
    }
    for (key, expected) in [
        ("list", 7.0),
        ("set", 3.0),
        ("zset", 2.0),
        ("hash", 4.0),
        ("emptied", 0.0),
        ("missing", 0.0),
        ("shop:orders/new.1", 1.0),
    ] {
        assert_eq!(
            value_of(&list(&redis.address(), key)).await,
            Ok(expected),
            "{key}"
        );
    }
    for key in ["string", "stream"] {
        let expected = format!(
            "malformed answer: key \"{key}\" of Redis at {}: ERR unsupported key type: {key}",
            redis.address()
        );
        assert_eq!(refusal_of(&list(&redis.address(), key)).await, expected);
    }
}

#[tokio::test]
async fn the_trigger_is_active_above_its_activation_length() {
    let redis = Redis::start().await.unwrap();
    redis.push("orders", 5).await.unwrap();
    for (activation, active) in [("0", true), ("4", true), ("5", false), ("-1", true)] {
        let trigger =
            list(&redis.address(), "orders").metadata([("activationListLength", activation)]);
        let found = reading(&*scaler(&context(), &trigger)).await.unwrap();
        assert_eq!(
            (found.metric.as_str(), found.value),
            ("s0-redis-orders", 5.0)
        );
        assert_eq!(found.active, active, "{activation}");
    }
}

#[tokio::test]
async fn logins_and_databases_are_those_of_the_trigger() {
    let redis = Redis::start().await.unwrap();
    redis.push("orders", 3).await.unwrap();
    redis.run_in(5, &["RPUSH", "orders", "x"]).await.unwrap();
    // No more than the counting takes: neither scripts nor PING.
    for (user, permissions) in [
        ("counter", &["~orders", "+type", "+llen", "+select"][..]),
        ("blind", &["~orders", "+type", "+select"]),
        ("elsewhere", &["~basket", "+@all"]),
    ] {
        let made = ["ACL", "SETUSER", user, "on", ">hunter4"];
        redis.run(&[&made, permissions].concat()).await.unwrap();
    }
    let as_user = |user: &'static str, password: &'static str| {
        let trigger = Trigger::new("redis").metadata([("listName", "orders"), ("username", user)]);
        let trigger = trigger.authentication([("password", password)]);
        trigger.metadata([("address", redis.address().as_str())])
    };
    assert_eq!(value_of(&as_user("counter", "hunter4")).await, Ok(3.0));
    assert_eq!(value_of(&as_user("default", PASSWORD)).await, Ok(3.0));
    for (index, expected) in [("0", 3.0), ("5", 1.0), ("7", 0.0), ("-2", 3.0)] {
        let trigger = as_user("counter", "hunter4").metadata([("databaseIndex", index)]);
        assert_eq!(value_of(&trigger).await, Ok(expected), "{index}");
    }
    let from_environment = Trigger::new("redis")
        .metadata([
            ("listName", "orders"),
            ("hostFromEnv", "HOST"),
            ("portFromEnv", "PORT"),
            ("passwordFromEnv", "PASSWORD"),
        ])
        .environment([
            ("HOST", "127.0.0.1"),
            ("PORT", redis.port().to_string().as_str()),
            ("PASSWORD", PASSWORD),
        ]);
    assert_eq!(value_of(&from_environment).await, Ok(3.0));
}

#[tokio::test]
async fn a_server_without_a_password_takes_any() {
    let redis = Redis::start().await.unwrap();
    redis.push("orders", 2).await.unwrap();
    redis
        .run(&["CONFIG", "SET", "requirepass", ""])
        .await
        .unwrap();
    let without = Trigger::new("redis").metadata([
        ("listName", "orders"),
        ("address", redis.address().as_str()),
    ]);
    assert_eq!(value_of(&without).await, Ok(2.0));
    // A user without a password is nobody, as in KEDA's client.
    assert_eq!(
        value_of(&without.clone().metadata([("username", "nobody")])).await,
        Ok(2.0)
    );
    assert_eq!(value_of(&list(&redis.address(), "orders")).await, Ok(2.0));
}

#[tokio::test]
async fn five_hundred_triggers_are_one_connection_and_end_with_it() {
    let redis = Redis::start().await.unwrap();
    redis.push("orders", 7).await.unwrap();
    let context = context();
    let tasks = crate::bystanders::tasks();
    let many: Vec<_> = (0..500)
        .map(|at| {
            // Half of them ask for keys of their own.
            let name = if at % 2 == 0 {
                "orders".to_owned()
            } else {
                format!("orders-{at}")
            };
            scaler(&context, &list(&redis.address(), &name))
        })
        .collect();
    let read = join_all(many.iter().map(|scaler| value(&**scaler))).await;
    for (at, found) in read.into_iter().enumerate() {
        assert_eq!(found, Ok(if at % 2 == 0 { 7.0 } else { 0.0 }));
    }
    assert_eq!(connections_to(redis.port()), 1);
    assert_eq!(redis.clients().await.unwrap(), 1);

    // Another database is another connection.
    let other = list(&redis.address(), "orders").metadata([("databaseIndex", "1")]);
    let other = scaler(&context, &other);
    assert_eq!(value(&*other).await, Ok(0.0));
    assert_eq!(connections_to(redis.port()), 2);

    drop((many, other));
    eventually("closed connections", SOON, async || {
        let open = redis.clients().await?;
        let left = connections_to(redis.port()) + crate::bystanders::tasks() - tasks;
        Ok((open + left == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_same_question_is_asked_once_an_interval() {
    let redis = Redis::start().await.unwrap();
    let context = context();
    let many: Vec<_> = (0..50)
        .map(|at| {
            let activation = at.to_string();
            let trigger = list(&redis.address(), "orders")
                .metadata([("activationListLength", activation.as_str())]);
            scaler(&context, &trigger)
        })
        .collect();
    let within = || Freshness::within(SOON);
    for scaler in &many {
        scaler.read(&within()).await.unwrap();
    }
    let asked = redis.run(&["INFO", "commandstats"]).await.unwrap();
    assert!(asked.contains("cmdstat_llen:calls=1,"), "{asked}");
}
