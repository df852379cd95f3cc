//! TriggerAuthentication and ClusterTriggerAuthentication: a trigger's credentials.
//!
//! Everything read is followed, so a rotated Secret takes effect on the next poll. What is missing is a problem with the name of
//! the object and the field; a trigger is never built from what is left.

#[cfg(feature = "aws")]
mod aws;
mod outside;
mod pod_identity;

use std::collections::{BTreeMap, HashSet};

use sakidori_api::{
    AuthenticationRef, ClusterTriggerAuthenticationSpec, EnvRef, OAuth2, SecretKeyRef, TargetRef,
    TriggerAuthenticationSpec,
};
use sakidori_engine::ObjectKey;
use sakidori_scalers::PodIdentity;

use crate::environment::TargetEnvironment;
use crate::references::{Reference, References};

/// What an authentication resolved to. No `Debug`: it holds secrets.
#[derive(Default)]
pub struct Resolved {
    pub parameters: BTreeMap<String, String>,
    pub pod_identity: Option<PodIdentity>,
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
    let Some(reference) = reference.filter(|reference| !reference.name.is_empty()) else {
        return Resolved::default();
    };
    let problem = |problem: String| Resolved {
        problems: vec![problem],
        ..Resolved::default()
    };
    let is_cluster = match reference.kind.as_deref() {
        None | Some("" | "TriggerAuthentication") => false,
        Some("ClusterTriggerAuthentication") => true,
        Some(other) => {
            return problem(format!(
                "authenticationRef.kind is {other:?}: expected \"TriggerAuthentication\" or \"ClusterTriggerAuthentication\""
            ));
        }
    };
    let (object, namespace) = if is_cluster {
        let object = Reference::cluster_trigger_authentication(&reference.name);
        (object, cluster_object_namespace)
    } else {
        let object = Reference::trigger_authentication(&owner.namespace, &reference.name);
        (object, &*owner.namespace)
    };
    used.insert(object.clone());
    let spec = match references.get(owner, &object).await {
        Ok(Some(found)) if is_cluster => found
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
        Err(message) => return problem(message),
    };
    let mut resolution = Resolution {
        references,
        owner,
        object: &object,
        is_cluster,
        namespace,
        environment,
        used,
        resolved: Resolved::default(),
    };
    resolution.all(&spec).await;
    resolution.resolved
}

/// One authentication while it is resolved.
struct Resolution<'a, 'e> {
    references: &'a References,
    owner: &'a ObjectKey,
    /// The authentication itself.
    object: &'a Reference,
    is_cluster: bool,
    /// Where its Secrets, ConfigMaps and ServiceAccounts are.
    namespace: &'a str,
    environment: &'a mut TargetEnvironment<'e>,
    used: &'a mut HashSet<Reference>,
    resolved: Resolved,
}

impl Resolution<'_, '_> {
    async fn all(&mut self, spec: &TriggerAuthenticationSpec) {
        self.sources(spec).await;
        // Its role goes before a parameter of the same name.
        if let Some(identity) = &spec.pod_identity {
            self.pod_identity(identity).await;
        }
    }

    /// In KEDA's order: later ones win.
    async fn sources(&mut self, spec: &TriggerAuthenticationSpec) {
        if let Some(path) = spec.file_path.as_deref().filter(|path| !path.is_empty()) {
            // All parameters are in the file: nothing else counts.
            return self.file(path).await;
        }
        for (index, variable) in spec.env.iter().enumerate() {
            let value = self.variable(variable).await;
            self.set(&format!("env[{index}].name"), &variable.parameter, value);
        }
        for (index, entry) in spec.config_map_target_ref.iter().enumerate() {
            let source = Reference::config_map(self.namespace, &entry.name);
            let value = self.target(&source, entry).await;
            let field = format!("configMapTargetRef[{index}]");
            self.set(&field, &entry.parameter, value);
        }
        for (index, entry) in spec.secret_target_ref.iter().enumerate() {
            let source = Reference::secret(self.namespace, &entry.name);
            let value = self.target(&source, entry).await;
            self.set(
                &format!("secretTargetRef[{index}]"),
                &entry.parameter,
                value,
            );
        }
        if let Some(vault) = &spec.hashi_corp_vault {
            self.vault(vault).await;
        }
        for (field, is_used) in [
            ("azureKeyVault", spec.azure_key_vault.is_some()),
            ("gcpSecretManager", spec.gcp_secret_manager.is_some()),
        ] {
            if is_used {
                let problem = "not supported by this version: it comes later";
                self.problem(field, problem);
            }
        }
        if let Some(manager) = &spec.aws_secret_manager {
            #[cfg(feature = "aws")]
            self.aws_secrets(manager).await;
            #[cfg(not(feature = "aws"))]
            {
                let _ = manager;
                self.problem("awsSecretManager", "this operator was built without AWS");
            }
        }
        for (index, entry) in spec.bound_service_account_token.iter().enumerate() {
            let token = self.bound_token(&entry.service_account_name).await;
            let field = format!("boundServiceAccountToken[{index}]");
            self.set(&field, &entry.parameter, token);
        }
        if let Some(oauth2) = &spec.oauth2 {
            self.oauth2(oauth2).await;
        }
    }

    fn set(&mut self, field: &str, parameter: &str, value: Result<String, String>) {
        match value {
            Ok(value) => {
                let parameters = &mut self.resolved.parameters;
                parameters.insert(parameter.to_owned(), value);
            }
            Err(problem) => self.problem(field, &problem),
        }
    }

    fn problem(&mut self, field: &str, problem: &str) {
        let object = self.object;
        self.resolved
            .problems
            .push(format!("{object}: spec.{field}: {problem}"));
    }

    async fn variable(&mut self, variable: &EnvRef) -> Result<String, String> {
        let container = variable.container_name.as_deref();
        let environment = self.environment.of_container(container, self.used).await;
        let name = &variable.name;
        match environment.get(name) {
            Ok(Some(value)) => Ok(value.to_owned()),
            Ok(None) => Err(format!(
                "the target's container has no environment variable {name:?}; \
                 without containerName it is the first container"
            )),
            Err(problem) => Err(format!("environment variable {name:?}: {problem}")),
        }
    }

    async fn target(&mut self, source: &Reference, entry: &TargetRef) -> Result<String, String> {
        if entry.name.is_empty() || entry.key.is_empty() {
            return Err("name and key are required".to_owned());
        }
        self.used.insert(source.clone());
        let found = match self.references.get(self.owner, source).await {
            Ok(Some(found)) => found,
            Ok(None) => return Err(format!("{source} doesn't exist")),
            Err(error) => return Err(error.to_string()),
        };
        let key = &entry.key;
        let value = if source.is_secret() {
            match found.secret()?.remove(key) {
                Some(bytes) => Some(
                    String::from_utf8(bytes)
                        .map_err(|_| format!("{source}: the value of key {key:?} is no text"))?,
                ),
                None => None,
            }
        } else {
            found.config_map()?.remove(key)
        };
        value.ok_or_else(|| format!("{source} has no key {key:?}"))
    }

    /// `valueFrom.secretKeyRef` of a source's own credentials.
    async fn secret_key(&mut self, reference: &SecretKeyRef) -> Result<String, String> {
        let source = Reference::secret(self.namespace, &reference.name);
        let entry = TargetRef {
            name: reference.name.clone(),
            key: reference.key.clone(),
            ..TargetRef::default()
        };
        self.target(&source, &entry).await
    }

    async fn oauth2(&mut self, oauth2: &OAuth2) {
        let secret = match &oauth2.client_secret {
            Some(secret) => self.secret_key(&secret.value_from.secret_key_ref).await,
            // KEDA has an empty one then, too: a public client.
            None => Ok(String::new()),
        };
        self.set("oauth2.clientSecret", "clientSecret", secret);
        let mut set = |name: &str, value: String| {
            let parameters = &mut self.resolved.parameters;
            parameters.insert(name.to_owned(), value);
        };
        set("oauthTokenURI", oauth2.token_url.clone());
        set("clientID", oauth2.client_id.clone());
        if !oauth2.scopes.is_empty() {
            set("scopes", oauth2.scopes.join(","));
        }
        if !oauth2.token_url_params.is_empty() {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(&oauth2.token_url_params);
            set("endpointParams", form.finish());
        }
    }
}
