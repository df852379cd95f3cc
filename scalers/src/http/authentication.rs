//! The authentication that many triggers share (KEDA: pkg/scalers/authentication): API key, basic, bearer, TLS, custom header,
//! OAuth2 client credentials, and those of them together that can be.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
#[cfg(feature = "prometheus")]
use reqwest::header::{CONTENT_LENGTH, HOST, TRAILER, TRANSFER_ENCODING};
use reqwest::{Client, Method, Request, StatusCode, Url};
use serde::Deserialize;

use super::address::{user_of, without_user};
use super::answer::{Answer, Bounds, fetch};
use super::oauth::{OAuthParameters, Tokens, basic};
use crate::clients::tls::{Identity, TlsSettings};
use crate::params::{AUTHENTICATION, Field, METADATA_AUTHENTICATION, ParameterSet, Parameters};
use crate::scaler::{ScalerError, Trigger};

/// How a trigger authenticates itself. No `Debug`: it holds secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AuthenticationParameters {
    modes: ModeParameters,
    oauth: OAuthParameters,
}

/// The parameters of all modes but `oauth`. Which of them count says `authModes`.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModeParameters {
    /// A list of `apiKey`, `basic`, `bearer`, `custom`, `oauth`, `tls`; of `basic`, `bearer` and `oauth` at most one. Without it
    /// no parameter of a mode counts, but `ca` does.
    auth_modes: Option<Vec<Mode>>,
    /// The user name for `basic`.
    username: Option<String>,
    /// The password for `basic`.
    password: Option<String>,
    /// The token for `bearer`.
    bearer_token: Option<String>,
    /// The client certificate for `tls`, PEM.
    cert: Option<String>,
    /// The client certificate's private key, PEM.
    key: Option<String>,
    /// PEM of authorities that are trusted besides the system's.
    ca: Option<String>,
    /// The header's name for `custom`.
    custom_auth_header: Option<String>,
    /// The header's value for `custom`.
    custom_auth_value: Option<String>,
    /// The key for `apiKey`.
    api_key: Option<String>,
    /// Where the key for `apiKey` goes: `header` or `query`.
    method: KeyPlace,
    /// The name of the header or query parameter for `apiKey`. Left out, it is `X-API-KEY` or `api_key`.
    key_param_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Mode {
    ApiKey,
    Basic,
    Bearer,
    Custom,
    Oauth,
    Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
enum KeyPlace {
    Header,
    Query,
}

impl Parameters for ModeParameters {
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
    ];
}

impl ParameterSet for AuthenticationParameters {
    fn fields() -> Vec<&'static Field> {
        <(ModeParameters, OAuthParameters)>::fields()
    }

    fn read(
        trigger: &Trigger,
        known: &[&'static Field],
        problems: &mut Vec<String>,
    ) -> Option<Self> {
        let (modes, oauth) = ParameterSet::read(trigger, known, problems)?;
        let parameters = Self { modes, oauth };
        let broken = parameters.check();
        let sound = broken.is_empty();
        problems.extend(broken);
        sound.then_some(parameters)
    }
}

impl AuthenticationParameters {
    /// The rules between the parameters: one sentence per broken rule.
    fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let exclusive = [Mode::Basic, Mode::Bearer, Mode::Oauth];
        if exclusive.iter().filter(|mode| self.uses(**mode)).count() > 1 {
            broken.push(
                "authModes: at most one of basic, bearer and oauth can be used at a time"
                    .to_owned(),
            );
        }
        let (modes, oauth) = (&self.modes, &self.oauth);
        type Given<'a> = (&'a str, &'a Option<String>);
        let needs: [(Mode, &str, &[Given]); 6] = [
            (Mode::ApiKey, "apiKey", &[("apiKey", &modes.api_key)]),
            (Mode::Basic, "basic", &[("username", &modes.username)]),
            (
                Mode::Bearer,
                "bearer",
                &[("bearerToken", &modes.bearer_token)],
            ),
            (
                Mode::Custom,
                "custom",
                &[
                    ("customAuthHeader", &modes.custom_auth_header),
                    ("customAuthValue", &modes.custom_auth_value),
                ],
            ),
            (
                Mode::Oauth,
                "oauth",
                &[
                    ("oauthTokenURI", &oauth.token_uri),
                    ("clientID", &oauth.client_id),
                ],
            ),
            (
                Mode::Tls,
                "tls",
                &[("cert", &modes.cert), ("key", &modes.key)],
            ),
        ];
        for (mode, name, parameters) in needs {
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
        }
        broken
    }

    /// Whether there is a login at all.
    #[cfg(feature = "prometheus")]
    pub fn has_modes(&self) -> bool {
        let modes = self.modes.auth_modes.as_ref();
        modes.is_some_and(|modes| !modes.is_empty())
    }

    fn uses(&self, mode: Mode) -> bool {
        let modes = self.modes.auth_modes.as_ref();
        modes.is_some_and(|modes| modes.contains(&mode))
    }

    /// The TLS setting: a `ca` counts whatever the modes are.
    pub fn tls(&self, insecure: bool) -> TlsSettings {
        let identity = self.modes.cert.clone().zip(self.modes.key.clone());
        TlsSettings {
            ca: self.modes.ca.clone(),
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
#[derive(Default)]
pub struct Authentication {
    /// Besides the credentials, which go before them.
    others: Vec<(HeaderName, HeaderValue)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// A parameter of the query, by name.
    query: Option<(String, String)>,
    tokens: Option<Tokens>,
}

impl Authentication {
    /// # Errors
    /// Where a header's name or value, or the token URL, can't be one. Quotes no secret.
    pub fn new(parameters: AuthenticationParameters) -> Result<Self, String> {
        let mut made = Self::default();
        let uses = |mode| parameters.uses(mode);
        let modes = &parameters.modes;
        if let (true, Some(key)) = (uses(Mode::ApiKey), &modes.api_key) {
            let name = modes.key_param_name.as_deref();
            match modes.method {
                KeyPlace::Header => {
                    let name = name.unwrap_or("X-API-KEY");
                    made.headers.push(header("keyParamName", name, key)?);
                }
                KeyPlace::Query => {
                    let name = name.unwrap_or("api_key");
                    made.query = Some((name.to_owned(), key.clone()));
                }
            }
        }
        if let (true, Some(name), Some(value)) = (
            uses(Mode::Custom),
            &modes.custom_auth_header,
            &modes.custom_auth_value,
        ) {
            made.headers.push(header("customAuthHeader", name, value)?);
        }
        if let (true, Some(username)) = (uses(Mode::Basic), &modes.username) {
            let password = modes.password.as_deref().unwrap_or_default();
            made.headers
                .push((AUTHORIZATION, basic(username, password)));
        }
        if let (true, Some(token)) = (uses(Mode::Bearer), &modes.bearer_token) {
            made.headers.push((AUTHORIZATION, bearer(token)?));
        }
        if parameters.uses(Mode::Oauth) {
            made.tokens = Some(Tokens::new(parameters.oauth)?);
        }
        Ok(made)
    }

    /// A user with a password.
    #[cfg(feature = "rabbitmq")]
    pub fn basic(username: &str, password: &str) -> Self {
        Self {
            headers: vec![(AUTHORIZATION, basic(username, password))],
            ..Self::default()
        }
    }

    /// The same with more headers.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn with_headers(mut self, others: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.others = others;
        self
    }

    /// # Errors
    /// Where the token URL can't be one.
    #[cfg(feature = "rabbitmq")]
    pub fn oauth(parameters: OAuthParameters) -> Result<Self, String> {
        Ok(Self {
            tokens: Some(Tokens::new(parameters)?),
            ..Self::default()
        })
    }

    /// Gets a URL with these credentials. A user in the URL counts where there is no other `Authorization` (as in Go's client).
    ///
    /// # Errors
    /// See [`fetch`]; for OAuth2 also the token server's failures.
    pub async fn get(
        &self,
        client: &Client,
        url: &Url,
        within: Duration,
    ) -> Result<Answer, ScalerError> {
        self.get_bounded(client, url, within, Bounds::default())
            .await
    }

    /// The same, with bounds of the caller's.
    ///
    /// # Errors
    /// As [`Authentication::get`].
    pub async fn get_bounded(
        &self,
        client: &Client,
        url: &Url,
        within: Duration,
        bounds: Bounds,
    ) -> Result<Answer, ScalerError> {
        let token = match &self.tokens {
            Some(tokens) => Some(tokens.token(client, within).await?),
            None => None,
        };
        let request = self
            .request(url, token.as_deref())
            .map_err(ScalerError::Unauthorized)?;
        let answer = fetch(client, request, within, bounds).await?;
        if let (Some(tokens), Some(token), StatusCode::UNAUTHORIZED) =
            (&self.tokens, &token, answer.status)
        {
            tokens.refused(token).await;
        }
        Ok(answer)
    }

    /// The request without credentials, for those who sign it.
    #[cfg(all(feature = "aws", feature = "prometheus"))]
    pub fn bare(&self, url: &Url) -> Request {
        let mut request = Request::new(Method::GET, without_user(url.clone()));
        for (name, value) in &self.others {
            request.headers_mut().append(name, value.clone());
        }
        request
    }

    fn request(&self, url: &Url, token: Option<&str>) -> Result<Request, String> {
        let user = user_of(url);
        let mut request = Request::new(Method::GET, without_user(url.clone()));
        if let Some((name, value)) = &self.query {
            set_query(request.url_mut(), name, value);
        }
        let headers = request.headers_mut();
        for (name, value) in &self.others {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, bearer(token)?);
        }
        if let Some((username, password)) = user {
            headers
                .entry(AUTHORIZATION)
                .or_insert_with(|| basic(&username, &password));
        }
        Ok(request)
    }
}

/// The headers that a parameter gives, but for those that are the client's own (as in Go's).
///
/// # Errors
/// Where one can't be a header. Quotes no value.
#[cfg(feature = "prometheus")]
pub fn headers<'a>(
    parameter: &str,
    given: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let own = [HOST, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING];
    let made: Result<Vec<_>, String> = given
        .map(|(name, value)| header(parameter, name, value))
        .collect();
    let mut made = made?;
    made.retain(|(name, _)| !own.contains(name));
    Ok(made)
}

fn header(parameter: &str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("{parameter} {name:?} can't be a header's name"))?;
    let value = secret(value)
        .ok_or_else(|| format!("the value for the header {name} can't be a header's value"))?;
    Ok((name, value))
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    secret(&format!("Bearer {token}"))
        .ok_or_else(|| "the bearer token holds characters that no header can have".to_owned())
}

/// A header's value that no log shows.
fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
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

    #[test]
    fn what_no_header_can_have_is_refused_without_the_secret() {
        for (mode, given, problem) in [
            (
                "bearer",
                [("bearerToken", "hunter\n2"), ("apiKey", "k")],
                "bearer token",
            ),
            (
                "apiKey",
                [("apiKey", "hunter\u{1}2"), ("keyParamName", "X")],
                "header x",
            ),
            (
                "apiKey",
                [("apiKey", "hunter2"), ("keyParamName", "a b")],
                "keyParamName \"a b\"",
            ),
        ] {
            let parsed = parse(&[("authModes", mode)], &given).ok().unwrap();
            let error = Authentication::new(parsed).err().unwrap();
            assert!(error.contains(problem), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
        let given = [("oauthTokenURI", "hunter2:x@idp"), ("clientID", "c")];
        let parsed = parse(&[("authModes", "oauth")], &given).ok().unwrap();
        let error = Authentication::new(parsed).err().unwrap();
        assert_eq!(
            error,
            "oauthTokenURI has no scheme: expected an http:// or https:// URL"
        );
    }

    #[test]
    fn credentials_go_where_they_belong() {
        let given = [
            ("apiKey", "k"),
            ("username", "u"),
            ("password", "p"),
            ("customAuthHeader", "X-Shop"),
            ("customAuthValue", "v"),
        ];
        let request = |url: &str, metadata: &[(&'static str, &'static str)]| {
            let authentication =
                Authentication::new(parse(metadata, &given).ok().unwrap()).unwrap();
            authentication
                .request(&Url::parse(url).unwrap(), None)
                .unwrap()
        };
        const URL: &str = "http://h/p?a=1&key=old";
        let sent = request(URL, &[("authModes", "apiKey,basic,custom")]);
        assert_eq!(sent.headers()["x-api-key"], "k");
        assert_eq!(sent.headers()["authorization"], "Basic dTpw");
        assert_eq!(sent.headers()["x-shop"], "v");
        assert_eq!(sent.url().as_str(), URL);

        let in_query = [
            ("authModes", "apiKey"),
            ("method", "query"),
            ("keyParamName", "key"),
        ];
        let sent = request(URL, &in_query);
        assert_eq!(sent.url().query(), Some("a=1&key=k"));
        assert!(sent.headers().is_empty());
        assert!(request(URL, &[]).headers().is_empty());

        // A user in the URL counts where nothing else does, and never stays there.
        for (metadata, expected) in [
            (&[][..], "Basic bWU6c2VjcmV0"),
            (&[("authModes", "apiKey")], "Basic bWU6c2VjcmV0"),
            (&[("authModes", "basic")], "Basic dTpw"),
        ] {
            let sent = request("http://me:secret@h/p", metadata);
            assert_eq!(sent.headers()["authorization"], expected);
            assert_eq!(sent.url().as_str(), "http://h/p");
        }
    }
}
