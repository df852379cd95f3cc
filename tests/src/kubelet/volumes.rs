//! A pod's volumes as folders on this machine, filled once when the pod starts.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::command::{field, list, text};

/// The content of files by their names.
type Files = BTreeMap<String, Vec<u8>>;

/// Writes all volumes of `pod` below `folder`, and gives where each is.
///
/// # Errors
/// If something that a volume names isn't there yet, or is not understood here.
pub async fn write(
    client: &Client,
    pod: &Value,
    address: Ipv4Addr,
    folder: &Path,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut volumes = BTreeMap::new();
    for volume in list(&pod["spec"]["volumes"]) {
        let name = text(&volume["name"]);
        let path = folder.join(&name);
        std::fs::create_dir_all(&path)?;
        if volume["emptyDir"].is_null() {
            let files = content(client, pod, address, volume)
                .await
                .with_context(|| format!("volume {name}"))?;
            for (file, content) in files {
                let file = path.join(file);
                std::fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
                std::fs::write(file, content)?;
            }
        } else {
            // A kubelet lets everybody write to it.
            std::fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        }
        volumes.insert(name, path);
    }
    Ok(volumes)
}

async fn content(client: &Client, pod: &Value, address: Ipv4Addr, volume: &Value) -> Result<Files> {
    if let Some(sources) = volume["projected"]["sources"].as_array() {
        let mut files = Files::new();
        for source in sources {
            files.extend(source_content(client, pod, address, source).await?);
        }
        return Ok(files);
    }
    let mut source = volume.clone();
    // A volume of its own names its Secret in other words than one of several sources.
    if let Some(secret) = source["secret"].as_object_mut()
        && let Some(name) = secret.remove("secretName")
    {
        secret.insert("name".to_owned(), name);
    }
    source_content(client, pod, address, &source).await
}

async fn source_content(
    client: &Client,
    pod: &Value,
    address: Ipv4Addr,
    source: &Value,
) -> Result<Files> {
    let namespace = text(&pod["metadata"]["namespace"]);
    if let Some(token) = source["serviceAccountToken"].as_object() {
        let token = json!(token);
        let content = service_account_token(client, pod, &token).await?;
        return Ok(Files::from([(text(&token["path"]), content)]));
    }
    if !source["downwardAPI"].is_null() {
        let items = list(&source["downwardAPI"]["items"]).iter();
        return items
            .map(|item| {
                let value = field(pod, address, &text(&item["fieldRef"]["fieldPath"]))?;
                Ok((text(&item["path"]), value.into_bytes()))
            })
            .collect();
    }
    for (kind, resource) in [("secret", "secrets"), ("configMap", "configmaps")] {
        let named = &source[kind];
        if named.is_null() {
            continue;
        }
        let name = text(&named["name"]);
        let Some(object) = get(client, &namespace, resource, &name).await? else {
            ensure!(named["optional"] == true, "there is no {kind} {name}");
            return Ok(Files::new());
        };
        let files = entries(&object)?;
        let items = list(&named["items"]);
        if items.is_empty() {
            return Ok(files);
        }
        let of_item = |item: &Value| {
            let key = text(&item["key"]);
            let content = files.get(&key).cloned();
            let content = content.with_context(|| format!("{kind} {name} has no key {key}"))?;
            Ok((text(&item["path"]), content))
        };
        return items.iter().map(of_item).collect();
    }
    bail!("{source} is not understood here")
}

/// The token that the pod shows the API server, bound to the pod as a kubelet's is.
async fn service_account_token(client: &Client, pod: &Value, token: &Value) -> Result<Vec<u8>> {
    let namespace = text(&pod["metadata"]["namespace"]);
    let audiences: Vec<&str> = token["audience"].as_str().into_iter().collect();
    let request: TokenRequest = serde_json::from_value(json!({"spec": {
        "audiences": audiences,
        "expirationSeconds": token["expirationSeconds"],
        "boundObjectRef": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
    }}))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let account = text(&pod["spec"]["serviceAccountName"]);
    let answer = accounts
        .create_token_request(&account, &PostParams::default(), &request)
        .await?;
    let status = answer.status.context("a token request without an answer")?;
    Ok(status.token.into_bytes())
}

/// An object of the core group; none if there is none.
///
/// # Errors
/// If the API server doesn't answer.
pub async fn get(
    client: &Client,
    namespace: &str,
    resource: &str,
    name: &str,
) -> Result<Option<Value>> {
    let path = format!("/api/v1/namespaces/{namespace}/{resource}/{name}");
    match client
        .request(http::Request::get(path).body(Vec::new())?)
        .await
    {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All keys of a Secret or ConfigMap.
///
/// # Errors
/// If a Secret's values aren't what the API server gives.
pub fn entries(object: &Value) -> Result<Files> {
    let secret = object["kind"] == "Secret";
    let data = object["data"].as_object().into_iter().flatten();
    data.map(|(key, value)| {
        let value = text(value);
        let content = if secret {
            STANDARD.decode(value)?
        } else {
            value.into_bytes()
        };
        Ok((key.clone(), content))
    })
    .collect()
}
