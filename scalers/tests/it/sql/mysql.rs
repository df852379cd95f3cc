//! `mysql`: the number that a query gives, and nothing else.

use anyhow::Result;
use sakidori_scalers::Freshness;
use sakidori_test_servers::Tls;

use super::{PASSWORD, context, mariadb, mysql_trigger, scaler, told, value};

#[tokio::test]
async fn every_type_that_is_a_number_is_read_as_keda_does() -> Result<()> {
    let server = mariadb(Tls::Off, &[]).await?;
    server
        .execute(
            "create table shop.types (f float, d double, n decimal(40, 5), b bit(8), y year, u bigint unsigned, z int(5) zerofill, e enum('5', 'A')); \
             insert into shop.types values (0.1, 0.1, 12345.678, 5, 2027, 18446744073709551615, 7, '5'); \
             create procedure shop.waiting() select count(*) from orders",
        )
        .await?;
    let context = context();
    for (query, expected) in [
        ("select count(*) from orders", Ok(7.0)),
        ("select -5", Ok(-5.0)),
        ("select f from types", Ok(0.1)),
        ("select d from types", Ok(0.1)),
        ("select n from types", Ok(12_345.678)),
        ("select y from types", Ok(2027.0)),
        ("select u from types", Ok(18_446_744_073_709_551_615.0)),
        ("select z from types", Ok(7.0)),
        ("select e from types", Ok(5.0)),
        ("select sum(id) / 2 from orders", Ok(14.0)),
        ("select true", Ok(1.0)),
        ("select '2.5'", Ok(2.5)),
        ("select cast('5' as binary(1))", Ok(5.0)),
        ("select 1e3", Ok(1000.0)),
        ("select id from orders order by id desc", Ok(7.0)),
        ("select count(*) from shop.orders -- of them;", Ok(7.0)),
        ("call waiting()", Ok(7.0)),
        ("select count(*) from orders where 'ä' = 'ä'", Ok(7.0)),
        ("select b from types", Err("a text that is no number")),
        ("select now()", Err("a text that is no number")),
        ("select 'five'", Err("a text that is no number")),
        ("select ''", Err("a text that is no number")),
        ("select null", Err("the query gives NULL")),
        ("select 1 / 0", Err("the query gives NULL")),
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
        ("set @a = 1", Err("the query returns no columns")),
        ("select * from mysql.user", Err("denied")),
    ] {
        let found = value(&*scaler(
            &context,
            &mysql_trigger(server.port(), query, &[]),
        ))
        .await;
        match expected {
            Ok(number) => assert_eq!(found, Ok(number), "{query}"),
            Err(part) => {
                let text = told(found);
                assert!(text.contains(part), "{query}: {text}");
            }
        }
    }
    let trigger = mysql_trigger(server.port(), "select count(*) from orders", &[]);
    let reading = scaler(&context, &trigger)
        .read(&Freshness::now())
        .await?
        .remove(0);
    assert_eq!(
        (reading.metric.as_str(), reading.active),
        ("s0-mysql-shop", true)
    );
    Ok(())
}

#[tokio::test]
async fn a_query_changes_nothing_for_anybody() -> Result<()> {
    let server = mariadb(Tls::Off, &[]).await?;
    let context = context();
    let ask = async |query: &str| {
        value(&*scaler(
            &context,
            &mysql_trigger(server.port(), query, &[]),
        ))
        .await
    };
    for (query, part) in [
        ("delete from orders", "READ ONLY transaction"),
        (
            "insert into orders values (8) returning id",
            "READ ONLY transaction",
        ),
        ("select 1; delete from orders", "error in your SQL syntax"),
        ("set session transaction read write", "no columns"),
        ("delete from orders", "READ ONLY transaction"),
        ("select load_file('/etc/hostname')", "NULL"),
        (
            "load data local infile '/etc/hostname' into table orders",
            "(error ",
        ),
    ] {
        let text = told(ask(query).await);
        assert!(text.contains(part), "{query}: {text}");
    }
    assert_eq!(
        server.execute("select count(*) from shop.orders").await?,
        "7"
    );
    assert_eq!(ask("select count(*) from orders").await, Ok(7.0));
    Ok(())
}

#[tokio::test]
async fn a_connection_string_means_what_it_says() -> Result<()> {
    let server = mariadb(Tls::Off, &[]).await?;
    server
        .execute(
            "install soname 'auth_ed25519'; create user modern identified via ed25519 using password('hunter2'); \
             create user old identified via mysql_old_password; \
             create user open; grant select on shop.* to modern, open, old",
        )
        .await?;
    let port = server.port();
    let context = context();
    let ask = async |connection: String, query: &str| {
        let others = [("connectionString", connection.as_str())];
        value(&*scaler(&context, &mysql_trigger(1, query, &others))).await
    };
    let count = "select count(*) from shop.orders";
    for login in [
        &format!("sales:{PASSWORD}"),
        &format!("modern:{PASSWORD}"),
        "open",
    ] {
        let connection = format!("{login}@tcp(127.0.0.1:{port})/");
        assert_eq!(ask(connection, count).await, Ok(7.0), "{login}");
    }
    let settings = "timeout=5s&parseTime=true&sql_mode=%27ANSI_QUOTES%27&group_concat_max_len=1024";
    let connection = format!("sales:{PASSWORD}@tcp(127.0.0.1:{port})/shop?{settings}");
    assert_eq!(
        ask(connection, r#"select count("id") from orders"#).await,
        Ok(7.0)
    );
    let connection = format!("sales:{PASSWORD}@tcp(127.0.0.1:{port})/shop?no_such_variable=1");
    let text = told(ask(connection, count).await);
    assert!(
        text.contains("Unknown system variable 'no_such_variable'"),
        "{text}"
    );
    let text = told(ask(format!("old@tcp(127.0.0.1:{port})/"), count).await);
    assert!(
        text.contains("unauthorized") || text.contains("malformed"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn each_tls_checks_what_it_says() -> Result<()> {
    let server = mariadb(Tls::Server, &["127.0.0.1"]).await?;
    let tls = server.tls().unwrap();
    server
        .execute("create user strict identified by 'hunter2' require x509; grant select on shop.* to strict")
        .await?;
    let port = server.port();
    let ask = async |user: &str, host: &str, tls: &str, others: super::Given<'_>| {
        let string = format!("{user}:{PASSWORD}@tcp({host}:{port})/shop?tls={tls}");
        let mut given = vec![("connectionString", string.as_str())];
        given.extend(others);
        let trigger = mysql_trigger(1, "select count(*) from orders", &given);
        value(&*scaler(&context(), &trigger)).await
    };
    let ca = [("ca", tls.ca())];
    let mine = [
        ("ca", tls.ca()),
        ("cert", tls.client.certificate.as_str()),
        ("key", tls.client.key.as_str()),
    ];
    for (user, host, mode, others) in [
        ("sales", "localhost", "skip-verify", &[][..]),
        ("sales", "localhost", "preferred", &[]),
        ("sales", "127.0.0.1", "true", &ca),
        (
            "sales",
            "127.0.0.1",
            "true&allowFallbackToPlaintext=true",
            &ca,
        ),
        (
            "sales",
            "127.0.0.1",
            "true&allowCleartextPasswords=true",
            &ca,
        ),
        ("strict", "127.0.0.1", "true", &mine),
    ] {
        assert_eq!(ask(user, host, mode, others).await, Ok(7.0), "{mode}");
    }
    let other = mariadb(Tls::Server, &["127.0.0.1"]).await?;
    let other = [("ca", other.tls().unwrap().ca())];
    for (user, host, mode, others, part) in [
        (
            "sales",
            "127.0.0.1",
            "false",
            &[][..],
            "unauthorized: 127.0.0.1",
        ),
        ("sales", "127.0.0.1", "true", &[], "certificate"),
        ("sales", "127.0.0.1", "true", &other, "certificate"),
        (
            "sales",
            "localhost",
            "true",
            &ca,
            "certificate not valid for name \"localhost\"",
        ),
        (
            "strict",
            "127.0.0.1",
            "true",
            &ca,
            "unauthorized: 127.0.0.1",
        ),
    ] {
        let text = told(ask(user, host, mode, others).await);
        assert!(text.contains(part), "{mode}: {text}");
    }
    Ok(())
}
