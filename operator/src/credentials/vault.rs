//! `hashiCorpVault`: logs in to Vault and reads secrets over its HTTP API.
//!
//! Static secrets (kv) are read again regularly, which is the only way to see that one changed; what Vault leases (dynamic
//! secrets) and certificates are asked for anew when two thirds of their life are over, and used until the new one is there.

mod own_tokens;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method as Verb, StatusCode, Url};
use sakidori_scalers::clients::Clients;
use sakidori_scalers::clients::tls::TlsSettings;
use sakidori_scalers::over_http;
use serde_json::{Map, Value, json};

use super::Fetched;
use super::bound_token::Tokens;
use crate::lock::lock;
pub use own_tokens::OwnTokens;
pub use session::Session;

/// The most of an answer that is read: Vault itself takes no secret larger than 1 MiB.
const LIMIT: usize = 2 * 1024 * 1024;
/// A lease is renewed at the earliest after this: one of no length must not become a loop.
const SHORTEST: Duration = Duration::from_secs(1);
/// And at the latest after this.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// A longer life says nothing more, and can't overflow, in seconds.
const MOST: u64 = 30 * 24 * 60 * 60;
/// A certificate whose end Vault doesn't tell.
const UNKNOWN_LIFE: Duration = Duration::from_secs(60 * 60);

/// What the operator's environment says of Vault, in the variables of Vault's own client. No `Debug`: it holds a token.
#[derive(Clone, Default)]
pub struct VaultEnvironment {
    /// `VAULT_TOKEN`: goes before the token in the manifest, where it may go at all.
    pub token: Option<String>,
    /// Who may be shown the operator's own tokens.
    pub own_tokens: OwnTokens,
    /// `VAULT_NAMESPACE`: where the manifest names none.
    pub namespace: Option<String>,
    /// `VAULT_CACERT` (its content) and `VAULT_SKIP_VERIFY`.
    pub tls: TlsSettings,
}

/// Where to log in, and as whom. No `Debug`: it may hold a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// Whether a ClusterTriggerAuthentication says so, which only an administrator writes.
    pub of_the_cluster: bool,
    pub address: String,
    pub namespace: Option<String>,
    pub method: Method,
}

/// How to log in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// With a token; `None` is the environment's. See [`OwnTokens`].
    Token(Option<String>),
    Kubernetes {
        mount: String,
        role: String,
        token: TokenFrom,
    },
}

/// Where the ServiceAccount's token comes from that Vault is shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum TokenFrom {
    File(String),
    ServiceAccount { namespace: String, name: String },
}

/// What to ask Vault for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Request {
    pub login: Login,
    pub path: String,
    /// The certificate to issue; `None` reads a secret.
    pub issue: Option<BTreeMap<String, String>>,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = sakidori_scalers::params::without_credentials(&self.login.address);
        write!(f, "{:?} of Vault {address}", self.path)
    }
}

/// All of Vault's servers.
pub struct Vault {
    http: Http,
    tokens: Arc<Tokens>,
    environment: VaultEnvironment,
    refresh: Duration,
    /// One per login, for as long as a credential is followed that needs it.
    sessions: Mutex<HashMap<Login, Weak<Session>>>,
}

impl Vault {
    pub fn new(
        clients: Arc<Clients>,
        tokens: Arc<Tokens>,
        environment: VaultEnvironment,
        refresh: Duration,
    ) -> Self {
        let http = Http {
            clients,
            tls: environment.tls.clone(),
            namespace: environment.namespace.clone(),
        };
        Self {
            http,
            tokens,
            environment,
            refresh,
            sessions: Mutex::default(),
        }
    }

    pub async fn fetch(&self, request: &Request) -> Result<Fetched, String> {
        let session = self.session(&request.login);
        let token = session.token(self).await?;
        let mut answer = self.ask(request, &token).await?;
        if answer.status == StatusCode::FORBIDDEN && session.refused(&token).await {
            // The token may have been revoked, as at a restart of a Vault without storage.
            let token = session.token(self).await?;
            answer = self.ask(request, &token).await?;
        }
        let (content, again_in) = match answer.status {
            StatusCode::NOT_FOUND => (None, self.refresh),
            _ => {
                let body = answer.accepted("may this token or role read it?")?;
                let again_in = again_in(&body, request.issue.is_some(), self.refresh);
                (Some(data(body)?), again_in)
            }
        };
        Ok(Fetched {
            content,
            again_in,
            session: Some(session),
        })
    }

    async fn ask(&self, request: &Request, token: &str) -> Result<Answer, String> {
        match &request.issue {
            None => {
                let sent = self.http.send(&request.login, Verb::GET, &request.path);
                sent.with(Some(token), None).await
            }
            Some(certificate) => {
                let sent = self.http.send(&request.login, Verb::PUT, &request.path);
                sent.with(Some(token), Some(json!(certificate))).await
            }
        }
    }

    fn session(&self, login: &Login) -> Arc<Session> {
        let mut sessions = lock(&self.sessions);
        if let Some(session) = sessions.get(login).and_then(Weak::upgrade) {
            return session;
        }
        sessions.retain(|_, session| session.strong_count() > 0);
        let session = Arc::new(Session::new(login.clone()));
        sessions.insert(login.clone(), Arc::downgrade(&session));
        session
    }
}

/// When to ask again for what an answer holds, as its source has it: `refresh` at the latest where it is not leased.
fn again_in(body: &Map<String, Value>, issued: bool, refresh: Duration) -> Duration {
    let field = |name: &str| body.get(name).unwrap_or(&Value::Null);
    let lease = field("lease_duration").as_u64().filter(|lease| *lease > 0);
    let lease = lease.map(Duration::from_secs);
    let is_leased = field("lease_id").as_str().is_some_and(|id| !id.is_empty());
    let part = |life: Duration| life.mul_f64(2.0 / 3.0);
    let again_in = match lease {
        Some(lease) if is_leased => part(lease.min(Duration::from_secs(MOST))),
        _ if issued => {
            let end = field("data").get("expiration").and_then(Value::as_i64);
            let life = end.map(|end| end.saturating_sub(Timestamp::now().as_second()));
            let life = life.and_then(|life| u64::try_from(life).ok());
            part(life.map_or(UNKNOWN_LIFE, |life| Duration::from_secs(life.min(MOST))))
        }
        // For kv this is how often whoever reads it should look again (Vault: the secret's own `ttl`).
        Some(often) => often.min(refresh),
        None => refresh,
    };
    again_in.clamp(SHORTEST, LONGEST)
}

/// The `data` of an answer.
fn data(mut body: Map<String, Value>) -> Result<Map<String, Value>, String> {
    match body.remove("data") {
        Some(Value::Object(data)) => Ok(data),
        _ => Err("Vault's answer has no data".to_owned()),
    }
}

/// Vault's HTTP API, with bounds on time (the caller's) and size, and without redirects: a token goes to nobody but the address
/// in the manifest.
struct Http {
    clients: Arc<Clients>,
    tls: TlsSettings,
    /// Where the login names none.
    namespace: Option<String>,
}

/// A request on its way.
struct Sent<'a> {
    http: &'a Http,
    login: &'a Login,
    verb: Verb,
    path: &'a str,
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Http {
    fn send<'a>(&'a self, login: &'a Login, verb: Verb, path: &'a str) -> Sent<'a> {
        Sent {
            http: self,
            login,
            verb,
            path,
        }
    }
}

impl Sent<'_> {
    async fn with(self, token: Option<&str>, body: Option<Value>) -> Result<Answer, String> {
        let client = self.http.clients.http.client(&self.http.tls)?;
        let url = url(&self.login.address, self.path)?;
        let mut request = client.request(self.verb, url);
        // What tells a request from one that a browser was tricked into.
        request = request.header("X-Vault-Request", "true");
        let namespace = self.login.namespace.as_ref();
        if let Some(namespace) = namespace.or(self.http.namespace.as_ref()) {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = token {
            request = request.header("X-Vault-Token", token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let unreachable = |error: reqwest::Error| {
            let what = match () {
                () if error.is_connect() => "no connection",
                () if error.is_builder() => "the request can't be made: a value is no header",
                () => "the connection broke",
            };
            format!("asking Vault: {what}")
        };
        over_http(async move {
            let mut response = request.send().await.map_err(unreachable)?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                if body.len() + chunk.len() > LIMIT {
                    return Err("Vault's answer is larger than 2 MiB".to_owned());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer {
                status: response.status(),
                body,
            })
        })
        .await
    }
}

impl Answer {
    /// The body of an answer with 2xx. What else Vault says is not repeated: it may hold what was sent.
    fn accepted(self, ask: &str) -> Result<Map<String, Value>, String> {
        let status = self.status;
        let hint = match status {
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => format!(": {ask}"),
            StatusCode::SERVICE_UNAVAILABLE => ": it is sealed or down".to_owned(),
            _ if status.is_redirection() => {
                ": redirects are not followed, name the server itself".to_owned()
            }
            _ => String::new(),
        };
        if !status.is_success() {
            return Err(format!("Vault answered {status}{hint}"));
        }
        serde_json::from_slice(&self.body)
            .map_err(|_| format!("Vault answered {status} without a JSON object"))
    }
}

fn url(address: &str, path: &str) -> Result<Url, String> {
    const EXPECTED: &str = "address: expected a URL such as https://vault.example.com:8200";
    let mut url = Url::parse(address).map_err(|_| EXPECTED.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(EXPECTED.to_owned());
    }
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("v1");
        segments.extend(path.split('/').filter(|segment| !segment.is_empty()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_v1() {
        for (address, path, expected) in [
            (
                "http://vault:8200",
                "secret/data/x",
                "http://vault:8200/v1/secret/data/x",
            ),
            (
                "https://vault/proxy/",
                "/kv/a b",
                "https://vault/proxy/v1/kv/a%20b",
            ),
            (
                "http://vault",
                "kv/../../sys/x?y#z",
                "http://vault/v1/kv/sys/x%3Fy%23z",
            ),
        ] {
            assert_eq!(url(address, path).unwrap().as_str(), expected);
        }
        for wrong in ["", "vault:8200", "ftp://vault", "unix:///run/vault"] {
            assert!(
                url(wrong, "x").unwrap_err().starts_with("address"),
                "{wrong}"
            );
        }
    }

    fn request() -> Request {
        Request {
            login: Login {
                of_the_cluster: false,
                address: "http://user:hunter2@vault:8200".to_owned(),
                namespace: None,
                method: Method::Token(Some("hunter2".to_owned())),
            },
            path: "kv/x".to_owned(),
            issue: None,
        }
    }

    #[test]
    fn a_request_is_named_without_what_it_is_made_with() {
        let shown = request().to_string();
        assert_eq!(shown, "\"kv/x\" of Vault http://***@vault:8200");
    }

    #[test]
    fn what_vault_says_of_the_end_decides_when_to_ask_again() {
        let soon = |seconds: i64| Timestamp::now().as_second() + seconds;
        for (what, body, issued, seconds) in [
            (
                "kv",
                json!({"lease_duration": 2_764_800, "lease_id": ""}),
                false,
                60,
            ),
            (
                "kv with a ttl",
                json!({"lease_duration": 5, "lease_id": ""}),
                false,
                5,
            ),
            (
                "kv 2",
                json!({"lease_duration": 0, "lease_id": ""}),
                false,
                60,
            ),
            (
                "a lease",
                json!({"lease_duration": 3600, "lease_id": "a"}),
                false,
                2400,
            ),
            (
                "a short lease",
                json!({"lease_duration": 1, "lease_id": "a"}),
                false,
                1,
            ),
            (
                "a long lease",
                json!({"lease_duration": u64::MAX, "lease_id": "a"}),
                false,
                86_400,
            ),
            (
                "a certificate",
                json!({"data": {"expiration": soon(3600)}}),
                true,
                2400,
            ),
            (
                "a leased one",
                json!({"lease_duration": 60, "lease_id": "a", "data": {}}),
                true,
                40,
            ),
            (
                "one that ended",
                json!({"data": {"expiration": 5}}),
                true,
                2400,
            ),
            ("one without an end", json!({"data": {}}), true, 2400),
            (
                "nonsense",
                json!({"lease_duration": "x", "lease_id": 5}),
                false,
                60,
            ),
        ] {
            let Value::Object(body) = body else {
                panic!("{what}")
            };
            let again_in = again_in(&body, issued, Duration::from_secs(60)).as_secs();
            // The clock goes on meanwhile.
            assert!(
                again_in == seconds || again_in + 1 == seconds,
                "{what}: {again_in}"
            );
        }
    }
}
