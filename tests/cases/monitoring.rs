//! The metrics of a sale, while one runs: what alerts and dashboards about sales name is there, and the page about sales tells of all.

use std::collections::BTreeSet;

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::eventually;
use sakidori_tests::bed;
use serde_json::{Value, json};

use crate::alerts::text_of;
use crate::scene::{SOON, play};

/// The names of all metrics in the text format.
fn exposed(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split(['{', ' ']).next());
    names.collect()
}

/// A sale that runs, one that comes, and a source that can't be read.
fn calendar(source: String) -> Value {
    let at = |seconds: i64| (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string();
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": "SaleCalendar",
        "metadata": {"name": "sales"},
        "spec": {
            "events": [
                {"name": "now", "start": at(10), "end": at(600)},
                {"name": "later", "start": at(86_400), "end": at(90_000)},
            ],
            "sources": [{"name": "lost", "format": "ics", "url": source}],
        },
    })
}

#[test]
fn a_sale_has_its_metrics_and_the_page_about_sales_tells_of_them() {
    play("monitoring", async |scene| {
        scene.deploy("web", 1).await?;
        scene.apply(calendar(scene.source.url("/lost.ics"))).await?;
        let sale = json!({
            "type": "sale-calendar",
            "metadata": {
                "calendar": "sales",
                "calendarKind": "SaleCalendar",
                "multiplier": "8",
                "baseline": "1",
                "leadTime": "8s",
                "rampUp": "0",
            },
        });
        // 8 replicas are above the maximum: the alert on what is impossible is about this one.
        let spec = json!({"minReplicaCount": 1, "maxReplicaCount": 5, "triggers": [sale]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let seen = [
            r#"sakidori_prescale_condition{namespace="monitoring",reason="LimitedByMaxReplicas",scaledObject="web"} 1"#,
            r#"sakidori_prescale_late{namespace="monitoring",scaledObject="web"} 1"#,
            r#"sakidori_prescale_floor_replicas{namespace="monitoring",scaledObject="web"} 8"#,
            r#"sakidori_prescale_ready_replicas{namespace="monitoring",scaledObject="web"} 5"#,
            r#"sakidori_prescale_replicas{namespace="monitoring",scaledObject="web"} 5"#,
            r#"sakidori_prescale_ready_lead_seconds_bucket{namespace="monitoring",scaledObject="web",le="0"} 0"#,
            r#"sakidori_api_requests_total{outcome="ok",resource="horizontalpodautoscalers",verb="apply"} "#,
            r#"sakidori_calendar_refresh_errors_total{calendar="sales",kind="SaleCalendar",namespace="monitoring"} "#,
        ];
        let text = eventually("the metrics of a sale", SOON * 3, async || {
            let text = bed::shared()?.operator.lock().await.metrics().await?;
            let missing: Vec<_> = seen.iter().filter(|line| !text.contains(*line)).collect();
            ensure!(missing.is_empty(), "no {missing:?}");
            Ok(Some(text))
        })
        .await?;
        // Whoever reads of sales finds each of their metrics.
        let page = text_of("docs/prescaling.md");
        let of_sales = exposed(&text).into_iter().filter(|name| {
            ["sakidori_prescale_", "sakidori_calendar_"]
                .iter()
                .any(|start| name.starts_with(start))
        });
        for name in of_sales {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let name = base.unwrap_or(name);
            ensure!(
                page.contains(&format!("`{name}`")),
                "docs/prescaling.md doesn't tell of {name}"
            );
        }
        Ok(())
    });
}
