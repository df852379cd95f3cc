//! Applying manifests as `kubectl apply --server-side` would: any kind that the API server knows.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, Patch, PatchParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::{self, Scope};
use sakidori_test_cluster::eventually;
use tokio::process::Command;

use crate::binary;

/// The field manager of everything that is applied here.
pub const FIELD_MANAGER: &str = "sakidori-tests";

/// Reads all documents of a YAML text.
///
/// # Errors
/// If the text is no YAML, or a document is no Kubernetes object.
pub fn parse(yaml: &str) -> Result<Vec<DynamicObject>> {
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(yaml).context("this is no YAML")?;
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(|document| {
            let start: String = document.to_string().chars().take(80).collect();
            serde_json::from_value(document)
                .with_context(|| format!("this is no Kubernetes object: {start}"))
        })
        .collect()
}

/// Reads all `*.yaml` files of a folder, in the order of their names, as `kubectl apply -f FOLDER` does.
///
/// # Errors
/// If there is no such file, or one of them does not parse; the error names it.
pub fn parse_folder(folder: &Path) -> Result<Vec<DynamicObject>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            files.push(path);
        }
    }
    ensure!(!files.is_empty(), "{} has no manifest", folder.display());
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("can't read {}", file.display()))?;
        objects.extend(parse(&text).with_context(|| file.display().to_string())?);
    }
    Ok(objects)
}

/// Applies all documents of a YAML text. Objects that name no namespace go to `namespace`.
///
/// # Errors
/// If one does not parse, or the API server refuses one; the error names it.
pub async fn apply(client: &Client, namespace: &str, yaml: &str) -> Result<Vec<DynamicObject>> {
    apply_objects(client, namespace, &parse(yaml)?).await
}

/// Applies objects one after the other, and gives what the API server made of them.
///
/// # Errors
/// If the API server refuses one; the error names it.
pub async fn apply_objects(
    client: &Client,
    namespace: &str,
    objects: &[DynamicObject],
) -> Result<Vec<DynamicObject>> {
    let mut applied = Vec::with_capacity(objects.len());
    for object in objects {
        let name = object
            .metadata
            .name
            .as_deref()
            .context("an object without metadata.name can't be applied")?;
        let (api, resource) = api_of(client, namespace, object).await?;
        let answer = api
            .patch(
                name,
                &PatchParams::apply(FIELD_MANAGER).force(),
                &Patch::Apply(object),
            )
            .await
            .with_context(|| format!("can't apply {} {name:?}", resource.kind))?;
        applied.push(answer);
    }
    Ok(applied)
}

/// The API of an object's own kind, in its own namespace or else in `namespace`.
///
/// # Errors
/// If it doesn't say what it is, or the API server knows no such kind.
pub async fn api_of(
    client: &Client,
    namespace: &str,
    object: &DynamicObject,
) -> Result<(Api<DynamicObject>, ApiResource)> {
    let types = object
        .types
        .as_ref()
        .context("an object without apiVersion and kind can't be applied")?;
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) =
        discovery::pinned_kind(client, &kind)
            .await
            .with_context(|| {
                format!(
                    "the API server knows no {} of {}",
                    types.kind, types.api_version
                )
            })?;
    let api = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    Ok((api, resource))
}

/// Installs the custom resource definitions that `sakidori crds` prints, and waits until they are served.
///
/// # Errors
/// If the command fails, or the API server refuses one.
pub async fn install_crds(client: &Client) -> Result<()> {
    let program = binary::sakidori()?;
    let output = Command::new(&program).arg("crds").output().await?;
    if !output.status.success() {
        bail!(
            "`sakidori crds` ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let definitions = parse(std::str::from_utf8(&output.stdout)?)
        .context("`sakidori crds` prints no manifests")?;
    ensure!(!definitions.is_empty(), "`sakidori crds` prints nothing");
    apply_objects(client, "", &definitions).await?;

    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in &definitions {
        let name = definition.metadata.name.as_deref().unwrap_or_default();
        eventually(
            &format!("established CRD {name}"),
            Duration::from_secs(20),
            async || {
                let conditions = api
                    .get(name)
                    .await?
                    .status
                    .and_then(|status| status.conditions)
                    .unwrap_or_default();
                let established = conditions.iter().any(|condition| {
                    condition.type_ == "Established" && condition.status == "True"
                });
                Ok(established.then_some(()))
            },
        )
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_document_and_skips_empty_ones() {
        let objects = parse("---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: b\n").unwrap();
        let names: Vec<_> = objects
            .iter()
            .map(|object| object.metadata.name.clone().unwrap())
            .collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn says_which_document_is_no_object() {
        let error = parse("metadata: 7\n").unwrap_err();
        assert!(
            format!("{error:#}").contains(r#"no Kubernetes object: {"metadata":7}"#),
            "{error:#}"
        );
    }
}
