//! Tells the aggregation layer that this server is back, and whom to trust.
//!
//! Where the operator makes its own certificates (`--enable-cert-rotation`), their authority is put into the APIService.
//!
//! While nobody listened, kube-apiserver marked the APIService unavailable and looks again only with a growing back-off (up
//! to 30 s), during which every HPA read fails. It looks at once when the APIService changes: so after a start an annotation
//! is touched, only where the APIService is marked unavailable.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::api_error::plain;

pub const NAME: &str = "v1beta1.external.metrics.k8s.io";

/// Says when this server last asked to be looked at.
const ANNOTATION: &str = "sakidori.dev/looked-at";

/// Between looks; the aggregation layer needs some milliseconds.
const PAUSE: Duration = Duration::from_millis(500);
/// After this many looks the cause is something else, which the APIService's own condition tells.
const LOOKS: usize = 20;

/// Runs until the APIService is available, or there is none, or it seems not to be ours.
pub async fn announce(client: Client, authority: Option<Vec<u8>>, shutdown: CancellationToken) {
    let kind = GroupVersionKind::gvk("apiregistration.k8s.io", "v1", "APIService");
    let api: Api<DynamicObject> = Api::all_with(
        client,
        &ApiResource::from_gvk_with_plural(&kind, "apiservices"),
    );
    for _ in 0..LOOKS {
        match api.get_opt(NAME).await {
            Ok(Some(service)) => {
                let trust = authority
                    .as_deref()
                    .and_then(|pem| missing_trust(&service.data, pem));
                if trust.is_none() && is_available(&service.data) {
                    return;
                }
                let touched = json!({"annotations": {ANNOTATION: Timestamp::now().to_string()}});
                let patch = match trust {
                    Some(bundle) => json!({"metadata": touched, "spec": {"caBundle": bundle}}),
                    None => json!({"metadata": touched}),
                };
                if let Err(error) = api
                    .patch(NAME, &PatchParams::default(), &Patch::Merge(&patch))
                    .await
                {
                    info!(
                        error = plain(&error),
                        "can't touch the APIService {NAME}: HPA reads may fail for up to 30 s after a start"
                    );
                    return;
                }
                debug!("asked the aggregation layer to look at {NAME}");
            }
            Ok(None) => return,
            Err(error) => {
                info!(
                    error = plain(&error),
                    "can't read the APIService {NAME}: HPA reads may fail for up to 30 s after a start"
                );
                return;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// The caBundle that the APIService lacks; one that trusts everyone needs none.
fn missing_trust(service: &Value, authority: &[u8]) -> Option<String> {
    let bundle = BASE64_STANDARD.encode(authority);
    let spec = &service["spec"];
    (spec["insecureSkipTLSVerify"] != true && spec["caBundle"] != bundle.as_str()).then_some(bundle)
}

fn is_available(service: &Value) -> bool {
    service["status"]["conditions"]
        .as_array()
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition["type"] == "Available" && condition["status"] == "True")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_is_what_the_condition_says() {
        let with = |status: &str| json!({"status": {"conditions": [{"type": "Available", "status": status}]}});
        assert!(is_available(&with("True")));
        assert!(!is_available(&with("False")));
        assert!(!is_available(&json!({})));
    }

    #[test]
    fn trust_is_put_where_it_is_missing() {
        assert_eq!(
            missing_trust(&json!({"spec": {}}), b"pem").as_deref(),
            Some("cGVt")
        );
        assert_eq!(
            missing_trust(&json!({"spec": {"caBundle": "b2xk"}}), b"pem").as_deref(),
            Some("cGVt")
        );
        assert_eq!(
            missing_trust(&json!({"spec": {"caBundle": "cGVt"}}), b"pem"),
            None
        );
        assert_eq!(
            missing_trust(&json!({"spec": {"insecureSkipTLSVerify": true}}), b"pem"),
            None
        );
    }
}
