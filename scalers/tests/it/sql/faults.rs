//! What is said when there is no number: the same of both trigger types.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::Result;
use sakidori_scalers::{Scaler, ScalerError};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::ports::Port;
use sakidori_test_servers::Tls;

use super::{
    Given, PASSWORD, SOON, context, mariadb, mysql_trigger, postgresql, postgresql_trigger, scaler,
    told, value,
};
use crate::bystanders::canned;

/// What each of them is told, without the place that it begins with.
async fn expect(
    build: impl Fn(&str, Given<'_>) -> Box<dyn Scaler>,
    rows: &[(&str, Given<'_>, &str)],
) {
    for (query, others, expected) in rows {
        let text = told(value(&*build(query, others)).await);
        assert!(text.contains("127.0.0.1:"), "{text}");
        let place = text.split(": ").nth(1).unwrap_or_default();
        let text = text.replacen(&format!(": {place}"), "", 1);
        assert!(text.starts_with(expected), "{query}: {text}");
    }
}

#[tokio::test]
async fn postgresql_says_what_is_wrong() -> Result<()> {
    let server = postgresql(Tls::Off, &[]).await?;
    let context = context();
    let build = |query: &str, others: Given<'_>| {
        scaler(&context, &postgresql_trigger(server.port(), query, others))
    };
    expect(
        build,
        &[
            ("select 1", &[("password", "canary")], "unauthorized: password authentication failed for user \"sales\""),
            ("select 1", &[("userName", "nobody")], "unauthorized: password authentication failed for user \"nobody\""),
            ("select 1", &[("dbName", "absent")], "not found: database \"absent\" does not exist"),
            ("select count(*) from absent", &[], "not found: relation \"absent\" does not exist"),
            ("select absent from orders", &[], "not found: column \"absent\" does not exist"),
            ("select absent()", &[], "not found: function absent() does not exist"),
            ("select count(*) from others", &[], "unauthorized: permission denied for table others"),
            (
                "selec 1",
                &[],
                "malformed answer: syntax error at or near \"selec\" (SQLSTATE 42601) at character 1 of the query",
            ),
            ("select 1/0", &[], "malformed answer: division by zero"),
            ("select 'hunter2'::int", &[], "malformed answer: invalid input syntax for type integer: \"***\""),
            ("select 1", &[("sslmode", "require")], "unreachable: error performing TLS handshake: server does not support TLS"),
            ("select repeat('x', 2000000)", &[], "malformed answer: the answer is larger than 1 MiB"),
        ],
    )
    .await;
    // Many rows are no harm: the first counts.
    let many = build(
        "select repeat('7', 1 + id % 1) from orders, generate_series(1, 1000000)",
        &[],
    );
    assert_eq!(value(&*many).await, Ok(7.0));
    Ok(())
}

#[tokio::test]
async fn mysql_says_what_is_wrong() -> Result<()> {
    let server = mariadb(Tls::Off, &[]).await?;
    let context = context();
    let build = |query: &str, others: Given<'_>| {
        scaler(&context, &mysql_trigger(server.port(), query, others))
    };
    let encrypted = format!(
        "sales:{PASSWORD}@tcp(127.0.0.1:{})/shop?tls=true",
        server.port()
    );
    expect(
        build,
        &[
            (
                "select 1",
                &[("password", "canary")],
                "unauthorized: Access denied for user 'sales'",
            ),
            (
                "select 1",
                &[("username", "nobody")],
                "unauthorized: Access denied for user 'nobody'",
            ),
            (
                "select 1",
                &[("dbName", "others")],
                "unauthorized: Access denied for user 'sales'@'%' to database 'others'",
            ),
            (
                "select count(*) from absent",
                &[],
                "not found: Table 'shop.absent' doesn't exist",
            ),
            (
                "select absent from orders",
                &[],
                "not found: Unknown column 'absent'",
            ),
            (
                "select absent()",
                &[],
                "not found: FUNCTION shop.absent does not exist",
            ),
            (
                "select count(*) from others.t",
                &[],
                "unauthorized: SELECT command denied to user 'sales'",
            ),
            (
                "selec 1",
                &[],
                "malformed answer: You have an error in your SQL syntax",
            ),
            (
                "select 'hunter2' + from",
                &[],
                "malformed answer: You have an error in your SQL syntax",
            ),
            (
                "select 1",
                &[("connectionString", &encrypted)],
                "unreachable: the server doesn't offer TLS",
            ),
            (
                "select repeat('x', 2000000)",
                &[],
                "malformed answer: the answer is larger than 1 MiB",
            ),
        ],
    )
    .await;
    server.execute("grant select on *.* to sales").await?;
    expect(
        build,
        &[(
            "select 1",
            &[("dbName", "absent")],
            "not found: Unknown database 'absent'",
        )],
    )
    .await;
    let many = build("select 7 from seq_1_to_1000000", &[]);
    assert_eq!(value(&*many).await, Ok(7.0));
    Ok(())
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_somebody_else_is_unreachable() -> Result<()> {
    let server = postgresql(Tls::Server, &["127.0.0.1"]).await?;
    let ca = server.tls().unwrap().ca();
    let full = ("sslmode", "verify-full");
    for (others, part) in [
        (
            &[full, ("host", "localhost"), ("ca", ca)][..],
            "certificate not valid for name \"localhost\"",
        ),
        (&[full], "invalid peer certificate: UnknownIssuer"),
    ] {
        let trigger = postgresql_trigger(server.port(), "select 1", others);
        let text = told(value(&*scaler(&context(), &trigger)).await);
        assert!(
            text.starts_with("unreachable: ") && text.contains(part),
            "{text}"
        );
    }
    // MySQL's are in its own module, with all that `tls` may say.
    Ok(())
}

/// Reads that fail one after the other, and then one that doesn't, on the same scaler.
async fn comes_back(scaler: &dyn Scaler) {
    eventually("a number again", SOON, async || match value(scaler).await {
        Ok(number) => {
            assert_eq!(number, 7.0);
            Ok(Some(()))
        }
        Err(error) => Err(error.into()),
    })
    .await
    .unwrap();
}

/// A process of the server's that has a session may live on for a moment after the one that is killed.
async fn is_gone(scaler: &dyn Scaler) {
    eventually("a refused connection", SOON, async || {
        let text = value(scaler).await.err().map(|error| error.to_string());
        Ok(text
            .filter(|text| text.starts_with("unreachable: 127.0.0.1:") && text.contains("refused")))
    })
    .await
    .unwrap();
}

async fn is_unreachable(scaler: &dyn Scaler, part: &str) {
    let started = Instant::now();
    let text = told(value(scaler).await);
    assert!(text.starts_with("unreachable: 127.0.0.1:"), "{text}");
    assert!(text.contains(part), "{text}");
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

const COUNT: &str = "select count(*) from orders";

fn signal(signal: &str, process: &str) -> Result<()> {
    let sent = std::process::Command::new("kill")
        .args([signal, process])
        .status()?;
    anyhow::ensure!(sent.success(), "can't send {signal} to {process}");
    Ok(())
}

#[tokio::test]
async fn postgresql_that_hangs_or_is_gone_is_unreachable_until_it_is_back() -> Result<()> {
    let mut server = postgresql(Tls::Off, &[]).await?;
    let scaler = scaler(&context(), &postgresql_trigger(server.port(), COUNT, &[]));
    assert_eq!(value(&*scaler).await, Ok(7.0));
    server.kill();
    is_gone(&*scaler).await;
    server.restart().await?;
    comes_back(&*scaler).await;
    // A restart between two polls is no failure.
    server.restart().await?;
    assert_eq!(value(&*scaler).await, Ok(7.0));
    // The process of its session hangs, and then the one that takes new ones.
    let session = "select pid from pg_stat_activity where application_name = 'sakidori'";
    let session = server.execute(session).await?;
    signal("-STOP", &session)?;
    server.pause();
    is_unreachable(&*scaler, "no answer within 5s").await;
    is_unreachable(&*scaler, "no connection within 10s").await;
    server.resume();
    signal("-CONT", &session)?;
    comes_back(&*scaler).await;
    Ok(())
}

#[tokio::test]
async fn mysql_that_hangs_or_is_gone_is_unreachable_until_it_is_back() -> Result<()> {
    let mut server = mariadb(Tls::Off, &[]).await?;
    let scaler = scaler(&context(), &mysql_trigger(server.port(), COUNT, &[]));
    assert_eq!(value(&*scaler).await, Ok(7.0));
    server.kill();
    is_gone(&*scaler).await;
    server.restart().await?;
    comes_back(&*scaler).await;
    server.restart().await?;
    assert_eq!(value(&*scaler).await, Ok(7.0));
    server.pause();
    is_unreachable(&*scaler, "no ").await;
    is_unreachable(&*scaler, "no ").await;
    server.resume();
    comes_back(&*scaler).await;
    Ok(())
}

/// The port of a server that says this to each client as soon as it comes, and nothing more.
fn says(greeting: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    std::thread::spawn(move || {
        let mut clients = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(greeting);
            clients.push(stream);
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_server_of_the_kind_is_told_apart_from_none() -> Result<()> {
    let context = context();
    let nobody = Port::take()?;
    let plain = [("sslmode", "disable")];
    for (trigger, expected) in [
        (
            postgresql_trigger(nobody.number(), COUNT, &[]),
            "unreachable",
        ),
        (mysql_trigger(nobody.number(), COUNT, &[]), "unreachable"),
        (postgresql_trigger(canned(b""), COUNT, &[]), "unreachable"),
        (mysql_trigger(canned(b""), COUNT, &[]), "unreachable"),
        // The client takes it for the beginning of a message that is a gigabyte long.
        (
            postgresql_trigger(canned(b"HTTP/1.1 400 Bad Request\r\n\r\n"), COUNT, &plain),
            "unreachable",
        ),
        (
            postgresql_trigger(canned(b"Z\0\0\0\x05I"), COUNT, &plain),
            "malformed answer",
        ),
        (
            mysql_trigger(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), COUNT, &[]),
            "malformed answer",
        ),
        (
            mysql_trigger(says(b"\x05\0\0\0\x09hello"), COUNT, &[]),
            "malformed answer",
        ),
        (
            mysql_trigger(
                says(b"\x17\0\0\0\xff\x10\x04Too many connections"),
                COUNT,
                &[],
            ),
            "unreachable: 127.0.0.1:",
        ),
    ] {
        let text = told(value(&*scaler(&context, &trigger)).await);
        assert!(text.starts_with(expected), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_ended_by_the_server() -> Result<()> {
    let postgresql = postgresql(Tls::Off, &[]).await?;
    let mariadb = mariadb(Tls::Off, &[]).await?;
    let context = context();
    let slow = [
        scaler(
            &context,
            &postgresql_trigger(postgresql.port(), "select 1 from pg_sleep(60)", &[]),
        ),
        scaler(
            &context,
            &mysql_trigger(mariadb.port(), "select sleep(60) from orders", &[]),
        ),
    ];
    let started = Instant::now();
    let outcomes = futures::future::join_all(slow.iter().map(|scaler| value(&**scaler))).await;
    assert!(
        started.elapsed() < Duration::from_secs(25),
        "{:?}",
        started.elapsed()
    );
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(ScalerError::Unreachable(_))),
            "{outcome:?}"
        );
    }
    // The server doesn't go on with it, and the session is sound.
    let left = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid() and state = 'active'";
    assert_eq!(postgresql.execute(left).await?, "0");
    let left = "select count(*) from information_schema.processlist where info like '%sleep(60)%' and id <> connection_id()";
    assert_eq!(mariadb.execute(left).await?, "0");
    Ok(())
}
