//! Candidates for one lease: never two lead, in the end one does, and soon.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sakidori_engine::{Lease, LeaseEffect, LeaseEvent, LeaseRecord, LeaseTiming, StoredLease};

use crate::election::{Blow, Clock, Election};
use crate::foreign::Foreign;

fn clocks(rate: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Vec<Clock>> {
    let clock =
        (-100_000_000..100_000_000_i64, rate).prop_map(|(start, rate)| Clock { start, rate });
    prop::collection::vec(clock, 1..4)
}

fn delays() -> impl Strategy<Value = Vec<Option<u64>>> {
    let delay = prop_oneof![
        6 => (0..500_u64).prop_map(Some),
        2 => (500..20_000_u64).prop_map(Some),
        1 => Just(None),
    ];
    prop::collection::vec(delay, 1..60)
}

fn blows(kinds: &'static [Blow]) -> impl Strategy<Value = Vec<(u64, usize, Blow)>> {
    let blow = (0..170_000_u64, 0..3_usize, prop::sample::select(kinds));
    prop::collection::vec(blow, 0..12)
}

/// Runs it in all adversity, then in peace; in the end one leads, and each was told when it started and stopped.
fn run(mut election: Election, blows: Vec<(u64, usize, Blow)>) -> Result<(), TestCaseError> {
    for (at, number, blow) in blows {
        election.blow(at, number % election.candidates.len(), blow);
    }
    election.run_until(180_000);
    election.delays.clear();
    election.run_until(260_000);
    let leaders = election.leaders();
    prop_assert_eq!(leaders.len(), 1);
    for (number, one) in election.candidates.iter().enumerate() {
        let ((started, stopped), leads) = (one.told, leaders.contains(&number));
        prop_assert_eq!(started, stopped + u32::from(leads), "candidate {}", number);
    }
    Ok(())
}

const BLOWS: &[Blow] = &[Blow::Kill, Blow::Stop, Blow::Nudge, Blow::Delete];
const BLOWS_BUT_DELETION: &[Blow] = &[Blow::Kill, Blow::Stop, Blow::Nudge];

proptest! {
    #![proptest_config(crate::cases(512))]

    /// Clocks are a fifth too slow or too fast, or nearly: 10 s by the slowest are less than 15 s by the fastest.
    #[test]
    fn there_are_never_two_leaders_and_in_the_end_there_is_one(
        clocks in clocks(810..=1190),
        delays in delays(),
        blows in blows(BLOWS),
        watched in any::<bool>(),
    ) {
        let mut election = Election::new(&clocks, delays);
        election.watched = watched;
        run(election, blows)?;
    }

    /// client-go's candidate leads nearly as long as its lease lasts, so clocks may hardly differ. It also makes a Lease anew
    /// that was deleted, though somebody may lead.
    #[test]
    fn kedas_operator_never_leads_beside_one_of_ours(
        clocks in clocks(990..=1010),
        delays in delays(),
        joins in 0..60_000_u64,
        its_delays in prop::collection::vec(0..700_u64, 1..20),
        blows in blows(BLOWS_BUT_DELETION),
    ) {
        let mut election = Election::new(&clocks, delays);
        election.join(joins, Foreign::new(its_delays));
        run(election, blows)?;
    }
}

/// True clocks that are years apart.
fn election(starts: &[i64]) -> Election {
    let clock = |start: &i64| Clock {
        start: *start,
        rate: 1000,
    };
    let clocks: Vec<Clock> = starts.iter().map(clock).collect();
    Election::new(&clocks, Vec::new())
}

#[test]
fn a_leader_that_stops_hands_over_without_a_wait() {
    for watched in [true, false] {
        let mut election = election(&[0, 50_000_000]);
        election.watched = watched;
        election.run_until(30_000);
        let leader = election.leaders()[0];
        election.tell(leader, LeaseEvent::Stopping);
        assert!(election.leaders().is_empty(), "it stops before it releases");
        if !watched {
            election.run_until(30_100);
            election.tell(1 - leader, LeaseEvent::Nudged);
        }
        election.run_until(30_300);
        assert!(election.candidates[leader].finished);
        assert_eq!(election.leaders(), [1 - leader], "watched: {watched}");
        let (record, _) = election.stored.as_ref().unwrap();
        assert_eq!(
            (&*record.holder, record.transitions),
            (&*format!("candidate-{}", 1 - leader), 1)
        );
    }
}

#[test]
fn a_leader_that_vanishes_is_followed_when_its_lease_ends() {
    // At any moment between two renewals.
    for vanishes in (30_000..32_000).step_by(100) {
        for (watched, at_most) in [(true, 15_200), (false, 15_200 + 4_400)] {
            let mut election = election(&[0, -70_000_000, 12]);
            election.watched = watched;
            election.run_until(vanishes);
            let leader = election.leaders()[0];
            election.vanish(leader);
            election.run_until(vanishes + 12_900);
            assert!(election.leaders().is_empty(), "it may still lead");
            election.run_until(vanishes + at_most);
            assert_eq!(
                election.leaders().len(),
                1,
                "watched: {watched}, {vanishes}"
            );
        }
    }
}

#[test]
fn a_steady_leader_costs_one_write_per_retry_period_and_a_watch_saves_its_followers_reads() {
    let mut election = election(&[0]);
    election.run_until(60_000);
    let version = election.version;
    assert!((28..=31).contains(&version), "{version} writes in a minute");
    assert_eq!(election.candidates[0].told, (1, 0));
    assert!(election.acts > 0, "it acts");
}

#[test]
fn a_deleted_lease_is_made_anew_by_its_leader() {
    let mut election = election(&[0, 7]);
    election.run_until(30_000);
    let leader = election.leaders()[0];
    election.blow(30_500, 0, Blow::Delete);
    election.run_until(33_000);
    assert_eq!(election.leaders(), [leader]);
    assert_eq!(election.candidates[leader].told, (1, 0), "it never stopped");
    // Without a leader, it is taken after as long as one would have led on.
    election.blow(80_000, 0, Blow::Delete);
    election.run_until(80_010);
    election.vanish(leader);
    election.run_until(94_000);
    assert!(election.leaders().is_empty());
    election.run_until(96_000);
    assert_eq!(election.leaders(), [1 - leader]);
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

/// When a candidate asks for a lease that it first sees now, with that `leaseDurationSeconds`.
fn waits_for(lease_duration: i64) -> SignedDuration {
    let mut lease = Lease::new("a", LeaseTiming::default());
    let start = Timestamp::UNIX_EPOCH;
    let found = Some(StoredLease {
        record: LeaseRecord {
            holder: "keda".into(),
            lease_duration: SignedDuration::from_secs(lease_duration),
            acquired_at: start,
            renewed_at: start,
            transitions: 3,
        },
        version: "7".into(),
    });
    let mut now = start;
    loop {
        let effects = lease.handle(now, LeaseEvent::Woke);
        let [LeaseEffect::Read { attempt }] = effects[..] else {
            panic!("{effects:?}");
        };
        let found = found.clone();
        let effects = lease.handle(now, LeaseEvent::Read { attempt, found });
        if let [LeaseEffect::Update { record, .. }] = &effects[..] {
            assert_eq!((&*record.holder, record.transitions), ("a", 4));
            return now.duration_since(start);
        }
        assert_eq!(effects, []);
        now = lease.next_wakeup().unwrap();
        if now.duration_since(start) > SignedDuration::from_hours(1) {
            return SignedDuration::MAX;
        }
    }
}

#[test]
fn a_lease_lasts_as_long_as_its_holder_declares_and_as_ours_where_that_makes_no_sense() {
    for (declared, from) in [(0, 15), (-5, 15), (1, 1), (15, 15), (60, 60)] {
        let waited = waits_for(declared);
        let soon = SignedDuration::from_secs(from)..=SignedDuration::from_millis(from * 1000 + 100);
        assert!(soon.contains(&waited), "{waited} for {declared} s");
    }
    assert_eq!(waits_for(i64::from(i32::MAX)), SignedDuration::MAX);
}
