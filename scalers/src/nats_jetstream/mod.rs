//! `nats-jetstream`: the messages that a consumer of a NATS JetStream stream has before it.
//!
//! Reads a server's monitoring endpoint (`/jsz`), which must be enabled (`http_port` or `https_port` in the server's configuration). The number
//! is the consumer's `num_pending` and `num_ack_pending` together: what was not delivered yet, and what was and is not acknowledged.
//! A stream or consumer that isn't there is an error, and so is an answer without one of the two counts.
//!
//! In a cluster only the consumer's leader knows the number; the other servers say 0. So the servers are asked until the leader is found, and
//! from then on the leader alone is asked, until another one leads. They are found by `/varz`: at the hosts that the cluster
//! advertises to clients or, with `no_advertise` (the default of NATS' Helm chart), by their names in front of the host in
//! `natsServerMonitoringEndpoint`, which is then a headless Service. All servers have the same monitoring port. A server that
//! doesn't answer is an error only while the leader isn't found elsewhere.
//!
//! Needs no permissions: NATS' monitoring endpoint knows no users. With `useHttps` its certificate must be of an authority
//! that the system knows.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: nats-jetstream
//!       metadata:
//!         natsServerMonitoringEndpoint: nats.shop.svc.cluster.local:8222
//!         account: shop
//!         stream: orders
//!         consumer: packers
//!         lagThreshold: "20"
//!         activationLagThreshold: "5"
//! ```

mod nodes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use reqwest::Url;
use serde::Deserialize;

use self::nodes::Node;
use crate::answers::Freshness;
use crate::clients::nats::{Consumer, ConsumerName, Missing, Monitoring};
use crate::http::host_of;
use crate::metric::{MetricSpec, Reading};
use crate::params::{self, Field, METADATA, ParameterSet, Parameters, Source};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, ScalerError, Trigger};

/// Longer than a server takes to notice that it doesn't lead any more, and short beside the second that the HPA waits.
const BELIEVED_AFTER: Duration = Duration::from_millis(300);

/// Servers of a cluster that are asked at the same time while the leader is looked for.
const SERVERS_AT_ONCE: usize = 5;

/// KEDA looks here first.
const AUTHENTICATION_METADATA: &[Source] = &[Source::Authentication, Source::Metadata];

/// The parameters of a `nats-jetstream` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NatsJetStream {
    /// The account's name. It or `accountID` is needed.
    account: Option<String>,
    /// The account's id, where that isn't its name (with accounts that an operator's JWTs define). Left out, it is `account`.
    #[serde(rename = "accountID")]
    account_id: Option<String>,
    /// The stream.
    stream: String,
    /// The consumer: its name, which for a durable one is the durable name.
    consumer: String,
    /// Messages per replica.
    lag_threshold: i64,
    /// The trigger is active above this number of messages.
    activation_lag_threshold: i64,
    /// Asks by HTTPS.
    use_https: bool,
    /// The monitoring endpoint of a server, or of the Service of all servers: `HOST:PORT`.
    nats_server_monitoring_endpoint: String,
}

impl Parameters for NatsJetStream {
    const FIELDS: &'static [Field] = &[
        Field::optional("account", AUTHENTICATION_METADATA),
        Field::optional("accountID", AUTHENTICATION_METADATA),
        Field::required("stream", METADATA),
        Field::required("consumer", METADATA),
        Field::with_default("lagThreshold", METADATA, "10"),
        Field::with_default("activationLagThreshold", METADATA, "0"),
        Field::with_default("useHttps", METADATA, "false"),
        Field::required("natsServerMonitoringEndpoint", AUTHENTICATION_METADATA),
    ];

    fn check(&self) -> Vec<String> {
        let mut broken: Vec<String> = self.endpoint().err().into_iter().collect();
        if self.account.is_none() && self.account_id.is_none() {
            broken.push("no account name or id given: expected account or accountID".to_owned());
        }
        broken
    }
}

impl NatsJetStream {
    /// The monitoring endpoint's root.
    fn endpoint(&self) -> Result<Url, String> {
        let text = &self.nats_server_monitoring_endpoint;
        let scheme = if self.use_https { "https" } else { "http" };
        let url = (!text.contains(['/', '@', '?', '#', '\\', ' ']))
            .then(|| Url::parse(&format!("{scheme}://{text}")).ok())
            .flatten();
        // The value may come from a Secret: not quoted.
        url.ok_or_else(|| {
            "natsServerMonitoringEndpoint is no address: expected HOST:PORT, such as nats.shop.svc:8222, without a scheme \
             (useHttps says which) and a path"
                .to_owned()
        })
    }

    fn consumer_name(&self) -> ConsumerName {
        let id = self.account_id.as_ref().or(self.account.as_ref());
        ConsumerName {
            account_id: id.cloned().unwrap_or_default(),
            account: self.account.clone(),
            stream: self.stream.clone(),
            consumer: self.consumer.clone(),
        }
    }
}

pub const KIND: Kind = Kind {
    name: "nats-jetstream",
    label: "natsJetStreamScaler",
    fields: NatsJetStream::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let parameters: NatsJetStream = params::parse(trigger)?;
    let endpoint = parameters.endpoint().map_err(BuildError::Invalid)?;
    let name = format!("nats-jetstream-{}", parameters.stream);
    let clients = &context.clients;
    let monitoring = clients.nats.monitoring(&clients.http, &endpoint);
    Ok(Box::new(NatsJetStreamScaler {
        metric: [MetricSpec::integer(
            trigger,
            &name,
            parameters.lag_threshold,
        )?],
        wanted: parameters.consumer_name(),
        activation: parameters.activation_lag_threshold,
        monitoring: monitoring.map_err(BuildError::Invalid)?,
        endpoint,
        leader: Mutex::default(),
    }))
}

struct NatsJetStreamScaler {
    metric: [MetricSpec; 1],
    wanted: ConsumerName,
    activation: i64,
    endpoint: Url,
    monitoring: Arc<Monitoring>,
    /// Which server of a cluster led the consumer when it was last asked.
    leader: Mutex<Option<Leader>>,
}

#[derive(Clone)]
struct Leader {
    name: String,
    endpoint: Url,
    /// It said twice that nothing waits.
    is_idle: bool,
}

/// What a server of a cluster has of a consumer.
enum Found {
    /// It leads it.
    Leads {
        lag: u64,
        leader: Leader,
    },
    /// It has a replica; the leader is of this name, or nobody.
    Follows(String),
    Not(Missing),
}

#[async_trait]
impl Scaler for NatsJetStreamScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let lag = self.lag(freshness).await?;
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value: lag as f64,
            active: i128::from(lag) > i128::from(self.activation),
        }])
    }
}

impl NatsJetStreamScaler {
    async fn lag(&self, freshness: &Freshness) -> Result<u64, ScalerError> {
        let leader = self.leader().clone();
        if let Some(Leader {
            name,
            endpoint,
            is_idle,
        }) = leader
        {
            // Where it doesn't answer, or doesn't lead any more, another one may.
            if let Ok(Found::Leads { lag, leader }) = self.ask(&endpoint, &name, freshness).await {
                return self.believed(lag, leader, is_idle).await;
            }
            *self.leader() = None;
        }
        let streams = self.monitoring.streams(self.jsz(&self.endpoint), freshness);
        let streams = streams.await?;
        if streams.is_clustered() {
            return self.lag_in_a_cluster(freshness).await;
        }
        let at = |error: ScalerError| error.at(&self.place(&self.endpoint));
        let consumer = streams.consumer(&self.wanted);
        let consumer = consumer.map_err(|missing| at(missing.error(&self.wanted)))?;
        consumer.lag().map_err(at)
    }

    async fn lag_in_a_cluster(&self, freshness: &Freshness) -> Result<u64, ScalerError> {
        let server = self.monitoring.server(varz(&self.endpoint), freshness);
        let nodes = nodes::nodes(&self.endpoint, &*server.await?);
        let found: Vec<Result<Found, ScalerError>> = stream::iter(nodes)
            .map(|node| self.ask_node(node, freshness))
            .buffered(SERVERS_AT_ONCE)
            .collect()
            .await;
        let (lag, leader) = choose(found, &self.wanted)
            .map_err(|error| error.at(&format!("the cluster of {}", self.place(&self.endpoint))))?;
        self.believed(lag, leader, false).await
    }

    /// What a leader says. That nothing waits is believed when it says so twice: for a moment after it stepped down, a server still
    /// calls itself the leader, of nothing, and so does one that has just become it.
    async fn believed(&self, lag: u64, leader: Leader, was_idle: bool) -> Result<u64, ScalerError> {
        let (mut lag, mut leader) = (lag, leader);
        if lag == 0 && !was_idle {
            tokio::time::sleep(BELIEVED_AFTER).await;
            let again = Freshness::within(BELIEVED_AFTER / 2);
            match self.ask(&leader.endpoint, &leader.name, &again).await? {
                Found::Leads {
                    lag: now,
                    leader: still,
                } => (lag, leader) = (now, still),
                Found::Follows(_) | Found::Not(_) => {
                    *self.leader() = None;
                    let ConsumerName {
                        stream, consumer, ..
                    } = &self.wanted;
                    let changed = format!(
                        "leader node not found for consumer {consumer} of stream {stream}: it is changing"
                    );
                    return Err(ScalerError::Unreachable(changed).at(&self.place(&self.endpoint)));
                }
            }
        }
        leader.is_idle = lag == 0;
        *self.leader() = Some(leader);
        Ok(lag)
    }

    async fn ask_node(&self, node: Node, freshness: &Freshness) -> Result<Found, ScalerError> {
        match &node.name {
            Some(name) => self.ask(&node.endpoint, name, freshness).await,
            None => {
                let server = self.monitoring.server(varz(&node.endpoint), freshness);
                let server = server.await?;
                self.ask(&node.endpoint, &server.name, freshness).await
            }
        }
    }

    /// Asks the server of that name.
    async fn ask(
        &self,
        endpoint: &Url,
        name: &str,
        freshness: &Freshness,
    ) -> Result<Found, ScalerError> {
        let streams = self.monitoring.streams(self.jsz(endpoint), freshness);
        let streams = streams.await?;
        let found = streams.consumer(&self.wanted);
        let found = found.map(|consumer| found_at(consumer, endpoint, name));
        found
            .unwrap_or_else(|missing| Ok(Found::Not(missing)))
            .map_err(|error| error.at(&self.place(endpoint)))
    }

    fn jsz(&self, endpoint: &Url) -> Url {
        let mut url = endpoint.clone();
        url.set_path("/jsz");
        url.query_pairs_mut()
            .append_pair("acc", &self.wanted.account_id)
            .append_pair("config", "true")
            .append_pair("consumers", "true");
        url
    }

    fn place(&self, endpoint: &Url) -> String {
        format!("NATS at {}", host_of(endpoint))
    }

    fn leader(&self) -> MutexGuard<'_, Option<Leader>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn varz(endpoint: &Url) -> Url {
    let mut url = endpoint.clone();
    url.set_path("/varz");
    url
}

/// What a server's own name says of the consumer that it has.
fn found_at(consumer: &Consumer, endpoint: &Url, name: &str) -> Result<Found, ScalerError> {
    if name.is_empty() || consumer.leader() != name {
        return Ok(Found::Follows(consumer.leader().to_owned()));
    }
    let leader = Leader {
        name: name.to_owned(),
        endpoint: endpoint.clone(),
        is_idle: false,
    };
    Ok(Found::Leads {
        lag: consumer.lag()?,
        leader,
    })
}

/// The leader's number. Without a leader, the reason is a server that didn't answer, an election, or that nobody has the consumer, in
/// this order: a silent server may be the one that has it.
fn choose(
    found: Vec<Result<Found, ScalerError>>,
    wanted: &ConsumerName,
) -> Result<(u64, Leader), ScalerError> {
    let asked = found.len();
    let mut failure = None;
    let mut followed = None;
    let mut missing = Missing::JetStream;
    for found in found {
        match found {
            Ok(Found::Leads { lag, leader }) => return Ok((lag, leader)),
            Ok(Found::Follows(leader)) => followed = followed.or(Some(leader)),
            Ok(Found::Not(what)) => missing = missing.max(what),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let ConsumerName {
        stream, consumer, ..
    } = wanted;
    // The beginning is KEDA's.
    let not_found = format!("leader node not found for consumer {consumer} of stream {stream}");
    match followed {
        _ if asked == 0 => Err(ScalerError::Malformed(format!(
            "{not_found}: its /varz names no servers, neither in connect_urls nor in cluster.urls"
        ))),
        Some(leader) if leader.is_empty() => Err(ScalerError::Unreachable(format!(
            "{not_found}: it has none at the moment"
        ))),
        Some(leader) => Err(ScalerError::Unreachable(format!(
            "{not_found}: it is {leader:?}, which is none of the {asked} servers that were asked"
        ))),
        None => Err(missing.error(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn built(metadata: &[(&'static str, &'static str)]) -> Result<Box<dyn Scaler>, String> {
        let trigger = Trigger::new("nats-jetstream")
            .metadata([("stream", "orders"), ("consumer", "packers")])
            .metadata(metadata.iter().copied());
        build(&trigger, &example::context(Vec::new())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_builds() {
        for trigger in example::triggers(include_str!("mod.rs")) {
            let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
            let metric = &scaler.metrics()[0];
            assert_eq!(metric.name, "s0-nats-jetstream-orders");
            assert_eq!(metric.target.to_string(), "20");
        }
    }

    #[test]
    fn parameters_are_kedas() {
        let endpoint = ("natsServerMonitoringEndpoint", "nats:8222");
        let scaler = built(&[endpoint, ("account", "A"), ("stream", "a.b/c")]).unwrap();
        let metric = &scaler.metrics()[0];
        assert_eq!(metric.name, "s0-nats-jetstream-a-b-c");
        assert_eq!(metric.target.to_string(), "10");
        assert!(built(&[endpoint, ("accountID", "AB12")]).is_ok());
        for (metadata, expected) in [
            (&[endpoint][..], "no account name or id given"),
            (
                &[("account", "A")],
                "missing required parameter \"natsServerMonitoringEndpoint\"",
            ),
            (
                &[endpoint, ("account", "A"), ("consumer", "")],
                "\"consumer\"",
            ),
            (
                &[endpoint, ("account", "A"), ("lagThreshold", "1.5")],
                "\"lagThreshold\"",
            ),
            (
                &[
                    ("account", "A"),
                    ("natsServerMonitoringEndpoint", "http://nats:8222"),
                ],
                "natsServerMonitoringEndpoint is no address",
            ),
            (
                &[
                    ("account", "A"),
                    ("natsServerMonitoringEndpoint", "nats:port"),
                ],
                "expected HOST:PORT",
            ),
        ] {
            let error = built(metadata).err().unwrap();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn the_authentication_comes_before_the_metadata() {
        let trigger = Trigger::new("nats-jetstream")
            .metadata([
                ("stream", "orders"),
                ("consumer", "packers"),
                ("account", "from metadata"),
            ])
            .authentication([
                ("account", "from a secret"),
                ("natsServerMonitoringEndpoint", "nats:8222"),
            ]);
        let parameters: NatsJetStream = params::parse(&trigger).unwrap();
        assert_eq!(parameters.consumer_name().account_id, "from a secret");
    }

    #[test]
    fn only_the_leaders_number_counts() {
        let wanted = ConsumerName {
            account_id: "A".to_owned(),
            account: None,
            stream: "s".to_owned(),
            consumer: "c".to_owned(),
        };
        let leads = || {
            let leader = Leader {
                name: "n1".to_owned(),
                endpoint: Url::parse("http://n1:1").unwrap(),
                is_idle: false,
            };
            Ok(Found::Leads { lag: 7, leader })
        };
        let follows = |leader: &str| Ok(Found::Follows(leader.to_owned()));
        let silent = || Err(ScalerError::Unreachable("silent".to_owned()));
        let not = |missing| Ok(Found::Not(missing));
        let chosen = |found| {
            let chosen = choose(found, &wanted);
            chosen
                .map(|(lag, _)| lag)
                .map_err(|error| error.to_string())
        };
        assert_eq!(chosen(vec![follows("n1"), silent(), leads()]), Ok(7));
        let table = [
            (
                vec![not(Missing::Consumer), follows("n1"), silent()],
                "unreachable: silent",
            ),
            (
                vec![follows("n9"), not(Missing::Stream)],
                "unreachable: leader node not found for consumer c of stream s: it is \"n9\", which is none of the 2",
            ),
            (vec![follows("")], "unreachable: leader node not found"),
            (
                vec![not(Missing::Stream), not(Missing::Consumer)],
                "not found: consumer \"c\" not found in stream \"s\"",
            ),
            (
                vec![not(Missing::Account), not(Missing::Stream)],
                "not found: stream \"s\" not found in account \"A\"",
            ),
            (vec![], "malformed answer: leader node not found"),
        ];
        for (found, expected) in table {
            let error = chosen(found).unwrap_err();
            assert!(error.starts_with(expected), "{expected}: {error}");
        }
    }
}
