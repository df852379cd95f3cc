//! `examples/etcd/`.

use anyhow::Result;
use sakidori_test_servers::Etcd;
use sakidori_tests::bed;

use super::Example;

const KEY: &str = "parcels/waiting";
/// At 20 per replica this is 25 replicas, of which the example allows 10.
const PARCELS: u32 = 500;

#[test]
fn the_example_scales_from_zero_to_many_and_back() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let mut etcd = Etcd::start().await?;
        etcd.put(KEY, "0").await?;
        etcd.create_user("sorters", "change-me", KEY).await?;
        etcd.enable_authentication().await?;
        let example = Example {
            folder: "etcd",
            name: "sorters",
            metric: "s0-etcd-parcels-waiting",
            most: 10,
            changes: &[("etcd.shop.svc.cluster.local:2379", &etcd.endpoints())],
        };
        let put = async || etcd.put(KEY, PARCELS.to_string()).await;
        let take = async || etcd.put(KEY, "0").await;
        example
            .scales_up_and_back(bed, "shop-etcd", (f64::from(PARCELS), put), take)
            .await
    })
}
