//! Candidates for one lease, with clocks that are years apart, messages that are late or lost, and processes that
//! are suspended.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sakidori_engine::{Lease, LeaseEffect, LeaseEvent, LeaseRecord, LeaseTiming, StoredLease};

/// What reaches whom.
enum Message {
    Wake(usize),
    ToServer(usize, LeaseEffect),
    ToCandidate(usize, LeaseEvent),
}

struct Election {
    /// Milliseconds since the start.
    now: u64,
    candidates: Vec<(Lease, Timestamp)>,
    queue: BTreeMap<(u64, u64), Message>,
    sequence: u64,
    stored: Option<(LeaseRecord, u64)>,
    /// Delays in milliseconds, used in turn; `None` loses the message. Empty: everything takes 5 ms.
    delays: Vec<Option<u64>>,
    drawn: usize,
    /// How often each candidate was told to start and to stop.
    told: Vec<(u32, u32)>,
    finished: Vec<bool>,
}

impl Election {
    fn new(clocks: &[i64], delays: Vec<Option<u64>>) -> Self {
        let candidates = clocks.iter().enumerate().map(|(number, clock)| {
            let lease = Lease::new(format!("candidate-{number}"), LeaseTiming::default());
            (lease, Timestamp::from_second(*clock).unwrap())
        });
        let mut election = Self {
            now: 0,
            candidates: candidates.collect(),
            queue: BTreeMap::new(),
            sequence: 0,
            stored: None,
            delays,
            drawn: 0,
            told: vec![(0, 0); clocks.len()],
            finished: vec![false; clocks.len()],
        };
        for number in 0..clocks.len() {
            election.post(0, Message::Wake(number));
        }
        election
    }

    fn post(&mut self, at: u64, message: Message) {
        self.queue.insert((at, self.sequence), message);
        self.sequence += 1;
    }

    fn delay(&mut self) -> Option<u64> {
        self.drawn += 1;
        if self.delays.is_empty() {
            Some(5)
        } else {
            self.delays[self.drawn % self.delays.len()]
        }
    }

    fn local_time(&self, number: usize) -> Timestamp {
        self.candidates[number].1 + SignedDuration::from_millis(i64::try_from(self.now).unwrap())
    }

    fn tell(&mut self, number: usize, event: LeaseEvent) {
        let local = self.local_time(number);
        for effect in self.candidates[number].0.handle(local, event) {
            match effect {
                LeaseEffect::StartLeading => self.told[number].0 += 1,
                LeaseEffect::StopLeading => self.told[number].1 += 1,
                LeaseEffect::Finished => self.finished[number] = true,
                request => {
                    if let Some(delay) = self.delay() {
                        self.post(self.now + delay, Message::ToServer(number, request));
                    }
                }
            }
        }
        let (lease, clock) = &self.candidates[number];
        if let Some(at) = lease.next_wakeup() {
            let at = u64::try_from(at.duration_since(*clock).as_nanos().max(0))
                .unwrap()
                .div_ceil(1_000_000);
            // A suspended process wakes late.
            let late = self.delay().unwrap_or(0);
            self.post(at.max(self.now) + late, Message::Wake(number));
        }
    }

    fn serve(&mut self, effect: LeaseEffect) -> LeaseEvent {
        let (attempt, record, expected) = match effect {
            LeaseEffect::Read { attempt } => {
                let found = self.stored.clone();
                let found = found.map(|(record, version)| StoredLease {
                    record,
                    version: version.to_string(),
                });
                return LeaseEvent::Read { attempt, found };
            }
            LeaseEffect::Create { attempt, record } => (attempt, record, None),
            LeaseEffect::Update {
                attempt,
                record,
                version,
            } => (attempt, record, Some(version)),
            other => panic!("{other:?} is no request"),
        };
        let version = self.stored.as_ref().map(|(_, version)| *version);
        if version.map(|version| version.to_string()) != expected {
            return LeaseEvent::Failed { attempt };
        }
        let version = version.unwrap_or(0) + 1;
        self.stored = Some((record, version));
        LeaseEvent::Written {
            attempt,
            version: version.to_string(),
        }
    }

    fn leaders(&self) -> Vec<usize> {
        (0..self.candidates.len())
            .filter(|number| self.candidates[*number].0.leads(self.local_time(*number)))
            .collect()
    }

    fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), message) = entry.remove_entry();
            self.now = at;
            match message {
                Message::Wake(number) => {
                    // Only the newest wakeup counts, the others find nothing to do.
                    let local = self.local_time(number);
                    if self.candidates[number]
                        .0
                        .next_wakeup()
                        .is_some_and(|wakeup| wakeup <= local)
                    {
                        self.tell(number, LeaseEvent::Woke);
                    }
                }
                Message::ToServer(number, effect) => {
                    let answer = self.serve(effect);
                    if let Some(delay) = self.delay() {
                        self.post(self.now + delay, Message::ToCandidate(number, answer));
                    }
                }
                Message::ToCandidate(number, event) => self.tell(number, event),
            }
            let leaders = self.leaders();
            assert!(
                leaders.len() <= 1,
                "{leaders:?} lead at the same time, {} ms after the start",
                self.now
            );
        }
        self.now = end;
    }
}

proptest! {
    #![proptest_config(crate::cases(512))]

    #[test]
    fn there_are_never_two_leaders_and_in_the_end_there_is_one(
        clocks in prop::collection::vec(-100_000_000..100_000_000_i64, 1..4),
        delays in prop::collection::vec(prop_oneof![
            6 => (0..500_u64).prop_map(Some),
            2 => (500..20_000_u64).prop_map(Some),
            1 => Just(None),
        ], 1..60),
    ) {
        let mut election = Election::new(&clocks, delays);
        election.run_until(180_000);
        election.delays.clear();
        election.run_until(260_000);
        prop_assert_eq!(election.leaders().len(), 1);
        for (number, (started, stopped)) in election.told.iter().enumerate() {
            let leads = u32::from(election.leaders().contains(&number));
            prop_assert_eq!(*started, stopped + leads, "candidate {} was told in pairs", number);
        }
    }
}

#[test]
fn a_leader_that_stops_hands_over_without_a_wait() {
    let mut election = Election::new(&[0, 50_000_000], vec![]);
    election.run_until(30_000);
    let leader = election.leaders()[0];
    election.tell(leader, LeaseEvent::Stopping);
    assert!(election.leaders().is_empty(), "it stops before it releases");
    election.run_until(35_000);
    assert!(election.finished[leader]);
    assert_eq!(election.leaders(), [1 - leader]);
    let (record, _) = election.stored.as_ref().unwrap();
    assert_eq!(
        (&*record.holder, record.transitions),
        (&*format!("candidate-{}", 1 - leader), 1)
    );
}

#[test]
fn a_leader_that_vanishes_is_followed_after_the_lease_duration() {
    let mut election = Election::new(&[0, -70_000_000], vec![]);
    election.run_until(30_000);
    let leader = election.leaders()[0];
    // From now on it hears and says nothing.
    election.queue.retain(|_, message| !matches!(message, Message::Wake(number) | Message::ToServer(number, _) | Message::ToCandidate(number, _) if *number == leader));
    election.run_until(42_000);
    assert!(
        election.leaders().is_empty(),
        "the old one has stopped, the new one waits"
    );
    election.run_until(52_000);
    assert_eq!(election.leaders(), [1 - leader]);
}

#[test]
fn a_steady_leader_costs_one_write_per_retry_period() {
    let mut election = Election::new(&[0], vec![]);
    election.run_until(60_000);
    let (_, version) = election.stored.unwrap();
    assert!((28..=31).contains(&version), "{version} writes in a minute");
    assert_eq!(election.told[0], (1, 0));
}

#[test]
fn a_candidate_that_never_led_finishes_at_once() {
    let mut lease = Lease::new("a", LeaseTiming::default());
    let now = Timestamp::UNIX_EPOCH;
    lease.handle(now, LeaseEvent::Woke);
    assert_eq!(
        lease.handle(now, LeaseEvent::Stopping),
        [LeaseEffect::Finished]
    );
    assert_eq!(lease.next_wakeup(), None);
}
