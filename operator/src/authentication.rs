//! TriggerAuthentication and ClusterTriggerAuthentication: a trigger's credentials.
//!
//! Everything read is watched, so a rotated Secret takes effect on the next poll. What is missing is a problem with the name of
//! the object and the field; the trigger goes on without it.

use std::collections::{BTreeMap, HashSet};

use sakidori_api::{
    AuthenticationRef, ClusterTriggerAuthenticationSpec, TargetRef, TriggerAuthenticationSpec,
};
use sakidori_engine::ObjectKey;

use crate::environment::TargetEnvironment;
use crate::references::{Reference, References};

/// What an authentication resolved to. No `Debug`: it holds secrets.
#[derive(Default)]
pub struct Resolved {
    pub parameters: BTreeMap<String, String>,
    pub problems: Vec<String>,
}

/// Resolves a trigger's `authenticationRef`. `cluster_object_namespace` is where ClusterTriggerAuthentications have their
/// Secrets. Everything read is put into `used`.
pub async fn resolve(
    references: &References,
    owner: &ObjectKey,
    cluster_object_namespace: &str,
    reference: Option<&AuthenticationRef>,
    environment: &mut TargetEnvironment<'_>,
    used: &mut HashSet<Reference>,
) -> Resolved {
    let mut resolved = Resolved::default();
    let Some(reference) = reference.filter(|reference| !reference.name.is_empty()) else {
        return resolved;
    };
    let cluster = match reference.kind.as_deref() {
        None | Some("" | "TriggerAuthentication") => false,
        Some("ClusterTriggerAuthentication") => true,
        Some(other) => {
            resolved.problems.push(format!(
                "authenticationRef.kind is {other:?}: expected \"TriggerAuthentication\" or \"ClusterTriggerAuthentication\""
            ));
            return resolved;
        }
    };
    let (object, namespace) = if cluster {
        (
            Reference::cluster_trigger_authentication(&reference.name),
            cluster_object_namespace,
        )
    } else {
        (
            Reference::trigger_authentication(&owner.namespace, &reference.name),
            &*owner.namespace,
        )
    };
    used.insert(object.clone());
    let spec = match references.get(owner, &object).await {
        Ok(Some(found)) if cluster => found
            .field::<ClusterTriggerAuthenticationSpec>("/spec")
            .map(|spec| spec.map(|spec| spec.0)),
        Ok(Some(found)) => found.field::<TriggerAuthenticationSpec>("/spec"),
        Ok(None) => Err(format!(
            "{object} doesn't exist: create it, or correct authenticationRef.name"
        )),
        Err(error) => Err(error.to_string()),
    };
    let spec = match spec {
        Ok(spec) => spec.unwrap_or_default(),
        Err(problem) => {
            resolved.problems.push(problem);
            return resolved;
        }
    };

    for field in unsupported(&spec) {
        resolved.problems.push(format!(
            "{object}: spec.{field} is not supported by this version"
        ));
    }
    // KEDA's order: later ones win.
    for (index, variable) in spec.env.iter().enumerate() {
        let container = environment
            .of_container(variable.container_name.as_deref(), used)
            .await;
        match container.variables.get(&variable.name) {
            Some(value) => drop(
                resolved
                    .parameters
                    .insert(variable.parameter.clone(), value.clone()),
            ),
            None => {
                let mut problem = format!(
                    "{object}: spec.env[{index}].name: the target's container has no environment variable {:?}",
                    variable.name
                );
                if !container.problems.is_empty() {
                    problem.push_str(&format!(" ({})", container.problems.join("; ")));
                }
                resolved.problems.push(problem);
            }
        }
    }
    let lists = [
        (
            "configMapTargetRef",
            &spec.config_map_target_ref,
            Reference::config_map as fn(&str, &str) -> Reference,
        ),
        (
            "secretTargetRef",
            &spec.secret_target_ref,
            Reference::secret,
        ),
    ];
    for (field, list, source) in lists {
        for (index, entry) in list.iter().enumerate() {
            let source = source(namespace, &entry.name);
            used.insert(source.clone());
            match value(references, owner, &source, entry).await {
                Ok(value) => drop(resolved.parameters.insert(entry.parameter.clone(), value)),
                Err(problem) => resolved
                    .problems
                    .push(format!("{object}: spec.{field}[{index}]: {problem}")),
            }
        }
    }
    resolved
}

async fn value(
    references: &References,
    owner: &ObjectKey,
    source: &Reference,
    entry: &TargetRef,
) -> Result<String, String> {
    let found = match references.get(owner, source).await {
        Ok(Some(found)) => found,
        Ok(None) => return Err(format!("{source} doesn't exist")),
        Err(error) => return Err(error.to_string()),
    };
    let value =
        if source.kind() == "Secret" {
            match found.secret()?.remove(&entry.key) {
                Some(bytes) => Some(String::from_utf8(bytes).map_err(|_| {
                    format!("{source}: the value of key {:?} is no text", entry.key)
                })?),
                None => None,
            }
        } else {
            found.config_map()?.remove(&entry.key)
        };
    value.ok_or_else(|| format!("{source} has no key {:?}", entry.key))
}

/// The fields in use that this version can't resolve.
fn unsupported(spec: &TriggerAuthenticationSpec) -> Vec<&'static str> {
    let identity = spec
        .pod_identity
        .as_ref()
        .is_some_and(|identity| !matches!(&*identity.provider, "" | "none"));
    [
        ("podIdentity", identity),
        (
            "filePath",
            spec.file_path.as_ref().is_some_and(|path| !path.is_empty()),
        ),
        ("hashiCorpVault", spec.hashi_corp_vault.is_some()),
        ("azureKeyVault", spec.azure_key_vault.is_some()),
        ("gcpSecretManager", spec.gcp_secret_manager.is_some()),
        ("awsSecretManager", spec.aws_secret_manager.is_some()),
        (
            "boundServiceAccountToken",
            !spec.bound_service_account_token.is_empty(),
        ),
        ("oauth2", spec.oauth2.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, used)| used.then_some(field))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_supported_is_named() {
        let spec = |value| serde_json::from_value::<TriggerAuthenticationSpec>(value).unwrap();
        assert!(unsupported(&spec(json!({"podIdentity": {"provider": "none"}}))).is_empty());
        assert_eq!(
            unsupported(&spec(
                json!({"podIdentity": {"provider": "aws"}, "filePath": "x.json"})
            )),
            ["podIdentity", "filePath"]
        );
    }
}
