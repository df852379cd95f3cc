//! A stand-in for HashiCorp Vault, of which no package can be had here: it is not Vault. It speaks the part of its documented
//! HTTP API that reads secrets: kv versions 1 and 2, pki, leased secrets, tokens and their renewal, and the login with a
//! ServiceAccount's token (whose signature it does not check).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sakidori_test_cluster::ports::Port;
use serde_json::{Value, json};

use crate::serve::Serving;

/// What a path gives.
#[derive(Debug, Clone)]
enum Engine {
    /// `data` as it is, and what Vault says of how often to look again.
    Kv { data: Value, often: u64 },
    /// A new certificate each time, whose name is that of the request and a number.
    Pki { life: u64 },
    /// A new password each time.
    Leased { life: u64 },
}

#[derive(Debug)]
struct Token {
    /// `None` does not end.
    ends: Option<Instant>,
    life: u64,
}

#[derive(Debug, Default)]
struct Inner {
    engines: HashMap<String, Engine>,
    tokens: HashMap<String, Token>,
    /// By mount and role: the ServiceAccount that may log in (`namespace:name`), and how long its token is good for.
    roles: HashMap<(String, String), (String, u64)>,
    /// The `X-Vault-Namespace` that every request must have.
    namespace: Option<String>,
    requests: HashMap<String, u64>,
    issued: u64,
    secrecy: String,
}

/// The stand-in.
#[derive(Debug)]
pub struct VaultStandIn {
    port: Port,
    inner: Arc<Mutex<Inner>>,
    serving: Option<Serving>,
}

impl VaultStandIn {
    /// Starts one that knows nothing. What it makes up itself (tokens, passwords) begins with `secrecy`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(secrecy: &str) -> Result<VaultStandIn> {
        let inner = Inner {
            secrecy: secrecy.to_owned(),
            ..Inner::default()
        };
        let mut vault = VaultStandIn {
            port: Port::take()?,
            inner: Arc::new(Mutex::new(inner)),
            serving: None,
        };
        vault.run()?;
        Ok(vault)
    }

    /// Its `VAULT_ADDR`.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Stops it; nothing is lost.
    pub fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.stop();
        }
    }

    /// Starts it again on the same port. Does nothing while it runs.
    ///
    /// # Errors
    /// When the port can't be bound.
    pub fn run(&mut self) -> Result<()> {
        if self.serving.is_none() {
            let router = Router::new()
                .fallback(answer)
                .with_state(self.inner.clone());
            self.serving = Some(Serving::start(self.port.number(), None, router)?);
        }
        Ok(())
    }

    /// A token that does not end, or one that ends after `life` seconds unless it is renewed.
    pub fn allow_token(&self, token: &str, life: Option<u64>) {
        let ends = life.map(|life| Instant::now() + Duration::from_secs(life));
        let life = life.unwrap_or(0);
        self.lock()
            .tokens
            .insert(token.to_owned(), Token { ends, life });
    }

    /// Lets a ServiceAccount (`namespace:name`) log in as a role, with tokens that end after `life` seconds.
    pub fn allow_role(&self, mount: &str, role: &str, account: &str, life: u64) {
        let key = (mount.to_owned(), role.to_owned());
        self.lock().roles.insert(key, (account.to_owned(), life));
    }

    /// From now on no token is good that was.
    pub fn revoke_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// Takes requests of this Vault namespace only.
    pub fn require_namespace(&self, namespace: &str) {
        self.lock().namespace = Some(namespace.to_owned());
    }

    /// A secret of kv version 1.
    pub fn put(&self, path: &str, data: &Value) {
        self.put_engine(
            path,
            Engine::Kv {
                data: data.clone(),
                often: 2_764_800,
            },
        );
    }

    /// A secret of kv version 2, whose path holds `data/`.
    pub fn put_v2(&self, path: &str, data: &Value) {
        let data = json!({"data": data, "metadata": {"version": 1}});
        self.put_engine(path, Engine::Kv { data, often: 0 });
    }

    /// A role of pki, whose certificates end after `life` seconds.
    pub fn put_pki(&self, path: &str, life: u64) {
        self.put_engine(path, Engine::Pki { life });
    }

    /// A secret that is made at each read, and leased for `life` seconds.
    pub fn put_leased(&self, path: &str, life: u64) {
        self.put_engine(path, Engine::Leased { life });
    }

    /// Deletes a secret.
    pub fn delete(&self, path: &str) {
        self.lock().engines.remove(path);
    }

    /// How many requests a path has got, such as `auth/kubernetes/login`.
    pub fn requests(&self, path: &str) -> u64 {
        self.lock().requests.get(path).copied().unwrap_or(0)
    }

    fn put_engine(&self, path: &str, engine: Engine) {
        self.lock().engines.insert(path.to_owned(), engine);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Drop for VaultStandIn {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024)
        .await
        .unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = parts.uri.path().trim_start_matches("/v1/").to_owned();
    let answered = lock(&inner).answer(&parts.method, &path, &parts.headers, &body);
    let (status, body) = match answered {
        Ok(body) => (StatusCode::OK, body),
        // Vault says why, and sometimes repeats what it was sent.
        Err((status, why)) => (status, json!({"errors": [format!("{why}: {body}")]})),
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap_or_default()
}

type Refusal = (StatusCode, &'static str);

impl Inner {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Value,
    ) -> Result<Value, Refusal> {
        *self.requests.entry(path.to_owned()).or_default() += 1;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if self.namespace.as_deref() != header("x-vault-namespace") {
            return Err((
                StatusCode::FORBIDDEN,
                "no handler for route: other namespace",
            ));
        }
        let writes = matches!(*method, Method::PUT | Method::POST);
        if let Some(mount) = path
            .strip_prefix("auth/")
            .and_then(|path| path.strip_suffix("/login"))
        {
            return match writes {
                true => self.log_in(mount, body),
                false => Err((StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")),
            };
        }
        let denied = (StatusCode::FORBIDDEN, "permission denied");
        let name = header("x-vault-token").ok_or(denied)?.to_owned();
        let token = self.tokens.get_mut(&name).ok_or(denied)?;
        let now = Instant::now();
        if token.ends.is_some_and(|ends| ends < now) {
            return Err(denied);
        }
        match path {
            "auth/token/lookup-self" => {
                let left = token.ends.map_or(0, |ends| (ends - now).as_secs());
                return Ok(json!({"data": {"ttl": left, "renewable": token.ends.is_some()}}));
            }
            "auth/token/renew-self" if writes => {
                let life = token.life;
                token.ends = token.ends.map(|_| now + Duration::from_secs(life));
                let auth = json!({"client_token": name, "lease_duration": life, "renewable": true});
                return Ok(json!({"auth": auth}));
            }
            _ => {}
        }
        let engine = self.engines.get(path);
        match engine.ok_or((StatusCode::NOT_FOUND, ""))? {
            Engine::Kv { data, often } if !writes => {
                Ok(json!({"lease_id": "", "lease_duration": often, "data": data}))
            }
            Engine::Leased { life } if !writes => {
                self.issued += 1;
                let password = format!("{}-{}", self.secrecy, self.issued);
                Ok(json!({
                    "lease_id": format!("{path}/{}", self.issued),
                    "lease_duration": life,
                    "data": {"username": "v-user", "password": password},
                }))
            }
            Engine::Pki { life } if writes => {
                self.issued += 1;
                let name = body["common_name"].as_str().unwrap_or_default();
                let end = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs()
                    + life;
                Ok(json!({"lease_id": "", "lease_duration": 0, "data": {
                    "certificate": format!("{}-{name}-{}", self.secrecy, self.issued),
                    "private_key": format!("{}-key-{}", self.secrecy, self.issued),
                    "ca_chain": ["first", "second"],
                    "expiration": end,
                }}))
            }
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")),
        }
    }

    fn log_in(&mut self, mount: &str, body: &Value) -> Result<Value, Refusal> {
        let role = body["role"].as_str().unwrap_or_default();
        let key = (mount.to_owned(), role.to_owned());
        let (account, life) = self
            .roles
            .get(&key)
            .ok_or((StatusCode::BAD_REQUEST, "invalid role name"))?;
        let subject = body["jwt"].as_str().and_then(subject);
        if subject != Some(format!("system:serviceaccount:{account}")) {
            return Err((StatusCode::FORBIDDEN, "service account name not authorized"));
        }
        self.issued += 1;
        let token = format!("{}-token-{}", self.secrecy, self.issued);
        let life = *life;
        let ends = Some(Instant::now() + Duration::from_secs(life));
        self.tokens.insert(token.clone(), Token { ends, life });
        let auth = json!({"client_token": token, "lease_duration": life, "renewable": true});
        Ok(json!({"auth": auth}))
    }
}

/// Who a JSON web token is for.
fn subject(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims["sub"].as_str().map(str::to_owned)
}
