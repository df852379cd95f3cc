//! Reads the external metrics over and over, as the HPA controller does, and keeps what each read came to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{Api, Client};
use sakidori_test_cluster::Cluster;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::load::{METRIC, Subject, parse_thousandths};
use crate::observe::{ExternalMetricValue, external_metric, external_metric_path, first_value};

/// The HPA controller.
pub const HPA_CONTROLLER: User = (
    "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    &["system:serviceaccounts", "system:authenticated"],
);
/// Who may read without the API server being asked, so also while that is away.
pub const ADMINISTRATOR: User = ("admin", &["system:masters"]);

/// The APIService, by its name.
const EXTERNAL_METRICS: &str = "v1beta1.external.metrics.k8s.io";
/// How often it is looked at. kube-apiserver watches it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a read may take before it counts as failed: far longer than one that waits for a new reading.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Who asks a replica itself: user and groups, as the API server would name them.
pub type User = (&'static str, &'static [&'static str]);

/// Clients that believe whom the API server believes to be the external metrics API: those that stand in the APIService at the
/// moment. Dropped, it no longer follows them.
pub struct Trust {
    clients: watch::Receiver<reqwest::Client>,
    _task: JoinSet<()>,
}

impl Trust {
    /// # Errors
    /// If nobody is believed yet, or the front proxy's certificate can't be used.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let mut identity = std::fs::read(cluster.proxy_client_cert_path())?;
        identity.extend(std::fs::read(cluster.proxy_client_key_path())?);
        let services: Api<APIService> = Api::all(cluster.client());
        let mut believed = authorities(&services).await?;
        let (sender, clients) = watch::channel(client(&identity, &believed)?);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Ok(now) = authorities(&services).await
                    && now != believed
                    && let Ok(client) = client(&identity, &now)
                {
                    believed = now;
                    sender.send_replace(client);
                }
            }
        });
        Ok(Self {
            clients,
            _task: task,
        })
    }
}

async fn authorities(services: &Api<APIService>) -> Result<Vec<u8>> {
    let spec = services.get(EXTERNAL_METRICS).await?.spec;
    let bundle = spec.and_then(|spec| spec.ca_bundle);
    Ok(bundle.context("the APIService has no caBundle")?.0)
}

fn client(identity: &[u8], authorities: &[u8]) -> Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(authorities)?)
        .identity(reqwest::Identity::from_pem(identity)?)
        // A handshake for each read: one that fails is seen.
        .pool_max_idle_per_host(0)
        .timeout(READ_WITHIN);
    Ok(client.build()?)
}

/// Which way reads go.
#[derive(Clone)]
pub enum Way {
    /// Through kube-apiserver, which asks the Service.
    Aggregated(Client),
    /// To one replica, as kube-apiserver would.
    Direct {
        clients: watch::Receiver<reqwest::Client>,
        base: String,
        user: User,
    },
}

impl Way {
    /// To the replica on that address.
    pub fn direct(trust: &Trust, address: SocketAddr, user: User) -> Self {
        Self::Direct {
            clients: trust.clients.clone(),
            base: format!("https://{address}"),
            user,
        }
    }

    async fn read(&self, namespace: &str, subject: Subject) -> Result<i64> {
        let name = subject.name();
        let value: ExternalMetricValue = match self {
            Self::Aggregated(client) => {
                let read = external_metric(client, namespace, METRIC, &name);
                tokio::time::timeout(READ_WITHIN, read)
                    .await
                    .with_context(|| format!("no answer in {READ_WITHIN:?}"))??
            }
            Self::Direct {
                clients,
                base,
                user,
            } => {
                let path = external_metric_path(namespace, METRIC, &name);
                let http = clients.borrow().clone();
                let mut request = http
                    .get(format!("{base}{path}"))
                    .header("X-Remote-User", user.0);
                for group in user.1 {
                    request = request.header("X-Remote-Group", *group);
                }
                let answer = request.send().await?;
                let status = answer.status();
                let text = answer.text().await?;
                let body: Value = serde_json::from_str(&text)
                    .with_context(|| format!("{status} with no JSON: {text}"))?;
                if !status.is_success() {
                    bail!("{status}: {}", body["message"]);
                }
                first_value(METRIC, body)?
            }
        };
        parse_thousandths(&value.value)
    }
}

/// One read.
#[derive(Clone, Debug)]
pub struct Read {
    pub subject: Subject,
    pub asked: Instant,
    pub answered: Instant,
    /// The number in thousandths, or why there is none.
    pub answer: Result<i64, String>,
}

/// Reads until it is dropped.
pub struct Reader {
    reads: Arc<Mutex<Vec<Read>>>,
    _task: JoinSet<()>,
}

impl Reader {
    /// Reads one of `subjects` after the other, one each `every`. A read that takes long holds up no other.
    pub fn start(way: Way, namespace: &str, subjects: Vec<Subject>, every: Duration) -> Self {
        let reads = Arc::new(Mutex::new(Vec::new()));
        let into = reads.clone();
        let namespace: Arc<str> = namespace.into();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ticks = tokio::time::interval(every);
            let mut under_way = JoinSet::new();
            for subject in subjects.into_iter().cycle() {
                ticks.tick().await;
                while under_way.try_join_next().is_some() {}
                let (way, namespace, into) = (way.clone(), namespace.clone(), into.clone());
                under_way.spawn(async move {
                    let asked = Instant::now();
                    let answer = way.read(&namespace, subject).await;
                    let read = Read {
                        subject,
                        asked,
                        answered: Instant::now(),
                        answer: answer.map_err(|error| format!("{error:#}")),
                    };
                    into.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(read);
                });
            }
        });
        Self { reads, _task: task }
    }

    /// What was asked since then, in the order of the answers.
    pub fn since(&self, since: Instant) -> Vec<Read> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads
            .iter()
            .filter(|read| read.asked >= since)
            .cloned()
            .collect()
    }
}

/// The longest time without an answer that holds a value, between two moments.
pub fn longest_gap(reads: &[Read], from: Instant, until: Instant) -> Duration {
    let good = reads
        .iter()
        .filter(|read| read.answer.is_ok())
        .map(|read| read.answered);
    let mut moments: Vec<Instant> = good.chain([from, until]).collect();
    moments.sort();
    let gaps = moments
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]));
    gaps.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lasts_until_the_next_value() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let read = |seconds, is_good: bool| Read {
            subject: Subject(0),
            asked: at(seconds),
            answered: at(seconds),
            answer: if is_good { Ok(1) } else { Err("no".into()) },
        };
        let reads = [
            read(1, true),
            read(2, false),
            read(4, true),
            read(5, true),
            read(6, false),
        ];
        assert_eq!(longest_gap(&reads, at(0), at(7)), Duration::from_secs(3));
        assert_eq!(longest_gap(&reads, at(0), at(10)), Duration::from_secs(5));
        assert_eq!(longest_gap(&[], at(0), at(10)), Duration::from_secs(10));
    }
}
