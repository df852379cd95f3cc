//! Databases that answer a query with one number: a few sessions for each server and user, shared by all triggers that name them.
//!
//! A question has a session to itself while it is asked; [`SESSIONS`] of them are asked at the same time, and more wait their turn.
//! A session is kept for the next question, also when a query failed, unless its state isn't known any more: then it is closed.
//! Sessions are opened when they are needed, one after the other and with a back-off ([`OnDemand`]). When the last scaler that
//! refers to a server is gone, its sessions are closed.
//!
//! All waiting is bounded, and everything here is cancel-safe: a session whose question nobody waits for any more is closed, so no
//! answer can be taken for that of another question.

mod connector;
pub mod value;

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::connector::{Connector, place};
use super::on_demand::OnDemand;
use crate::answers::{Answers, Freshness};
use crate::scaler::ScalerError;

/// Of one server as one user. Servers have some hundred for everybody, and PostgreSQL spends 10 MB on each.
const SESSIONS: usize = 4;

/// From the first packet to a session that is logged in. A healthy server on the other side of the world needs two seconds.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For what costs a server nothing. One that is down doesn't take a query's time to be noticed.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server is told to spend on one query: some seconds less than a poll may take.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// How much later it is given up here, if the server doesn't give it up itself.
const GRACE: Duration = Duration::from_secs(2);

/// Of the answer to one query, of which the first row counts.
pub const ANSWER_BYTES: usize = 1024 * 1024;

/// A server, and as whom it is asked.
pub trait Endpoint: Clone + Eq + Hash + Send + Sync + 'static {
    type Session: Session;

    /// Where that is, without credentials: `db:5432`.
    fn place(&self) -> String;

    /// Connects and logs in. Bounded in time by the caller.
    fn log_in(
        self,
        connector: Arc<Connector>,
    ) -> impl Future<Output = Result<Self::Session, ScalerError>> + Send;
}

/// A connection that is logged in. Dropped, it is closed.
pub trait Session: Send + 'static {
    /// Whether another question can be asked: the connection is open, and everything was answered.
    fn is_sound(&self) -> bool;

    /// Asks for a sign of life, before each question.
    fn greet(&mut self) -> impl Future<Output = Result<(), ScalerError>> + Send;

    /// The one column of the query's first row. The query can change nothing, and the server ends it after [`QUERY_TIMEOUT`].
    fn number(&mut self, query: &str) -> impl Future<Output = Result<f64, ScalerError>> + Send;
}

/// All servers of one kind.
pub struct Pool<E: Endpoint> {
    connector: Arc<Connector>,
    /// A server lives as long as a scaler refers to it.
    servers: Mutex<HashMap<E, Weak<Server<E>>>>,
}

impl<E: Endpoint> Pool<E> {
    pub fn new(connector: Arc<Connector>) -> Self {
        Self {
            connector,
            servers: Mutex::default(),
        }
    }

    /// The server at `endpoint`. Doesn't connect.
    pub fn server(&self, endpoint: E) -> Arc<Server<E>> {
        let mut servers = lock(&self.servers);
        if let Some(server) = servers.get(&endpoint).and_then(Weak::upgrade) {
            return server;
        }
        servers.retain(|_, server| server.strong_count() > 0);
        let server = Arc::new(Server {
            endpoint: endpoint.clone(),
            connector: self.connector.clone(),
            turns: Semaphore::new(SESSIONS),
            idle: Mutex::default(),
            connecting: OnDemand::default(),
            answers: Answers::default(),
        });
        servers.insert(endpoint, Arc::downgrade(&server));
        server
    }

    pub fn connector(&self) -> &Connector {
        &self.connector
    }
}

/// One server as one user.
pub struct Server<E: Endpoint> {
    endpoint: E,
    connector: Arc<Connector>,
    turns: Semaphore,
    /// Sessions that nobody asks on at the moment.
    idle: Mutex<Vec<E::Session>>,
    /// A new session, until somebody takes it.
    connecting: OnDemand<Mutex<Option<E::Session>>>,
    /// By the query's text.
    answers: Answers<String, f64>,
}

impl<E: Endpoint> Server<E> {
    /// The number that a query gives.
    ///
    /// # Errors
    /// `Malformed` for anything else than one number, and for a query that the server doesn't understand; `NotFound` for a
    /// database, table or column that isn't there; `Unauthorized`, `Unreachable`.
    pub async fn number(
        self: &Arc<Self>,
        query: &str,
        freshness: &Freshness,
    ) -> Result<f64, ScalerError> {
        let question = query.to_owned();
        let ask = || {
            let (server, query) = (self.clone(), question.clone());
            async move { server.ask(&query).await }
        };
        self.answers.get(&question, freshness, ask).await
    }

    async fn ask(&self, query: &str) -> Result<f64, ScalerError> {
        // Never closed, so this doesn't fail.
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|closed| self.unreachable(&closed.to_string()))?;
        let mut session = self.greeted().await?;
        let answer = timeout(QUERY_TIMEOUT + GRACE, session.number(query)).await;
        let late = |_| Err(self.unreachable(&format!("no answer within {QUERY_TIMEOUT:?}")));
        let answer = answer.unwrap_or_else(late);
        if session.is_sound() {
            self.connecting.answered();
            lock(&self.idle).push(session);
        }
        answer
    }

    /// A session on which the server answers.
    async fn greeted(&self) -> Result<E::Session, ScalerError> {
        loop {
            let kept = lock(&self.idle).pop();
            let is_kept = kept.is_some();
            let mut session = match kept {
                Some(session) if session.is_sound() => session,
                Some(_) => continue,
                None => self.connected().await?,
            };
            match timeout(GREETING_TIMEOUT, session.greet()).await {
                Ok(Ok(())) => return Ok(session),
                // The server was started anew meanwhile, or closes what is idle: that is no news of how it is now.
                Ok(Err(_)) if is_kept => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    // If its peer is gone without a word, so are those of the others: the next question connects anew.
                    lock(&self.idle).clear();
                    return Err(self.unreachable(&format!("no answer within {GREETING_TIMEOUT:?}")));
                }
            }
        }
    }

    /// A new session.
    async fn connected(&self) -> Result<E::Session, ScalerError> {
        loop {
            let made = self.connecting.get(
                |made| lock(made).is_some(),
                || {
                    let (endpoint, connector) = (self.endpoint.clone(), self.connector.clone());
                    log_in(endpoint, connector)
                },
            );
            // Who waited for the same attempt may have been quicker.
            if let Some(session) = lock(&*made.await?).take() {
                return Ok(session);
            }
        }
    }

    fn unreachable(&self, reason: &str) -> ScalerError {
        ScalerError::Unreachable(reason.to_owned()).at(&self.endpoint.place())
    }
}

async fn log_in<E: Endpoint>(
    endpoint: E,
    connector: Arc<Connector>,
) -> Result<Mutex<Option<E::Session>>, ScalerError> {
    let place = endpoint.place();
    let session = timeout(CONNECT_TIMEOUT, endpoint.log_in(connector)).await;
    let late = |_| {
        let reason = format!("no connection within {CONNECT_TIMEOUT:?}");
        Err(ScalerError::Unreachable(reason).at(&place))
    };
    Ok(Mutex::new(Some(session.unwrap_or_else(late)?)))
}

/// A panic elsewhere doesn't leave these states half-written, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
