//! A login to Vault: its token, which is kept alive for as long as somebody needs it.

use std::time::{Duration, Instant};

use reqwest::Method as Verb;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Login, MOST, Method, TokenFrom, Vault};
use crate::credentials::jwt;

/// One login. Its token is Vault's own, or the one that was given.
pub struct Session {
    login: Login,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: String,
    /// When half of its life is over; `None` for one that doesn't end, or can't be renewed.
    renew: Option<Instant>,
}

/// After a renewal that failed; the token is good for a while still.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// `auth` in the answer to a login or a renewal.
#[derive(Deserialize)]
struct Auth {
    client_token: String,
    #[serde(default)]
    lease_duration: u64,
}

/// `data` in the answer to a look at one's own token.
#[derive(Deserialize)]
struct Lookup {
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Session {
    pub fn new(login: Login) -> Self {
        Self {
            login,
            held: Mutex::default(),
        }
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// Why logging in failed, without secrets.
    pub async fn token(&self, vault: &Vault) -> Result<String, String> {
        // Held while asking: one login serves everyone who waits.
        let mut held = self.held.lock().await;
        match held.as_mut() {
            Some(Held {
                token,
                renew: Some(renew),
            }) if *renew <= Instant::now() => {
                if let Ok(renewed) = self.renew(vault, token).await {
                    let token = renewed.token.clone();
                    *held = Some(renewed);
                    return Ok(token);
                }
                // Not lost yet. If it is, Vault refuses it at the next use.
                *renew = Instant::now() + TRY_AGAIN;
                Ok(token.clone())
            }
            Some(Held { token, .. }) => Ok(token.clone()),
            None => {
                let new = self.log_in(vault).await?;
                let token = new.token.clone();
                *held = Some(new);
                Ok(token)
            }
        }
    }

    /// Vault refused the token. True where another may be had by logging in again.
    pub async fn refused(&self, token: &str) -> bool {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| held.token == token) {
            *held = None;
        }
        matches!(self.login.method, Method::Kubernetes { .. })
    }

    /// When the token has to be renewed.
    pub async fn renewal_in(&self) -> Option<Duration> {
        let held = self.held.lock().await;
        let renew = held.as_ref()?.renew?;
        Some(renew.saturating_duration_since(Instant::now()))
    }

    async fn log_in(&self, vault: &Vault) -> Result<Held, String> {
        let may_show_own = vault.environment.own_tokens.may_go_to(&self.login);
        match &self.login.method {
            Method::Token(given) => {
                let own = vault.environment.token.as_ref();
                let token = own.filter(|_| may_show_own).or(given.as_ref());
                let token = token.ok_or_else(|| match own {
                    Some(_) => refused("VAULT_TOKEN of the operator's environment", "credential.token"),
                    None => "could not get Vault token: give credential.token, or VAULT_TOKEN in the operator's environment".to_owned(),
                })?;
                self.look_up(vault, token.clone()).await
            }
            Method::Kubernetes { mount, role, token } => {
                let token = match token {
                    TokenFrom::File(path) if may_show_own => jwt::read(path).await?,
                    TokenFrom::File(path) => {
                        let what = format!("the operator's token in the file {path:?}");
                        return Err(refused(&what, "credential.serviceAccountName"));
                    }
                    TokenFrom::ServiceAccount { namespace, name } => {
                        vault.tokens.token(namespace, name).await?.0
                    }
                };
                let path = format!("auth/{mount}/login");
                let body = json!({"jwt": token, "role": role});
                let sent = vault.http.send(&self.login, Verb::PUT, &path);
                let answer = sent.with(None, Some(body)).await?;
                let ask = format!("may this ServiceAccount log in as the role {role:?}?");
                let body = answer
                    .accepted(&ask)
                    .map_err(|error| format!("logging in at auth/{mount}: {error}"))?;
                held(body.get("auth"))
            }
        }
    }

    /// What is known of a token that was given.
    async fn look_up(&self, vault: &Vault, token: String) -> Result<Held, String> {
        let sent = vault
            .http
            .send(&self.login, Verb::GET, "auth/token/lookup-self");
        let answer = sent.with(Some(&token), None).await?;
        let body = answer
            .accepted("is the token valid?")
            .map_err(|error| format!("looking at the token: {error}"))?;
        let data = body.get("data").cloned().unwrap_or_default();
        let found = Lookup::deserialize(data)
            .map_err(|_| "looking at the token: Vault's answer is no description of it")?;
        let renew = (found.renewable && found.ttl > 0).then(|| half(found.ttl));
        Ok(Held { token, renew })
    }

    /// Renews a given token; logs in anew elsewhere, which needs no right to renew and knows no longest life.
    async fn renew(&self, vault: &Vault, token: &str) -> Result<Held, String> {
        if let Method::Kubernetes { .. } = self.login.method {
            return self.log_in(vault).await;
        }
        let sent = vault
            .http
            .send(&self.login, Verb::PUT, "auth/token/renew-self");
        let answer = sent.with(Some(token), Some(json!({}))).await?;
        held(answer.accepted("may it be renewed?")?.get("auth"))
    }
}

/// Why a token of the operator's own stays here, and what else there is.
fn refused(what: &str, instead: &str) -> String {
    format!(
        "{what} is not shown to a server that a TriggerAuthentication names: give {instead}, or start the operator with this address in \
         VAULT_ADDR (--vault-addresses), or use a ClusterTriggerAuthentication"
    )
}

fn held(auth: Option<&Value>) -> Result<Held, String> {
    let auth = auth.and_then(|auth| Auth::deserialize(auth).ok());
    let auth = auth.ok_or("Vault's answer to the login has no token")?;
    Ok(Held {
        token: auth.client_token,
        renew: (auth.lease_duration > 0).then(|| half(auth.lease_duration)),
    })
}

fn half(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds.min(MOST)) / 2
}
