//! `examples/mysql/`, with a MariaDB server.

use anyhow::Result;
use sakidori_test_servers::MariaDb;
use sakidori_tests::bed;

use super::Example;

/// At 20 per replica these are 25 replicas, of which the example allows 10.
const ROWS: u16 = 500;

#[test]
fn the_example_scales_from_zero_to_many_and_back() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let server = MariaDb::start().await?;
        server.create_user("orders", "hunter2").await?;
        let table = "create table shop.orders (id int primary key, state varchar(10))";
        server.execute(table).await?;
        let connection = format!("orders:hunter2@tcp(127.0.0.1:{})/shop", server.port());
        let example = Example {
            folder: "mysql",
            name: "orders",
            metric: "s0-mysql-shop",
            most: 10,
            changes: &[(
                "orders:change-me@tcp(mysql.shop.svc.cluster.local:3306)/shop?tls=true",
                &connection,
            )],
        };
        let fill = async || {
            let rows =
                format!("use shop; insert into orders select seq, 'waiting' from seq_1_to_{ROWS}");
            server.execute(&rows).await.map(drop)
        };
        let empty = async || {
            let done = "update shop.orders set state = 'done'";
            server.execute(done).await.map(drop)
        };
        example
            .scales_up_and_back(bed, "shop-mysql", (ROWS.into(), fill), empty)
            .await
    })
}
