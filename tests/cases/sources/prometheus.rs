//! `examples/prometheus/`, with a server that wants a login.

use anyhow::Result;
use sakidori_test_servers::{Prometheus, PrometheusOptions};
use sakidori_tests::bed;

use super::Example;

/// At 20 per replica these are 25 replicas, of which the example allows 10.
const WAITING: f64 = 500.0;

#[test]
fn the_example_scales_from_zero_to_many_and_back() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let server = Prometheus::start(PrometheusOptions {
            login: true,
            ..PrometheusOptions::default()
        })
        .await?;
        server.wait_scraped().await?;
        let example = Example {
            folder: "prometheus",
            name: "checkout",
            metric: "s0-prometheus",
            most: 10,
            changes: &[
                (
                    "http://prometheus.monitoring.svc.cluster.local:9090",
                    &server.url(),
                ),
                ("change-me", Prometheus::PASSWORD),
            ],
        };
        let set = async |waiting| {
            server.set_waiting(waiting);
            Ok(())
        };
        let fill = (WAITING, async || set(WAITING).await);
        example
            .scales_up_and_back(bed, "shop-prometheus", fill, async || set(0.0).await)
            .await
    })
}
