//! The operator's ServiceAccount and rights as the chart gives them, so that every end-to-end test runs with exactly those.
//!
//! Their templates hold nothing but the release's namespace and labels, and the name of one Secret, so no Helm is needed to fill them in.

use std::path::PathBuf;

use anyhow::{Context, Result};
use sakidori_test_cluster::Cluster;

use crate::operator::NAMESPACE;
use crate::{binary, manifests};

/// The ServiceAccount that the chart makes, in [`NAMESPACE`].
pub const SERVICE_ACCOUNT: &str = "keda-operator";

/// The chart's default for the Secret that the operator makes.
const CERTIFICATES: &str = "kedaorg-certs";

const TEMPLATES: &[&str] = &["service-account.yaml", "cluster-role.yaml", "bindings.yaml"];

/// Applies them, and gives a kubeconfig of that ServiceAccount.
///
/// # Errors
/// If a template can't be read or the API server refuses what is in it.
pub async fn service_account(cluster: &Cluster) -> Result<PathBuf> {
    let client = cluster.client();
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n");
    manifests::apply(&client, NAMESPACE, &namespace).await?;
    for template in TEMPLATES {
        let path = binary::repository()
            .join("charts/sakidori/templates")
            .join(template);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("can't read {}", path.display()))?;
        manifests::apply(&client, NAMESPACE, &filled_in(&text))
            .await
            .with_context(|| path.display().to_string())?;
    }
    cluster
        .service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT)
        .await
}

fn filled_in(template: &str) -> String {
    template
        .lines()
        // The labels, which are an include on a line of its own.
        .filter(|line| !line.contains("{{-"))
        .map(|line| {
            line.replace("{{ .Release.Namespace }}", NAMESPACE)
                .replace("{{ .Values.certificates.secretName }}", CERTIFICATES)
                + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for template in TEMPLATES {
            let path = binary::repository()
                .join("charts/sakidori/templates")
                .join(template);
            let text = filled_in(&std::fs::read_to_string(path).unwrap());
            assert!(
                !text.contains("{{"),
                "{template} holds more than a namespace and labels:\n{text}"
            );
            manifests::parse(&text).unwrap();
        }
    }
}
