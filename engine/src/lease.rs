//! Leader election over a Kubernetes Lease, with client-go's semantics, as a state machine without IO.
//!
//! Clocks of different machines are never compared: a candidate times a lease from the moment at which it saw the
//! record change. A leader counts itself leader only until `renew_deadline` after it *sent* its last successful
//! write. Others saw that write no earlier than it was sent, and wait `lease_duration` from there; so, as long as
//! clocks run at the same rate, there are never two leaders, however long any message takes.

use jiff::{SignedDuration, Timestamp};

use crate::backoff::hash;
use crate::time::{after, share};

/// How long things take in an election. The default is client-go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// How long others wait for a leader that doesn't renew: 15 s.
    pub lease_duration: SignedDuration,
    /// How long a leader goes on without a successful renewal: 10 s. Has to be shorter than `lease_duration`.
    pub renew_deadline: SignedDuration,
    /// The time between two tries: 2 s (a candidate waits up to 1.2 times longer, so that they don't all come at once).
    pub retry_period: SignedDuration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            lease_duration: SignedDuration::from_secs(15),
            renew_deadline: SignedDuration::from_secs(10),
            retry_period: SignedDuration::from_secs(2),
        }
    }
}

/// The `spec` of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// `holderIdentity`; empty when it was released.
    pub holder: String,
    /// `leaseDurationSeconds`, as a duration of whole seconds.
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

/// One candidate.
///
/// ```
/// use jiff::{SignedDuration, Timestamp};
/// use sakidori_engine::{Lease, LeaseEffect, LeaseEvent, LeaseTiming};
///
/// let mut lease = Lease::new("pod-a", LeaseTiming::default());
/// let now = Timestamp::UNIX_EPOCH;
/// assert_eq!(lease.handle(now, LeaseEvent::Woke), [LeaseEffect::Read { attempt: 1 }]);
/// let effects = lease.handle(now, LeaseEvent::Read { attempt: 1, found: None });
/// assert!(matches!(effects[..], [LeaseEffect::Create { attempt: 2, .. }]));
/// let effects = lease.handle(now, LeaseEvent::Written { attempt: 2, version: "7".into() });
/// assert_eq!(effects, [LeaseEffect::StartLeading]);
/// assert!(lease.leads(now + SignedDuration::from_secs(9)));
/// assert!(!lease.leads(now + SignedDuration::from_secs(10)));
/// ```
#[derive(Debug)]
pub struct Lease {
    identity: String,
    timing: LeaseTiming,
    attempt: u64,
    request: Option<Request>,
    /// When to try next, while no request is under way.
    next_try: Timestamp,
    /// The last record seen, and when it was first seen (by the clock of here).
    observed: Option<(LeaseRecord, Timestamp)>,
    /// The resourceVersion that goes with `observed`.
    version: Option<String>,
    leading_until: Option<Timestamp>,
    stopping: bool,
    finished: bool,
}

/// A request whose answer is awaited.
#[derive(Debug)]
struct Request {
    sent: Timestamp,
    kind: RequestKind,
}

#[derive(Debug)]
enum RequestKind {
    Read,
    /// `blind` when the Lease was not read just before.
    Write {
        record: LeaseRecord,
        blind: bool,
    },
}

impl Lease {
    /// A candidate that has not tried yet. `identity` has to be different for each process.
    pub fn new(identity: impl Into<String>, timing: LeaseTiming) -> Self {
        Self {
            identity: identity.into(),
            timing,
            attempt: 0,
            request: None,
            next_try: Timestamp::MIN,
            observed: None,
            version: None,
            leading_until: None,
            stopping: false,
            finished: false,
        }
    }

    /// Whether this candidate may act as the leader at `now`. Ask again before each thing that only a leader may do:
    /// a process that was suspended finds out here.
    pub fn leads(&self, now: Timestamp) -> bool {
        self.leading_until.is_some_and(|until| now < until)
    }

    /// Who held the lease when it was last seen.
    pub fn holder(&self) -> Option<&str> {
        self.observed
            .as_ref()
            .map(|(record, _)| &*record.holder)
            .filter(|holder| !holder.is_empty())
    }

    /// When `handle(.., LeaseEvent::Woke)` is to be called next, if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.finished {
            return None;
        }
        let next = self
            .request
            .as_ref()
            .map_or(self.next_try, |request| self.overdue_at(request));
        Some(self.leading_until.map_or(next, |until| until.min(next)))
    }

    /// Takes in one event and says what is to be done, in this order.
    pub fn handle(&mut self, now: Timestamp, event: LeaseEvent) -> Vec<LeaseEffect> {
        let mut effects = Vec::new();
        if self.finished {
            return effects;
        }
        if self.leading_until.is_some_and(|until| until <= now) {
            self.stop_leading(&mut effects);
        }
        match event {
            LeaseEvent::Woke => self.woke(now, &mut effects),
            LeaseEvent::Read { attempt, found } => {
                if self.answered(attempt).is_some() {
                    self.read(now, found, &mut effects);
                }
            }
            LeaseEvent::Written { attempt, version } => {
                if let Some(Request {
                    sent,
                    kind: RequestKind::Write { record, .. },
                }) = self.answered(attempt)
                {
                    self.written(now, sent, record, version, &mut effects);
                }
            }
            LeaseEvent::Failed { attempt } => match self.answered(attempt) {
                Some(_) if self.stopping => self.finish(&mut effects),
                Some(Request {
                    kind: RequestKind::Write { blind: true, .. },
                    ..
                }) => self.ask(now, &mut effects),
                Some(_) => self.wait(now),
                None => {}
            },
            LeaseEvent::Stopping => self.stop(now, &mut effects),
        }
        effects
    }

    fn woke(&mut self, now: Timestamp, effects: &mut Vec<LeaseEffect>) {
        match &self.request {
            Some(request) if now < self.overdue_at(request) => return,
            Some(_) if self.stopping => return self.finish(effects),
            // Its answer may still come, and is then ignored: whether it was carried out shows the next read.
            Some(_) => self.request = None,
            None if now < self.next_try => return,
            None => {}
        }
        match (&self.observed, self.version.take()) {
            (Some((record, _)), Some(version)) if self.leads(now) => {
                let record = self.renewed(record.clone(), now);
                self.write(now, record, Some(version), true, effects);
            }
            _ => self.ask(now, effects),
        }
    }

    fn read(&mut self, now: Timestamp, found: Option<StoredLease>, effects: &mut Vec<LeaseEffect>) {
        let Some(StoredLease { record, version }) = found else {
            self.observed = None;
            return if self.stopping {
                self.finish(effects)
            } else {
                self.write(now, self.fresh(now, 0), None, false, effects)
            };
        };
        let since = match &self.observed {
            Some((observed, since)) if *observed == record => *since,
            _ => now,
        };
        self.observed = Some((record.clone(), since));
        let own = record.holder == self.identity;
        if self.stopping {
            return if own {
                self.release(now, record, version, effects)
            } else {
                self.finish(effects)
            };
        }
        if own {
            let record = self.renewed(record, now);
            self.write(now, record, Some(version), false, effects);
        } else if record.holder.is_empty() || after(since, record.lease_duration) <= now {
            let record = self.fresh(now, record.transitions.saturating_add(1));
            self.write(now, record, Some(version), false, effects);
        } else {
            // Someone else took it over while this one was out of reach.
            if self.leading_until.is_some() {
                self.stop_leading(effects);
            }
            self.wait(now);
        }
    }

    fn written(
        &mut self,
        now: Timestamp,
        sent: Timestamp,
        record: LeaseRecord,
        version: String,
        effects: &mut Vec<LeaseEffect>,
    ) {
        self.observed = Some((record, now));
        self.version = Some(version);
        if self.stopping {
            return self.finish(effects);
        }
        self.next_try = after(sent, self.timing.retry_period).max(now);
        let until = after(sent, self.timing.renew_deadline);
        if until > now && self.leading_until.replace(until).is_none() {
            effects.push(LeaseEffect::StartLeading);
        }
    }

    fn stop(&mut self, now: Timestamp, effects: &mut Vec<LeaseEffect>) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let writing = matches!(
            self.request,
            Some(Request {
                kind: RequestKind::Write { .. },
                ..
            })
        );
        let may_hold = writing || self.holder() == Some(&self.identity);
        if self.leading_until.is_some() {
            self.stop_leading(effects);
        }
        // The version may be out of date if a write is under way, so it is read first (as client-go does).
        if may_hold {
            self.ask(now, effects)
        } else {
            self.finish(effects)
        }
    }

    /// KEDA and client-go: an empty holder and one second, so that the next candidate doesn't have to wait.
    fn release(
        &mut self,
        now: Timestamp,
        record: LeaseRecord,
        version: String,
        effects: &mut Vec<LeaseEffect>,
    ) {
        let released = LeaseRecord {
            holder: String::new(),
            lease_duration: SignedDuration::from_secs(1),
            acquired_at: now,
            renewed_at: now,
            transitions: record.transitions,
        };
        self.write(now, released, Some(version), false, effects);
    }

    fn fresh(&self, now: Timestamp, transitions: i32) -> LeaseRecord {
        LeaseRecord {
            holder: self.identity.clone(),
            lease_duration: self.timing.lease_duration,
            acquired_at: now,
            renewed_at: now,
            transitions,
        }
    }

    fn renewed(&self, record: LeaseRecord, now: Timestamp) -> LeaseRecord {
        LeaseRecord {
            lease_duration: self.timing.lease_duration,
            renewed_at: now,
            ..record
        }
    }

    fn ask(&mut self, now: Timestamp, effects: &mut Vec<LeaseEffect>) {
        let attempt = self.send(now, RequestKind::Read);
        effects.push(LeaseEffect::Read { attempt });
    }

    fn write(
        &mut self,
        now: Timestamp,
        record: LeaseRecord,
        version: Option<String>,
        blind: bool,
        effects: &mut Vec<LeaseEffect>,
    ) {
        let attempt = self.send(
            now,
            RequestKind::Write {
                record: record.clone(),
                blind,
            },
        );
        effects.push(match version {
            Some(version) => LeaseEffect::Update {
                attempt,
                record,
                version,
            },
            None => LeaseEffect::Create { attempt, record },
        });
    }

    fn send(&mut self, now: Timestamp, kind: RequestKind) -> u64 {
        self.attempt += 1;
        self.request = Some(Request { sent: now, kind });
        self.attempt
    }

    /// The request that an answer belongs to, unless it was given up.
    fn answered(&mut self, attempt: u64) -> Option<Request> {
        if attempt == self.attempt {
            self.request.take()
        } else {
            None
        }
    }

    /// A request is given up in time for a second try before the deadline.
    fn overdue_at(&self, request: &Request) -> Timestamp {
        after(request.sent, self.timing.renew_deadline / 2)
    }

    fn wait(&mut self, now: Timestamp) {
        let period = self.timing.retry_period;
        let jitter = if self.leading_until.is_some() {
            SignedDuration::ZERO
        } else {
            let salt = u32::try_from(self.attempt % u64::from(u32::MAX)).unwrap_or(0);
            share(period, hash(&self.identity, salt) % 1200, 1000)
        };
        self.next_try = after(after(now, period), jitter);
    }

    fn stop_leading(&mut self, effects: &mut Vec<LeaseEffect>) {
        self.leading_until = None;
        effects.push(LeaseEffect::StopLeading);
    }

    fn finish(&mut self, effects: &mut Vec<LeaseEffect>) {
        self.request = None;
        self.finished = true;
        effects.push(LeaseEffect::Finished);
    }
}
