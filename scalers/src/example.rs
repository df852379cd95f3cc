//! The examples in the scalers' own documentation, for the tests that build them: an example that doesn't work is worse
//! than none.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::clients::Clients;
use crate::clients::aws::AwsIdentity;
use crate::registry::Kind;
use crate::scaler::{
    Cluster, ClusterError, Context, Endpoint, Pod, PodIdentity, StoreKind, Stored, Trigger,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    kind: String,
    #[serde(default)]
    spec: Spec,
    /// A Secret's values.
    #[serde(default)]
    string_data: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    triggers: Vec<Listed>,
    #[serde(default)]
    secret_target_ref: Vec<Reference>,
    pod_identity: Option<Identity>,
}

#[derive(Deserialize)]
struct Identity {
    provider: String,
}

#[derive(Deserialize)]
struct Listed {
    r#type: String,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Reference {
    parameter: String,
    key: String,
}

/// The triggers of the example on a trigger type's page: in its one file, or in its folder's `mod.rs`.
pub fn of(kind: &Kind) -> Vec<Trigger> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module = source.join(kind.name.replace('-', "_"));
    let file = [module.with_extension("rs"), module.join("mod.rs")]
        .into_iter()
        .find(|file| file.is_file());
    let file = file.unwrap_or_else(|| panic!("{} has no file of its own", kind.name));
    triggers(&std::fs::read_to_string(file).unwrap())
}

/// The triggers of the ScaledObject in a file's `//!` header, with what the Secret and the TriggerAuthentication beside it
/// give: the YAML document or documents between the header's first pair of fences.
pub fn triggers(source: &str) -> Vec<Trigger> {
    let header = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line));
    let yaml: Vec<&str> = header
        .skip_while(|line| !line.starts_with("```yaml"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .collect();
    let documents: Vec<Document> = serde_saphyr::from_multiple(&yaml.join("\n")).unwrap();
    let secret = documents.iter().find(|document| document.kind == "Secret");
    let authentication: BTreeMap<String, String> = documents
        .iter()
        .filter(|document| document.kind.ends_with("TriggerAuthentication"))
        .flat_map(|document| &document.spec.secret_target_ref)
        .map(|entry| {
            let value = &secret.expect("a Secret beside the example").string_data[&entry.key];
            (entry.parameter.clone(), value.clone())
        })
        .collect();
    let identity = documents
        .iter()
        .find_map(|document| document.spec.pod_identity.as_ref())
        .map(|identity| {
            assert_eq!(identity.provider, "aws", "the one that scalers know");
            PodIdentity::Aws(AwsIdentity::default())
        });
    let scaled = documents
        .iter()
        .find(|document| document.kind == "ScaledObject");
    let triggers = &scaled.expect("a ScaledObject in the example").spec.triggers;
    triggers
        .iter()
        .map(|listed| {
            let mut trigger = Trigger::new(&listed.r#type);
            trigger.metadata = listed.metadata.clone();
            trigger.authentication = authentication.clone();
            trigger.pod_identity = identity.clone();
            trigger
        })
        .collect()
}

/// A context whose cluster holds `pods`, whatever is asked for.
pub fn context(pods: Vec<Pod>) -> Context {
    struct Fixed(Vec<Pod>);
    #[async_trait]
    impl Cluster for Fixed {
        async fn pods(&self, _: &str, _: &str) -> Result<Vec<Pod>, ClusterError> {
            Ok(self.0.clone())
        }
        async fn ready_endpoints(&self, _: &str, _: &str) -> Result<Vec<Endpoint>, ClusterError> {
            Ok(Vec::new())
        }
        async fn stored(
            &self,
            _: StoreKind,
            _: &str,
            _: &str,
            _: &str,
        ) -> Result<Stored, ClusterError> {
            Ok(Stored::NoObject)
        }
    }
    Context {
        clients: Arc::new(Clients::default()),
        cluster: Arc::new(Fixed(pods)),
    }
}
