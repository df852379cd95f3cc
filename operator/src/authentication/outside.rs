//! Sources of an authentication that are no objects of the cluster: files, tokens, Vault.

use std::collections::BTreeMap;
use std::sync::Arc;

use sakidori_api::{HashiCorpVault, VaultPki, VaultSecret};
use serde_json::{Map, Value};

use super::Resolution;
use crate::credentials::{Credential, Login, Method, Request, TokenFrom, TokenOf, parse_file};
use crate::references::Reference;

/// Where a pod finds its own ServiceAccount's token.
const OWN_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Resolution<'_, '_> {
    /// `filePath`: the parameters are what is in the file.
    pub(super) async fn file(&mut self, path: &str) {
        match self.in_file(path).await {
            Ok(parameters) => self.resolved.parameters = parameters,
            Err(problem) => self.problem("filePath", &problem),
        }
    }

    async fn in_file(&mut self, path: &str) -> Result<BTreeMap<String, String>, String> {
        if !self.is_cluster {
            return Err("it is only supported for ClusterTriggerAuthentication".to_owned());
        }
        let credential = Credential::File(path.to_owned());
        let fields = self.credential(credential).await?;
        let text = text(&fields, "text").unwrap_or_default();
        parse_file(text).map_err(|problem| format!("the file {path:?}: {problem}"))
    }

    /// `boundServiceAccountToken`.
    pub(super) async fn bound_token(&mut self, service_account: &str) -> Result<String, String> {
        if service_account.is_empty() {
            return Err("serviceAccountName is required".to_owned());
        }
        let account = Reference::service_account(self.namespace, service_account);
        self.used.insert(account.clone());
        let found = match self.references.get(self.owner, &account).await {
            Ok(Some(found)) => found,
            Ok(None) => return Err(format!("{account} doesn't exist")),
            Err(error) => return Err(error.to_string()),
        };
        let credential = Credential::Token(TokenOf {
            namespace: self.namespace.to_owned(),
            service_account: service_account.to_owned(),
            uid: found.field("/uid")?.unwrap_or_default(),
        });
        let fields = self.credential(credential).await?;
        text(&fields, "token").map(str::to_owned)
    }

    /// `hashiCorpVault`.
    pub(super) async fn vault(&mut self, vault: &HashiCorpVault) {
        let login = match login(vault, &self.owner.namespace) {
            Ok(login) => Login {
                of_the_cluster: self.is_cluster,
                ..login
            },
            Err((field, problem)) => {
                return self.problem(&format!("hashiCorpVault.{field}"), &problem);
            }
        };
        for (index, secret) in vault.secrets.iter().enumerate() {
            let value = self.in_vault(&login, secret).await;
            let field = format!("hashiCorpVault.secrets[{index}]");
            self.set(&field, &secret.parameter, value);
        }
    }

    async fn in_vault(&mut self, login: &Login, secret: &VaultSecret) -> Result<String, String> {
        let kind = VaultKind::of(secret)?;
        let issue = (kind == VaultKind::Pki).then(|| {
            secret
                .pki_data
                .as_ref()
                .map(certificate)
                .unwrap_or_default()
        });
        let request = Request {
            login: login.clone(),
            path: secret.path.clone(),
            issue,
        };
        let shown = request.to_string();
        let credential = Credential::Vault(Arc::new(request));
        let fields = self.credential(credential).await?;
        vault_value(kind, &fields, &secret.key).map_err(|problem| format!("{shown}: {problem}"))
    }

    /// What there is of a credential.
    pub(super) async fn credential(
        &mut self,
        credential: Credential,
    ) -> Result<Map<String, Value>, String> {
        let reference = Reference::Credential(credential);
        self.used.insert(reference.clone());
        match self.references.get(self.owner, &reference).await {
            Ok(Some(found)) => Ok(found.fields()),
            Ok(None) => Err(format!("{reference}: there is no such thing")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// How to log in to Vault. `namespace` is the ScaledObject's: there is the ServiceAccount that it logs in as.
fn login(vault: &HashiCorpVault, namespace: &str) -> Result<Login, (&'static str, String)> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let credential = vault.credential.clone();
    let method = match vault.authentication.as_str() {
        "token" => Method::Token(credential.and_then(|credential| given(&credential.token))),
        "kubernetes" => {
            let required = |name: &'static str, text: &Option<String>| {
                given(text).ok_or((name, "is required to log in with kubernetes".to_owned()))
            };
            let token = match credential {
                None => TokenFrom::File(OWN_TOKEN.to_owned()),
                Some(credential) => {
                    let account = given(&credential.service_account_name);
                    let account = account.map(|name| TokenFrom::ServiceAccount {
                        namespace: namespace.to_owned(),
                        name,
                    });
                    let file = given(&credential.service_account).map(TokenFrom::File);
                    account.or(file).ok_or((
                        "credential",
                        "expected serviceAccountName or serviceAccount (a file)".to_owned(),
                    ))?
                }
            };
            Method::Kubernetes {
                mount: required("mount", &vault.mount)?,
                role: required("role", &vault.role)?,
                token,
            }
        }
        other => {
            let problem = format!("is {other:?}: expected \"token\" or \"kubernetes\"");
            return Err(("authentication", problem));
        }
    };
    Ok(Login {
        of_the_cluster: false,
        address: vault.address.clone(),
        namespace: given(&vault.namespace),
        method,
    })
}

/// Which of Vault's engines answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VaultKind {
    /// kv in either version, told by the answer.
    Either,
    Secret,
    SecretV2,
    Pki,
}

impl VaultKind {
    fn of(secret: &VaultSecret) -> Result<Self, String> {
        match secret.type_.as_deref() {
            None | Some("") => Ok(Self::Either),
            Some("secret") => Ok(Self::Secret),
            Some("secretV2") => Ok(Self::SecretV2),
            Some("pki") => Ok(Self::Pki),
            Some(other) => Err(format!(
                "type is {other:?}: expected secret, secretV2, pki or nothing"
            )),
        }
    }
}

fn certificate(pki: &VaultPki) -> BTreeMap<String, String> {
    [
        ("common_name", &pki.common_name),
        ("alt_names", &pki.alt_names),
        ("ip_sans", &pki.ip_sans),
        ("uri_sans", &pki.uri_sans),
        ("other_sans", &pki.other_sans),
        ("ttl", &pki.ttl),
        ("format", &pki.format),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

/// One value of Vault's answer.
fn vault_value(kind: VaultKind, data: &Map<String, Value>, key: &str) -> Result<String, String> {
    let inner = data.get("data");
    let values = match kind {
        VaultKind::Either if inner.is_none() => data,
        VaultKind::Secret | VaultKind::Pki => data,
        VaultKind::Either | VaultKind::SecretV2 => {
            inner.and_then(Value::as_object).ok_or_else(|| {
                "the answer is not one of kv version 2: is \"data\" in the path?".to_owned()
            })?
        }
    };
    // A chain of certificates is one text to whoever uses it.
    if let (VaultKind::Pki, "ca_chain", Some(Value::Array(chain))) = (kind, key, values.get(key)) {
        let certificates: Option<Vec<&str>> = chain.iter().map(Value::as_str).collect();
        if let Some(certificates) = certificates {
            return Ok(certificates.join("\n"));
        }
    }
    text(values, key).map(str::to_owned)
}

pub(super) fn text<'v>(fields: &'v Map<String, Value>, key: &str) -> Result<&'v str, String> {
    match fields.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("the value of key {key:?} is no text")),
        None => Err(format!("there is no key {key:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_found_in_the_answer_of_each_engine() {
        use VaultKind::*;
        let kv1 = json!({"password": "a", "port": 5});
        let kv2 = json!({"data": {"password": "b"}, "metadata": {"version": 3}});
        let pki = json!({"certificate": "c", "ca_chain": ["x", "y"], "expiration": 5});
        for (kind, data, key, expected) in [
            (Either, &kv1, "password", Ok("a")),
            (Secret, &kv1, "password", Ok("a")),
            (Either, &kv2, "password", Ok("b")),
            (SecretV2, &kv2, "password", Ok("b")),
            (Pki, &pki, "certificate", Ok("c")),
            (Pki, &pki, "ca_chain", Ok("x\ny")),
            (Secret, &pki, "ca_chain", Err("is no text")),
            (Pki, &pki, "expiration", Err("is no text")),
            (Secret, &kv1, "port", Err("is no text")),
            (Either, &kv1, "user", Err("no key \"user\"")),
            (Either, &kv2, "user", Err("no key \"user\"")),
            (Secret, &kv2, "password", Err("no key \"password\"")),
            (SecretV2, &kv1, "password", Err("is \"data\" in the path?")),
        ] {
            let found = vault_value(kind, data.as_object().unwrap(), key);
            match expected {
                Ok(value) => assert_eq!(found.as_deref(), Ok(value), "{kind:?} {key}"),
                Err(part) => assert!(found.unwrap_err().contains(part), "{kind:?} {key}"),
            }
        }
    }

    #[test]
    fn a_login_is_what_the_manifest_says() {
        let of = |value: Value| {
            let mut vault = json!({"address": "http://vault", "secrets": []});
            vault
                .as_object_mut()
                .unwrap()
                .extend(value.as_object().unwrap().clone());
            let vault: HashiCorpVault = serde_json::from_value(vault).unwrap();
            login(&vault, "shop").map(|login| login.method)
        };
        let kubernetes = |token| {
            Ok(Method::Kubernetes {
                mount: "k8s".into(),
                role: "keda".into(),
                token,
            })
        };
        let account = TokenFrom::ServiceAccount {
            namespace: "shop".into(),
            name: "orders".into(),
        };
        let base = json!({"authentication": "kubernetes", "mount": "k8s", "role": "keda"});
        let with = |credential: Value| {
            let mut base = base.clone();
            base["credential"] = credential;
            base
        };
        for (manifest, expected) in [
            (
                json!({"authentication": "token", "credential": {"token": "t"}}),
                Ok(Method::Token(Some("t".into()))),
            ),
            (json!({"authentication": "token"}), Ok(Method::Token(None))),
            (base.clone(), kubernetes(TokenFrom::File(OWN_TOKEN.into()))),
            (
                with(json!({"serviceAccount": "/a/token"})),
                kubernetes(TokenFrom::File("/a/token".into())),
            ),
            (
                with(json!({"serviceAccountName": "orders", "serviceAccount": "/a/token"})),
                kubernetes(account),
            ),
            (with(json!({})), Err("credential")),
            (
                json!({"authentication": "kubernetes", "role": "keda"}),
                Err("mount"),
            ),
            (
                json!({"authentication": "kubernetes", "mount": "k8s"}),
                Err("role"),
            ),
            (json!({"authentication": "ldap"}), Err("authentication")),
        ] {
            let found = of(manifest.clone());
            match expected {
                Ok(method) => assert!(found.is_ok_and(|found| found == method), "{manifest}"),
                Err(field) => assert_eq!(found.err().unwrap().0, field, "{manifest}"),
            }
        }
    }
}
