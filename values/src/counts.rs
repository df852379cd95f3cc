//! What the stream counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of this process, for its metrics.
#[derive(Default)]
pub struct Counts {
    pub(crate) followers: AtomicU64,
    pub(crate) told: AtomicU64,
    pub(crate) told_bytes: AtomicU64,
    pub(crate) heard: AtomicU64,
    pub(crate) streams: AtomicU64,
}

/// The counts of a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Processes that follow this one now.
    pub followers: u64,
    /// Messages told to them.
    pub told: u64,
    /// What these were as messages, in bytes, without what HTTP and TLS add.
    pub told_bytes: u64,
    /// Messages heard from a replica that leads.
    pub heard: u64,
    /// Streams begun with a replica that leads: one more at each reconnect.
    pub streams: u64,
}

impl Counts {
    pub fn now(&self) -> Counted {
        Counted {
            followers: self.followers.load(Ordering::Relaxed),
            told: self.told.load(Ordering::Relaxed),
            told_bytes: self.told_bytes.load(Ordering::Relaxed),
            heard: self.heard.load(Ordering::Relaxed),
            streams: self.streams.load(Ordering::Relaxed),
        }
    }
}
