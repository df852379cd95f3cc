//! Credentials that no watch of the cluster shows: files, tokens of ServiceAccounts, and what other servers keep.
//!
//! Each kind says how one of its credentials is fetched, and when it is to be fetched again. Fetching again, keeping what was had
//! through failures, and telling who depends on it is the business of `references/`.

#[cfg(feature = "aws")]
mod aws;
mod bound_token;
mod file;
mod jwt;
mod settings;
mod vault;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::{Map, Value};
use tokio::time::Instant;

#[cfg(feature = "aws")]
pub use aws::AwsSecret;
pub use bound_token::TokenOf;
pub use file::parse as parse_file;
pub use settings::CredentialSettings;
pub use vault::{Login, Method, OwnTokens, Request, Session, TokenFrom, VaultEnvironment};

/// Names one credential, and holds what it is fetched with. No `Debug`: that may be a secret; `Display` names it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A file below the root for files, by its path from there. Its field is `text`.
    File(String),
    /// A token of a ServiceAccount. Its field is `token`.
    Token(TokenOf),
    /// What Vault answers to a request. Its fields are those of `data` in Vault's answer.
    Vault(Arc<Request>),
    /// A secret of AWS Secrets Manager. Its field is `text`.
    #[cfg(feature = "aws")]
    AwsSecret(Arc<AwsSecret>),
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {path:?}"),
            Self::Token(of) => write!(f, "a token of {of}"),
            Self::Vault(request) => request.fmt(f),
            #[cfg(feature = "aws")]
            Self::AwsSecret(secret) => secret.fmt(f),
        }
    }
}

/// A credential as its source gave it.
pub struct Fetched {
    /// Its fields; `None` where its source says that there is no such credential.
    pub content: Option<Map<String, Value>>,
    pub again_in: Duration,
    /// The login that it was fetched with, which lasts while this is held.
    pub session: Option<Arc<Session>>,
}

/// Fetches credentials of any kind.
pub struct Fetcher {
    file_root: Option<PathBuf>,
    tokens: Arc<bound_token::Tokens>,
    vault: vault::Vault,
    #[cfg(feature = "aws")]
    aws: aws::SecretsManager,
}

impl Fetcher {
    pub fn new(
        client: Client,
        clients: Arc<sakidori_scalers::clients::Clients>,
        settings: CredentialSettings,
    ) -> Self {
        let tokens = Arc::new(bound_token::Tokens::new(client, settings.token_life));
        Self {
            file_root: settings.file_root,
            tokens: tokens.clone(),
            #[cfg(feature = "aws")]
            aws: aws::SecretsManager {
                clients: clients.clone(),
                refresh: settings.refresh,
            },
            vault: vault::Vault::new(clients, tokens, settings.vault, settings.refresh),
        }
    }

    /// Fetches a credential now.
    ///
    /// # Errors
    /// Why it can't be had, without secrets.
    pub async fn fetch(&self, credential: &Credential) -> Result<Fetched, String> {
        match credential {
            Credential::File(path) => file::fetch(self.file_root.as_deref(), path).await,
            Credential::Token(of) => self.tokens.fetch(of).await,
            Credential::Vault(request) => self.vault.fetch(request).await,
            #[cfg(feature = "aws")]
            Credential::AwsSecret(secret) => self.aws.fetch(secret).await,
        }
    }

    /// Waits until a credential is to be fetched again. The login that it was fetched with is kept alive meanwhile.
    pub async fn wait(&self, again_in: Duration, session: Option<&Session>) {
        let until = Instant::now() + again_in;
        loop {
            let renewal = match session {
                Some(session) => session.renewal_in().await.map(|wait| (session, wait)),
                None => None,
            };
            match renewal {
                Some((session, wait)) if Instant::now() + wait < until => {
                    tokio::time::sleep(wait).await;
                    // A failure is tried again, and told at the next use if it lasts.
                    let _ = session.token(&self.vault).await;
                }
                _ => return tokio::time::sleep_until(until).await,
            }
        }
    }
}

/// Fields of a credential.
fn fields<const N: usize>(fields: [(&str, String); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect()
}
