//! Elections that are made up: candidates with clocks of their own, an API server, and messages that are late, lost,
//! doubled or out of order. After each message it is checked that at most one leads.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::{Lease, LeaseEffect, LeaseEvent, LeaseRecord, LeaseTiming, StoredLease};

use crate::foreign::{Foreign, Step};

/// A clock that shows something else than the others, and runs at another rate.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub start: i64,
    /// Its milliseconds in one true second.
    pub rate: u64,
}

impl Clock {
    /// What it shows `now` milliseconds after the start.
    fn at(self, now: u64) -> Timestamp {
        let micros = SignedDuration::from_micros(i64::try_from(now * self.rate).unwrap());
        Timestamp::from_second(self.start).unwrap() + micros
    }

    /// When it shows that.
    fn when(self, at: Timestamp) -> u64 {
        let passed = at.duration_since(self.at(0)).as_micros().max(0);
        u64::try_from(passed).unwrap().div_ceil(self.rate)
    }
}

/// For how long one leads after its last renewal, by the slowest clock.
const LONGEST_LEAD: u64 = 12_500;

/// So much later than the first look at a missing Lease, whoever is in reach has taken it.
const DELETIONS_APART: u64 = 40_000;

/// What happens to an election from outside.
#[derive(Clone, Copy, Debug)]
pub enum Blow {
    /// The process is killed, and started again under the same name.
    Kill,
    /// It ends as after SIGTERM, and is started again.
    Stop,
    Nudge,
    /// Somebody deletes the Lease.
    Delete,
}

enum Message {
    Wake(usize),
    ToServer(usize, u32, LeaseEffect),
    ToCandidate(usize, u32, LeaseEvent),
    /// What was decided while leading is about to be done.
    Act(usize, u32),
    Blow(usize, Blow),
    Start(usize),
    Foreign(Step),
}

pub struct Candidate {
    pub lease: Lease,
    clock: Clock,
    /// How often its process was started.
    life: u32,
    /// How often it was told to start and to stop leading.
    pub told: (u32, u32),
    pub finished: bool,
}

pub struct Election {
    /// Milliseconds since the start.
    pub now: u64,
    pub candidates: Vec<Candidate>,
    pub foreign: Option<Foreign>,
    queue: BTreeMap<(u64, u64), Message>,
    sequence: u64,
    pub stored: Option<(LeaseRecord, u64)>,
    deleted: u64,
    pub version: u64,
    /// Delays in milliseconds, used in turn; `None` loses the message. Empty: everything takes 5 ms.
    pub delays: Vec<Option<u64>>,
    drawn: usize,
    /// Candidates are shown each change of the Lease.
    pub watched: bool,
    pub acts: u32,
}

impl Election {
    pub fn new(clocks: &[Clock], delays: Vec<Option<u64>>) -> Self {
        let candidates = clocks.iter().enumerate().map(|(number, clock)| Candidate {
            lease: candidate(number),
            clock: *clock,
            life: 0,
            told: (0, 0),
            finished: false,
        });
        let mut election = Self {
            now: 0,
            candidates: candidates.collect(),
            foreign: None,
            queue: BTreeMap::new(),
            sequence: 0,
            stored: None,
            deleted: 0,
            version: 0,
            delays,
            drawn: 0,
            watched: true,
            acts: 0,
        };
        for number in 0..clocks.len() {
            election.post(0, Message::Wake(number));
        }
        election
    }

    /// A candidate that isn't one of ours comes in.
    pub fn join(&mut self, at: u64, foreign: Foreign) {
        self.foreign = Some(foreign);
        self.post(at, Message::Foreign(Step::Try));
    }

    pub fn blow(&mut self, at: u64, number: usize, blow: Blow) {
        self.post(at, Message::Blow(number, blow));
    }

    /// From now on it hears and says nothing.
    pub fn vanish(&mut self, number: usize) {
        self.candidates[number].life += 1;
        self.candidates[number].finished = true;
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
        self.candidates[number].clock.at(self.now)
    }

    pub fn tell(&mut self, number: usize, event: LeaseEvent) {
        let local = self.local_time(number);
        let candidate = &mut self.candidates[number];
        let life = candidate.life;
        for effect in candidate.lease.handle(local, event) {
            let candidate = &mut self.candidates[number];
            match effect {
                LeaseEffect::StartLeading => candidate.told.0 += 1,
                LeaseEffect::StopLeading => candidate.told.1 += 1,
                LeaseEffect::Finished => candidate.finished = true,
                request => {
                    if let Some(delay) = self.delay() {
                        self.post(self.now + delay, Message::ToServer(number, life, request));
                    }
                }
            }
        }
        let candidate = &self.candidates[number];
        if let Some(at) = candidate.lease.next_wakeup() {
            let at = candidate.clock.when(at);
            // A suspended process wakes late.
            let late = self.delay().unwrap_or(0);
            self.post(at.max(self.now) + late, Message::Wake(number));
        }
        if self.candidates[number].lease.leads(local)
            && let Some(delay) = self.delay()
        {
            self.post(self.now + delay, Message::Act(number, life));
        }
    }

    fn serve(&mut self, effect: LeaseEffect) -> LeaseEvent {
        let (attempt, record, expected) = match effect {
            LeaseEffect::Read { attempt } => {
                let found = self.found();
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
        match self.store(record, expected.map(|version| version.parse().unwrap())) {
            Some(version) => LeaseEvent::Written {
                attempt,
                version: version.to_string(),
            },
            None => LeaseEvent::Failed { attempt },
        }
    }

    fn found(&self) -> Option<StoredLease> {
        let (record, version) = self.stored.clone()?;
        let version = version.to_string();
        Some(StoredLease { record, version })
    }

    /// Writes, if the Lease is still of that version; `None` for a new one.
    pub fn store(&mut self, record: LeaseRecord, expected: Option<u64>) -> Option<u64> {
        let current = self.stored.as_ref().map(|(_, version)| *version);
        (current == expected).then(|| {
            self.version += 1;
            self.stored = Some((record, self.version));
            self.show();
            self.version
        })
    }

    /// Shows the Lease to everyone who watches.
    fn show(&mut self) {
        if !self.watched {
            return;
        }
        for number in 0..self.candidates.len() {
            let life = self.candidates[number].life;
            if let Some(delay) = self.delay() {
                let found = self.found();
                let seen = LeaseEvent::Seen { found };
                self.post(self.now + delay, Message::ToCandidate(number, life, seen));
            }
        }
    }

    /// Who leads by its own clock; the foreign one comes after ours.
    pub fn leaders(&self) -> Vec<usize> {
        let ours = self.candidates.iter().enumerate();
        let ours =
            ours.filter(|(number, one)| !one.finished && one.lease.leads(self.local_time(*number)));
        let foreign = self.foreign.as_ref().filter(|one| one.leads(self.now));
        ours.map(|(number, _)| number)
            .chain(foreign.map(|_| self.candidates.len()))
            .collect()
    }

    /// What `Leadership` does in the operator: what was decided is done only by whoever leads at that moment.
    fn may_act(&self, number: usize) -> bool {
        self.candidates[number].lease.leads(self.local_time(number))
    }

    fn is_alive(&self, number: usize, life: u32) -> bool {
        self.candidates[number].life == life && !self.candidates[number].finished
    }

    pub fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), message) = entry.remove_entry();
            self.now = at;
            self.deliver(message);
            let leaders = self.leaders();
            assert!(
                leaders.len() <= 1,
                "{leaders:?} lead at the same time, {} ms after the start",
                self.now
            );
        }
        self.now = end;
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Wake(number) => {
                // Only the newest wakeup counts, the others find nothing to do.
                let local = self.local_time(number);
                let candidate = &self.candidates[number];
                let due = candidate.lease.next_wakeup().is_some_and(|at| at <= local);
                if due && !candidate.finished {
                    self.tell(number, LeaseEvent::Woke);
                }
            }
            Message::ToServer(number, life, effect) => {
                let answer = self.serve(effect);
                // An answer may be lost after the write took effect, and come twice.
                for _ in 0..2 {
                    let delay = self.delay();
                    if let Some(delay) = delay {
                        let answer = Message::ToCandidate(number, life, answer.clone());
                        self.post(self.now + delay, answer);
                    }
                    if delay.is_none_or(|delay| delay % 7 != 0) {
                        break;
                    }
                }
            }
            Message::ToCandidate(number, life, event) => {
                if self.is_alive(number, life) {
                    self.tell(number, event);
                }
            }
            Message::Act(number, life) => {
                if self.is_alive(number, life) && self.may_act(number) {
                    self.acts += 1;
                    let leaders = self.leaders();
                    let others = leaders.iter().any(|leader| *leader != number);
                    assert!(!others, "{number} acts while {leaders:?} lead");
                }
            }
            Message::Blow(number, blow) => self.strike(number, blow),
            Message::Start(number) => self.start(number),
            Message::Foreign(step) => {
                let Some(mut foreign) = self.foreign.take() else {
                    return;
                };
                if let Some((pause, next)) = foreign.take(self, step) {
                    self.post(self.now + pause, Message::Foreign(next));
                }
                self.foreign = Some(foreign);
            }
        }
    }

    fn strike(&mut self, number: usize, blow: Blow) {
        match blow {
            Blow::Kill => {
                self.vanish(number);
                self.post(self.now + 3_000, Message::Start(number));
            }
            Blow::Stop => {
                if !self.candidates[number].finished {
                    self.tell(number, LeaseEvent::Stopping);
                }
                self.post(self.now + 8_000, Message::Start(number));
            }
            Blow::Nudge => {
                if !self.candidates[number].finished {
                    self.tell(number, LeaseEvent::Nudged);
                }
            }
            // Who never saw a Lease can't know that one was deleted, nor what it asked for before it saw one; and who looks every
            // few seconds may miss one that was there between two deletions.
            Blow::Delete => {
                let again = self.deleted > 0 && self.now < self.deleted + DELETIONS_APART;
                let mut asked = self.queue.values();
                let asked = asked.any(|message| {
                    matches!(message, Message::ToServer(_, _, LeaseEffect::Create { .. }))
                });
                let knows = |one: &Candidate| one.lease.holder().is_some();
                let known = self.candidates.iter().all(knows) && !asked;
                if known && !again && self.stored.take().is_some() {
                    self.deleted = self.now;
                    self.show();
                }
            }
        }
    }

    fn start(&mut self, number: usize) {
        if self.stored.is_none() && self.now < self.deleted + LONGEST_LEAD {
            // The same: until nobody leads any more.
            return self.post(self.now + 1_000, Message::Start(number));
        }
        let candidate = &mut self.candidates[number];
        candidate.lease = self::candidate(number);
        candidate.life += 1;
        candidate.told = (0, 0);
        candidate.finished = false;
        self.post(self.now, Message::Wake(number));
    }
}

fn candidate(number: usize) -> Lease {
    Lease::new(format!("candidate-{number}"), LeaseTiming::default())
}
