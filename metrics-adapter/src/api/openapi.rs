//! OpenAPI documents, which the aggregation layer merges with the cluster's own.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::{Value, json};

use super::answer::{self, Document};
use super::discovery::KIND;
use super::{GROUP, VERSION};

const LIST: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValueList";
const VALUE: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValue";
const READ_PATH: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}";

static V2: LazyLock<Document> = LazyLock::new(|| {
    let parameter = |name: &str, place: &str| json!({"name": name, "in": place, "type": "string", "uniqueItems": true, "required": place == "path"});
    Document::new(&json!({
        "swagger": "2.0",
        "info": {"title": "Sakidori external metrics", "version": env!("CARGO_PKG_VERSION")},
        "paths": {READ_PATH: read_path(
            [("namespace", "path"), ("metric", "path"), ("labelSelector", "query")].map(|(name, place)| parameter(name, place)),
            json!({"description": "OK", "schema": {"$ref": format!("#/definitions/{LIST}")}}),
            &[("consumes", json!(["*/*"])), ("produces", json!(["application/json"])), ("schemes", json!(["https"]))],
        )},
        "definitions": schemas("#/definitions"),
    }))
});

static V3: LazyLock<Document> = LazyLock::new(|| {
    let parameter = |name: &str, place: &str| json!({"name": name, "in": place, "required": place == "path", "schema": {"type": "string", "uniqueItems": true}});
    let schema = json!({"$ref": format!("#/components/schemas/{LIST}")});
    Document::new(&json!({
        "openapi": "3.0.0",
        "info": {"title": "Sakidori external metrics", "version": env!("CARGO_PKG_VERSION")},
        "paths": {READ_PATH: read_path(
            [("namespace", "path"), ("metric", "path"), ("labelSelector", "query")].map(|(name, place)| parameter(name, place)),
            json!({"description": "OK", "content": {"application/json": {"schema": schema}}}),
            &[],
        )},
        "components": {"schemas": schemas("#/components/schemas")},
    }))
});

static V3_INDEX: LazyLock<Document> = LazyLock::new(|| {
    let path = format!("apis/{GROUP}/{VERSION}");
    let address = format!("/openapi/v3/{path}?hash={}", V3.hash());
    Document::new(&json!({"paths": {path: {"serverRelativeURL": address}}}))
});

/// `GET /openapi/v2`.
pub(super) async fn v2(headers: HeaderMap) -> Response {
    document(&V2, &headers)
}

/// `GET /openapi/v3`.
pub(super) async fn v3_index(headers: HeaderMap) -> Response {
    document(&V3_INDEX, &headers)
}

/// `GET /openapi/v3/apis/external.metrics.k8s.io/v1beta1`.
pub(super) async fn v3(headers: HeaderMap) -> Response {
    document(&V3, &headers)
}

fn document(document: &Document, headers: &HeaderMap) -> Response {
    match answer::expect_json(headers) {
        Ok(()) => document.answer(headers),
        Err(failure) => failure.into_response(),
    }
}

fn read_path(parameters: [Value; 3], answer: Value, more: &[(&str, Value)]) -> Value {
    let mut operation = json!({
        "description": "the values of an external metric",
        "operationId": "listExternalMetricsV1beta1NamespacedMetric",
        "tags": ["externalMetrics_v1beta1"],
        "parameters": parameters,
        "responses": {"200": answer, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": "list",
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": KIND},
    });
    for (key, value) in more {
        operation[*key] = value.clone();
    }
    json!({"get": operation})
}

fn schemas(place: &str) -> Value {
    json!({
        LIST: {
            "description": "the values of an external metric",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "items": {"type": "array", "items": {"$ref": format!("{place}/{VALUE}")}},
            },
            "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": KIND}],
        },
        VALUE: {
            "description": "one value of an external metric",
            "type": "object",
            "required": ["metricName", "metricLabels", "timestamp", "value"],
            "properties": {
                "metricName": {"description": "the metric's name", "type": "string"},
                "metricLabels": {
                    "description": "labels that tell this value from the others",
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                },
                "timestamp": {"description": "when the source was read", "type": "string", "format": "date-time"},
                "window": {"description": "the seconds over which the value was taken; absent for a snapshot", "type": "integer", "format": "int64"},
                "value": {"description": "a quantity, such as 5 or 2250m", "type": "string"},
            },
        },
    })
}
