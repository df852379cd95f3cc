//! What an election is told, what it asks for, and the Lease that both are about.

use jiff::{SignedDuration, Timestamp};

/// The `spec` of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// `holderIdentity`; empty when it was released.
    pub holder: String,
    /// `leaseDurationSeconds`, as a duration of whole seconds; zero where there is none.
    pub lease_duration: SignedDuration,
    /// `acquireTime`, by the holder's clock.
    pub acquired_at: Timestamp,
    /// `renewTime`, by the holder's clock.
    pub renewed_at: Timestamp,
    /// `leaseTransitions`.
    pub transitions: i32,
}

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLease {
    pub record: LeaseRecord,
    /// `metadata.resourceVersion`.
    pub version: String,
}

/// What can happen in an election. `attempt` is that of the effect which is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// The time of `next_wakeup` has come; also the first event.
    Woke,
    /// The answer to [`LeaseEffect::Read`]; `None` when there is no Lease.
    Read {
        attempt: u64,
        found: Option<StoredLease>,
    },
    /// A create or update succeeded; `version` is the new resourceVersion.
    Written { attempt: u64, version: String },
    /// A read, create or update failed: a conflict, an error, no answer in time.
    Failed { attempt: u64 },
    /// A watch shows the Lease; `None` when it was deleted.
    Seen { found: Option<StoredLease> },
    /// Somebody says that the lease was released.
    Nudged,
    /// The process is being shut down.
    Stopping,
}

/// What an election asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseEffect {
    /// Read the Lease from the API server, not from a cache.
    Read {
        attempt: u64,
    },
    /// Create the Lease.
    Create {
        attempt: u64,
        record: LeaseRecord,
    },
    /// Replace the Lease's spec, provided that it still has this resourceVersion.
    Update {
        attempt: u64,
        record: LeaseRecord,
        version: String,
    },
    StartLeading,
    /// All that only a leader may do has to end before the next effect is carried out.
    StopLeading,
    /// After [`LeaseEvent::Stopping`]: the lease is given up, as far as that was possible.
    Finished,
}
