//! The rules for TriggerAuthentications and ClusterTriggerAuthentications.

use kube::api::DynamicObject;
use serde::Deserialize;

use super::spec_of;
use super::verdict::Verdict;

/// KEDA counts only what it refuses of ScaledObjects and ScaledJobs.
const REASON: &str = "incorrect-authentication";

/// What the rules look at. Not the type itself: an absent text is an empty one here, as it is for KEDA.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    pod_identity: Option<PodIdentity>,
    oauth2: Option<OAuth2>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodIdentity {
    provider: String,
    identity_id: Option<String>,
    identity_tenant_id: Option<String>,
    identity_authority_host: Option<String>,
    role_arn: Option<String>,
    #[serde(rename = "externalID")]
    external_id: Option<String>,
    identity_owner: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OAuth2 {
    #[serde(rename = "type")]
    type_: Option<String>,
    client_id: String,
    token_url: String,
}

pub fn judge(object: &DynamicObject) -> Verdict {
    let mut verdict = Verdict::default();
    let spec: Spec = match spec_of(object) {
        Ok(spec) => spec,
        Err(error) => {
            verdict.refuse(REASON, error);
            return verdict;
        }
    };
    let identity = spec.pod_identity.as_ref();
    let provider = identity.map(|identity| identity.provider.as_str());
    let of_identity = match (provider, identity) {
        (Some("azure-workload"), Some(identity)) => azure_workload(identity),
        (Some("aws"), Some(identity)) => aws(identity),
        _ => Vec::new(),
    };
    for text in of_identity {
        verdict.refuse(REASON, text);
    }
    // Beside any other provider KEDA doesn't look at oauth2.
    let keda_looks = matches!(provider, None | Some("azure-workload" | "aws"));
    for text in spec.oauth2.iter().flat_map(oauth2) {
        match keda_looks {
            true => verdict.refuse(REASON, text),
            false => verdict.refuse_beyond_keda(REASON, text),
        }
    }
    verdict
}

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

fn given_empty(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(String::is_empty)
}

fn azure_workload(identity: &PodIdentity) -> Vec<String> {
    let mut broken = Vec::new();
    if given_empty(&identity.identity_id) {
        broken.push("identityId of PodIdentity should not be empty. If it's set, identityId has to be different than \"\"".to_owned());
    }
    if given(&identity.identity_authority_host) {
        if !given(&identity.identity_tenant_id) {
            broken.push("identityTenantID of PodIdentity should not be nil or empty when identityAuthorityHost of PodIdentity is set".to_owned());
        }
    } else if given_empty(&identity.identity_tenant_id) {
        broken.push("identityTenantId of PodIdentity should not be empty. If it's set, identityTenantId has to be different than \"\"".to_owned());
    }
    broken
}

fn aws(identity: &PodIdentity) -> Vec<String> {
    let mut broken = Vec::new();
    if given(&identity.role_arn) && identity.identity_owner.as_deref() == Some("workload") {
        broken.push("roleArn of PodIdentity can't be set if KEDA isn't identityOwner".to_owned());
    }
    if given(&identity.external_id) && !given(&identity.role_arn) {
        broken.push("externalID of PodIdentity requires roleArn to be set".to_owned());
    }
    broken
}

fn oauth2(oauth2: &OAuth2) -> Vec<String> {
    let mut broken = Vec::new();
    // The CRD's default.
    let grant = oauth2.type_.as_deref().unwrap_or("clientCredentials");
    if grant != "clientCredentials" {
        broken.push(format!(
            "oauth2.type must be 'clientCredentials', got '{grant}'"
        ));
    }
    if oauth2.client_id.is_empty() {
        broken.push("oauth2.clientId is required when oauth2 is configured".to_owned());
    }
    if oauth2.token_url.is_empty() {
        broken.push("oauth2.tokenUrl is required when oauth2 is configured".to_owned());
    } else if !is_http_url(&oauth2.token_url) {
        broken.push("oauth2.tokenUrl must be a valid http or https URL".to_owned());
    }
    broken
}

/// `http` or `https` with a host, as Go's parser sees it.
fn is_http_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let scheme = scheme.to_ascii_lowercase();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let readable = !text.chars().any(|c| c.is_control()) && !host.contains(' ');
    matches!(scheme.as_str(), "http" | "https") && !host.is_empty() && readable
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn texts(spec: Value) -> Vec<String> {
        let object = serde_json::from_value(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": "a"}, "spec": spec,
        }));
        judge(&object.unwrap()).texts()
    }

    #[test]
    fn the_identity_of_azure() {
        let texts = |rest: Value| {
            let mut identity = rest;
            identity["provider"] = json!("azure-workload");
            texts(json!({"podIdentity": identity}))
        };
        let empty_id = "identityId of PodIdentity should not be empty. If it's set, identityId has to be different than \"\"";
        let no_tenant = "identityTenantID of PodIdentity should not be nil or empty when identityAuthorityHost of PodIdentity is set";
        let empty_tenant = "identityTenantId of PodIdentity should not be empty. If it's set, identityTenantId has to be different than \"\"";
        let cases: [(Value, &[&str]); 6] = [
            (json!({}), &[]),
            (
                json!({"identityId": "a", "identityTenantId": "b", "identityAuthorityHost": "c"}),
                &[],
            ),
            (json!({"identityId": ""}), &[empty_id]),
            (json!({"identityAuthorityHost": "c"}), &[no_tenant]),
            (
                json!({"identityAuthorityHost": "c", "identityTenantId": ""}),
                &[no_tenant],
            ),
            (
                json!({"identityId": "", "identityTenantId": ""}),
                &[empty_id, empty_tenant],
            ),
        ];
        for (rest, expected) in cases {
            assert_eq!(texts(rest.clone()), expected, "{rest}");
        }
    }

    #[test]
    fn the_identity_of_aws() {
        let texts = |rest: Value| {
            let mut identity = rest;
            identity["provider"] = json!("aws");
            texts(json!({"podIdentity": identity}))
        };
        let owner = "roleArn of PodIdentity can't be set if KEDA isn't identityOwner";
        let external = "externalID of PodIdentity requires roleArn to be set";
        let cases: [(Value, &[&str]); 5] = [
            (json!({"roleArn": "a", "externalID": "b"}), &[]),
            (json!({"roleArn": "a", "identityOwner": "keda"}), &[]),
            (json!({"identityOwner": "workload"}), &[]),
            (
                json!({"roleArn": "a", "identityOwner": "workload"}),
                &[owner],
            ),
            (json!({"externalID": "b"}), &[external]),
        ];
        for (rest, expected) in cases {
            assert_eq!(texts(rest.clone()), expected, "{rest}");
        }
    }

    #[test]
    fn the_grant_of_oauth2() {
        let no_client = "oauth2.clientId is required when oauth2 is configured";
        let no_url = "oauth2.tokenUrl is required when oauth2 is configured";
        let bad_url = "oauth2.tokenUrl must be a valid http or https URL";
        let url = |url: &str| json!({"clientId": "a", "tokenUrl": url});
        let cases: [(Value, &[&str]); 9] = [
            (url("https://login.example.org/token"), &[]),
            (url("HTTP://login:8080"), &[]),
            (json!({}), &[no_client, no_url]),
            (
                json!({"type": "password", "clientId": "a", "tokenUrl": "http://b"}),
                &["oauth2.type must be 'clientCredentials', got 'password'"],
            ),
            (url("ftp://b"), &[bad_url]),
            (url("b/token"), &[bad_url]),
            (url("https://"), &[bad_url]),
            (url("https:///token"), &[bad_url]),
            (url("https://user@/token"), &[bad_url]),
        ];
        for (oauth2, expected) in cases {
            assert_eq!(texts(json!({"oauth2": oauth2})), expected, "{oauth2}");
            // KEDA doesn't look at it then.
            let beside = json!({"oauth2": oauth2, "podIdentity": {"provider": "gcp"}});
            assert_eq!(texts(beside), expected, "{oauth2}");
        }
    }
}
