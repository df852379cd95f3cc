//! The authentication that many triggers share (KEDA: pkg/scalers/authentication): API key, basic, bearer, TLS, custom header,
//! OAuth2 client credentials, and those of them together that can be.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Request, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::answer::{fetch, host_of};
use crate::clients::tls::{Identity, TlsSettings};
use crate::params::{AUTHENTICATION, Field, METADATA_AUTHENTICATION, Parameters, QueryString};
use crate::scaler::ScalerError;

/// How a trigger authenticates itself. Which of the parameters count says `authModes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationParameters {
    /// Any of `apiKey`, `basic`, `bearer`, `custom`, `oauth`, `tls`; of `basic`, `bearer` and `oauth` at most one.
    auth_modes: Option<Vec<Mode>>,
    /// The user name for `basic`.
    username: Option<String>,
    /// The password for `basic`.
    password: Option<String>,
    /// The token for `bearer`.
    bearer_token: Option<String>,
    /// The client certificate for `tls`, PEM.
    cert: Option<String>,
    /// Its private key, PEM.
    key: Option<String>,
    /// PEM of authorities that are trusted besides the system's.
    ca: Option<String>,
    /// The header for `custom`.
    custom_auth_header: Option<String>,
    /// Its value.
    custom_auth_value: Option<String>,
    /// The key for `apiKey`.
    api_key: Option<String>,
    /// Where it goes: a header or the query.
    method: KeyPlace,
    /// The header's or query parameter's name: `X-API-KEY`, or `api_key` in a query, where it is left out.
    key_param_name: Option<String>,
    /// Where `oauth` gets its tokens.
    #[serde(rename = "oauthTokenURI")]
    oauth_token_uri: Option<String>,
    /// What the tokens are to be good for.
    scopes: Option<Vec<String>>,
    /// The client's id for `oauth`.
    #[serde(rename = "clientID")]
    client_id: Option<String>,
    /// The client's secret for `oauth`.
    client_secret: Option<String>,
    /// More parameters of the token request, as `name=value&name=value`.
    endpoint_params: Option<QueryString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Mode {
    ApiKey,
    Basic,
    Bearer,
    Custom,
    Oauth,
    Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum KeyPlace {
    Header,
    Query,
}

impl Parameters for AuthenticationParameters {
    const FIELDS: &'static [Field] = &[
        Field::optional("authModes", METADATA_AUTHENTICATION).aliases(&["authMode"]),
        Field::optional("username", AUTHENTICATION).secret(),
        Field::optional("password", AUTHENTICATION).secret(),
        Field::optional("bearerToken", AUTHENTICATION)
            .aliases(&["token"])
            .secret(),
        Field::optional("cert", AUTHENTICATION),
        Field::optional("key", AUTHENTICATION).secret(),
        Field::optional("ca", AUTHENTICATION),
        Field::optional("customAuthHeader", AUTHENTICATION),
        Field::optional("customAuthValue", AUTHENTICATION).secret(),
        Field::optional("apiKey", METADATA_AUTHENTICATION).secret(),
        Field::with_default("method", METADATA_AUTHENTICATION, "header"),
        Field::optional("keyParamName", METADATA_AUTHENTICATION),
        Field::optional("oauthTokenURI", AUTHENTICATION),
        Field::optional("scopes", AUTHENTICATION).aliases(&["scope"]),
        Field::optional("clientID", AUTHENTICATION),
        Field::optional("clientSecret", AUTHENTICATION).secret(),
        Field::optional("endpointParams", AUTHENTICATION),
    ];

    fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let exclusive = [Mode::Basic, Mode::Bearer, Mode::Oauth];
        if exclusive.iter().filter(|mode| self.uses(**mode)).count() > 1 {
            broken.push(
                "authModes: at most one of basic, bearer and oauth can be used at a time"
                    .to_owned(),
            );
        }
        let mut needs = |mode: Mode, name: &str, parameters: &[(&str, &Option<String>)]| {
            let missing: Vec<String> = parameters
                .iter()
                .filter(|(_, value)| value.is_none())
                .map(|(name, _)| format!("{name:?}"))
                .collect();
            if self.uses(mode) && !missing.is_empty() {
                broken.push(format!(
                    "authModes has {name}, which needs {} from the TriggerAuthentication",
                    missing.join(" and ")
                ));
            }
        };
        needs(
            Mode::Bearer,
            "bearer",
            &[("bearerToken", &self.bearer_token)],
        );
        needs(Mode::Basic, "basic", &[("username", &self.username)]);
        needs(
            Mode::Tls,
            "tls",
            &[("cert", &self.cert), ("key", &self.key)],
        );
        needs(
            Mode::Oauth,
            "oauth",
            &[
                ("oauthTokenURI", &self.oauth_token_uri),
                ("clientID", &self.client_id),
            ],
        );
        needs(
            Mode::Custom,
            "custom",
            &[
                ("customAuthHeader", &self.custom_auth_header),
                ("customAuthValue", &self.custom_auth_value),
            ],
        );
        needs(Mode::ApiKey, "apiKey", &[("apiKey", &self.api_key)]);
        broken
    }
}

impl AuthenticationParameters {
    fn uses(&self, mode: Mode) -> bool {
        self.auth_modes
            .as_ref()
            .is_some_and(|modes| modes.contains(&mode))
    }

    /// The TLS setting: a `ca` counts whatever the modes are.
    pub fn tls(&self, insecure: bool) -> TlsSettings {
        let identity = self.cert.clone().zip(self.key.clone());
        TlsSettings {
            ca: self.ca.clone(),
            identity: identity
                .filter(|_| self.uses(Mode::Tls))
                .map(|(certificate, key)| Identity {
                    certificate,
                    key,
                    key_password: None,
                }),
            insecure,
        }
    }
}

/// Puts credentials on requests.
pub struct Authentication {
    parameters: AuthenticationParameters,
    custom: Option<(HeaderName, HeaderValue)>,
    api_key_header: Option<(HeaderName, HeaderValue)>,
    token_uri: Option<Url>,
    token: Mutex<Option<Token>>,
}

struct Token {
    access: String,
    /// Not used after this.
    until: Instant,
}

/// RFC 6749, 5.1.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

/// A token is renewed this long before it ends (golang.org/x/oauth2: 10 s).
const RENEW_BEFORE: Duration = Duration::from_secs(10);
/// How long a token of unknown end is used.
const UNKNOWN_END: Duration = Duration::from_secs(60);

impl Authentication {
    /// # Errors
    /// Where a header's name or value, or the token URL, can't be one. Quotes no secret.
    pub fn new(parameters: AuthenticationParameters) -> Result<Self, String> {
        let header = |parameter: &str, name: &str, value: &str| {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{parameter} {name:?} can't be a header's name"))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                format!("the value for the header {name} can't be a header's value")
            })?;
            value.set_sensitive(true);
            Ok::<_, String>((name, value))
        };
        let custom = match (
            &parameters.custom_auth_header,
            &parameters.custom_auth_value,
        ) {
            (Some(name), Some(value)) if parameters.uses(Mode::Custom) => {
                Some(header("customAuthHeader", name, value)?)
            }
            _ => None,
        };
        let api_key_header = match &parameters.api_key {
            Some(key) if parameters.uses(Mode::ApiKey) && parameters.method == KeyPlace::Header => {
                let name = parameters.key_param_name.as_deref().unwrap_or("X-API-KEY");
                Some(header("keyParamName", name, key)?)
            }
            _ => None,
        };
        let token_uri = match &parameters.oauth_token_uri {
            Some(uri) if parameters.uses(Mode::Oauth) => {
                let parsed = Url::parse(uri).ok().filter(|url| url.has_host());
                Some(
                    parsed
                        .ok_or("oauthTokenURI: expected a URL such as https://idp.example/token")?,
                )
            }
            _ => None,
        };
        Ok(Self {
            parameters,
            custom,
            api_key_header,
            token_uri,
            token: Mutex::default(),
        })
    }

    /// Puts the credentials on a request; `client` fetches a token where one is needed.
    ///
    /// # Errors
    /// Only for OAuth: the token server's failure.
    pub async fn apply(
        &self,
        request: &mut Request,
        client: &Client,
        within: Duration,
    ) -> Result<(), ScalerError> {
        let parameters = &self.parameters;
        if let (Some(key), true, KeyPlace::Query) = (
            &parameters.api_key,
            parameters.uses(Mode::ApiKey),
            parameters.method,
        ) {
            let name = parameters.key_param_name.as_deref().unwrap_or("api_key");
            set_query(request.url_mut(), name, key);
        }
        for (name, value) in self.api_key_header.iter().chain(&self.custom) {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let authorization = if parameters.uses(Mode::Basic) {
            let username = parameters.username.as_deref().unwrap_or_default();
            let password = parameters.password.as_deref().unwrap_or_default();
            Some(basic(username, password))
        } else if parameters.uses(Mode::Bearer) {
            let token = parameters.bearer_token.as_deref().unwrap_or_default();
            Some(format!("Bearer {token}"))
        } else if let Some(uri) = &self.token_uri {
            Some(format!("Bearer {}", self.token(uri, client, within).await?))
        } else {
            None
        };
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::from_str(&authorization).map_err(|_| {
                ScalerError::Unauthorized(
                    "the credentials hold characters that no header can have".to_owned(),
                )
            })?;
            value.set_sensitive(true);
            request
                .headers_mut()
                .insert(reqwest::header::AUTHORIZATION, value);
        }
        Ok(())
    }

    /// The server refused the credentials: a token that was kept is not used again.
    pub async fn refused(&self) {
        *self.token.lock().await = None;
    }

    async fn token(
        &self,
        uri: &Url,
        client: &Client,
        within: Duration,
    ) -> Result<String, ScalerError> {
        // Held while asking: concurrent reads share one token request.
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.until) {
            return Ok(token.access.clone());
        }
        let parameters = &self.parameters;
        let mut form = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
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
        form.extend(
            parameters
                .endpoint_params
                .iter()
                .flat_map(|params| params.0.iter().cloned()),
        );
        let request = client
            .post(uri.clone())
            .basic_auth(
                parameters.client_id.as_deref().unwrap_or_default(),
                parameters.client_secret.as_deref(),
            )
            .form(&form);
        let failed = |what: String| format!("token from {}: {what}", host_of(uri));
        let asked = Instant::now();
        let body = fetch(request, within).await.map_err(|error| match error {
            // RFC 6749, 5.2: wrong credentials are a 400 or a 401.
            ScalerError::Unauthorized(what) | ScalerError::Malformed(what) => {
                ScalerError::Unauthorized(failed(what))
            }
            ScalerError::Unreachable(what) => ScalerError::Unreachable(failed(what)),
            other => other,
        })?;
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| {
            ScalerError::Malformed(failed(
                "the answer is no JSON object with an access_token".to_owned(),
            ))
        })?;
        let life = answer.expires_in.map_or(UNKNOWN_END, Duration::from_secs);
        let access = answer.access_token;
        *kept = Some(Token {
            access: access.clone(),
            until: asked + life.saturating_sub(RENEW_BEFORE),
        });
        Ok(access)
    }
}

fn basic(username: &str, password: &str) -> String {
    use base64::Engine as _;
    let credentials =
        base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {credentials}")
}

/// Replaces a query parameter, or adds it.
fn set_query(url: &mut Url, name: &str, value: &str) {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != name)
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .append_pair(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;
    use crate::scaler::Trigger;

    fn parse(
        metadata: &[(&'static str, &'static str)],
        authentication: &[(&'static str, &'static str)],
    ) -> Result<AuthenticationParameters, params::ParamErrors> {
        let trigger = Trigger::new("metrics-api")
            .metadata(metadata.iter().copied())
            .authentication(authentication.iter().copied());
        params::parse(&trigger)
    }

    #[test]
    fn each_mode_says_what_it_needs() {
        for (mode, missing) in [
            ("apiKey", "\"apiKey\""),
            ("basic", "\"username\""),
            ("bearer", "\"bearerToken\""),
            ("custom", "\"customAuthHeader\" and \"customAuthValue\""),
            ("oauth", "\"oauthTokenURI\" and \"clientID\""),
            ("tls", "\"cert\" and \"key\""),
        ] {
            let error = parse(&[("authMode", mode)], &[]).err().unwrap().to_string();
            assert!(error.contains(missing), "{mode}: {error}");
        }
        assert!(parse(&[], &[]).is_ok());
    }

    #[test]
    fn bearer_and_basic_exclude_each_other() {
        let given = [("username", "u"), ("bearerToken", "t")];
        let error = parse(&[("authModes", "basic,bearer")], &given)
            .err()
            .unwrap();
        assert!(error.to_string().contains("at most one"), "{error}");
        let error = parse(&[("authModes", "digest")], &[]).err().unwrap();
        assert!(error.to_string().contains("digest"), "{error}");
    }

    #[tokio::test]
    async fn credentials_go_where_they_belong() {
        let client = Client::builder()
            .tls_backend_preconfigured(TlsSettings::default().client_config().unwrap())
            .build()
            .unwrap();
        let given = [
            ("apiKey", "k"),
            ("username", "u"),
            ("password", "p"),
            ("customAuthHeader", "X-Shop"),
            ("customAuthValue", "v"),
        ];
        let request = async |metadata: &[(&'static str, &'static str)]| {
            let authentication =
                Authentication::new(parse(metadata, &given).ok().unwrap()).unwrap();
            let mut request = client.get("http://h/p?a=1&key=old").build().unwrap();
            let done = authentication
                .apply(&mut request, &client, Duration::from_secs(1))
                .await;
            done.unwrap();
            request
        };
        let sent = request(&[("authModes", "apiKey,basic,custom")]).await;
        assert_eq!(sent.headers()["x-api-key"], "k");
        assert_eq!(sent.headers()["authorization"], "Basic dTpw");
        assert_eq!(sent.headers()["x-shop"], "v");

        let sent = request(&[
            ("authModes", "apiKey"),
            ("method", "query"),
            ("keyParamName", "key"),
        ])
        .await;
        assert_eq!(sent.url().query(), Some("a=1&key=k"));
        assert!(sent.headers().is_empty());
        assert!(request(&[]).await.headers().is_empty());
    }
}
