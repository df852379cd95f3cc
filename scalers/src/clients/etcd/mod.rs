//! etcd clients: one per list of endpoints, TLS setting and user, shared by all triggers that name them.
//!
//! An [`Etcd`] talks to one of its endpoints at a time, over two connections: one for questions, one for all watches. When that endpoint
//! can't be reached or doesn't answer, it goes on with the next one that does. Going to an endpoint means to log in or, without a user, to ask
//! for some key, as `etcdctl endpoint health` does: an endpoint that has lost the other members is silent then. While no endpoint
//! can be reached, they are tried again after a back-off only.

mod protocol;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use prost::Message;
use tokio::time::sleep;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};

use self::protocol::{
    AUTHENTICATE, AuthenticateRequest, AuthenticateResponse, RANGE, RangeRequest, RangeResponse,
};
pub use self::watch::Watch;
use super::TlsFloor;
use super::grpc::{Address, Endpoint, Server, reason, scaler_error};
use super::on_demand::OnDemand;
use super::tls::TlsSettings;
use crate::answers::{Answers, Freshness};
use crate::scaler::ScalerError;

/// For one question (KEDA: 5 s). Where there are other endpoints, the first one has half of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// For going to one endpoint, and to one after the other.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT_ALL: Duration = Duration::from_secs(10);

/// What is asked for without a user, to see whether an endpoint answers: etcdctl's own choice. The key need not be there.
const HEALTH: &[u8] = b"health";

/// What etcd says of a user without giving it a code of its own.
const REFUSALS: [&str; 4] = [
    "etcdserver: authentication failed",
    "etcdserver: revision of auth store is old",
    "etcdserver: user name is empty",
    "etcdserver: user name not found",
];

/// What etcd says when a token has ended, or was not wanted before.
const TOKEN_IS_OVER: [&str; 3] = [
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
    "etcdserver: user name is empty",
];

/// What a member says to all who were asking while the leader was elected. Asked again, it knows.
const LEADER_CHANGED: &str = "etcdserver: leader changed";
/// Before it is asked again: etcd's own client waits as long.
const AFTER_AN_ELECTION: Duration = Duration::from_millis(25);

/// A try that is given up costs the connection.
const WORTH_A_TRY: Duration = Duration::from_millis(200);

/// Users are unknown to an etcd whose authentication is off. A trigger that names one works all the same (etcd's own client).
const AUTHENTICATION_IS_OFF: &str = "etcdserver: authentication is not enabled";

/// What a client is shared by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoints {
    /// At least one.
    pub addresses: Vec<Address>,
    /// `None` is plain text.
    pub tls: Option<TlsSettings>,
    pub login: Option<Login>,
}

/// A user of etcd's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    pub username: String,
    pub password: String,
}

/// All etcd clients of the process.
pub struct EtcdPool {
    oldest_tls: TlsFloor,
    /// One lives as long as a scaler refers to it.
    clients: Mutex<HashMap<Endpoints, Weak<Etcd>>>,
}

impl EtcdPool {
    pub fn new(oldest_tls: TlsFloor) -> Self {
        Self {
            oldest_tls,
            clients: Mutex::default(),
        }
    }

    /// The client for these endpoints. Doesn't connect.
    ///
    /// # Errors
    /// Where the TLS setting is not usable: names its part (`ca`, `cert`, `key`, `keyPassword`), and quotes none.
    pub fn client(&self, endpoints: &Endpoints) -> Result<Arc<Etcd>, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(endpoints).and_then(Weak::upgrade) {
            return Ok(client);
        }
        clients.retain(|_, client| client.strong_count() > 0);
        let server = |address: &Address| {
            let endpoint = Endpoint {
                address: address.clone(),
                tls: endpoints.tls.clone(),
            };
            Server::new(&endpoint, self.oldest_tls)
        };
        let servers: Result<Vec<_>, _> = endpoints.addresses.iter().map(server).collect();
        let client = Arc::new(Etcd {
            members: Arc::new(Members {
                way_in: Arc::new(WayIn {
                    servers: servers?,
                    login: endpoints.login.clone(),
                    first: AtomicUsize::new(0),
                }),
                session: OnDemand::default(),
            }),
            values: Answers::default(),
        });
        clients.insert(endpoints.clone(), Arc::downgrade(&client));
        Ok(client)
    }
}

/// One etcd, as one user.
pub struct Etcd {
    members: Arc<Members>,
    values: Answers<Vec<u8>, Option<Arc<[u8]>>>,
}

impl Etcd {
    /// The value of a key; `None` without the key.
    ///
    /// # Errors
    /// Name the endpoint. `Unauthorized` for a refused login or permission, `Unreachable` when no endpoint answers.
    pub async fn value(
        &self,
        key: &str,
        freshness: &Freshness,
    ) -> Result<Option<Arc<[u8]>>, ScalerError> {
        let key = key.as_bytes().to_vec();
        let ask = || {
            let (members, key) = (Arc::clone(&self.members), key.clone());
            async move { members.value(key).await }
        };
        self.values.get(&key, freshness, ask).await
    }

    /// The same, asked now: a question under way may have been answered before something that is to be seen.
    ///
    /// # Errors
    /// As [`Etcd::value`].
    pub async fn newest_value(&self, key: &str) -> Result<Option<Arc<[u8]>>, ScalerError> {
        self.members.value(key.as_bytes().to_vec()).await
    }
}

impl fmt::Display for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.members.way_in.servers.iter();
        let addresses: Vec<_> = servers.map(|it| it.address().to_string()).collect();
        write!(f, "etcd at {}", addresses.join(","))
    }
}

/// The endpoints, and the one that is talked to.
struct Members {
    way_in: Arc<WayIn>,
    session: OnDemand<Session>,
}

/// How to get a session.
struct WayIn {
    servers: Vec<Server>,
    login: Option<Login>,
    /// The endpoint that is tried first: the one after the last that failed.
    first: AtomicUsize,
}

/// An endpoint that answered, and what shows it who asks.
struct Session {
    way_in: Arc<WayIn>,
    number: usize,
    token: Option<MetadataValue<Ascii>>,
}

impl Members {
    async fn value(&self, key: Vec<u8>) -> Result<Option<Arc<[u8]>>, ScalerError> {
        let question = RangeRequest { key };
        let mut answer: RangeResponse = self.ask(RANGE, question).await?;
        let value = answer.kvs.pop().map(|found| found.value);
        Ok(value.map(Arc::from))
    }

    /// Asks a question, and once more where another endpoint or a new token may help.
    async fn ask<Q, A>(&self, path: &'static str, question: Q) -> Result<A, ScalerError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let session = self.session().await?;
        let others = self.way_in.servers.len() > 1;
        let within = ANSWER_TIMEOUT / if others { 2 } else { 1 };
        let status = match session.ask(path, question.clone(), within).await {
            Ok(answer) => {
                self.session.answered();
                return Ok(answer);
            }
            Err(status) => status,
        };
        if !self.gives_up(&session, &status) {
            return Err(self.failed(&session, &status));
        }
        let session = self.session().await?;
        let answer = session.ask(path, question, within).await;
        match answer {
            Ok(answer) => {
                self.session.answered();
                Ok(answer)
            }
            Err(status) => Err(self.failed(&session, &status)),
        }
    }

    /// The session, after going to an endpoint if need be.
    async fn session(&self) -> Result<Arc<Session>, ScalerError> {
        let way_in = &self.way_in;
        self.session
            .get(|_| true, || Arc::clone(way_in).open())
            .await
    }

    /// Gives a session up where the next one may do better: another endpoint, or a new token.
    fn gives_up(&self, session: &Arc<Session>, status: &Status) -> bool {
        let renews = self.way_in.login.is_some() && is_one_of(status, &TOKEN_IS_OVER);
        let moves = self.way_in.servers.len() > 1
            && matches!(etcd_error(status), ScalerError::Unreachable(_));
        if moves {
            self.way_in.leave(session.number);
        }
        if renews || moves {
            self.session.forget(session);
        }
        renews || moves
    }

    /// The error of a question. One that the endpoint answered is no failure of the session's.
    fn failed(&self, session: &Arc<Session>, status: &Status) -> ScalerError {
        let error = session.error(status);
        let is_lost = matches!(error, ScalerError::Unreachable(_))
            || is_one_of(status, &TOKEN_IS_OVER) && self.way_in.login.is_some();
        if is_lost {
            self.way_in.leave(session.number);
            self.session.lost(session, &error);
        } else {
            self.session.answered();
        }
        error
    }
}

impl WayIn {
    /// Goes to the first endpoint that answers.
    async fn open(self: Arc<Self>) -> Result<Session, ScalerError> {
        let count = self.servers.len();
        let within =
            CONNECT_TIMEOUT.min(CONNECT_TIMEOUT_ALL / u32::try_from(count).unwrap_or(u32::MAX));
        let first = self.first.load(Ordering::Relaxed);
        let mut failure: Option<ScalerError> = None;
        for step in 0..count {
            let number = (first + step) % count;
            let error = match self.enter(number, within).await {
                Ok(token) => {
                    return Ok(Session {
                        way_in: self,
                        number,
                        token,
                    });
                }
                Err(error) => error,
            };
            // They all know the same users.
            if matches!(error, ScalerError::Unauthorized(_)) {
                return Err(error);
            }
            failure = Some(match failure {
                Some(first) => first.map(|text| format!("{text}; {error}")),
                None => error,
            });
        }
        let none = || ScalerError::Unreachable("no endpoint is known".to_owned());
        Err(failure.unwrap_or_else(none))
    }

    /// Goes to one endpoint, and brings a token from there, if one is needed.
    async fn enter(
        &self,
        number: usize,
        within: Duration,
    ) -> Result<Option<MetadataValue<Ascii>>, ScalerError> {
        let server = &self.servers[number];
        let at = |error: ScalerError| error.at(&place(server));
        let Some(login) = &self.login else {
            let question = || Request::new(RangeRequest { key: HEALTH.into() });
            let answer: Result<RangeResponse, Status> = ask(server, RANGE, question, within).await;
            return match answer {
                Ok(_) => Ok(None),
                // It answers, though not to everybody.
                Err(status) if matches!(etcd_error(&status), ScalerError::Unauthorized(_)) => {
                    Ok(None)
                }
                Err(status) => Err(at(etcd_error(&status))),
            };
        };
        let question = || {
            Request::new(AuthenticateRequest {
                name: login.username.clone(),
                password: login.password.clone(),
            })
        };
        let answer = ask(server, AUTHENTICATE, question, within).await;
        let answer: AuthenticateResponse = match answer {
            Ok(answer) => answer,
            Err(status) if status.message() == AUTHENTICATION_IS_OFF => return Ok(None),
            Err(status) => return Err(at(etcd_error(&status))),
        };
        let token = MetadataValue::try_from(answer.token);
        let token = token.map_err(|_| {
            at(ScalerError::Malformed(
                "its token is no header's value".to_owned(),
            ))
        })?;
        Ok(Some(token))
    }

    /// The endpoint failed: the next one is tried first.
    fn leave(&self, number: usize) {
        let next = (number + 1) % self.servers.len();
        // Of several questions that failed there, the first one.
        let _ = self
            .first
            .compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Session {
    fn server(&self) -> &Server {
        &self.way_in.servers[self.number]
    }

    fn request<Q>(&self, question: Q) -> Request<Q> {
        let mut request = Request::new(question);
        if let Some(token) = &self.token {
            let mut token = token.clone();
            token.set_sensitive(true);
            request.metadata_mut().insert("authorization", token);
        }
        request
    }

    async fn ask<Q, A>(
        &self,
        path: &'static str,
        question: Q,
        within: Duration,
    ) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let request = || self.request(question.clone());
        ask(self.server(), path, request, within).await
    }

    fn error(&self, status: &Status) -> ScalerError {
        etcd_error(status).at(&place(self.server()))
    }
}

/// Asks a member what changes nothing, over an election of a leader: all of it in this time.
async fn ask<Q, A>(
    server: &Server,
    path: &'static str,
    question: impl Fn() -> Request<Q>,
    within: Duration,
) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let end = Instant::now() + within;
    let mut left = within;
    loop {
        let answer = server.ask(path, question(), left).await;
        let again = matches!(&answer, Err(status) if is_one_of(status, &[LEADER_CHANGED]));
        left = end.saturating_duration_since(Instant::now() + AFTER_AN_ELECTION);
        if !again || left < WORTH_A_TRY {
            return answer;
        }
        sleep(AFTER_AN_ELECTION).await;
    }
}

fn place(server: &Server) -> String {
    format!("etcd at {}", server.address())
}

fn etcd_error(status: &Status) -> ScalerError {
    let client_error = matches!(
        status.code(),
        Code::InvalidArgument | Code::FailedPrecondition
    );
    if client_error && is_one_of(status, &REFUSALS) {
        return ScalerError::Unauthorized(reason(status));
    }
    scaler_error(status)
}

fn is_one_of(status: &Status, texts: &[&str]) -> bool {
    texts.iter().any(|text| status.message().contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_other_answers() {
        let kind = |code: Code, text: &str| {
            let error = etcd_error(&Status::new(code, text)).to_string();
            error.split(':').next().unwrap_or_default().to_owned()
        };
        for (code, text, expected) in [
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                "unauthorized",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: user name is empty",
                "unauthorized",
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                "unauthorized",
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                "unauthorized",
            ),
            (Code::Unavailable, "etcdserver: no leader", "unreachable"),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                "rate limited",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: key is not provided",
                "malformed answer",
            ),
            (Code::Unimplemented, "unknown service", "malformed answer"),
        ] {
            assert_eq!(kind(code, text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn equal_endpoints_share_a_client() {
        let pool = EtcdPool::new(TlsFloor::default());
        let client = |ports: &[u16], user: &str| {
            let address = |port: &u16| Address::parse(&format!("localhost:{port}")).unwrap();
            let login = Login {
                username: user.to_owned(),
                password: String::new(),
            };
            let endpoints = Endpoints {
                addresses: ports.iter().map(address).collect(),
                tls: None,
                login: Some(login),
            };
            pool.client(&endpoints).unwrap()
        };
        let first = client(&[1, 2], "a");
        assert!(Arc::ptr_eq(&first, &client(&[1, 2], "a")));
        assert!(!Arc::ptr_eq(&first, &client(&[1], "a")));
        assert!(!Arc::ptr_eq(&first, &client(&[1, 2], "b")));
        assert_eq!(first.to_string(), "etcd at localhost:1,localhost:2");
    }
}
