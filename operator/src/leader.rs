//! Leader election: carries out what the engine's [`Lease`] asks for, on a Lease with KEDA's name, so that the two never lead at the
//! same time.
//!
//! The Lease is watched, so that candidates see renewals when they happen. A watch that is silent or refused costs time, and no more.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease as KubeLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use sakidori_engine::{
    Lease, LeaseEffect, LeaseEvent, LeaseRecord, LeaseTiming, Spell, StoredLease,
};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::api_error::plain;
use crate::clock::Clock;
use crate::leadership::Leadership;
use crate::watches::resilient;

/// Where the process that holds the Lease is found by the others, HOST:PORT.
const ADDRESS: &str = "sakidori.dev/address";
/// Whose address that is. Other holders of the Lease (KEDA's operator) leave annotations as they are.
const ADDRESS_OF: &str = "sakidori.dev/address-of";

/// What a process takes part in an election with.
#[derive(Clone)]
pub struct Candidacy {
    pub namespace: String,
    /// The Lease's name: KEDA's `--leader-election-id`.
    pub lease: String,
    pub identity: String,
    /// Where others find this process while it leads.
    pub address: Option<String>,
    pub timing: LeaseTiming,
}

/// What an election tells the rest of the process.
pub struct Told {
    pub leadership: Leadership,
    /// Whether this process leads, and in its how manieth term.
    pub term: watch::Sender<Option<u64>>,
    /// The address of who leads, where that is one of ours and known.
    pub leader: watch::Sender<Option<String>>,
    /// Whether somebody leads who isn't one of ours, which is KEDA's operator.
    pub stranger: watch::Sender<bool>,
}

/// Takes part in the election until `shutdown`, then releases the lease. `released` is notified by whoever hears that the lease was
/// released.
pub async fn run(
    client: Client,
    candidacy: Candidacy,
    clock: Clock,
    told: Told,
    released: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let api: Api<KubeLease> = Api::namespaced(client, &candidacy.namespace);
    let mut seen = pin!(seen(api.clone(), &candidacy.lease));
    let mut lease = Lease::new(candidacy.identity.clone(), candidacy.timing);
    let mut desk = Desk::new(api, candidacy, told.leader, told.stranger);
    let (mut terms, mut stopping) = (0, false);
    while let Some(at) = lease.next_wakeup() {
        let pause = Duration::try_from(at.duration_since(clock.now())).unwrap_or_default();
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                LeaseEvent::Stopping
            }
            event = desk.answer() => event,
            Some(shown) = seen.next() => {
                desk.note(shown.as_ref());
                LeaseEvent::Seen { found: shown.map(stored) }
            }
            () = released.notified() => LeaseEvent::Nudged,
            // Whole milliseconds, rounded up: never a busy loop just before the time.
            () = sleep(pause + Duration::from_millis(1)) => LeaseEvent::Woke,
        };
        let effects = lease.handle(clock.now(), event);
        told.leadership.set(lease.leading_until());
        for effect in effects {
            match effect {
                LeaseEffect::StartLeading => {
                    info!(lease = desk.candidacy.lease, reason = "Leading", "leading");
                    terms += 1;
                    told.term.send_replace(Some(terms));
                }
                LeaseEffect::StopLeading => {
                    info!(
                        lease = desk.candidacy.lease,
                        reason = "NotLeading",
                        "no longer leading"
                    );
                    told.term.send_replace(None);
                }
                LeaseEffect::Finished => return,
                request => desk.send(request),
            }
        }
    }
}

/// Tells a process that is no candidate the address of who leads, until the returned future is dropped.
pub fn observe(
    client: Client,
    namespace: &str,
    lease: &str,
    leader: watch::Sender<Option<String>>,
) -> impl Future<Output = ()> + Send + use<> {
    let seen = seen(Api::namespaced(client, namespace), lease);
    async move {
        let mut seen = pin!(seen);
        while let Some(shown) = seen.next().await {
            tell(&leader, shown.as_ref());
        }
    }
}

fn tell(leader: &watch::Sender<Option<String>>, shown: Option<&KubeLease>) {
    let address = shown.and_then(address);
    leader.send_if_modified(|known| {
        let changed = *known != address;
        *known = address;
        changed
    });
}

/// The address of who holds the Lease; `None` where nobody does, or somebody who tells none.
fn address(lease: &KubeLease) -> Option<String> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref()?;
    let annotations = lease.annotations();
    let of = annotations.get(ADDRESS_OF)?;
    (!holder.is_empty() && of == holder).then(|| annotations.get(ADDRESS).cloned())?
}

/// Whether somebody holds it who doesn't tell where it is found: whoever follows learns nothing there.
fn is_of_a_stranger(lease: &KubeLease) -> bool {
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_ref());
    holder.is_some_and(|holder| {
        !holder.is_empty() && lease.annotations().get(ADDRESS_OF) != Some(holder)
    })
}

/// The Lease whenever it changes; `None` where there is none.
fn seen(api: Api<KubeLease>, name: &str) -> impl Stream<Item = Option<KubeLease>> + use<> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut listed = None;
    resilient("the Lease", watcher(api, config)).filter_map(move |event| {
        let shown = match event {
            watcher::Event::Init => {
                listed = None;
                None
            }
            watcher::Event::InitApply(lease) => {
                listed = Some(lease);
                None
            }
            watcher::Event::InitDone => Some(listed.take()),
            watcher::Event::Apply(lease) => Some(Some(lease)),
            watcher::Event::Delete(_) => Some(None),
        };
        std::future::ready(shown)
    })
}

/// The answer to a request: the Lease as it then was.
type Answer = Result<Option<KubeLease>, Failed>;

/// Why there is none, where that is worth a line.
struct Failed(Option<String>);

/// Sends one request at a time, and awaits its answer.
struct Desk {
    api: Api<KubeLease>,
    candidacy: Candidacy,
    /// What others have put onto the Lease.
    labels: Option<BTreeMap<String, String>>,
    annotations: BTreeMap<String, String>,
    pending: Option<Pending>,
    leader: watch::Sender<Option<String>>,
    failing_reads: Spell,
    failing_writes: Spell,
    stranger: watch::Sender<bool>,
}

struct Pending {
    attempt: u64,
    reads: bool,
    answer: BoxFuture<'static, Answer>,
}

impl Desk {
    fn new(
        api: Api<KubeLease>,
        candidacy: Candidacy,
        leader: watch::Sender<Option<String>>,
        stranger: watch::Sender<bool>,
    ) -> Self {
        Self {
            api,
            candidacy,
            labels: None,
            annotations: BTreeMap::new(),
            pending: None,
            leader,
            failing_reads: Spell::default(),
            failing_writes: Spell::default(),
            stranger,
        }
    }

    /// Sends a request, in place of one that is still under way.
    fn send(&mut self, request: LeaseEffect) {
        let (api, name) = (self.api.clone(), self.candidacy.lease.clone());
        let (attempt, reads, answer): (_, _, BoxFuture<'static, Result<_, kube::Error>>) =
            match request {
                LeaseEffect::Read { attempt } => {
                    let answer = async move { api.get_opt(&name).await };
                    (attempt, true, answer.boxed())
                }
                LeaseEffect::Create { attempt, record } => {
                    let lease = self.lease(record, None);
                    let answer =
                        async move { api.create(&PostParams::default(), &lease).await.map(Some) };
                    (attempt, false, answer.boxed())
                }
                LeaseEffect::Update {
                    attempt,
                    record,
                    version,
                } => {
                    let lease = self.lease(record, Some(version));
                    let answer = async move {
                        let written = api.replace(&name, &PostParams::default(), &lease).await;
                        written.map(Some)
                    };
                    (attempt, false, answer.boxed())
                }
                LeaseEffect::StartLeading | LeaseEffect::StopLeading | LeaseEffect::Finished => {
                    return;
                }
            };
        // One that takes longer is given up: the next may do.
        let within = self.candidacy.timing.retry_period.unsigned_abs();
        let answer = async move { settled(timeout(within, answer).await) }.boxed();
        self.pending = Some(Pending {
            attempt,
            reads,
            answer,
        });
    }

    /// The answer to the request that is under way.
    async fn answer(&mut self) -> LeaseEvent {
        let Some(pending) = &mut self.pending else {
            return std::future::pending().await;
        };
        let answer = (&mut pending.answer).await;
        let (attempt, reads) = (pending.attempt, pending.reads);
        self.pending = None;
        let lease = match answer {
            Ok(lease) => lease,
            Err(Failed(why)) => {
                self.tell_failure(reads, why);
                return LeaseEvent::Failed { attempt };
            }
        };
        self.tell_success(reads);
        self.note(lease.as_ref());
        if reads {
            let found = lease.map(stored);
            return LeaseEvent::Read { attempt, found };
        }
        let version = lease.as_ref().and_then(ResourceExt::resource_version);
        LeaseEvent::Written {
            attempt,
            version: version.unwrap_or_default(),
        }
    }

    /// A Lease that can be read may still not be written, so that reads end no spell of failing writes.
    fn tell_success(&mut self, reads: bool) {
        let lease = &self.candidacy.lease;
        if self.failing_reads.works() {
            info!(lease, "the Lease can be read again");
        }
        if !reads && self.failing_writes.works() {
            info!(lease, "the Lease can be written again");
        }
    }

    /// Once for each spell of failures: a request is sent every two seconds.
    fn tell_failure(&mut self, reads: bool, why: Option<String>) {
        let Some(error) = why else { return };
        let lease = &self.candidacy.lease;
        let (spell, request) = match reads {
            true => (&mut self.failing_reads, "read"),
            false => (&mut self.failing_writes, "write"),
        };
        if spell.fails(Timestamp::now(), &error) {
            warn!(
                lease,
                request, error, "the Lease can't be read or written; trying again"
            );
        } else {
            debug!(lease, request, error, "the Lease can't be read or written");
        }
    }

    /// Takes in the Lease as it is now.
    fn note(&mut self, lease: Option<&KubeLease>) {
        tell(&self.leader, lease);
        let stranger = lease.is_some_and(is_of_a_stranger);
        self.stranger.send_replace(stranger);
        let metadata = lease.map(|lease| &lease.metadata);
        self.labels = metadata.and_then(|metadata| metadata.labels.clone());
        let annotations = metadata.and_then(|metadata| metadata.annotations.clone());
        self.annotations = annotations.unwrap_or_default();
    }

    /// The Lease as it is to be written. What others have put onto it stays.
    fn lease(&self, record: LeaseRecord, version: Option<String>) -> KubeLease {
        let mut annotations = self.annotations.clone();
        annotations.remove(ADDRESS);
        annotations.remove(ADDRESS_OF);
        if !record.holder.is_empty() {
            // Also without an address: others see that it is one of them.
            annotations.insert(ADDRESS_OF.to_owned(), record.holder.clone());
            if let Some(address) = &self.candidacy.address {
                annotations.insert(ADDRESS.to_owned(), address.clone());
            }
        }
        KubeLease {
            metadata: ObjectMeta {
                name: Some(self.candidacy.lease.clone()),
                labels: self.labels.clone(),
                annotations: (!annotations.is_empty()).then_some(annotations),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder),
                lease_duration_seconds: i32::try_from(record.lease_duration.as_secs()).ok(),
                acquire_time: Some(MicroTime(record.acquired_at)),
                renew_time: Some(MicroTime(record.renewed_at)),
                lease_transitions: Some(record.transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// What became of a request.
fn settled(
    answer: Result<Result<Option<KubeLease>, kube::Error>, tokio::time::error::Elapsed>,
) -> Answer {
    match answer {
        Ok(Ok(lease)) => Ok(lease),
        // A conflict only says that another candidate was quicker.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Failed(None)),
        Ok(Err(error)) => Err(Failed(Some(plain(&error)))),
        Err(_) => Err(Failed(Some(
            "the API server did not answer in time".to_owned(),
        ))),
    }
}

fn stored(lease: KubeLease) -> StoredLease {
    let version = lease.resource_version().unwrap_or_default();
    let spec = lease.spec.unwrap_or_default();
    let time = |time: Option<MicroTime>| time.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    StoredLease {
        record: LeaseRecord {
            holder: spec.holder_identity.unwrap_or_default(),
            lease_duration: SignedDuration::from_secs(
                spec.lease_duration_seconds.unwrap_or_default().into(),
            ),
            acquired_at: time(spec.acquire_time),
            renewed_at: time(spec.renew_time),
            transitions: spec.lease_transitions.unwrap_or_default(),
        },
        version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Desk {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nowhere = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let candidacy = Candidacy {
            namespace: "keda".into(),
            lease: "operator.keda.sh".into(),
            identity: "pod-a".into(),
            address: Some("10.0.0.7:9666".into()),
            timing: LeaseTiming::default(),
        };
        Desk::new(
            Api::default_namespaced(Client::try_from(nowhere).unwrap()),
            candidacy,
            watch::Sender::default(),
            watch::Sender::default(),
        )
    }

    fn record(holder: &str) -> LeaseRecord {
        LeaseRecord {
            holder: holder.into(),
            lease_duration: SignedDuration::from_secs(15),
            acquired_at: Timestamp::from_second(1_700_000_000).unwrap(),
            renewed_at: Timestamp::from_microsecond(1_700_000_007_000_001).unwrap(),
            transitions: 3,
        }
    }

    #[tokio::test]
    async fn a_record_survives_the_way_through_the_api() {
        let stored = stored(desk().lease(record("pod-a"), Some("42".into())));
        assert_eq!(
            stored,
            StoredLease {
                record: record("pod-a"),
                version: "42".into()
            }
        );
    }

    #[tokio::test]
    async fn the_address_is_that_of_who_holds_the_lease() {
        let mut desk = desk();
        let mut held = desk.lease(record("pod-a"), None);
        assert_eq!(address(&held).as_deref(), Some("10.0.0.7:9666"));
        assert!(!is_of_a_stranger(&held));
        let released = desk.lease(record(""), None);
        assert_eq!(released.metadata.annotations, None);
        assert!(!is_of_a_stranger(&released));
        // KEDA's operator takes it over, and leaves the annotations.
        held.spec.as_mut().unwrap().holder_identity = Some("keda-operator-0".into());
        assert_eq!(address(&held), None);
        assert!(is_of_a_stranger(&held));
        // What is somebody else's stays.
        held.annotations_mut().insert("a".into(), "b".into());
        held.labels_mut().insert("c".into(), "d".into());
        desk.note(Some(&held));
        desk.candidacy.address = None;
        // One without an address can't be found, and is known as one of ours all the same.
        let written = desk.lease(record("pod-a"), None);
        assert_eq!(address(&written), None);
        assert!(!is_of_a_stranger(&written));
        let written = written.metadata;
        let ours = (ADDRESS_OF.to_owned(), "pod-a".to_owned());
        assert_eq!(
            written.annotations,
            Some([("a".into(), "b".into()), ours].into())
        );
        assert_eq!(written.labels, Some([("c".into(), "d".into())].into()));
    }
}
