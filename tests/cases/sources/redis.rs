//! `examples/redis/`: a list, counted by a user that may do no more.

use anyhow::Result;
use sakidori_test_servers::Redis;
use sakidori_tests::bed;

use super::Example;

const LIST: &str = "orders";
/// At 5 per replica these are 20 replicas, of which the example allows 10.
const ELEMENTS: usize = 100;

#[test]
fn the_example_scales_from_zero_to_many_and_back() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let redis = Redis::start().await?;
        // As its README says.
        let user = ["orders", "on", ">change-me", "~orders", "+type", "+llen"];
        redis
            .run(&[&["ACL", "SETUSER"], &user[..]].concat())
            .await?;
        let address = redis.address();
        let example = Example {
            folder: "redis",
            name: "orders",
            metric: "s0-redis-orders",
            most: 10,
            changes: &[("redis.shop.svc.cluster.local:6379", &address)],
        };
        let fill = async || redis.push(LIST, ELEMENTS).await;
        let empty = async || redis.run(&["DEL", LIST]).await.map(drop);
        example
            .scales_up_and_back(bed, "shop-redis", (ELEMENTS as f64, fill), empty)
            .await
    })
}
