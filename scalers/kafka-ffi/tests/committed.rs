//! Committed offsets against librdkafka's own mock cluster, which can be told to misbehave.

// clippy.toml's permission ends at functions without #[test]; these are part of tests, too.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sakidori_kafka_ffi::{Committed, Failure, committed, set_token};

const SOON: Duration = Duration::from_secs(20);

/// The year 2100, in milliseconds.
const LATER: i64 = 4_102_444_800_000;

fn consumer(servers: &str, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .create()
        .unwrap()
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 3, 1).unwrap();
    cluster
}

fn partitions(count: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_range("orders", 0, count - 1);
    list
}

#[test]
fn one_client_reads_the_offsets_of_all_groups() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    for (group, offset) in [("a", 5), ("b", 7)] {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("orders", 1, Offset::Offset(offset))
            .unwrap();
        let worker = consumer(&servers, group);
        worker.commit(&list, CommitMode::Sync).unwrap();
    }
    let reader = consumer(&servers, "a");
    let found = |partition, offset| Committed {
        topic: "orders".to_owned(),
        partition,
        offset: Ok(offset),
    };
    for (group, offset) in [("a", Some(5)), ("b", Some(7)), ("nobody", None)] {
        let mut answer = committed(&reader, group, Some(&partitions(3)), SOON).unwrap();
        answer.sort_by_key(|found| found.partition);
        assert_eq!(
            answer,
            [found(0, None), found(1, offset), found(2, None)],
            "{group}"
        );
    }
}

#[test]
fn a_coordinator_that_is_none_any_more_is_an_error_and_no_crash() {
    let cluster = cluster();
    let reader = consumer(&cluster.bootstrap_servers(), "a");
    let not_me = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[not_me]);
    let answer = committed(&reader, "b", Some(&partitions(3)), SOON);
    assert!(
        matches!(
            &answer,
            Err(Failure::Refused { code: RDKafkaErrorCode::NotCoordinator, text }) if text.contains("Not coordinator")
        ),
        "{answer:?}"
    );
    assert!(committed(&reader, "b", Some(&partitions(3)), SOON).is_ok());
}

#[test]
fn what_was_left_behind_without_an_answer_harms_nobody_when_the_broker_comes_back() {
    let cluster = cluster();
    let reader = consumer(&cluster.bootstrap_servers(), "a");
    assert!(committed(&reader, "b", Some(&partitions(3)), SOON).is_ok());
    cluster.broker_down(1).unwrap();
    let asked = Instant::now();
    for _ in 0..5 {
        let answer = committed(
            &reader,
            "c",
            Some(&partitions(3)),
            Duration::from_millis(100),
        );
        assert_eq!(answer, Err(Failure::NoAnswer));
    }
    assert!(asked.elapsed() < Duration::from_secs(5));
    cluster.broker_up(1).unwrap();
    // Those that were left behind are answered now, to nobody.
    assert!(committed(&reader, "d", Some(&partitions(3)), SOON).is_ok());
}

#[test]
fn what_librdkafka_would_not_survive_is_refused() {
    let lonely: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", "127.0.0.1:1")
        .create()
        .unwrap();
    let answer = committed(&lonely, "a", None, SOON);
    assert_eq!(answer, Err(Failure::Invalid("the client has no group.id")));
    let answer = committed(&consumer("127.0.0.1:1", "a"), "a\0b", None, SOON);
    assert!(matches!(answer, Err(Failure::Invalid(_))), "{answer:?}");
}

#[test]
fn a_token_is_taken_by_a_client_that_logs_in_with_one() {
    let plain = consumer("127.0.0.1:1", "a");
    let extensions = [("logicalCluster".to_owned(), "lkc-1".to_owned())];
    let refused = set_token(plain.client(), "t", "app", LATER, &extensions);
    assert!(
        matches!(refused, Err(Failure::Refused { .. })),
        "{refused:?}"
    );
    let bearer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", "127.0.0.1:1")
        .set("group.id", "a")
        .set("security.protocol", "sasl_plaintext")
        .set("sasl.mechanisms", "OAUTHBEARER")
        .create()
        .unwrap();
    set_token(bearer.client(), "t", "app", LATER, &extensions).unwrap();
    let bad = [("no=name".to_owned(), String::new())];
    let refused = set_token(bearer.client(), "hunter2", "app", LATER, &bad).unwrap_err();
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}
