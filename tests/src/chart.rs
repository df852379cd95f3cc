//! The operator's ServiceAccount and rights as the chart gives them, so that every end-to-end test runs with exactly those. Helm fills
//! the templates in, as it does for a user.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use kube::core::DynamicObject;
use sakidori_test_cluster::{Cluster, python};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::operator::NAMESPACE;
use crate::{binary, manifests};

/// The ServiceAccount that the chart makes, in [`NAMESPACE`].
pub const SERVICE_ACCOUNT: &str = "keda-operator";

/// What says what somebody may do, and who that is.
const RIGHTS: [&str; 5] = [
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
];

/// Applies them, and gives a kubeconfig of that ServiceAccount. Besides what the chart allows by default the kinds of the tests can be
/// scaled.
///
/// # Errors
/// If Helm or the API server refuses something.
pub async fn service_account(cluster: &Cluster) -> Result<PathBuf> {
    let kinds: Vec<Value> = [
        ("", "replicationcontrollers"),
        ("sakidori.test", "workers"),
        ("sakidori.test", "latecomers"),
    ]
    .into_iter()
    .map(|(group, kind)| json!({"apiGroup": group, "kind": kind}))
    .collect();
    service_account_with(cluster, &json!({"rbac": {"scaledRefKinds": kinds}})).await
}

/// The same with these values of the chart.
///
/// # Errors
/// If Helm or the API server refuses something.
pub async fn service_account_with(cluster: &Cluster, values: &Value) -> Result<PathBuf> {
    let client = cluster.client();
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n");
    manifests::apply(&client, NAMESPACE, &namespace).await?;
    let rights = rights(values).await?;
    manifests::apply_objects(&client, NAMESPACE, &rights).await?;
    cluster
        .service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT)
        .await
}

/// What the chart's templates say of rights, with these values.
///
/// # Errors
/// If Helm can't be had, or can't fill them in.
pub async fn rights(values: &Value) -> Result<Vec<DynamicObject>> {
    let mut objects = render(values).await?;
    objects.retain(|object| {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        kind.is_some_and(|kind| RIGHTS.contains(&kind))
    });
    Ok(objects)
}

/// All that the chart installs, but the CRDs and what `helm test` runs.
///
/// # Errors
/// If Helm can't be had, or can't fill the templates in.
pub async fn render(values: &Value) -> Result<Vec<DynamicObject>> {
    let mut values = values.clone();
    values["image"]["keda"]["repository"] = "example.org/sakidori".into();
    values["crds"]["install"] = false.into();
    let template = ["template", "keda", "--namespace", NAMESPACE, "--skip-tests"];
    manifests::parse(&helm(&template, &values).await?)
}

/// What a command of Helm's prints for the chart with these values.
///
/// # Errors
/// If Helm can't be had, or ends with an error: what it said.
pub async fn helm(command: &[&str], values: &Value) -> Result<String> {
    let helm = tokio::task::spawn_blocking(python::helm).await??;
    let mut file = tempfile::NamedTempFile::new()?;
    // JSON is YAML, too.
    serde_json::to_writer(&mut file, values)?;
    let output = Command::new(&helm)
        .args(command)
        .arg("--values")
        .arg(file.path())
        .arg(binary::repository().join("charts/sakidori"))
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("can't start {}", helm.display()))?;
    ensure!(
        output.status.success(),
        "helm {}: {}",
        command.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
