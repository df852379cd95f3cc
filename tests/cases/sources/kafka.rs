//! `examples/kafka/`.

use anyhow::Result;
use sakidori_test_servers::{Kafka, KafkaListener};
use sakidori_tests::bed;

use super::Example;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 10;
/// In each partition.
const MESSAGES: i64 = 50;
/// At 20 per replica all messages would be 25 replicas; there are no more than partitions.
const COUNTED: f64 = 200.0;

#[test]
fn the_example_scales_from_zero_to_many_and_back() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let kafka = Kafka::start().await?;
        kafka.create_topics(&[TOPIC], PARTITIONS).await?;
        let read_to = |offset| -> Vec<(i32, i64)> {
            (0..PARTITIONS)
                .map(|partition| (partition, offset))
                .collect()
        };
        kafka.commit("orders", TOPIC, &read_to(0)).await?;
        let address = kafka.address(KafkaListener::Sasl);
        let example = Example {
            folder: "kafka",
            name: "orders",
            metric: "s0-kafka-orders",
            most: 10,
            changes: &[
                ("kafka.shop.svc.cluster.local:9092", &address),
                ("username: orders", "username: app"),
                ("change-me", "hunter2"),
            ],
        };
        let publish = async || {
            for partition in 0..PARTITIONS {
                kafka.publish(TOPIC, partition, MESSAGES as usize).await?;
            }
            Ok(())
        };
        let read = async || kafka.commit("orders", TOPIC, &read_to(MESSAGES)).await;
        example
            .scales_up_and_back(bed, "shop-kafka", (COUNTED, publish), read)
            .await
    })
}
