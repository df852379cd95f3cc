//! `boundServiceAccountToken`: a token of a ServiceAccount, asked of the API server (TokenRequest) and renewed long before its end.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use super::{Fetched, fields};
use crate::api_error::plain;
use crate::path_name;

/// Whose token. The uid tells it from one of the same name that is made later: its tokens are other ones.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenOf {
    pub namespace: String,
    pub service_account: String,
    pub uid: String,
}

impl fmt::Display for TokenOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            service_account,
            ..
        } = self;
        write!(f, "ServiceAccount {namespace}/{service_account}")
    }
}

/// Asks for tokens.
pub struct Tokens {
    client: Client,
    life: Duration,
}

impl Tokens {
    pub fn new(client: Client, life: Duration) -> Self {
        Self { client, life }
    }

    pub async fn fetch(&self, of: &TokenOf) -> Result<Fetched, String> {
        let (token, life) = self.token(&of.namespace, &of.service_account).await?;
        Ok(Fetched {
            content: Some(fields([("token", token)])),
            // The other half is for tries while the API server is away.
            again_in: life / 2,
            session: None,
        })
    }

    /// A new token and how long it is good for.
    ///
    /// # Errors
    /// The API server's refusal, with what to allow.
    pub async fn token(
        &self,
        namespace: &str,
        service_account: &str,
    ) -> Result<(String, Duration), String> {
        path_name::check(service_account).map_err(|problem| format!("ServiceAccount {problem}"))?;
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let seconds = i64::try_from(self.life.as_secs()).unwrap_or(i64::MAX);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(seconds),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(service_account, &PostParams::default(), &request)
            .await
            .map_err(|error| {
                let hint = match &error {
                    kube::Error::Api(status) if status.code == 403 => {
                        ": allow the operator's ServiceAccount to create serviceaccounts/token, by \
                         permissions.operator.restrict.serviceAccountTokenCreationRoles of its Helm chart"
                    }
                    _ => "",
                };
                format!(
                    "asking for a token of ServiceAccount {namespace}/{service_account}: {}{hint}",
                    plain(&error)
                )
            })?;
        // What was granted, not until when: this machine's clock may be wrong.
        let granted = answer.spec.expiration_seconds.unwrap_or(seconds);
        let life = Duration::from_secs(u64::try_from(granted).unwrap_or(0).max(60));
        match answer.status {
            Some(status) if !status.token.is_empty() => Ok((status.token, life)),
            _ => Err("the API server answered without a token".to_owned()),
        }
    }
}
