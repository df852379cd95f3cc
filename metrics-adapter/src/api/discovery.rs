//! What the server has: the group, its version and its one resource, for discovery by clients and by the aggregation
//! layer.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Uri};
use serde_json::{Value, json};

use super::{GROUP, GROUP_VERSION, VERSION, answer};
use crate::status::Failure;

/// KEDA shows this one name for all metrics: any name can be read below a namespace.
pub(super) const RESOURCE: &str = "externalmetrics";
pub(super) const KIND: &str = "ExternalMetricValueList";
const AGGREGATED: &str = "APIGroupDiscoveryList";
const AGGREGATED_GROUP: &str = "apidiscovery.k8s.io";

/// `GET /apis`; the aggregation layer asks for the aggregated form, which spares it the other two.
pub(super) async fn groups(uri: Uri, headers: HeaderMap) -> Response {
    for version in ["v2", "v2beta1"] {
        if answer::prefers(&headers, AGGREGATED, AGGREGATED_GROUP, version) {
            let content_type =
                format!("application/json;g={AGGREGATED_GROUP};v={version};as={AGGREGATED}");
            let content_type = HeaderValue::from_str(&content_type);
            return match content_type {
                Ok(content_type) => answer::json_as(&aggregated(version), false, content_type),
                Err(error) => Failure::internal(error.to_string()).into_response(),
            };
        }
    }
    let list = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group_entry()]});
    json_answer(&list, &uri, &headers)
}

/// `GET /apis/external.metrics.k8s.io`.
pub(super) async fn group(uri: Uri, headers: HeaderMap) -> Response {
    let mut group = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Value::Object(group), Value::Object(entry)) = (&mut group, group_entry()) {
        group.extend(entry);
    }
    json_answer(&group, &uri, &headers)
}

/// `GET /apis/external.metrics.k8s.io/v1beta1`; the aggregation layer also takes its answer for a sign of life.
pub(super) async fn resources(uri: Uri, headers: HeaderMap) -> Response {
    let list = json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": [{
            "name": RESOURCE,
            "singularName": "",
            "namespaced": true,
            "kind": KIND,
            "verbs": ["get"],
        }],
    });
    json_answer(&list, &uri, &headers)
}

/// `GET /version`.
pub(super) async fn version(uri: Uri, headers: HeaderMap) -> Response {
    // The fields that Kubernetes' clients expect, though this program has no answer for some.
    let version = json!({
        "major": env!("CARGO_PKG_VERSION_MAJOR"),
        "minor": env!("CARGO_PKG_VERSION_MINOR"),
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    });
    json_answer(&version, &uri, &headers)
}

fn json_answer(document: &Value, uri: &Uri, headers: &HeaderMap) -> Response {
    if let Err(failure) = answer::expect_json(headers) {
        return failure.into_response();
    }
    let query = uri.query().unwrap_or_default();
    answer::json(document, answer::wants_pretty(query, headers))
}

fn group_entry() -> Value {
    let version = json!({"groupVersion": GROUP_VERSION, "version": VERSION});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

fn aggregated(version: &str) -> Value {
    json!({
        "kind": AGGREGATED,
        "apiVersion": format!("{AGGREGATED_GROUP}/{version}"),
        "metadata": {},
        "items": [{
            "metadata": {"name": GROUP, "creationTimestamp": null},
            "versions": [{
                "version": VERSION,
                "freshness": "Current",
                "resources": [{
                    "resource": RESOURCE,
                    "responseKind": {"group": GROUP, "version": VERSION, "kind": KIND},
                    "scope": "Namespaced",
                    "singularResource": "",
                    "verbs": ["get"],
                }],
            }],
        }],
    })
}
