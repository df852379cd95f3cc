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

/// Between looks just after the start; the aggregation layer needs some milliseconds.
const PAUSE: Duration = Duration::from_millis(500);
/// After this many looks the cause is something else, which the APIService's own condition tells.
const LOOKS: usize = 20;
/// Between looks later on: an APIService may be installed after the operator, or lose the authority to an upgrade.
const LATER: Duration = Duration::from_secs(30);

/// Runs until the APIService is available or seems not to be ours; where there is an `authority` to announce, until `shutdown`.
pub async fn announce(client: Client, authority: Option<Vec<u8>>, shutdown: CancellationToken) {
    let kind = GroupVersionKind::gvk("apiregistration.k8s.io", "v1", "APIService");
    let resource = ApiResource::from_gvk_with_plural(&kind, "apiservices");
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut looks = 0;
    loop {
        let starting = looks < LOOKS;
        match look(&api, authority.as_deref(), starting).await {
            Ok(Look::Fine) if authority.is_none() => return,
            Ok(_) => {}
            Err(error) if starting => info!(
                error = plain(&error),
                "can't look after the APIService {NAME}: HPA reads may fail for up to 30 s after a start"
            ),
            Err(error) => debug!(
                error = plain(&error),
                "can't look after the APIService {NAME}"
            ),
        }
        if !starting && authority.is_none() {
            return;
        }
        looks += 1;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(if starting { PAUSE } else { LATER }) => {}
        }
    }
}

enum Look {
    /// It is available and trusts us, or there is none.
    Fine,
    Touched,
    Waiting,
}

async fn look(
    api: &Api<DynamicObject>,
    authority: Option<&[u8]>,
    starting: bool,
) -> Result<Look, kube::Error> {
    let Some(service) = api.get_opt(NAME).await? else {
        return Ok(Look::Fine);
    };
    let trust = authority.and_then(|pem| missing_trust(&service.data, pem));
    let available = is_available(&service.data);
    if trust.is_none() && (available || !starting) {
        return Ok(if available { Look::Fine } else { Look::Waiting });
    }
    let touched = json!({"annotations": {ANNOTATION: Timestamp::now().to_string()}});
    let patch = match trust {
        Some(bundle) => json!({"metadata": touched, "spec": {"caBundle": bundle}}),
        None => json!({"metadata": touched}),
    };
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    debug!("asked the aggregation layer to look at {NAME}");
    Ok(Look::Touched)
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
