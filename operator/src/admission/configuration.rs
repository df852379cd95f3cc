//! Tells the API server whom to trust behind the webhooks: where the operator makes its own certificates
//! (`--enable-cert-rotation`), their authority is put into its ValidatingWebhookConfiguration.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api_error::plain;

/// Between looks: the configuration may be installed after the operator, or lose the authority to an upgrade.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Puts `authority` (PEM) into every webhook of the configuration that lacks it, until `shutdown`.
pub async fn announce(
    client: Client,
    name: String,
    authority: Vec<u8>,
    shutdown: CancellationToken,
) {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client);
    let mut complained = false;
    loop {
        match look(&api, &name, &authority).await {
            Ok(changed) => {
                complained = false;
                if changed {
                    info!("put the authority into the ValidatingWebhookConfiguration {name}");
                }
            }
            Err(error) if !complained => {
                complained = true;
                warn!(
                    error = plain(&error),
                    "can't look after the ValidatingWebhookConfiguration {name}"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// True where something was written. A change in between is a conflict, and looked at again.
async fn look(
    api: &Api<ValidatingWebhookConfiguration>,
    name: &str,
    authority: &[u8],
) -> Result<bool, kube::Error> {
    let Some(mut configuration) = api.get_opt(name).await? else {
        return Ok(false);
    };
    if !trust(&mut configuration, authority) {
        return Ok(false);
    }
    api.replace(name, &PostParams::default(), &configuration)
        .await?;
    Ok(true)
}

/// True where one of the webhooks lacked the authority.
fn trust(configuration: &mut ValidatingWebhookConfiguration, authority: &[u8]) -> bool {
    let mut changed = false;
    for webhook in configuration.webhooks.iter_mut().flatten() {
        let bundle = &mut webhook.client_config.ca_bundle;
        if bundle.as_ref().is_none_or(|bundle| bundle.0 != authority) {
            *bundle = Some(ByteString(authority.to_vec()));
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trust_is_put_where_it_is_missing_and_nothing_else_changes() {
        let webhook = |name: &str, client: serde_json::Value| json!({"name": name, "clientConfig": client, "admissionReviewVersions": ["v1"], "sideEffects": "None"});
        let url = "https://a.example/b";
        let configuration = |bundles: [Option<&str>; 2]| -> ValidatingWebhookConfiguration {
            let client = |bundle: Option<&str>| match bundle {
                Some(bundle) => json!({"url": url, "caBundle": bundle}),
                None => json!({"url": url}),
            };
            let [a, b] = bundles.map(client);
            let webhooks = [webhook("a", a), webhook("b", b)];
            serde_json::from_value(json!({"metadata": {}, "webhooks": webhooks})).unwrap()
        };
        let (pem, old) = (Some("cGVt"), Some("b2xk"));
        let mut lacking = configuration([old, None]);
        assert!(trust(&mut lacking, b"pem"));
        assert_eq!(lacking, configuration([pem, pem]));
        assert!(!trust(&mut lacking, b"pem"));
    }
}
