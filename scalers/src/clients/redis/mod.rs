//! Connections to Redis: one per server, credentials, database and TLS setting, shared by all triggers that name them.
//!
//! The client library speaks the protocol over a stream of ours, so that names, TLS and the bound on answers are the same as
//! for all other clients. Which server of several is asked is ours too ([`cluster`], [`sentinel`]): the library's own ways open
//! connections in the background.

mod address;
mod cluster;
mod link;
mod login;
mod node;
mod question;
mod refusal;
mod sentinel;
mod slot;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use redis::{Cmd, Value};

pub use self::address::Address;
use self::cluster::Cluster;
use self::link::Dialer;
pub use self::login::Login;
use self::node::Node;
pub use self::question::Question;
use self::sentinel::Sentinels;
use super::TlsFloor;
use super::names::Names;
use super::tls::TlsSettings;
use crate::answers::{Answers, Freshness};
use crate::scaler::ScalerError;

/// What connections are shared by: triggers with equal endpoints use the same.
///
/// No `Debug`: it holds passwords.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub topology: Topology,
    /// Of the server, of some nodes of the cluster, or of the sentinels.
    pub addresses: Vec<Address>,
    pub login: Login,
    /// Only what is above 0 is selected. A cluster has no others.
    pub database: i64,
    /// `None` is plain TCP.
    pub tls: Option<TlsSettings>,
}

/// How servers stand together.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Topology {
    /// One server: the first address.
    Single,
    Cluster,
    /// A master and its replicas, and sentinels with a login of their own.
    Sentinel {
        master: String,
        login: Login,
    },
}

/// What messages call a server.
#[derive(Clone, Copy)]
enum Product {
    Redis,
    Sentinel,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Sentinel => "Redis Sentinel",
        })
    }
}

/// All connections to Redis of the process.
pub struct RedisPool {
    oldest_tls: TlsFloor,
    names: Names,
    /// They live as long as a scaler refers to them.
    servers: Mutex<HashMap<Endpoint, Weak<Servers>>>,
}

impl RedisPool {
    pub fn new(oldest_tls: TlsFloor) -> Self {
        Self {
            oldest_tls,
            names: Names::of_the_system(),
            servers: Mutex::default(),
        }
    }

    /// The servers of `endpoint`. Doesn't connect.
    ///
    /// # Errors
    /// When the TLS setting can't be used; names its parameter.
    pub fn servers(&self, endpoint: Endpoint) -> Result<Arc<Servers>, String> {
        let mut all = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(servers) = all.get(&endpoint).and_then(Weak::upgrade) {
            return Ok(servers);
        }
        let servers = Arc::new(Servers {
            route: self.route(&endpoint)?,
            place: place(&endpoint),
            answers: Answers::default(),
            number_lag: AtomicBool::new(false),
        });
        all.retain(|_, servers| servers.strong_count() > 0);
        all.insert(endpoint, Arc::downgrade(&servers));
        Ok(servers)
    }

    fn route(&self, endpoint: &Endpoint) -> Result<Route, String> {
        let tls = endpoint.tls.as_ref();
        let tls = tls.map(|settings| settings.client_config(self.oldest_tls));
        let tls = tls.transpose()?.map(Arc::new);
        let dialer = |login: &Login, database, product| {
            Arc::new(Dialer {
                names: self.names.clone(),
                tls: tls.clone(),
                login: login.clone(),
                database,
                product,
            })
        };
        let addresses = endpoint.addresses.clone();
        let servers = dialer(&endpoint.login, endpoint.database, Product::Redis);
        Ok(match &endpoint.topology {
            Topology::Single => {
                let first = addresses.into_iter().next();
                let first = first.ok_or("no address is given")?;
                Route::Single(Node::new(first, servers))
            }
            Topology::Cluster => Route::Cluster(Cluster::new(addresses, servers)),
            Topology::Sentinel { master, login } => {
                let watchers = dialer(login, 0, Product::Sentinel);
                Route::Sentinel(Sentinels::new(addresses, watchers, master, servers))
            }
        })
    }
}

fn place(endpoint: &Endpoint) -> String {
    let addresses: Vec<String> = endpoint.addresses.iter().map(Address::to_string).collect();
    match &endpoint.topology {
        Topology::Single => format!("Redis at {}", addresses.join(", ")),
        Topology::Cluster => format!("Redis cluster at {}", addresses.join(", ")),
        Topology::Sentinel { master, .. } => format!("Redis master {master:?}"),
    }
}

/// What holds the keys of one endpoint: a server, or several that are asked as if they were one.
pub struct Servers {
    route: Route,
    /// For messages, where the answer of whichever server it was is at fault.
    place: String,
    answers: Answers<Question, i64>,
    /// They are known to number what a consumer group has not read yet.
    number_lag: AtomicBool,
}

enum Route {
    Single(Node),
    Cluster(Cluster),
    Sentinel(Sentinels),
}

impl Servers {
    /// The answer to a question, or one that is fresh enough.
    ///
    /// # Errors
    /// As [`ScalerError`] says; the text names the key and the server.
    pub async fn number(
        self: &Arc<Self>,
        question: &Question,
        freshness: &Freshness,
    ) -> Result<i64, ScalerError> {
        let ask = || {
            let (servers, question) = (Arc::clone(self), question.clone());
            async move { question.ask(&servers).await }
        };
        self.answers.get(question, freshness, ask).await
    }

    /// An answer that is not what was asked for.
    fn malformed(&self, text: &str) -> ScalerError {
        ScalerError::Malformed(format!("{}: {text}", self.place))
    }

    /// Asks the server that has a key.
    async fn ask(&self, key: &str, command: &Cmd) -> Result<Value, ScalerError> {
        match &self.route {
            Route::Single(node) => node.ask(command).await,
            Route::Cluster(cluster) => cluster.ask(key, command).await,
            Route::Sentinel(sentinels) => sentinels.ask(command).await,
        }
    }
}
