//! A candidate that is none of ours: client-go's, as KEDA's operator has it. It is read from client-go's documentation and
//! behaviour, and differs from ours: it counts itself leader from the *answer* of its last renewal on.

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::LeaseRecord;

use crate::election::Election;

const RETRY: u64 = 2_000;
/// It waits its retry period after a renewal, and then tries for its renew deadline.
const LEADS_ON: u64 = RETRY + 10_000;
const NAME: &str = "keda";

pub enum Step {
    Try,
    Read,
    Found(Option<(LeaseRecord, u64)>),
    Write(LeaseRecord, Option<u64>),
    Written(Option<LeaseRecord>),
}

pub struct Foreign {
    observed: Option<(LeaseRecord, u64)>,
    leading_until: u64,
    /// How long each message takes, in turn. Short enough that it doesn't break its own rules.
    delays: Vec<u64>,
    drawn: usize,
    renewals: i64,
}

impl Foreign {
    pub fn new(delays: Vec<u64>) -> Self {
        Self {
            observed: None,
            leading_until: 0,
            delays,
            drawn: 0,
            renewals: 0,
        }
    }

    pub fn leads(&self, now: u64) -> bool {
        now < self.leading_until
    }

    fn delay(&mut self) -> u64 {
        self.drawn += 1;
        self.delays[self.drawn % self.delays.len()]
    }

    /// Takes one step; gives the next, and after how many milliseconds.
    pub fn take(&mut self, election: &mut Election, step: Step) -> Option<(u64, Step)> {
        let now = election.now;
        Some(match step {
            Step::Try => (self.delay(), Step::Read),
            Step::Read => (self.delay(), Step::Found(election.stored.clone())),
            Step::Found(found) => {
                if let Some((record, _)) = &found
                    && self.observed.as_ref().map(|(seen, _)| seen) != Some(record)
                {
                    self.observed = Some((record.clone(), now));
                }
                let held = self.observed.as_ref().is_some_and(|(record, since)| {
                    let millis = record.lease_duration.as_millis().max(0);
                    let held_until = since + u64::try_from(millis).unwrap();
                    !record.holder.is_empty() && record.holder != NAME && held_until > now
                });
                if held {
                    return Some((RETRY + self.delay(), Step::Try));
                }
                self.renewals += 1;
                // A clock of its own, which nobody compares.
                let time = Timestamp::from_second(self.renewals).unwrap();
                let record = LeaseRecord {
                    holder: NAME.into(),
                    lease_duration: SignedDuration::from_secs(15),
                    acquired_at: time,
                    renewed_at: time,
                    transitions: 0,
                };
                let version = found.map(|(_, version)| version);
                (self.delay(), Step::Write(record, version))
            }
            Step::Write(record, version) => {
                let written = election.store(record.clone(), version).map(|_| record);
                (self.delay(), Step::Written(written))
            }
            Step::Written(written) => {
                if let Some(record) = written {
                    self.observed = Some((record, now));
                    self.leading_until = now + LEADS_ON;
                }
                (RETRY + self.delay(), Step::Try)
            }
        })
    }
}
