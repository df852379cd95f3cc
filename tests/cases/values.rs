//! The value that a source has is the value that the HPA reads: each format of metrics-api, and the ways to name queues of
//! RabbitMQ, once through the whole chain.

use std::time::Duration;

use anyhow::Result;
use sakidori_test_servers::Answer;
use sakidori_tests::bed;
use sakidori_tests::namespace::{deployment, scaled_object};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn each_format_of_metrics_api_reads_as_the_source_has_it() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let table = [
            ("json", "queues.1.waiting", "queues-1-waiting", Answer::json(&json!({"queues": [{"waiting": 3}, {"waiting": 17}]})), 17.0),
            ("json", "size", "size", Answer::json(&json!({"size": "2500m"})), 2.5),
            ("yaml", "queue.waiting", "queue-waiting", Answer::yaml("queue:\n  waiting: 12.25\n"), 12.25),
            ("xml", "stats.waiting", "stats-waiting", Answer::xml("<?xml version=\"1.0\"?><stats><waiting>41</waiting></stats>"), 41.0),
            (
                "prometheus",
                "jobs{queue=\"b\"}",
                "jobs{queue=\"b\"}",
                Answer::prometheus("# TYPE jobs gauge\njobs{queue=\"a\"} 1\njobs{queue=\"b\"} 1e3\n"),
                1000.0,
            ),
        ];
        let namespace = bed.namespace("values-http").await?;
        let mut triggers = Vec::new();
        for (index, (format, location, _, answer, _)) in table.iter().enumerate() {
            let path = format!("/values/{index}");
            bed.source.set(&path, answer.clone());
            triggers.push(json!({
                "type": "metrics-api",
                "metadata": {
                    "url": bed.source.url(&path), "format": format, "valueLocation": location, "targetValue": "100",
                },
            }));
        }
        let spec = json!({"pollingInterval": 1, "triggers": triggers});
        namespace.apply([deployment("web", 0), scaled_object("web", spec)]).await?;
        for (index, (_, _, name, _, expected)) in table.iter().enumerate() {
            let metric = format!("s{index}-metric-api-{name}");
            namespace.wait_value(&metric, "web", *expected, SOON).await?;
        }
        Ok(())
    })
}

#[test]
fn queues_are_found_by_virtual_host_and_expression() -> Result<()> {
    const VHOST: &str = "team a/b";
    let bed = bed::shared()?;
    bed.run(async {
        let rabbit = bed.rabbit().await?;
        rabbit.create_vhost(VHOST).await?;
        for (queue, messages) in [("mail-in", 4), ("mail-out", 8), ("other", 100)] {
            rabbit.declare_queue(VHOST, queue).await?;
            rabbit.publish(VHOST, queue, messages).await?;
        }
        // One that is delivered and not acknowledged: AMQP doesn't count it, the management API does.
        let _held = rabbit.hold(VHOST, "mail-in", 1).await?;
        let amqp = rabbit.amqp_url();
        let http = rabbit.http_url();
        let encoded = "team%20a%2Fb";
        let table: Vec<(&str, Value, f64)> = vec![
            ("mail-in", json!({"host": format!("{amqp}/{encoded}")}), 3.0),
            ("mail-in", json!({"host": amqp, "vhostName": VHOST}), 3.0),
            ("mail-in", json!({"host": format!("{http}/{encoded}")}), 4.0),
            (
                "mail-in",
                json!({"host": http, "vhostName": VHOST, "excludeUnacknowledged": "true"}),
                3.0,
            ),
            (
                "^mail-.*$",
                json!({"host": http, "vhostName": VHOST, "useRegex": "true"}),
                12.0,
            ),
            (
                "^mail-.*$",
                json!({"host": http, "vhostName": VHOST, "useRegex": "true", "operation": "max"}),
                8.0,
            ),
            (
                "^mail-.*$",
                json!({"host": http, "vhostName": VHOST, "useRegex": "true", "operation": "avg"}),
                6.0,
            ),
        ];
        let mut triggers = Vec::new();
        for (queue, metadata, _) in &table {
            let mut metadata = metadata.clone();
            metadata["queueName"] = json!(queue);
            metadata["mode"] = json!("QueueLength");
            metadata["value"] = json!("1000");
            triggers.push(json!({"type": "rabbitmq", "metadata": metadata}));
        }
        let namespace = bed.namespace("values-rabbitmq").await?;
        let spec = json!({"pollingInterval": 1, "triggers": triggers});
        namespace
            .apply([deployment("web", 0), scaled_object("web", spec)])
            .await?;
        let hpa = async || {
            let mut names =
                sakidori_tests::observe::external_metric_names(&namespace.hpa("web").await?);
            names.sort();
            Ok((names.len() == table.len()).then_some(names))
        };
        let names = sakidori_test_cluster::eventually("an HPA with all metrics", SOON, hpa).await?;
        for (index, (_, _, expected)) in table.iter().enumerate() {
            namespace
                .wait_value(&names[index], "web", *expected, SOON)
                .await?;
        }
        Ok(())
    })
}
