//! A process on this machine behind the API server's aggregation layer: the HPA controller reads it and scales.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, PostParams};
use sakidori_test_cluster::{Cluster, ClusterOptions, ExternalMetricsTrust, eventually};
use sakidori_test_servers::{Answer, HttpSource, Tls};
use serde_json::{Value, json};

use crate::SOON;

const GROUP: &str = "/apis/external.metrics.k8s.io/v1beta1";

#[tokio::test(flavor = "multi_thread")]
async fn an_hpa_scales_by_a_metric_from_this_machine() -> Result<()> {
    let options = ClusterOptions {
        hpa_sync_period: Duration::from_secs(1),
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await?;
    let source = HttpSource::start_with(Tls::Server)?;
    source.set(GROUP, Answer::json(&json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "external.metrics.k8s.io/v1beta1", "resources": [],
    })));
    let path = format!("{GROUP}/namespaces/default/queue");
    source.set(&path, Answer::json(&values("35")));
    cluster
        .register_external_metrics(source.port(), &ExternalMetricsTrust::Anything)
        .await?;

    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    deployments
        .create(&PostParams::default(), &deployment()?)
        .await?;
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client(), "default");
    hpas.create(&PostParams::default(), &hpa()?).await?;
    eventually(
        "four Ready replicas for 35 messages, ten each",
        SOON,
        async || {
            let status = deployments
                .get("web")
                .await?
                .status
                .context("no status yet")?;
            Ok((status.ready_replicas == Some(4)).then_some(()))
        },
    )
    .await?;

    let request = source
        .last(&path)
        .context("the HPA controller did not ask")?;
    assert_eq!(
        request.query,
        "labelSelector=scaledobject.keda.sh%2Fname%3Dweb"
    );
    // The API server speaks for the user, not for itself.
    let user = request
        .headers
        .get("x-remote-user")
        .context("no user")?
        .to_str()?;
    assert_eq!(
        user,
        "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    );
    Ok(())
}

fn values(value: &str) -> Value {
    json!({
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [{"metricName": "queue", "metricLabels": {}, "timestamp": "2026-01-01T00:00:00Z", "value": value}],
    })
}

fn deployment() -> Result<Deployment> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    }))?)
}

fn hpa() -> Result<HorizontalPodAutoscaler> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "queue", "selector": {"matchLabels": {"scaledobject.keda.sh/name": "web"}}},
                "target": {"type": "AverageValue", "averageValue": "10"},
            }}],
        },
    }))?)
}
