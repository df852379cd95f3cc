//! Prescaling through time: what a reader of Events and conditions sees, and that nothing but the calendar lowers a floor.

mod properties;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::profile::tests::{at, occurrence, settings};
use super::*;
use crate::conditions::ConditionStatus;

/// One object with one trigger, as its cluster would show it.
struct Shop {
    triggers: Vec<Trigger>,
    startups: Vec<SignedDuration>,
    ready: Vec<Timestamp>,
    obstacle: Option<Obstacle>,
    max: i32,
    prescaling: Prescaling,
}

fn complete(known: &[Arc<Occurrence>]) -> Occurrences {
    Occurrences {
        known: known.into(),
        complete: true,
    }
}

impl Shop {
    fn new(settings: Settings, known: &[Arc<Occurrence>]) -> Self {
        Self {
            triggers: vec![Trigger {
                key: "sales".into(),
                settings,
                occurrences: complete(known),
            }],
            startups: Vec::new(),
            ready: Vec::new(),
            obstacle: None,
            max: 1000,
            prescaling: Prescaling::default(),
        }
    }

    fn know(&mut self, known: &[Arc<Occurrence>]) {
        self.triggers[0].occurrences = complete(known);
    }

    fn look(&mut self, second: i64) -> Prescaled {
        self.look_at(at(second))
    }

    fn look_at(&mut self, now: Timestamp) -> Prescaled {
        self.prescaling.advance(
            now,
            &Scene {
                triggers: &self.triggers,
                min_replica_count: 2,
                max_replica_count: self.max,
                startups: Some(&self.startups),
                replicas: Some(10),
                ready_since: Some(&self.ready),
                obstacle: self.obstacle.as_ref(),
                wanted_by_others: Some(37),
            },
        )
    }

    fn restart(&mut self) {
        self.prescaling = Prescaling::new(self.prescaling.runs().to_vec());
    }
}

fn reasons(prescaled: &Prescaled) -> Vec<&'static str> {
    prescaled.news.iter().map(|news| news.reason).collect()
}

/// Starts at 10000, ends at 20000: climbs from 8500 to 9100, holds until 20600, is gone at 22400.
fn sale() -> Arc<Occurrence> {
    occurrence("sale", 10_000, 20_000)
}

#[test]
fn a_sale_is_told_from_the_first_ramp_instant_to_the_report() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    let early = shop.look(0);
    assert_eq!((early.level.floor, early.next), (0, Some(at(8500))));
    assert_eq!(early.next_start, Some(at(10_000)));
    assert_eq!((early.condition, early.news.len()), (None, 0));

    let start = shop.look(8500);
    assert_eq!(start.level.floor, 20);
    assert!(start.remember);
    assert_eq!(
        start.news,
        [News {
            kind: crate::EventType::Normal,
            reason: "PrescaleStarted",
            message: "sale starts at 1970-01-01T02:46:40Z: the floor climbs from 20 to 100 replicas until \
                      1970-01-01T02:31:40Z, 15m before that"
                .into(),
        }]
    );
    assert_eq!(start.condition.unwrap().reason, "PodsNotReady");

    shop.ready = (0..100).map(|pod| at(9100 + pod)).collect();
    let ready = shop.look(9300);
    assert_eq!(reasons(&ready), ["PrescaleReady"]);
    assert_eq!(
        ready.news[0].message,
        "all 100 replicas for sale are Ready, 13m 21s before the start"
    );
    let condition = ready.condition.unwrap();
    assert_eq!(
        (condition.status, &*condition.reason, &*condition.message),
        (
            ConditionStatus::True,
            "FloorReady",
            "100 of 100 replicas for sale are Ready"
        )
    );
    shop.look(12_000);
    let end = shop.look(20_600);
    assert_eq!(reasons(&end), ["PrescaleEnded"]);
    let report = &end.reports[0];
    assert_eq!(
        (
            report.floor,
            report.needed_by_others,
            report.ready_before_start
        ),
        (100, 37, Some(SignedDuration::from_secs(801)))
    );
    assert!(report.pod_hours > 11_500.0 * 100.0 / 3600.0);
    assert_eq!(end.condition, None);
    assert_eq!((end.level.floor, end.level.active), (100, false));
    assert_eq!(shop.look(22_400).level.floor, 0);
    assert_eq!(shop.prescaling.runs(), []);
}

#[test]
fn pods_that_are_late_are_told_while_somebody_can_act() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(8500);
    shop.ready = vec![at(9000); 47];
    shop.obstacle = Some(Obstacle::Unschedulable {
        pods: 53,
        message: "0/12 nodes are available: 12 Insufficient cpu.".into(),
    });
    let complete = shop.look(9100);
    assert_eq!(
        complete.next,
        Some(at(9550)),
        "half of the lead time before the start"
    );
    assert_eq!(complete.condition.unwrap().reason, "Unschedulable");
    let late = shop.look(9550);
    assert_eq!(reasons(&late), ["PrescaleLate"]);
    assert_eq!(
        late.news[0].message,
        "47 of 100 replicas for sale are Ready 7m 30s before the start: 53 pods find no node with room: 0/12 nodes are \
         available: 12 Insufficient cpu."
    );
    assert_eq!(shop.look(9600).news, []);
    shop.obstacle = None;
    shop.ready = vec![at(10_030); 100];
    let ready = shop.look(10_040);
    assert_eq!(
        ready.news[0].message,
        "all 100 replicas for sale are Ready, 30s after the start"
    );
}

#[test]
fn a_maximum_below_the_floor_and_a_limit_are_told() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.max = 50;
    let limited = shop.look(9100);
    assert_eq!(limited.bounds, Bounds { min: 50, max: 50 });
    assert_eq!(reasons(&limited), ["PrescaleStarted", "PrescaleLimited"]);
    let condition = limited.condition.unwrap();
    assert_eq!(condition.reason, "LimitedByMaxReplicas");
    assert_eq!(
        condition.message,
        "the floor for sale is 100 replicas, but the maximum is 50: raise maxReplicaCount, or set maxReplicas in the trigger"
    );
    assert_eq!(shop.look(9200).news, []);

    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.triggers.push(Trigger {
        key: "batch".into(),
        settings: Settings {
            wish: Wish::Limit(4),
            ..settings(0)
        },
        occurrences: shop.triggers[0].occurrences.clone(),
    });
    let limited = shop.look(9100);
    assert_eq!(limited.bounds, Bounds { min: 4, max: 4 });
    assert_eq!(
        limited.condition.unwrap().message,
        "the floor for sale is 100 replicas, but limitReplicas 4 for sale wins over it"
    );
    let floors: Vec<_> = limited
        .triggers
        .iter()
        .map(|one| (one.floor, one.active))
        .collect();
    assert_eq!(floors, [(100, true), (0, false)]);
}

#[test]
fn what_is_taken_out_of_the_calendar_ramps_down_from_that_moment() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(8500);
    assert_eq!(shop.look(12_000).level.floor, 100);
    shop.know(&[]);
    let removed = shop.look(12_000);
    assert_eq!(removed.level.floor, 100);
    assert_eq!(reasons(&removed), ["PrescaleEnded"]);
    assert!(
        removed.news[0]
            .message
            .starts_with("sale is no longer in the calendar")
    );
    assert_eq!(shop.look(12_900).level.floor, 50);
    shop.restart();
    assert_eq!(shop.look(12_900).level.floor, 50);
    // It comes back: so does the floor.
    shop.know(&[sale()]);
    assert_eq!(shop.look(12_960).level.floor, 100);
    // Removed while it climbs, it falls from where it is.
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(8500);
    let climbed = shop.look(8800).level.floor;
    shop.know(&[]);
    assert_eq!(shop.look(8800).level.floor, climbed);
    assert!(shop.look(9700).level.floor < climbed);
    assert_eq!(shop.look(8800 + 1800).level.floor, 0);
}

#[test]
fn what_is_shortened_into_the_past_ramps_down_from_that_moment() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(8500);
    shop.know(&[occurrence("sale", 10_000, 11_000)]);
    let shortened = shop.look(15_000);
    assert_eq!(
        (shortened.level.floor, shortened.level.active),
        (100, false)
    );
    assert_eq!(shop.look(15_900).level.floor, 50);
    // Shortened to an end that is still to come, it simply ends there.
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(8500);
    shop.know(&[occurrence("sale", 10_000, 16_000)]);
    assert!(shop.look(15_000).level.active);
    assert_eq!(shop.look(16_600).level.floor, 100);
    assert_eq!(shop.look(17_500).level.floor, 50);
}

#[test]
fn what_is_put_off_falls_and_climbs_again_when_its_time_comes() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(9100);
    shop.know(&[occurrence("sale", 50_000, 60_000)]);
    let put_off = shop.look(9200);
    assert_eq!(put_off.level.floor, 100);
    assert_eq!(put_off.next_start, Some(at(50_000)));
    assert_eq!(shop.look(9200 + 1800).level.floor, 0);
    let again = shop.look(48_500);
    assert_eq!(
        (again.level.floor, reasons(&again)),
        (20, vec!["PrescaleStarted"])
    );
}

#[test]
fn a_hand_over_falls_from_what_it_holds_when_its_sales_change() {
    // The second climbs when the first one's hold ends: 100 is held between them.
    let sales = [
        occurrence("first", 10_000, 20_000),
        occurrence("second", 22_000, 30_000),
    ];
    for changed in [
        vec![],
        vec![occurrence("first", 10_000, 20_000)],
        // The first one's name is given to the second one's time.
        vec![occurrence("first", 22_000, 30_000)],
    ] {
        let mut shop = Shop::new(settings(100), &sales);
        for second in [8500, 20_500, 20_600] {
            shop.look(second);
        }
        assert_eq!(shop.look(20_900).level.floor, 100);
        shop.know(&changed);
        assert_eq!(shop.look(20_900).level.floor, 100, "{changed:?}");
    }
}

#[test]
fn an_unknown_calendar_leaves_a_running_sale_alone() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(8500);
    shop.restart();
    shop.triggers[0].occurrences = Occurrences::default();
    for (second, floor) in [
        (8800, 60),
        (9100, 100),
        (20_599, 100),
        (21_500, 50),
        (22_400, 0),
    ] {
        assert_eq!(shop.look(second).level.floor, floor, "{second}");
    }
}

#[test]
fn what_is_known_prescales_while_another_source_is_not_heard_of() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(8500);
    shop.triggers[0].occurrences = Occurrences {
        known: Arc::new([occurrence("inline", 15_000, 30_000)]),
        complete: false,
    };
    assert_eq!(shop.look(12_000).level.floor, 100);
    assert_eq!(shop.look(25_000).level.floor, 100);
}

#[test]
fn a_sale_whose_ramp_was_missed_has_its_whole_floor_at_once() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    let late = shop.look(15_000);
    assert_eq!(late.level.floor, 100);
    assert_eq!(reasons(&late), ["PrescaleStarted", "PrescaleLate"]);
    // One that is over does nothing.
    let mut shop = Shop::new(settings(100), &[sale()]);
    assert_eq!(shop.look(20_600).level.floor, 0);
    assert_eq!(shop.prescaling.runs(), []);
}

#[test]
fn the_lead_time_is_learnt_before_the_ramp_and_kept_from_then_on() {
    let auto = Settings {
        lead_time: LeadTime::Auto,
        ..settings(100)
    };
    let mut shop = Shop::new(auto, &[sale()]);
    assert_eq!(shop.look(0).next, Some(at(10_000 - 600 - 600)));
    shop.startups = vec![SignedDuration::from_mins(20); 5];
    let learnt = at(10_000 - 1830 - 600);
    assert_eq!(shop.look(0).next, Some(learnt));
    shop.look_at(learnt);
    // Faster pods, as every later one would be, move nothing now.
    shop.startups = vec![SignedDuration::from_secs(1); 50];
    assert_eq!(shop.look(10_000 - 1830).level.floor, 100);
}

#[test]
fn the_observed_baseline_is_that_of_before_the_ramp() {
    let observed = Settings {
        wish: Wish::Times(Factor::Fixed("3".parse().unwrap())),
        baseline: Baseline::Observed(SignedDuration::from_hours(1)),
        ..settings(0)
    };
    let mut shop = Shop::new(observed.clone(), &[sale()]);
    shop.prescaling.saw(at(0), 14);
    shop.look(8500);
    shop.prescaling.saw(at(8600), 300);
    assert_eq!(shop.look(9100).level.floor, 42);
    shop.restart();
    assert_eq!(shop.look(9100).level.floor, 42);
    // Nothing seen yet: the replicas that are there now.
    let mut shop = Shop::new(observed, &[sale()]);
    assert_eq!(shop.look(9100).level.floor, 30);
}

#[test]
fn the_sale_before_is_no_normal_day() {
    let observed = Settings {
        wish: Wish::Times(Factor::Fixed("3".parse().unwrap())),
        baseline: Baseline::Observed(SignedDuration::from_hours(1)),
        ..settings(0)
    };
    for restarted in [false, true] {
        let sales = [sale(), occurrence("next", 22_000, 30_000)];
        let mut shop = Shop::new(observed.clone(), &sales);
        shop.prescaling.saw(at(0), 14);
        for second in (8500..20_500).step_by(15) {
            let floor = shop.look(second).level.floor;
            shop.prescaling.saw(at(second), floor);
        }
        if restarted {
            shop.restart();
        }
        // Three times a normal day again, and not three times the sale.
        assert_eq!(shop.look(25_000).level.floor, 42, "restarted: {restarted}");
    }
}

#[test]
fn the_peak_before_a_hand_over_is_remembered_without_a_ramp_down() {
    let sudden = Settings {
        ramp_down: SignedDuration::ZERO,
        ..settings(100)
    };
    let mut shop = Shop::new(sudden, &[sale(), occurrence("next", 21_900, 30_000)]);
    let mut now = at(0);
    let mut lowest = 100;
    while let Some(next) = shop.look_at(now).next.filter(|next| *next < at(30_000)) {
        now = next;
        let floor = shop.look_at(now).level.floor;
        if now >= at(9100) {
            lowest = lowest.min(floor);
        }
    }
    assert_eq!(lowest, 100);
}

/// The measure: a thousand services on one calendar, all floors set at under a second of CPU. This is a debug build on a
/// busy machine, so the bound is wider.
#[test]
fn a_thousand_services_on_one_calendar_cost_little() {
    let calendar: Vec<_> = (0..100)
        .map(|n| occurrence(&n.to_string(), 10_000 + n * 90_000, 17_000 + n * 90_000))
        .collect();
    let mut shops: Vec<_> = (0..1000)
        .map(|_| Shop::new(settings(100), &calendar))
        .collect();
    let start = std::time::Instant::now();
    let mut looks = 0;
    for shop in &mut shops {
        let mut now = at(8000);
        while let Some(next) = shop.look_at(now).next.filter(|next| *next <= at(9100)) {
            now = next;
            looks += 1;
        }
        assert_eq!(shop.look(9100).level.floor, 100);
    }
    assert!(looks >= 40_000, "{looks}: every step of the ramp");
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}

#[test]
fn what_the_status_holds_survives_being_written_and_read() {
    let mut shop = Shop::new(settings(100), &[sale()]);
    shop.look(8500);
    shop.know(&[]);
    shop.look(9000);
    let text = serde_json::to_string(shop.prescaling.runs()).unwrap();
    let read: Vec<Run> = serde_json::from_str(&text).unwrap();
    assert_eq!(read, shop.prescaling.runs());
}
