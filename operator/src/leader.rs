//! Leader election: carries out what the engine's [`Lease`] asks for, on the Lease `operator.keda.sh` (KEDA's name, so that the
//! two never lead at the same time).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease as KubeLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use sakidori_engine::{Lease, LeaseEffect, LeaseEvent, LeaseRecord, LeaseTiming, StoredLease};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api_error::plain;
use crate::clock::Clock;
use crate::leader_address::ADDRESS;

/// KEDA's `--leader-election-id`.
pub const LEASE_NAME: &str = "operator.keda.sh";

/// A request that takes longer than the retry period is given up: the next one may do.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// Takes part in the election until `shutdown`, then releases the lease. `address` is where the others find this process while it leads. `elected` tells whether this process
/// leads, and numbers its terms.
pub async fn run(
    client: Client,
    namespace: &str,
    identity: String,
    address: Option<String>,
    clock: Clock,
    elected: watch::Sender<Option<u64>>,
    shutdown: CancellationToken,
) {
    let api: Api<KubeLease> = Api::namespaced(client, namespace);
    let mut lease = Lease::new(identity, LeaseTiming::default());
    let mut stopping = false;
    let mut terms = 0;
    let mut next = Some(LeaseEvent::Woke);
    loop {
        let event = match next.take() {
            Some(event) => event,
            None => {
                let Some(at) = lease.next_wakeup() else {
                    return;
                };
                let pause =
                    Duration::try_from(at.duration_since(clock.now())).unwrap_or(Duration::ZERO);
                tokio::select! {
                    () = shutdown.cancelled(), if !stopping => {
                        stopping = true;
                        LeaseEvent::Stopping
                    }
                    // Whole milliseconds, rounded up: never a busy loop just before the time.
                    () = sleep(pause + Duration::from_millis(1)) => LeaseEvent::Woke,
                }
            }
        };
        for effect in lease.handle(clock.now(), event) {
            match effect {
                LeaseEffect::StartLeading => {
                    info!(namespace, lease = LEASE_NAME, "leading");
                    terms += 1;
                    elected.send_replace(Some(terms));
                }
                LeaseEffect::StopLeading => {
                    info!(namespace, lease = LEASE_NAME, "no longer leading");
                    elected.send_replace(None);
                }
                LeaseEffect::Finished => return,
                request => next = Some(ask(&api, request, address.as_deref()).await),
            }
        }
    }
}

/// Carries out one request and turns its answer into an event.
async fn ask(api: &Api<KubeLease>, request: LeaseEffect, address: Option<&str>) -> LeaseEvent {
    let attempt = match &request {
        LeaseEffect::Read { attempt }
        | LeaseEffect::Create { attempt, .. }
        | LeaseEffect::Update { attempt, .. } => *attempt,
        _ => 0,
    };
    let answer = async {
        match request {
            LeaseEffect::Read { .. } => {
                let found = api.get_opt(LEASE_NAME).await?.map(stored);
                Ok(LeaseEvent::Read { attempt, found })
            }
            LeaseEffect::Create { record, .. } => {
                let written = api
                    .create(&PostParams::default(), &lease(record, None, address))
                    .await?;
                Ok(LeaseEvent::Written {
                    attempt,
                    version: written.resource_version().unwrap_or_default(),
                })
            }
            LeaseEffect::Update {
                record, version, ..
            } => {
                let written = api
                    .replace(
                        LEASE_NAME,
                        &PostParams::default(),
                        &lease(record, Some(version), address),
                    )
                    .await?;
                Ok(LeaseEvent::Written {
                    attempt,
                    version: written.resource_version().unwrap_or_default(),
                })
            }
            _ => Ok(LeaseEvent::Failed { attempt }),
        }
    };
    match timeout(REQUEST_WITHIN, answer).await {
        Ok(Ok(event)) => event,
        Ok(Err(error)) => {
            let error: kube::Error = error;
            // A conflict only says that another candidate was quicker.
            if !matches!(&error, kube::Error::Api(status) if status.code == 409) {
                warn!(lease = LEASE_NAME, error = plain(&error), "leader election");
            }
            LeaseEvent::Failed { attempt }
        }
        Err(_) => {
            warn!(
                lease = LEASE_NAME,
                "leader election: the API server did not answer in time"
            );
            LeaseEvent::Failed { attempt }
        }
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

fn lease(record: LeaseRecord, version: Option<String>, address: Option<&str>) -> KubeLease {
    let annotations = address.map(|address| [(ADDRESS.to_owned(), address.to_owned())].into());
    KubeLease {
        metadata: ObjectMeta {
            name: Some(LEASE_NAME.to_owned()),
            annotations,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_way_through_the_api() {
        let record = LeaseRecord {
            holder: "pod-a".into(),
            lease_duration: SignedDuration::from_secs(15),
            acquired_at: Timestamp::from_second(1_700_000_000).unwrap(),
            renewed_at: Timestamp::from_microsecond(1_700_000_007_000_001).unwrap(),
            transitions: 3,
        };
        let stored = stored(lease(record.clone(), Some("42".into()), None));
        assert_eq!(
            stored,
            StoredLease {
                record,
                version: "42".into()
            }
        );
    }
}
