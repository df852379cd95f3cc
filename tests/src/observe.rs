//! What a person would look at with kubectl: replicas, the HPA, the external metric.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Client;
use kube::api::Api;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

/// `spec.replicas` and `status.readyReplicas` of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    pub wanted: i32,
    pub ready: i32,
}

/// The replicas of a Deployment.
///
/// # Errors
/// If there is none of that name, or the API server doesn't answer.
pub async fn replicas(client: &Client, namespace: &str, deployment: &str) -> Result<Replicas> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = api.get(deployment).await?;
    Ok(Replicas {
        wanted: deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1),
        ready: deployment
            .status
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0),
    })
}

/// An HPA.
///
/// # Errors
/// If there is none of that name, or the API server doesn't answer.
pub async fn hpa(client: &Client, namespace: &str, name: &str) -> Result<HorizontalPodAutoscaler> {
    Ok(Api::namespaced(client.clone(), namespace).get(name).await?)
}

/// `status.desiredReplicas` of an HPA; `None` before the HPA controller has looked at it.
///
/// # Errors
/// If there is none of that name, or the API server doesn't answer.
pub async fn hpa_desired(client: &Client, namespace: &str, name: &str) -> Result<Option<i32>> {
    Ok(hpa(client, namespace, name)
        .await?
        .status
        .map(|status| status.desired_replicas))
}

/// The names of the external metrics in an HPA's specification.
pub fn external_metric_names(hpa: &HorizontalPodAutoscaler) -> Vec<String> {
    let metrics = hpa.spec.as_ref().and_then(|spec| spec.metrics.as_ref());
    metrics
        .into_iter()
        .flatten()
        .filter_map(|metric| metric.external.as_ref())
        .map(|external| external.metric.name.clone())
        .collect()
}

/// One value of the external metrics API.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalMetricValue {
    pub metric_name: String,
    /// A Kubernetes quantity: `5`, `2250m`.
    pub value: String,
    pub timestamp: String,
}

#[derive(Deserialize)]
struct ExternalMetricValueList {
    items: Vec<ExternalMetricValue>,
}

/// Reads a metric of a ScaledObject through the aggregation layer, exactly as the HPA controller does.
///
/// # Errors
/// If it isn't served, or the operator has no value for it: the API server's Status.
pub async fn external_metric(
    client: &Client,
    namespace: &str,
    metric: &str,
    scaled_object: &str,
) -> Result<ExternalMetricValue> {
    let path = external_metric_path(namespace, metric, scaled_object);
    let list: Value = client
        .request(http::Request::get(path).body(Vec::new())?)
        .await?;
    first_value(metric, list)
}

/// The path of a metric of a ScaledObject in the external metrics API.
pub fn external_metric_path(namespace: &str, metric: &str, scaled_object: &str) -> String {
    format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{}?labelSelector={}",
        utf8_percent_encode(metric, NON_ALPHANUMERIC),
        utf8_percent_encode(
            &format!("scaledobject.keda.sh/name={scaled_object}"),
            NON_ALPHANUMERIC
        ),
    )
}

/// The value in an answer of the external metrics API.
///
/// # Errors
/// If there is none in it.
pub fn first_value(metric: &str, answer: Value) -> Result<ExternalMetricValue> {
    let list: ExternalMetricValueList = serde_json::from_value(answer)
        .with_context(|| format!("the answer for {metric} is no list of values"))?;
    list.items
        .into_iter()
        .next()
        .with_context(|| format!("the answer for {metric} holds no value"))
}
