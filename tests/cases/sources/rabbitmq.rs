//! `examples/rabbitmq/`, over AMQP and over HTTP.

use anyhow::Result;
use sakidori_tests::bed::{self, Bed};

use super::Example;

const QUEUE: &str = "orders";
/// At 20 per replica these are 25 replicas, of which the example allows 10.
const MESSAGES: usize = 500;

#[test]
fn the_example_scales_from_zero_to_many_and_back_over_amqp() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async { scales_and_returns(bed, "shop", "/", &bed.rabbit().await?.amqp_url()).await })
}

/// The same manifests with the management API's address, in a namespace and virtual host of their own.
#[test]
fn the_example_scales_from_zero_to_many_and_back_over_http() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let rabbit = bed.rabbit().await?;
        rabbit.create_vhost("http").await?;
        let host = format!("{}/http", rabbit.http_url());
        scales_and_returns(bed, "shop-http", "http", &host).await
    })
}

async fn scales_and_returns(bed: &Bed, namespace: &str, vhost: &str, host: &str) -> Result<()> {
    let rabbit = bed.rabbit().await?;
    rabbit.declare_queue(vhost, QUEUE).await?;
    let example = Example {
        folder: "rabbitmq",
        name: "orders",
        metric: "s0-rabbitmq-orders",
        most: 10,
        changes: &[(
            "amqp://orders:change-me@rabbitmq.shop.svc.cluster.local:5672",
            host,
        )],
    };
    let publish = async || rabbit.publish(vhost, QUEUE, MESSAGES).await;
    let purge = async || rabbit.purge(vhost, QUEUE).await;
    example
        .scales_up_and_back(bed, namespace, (MESSAGES as f64, publish), purge)
        .await
}
