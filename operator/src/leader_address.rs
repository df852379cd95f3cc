//! Where the replica that leads is told of: an annotation of the Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::api_error::plain;
use crate::leader::LEASE_NAME;

/// HOST:PORT of the gRPC server of who holds the Lease.
pub const ADDRESS: &str = "sakidori.dev/address";

/// How often the Lease is read. A new leader writes it about as often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A read that takes longer is given up: the next one may do.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// The address of who leads, read every second for as long as anybody wants to know. While the Lease can't be read, the last one stays.
pub fn observe(client: Client, namespace: &str) -> watch::Receiver<Option<String>> {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                read = timeout(REQUEST_WITHIN, api.get_opt(LEASE_NAME)) => match read {
                    Ok(Ok(lease)) => {
                        let address = lease.as_ref().and_then(address);
                        sender.send_if_modified(|known| {
                            let changed = *known != address;
                            *known = address;
                            changed
                        });
                    }
                    Ok(Err(error)) => debug!(lease = LEASE_NAME, error = plain(&error), "the Lease can't be read"),
                    Err(_) => debug!(lease = LEASE_NAME, "the API server did not answer in time"),
                },
            }
            tokio::select! {
                () = sender.closed() => return,
                () = sleep(LOOK_EVERY) => {}
            }
        }
    });
    receiver
}

/// `None` while nobody holds the Lease, or one that tells no address.
fn address(lease: &Lease) -> Option<String> {
    let held = lease.spec.as_ref()?.holder_identity.as_ref();
    held.filter(|holder| !holder.is_empty())?;
    lease.metadata.annotations.as_ref()?.get(ADDRESS).cloned()
}
