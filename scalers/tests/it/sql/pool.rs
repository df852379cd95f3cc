//! What many triggers cost a server, and what failing ones leave behind.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::join_all;
use sakidori_scalers::{Scaler, Trigger};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::ports::Port;
use sakidori_test_servers::Tls;

use super::{SOON, context, mariadb, mysql_trigger, postgresql, postgresql_trigger, scaler, value};
use crate::bystanders::{connections_to, failing_polls, tasks};

/// At most so many connections to one server.
const HANDFUL: usize = 4;

/// 500 triggers with 100 queries, all at once: the numbers 0 to 99 are asked for.
async fn five_hundred(trigger: impl Fn(&str) -> Trigger) -> Vec<Box<dyn Scaler>> {
    let context = context();
    let scalers: Vec<_> = (0..500)
        .map(|at| scaler(&context, &trigger(&format!("select {}", at % 100))))
        .collect();
    for _ in 0..2 {
        let values = join_all(scalers.iter().map(|scaler| value(&**scaler))).await;
        for (at, value) in values.into_iter().enumerate() {
            assert_eq!(value, Ok((at % 100) as f64));
        }
    }
    scalers
}

#[tokio::test]
async fn five_hundred_triggers_are_a_handful_of_connections() -> Result<()> {
    let (postgresql, mariadb) = (
        postgresql(Tls::Off, &[]).await?,
        mariadb(Tls::Off, &[]).await?,
    );
    let sessions = "select count(*) from pg_stat_activity where application_name = 'sakidori'";
    let processes = "select count(*) from information_schema.processlist where user = 'sales'";
    let scalers = five_hundred(|query| postgresql_trigger(postgresql.port(), query, &[])).await;
    assert_eq!(postgresql.execute(sessions).await?, HANDFUL.to_string());
    assert_eq!(connections_to(postgresql.port()), HANDFUL);
    drop(scalers);
    let scalers = five_hundred(|query| mysql_trigger(mariadb.port(), query, &[])).await;
    assert_eq!(mariadb.execute(processes).await?, HANDFUL.to_string());
    assert_eq!(connections_to(mariadb.port()), HANDFUL);
    drop(scalers);
    // They close with the last trigger, and the server is told.
    eventually("no connections", SOON, async || {
        let left = (
            postgresql.execute(sessions).await?,
            mariadb.execute(processes).await?,
        );
        Ok((left == ("0".to_owned(), "0".to_owned())).then_some(()))
    })
    .await?;
    assert_eq!(
        mariadb
            .execute("show global status like 'Aborted_clients'")
            .await?,
        "Aborted_clients\t0"
    );
    Ok(())
}

#[tokio::test]
async fn the_same_query_is_asked_once() -> Result<()> {
    let (postgresql, mariadb) = (
        postgresql(Tls::Off, &[]).await?,
        mariadb(Tls::Off, &[]).await?,
    );
    let context = context();
    let scalers: Vec<_> = (0..500)
        .map(|at| match at % 2 {
            0 => postgresql_trigger(postgresql.port(), "select 1 from pg_sleep(0.5)", &[]),
            _ => mysql_trigger(mariadb.port(), "select 1 + sleep(0.5)", &[]),
        })
        .map(|trigger| scaler(&context, &trigger))
        .collect();
    let started = Instant::now();
    let values = join_all(scalers.iter().map(|scaler| value(&**scaler))).await;
    assert!(values.into_iter().all(|value| value == Ok(1.0)));
    // 250 of them would take half a minute, four at a time.
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(connections_to(postgresql.port()), 1);
    assert_eq!(connections_to(mariadb.port()), 1);
    Ok(())
}

#[tokio::test]
async fn a_slow_query_holds_up_no_other() -> Result<()> {
    let (postgresql, mariadb) = (
        postgresql(Tls::Off, &[]).await?,
        mariadb(Tls::Off, &[]).await?,
    );
    let context = context();
    let pairs = [
        [
            postgresql_trigger(postgresql.port(), "select 1 from pg_sleep(8)", &[]),
            postgresql_trigger(postgresql.port(), "select 2", &[]),
        ],
        [
            mysql_trigger(mariadb.port(), "select 1 + sleep(8)", &[]),
            mysql_trigger(mariadb.port(), "select 2", &[]),
        ],
    ];
    for [slow, quick] in pairs.map(|pair| pair.map(|trigger| scaler(&context, &trigger))) {
        let quick = async {
            for _ in 0..20 {
                assert_eq!(value(&*quick).await, Ok(2.0));
            }
            Instant::now()
        };
        let slow = async {
            let given_up = tokio::time::timeout(Duration::from_millis(300), value(&*slow)).await;
            assert!(given_up.is_err());
            // Nobody waits for the first answer: it still counts for who asks again.
            assert_eq!(value(&*slow).await, Ok(1.0));
            Instant::now()
        };
        let (quick, slow) = tokio::join!(quick, slow);
        assert!(quick < slow);
    }
    Ok(())
}

#[tokio::test]
async fn a_thousand_failing_polls_leave_nothing() -> Result<()> {
    let (postgresql, mariadb) = (
        postgresql(Tls::Off, &[]).await?,
        mariadb(Tls::Off, &[]).await?,
    );
    let ports = [postgresql.port(), mariadb.port()];
    let nobody = Port::take()?;
    let context = context();
    let wrong = [("password", "canary")];
    let absent = "select count(*) from absent";
    let before = tasks();
    for (trigger, kept) in [
        (postgresql_trigger(ports[0], absent, &[]), 1),
        (postgresql_trigger(ports[0], "select 1, 2", &[]), 1),
        (postgresql_trigger(ports[0], "select 1", &wrong), 0),
        (postgresql_trigger(nobody.number(), "select 1", &[]), 0),
        (mysql_trigger(ports[1], absent, &[]), 1),
        (mysql_trigger(ports[1], "select 1, 2", &[]), 1),
        (mysql_trigger(ports[1], "select 1", &wrong), 0),
        (mysql_trigger(nobody.number(), "select 1", &[]), 0),
    ] {
        let scaler = scaler(&context, &trigger);
        failing_polls(&*scaler, 1000).await;
        let open: usize = ports.into_iter().map(connections_to).sum();
        assert_eq!(open, kept, "{trigger:?}");
        drop(scaler);
        eventually("nothing left", SOON, async || {
            let open: usize = ports.into_iter().map(connections_to).sum();
            Ok((open == 0 && tasks() <= before).then_some(()))
        })
        .await?;
    }
    // On one session each: the server saw no others.
    let logins = mariadb
        .execute("show global status like 'Connections'")
        .await?;
    let logins: u32 = logins.split('\t').nth(1).unwrap_or_default().parse()?;
    assert!(logins < 100, "{logins}");
    Ok(())
}
