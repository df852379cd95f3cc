//! `examples/postgresql/`.

use anyhow::Result;
use sakidori_test_servers::{PostgreSql, Tls};
use sakidori_tests::bed;

use super::Example;

/// At 20 per replica these are 25 replicas, of which the example allows 10.
const ROWS: u16 = 500;

#[test]
fn the_example_scales_from_zero_to_many_and_back() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let server = PostgreSql::start_with(Tls::Off).await?;
        server.create_user("orders", "hunter2").await?;
        let table = "create table orders (id int primary key, state varchar(10)); grant select on orders to orders";
        server.execute(table).await?;
        let connection = format!(
            "postgresql://orders:hunter2@127.0.0.1:{}/postgres?sslmode=disable",
            server.port()
        );
        let example = Example {
            folder: "postgresql",
            name: "orders",
            metric: "s0-postgresql",
            most: 10,
            changes: &[(
                "postgresql://orders:change-me@postgresql.shop.svc.cluster.local:5432/shop?sslmode=verify-full",
                &connection,
            )],
        };
        let fill = async || {
            let rows = format!("insert into orders select n, 'waiting' from generate_series(1, {ROWS}) n");
            server.execute(&rows).await.map(drop)
        };
        let empty = async || {
            let done = "update orders set state = 'done'";
            server.execute(done).await.map(drop)
        };
        example
            .scales_up_and_back(bed, "shop-postgresql", (ROWS.into(), fill), empty)
            .await
    })
}
