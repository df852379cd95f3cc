//! Whatever speaks a protocol of its own over TCP.

use std::time::{Duration, Instant};

use futures::future::join_all;
use sakidori_scalers::Trigger;

use super::servers::{endless, endless_at_once, trickling};
use super::{alone, context, peak, run, value};

/// Longer than any of them waits: 22 s for a query, and 5 s for a sign of life before it.
const BOUNDED: Duration = Duration::from_secs(30);

struct Row {
    trigger: Trigger,
    /// How the error begins.
    kind: &'static str,
    /// What says which limit it was.
    told: &'static str,
}

fn row(kind: &'static str, told: &'static str, trigger: Trigger) -> Row {
    Row {
        trigger,
        kind,
        told,
    }
}

#[cfg(feature = "redis")]
fn redis(port: u16) -> Trigger {
    Trigger::new("redis").metadata([
        ("listName", "orders"),
        ("address", &format!("127.0.0.1:{port}")),
    ])
}

#[cfg(feature = "redis")]
fn rows_of_redis() -> Vec<Row> {
    let larger = "the answer is larger than 1 MiB";
    vec![
        row(
            "malformed",
            larger,
            redis(endless(b"$1073741824\r\n", b"x")),
        ),
        row(
            "malformed",
            larger,
            redis(endless(b"*1000000000\r\n", b":1\r\n")),
        ),
        row(
            "malformed",
            larger,
            redis(endless(b"%1000000000\r\n", b"_\r\n")),
        ),
        row("malformed", larger, redis(endless(b"+", b"x"))),
        row("malformed", larger, redis(endless(b"-ERR ", b"x"))),
        // Deeper than any list is.
        row(
            "malformed",
            "not in Redis' protocol",
            redis(endless(b"", b"*1\r\n")),
        ),
        row("malformed", larger, redis(endless(b":", b"9"))),
        row("unreachable", "no answer within 5s", redis(trickling(b"+"))),
    ]
}

#[cfg(feature = "mysql")]
fn mysql(port: u16) -> Trigger {
    Trigger::new("mysql").metadata([
        ("host", "127.0.0.1"),
        ("port", port.to_string().as_str()),
        ("username", "u"),
        ("dbName", "d"),
        ("query", "select 1"),
        ("queryValue", "1"),
    ])
}

#[cfg(feature = "mysql")]
fn rows_of_mysql() -> Vec<Row> {
    vec![
        // A packet of 16 MiB, and of many more.
        row(
            "malformed",
            "the answer is larger than 1 MiB",
            mysql(endless_at_once(b"\xff\xff\xff\x00", b"x")),
        ),
        row(
            "malformed",
            "",
            mysql(endless_at_once(
                b"\x05\x00\x00\x00\x0a8.0\x00",
                b"\x00\x00\x00\x01",
            )),
        ),
        row(
            "unreachable",
            "no connection within 10s",
            mysql(trickling(b"\xff\xff\xff\x00")),
        ),
    ]
}

#[cfg(feature = "postgresql")]
fn postgresql(port: u16) -> Trigger {
    Trigger::new("postgresql").metadata([
        ("host", "127.0.0.1"),
        ("port", port.to_string().as_str()),
        ("userName", "u"),
        ("dbName", "d"),
        ("sslmode", "disable"),
        ("query", "select 1"),
        ("targetQueryValue", "1"),
    ])
}

#[cfg(feature = "postgresql")]
fn rows_of_postgresql() -> Vec<Row> {
    vec![
        // A message of two gigabytes.
        row(
            "malformed",
            "the answer is larger than 1 MiB",
            postgresql(endless(b"R\x7f\xff\xff\xff", b"x")),
        ),
        // A gigabyte, as an answer to a query of a session that is open.
        row(
            "malformed",
            "the answer is larger than 1 MiB",
            postgresql(endless(
                b"R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05ID\x40\x00\x00\x00",
                b"x",
            )),
        ),
        // Notices and settings without end.
        row(
            "malformed",
            "the answer is larger than 1 MiB",
            postgresql(endless(
                b"R\x00\x00\x00\x08\x00\x00\x00\x00",
                b"S\x00\x00\x00\x08a\x00b\x00",
            )),
        ),
        row(
            "unreachable",
            "no connection within 10s",
            postgresql(trickling(b"R")),
        ),
    ]
}

#[cfg(feature = "rabbitmq")]
fn amqp(port: u16) -> Trigger {
    Trigger::new("rabbitmq")
        .metadata([
            ("queueName", "orders"),
            ("mode", "QueueLength"),
            ("value", "5"),
        ])
        .authentication([("host", format!("amqp://u:p@127.0.0.1:{port}").as_str())])
}

#[cfg(feature = "rabbitmq")]
fn rows_of_amqp() -> Vec<Row> {
    vec![
        // A frame of two gigabytes.
        row("", "", amqp(endless(b"\x01\x00\x00\x7f\xff\xff\xff", b"x"))),
        row("", "", amqp(endless(b"", b"x"))),
        row(
            "unreachable",
            "no connection within 10s",
            amqp(trickling(b"\x01")),
        ),
        // Signs of life, and nothing else.
        row(
            "",
            "",
            amqp(endless(b"", b"\x08\x00\x00\x00\x00\x00\x00\xce")),
        ),
    ]
}

fn grpc(kind: &str, port: u16) -> Trigger {
    let address = format!("127.0.0.1:{port}");
    match kind {
        "etcd" => Trigger::new(kind).metadata([
            ("endpoints", address.as_str()),
            ("watchKey", "orders"),
            ("value", "5"),
        ]),
        _ => Trigger::new(kind).metadata([("scalerAddress", address.as_str())]),
    }
}

/// Below gRPC: HTTP/2 that never comes to an answer. What gRPC itself may carry is in the tests of `external`.
fn rows_of_grpc() -> Vec<Row> {
    /// An empty `SETTINGS`, which each connection begins with.
    const SETTINGS: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    /// `CONTINUATION` of the first stream with a byte.
    const CONTINUATION: &[u8] = b"\x00\x00\x01\x09\x00\x00\x00\x00\x01\x00";
    /// `HEADERS` that go on, and then the same.
    const HEADERS: &[u8] =
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88";
    let mut kinds = vec!["external"];
    if cfg!(feature = "etcd") {
        kinds.push("etcd");
    }
    let of = |kind: &str| {
        [
            row("unreachable", "", grpc(kind, endless(SETTINGS, SETTINGS))),
            row(
                "unreachable",
                "",
                grpc(kind, endless(HEADERS, CONTINUATION)),
            ),
            row("unreachable", "", grpc(kind, endless(b"", b"x"))),
            row("unreachable", "", grpc(kind, trickling(SETTINGS))),
        ]
    };
    kinds.into_iter().flat_map(of).collect()
}

#[cfg(feature = "kafka")]
fn kafka(port: u16) -> Trigger {
    Trigger::new("kafka").metadata([
        ("bootstrapServers", format!("127.0.0.1:{port}").as_str()),
        ("consumerGroup", "g"),
        ("topic", "orders"),
        ("lagThreshold", "5"),
    ])
}

#[cfg(feature = "kafka")]
fn rows_of_kafka() -> Vec<Row> {
    vec![
        row("unreachable", "", kafka(endless(b"\x7f\xff\xff\xff", b"x"))),
        // As much as is taken.
        row("unreachable", "", kafka(endless(b"\x01\xff\xff\xff", b"x"))),
        row("unreachable", "", kafka(trickling(b"\x00\x10\x00\x00"))),
    ]
}

#[test]
fn each_is_told_in_bounded_time_and_memory() {
    if !alone("hostile::wires::each_is_told_in_bounded_time_and_memory") {
        return;
    }
    run(async {
        let mut rows = rows_of_grpc();
        #[cfg(feature = "redis")]
        rows.extend(rows_of_redis());
        #[cfg(feature = "mysql")]
        rows.extend(rows_of_mysql());
        #[cfg(feature = "postgresql")]
        rows.extend(rows_of_postgresql());
        #[cfg(feature = "rabbitmq")]
        rows.extend(rows_of_amqp());
        #[cfg(feature = "kafka")]
        rows.extend(rows_of_kafka());
        let context = context(Duration::from_secs(3));
        let asked = Instant::now();
        let mut wrong = Vec::new();
        let answers = rows.iter().map(async |row| {
            let answer = value(&context, &row.trigger).await;
            (answer.unwrap_err().to_string(), asked.elapsed())
        });
        for (row, (error, took)) in rows.iter().zip(join_all(answers).await) {
            let kind = &row.trigger.kind;
            println!("{kind}: {took:?}: {error}");
            let is_told = error.starts_with(row.kind) && error.contains(row.told);
            // A condition has to have room for it.
            if !is_told || took > BOUNDED || error.len() > 2000 {
                wrong.push(format!("{kind}: {:?}, {:?} in {error}", row.kind, row.told));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        println!("{} MiB", peak());
        assert!(peak() < 300, "{} MiB", peak());
    });
}
