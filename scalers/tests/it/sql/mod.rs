//! `postgresql` and `mysql` against real servers.

mod faults;
mod mysql;
mod pool;
mod postgresql;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use sakidori_scalers::clients::Clients;
use sakidori_scalers::{Context, Freshness, Scaler, ScalerError, Trigger, build};
use sakidori_test_servers::{MariaDb, PostgreSql, Tls};

use crate::no_cluster::NoCluster;

pub const PASSWORD: &str = "hunter2";

/// Longer than any back-off.
pub const SOON: Duration = Duration::from_secs(60);

pub fn context() -> Context {
    Context {
        clients: Arc::new(Clients::default()),
        cluster: Arc::new(NoCluster),
    }
}

/// What is asked, and where, in both trigger types' own parameters.
pub type Given<'a> = &'a [(&'a str, &'a str)];

/// A PostgreSQL server with the user `sales`, who may read the table `orders` with its 7 rows.
pub async fn postgresql(tls: Tls, hosts: &[&str]) -> Result<PostgreSql> {
    let server = PostgreSql::start_for(tls, hosts).await?;
    server.create_user("sales", PASSWORD).await?;
    server
        .execute(
            "create table orders (id int); grant all on orders to sales; \
             insert into orders select generate_series(1, 7); create table others (id int)",
        )
        .await?;
    Ok(server)
}

/// The same of a MariaDB server, in the database `shop`. The user may write, too.
pub async fn mariadb(tls: Tls, hosts: &[&str]) -> Result<MariaDb> {
    let server = MariaDb::start_for(tls, hosts).await?;
    server.create_user("sales", PASSWORD).await?;
    server
        .execute(
            "use shop; create table orders (id int); insert into orders select seq from seq_1_to_7; \
             grant insert, update, delete on shop.orders to 'sales'@'%'; create database others; create table others.t (id int)",
        )
        .await?;
    Ok(server)
}

/// With other parameters instead of some of these.
pub fn postgresql_trigger(port: u16, query: &str, others: Given) -> Trigger {
    let port = port.to_string();
    let trigger = Trigger::new("postgresql")
        .metadata([
            ("query", query),
            ("targetQueryValue", "5"),
            ("activationTargetQueryValue", "6"),
            ("sslmode", "prefer"),
            ("host", "127.0.0.1"),
            ("port", &port),
            ("userName", "sales"),
            ("dbName", "postgres"),
        ])
        .authentication([("password", PASSWORD)]);
    trigger.authentication(others.iter().copied())
}

pub fn mysql_trigger(port: u16, query: &str, others: Given) -> Trigger {
    let port = port.to_string();
    let mut trigger = Trigger::new("mysql")
        .metadata([
            ("query", query),
            ("queryValue", "5"),
            ("activationQueryValue", "6"),
            ("host", "127.0.0.1"),
            ("port", &port),
            ("username", "sales"),
            ("dbName", "shop"),
        ])
        .authentication([("password", PASSWORD)])
        .authentication(others.iter().copied());
    // Metadata would win.
    for (name, _) in others {
        trigger.metadata.remove(*name);
    }
    trigger
}

pub fn scaler(context: &Context, trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, context).unwrap()
}

pub async fn value(scaler: &dyn Scaler) -> Result<f64, ScalerError> {
    let readings = scaler.read(&Freshness::now()).await?;
    Ok(readings[0].value)
}

/// An error's text, which has no password in it.
pub fn told(outcome: Result<f64, ScalerError>) -> String {
    let text = outcome.unwrap_err().to_string();
    assert!(!text.contains(PASSWORD), "{text}");
    text
}
