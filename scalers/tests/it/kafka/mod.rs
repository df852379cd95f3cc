//! The `kafka` and `apache-kafka` triggers against a real broker.

mod faults;
mod logins;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use sakidori_scalers::clients::Clients;
use sakidori_scalers::{Context, Freshness, Reading, Scaler, ScalerError, Trigger, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Kafka, KafkaListener};
use tokio::sync::OnceCell;

use crate::bystanders::{connections_to, threads};
use crate::no_cluster::NoCluster;

const SOON: Duration = Duration::from_secs(60);

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// One broker for all tests that leave it running. It ends with the test's process.
async fn broker() -> &'static Kafka {
    static BROKER: OnceCell<Kafka> = OnceCell::const_new();
    BROKER
        .get_or_init(|| async { Kafka::start().await.unwrap() })
        .await
}

fn context() -> Context {
    Context {
        clients: Arc::new(Clients::default()),
        cluster: Arc::new(NoCluster),
    }
}

fn trigger(servers: &str, group: &str, topic: &str) -> Trigger {
    Trigger::new("kafka").metadata([
        ("bootstrapServers", servers),
        ("consumerGroup", group),
        ("topic", topic),
    ])
}

async fn read(scaler: &dyn Scaler) -> Result<Reading, ScalerError> {
    let readings = scaler.read(&Freshness::now()).await?;
    Ok(readings.into_iter().next().unwrap())
}

async fn value(scaler: &dyn Scaler) -> Result<f64, ScalerError> {
    Ok(read(scaler).await?.value)
}

#[tokio::test]
async fn the_lag_is_what_keda_counts() {
    let kafka = broker().await;
    kafka
        .create_topics(&["orders", "returns"], 3)
        .await
        .unwrap();
    for (topic, partition, messages) in [("orders", 0, 50), ("orders", 1, 30), ("returns", 2, 7)] {
        kafka.publish(topic, partition, messages).await.unwrap();
    }
    // Partition 1 is read to its end, and of partition 2 nothing is committed.
    kafka
        .commit("shop", "orders", &[(0, 10), (1, 30)])
        .await
        .unwrap();
    kafka.commit("shop", "returns", &[(2, 3)]).await.unwrap();
    let servers = kafka.address(KafkaListener::Plain);
    let context = context();

    // The lag of partition 0 is 40, and partition 2 counts for 1.
    let table: &[(&str, Pairs, f64, bool)] = &[
        ("kafka", &[("topic", "orders")], 30.0, true),
        ("apache-kafka", &[("topic", "orders")], 30.0, true),
        (
            "kafka",
            &[("topic", "orders"), ("allowIdleConsumers", "true")],
            41.0,
            true,
        ),
        (
            "kafka",
            &[("topic", "orders"), ("lagThreshold", "100")],
            41.0,
            true,
        ),
        (
            "kafka",
            &[
                ("topic", "orders"),
                ("lagThreshold", "100"),
                ("activationLagThreshold", "41"),
            ],
            41.0,
            false,
        ),
        (
            "kafka",
            &[
                ("topic", "orders"),
                ("lagThreshold", "100"),
                ("activationLagThreshold", "40"),
                ("scaleToZeroOnInvalidOffset", "true"),
            ],
            40.0,
            false,
        ),
        (
            "kafka",
            &[
                ("topic", "orders"),
                ("partitionLimitation", "1-2"),
                ("offsetResetPolicy", "earliest"),
            ],
            0.0,
            false,
        ),
        (
            "kafka",
            &[("topic", "orders"), ("limitToPartitionsWithLag", "true")],
            20.0,
            true,
        ),
        (
            "kafka",
            &[
                ("topic", "orders"),
                ("ensureEvenDistributionOfPartitions", "true"),
                ("lagThreshold", "30"),
            ],
            90.0,
            true,
        ),
        // Of `returns` 4 messages, and 2 partitions without an offset.
        (
            "apache-kafka",
            &[("topic", "orders,returns"), ("lagThreshold", "100")],
            47.0,
            true,
        ),
        (
            "apache-kafka",
            &[
                ("topic", "orders,returns"),
                ("lagThreshold", "100"),
                ("offsetResetPolicy", "earliest"),
            ],
            44.0,
            true,
        ),
        // All topics of the group.
        ("kafka", &[("lagThreshold", "100")], 47.0, true),
    ];
    for (kind, metadata, value, active) in table {
        let trigger = Trigger::new(kind)
            .metadata([
                ("bootstrapServers", servers.as_str()),
                ("consumerGroup", "shop"),
            ])
            .metadata(metadata.iter().copied());
        let scaler = build(&trigger, &context).unwrap();
        let found = read(&*scaler).await.unwrap();
        assert_eq!(
            (found.value, found.active),
            (*value, *active),
            "{kind} {metadata:?}"
        );
    }
}

#[tokio::test]
async fn a_group_without_topics_is_asked_for_or_takes_all() {
    // A broker of its own, for all of its topics count.
    let kafka = Kafka::start().await.unwrap();
    kafka.create_topics(&["a", "b"], 2).await.unwrap();
    kafka.publish("a", 0, 5).await.unwrap();
    let servers = kafka.address(KafkaListener::Plain);
    let context = context();
    let scaler = |kind| {
        let trigger = Trigger::new(kind).metadata([
            ("bootstrapServers", servers.as_str()),
            ("consumerGroup", "new"),
            ("lagThreshold", "1000"),
            ("offsetResetPolicy", "earliest"),
        ]);
        build(&trigger, &context).unwrap()
    };
    // It has committed nothing: all topics of the cluster.
    let kafka_scaler = scaler("kafka");
    assert_eq!(kafka_scaler.metrics()[0].name, "s0-kafka-new-topics");
    assert_eq!(value(&*kafka_scaler).await, Ok(5.0));

    let apache = scaler("apache-kafka");
    let error = value(&*apache).await.unwrap_err();
    assert!(
        matches!(&error, ScalerError::NotFound(text) if text.ends_with("no active members in group new, group-state is Dead")),
        "{error}"
    );
    let member = kafka.join("new", "b").await.unwrap();
    // Kafka's own topic, which notes that there is a member, is one of all topics.
    let found = value(&*apache).await.unwrap();
    assert!(found > 5.0, "{found}");
    kafka.commit("other", "b", &[(0, 0)]).await.unwrap();
    drop(member);
    eventually("group without members", SOON, async || {
        Ok(value(&*apache).await.is_err().then_some(()))
    })
    .await
    .unwrap();

    // Once it has committed something, only that topic, and its other partition.
    kafka.commit("new", "a", &[(1, 0)]).await.unwrap();
    kafka.publish("b", 0, 50).await.unwrap();
    assert_eq!(value(&*kafka_scaler).await, Ok(5.0));
}

#[tokio::test]
async fn a_lag_that_does_not_move_counts_once() {
    let kafka = broker().await;
    kafka.create_topics(&["poison"], 1).await.unwrap();
    kafka.publish("poison", 0, 9).await.unwrap();
    kafka.commit("stuck", "poison", &[(0, 4)]).await.unwrap();
    let trigger = trigger(&kafka.address(KafkaListener::Plain), "stuck", "poison")
        .metadata([("excludePersistentLag", "true")]);
    let context = context();
    let (scaler, other) = (
        build(&trigger, &context).unwrap(),
        build(&trigger, &context).unwrap(),
    );
    assert_eq!(value(&*scaler).await, Ok(5.0));
    // The same answer again is no other reading; and it is another trigger's first.
    let shared = Freshness::within(SOON);
    for scaler in [&scaler, &other, &scaler] {
        assert_eq!(scaler.read(&shared).await.unwrap()[0].value, 5.0);
    }
    let stuck = eventually("lag that is left out", SOON, async || {
        let found = read(&*scaler).await?;
        Ok((found.value == 0.0).then_some(found.active))
    });
    assert!(stuck.await.unwrap(), "it counts for activation");
    kafka.commit("stuck", "poison", &[(0, 5)]).await.unwrap();
    assert_eq!(value(&*scaler).await, Ok(4.0));
}

#[tokio::test]
async fn a_thousand_partitions_take_less_than_a_second() {
    let kafka = broker().await;
    kafka.create_topics(&["wide"], 1000).await.unwrap();
    for partition in [0, 500, 999] {
        kafka.publish("wide", partition, 3).await.unwrap();
    }
    let offsets: Vec<(i32, i64)> = (0..1000).map(|partition| (partition, 0)).collect();
    kafka.commit("wide", "wide", &offsets).await.unwrap();
    let scaler = build(
        &trigger(&kafka.address(KafkaListener::Plain), "wide", "wide"),
        &context(),
    )
    .unwrap();
    assert_eq!(value(&*scaler).await, Ok(9.0));
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(value(&*scaler).await, Ok(9.0));
        times.push(began.elapsed());
    }
    println!("1,000 partitions: {times:?}");
    let quickest = times.iter().min().unwrap();
    assert!(*quickest < Duration::from_secs(1), "{times:?}");
}

#[tokio::test]
async fn five_hundred_triggers_are_a_handful_of_connections_and_threads() {
    // A broker of its own, for other tests' connections go to the shared one.
    let kafka = Kafka::start().await.unwrap();
    let names: Vec<String> = (0..500).map(|number| format!("topic-{number}")).collect();
    let topics: Vec<&str> = names.iter().map(String::as_str).collect();
    kafka.create_topics(&topics, 1).await.unwrap();
    kafka.publish("topic-7", 0, 2).await.unwrap();
    let servers = kafka.address(KafkaListener::Plain);
    let port = kafka.port(KafkaListener::Plain);
    let context = context();
    let scalers: Vec<_> = names
        .iter()
        .map(|name| {
            build(
                &trigger(&servers, &format!("group-of-{name}"), name),
                &context,
            )
            .unwrap()
        })
        .collect();
    let before = threads("rdk:");
    for round in 0..2 {
        let began = Instant::now();
        let found = join_all(scalers.iter().map(|scaler| value(&**scaler))).await;
        assert!(found.iter().all(|value| *value == Ok(1.0)), "{found:?}");
        println!("round {round}: 500 triggers in {:?}", began.elapsed());
    }
    let connections = connections_to(port);
    println!(
        "500 triggers: {connections} connections, {} threads",
        threads("rdk:").saturating_sub(before)
    );
    assert!((1..=4).contains(&connections), "{connections}");
    // Other tests' clients have threads, too; this one's are few.
    drop(scalers);
    eventually("end of the connections", SOON, async || {
        Ok((connections_to(port) == 0).then_some(()))
    })
    .await
    .unwrap();
}
