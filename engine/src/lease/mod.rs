//! Leader election over a Kubernetes Lease, with client-go's semantics, as a state machine without IO.
//!
//! Clocks of different machines are never compared: a candidate times a lease from the moment at which it saw the
//! record change. A leader counts itself leader only until `renew_deadline` after it *sent* its last successful
//! write. Others saw that write no earlier than it was sent, and wait `lease_duration` from there; so there are never
//! two leaders, however long any message takes, as long as no clock runs faster than another by more than
//! `lease_duration / renew_deadline`: with 15 s and 10 s, half as fast again.
//!
//! A candidate is told of each renewal when it happens ([`LeaseEvent::Seen`], from a watch), so that it knows when the
//! lease ends, and tries at that moment. Where the watch is silent, it reads as often as client-go does. What a watch shows
//! may be old; that can only make a candidate wait longer.

mod message;
mod timing;

use jiff::{SignedDuration, Timestamp};

use crate::backoff::hash;
use crate::time::{after, share};

pub use message::{LeaseEffect, LeaseEvent, LeaseRecord, StoredLease};
pub use timing::LeaseTiming;

/// Candidates try this soon after a lease has ended, each at a moment of its own: at the same moment all but one would only
/// meet a conflict.
const CROWD: SignedDuration = SignedDuration::from_millis(100);

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
    /// Since when there has been no Lease, though there was one, and when that was last seen.
    missing: Option<(Timestamp, Timestamp)>,
    /// The resourceVersion of this candidate's own last write.
    version: Option<String>,
    /// Something came while a request was under way, whose answer may be older.
    try_again: bool,
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
            missing: None,
            version: None,
            try_again: false,
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

    /// Until when this candidate may act as the leader, if no renewal succeeds before.
    pub fn leading_until(&self) -> Option<Timestamp> {
        self.leading_until
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
            LeaseEvent::Seen { found } => self.seen(now, found, &mut effects),
            LeaseEvent::Nudged => self.try_now(now, &mut effects),
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
            self.miss(now);
            return if self.stopping {
                self.finish(effects)
            } else if self.leading_until.is_some() || self.free_from() <= now {
                self.write(now, self.fresh(now, 0), None, false, effects)
            } else {
                self.wait(now)
            };
        };
        self.observe(now, record.clone());
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
        } else if self.free_from() <= now {
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

    fn seen(&mut self, now: Timestamp, found: Option<StoredLease>, effects: &mut Vec<LeaseEffect>) {
        // A leader learns by its renewals that it is none any more: a watch may show what was before it led.
        if self.stopping || self.leading_until.is_some() {
            return;
        }
        match found {
            Some(StoredLease { record, .. }) => self.observe(now, record),
            None => self.miss(now),
        }
        if self.free_from() <= now {
            self.try_now(now, effects);
        } else if self.request.is_none() {
            self.wait(now);
        }
    }

    /// Tries to lead at once.
    fn try_now(&mut self, now: Timestamp, effects: &mut Vec<LeaseEffect>) {
        if self.stopping || self.leading_until.is_some() {
            return;
        }
        match self.request {
            Some(_) => self.try_again = true,
            None => self.ask(now, effects),
        }
    }

    /// Notes what was seen, and since when it has not changed.
    fn observe(&mut self, now: Timestamp, record: LeaseRecord) {
        self.missing = None;
        let since = match &self.observed {
            Some((observed, since)) if *observed == record => *since,
            _ => now,
        };
        self.observed = Some((record, since));
    }

    /// Notes that there is no Lease. Where there never was one, that means nothing; and where nobody looked for longer than usual, there
    /// may have been one meanwhile.
    fn miss(&mut self, now: Timestamp) {
        if self.observed.is_none() {
            return;
        }
        let unseen = self.timing.retry_period * 3;
        let since = match self.missing {
            Some((since, last)) if now <= after(last, unseen) => since,
            _ => now,
        };
        self.missing = Some((since, now));
    }

    /// From when on nobody else leads, as far as is known here.
    fn free_from(&self) -> Timestamp {
        let Some((record, since)) = &self.observed else {
            return Timestamp::MIN;
        };
        // One that makes no sense is none to go by.
        let declared = match record.lease_duration {
            duration if duration > SignedDuration::ZERO => duration,
            _ => self.timing.lease_duration,
        };
        match self.missing {
            // Deleted: whoever held it leads on until it finds that out. (It then makes it anew.)
            Some((missing, _)) => after(missing, declared.max(self.timing.lease_duration)),
            None if record.holder.is_empty() || record.holder == self.identity => Timestamp::MIN,
            None => after(*since, declared),
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
        self.missing = None;
        self.version = Some(version);
        if self.stopping {
            return self.finish(effects);
        }
        self.try_again = false;
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
        let period = after(now, self.timing.retry_period);
        if self.leading_until.is_some() {
            self.next_try = period;
            return;
        }
        if std::mem::take(&mut self.try_again) {
            self.next_try = now;
            return;
        }
        let salt = u32::try_from(self.attempt % u64::from(u32::MAX)).unwrap_or(0);
        let jitter = hash(&self.identity, salt) % 1000;
        let usual = after(period, share(self.timing.retry_period, jitter * 6, 5000));
        let free = self.free_from();
        self.next_try = match free > now {
            true => usual.min(after(free, share(CROWD, jitter, 1000))),
            false => usual,
        };
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
