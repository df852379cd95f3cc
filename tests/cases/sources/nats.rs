//! `examples/nats/`.

use anyhow::Result;
use sakidori_test_servers::Nats;
use sakidori_tests::bed;
use serde_json::Value;

use super::Example;

/// At 20 per replica these are 25 replicas, of which the example allows 10.
const MESSAGES: usize = 500;

#[test]
fn the_example_scales_from_zero_to_many_and_back() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let nats = Nats::start().await?;
        nats.create_stream("APP", "orders", 1).await?;
        nats.create_consumer("APP", "orders", "packers").await?;
        let example = Example {
            folder: "nats",
            name: "packers",
            metric: "s0-nats-jetstream-orders",
            most: 10,
            changes: &[
                ("nats.shop.svc.cluster.local:8222", &nats.monitoring()),
                ("$G", "APP"),
            ],
        };
        let publish = async || nats.publish("APP", "orders", MESSAGES).await;
        let purge = async || {
            let purged = nats.ask("APP", "STREAM.PURGE.orders", &Value::Null);
            purged.await.map(drop)
        };
        example
            .scales_up_and_back(bed, "shop-nats", (MESSAGES as f64, publish), purge)
            .await
    })
}
