//! Tokens for SASL/OAUTHBEARER, from where a trigger says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;

use crate::clients::Clients;
use crate::clients::tls::TlsSettings;
use crate::http::{self, OAuthParameters};
use crate::scaler::ScalerError;

/// A token server is asked within the time of a question.
const WITHIN: Duration = Duration::from_secs(4);

/// Where tokens come from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// OAuth2 client credentials.
    OAuth {
        uri: String,
        client_id: String,
        client_secret: String,
        scopes: Vec<String>,
        extensions: Vec<(String, String)>,
    },
    /// Signed here with credentials of AWS (Amazon MSK).
    #[cfg(feature = "aws")]
    MskIam {
        region: String,
        access: crate::clients::aws::AwsAccess,
    },
}

/// A token, and whose.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub value: String,
    pub principal: String,
    pub extensions: Vec<(String, String)>,
}

/// The tokens of one cluster.
pub enum Tokens {
    OAuth {
        tokens: http::Tokens,
        client: Arc<Client>,
        client_id: String,
        extensions: Vec<(String, String)>,
        /// The one that was given last.
        given: Mutex<Option<String>>,
    },
    #[cfg(feature = "aws")]
    MskIam(super::msk::Tokens),
}

impl Tokens {
    /// # Errors
    /// When the token server's URL can't be one.
    pub fn new(source: &TokenSource, clients: &Arc<Clients>) -> Result<Self, String> {
        match source {
            TokenSource::OAuth {
                uri,
                client_id,
                client_secret,
                scopes,
                extensions,
            } => {
                let problem = |problem| format!("oauthTokenEndpointUri {problem}");
                http::parse_url(uri).map_err(problem)?;
                let parameters = OAuthParameters {
                    token_uri: Some(uri.clone()),
                    scopes: Some(scopes.clone()),
                    client_id: Some(client_id.clone()),
                    client_secret: Some(client_secret.clone()),
                    endpoint_params: None,
                };
                Ok(Self::OAuth {
                    tokens: http::Tokens::new(parameters)?,
                    client: clients.http.client(&TlsSettings::default())?,
                    client_id: client_id.clone(),
                    extensions: extensions.clone(),
                    given: Mutex::default(),
                })
            }
            #[cfg(feature = "aws")]
            TokenSource::MskIam { region, access } => Ok(Self::MskIam(super::msk::Tokens::new(
                region.clone(),
                access.clone(),
                Arc::clone(clients),
            ))),
        }
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn token(&self) -> Result<Token, ScalerError> {
        match self {
            Self::OAuth {
                tokens,
                client,
                client_id,
                extensions,
                given,
            } => {
                let value = tokens.token(client, WITHIN).await?;
                *given.lock().unwrap_or_else(PoisonError::into_inner) = Some(value.clone());
                Ok(Token {
                    value,
                    principal: client_id.clone(),
                    extensions: extensions.clone(),
                })
            }
            #[cfg(feature = "aws")]
            Self::MskIam(tokens) => tokens.token().await,
        }
    }

    /// A broker did not take the last one: the next is another.
    pub async fn refused(&self) {
        match self {
            Self::OAuth { tokens, given, .. } => {
                let given = given.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(given) = given {
                    tokens.refused(&given).await;
                }
            }
            #[cfg(feature = "aws")]
            Self::MskIam(tokens) => tokens.forget().await,
        }
    }
}
