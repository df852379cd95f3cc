//! OAuth2 client credentials (RFC 6749, 4.4): tokens that are fetched, kept, and renewed before they end.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::byte_serialize;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Request, Url};
use serde::{Deserialize, Deserializer};
use tokio::sync::Mutex;

use super::address;
use super::answer::{Bounds, fetch};
use crate::limits::from_json;
use crate::params::{AUTHENTICATION, Field, Parameters, QueryString};
use crate::scaler::ScalerError;

/// The parameters of OAuth2 client credentials.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OAuthParameters {
    /// The URL that OAuth2 tokens come from.
    #[serde(rename = "oauthTokenURI")]
    pub token_uri: Option<String>,
    /// What the OAuth2 tokens are to be good for, a list with commas.
    pub scopes: Option<Vec<String>>,
    /// The OAuth2 client's id.
    #[serde(rename = "clientID")]
    pub client_id: Option<String>,
    /// The OAuth2 client's secret.
    pub client_secret: Option<String>,
    /// More parameters of the token request, as `name=value&name=value`.
    pub endpoint_params: Option<QueryString>,
}

impl Parameters for OAuthParameters {
    const FIELDS: &'static [Field] = &[
        Field::optional("oauthTokenURI", AUTHENTICATION),
        Field::optional("scopes", AUTHENTICATION).aliases(&["scope"]),
        Field::optional("clientID", AUTHENTICATION),
        Field::optional("clientSecret", AUTHENTICATION).secret(),
        Field::optional("endpointParams", AUTHENTICATION),
    ];
}

/// The tokens of one client.
pub struct Tokens {
    uri: Url,
    client_id: String,
    client_secret: String,
    /// The token request's parameters, without the client's own.
    form: Vec<(String, String)>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    token: Option<Token>,
    /// Known once a request of a token has succeeded.
    place: Option<Place>,
}

struct Token {
    access: String,
    /// Not used after this.
    until: Instant,
}

/// Where a token server wants the client's id and secret. RFC 6749, 2.3.1, has it take the header, and not all do; both are
/// tried, as golang.org/x/oauth2 does.
#[derive(Clone, Copy)]
enum Place {
    Header,
    Form,
}

/// RFC 6749, 5.1.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<Duration>,
}

/// The most of a token server's answer that is read: a token with hundreds of groups in it is some tens of KiB.
const ANSWER_BYTES: usize = 256 * 1024;
/// A token is renewed this long before it ends (golang.org/x/oauth2: 10 s).
const RENEW_BEFORE: Duration = Duration::from_secs(10);
/// How long a token of unknown end is used.
const UNKNOWN_END: Duration = Duration::from_secs(60);
/// A token isn't used longer than this, however long it is good for.
const LONGEST_USE: Duration = Duration::from_secs(24 * 60 * 60);

impl Tokens {
    /// # Errors
    /// Where the token URL can't be one.
    pub fn new(parameters: OAuthParameters) -> Result<Self, String> {
        let uri = address::parse(parameters.token_uri.as_deref().unwrap_or_default())
            .map_err(|problem| format!("oauthTokenURI {problem}"))?;
        let given = parameters.endpoint_params.unwrap_or_default().0;
        let mut form = Vec::new();
        // Some servers have a grant type of their own for this.
        if !given.iter().any(|(name, _)| name == "grant_type") {
            form.push(("grant_type".to_owned(), "client_credentials".to_owned()));
        }
        let scopes: Vec<&str> = parameters
            .scopes
            .iter()
            .flatten()
            .map(|scope| scope.trim())
            .filter(|scope| !scope.is_empty())
            .collect();
        if !scopes.is_empty() {
            form.push(("scope".to_owned(), scopes.join(" ")));
        }
        form.extend(given);
        Ok(Self {
            uri,
            client_id: parameters.client_id.unwrap_or_default(),
            client_secret: parameters.client_secret.unwrap_or_default(),
            form,
            kept: Mutex::default(),
        })
    }

    /// A token that is good now: the kept one, or a new one.
    ///
    /// # Errors
    /// The token server's failure; Unauthorized where it refuses the client.
    pub async fn token(&self, client: &Client, within: Duration) -> Result<String, ScalerError> {
        // Held while asking: concurrent reads share one token request.
        let mut kept = self.kept.lock().await;
        if let Some(token) = &kept.token
            && Instant::now() < token.until
        {
            return Ok(token.access.clone());
        }
        let asked = Instant::now();
        let (answer, place) = match kept.place {
            Some(place) => (self.ask(client, place, within).await, place),
            None => match self.ask(client, Place::Header, within).await {
                Err(ScalerError::Unauthorized(_)) => {
                    (self.ask(client, Place::Form, within).await, Place::Form)
                }
                answer => (answer, Place::Header),
            },
        };
        let answer = answer
            .map_err(|error| error.at(&format!("token from {}", address::host_of(&self.uri))))?;
        let life = answer.expires_in.unwrap_or(UNKNOWN_END).min(LONGEST_USE);
        let access = answer.access_token;
        *kept = Kept {
            token: Some(Token {
                access: access.clone(),
                until: asked + life.saturating_sub(RENEW_BEFORE),
            }),
            place: Some(place),
        };
        Ok(access)
    }

    /// The server did not take a token: it is not used again, unless it has been renewed meanwhile.
    pub async fn refused(&self, access: &str) {
        let mut kept = self.kept.lock().await;
        if kept
            .token
            .as_ref()
            .is_some_and(|token| token.access == access)
        {
            kept.token = None;
        }
    }

    async fn ask(
        &self,
        client: &Client,
        place: Place,
        within: Duration,
    ) -> Result<TokenAnswer, ScalerError> {
        let bounds = Bounds {
            bytes: ANSWER_BYTES,
            ..Bounds::default()
        };
        let answer = fetch(client, self.request(place), within, bounds)
            .await?
            .accepted();
        let body = answer.map_err(|error| match error {
            // RFC 6749, 5.2: wrong credentials are a 400 or a 401.
            ScalerError::Malformed(what) => ScalerError::Unauthorized(what),
            other => other,
        })?;
        from_json(&body).map_err(|_| {
            ScalerError::Malformed("the answer is no JSON object with an access_token".to_owned())
        })
    }

    fn request(&self, place: Place) -> Request {
        let mut request = Request::new(Method::POST, self.uri.clone());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&self.form);
        match place {
            Place::Header => {
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let value = basic(&encoded(&self.client_id), &encoded(&self.client_secret));
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            Place::Form => {
                form.append_pair("client_id", &self.client_id)
                    .append_pair("client_secret", &self.client_secret);
            }
        }
        request.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        *request.body_mut() = Some(form.finish().into());
        request
    }
}

/// A header value for basic authentication.
pub fn basic(username: &str, password: &str) -> HeaderValue {
    let credentials = STANDARD.encode(format!("{username}:{password}"));
    // Base64 has no character that a header can't have.
    let mut value = HeaderValue::try_from(format!("Basic {credentials}"))
        .unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Whole seconds; some servers put them in quotes. 0 says nothing, as in golang.org/x/oauth2.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(f64),
        Text(String),
    }
    let given = Option::<Seconds>::deserialize(deserializer)?.and_then(|given| match given {
        Seconds::Number(number) => Some(number),
        Seconds::Text(text) => text.parse().ok(),
    });
    Ok(given
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_of_tokens() {
        for (text, expected) in [
            (r#"{"access_token":"t","expires_in":3600}"#, Some(3600)),
            (r#"{"access_token":"t","expires_in":"60"}"#, Some(60)),
            (r#"{"access_token":"t","expires_in":0}"#, None),
            (r#"{"access_token":"t","expires_in":-5}"#, None),
            (r#"{"access_token":"t","expires_in":null}"#, None),
            (r#"{"access_token":"t","expires_in":1e300}"#, None),
            (r#"{"access_token":"t","expires_in":"soon"}"#, None),
            (r#"{"access_token":"t"}"#, None),
        ] {
            let answer: TokenAnswer = serde_json::from_str(text).unwrap();
            assert_eq!(
                answer.expires_in,
                expected.map(Duration::from_secs),
                "{text}"
            );
        }
    }
}
