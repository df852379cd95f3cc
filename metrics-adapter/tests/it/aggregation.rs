//! Through the aggregation layer: what kubectl, discovery and the HPA controller see.

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use serde_json::{Value, json};

use crate::SOON;
use crate::bench::{Bench, METRIC, create};

pub async fn kubectl_shows_a_metric_through_the_aggregation_layer(bench: &Bench) -> Result<()> {
    let client = bench.cluster.client();
    eventually("available APIService", SOON, async || {
        let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
        let service: Value = client
            .request(http::Request::get(path).body(Vec::new())?)
            .await?;
        let conditions = service["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let available = conditions
            .iter()
            .find(|condition| condition["type"] == "Available")
            .cloned();
        let available = available.context("no condition yet")?;
        ensure!(available["status"] == "True", "{available}");
        Ok(Some(()))
    })
    .await?;
    let (_, said) = bench.kubectl(&["get", "--raw", METRIC]).await?;
    assert_eq!(
        said.trim_end(),
        r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"items":[{"metricName":"s0-rabbitmq-orders","metricLabels":null,"timestamp":"2026-11-23T05:20:01Z","value":"500"}]}"#
    );
    Ok(())
}

pub async fn the_hpa_controller_scales_by_it(bench: &Bench) -> Result<()> {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "orders"}},
            "template": {
                "metadata": {"labels": {"app": "orders"}},
                "spec": {"containers": [{"name": "consumer", "image": "example.org/consumer"}]},
            },
        },
    });
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "orders"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"},
            "minReplicas": 1, "maxReplicas": 10,
            "metrics": [{"type": "External", "external": {
                "metric": {
                    "name": "s0-rabbitmq-orders",
                    "selector": {"matchLabels": {"scaledobject.keda.sh/name": "orders"}},
                },
                "target": {"type": "AverageValue", "averageValue": "100"},
            }}],
        },
    });
    let client = &bench.cluster.client();
    let deployments = "/apis/apps/v1/namespaces/shop/deployments";
    create(client, deployments, &deployment).await?;
    create(
        client,
        "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers",
        &hpa,
    )
    .await?;
    eventually("five replicas for 500 messages", SOON, async || {
        let path = format!("{deployments}/orders");
        let deployment: Value = client
            .request(http::Request::get(path).body(Vec::new())?)
            .await?;
        ensure!(
            deployment["spec"]["replicas"] == 5,
            "{}",
            deployment["spec"]["replicas"]
        );
        Ok(Some(()))
    })
    .await?;
    // Its reads would be counted in other cases.
    let path = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/orders";
    client
        .request::<Value>(http::Request::delete(path).body(Vec::new())?)
        .await?;
    Ok(())
}

pub async fn failures_reach_kubectl_as_kubernetes_words_them(bench: &Bench) -> Result<()> {
    let base = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop";
    for (path, expected) in [
        (
            "s0-rabbitmq-orders",
            "(BadRequest): scaledObject name is not specified",
        ),
        (
            "s0-rabbitmq-orders?labelSelector=%3D%3D",
            r#"(BadRequest): unable to parse labelSelector "==""#,
        ),
        (
            "s9-other?labelSelector=scaledobject.keda.sh%2Fname%3Dorders",
            "(NotFound): shop has no metric s9-other",
        ),
        (
            "too-old",
            "(ServiceUnavailable): no reading is young enough",
        ),
        (
            "panics",
            "(InternalError): Internal error occurred: reading metric",
        ),
    ] {
        let (succeeded, said) = bench
            .kubectl(&["get", "--raw", &format!("{base}/{path}")])
            .await?;
        ensure!(
            !succeeded && said.contains(expected),
            "{path}: kubectl says {said}"
        );
    }
    Ok(())
}

pub async fn the_aggregation_layer_takes_over_discovery_and_openapi(bench: &Bench) -> Result<()> {
    let (_, said) = bench
        .kubectl(&["get", "--raw", "/apis/external.metrics.k8s.io/v1beta1"])
        .await?;
    assert_eq!(
        serde_json::from_str::<Value>(&said)?,
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "external.metrics.k8s.io/v1beta1",
            "resources": [{
                "name": "externalmetrics", "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList",
                "verbs": ["get"],
            }],
        })
    );
    let client = bench.cluster.client();
    eventually("aggregated discovery with the resource", SOON, async || {
        let request = http::Request::get("/apis")
            .header(
                "Accept",
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            )
            .body(Vec::new())?;
        let list: Value = client.request(request).await?;
        let groups = list["items"].as_array().context("no groups")?;
        let group = groups
            .iter()
            .find(|group| group["metadata"]["name"] == "external.metrics.k8s.io");
        let version = &group.context("not the group")?["versions"][0];
        ensure!(version["freshness"] == "Current", "{version}");
        ensure!(
            version["resources"][0]["resource"] == "externalmetrics",
            "{version}"
        );
        Ok(Some(()))
    })
    .await?;
    let read = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}";
    for document in [
        "/openapi/v2",
        "/openapi/v3/apis/external.metrics.k8s.io/v1beta1",
    ] {
        eventually(
            &format!("path of the metric in {document}"),
            SOON,
            async || {
                let document: Value = client
                    .request(http::Request::get(document).body(Vec::new())?)
                    .await?;
                ensure!(document["paths"][read]["get"].is_object(), "it isn't there");
                Ok(Some(()))
            },
        )
        .await?;
    }
    Ok(())
}
