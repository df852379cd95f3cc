//! Kafka: one native client per cluster, credentials and TLS setting, shared by all triggers that name them, whatever their topics
//! and groups are.
//!
//! The native client, librdkafka, has threads of its own (one, and one per broker that it speaks with) and connects by itself. What is
//! done here: a client is made when something is asked ([`OnDemand`]), its questions, which block, are few at a time and bounded, what
//! it says of failed connections is told apart by what to do about it, and one that nobody refers to any more, or that no broker
//! answers, is ended where nothing waits for that.

mod configuration;
mod events;
mod handshake;
mod link;
#[cfg(feature = "aws")]
mod msk;
mod question;
mod token;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::link::Link;
pub use self::question::{Offsets, Partition, PartitionIds, Question, Topic, Topics};
pub use self::token::TokenSource;
use self::token::Tokens;
use super::on_demand::OnDemand;
use super::tls::TlsSettings;
use super::{Clients, TlsFloor};
use crate::answers::{Answers, Freshness};
use crate::scaler::ScalerError;

/// From the first packet to a broker that answers: name, TCP, TLS and login.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// For one question, which is a few requests.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Questions under way at the same time on one cluster: each holds a thread. A question takes some milliseconds.
const AT_ONCE: usize = 8;

/// What a client is shared by: triggers with equal endpoints use the same.
///
/// No `Debug`: it holds credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `host:port`, sorted.
    servers: Vec<String>,
    /// `None` is plain TCP.
    pub tls: Option<TlsSettings>,
    pub login: Login,
}

impl Endpoint {
    pub fn new(mut servers: Vec<String>, tls: Option<TlsSettings>, login: Login) -> Self {
        servers.sort();
        servers.dedup();
        Self {
            servers,
            tls,
            login,
        }
    }

    /// Whether its certificates and keys can be used.
    ///
    /// # Errors
    /// Names the parameter; quotes none.
    pub fn check(&self) -> Result<(), String> {
        match &self.tls {
            Some(tls) => tls.client_config(TlsFloor::default()).map(drop),
            None => Ok(()),
        }
    }
}

/// The brokers' addresses.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kafka at {}", self.servers.join(","))
    }
}

/// As whom.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Login {
    Nobody,
    Password {
        mechanism: Mechanism,
        username: String,
        password: String,
    },
    /// SASL/OAUTHBEARER.
    Token(TokenSource),
}

/// How a password is shown, in SASL's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// All Kafka clients of the process.
pub struct KafkaPool {
    oldest_tls: TlsFloor,
    /// A cluster lives as long as a scaler refers to it.
    clusters: Mutex<HashMap<Endpoint, Weak<Cluster>>>,
}

impl KafkaPool {
    pub fn new(oldest_tls: TlsFloor) -> Self {
        Self {
            oldest_tls,
            clusters: Mutex::default(),
        }
    }

    /// The cluster at `endpoint`. Doesn't connect. `clients` is what this pool is one of.
    ///
    /// # Errors
    /// When its tokens can't be had from where they are to come from.
    pub fn cluster(
        &self,
        endpoint: Endpoint,
        clients: &Arc<Clients>,
    ) -> Result<Arc<Cluster>, String> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = clusters.get(&endpoint).and_then(Weak::upgrade) {
            return Ok(cluster);
        }
        clusters.retain(|_, cluster| cluster.strong_count() > 0);
        let tokens = match &endpoint.login {
            Login::Token(source) => Some(Arc::new(Tokens::new(source, clients)?)),
            Login::Nobody | Login::Password { .. } => None,
        };
        let cluster = Arc::new(Cluster {
            endpoint: endpoint.clone(),
            oldest_tls: self.oldest_tls,
            tokens,
            link: OnDemand::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            answers: Answers::default(),
        });
        clusters.insert(endpoint, Arc::downgrade(&cluster));
        Ok(cluster)
    }
}

/// One cluster as one user: at most one native client.
pub struct Cluster {
    endpoint: Endpoint,
    oldest_tls: TlsFloor,
    tokens: Option<Arc<Tokens>>,
    link: OnDemand<Link>,
    turns: Arc<Semaphore>,
    answers: Answers<Question, Arc<Offsets>>,
}

/// Why a question has no answer, by what becomes of the client.
enum Failure {
    /// The cluster answered, and says no: the client is sound.
    Answered(ScalerError),
    /// The client is to be replaced, at once: what it holds of the cluster is out of date.
    Stale(ScalerError),
    /// Nobody answered.
    Silent(ScalerError),
}

impl Cluster {
    /// How far a group has come in topics, and where these end.
    ///
    /// # Errors
    /// `NotFound` for a topic that isn't there, `Unauthorized` for a refused login or permission, `Unreachable` without a
    /// connection, an answer in time, or a leader.
    pub async fn offsets(
        self: &Arc<Self>,
        question: &Question,
        freshness: &Freshness,
    ) -> Result<Arc<Offsets>, ScalerError> {
        let ask = || {
            let (cluster, question) = (Arc::clone(self), question.clone());
            async move { cluster.ask(question).await.map(Arc::new) }
        };
        self.answers.get(question, freshness, ask).await
    }

    async fn ask(&self, question: Question) -> Result<Offsets, ScalerError> {
        let turn = timeout(ANSWER_WITHIN, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| self.unreachable(&"its other questions take too long"))?;
        // It is never closed.
        let turn = turn.map_err(|error| self.unreachable(&error))?;
        let link = self.link(&question).await?;
        if let Some(tokens) = &self.tokens {
            link.log_in_with(tokens).await?;
        }
        let is_its_own = link.group == question.group;
        let asked = Instant::now();
        let answer = link
            .ask(ANSWER_WITHIN, turn, move |asked| question.answer(asked))
            .await;
        match answer {
            Ok(offsets) => {
                self.link.answered();
                Ok(offsets)
            }
            Err(Failure::Answered(error)) => {
                self.link.answered();
                Err(self.at(error))
            }
            // The group of another client than this one: it is asked for nothing else.
            Err(Failure::Stale(error @ ScalerError::Unauthorized(_))) if !is_its_own => {
                self.link.answered();
                Err(self.at(error))
            }
            Err(Failure::Stale(error)) => {
                self.link.forget(&link);
                Err(self.at(error))
            }
            Err(Failure::Silent(error)) => {
                let error = self.at(link.explain(error).await);
                if let (ScalerError::Unauthorized(_), Some(tokens)) = (&error, &self.tokens) {
                    tokens.refused().await;
                }
                // One broker of several may be away, which is no reason to wait before others are asked.
                match link.heard_since(asked) {
                    true => self.link.forget(&link),
                    false => self.link.lost(&link, &error),
                }
                Err(error)
            }
        }
    }

    /// The client, after making it if need be, connected.
    async fn link(&self, question: &Question) -> Result<Arc<Link>, ScalerError> {
        let open = || {
            let (endpoint, oldest_tls) = (self.endpoint.clone(), self.oldest_tls);
            let (tokens, question) = (self.tokens.clone(), question.clone());
            async move {
                let opened = Link::open(&endpoint, oldest_tls, tokens.as_deref(), question).await;
                if let (Err(ScalerError::Unauthorized(_)), Some(tokens)) = (&opened, &tokens) {
                    tokens.refused().await;
                }
                opened.map_err(|error| error.at(&endpoint.to_string()))
            }
        };
        self.link.get(|link| !link.is_down(), open).await
    }

    fn at(&self, error: ScalerError) -> ScalerError {
        error.at(&self.endpoint.to_string())
    }

    fn unreachable(&self, reason: &dyn fmt::Display) -> ScalerError {
        self.at(ScalerError::Unreachable(reason.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_brokers_makes_no_other_cluster() {
        let clients = Arc::new(Clients::default());
        let endpoint = |servers: &[&str], login| {
            let servers = servers.iter().map(|server| (*server).to_owned()).collect();
            Endpoint::new(servers, None, login)
        };
        let cluster = |endpoint| clients.kafka.cluster(endpoint, &clients).unwrap();
        let one = cluster(endpoint(&["b:1", "a:1"], Login::Nobody));
        let other = cluster(endpoint(&["a:1", "b:1", "a:1"], Login::Nobody));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(one.endpoint.to_string(), "Kafka at a:1,b:1");
        let login = Login::Password {
            mechanism: Mechanism::Plain,
            username: "app".to_owned(),
            password: "hunter2".to_owned(),
        };
        let somebody = cluster(endpoint(&["a:1", "b:1"], login));
        assert!(!Arc::ptr_eq(&one, &somebody));
        assert!(!somebody.endpoint.to_string().contains("hunter2"));
    }
}
