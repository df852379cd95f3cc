//! Tells the aggregation layer that this server is back.
//!
//! While nobody listened, kube-apiserver marked the APIService unavailable and looks again only with a growing back-off (up
//! to 30 s), during which every HPA read fails. It looks at once when the APIService changes: so after a start an annotation
//! is touched, only where the APIService is marked unavailable.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use sakidori_engine::Spell;
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
/// Runs until the APIService is available or seems not to be ours, or until `shutdown`.
pub async fn announce(client: Client, shutdown: CancellationToken) {
    let kind = GroupVersionKind::gvk("apiregistration.k8s.io", "v1", "APIService");
    let resource = ApiResource::from_gvk_with_plural(&kind, "apiservices");
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut failing = Spell::default();
    for _ in 0..LOOKS {
        match look(&api).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                let error = plain(&error);
                if failing.fails(Timestamp::now(), &error) {
                    info!(
                        error,
                        "can't look after the APIService {NAME}: HPA reads may fail for up to 30 s after a start"
                    );
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// True where it is available, or there is none.
async fn look(api: &Api<DynamicObject>) -> Result<bool, kube::Error> {
    let Some(service) = api.get_opt(NAME).await? else {
        return Ok(true);
    };
    if is_available(&service.data) {
        return Ok(true);
    }
    let patch = json!({"metadata": {"annotations": {ANNOTATION: Timestamp::now().to_string()}}});
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    debug!("asked the aggregation layer to look at {NAME}");
    Ok(false)
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
}
