//! NATS' monitoring endpoint: what `/jsz` and `/varz` say, asked once for all triggers of an endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reqwest::{Client, Method, Request, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::HttpPool;
use super::tls::TlsSettings;
use crate::answers::{Answers, Freshness};
use crate::http::{BODY_LIMIT, Bounds, fetch, host_of};
use crate::limits::{at_most, from_json};
use crate::scaler::ScalerError;

/// All monitoring endpoints of the process.
#[derive(Default)]
pub struct NatsPool {
    /// By scheme, host and port. One lives as long as a scaler refers to it.
    endpoints: Mutex<HashMap<Url, Weak<Monitoring>>>,
}

impl NatsPool {
    /// The monitoring endpoint at a URL without a path. Doesn't connect.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn monitoring(&self, http: &HttpPool, endpoint: &Url) -> Result<Arc<Monitoring>, String> {
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(monitoring) = endpoints.get(endpoint).and_then(Weak::upgrade) {
            return Ok(monitoring);
        }
        endpoints.retain(|_, monitoring| monitoring.strong_count() > 0);
        let monitoring = Arc::new(Monitoring {
            client: http.client(&TlsSettings::default())?,
            timeout: http.timeout(None),
            streams: Answers::default(),
            servers: Answers::default(),
        });
        endpoints.insert(endpoint.clone(), Arc::downgrade(&monitoring));
        Ok(monitoring)
    }
}

/// The endpoint of one server or Service, and what was asked through it of the other servers of its cluster.
pub struct Monitoring {
    client: Arc<Client>,
    timeout: Duration,
    streams: Answers<Url, Arc<JetStream>>,
    servers: Answers<Url, Arc<Server>>,
}

impl Monitoring {
    /// What a server knows of streams: `url` is its `/jsz`.
    ///
    /// # Errors
    /// Name the host. `Unreachable` without a complete answer, `Malformed` for one that is no `/jsz`.
    pub async fn streams(
        &self,
        url: Url,
        freshness: &Freshness,
    ) -> Result<Arc<JetStream>, ScalerError> {
        let ask = || {
            let client = Arc::clone(&self.client);
            let asked = get::<JetStream>(client, url.clone(), self.timeout, BODY_LIMIT);
            let place = place(&url);
            async move { asked.await?.bounded().map_err(|error| error.at(&place)) }
        };
        self.streams.get(&url, freshness, ask).await
    }

    /// What a server says of itself and its cluster: `url` is its `/varz`.
    ///
    /// # Errors
    /// As [`Monitoring::streams`].
    pub async fn server(
        &self,
        url: Url,
        freshness: &Freshness,
    ) -> Result<Arc<Server>, ScalerError> {
        let ask = || {
            let client = Arc::clone(&self.client);
            get(client, url.clone(), self.timeout, ABOUT_SERVER)
        };
        self.servers.get(&url, freshness, ask).await
    }
}

/// The most that a server says of itself: some tens of KiB.
const ABOUT_SERVER: usize = 1024 * 1024;
/// The most that is remembered of one server's streams: some 25,000 consumers.
const MOST_REMEMBERED: usize = 4 * 1024 * 1024;
/// What each of them takes, besides its name.
const NAMED: usize = 100;
/// The most accounts of one server. Each is 72 bytes in memory, and may be two in the answer.
const MOST_ACCOUNTS: usize = 10_000;
/// The most servers of a cluster, each of which may be asked. A full mesh of a hundred is beyond what anybody runs.
const MOST_SERVERS: usize = 100;

/// What messages call a server.
fn place(url: &Url) -> String {
    format!("NATS at {}", host_of(url))
}

/// One question.
async fn get<T: DeserializeOwned + Send + 'static>(
    client: Arc<Client>,
    url: Url,
    within: Duration,
    bytes: usize,
) -> Result<Arc<T>, ScalerError> {
    let place = place(&url);
    let path = url.path().to_owned();
    let answer = async {
        let request = Request::new(Method::GET, url);
        let bounds = Bounds {
            bytes,
            ..Bounds::default()
        };
        let answer = fetch(&client, request, within, bounds).await?;
        let parsed = answer.accepted()?.parse(from_json).await;
        parsed.map_err(|error| {
            ScalerError::Malformed(format!("the answer is no {path} of NATS: {error}"))
        })
    };
    let answer = answer.await.map_err(|error: ScalerError| error.at(&place));
    answer.map(Arc::new)
}

/// `/jsz`: JetStream as one server sees it.
#[derive(Debug, Deserialize)]
pub struct JetStream {
    #[serde(default)]
    disabled: bool,
    #[serde(
        default,
        rename = "account_details",
        deserialize_with = "at_most::<MOST_ACCOUNTS, _, _>"
    )]
    accounts: Vec<Account>,
    /// Of a server that is in a cluster.
    meta_cluster: Option<MetaCluster>,
}

#[derive(Debug, Deserialize)]
struct MetaCluster {
    #[serde(default)]
    cluster_size: i64,
}

#[derive(Debug, Deserialize)]
struct Account {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    /// Those with a replica on this server.
    #[serde(default, rename = "stream_detail")]
    streams: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
    #[serde(default, rename = "consumer_detail")]
    consumers: Vec<Consumer>,
}

/// A consumer's state, which only its leader knows: the other replicas say that nothing is pending.
#[derive(Debug, Deserialize)]
pub struct Consumer {
    name: String,
    num_pending: Option<u64>,
    num_ack_pending: Option<u64>,
    cluster: Option<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    leader: String,
}

/// Which consumer is meant.
#[derive(Clone, Debug)]
pub struct ConsumerName {
    /// An account's id, or its name.
    pub account_id: String,
    pub account: Option<String>,
    pub stream: String,
    pub consumer: String,
}

impl JetStream {
    /// # Errors
    /// Where it is more than is to be remembered until somebody asks again.
    fn bounded(self: Arc<Self>) -> Result<Arc<Self>, ScalerError> {
        let streams = || self.accounts.iter().flat_map(|account| &account.streams);
        let accounts = self.accounts.iter();
        let accounts = accounts.map(|account| NAMED + account.id.len() + account.name.len());
        let names = streams().map(|stream| NAMED + stream.name.len());
        let consumers = streams().flat_map(|stream| &stream.consumers);
        let consumers = consumers.map(|consumer| {
            let leader = consumer.cluster.as_ref();
            NAMED + consumer.name.len() + leader.map_or(0, |group| group.leader.len())
        });
        let size: usize = accounts.chain(names).chain(consumers).sum();
        match size > MOST_REMEMBERED {
            true => Err(ScalerError::Malformed(format!(
                "the accounts, streams and consumers of the answer take more than {} MiB of memory",
                MOST_REMEMBERED / (1024 * 1024)
            ))),
            false => Ok(self),
        }
    }

    /// Whether this server is one of several.
    pub fn is_clustered(&self) -> bool {
        let meta = self.meta_cluster.as_ref();
        meta.is_some_and(|meta| meta.cluster_size > 1)
    }

    /// The consumer, as far as this server has it.
    ///
    /// # Errors
    /// Says what is missing: the account, the stream or the consumer.
    pub fn consumer(&self, wanted: &ConsumerName) -> Result<&Consumer, Missing> {
        if self.disabled {
            return Err(Missing::JetStream);
        }
        let is_wanted = |account: &&Account| {
            account.id == wanted.account_id || wanted.account.as_ref() == Some(&account.name)
        };
        let account = self.accounts.iter().find(is_wanted);
        let streams = &account.ok_or(Missing::Account)?.streams;
        let stream = streams.iter().find(|stream| stream.name == wanted.stream);
        let consumers = &stream.ok_or(Missing::Stream)?.consumers;
        let consumer = consumers
            .iter()
            .find(|consumer| consumer.name == wanted.consumer);
        consumer.ok_or(Missing::Consumer)
    }
}

/// What a server doesn't have, the least of it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    JetStream,
    Account,
    Stream,
    Consumer,
}

impl Missing {
    pub fn error(self, wanted: &ConsumerName) -> ScalerError {
        let ConsumerName {
            account_id,
            account,
            stream,
            consumer,
        } = wanted;
        let account = account.as_ref().unwrap_or(account_id);
        ScalerError::NotFound(match self {
            Self::JetStream => "JetStream is not enabled".to_owned(),
            Self::Account => format!("no account {account:?} with JetStream"),
            Self::Stream => format!("stream {stream:?} not found in account {account:?}"),
            Self::Consumer => format!("consumer {consumer:?} not found in stream {stream:?}"),
        })
    }
}

impl Consumer {
    /// The name of the server that leads it; empty while there is none, or without a cluster.
    pub fn leader(&self) -> &str {
        self.cluster.as_ref().map_or("", |group| &group.leader)
    }

    /// What waits for it: messages that were not delivered yet, and those that were and are not acknowledged.
    ///
    /// # Errors
    /// When a count is missing, which is no 0.
    pub fn lag(&self) -> Result<u64, ScalerError> {
        let count = |count: Option<u64>, name: &str| {
            count.ok_or_else(|| {
                ScalerError::Malformed(format!("consumer {:?} has no {name}", self.name))
            })
        };
        let pending = count(self.num_pending, "num_pending")?;
        Ok(pending.saturating_add(count(self.num_ack_pending, "num_ack_pending")?))
    }
}

/// `/varz`: a server and the cluster that it is in.
#[derive(Debug, Deserialize)]
pub struct Server {
    #[serde(default, rename = "server_name")]
    pub name: String,
    /// Where clients reach the servers of the cluster, `HOST:PORT`. None where the cluster doesn't advertise them.
    #[serde(default, deserialize_with = "at_most::<MOST_SERVERS, _, _>")]
    pub connect_urls: Vec<String>,
    #[serde(default)]
    pub cluster: Routes,
}

/// The addresses that the servers of a cluster are told to find one another at.
#[derive(Debug, Default, Deserialize)]
pub struct Routes {
    #[serde(default, deserialize_with = "at_most::<MOST_SERVERS, _, _>")]
    pub urls: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(id: &str, name: Option<&str>, stream: &str, consumer: &str) -> ConsumerName {
        ConsumerName {
            account_id: id.to_owned(),
            account: name.map(str::to_owned),
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
        }
    }

    const ANSWER: &str = r#"{"meta_cluster": {"cluster_size": 3}, "account_details": [
        {"id": "AB12", "name": "shop", "stream_detail": [{"name": "orders", "consumer_detail": [
            {"name": "worker", "num_pending": 7, "num_ack_pending": 2, "cluster": {"leader": "n1"}},
            {"name": "half", "num_pending": 7},
            {"name": "other half", "num_ack_pending": 7}]},
            {"name": "empty"}]},
        {"id": "CD34", "name": "bare"}]}"#;

    #[test]
    fn consumers_are_found_by_the_accounts_id_or_name() {
        let answer: JetStream = serde_json::from_str(ANSWER).unwrap();
        assert!(answer.is_clustered());
        let lag = |wanted: ConsumerName| match answer.consumer(&wanted) {
            Ok(consumer) => consumer.lag().map_err(|error| error.to_string()),
            Err(missing) => Err(missing.error(&wanted).to_string()),
        };
        for (wanted, expected) in [
            (wanted("AB12", None, "orders", "worker"), Ok(9)),
            (wanted("?", Some("shop"), "orders", "worker"), Ok(9)),
            // An id is no name.
            (
                wanted("shop", None, "orders", "worker"),
                Err("not found: no account \"shop\" with JetStream"),
            ),
            (
                wanted("AB12", Some("shop"), "none", "worker"),
                Err("not found: stream \"none\" not found in account \"shop\""),
            ),
            (
                wanted("CD34", None, "orders", "worker"),
                Err("not found: stream \"orders\" not found in account \"CD34\""),
            ),
            (
                wanted("AB12", None, "empty", "worker"),
                Err("not found: consumer \"worker\" not found in stream \"empty\""),
            ),
            (
                wanted("AB12", None, "orders", "half"),
                Err("malformed answer: consumer \"half\" has no num_ack_pending"),
            ),
            (
                wanted("AB12", None, "orders", "other half"),
                Err("malformed answer: consumer \"other half\" has no num_pending"),
            ),
        ] {
            assert_eq!(
                lag(wanted).as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|text| *text)
            );
        }
    }

    #[test]
    fn without_jetstream_nothing_is_found() {
        let answer: JetStream = serde_json::from_str(r#"{"disabled": true}"#).unwrap();
        assert!(!answer.is_clustered());
        let missing = answer.consumer(&wanted("A", None, "s", "c"));
        assert!(matches!(missing, Err(Missing::JetStream)));
    }
}
