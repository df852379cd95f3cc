//! `postgresql`: the number that a query gives, and nothing else.

use anyhow::Result;
use sakidori_scalers::Freshness;
use sakidori_test_servers::Tls;

use super::{PASSWORD, context, postgresql, postgresql_trigger, scaler, told, value};

#[tokio::test]
async fn every_type_that_is_a_number_is_read_as_keda_does() -> Result<()> {
    let server = postgresql(Tls::Off, &[]).await?;
    server
        .execute("create type tier as enum ('5', 'A'); create domain amount as numeric(10, 2)")
        .await?;
    let context = context();
    for (query, expected) in [
        ("select count(*) from orders", Ok(7.0)),
        ("select 5::int2", Ok(5.0)),
        ("select -5::int4", Ok(-5.0)),
        ("select 9007199254740993::int8", Ok(9_007_199_254_740_992.0)),
        ("select 0.1::float4", Ok(0.100_000_001_490_116_12)),
        ("select 0.1::float8", Ok(0.1)),
        ("select 12345.678::numeric", Ok(12_345.678)),
        ("select 1e-20::numeric", Ok(1e-20)),
        ("select 99999999999999999999.5::numeric", Ok(1e20)),
        ("select sum(id) / 2.0 from orders", Ok(14.0)),
        ("select 3.5::amount", Ok(3.5)),
        ("select '2.5'", Ok(2.5)),
        ("select '2.5'::text", Ok(2.5)),
        ("select '2.5'::varchar(3)", Ok(2.5)),
        ("select '5'::tier", Ok(5.0)),
        ("select '5'::json", Ok(5.0)),
        ("select '5'::jsonb", Ok(5.0)),
        ("select '5'::bytea", Ok(5.0)),
        ("select 5::oid", Ok(5.0)),
        ("select id from orders order by id desc", Ok(7.0)),
        ("values (5), (6)", Ok(5.0)),
        ("table orders", Ok(1.0)),
        ("select 5 -- of them;", Ok(5.0)),
        ("select 5;", Ok(5.0)),
        ("show statement_timeout", Err("a text that is no number")),
        ("select true", Err("a bool, which is no number: cast it")),
        ("select now()", Err("a timestamptz, which is no number")),
        ("select '5 '::char(3)", Err("a text that is no number")),
        ("select 'A'::tier", Err("a text that is no number")),
        ("select ''", Err("a text that is no number")),
        ("select 'NaN'::float8", Err("the query gives NaN")),
        ("select 'infinity'::float8", Err("the query gives inf")),
        ("select 'NaN'::numeric", Err("a numeric that is no number")),
        ("select null", Err("the query gives NULL")),
        (
            "select sum(id) from orders where false",
            Err("the query gives NULL"),
        ),
        (
            "select id from orders where false",
            Err("the query returns no row"),
        ),
        (
            "select 1, 2",
            Err("the query returns 2 columns: expected one"),
        ),
        ("commit", Err("the query returns no columns")),
        ("select $1::int", Err("the query has parameters")),
        // An error behind the first row.
        ("select 7 / (3 - id) from orders", Err("division by zero")),
    ] {
        let found = value(&*scaler(
            &context,
            &postgresql_trigger(server.port(), query, &[]),
        ))
        .await;
        match expected {
            Ok(number) => assert_eq!(found, Ok(number), "{query}"),
            Err(part) => {
                let text = told(found);
                assert!(text.starts_with("malformed answer: 127.0.0.1:"), "{text}");
                assert!(text.contains(part), "{query}: {text}");
            }
        }
    }
    let trigger = postgresql_trigger(server.port(), "select count(*) from orders", &[]);
    let reading = scaler(&context, &trigger)
        .read(&Freshness::now())
        .await?
        .remove(0);
    assert_eq!(
        (reading.metric.as_str(), reading.active),
        ("s0-postgresql", true)
    );
    Ok(())
}

#[tokio::test]
async fn a_query_changes_nothing_for_anybody() -> Result<()> {
    let server = postgresql(Tls::Off, &[]).await?;
    let context = context();
    let ask = async |query: &str| {
        value(&*scaler(
            &context,
            &postgresql_trigger(server.port(), query, &[]),
        ))
        .await
    };
    for (query, part) in [
        ("delete from orders returning id", "read-only transaction"),
        (
            "with gone as (delete from orders returning id) select count(*) from gone",
            "read-only transaction",
        ),
        ("select 1; commit; delete from orders", "multiple commands"),
        (
            "select set_config('transaction_read_only', 'off', true)",
            "must be set before any query",
        ),
    ] {
        let text = told(ask(query).await);
        assert!(text.contains(part), "{query}: {text}");
    }
    assert_eq!(server.execute("select count(*) from orders").await?, "7");
    // What a query sets for its session is gone with it.
    let set = "select set_config('search_path', '5', false)";
    assert_eq!(ask(set).await, Ok(5.0));
    assert_eq!(ask("select count(*) from orders").await, Ok(7.0));
    Ok(())
}

#[tokio::test]
async fn a_connection_string_means_what_it_says() -> Result<()> {
    let server = postgresql(Tls::Off, &[]).await?;
    server
        .execute("create schema shop; grant usage on schema shop to sales; create table shop.orders (id int); grant select on shop.orders to sales")
        .await?;
    let port = server.port();
    let context = context();
    for (connection, expected) in [
        (
            format!("postgresql://sales:{PASSWORD}@127.0.0.1:{port}/postgres"),
            7.0,
        ),
        (
            format!(
                "host=127.0.0.1 port={port} user=sales password={PASSWORD} dbname=postgres search_path=shop"
            ),
            0.0,
        ),
        (
            format!(
                "host=127.0.0.1,127.0.0.1 port=1,{port} user=sales password={PASSWORD} dbname=postgres"
            ),
            7.0,
        ),
    ] {
        let others = [("connection", connection.as_str())];
        let trigger = postgresql_trigger(1, "select count(*) from orders", &others);
        assert_eq!(value(&*scaler(&context, &trigger)).await, Ok(expected));
    }
    Ok(())
}

/// The one server that there is is written to.
#[tokio::test]
async fn a_server_of_another_role_is_not_asked() -> Result<()> {
    let server = postgresql(Tls::Off, &[]).await?;
    let port = server.port();
    let context = context();
    let asked = |role: &str| {
        let connection = format!(
            "postgres://sales:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable&target_session_attrs={role}"
        );
        let trigger = postgresql_trigger(port, "select 5", &[("connection", &connection)]);
        scaler(&context, &trigger)
    };
    assert_eq!(value(&*asked("read-write")).await, Ok(5.0));
    let told = told(value(&*asked("standby")).await);
    assert!(
        told.starts_with("unreachable") && told.contains("target_session_attrs"),
        "{told}"
    );
    Ok(())
}
