//! What holds whatever happens: over made-up calendars, restarts, and calendars that are lost for a while.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::profile::tests::{at, occurrence, settings};
use super::super::*;
use super::{Shop, reasons};

#[derive(Clone, Debug)]
enum Doing {
    Look,
    Restart,
    LoseTheCalendar,
    FindTheCalendar,
}

fn anything() -> impl Strategy<Value = (i64, Doing)> {
    let doing = prop_oneof![
        3 => Just(Doing::Look),
        1 => Just(Doing::Restart),
        1 => Just(Doing::LoseTheCalendar),
        1 => Just(Doing::FindTheCalendar),
    ];
    (1i64..900, doing)
}

fn any_calendar() -> impl Strategy<Value = Vec<Arc<Occurrence>>> {
    proptest::collection::vec((9_000i64..30_000, 600i64..9000), 1..5).prop_map(|times| {
        let mut list: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(n, (start, length))| occurrence(&n.to_string(), *start, start + length))
            .collect();
        list.sort_by_key(|one| one.start);
        list
    })
}

/// Compares the two where they know the same sales; the one that knows fewer is never higher.
fn same_floor(steady: &mut Shop, shaken: &mut Shop, now: Timestamp) -> Result<(), TestCaseError> {
    let (floor, other) = (
        steady.look_at(now).level.floor,
        shaken.look_at(now).level.floor,
    );
    let runs = |shop: &Shop| -> Vec<String> {
        let mut ids: Vec<_> = shop
            .prescaling
            .runs()
            .iter()
            .map(|run| run.occurrence.id.clone())
            .collect();
        ids.sort();
        ids
    };
    if runs(steady) == runs(shaken) {
        prop_assert_eq!(floor, other, "at {}", now);
    }
    prop_assert!(other <= floor);
    Ok(())
}

/// So many in a test run; as many as PROPTEST_CASES says where somebody looks for more.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig::with_cases(asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual))
}

proptest! {
    #![proptest_config(cases(64))]

    /// One operator looks at every instant that it is told; another looks at odd times, restarts, and loses the calendar for a
    /// while. Wherever both look, they set the same floor; unless a sale began while the calendar was lost.
    #[test]
    fn restarts_and_lost_calendars_change_no_floor(
        calendar in any_calendar(), trace in proptest::collection::vec(anything(), 1..120), sum in any::<bool>(),
    ) {
        let overlap = if sum { Overlap::Sum } else { Overlap::Max };
        let settings = Settings { overlap, ..settings(100) };
        let mut steady = Shop::new(settings.clone(), &calendar);
        let mut shaken = Shop::new(settings, &calendar);
        let mut now = at(5000);
        for (pause, doing) in trace {
            let until = now + SignedDuration::from_secs(pause);
            while let Some(next) = steady.look_at(now).next.filter(|next| *next < until) {
                same_floor(&mut steady, &mut shaken, next)?;
                now = next;
            }
            now = until;
            match doing {
                Doing::Look => {}
                Doing::Restart => shaken.restart(),
                Doing::LoseTheCalendar => shaken.triggers[0].occurrences = Occurrences::default(),
                Doing::FindTheCalendar => shaken.know(&calendar),
            }
            same_floor(&mut steady, &mut shaken, now)?;
        }
    }

    /// What a plan says beforehand is what happens.
    #[test]
    fn a_plan_is_what_happens(calendar in any_calendar(), sum in any::<bool>(), sudden in any::<bool>()) {
        let settings = Settings {
            overlap: if sum { Overlap::Sum } else { Overlap::Max },
            ramp_down: if sudden { SignedDuration::ZERO } else { SignedDuration::from_mins(30) },
            ..settings(100)
        };
        let mut shop = Shop::new(settings, &calendar);
        let assumed = Assumed { baseline: 1, lead: SignedDuration::ZERO };
        let plan = Timeline::planned(&shop.triggers, assumed);
        let mut now = at(0);
        for step in plan.steps(at(0), at(60_000)) {
            // An operator looks when it is told to, and so comes by here.
            while let Some(next) = shop.look_at(now).next.filter(|next| *next <= step.at) {
                now = next;
            }
            let level = shop.look_at(step.at).level;
            prop_assert_eq!((level.floor, level.active), (step.level.floor, step.level.active), "at {}", step.at);
            now = step.at;
        }
        prop_assert_eq!(shop.look(60_000).level.floor, 0);
    }

    /// Whatever the calendar says next, a floor that holds only falls step by step: never at once by more than its ramp does.
    #[test]
    fn a_changed_calendar_never_drops_a_floor_at_once(
        before in any_calendar(), changed in any_calendar(), second in 8000i64..30_000,
    ) {
        let mut shop = Shop::new(settings(100), &before);
        let mut now = at(5000);
        while let Some(next) = shop.look_at(now).next.filter(|next| *next < at(second)) {
            now = next;
        }
        let floor = shop.look(second).level.floor;
        shop.know(&changed);
        prop_assert!(shop.look(second).level.floor >= floor);
    }

    #[test]
    fn each_sale_is_started_and_ended_once(calendar in any_calendar()) {
        let mut shop = Shop::new(settings(100), &calendar);
        let mut now = at(0);
        let mut told = Vec::new();
        loop {
            let prescaled = shop.look_at(now);
            told.extend(reasons(&prescaled));
            let Some(next) = prescaled.next else { break };
            prop_assert!(next > now);
            now = next;
            shop.restart();
        }
        let count = |reason: &str| told.iter().filter(|one| **one == reason).count();
        prop_assert_eq!(count("PrescaleStarted"), calendar.len());
        prop_assert_eq!(count("PrescaleEnded"), calendar.len());
        prop_assert_eq!(count("PrescaleLate"), calendar.len());
        prop_assert_eq!(shop.prescaling.runs().len(), 0);
    }
}
