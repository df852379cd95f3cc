//! That no secret is ever told: every secret of the end-to-end cases can be recognised, and is searched for in what the operator
//! logs, publishes and writes.

use anyhow::{Result, bail};
use kube::Client;
use serde_json::Value;

/// Every secret that a case makes up begins with this, and nothing else does.
pub const CANARY: &str = "canary-3f9a";

/// What must stand nowhere.
const SECRETS: &[&str] = &[
    CANARY,
    // The canary in base64, at each of the three places where it can begin.
    "Y2FuYXJ5LTNmOW",
    "NhbmFyeS0zZjlh",
    "jYW5hcnktM2Y5Y",
    // The broker's user with its password, as in a URL and in a header.
    "guest:guest",
    "Z3Vlc3Q6Z3Vlc3Q",
    // The beginning of every token of a ServiceAccount, and of keys.
    "eyJhbGciOi",
    "PRIVATE KEY",
];

/// # Errors
/// With the lines of `text` that tell a secret.
pub fn tells_no_secret(what: &str, text: &str) -> Result<()> {
    let told: Vec<&str> = text
        .lines()
        .filter(|line| SECRETS.iter().any(|secret| line.contains(secret)))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    bail!("{what} tells a secret, in {} lines: {told:#?}", told.len())
}

/// Searches what the operator shows to people in the whole cluster: Events, and the status of what it reads.
///
/// # Errors
/// With the lines that tell a secret.
pub async fn cluster_tells_no_secret(client: &Client) -> Result<()> {
    for (resource, shown) in [
        ("events.k8s.io/v1/events", ""),
        ("keda.sh/v1alpha1/scaledobjects", "/status"),
        ("keda.sh/v1alpha1/triggerauthentications", "/status"),
        ("keda.sh/v1alpha1/clustertriggerauthentications", "/status"),
        ("sakidori.dev/v1alpha1/salecalendars", "/status"),
        ("sakidori.dev/v1alpha1/clustersalecalendars", "/status"),
        ("autoscaling/v2/horizontalpodautoscalers", ""),
    ] {
        let request = http::Request::get(format!("/apis/{resource}")).body(Vec::new())?;
        let list = client.request::<Value>(request).await;
        let Ok(list) = list else {
            // A case that took the API server away, or has no CRDs: others look.
            continue;
        };
        for item in list["items"].as_array().into_iter().flatten() {
            let Some(shown) = item.pointer(shown) else {
                continue;
            };
            let name = format!(
                "{resource} {}/{}",
                item["metadata"]["namespace"], item["metadata"]["name"]
            );
            tells_no_secret(&name, &shown.to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A check that finds nothing shows nothing.
    #[test]
    fn a_secret_is_found_in_any_form() {
        for told in [
            "password canary-3f9a-one",
            // `canary-3f9a-one`, `:canary-3f9a-one` and `a:canary-3f9a-one`.
            "Y2FuYXJ5LTNmOWEtb25l",
            "OmNhbmFyeS0zZjlhLW9uZQ==",
            "YTpjYW5hcnktM2Y5YS1vbmU=",
            "amqp://guest:guest@127.0.0.1",
            "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Ing",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            let text = format!("a line\nanother {told} line");
            let error = tells_no_secret("the log", &text).unwrap_err().to_string();
            assert!(error.contains("the log") && error.contains(told), "{error}");
        }
        tells_no_secret("the log", "a canary sang\nguest may").unwrap();
    }
}
