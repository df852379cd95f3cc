//! Queries of a real PostgreSQL server: what they read, what can't go wrong by them, and what is said when they fail.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use sakidori_scalers::clients::Clients;
use sakidori_scalers::{Rows, ScalerError, Table, TableLimits};
use sakidori_test_servers::{PostgreSql, Tls};

const PASSWORD: &str = "hunter2";

/// Past any pause of a busy machine; what is to fail by it has limits of its own.
const LIMITS: TableLimits = TableLimits {
    bytes: 1024 * 1024,
    rows: 1000,
    within: Duration::from_secs(30),
};

/// A server with the user `sales`, who may read the table of that name.
async fn start(tls: Tls, hosts: &[&str]) -> Result<PostgreSql> {
    let server = PostgreSql::start_for(tls, hosts).await?;
    server.create_user("sales", PASSWORD).await?;
    server
        .execute(
            "create table sales (name text, starts_at timestamptz); grant all on sales to sales; \
             insert into sales values ('drop', '2027-01-02 20:00+09')",
        )
        .await?;
    Ok(server)
}

/// With KEDA's parameters, and others instead of some of them.
fn table(server: &PostgreSql, query: &str, others: &[(&str, &str)]) -> Table {
    let port = server.port().to_string();
    let mut parameters = vec![
        ("host", "127.0.0.1"),
        ("port", port.as_str()),
        ("userName", "sales"),
        ("password", PASSWORD),
        ("dbName", "postgres"),
        ("sslmode", "prefer"),
    ];
    parameters.extend(others);
    let parameters = parameters
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    Table::new(query, parameters.collect(), &Arc::new(Clients::default())).unwrap()
}

async fn read(server: &PostgreSql, query: &str) -> Result<Rows, ScalerError> {
    table(server, query, &[]).read(&LIMITS).await
}

/// The error's text, without the password.
fn told(outcome: Result<Rows, ScalerError>) -> String {
    let text = outcome.unwrap_err().to_string();
    assert!(!text.contains(PASSWORD), "{text}");
    text
}

#[tokio::test]
async fn every_type_is_read_as_a_text_that_means_the_same_everywhere() -> Result<()> {
    let server = start(Tls::Off, &[]).await?;
    // What a database is set to must not matter.
    server
        .execute(
            "alter role sales set timezone = 'America/New_York'; alter role sales set datestyle = 'SQL, DMY'; \
             alter role sales set intervalstyle = 'postgres'; create type tier as enum ('S', 'A')",
        )
        .await?;
    let rows = read(
        &server,
        "select timestamptz '2027-01-02 20:00:00+09' as instant, timestamp '2027-01-02 20:00' as wall, date '2027-01-02' as day, \
         interval '3 days 2 hours' as long, numeric '3.50' as factor, 2::float8 as twice, 'S'::tier as tier, \
         jsonb '{\"tier\": \"S\"}' as labels, null as nothing, 'äöü'::varchar(3) as text",
    )
    .await?;
    let names = "instant wall day long factor twice tier labels nothing text";
    assert_eq!(rows.columns.join(" "), names);
    let row: Vec<_> = rows.rows[0].iter().map(Option::as_deref).collect();
    assert_eq!(
        row,
        [
            Some("2027-01-02 11:00:00+00"),
            Some("2027-01-02 20:00:00"),
            Some("2027-01-02"),
            Some("P3DT2H"),
            Some("3.50"),
            Some("2"),
            Some("S"),
            Some("{\"tier\": \"S\"}"),
            None,
            Some("äöü"),
        ]
    );
    let none = read(&server, "select name from sales where false;").await?;
    assert_eq!(
        (none.columns, none.rows.len()),
        (vec!["name".to_owned()], 0)
    );
    Ok(())
}

#[tokio::test]
async fn a_query_can_change_nothing() -> Result<()> {
    let server = start(Tls::Off, &[]).await?;
    for (query, part) in [
        (
            "delete from sales returning name",
            "cannot execute DELETE in a read-only transaction",
        ),
        (
            "with gone as (delete from sales returning name) select * from gone",
            "read-only transaction",
        ),
        (
            "delete from sales",
            "the query returns no columns: expected a select",
        ),
        ("commit", "the query returns no columns"),
        (
            "select 1; commit; delete from sales",
            "cannot insert multiple commands",
        ),
        (
            "select set_config('transaction_read_only', 'off', true)",
            "must be set before any query",
        ),
    ] {
        let text = told(read(&server, query).await);
        assert!(text.contains(part), "{query}: {text}");
    }
    assert_eq!(server.execute("select count(*) from sales").await?, "1");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_told_by_the_server_and_never_with_the_password() -> Result<()> {
    let server = start(Tls::Off, &[]).await?;
    let place = format!("127.0.0.1:{}: ", server.port());
    for (query, others, part) in [
        (
            "select 1",
            [("password", "canary")],
            r#"unauthorized: password authentication failed for user "sales" (SQLSTATE 28P01)"#,
        ),
        (
            "select 1",
            [("userName", "nobody")],
            r#"unauthorized: password authentication failed for user "nobody""#,
        ),
        (
            "select 1",
            [("dbName", "shop")],
            r#"not found: database "shop" does not exist (SQLSTATE 3D000)"#,
        ),
        (
            "select title from sales",
            [("sslmode", "disable")],
            r#"not found: column "title" does not exist (SQLSTATE 42703)"#,
        ),
        (
            "select name from sale",
            [("sslmode", "disable")],
            r#"not found: relation "sale" does not exist"#,
        ),
        (
            "selec 1",
            [("sslmode", "disable")],
            r#"malformed answer: syntax error at or near "selec""#,
        ),
        (
            "select * from pg_authid",
            [("sslmode", "disable")],
            "unauthorized: permission denied for table pg_authid",
        ),
        (
            "select 1/0",
            [("sslmode", "disable")],
            "malformed answer: division by zero",
        ),
        (
            "select 1",
            [("sslmode", "require")],
            "unreachable: error performing TLS handshake: server does not support TLS",
        ),
        // What the server itself makes of the password.
        (
            "select 'hunter2'::int",
            [("sslmode", "disable")],
            r#"malformed answer: invalid input syntax for type integer: "***""#,
        ),
    ] {
        let outcome = table(&server, query, &others).read(&LIMITS).await;
        let text = told(outcome).replacen(&place, "", 1);
        assert!(text.starts_with(part), "{query}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn past_a_limit_reading_fails_with_its_name() -> Result<()> {
    let server = start(Tls::Off, &[]).await?;
    let with = |limits: TableLimits, query: &'static str| {
        let asked = table(&server, query, &[]);
        async move { told(asked.read(&limits).await) }
    };
    let text = with(LIMITS, "select name from sales, generate_series(1, 1001)").await;
    assert!(text.contains("more than the limit of 1000 rows"), "{text}");
    // One message of 100 MB.
    let before = resident();
    for query in [
        "select repeat('x', 100000000)",
        "select repeat('x', 1000000) from generate_series(1, 100)",
    ] {
        let text = with(LIMITS, query).await;
        assert!(text.contains("the answer is larger than 1 MiB"), "{text}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 50_000, "{grown} KiB more");
    let short = TableLimits {
        within: Duration::from_secs(2),
        ..LIMITS
    };
    let text = with(short, "select pg_sleep(60)").await;
    let known = [
        "no complete answer within 2 s",
        "canceling statement due to statement timeout",
    ];
    assert!(known.iter().any(|part| text.contains(part)), "{text}");
    Ok(())
}

/// This process's memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.unwrap().trim_end_matches("kB").trim();
    line.parse().unwrap()
}

#[tokio::test]
async fn a_server_that_hangs_or_is_gone_is_unreachable_until_it_is_back() -> Result<()> {
    let mut server = start(Tls::Off, &[]).await?;
    let asked = table(&server, "select name from sales", &[]);
    server.pause();
    let short = TableLimits {
        within: Duration::from_secs(1),
        ..LIMITS
    };
    let text = told(asked.read(&short).await);
    assert_eq!(
        text,
        "unreachable: 127.0.0.1: no complete answer within 1 s"
    );
    server.resume();
    assert_eq!(asked.read(&LIMITS).await?.rows.len(), 1);
    server.kill();
    let text = told(asked.read(&LIMITS).await);
    assert!(text.contains("Connection refused"), "{text}");
    server.restart().await?;
    assert_eq!(asked.read(&LIMITS).await?.rows.len(), 1);
    // The next of several hosts is asked where one is down.
    let connection = format!(
        "host=127.0.0.1,127.0.0.1 port=1,{} user=sales password={PASSWORD} dbname=postgres",
        server.port()
    );
    let asked = table(
        &server,
        "select name from sales",
        &[("connection", &connection)],
    );
    assert_eq!(asked.read(&LIMITS).await?.rows.len(), 1);
    Ok(())
}

#[tokio::test]
async fn connections_are_closed_behind_each_query() -> Result<()> {
    let server = start(Tls::Off, &[]).await?;
    for _ in 0..5 {
        read(&server, "select name from sales").await?;
        let _ = read(&server, "select nothing").await;
    }
    let left = "select count(*) from pg_stat_activity where application_name = 'sakidori'";
    sakidori_test_cluster::eventually("no connection", LIMITS.within, async || {
        Ok((server.execute(left).await? == "0").then_some(()))
    })
    .await
}

#[tokio::test]
async fn each_sslmode_checks_what_it_says() -> Result<()> {
    let server = start(Tls::Server, &["127.0.0.1"]).await?;
    let ca = server.tls().unwrap().ca();
    let ask = async |mode: &str, host: &str, ca: Option<&str>| {
        let mut others = vec![("sslmode", mode), ("host", host)];
        others.extend(ca.map(|ca| ("ca", ca)));
        let asked = table(&server, "select name from sales", &others);
        asked.read(&LIMITS).await.map(|rows| rows.rows.len())
    };
    for (mode, host, ca) in [
        ("prefer", "localhost", None),
        ("require", "localhost", None),
        ("require", "localhost", Some(ca)),
        ("verify-ca", "localhost", Some(ca)),
        ("verify-full", "127.0.0.1", Some(ca)),
    ] {
        assert_eq!(ask(mode, host, ca).await?, 1, "{mode}");
    }
    let other = PostgreSql::start_with(Tls::Server).await?;
    let other = other.tls().unwrap().ca();
    for (mode, host, ca, part) in [
        ("disable", "127.0.0.1", None, "no encryption"),
        (
            "verify-ca",
            "127.0.0.1",
            None,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "verify-ca",
            "127.0.0.1",
            Some(other),
            "invalid peer certificate",
        ),
        (
            "require",
            "127.0.0.1",
            Some(other),
            "invalid peer certificate",
        ),
        (
            "verify-full",
            "127.0.0.1",
            None,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "verify-full",
            "localhost",
            Some(ca),
            "certificate not valid for name \"localhost\"",
        ),
    ] {
        let error = ask(mode, host, ca).await.unwrap_err().to_string();
        assert!(error.contains(part), "{mode}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() -> Result<()> {
    let server = start(Tls::Mutual, &["127.0.0.1"]).await?;
    let tls = server.tls().unwrap();
    let mut others = vec![("sslmode", "verify-full"), ("ca", tls.ca())];
    let text = told(table(&server, "select 1", &others).read(&LIMITS).await);
    assert!(text.contains("client certificate"), "{text}");
    others.extend([
        ("cert", tls.client.certificate.as_str()),
        ("key", &tls.client.key),
    ]);
    table(&server, "select 1", &others).read(&LIMITS).await?;
    Ok(())
}
