//! What goes wrong around a sale, and what people do in the middle of one: no floor is missing, late, lower or higher for it than it
//! should be, and what is told of it stays true.

use sakidori_engine::prescale::{Factor, Overlap};
use sakidori_engine::{Fallback, FallbackBehavior, Formula, Modifiers};

use super::*;

fn triple() -> Settings {
    Settings {
        wish: Wish::Times(Factor::Fixed("3".parse().unwrap())),
        baseline: Baseline::Observed(SignedDuration::from_hours(1)),
        ..floor(1)
    }
}

fn reports(shop: &Shop) -> Vec<(i32, Option<i64>)> {
    let reports = &shop.status.as_ref().unwrap().prescale.reports;
    let report = reports
        .iter()
        .map(|one| (one.floor, one.ready_before_start.map(|it| it.as_secs())));
    report.collect()
}

// ---- What a floor is made of

#[test]
fn a_baseline_waits_for_the_replicas_that_a_start_has_to_read() {
    // The operator starts a second before the ramp: nobody has polled yet when it begins.
    let mut shop = Shop::opened(0, 4, vec![triple()], known(&[sale("a", 1000, 2000)]));
    shop.queue = 40;
    shop.edit(|object| object.polling_interval = SignedDuration::from_hours(1));
    shop.go_to(839);
    shop.status = None;
    shop.restart();
    shop.go_to(840);
    assert_eq!(shop.bounds(), (4, 20));
    shop.go_to(900);
    assert_eq!(shop.bounds(), (12, 20));
}

#[test]
fn a_start_within_a_sale_lowers_no_bound_before_the_target_is_read() {
    let mut shop = Shop::opened(0, 4, vec![triple()], known(&[sale("a", 1000, 2000)]));
    shop.queue = 40;
    shop.go_to(1500);
    assert_eq!(shop.bounds(), (12, 20));
    // Not even the status tells of the sale.
    shop.status = None;
    let before = shop.set.len();
    shop.restart();
    shop.go_to(1510);
    let set = &shop.set[before..];
    assert!(set.iter().all(|(_, min, _)| *min >= 12), "{set:?}");
}

#[test]
fn an_object_that_is_made_within_a_sale_has_the_whole_floor_at_once() {
    for (settings, min) in [(floor(10), 10), (triple(), 12)] {
        let calendar = known(&[sale("a", 1000, 2000)]);
        let shop = Shop::opened(1500, 4, vec![settings], calendar);
        assert_eq!(shop.bounds(), (min, 20));
    }
    // One that is made while the floor would fall has none.
    let shop = Shop::opened(2080, 4, vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    assert_eq!(shop.bounds(), (0, 20));
}

#[test]
fn a_multiple_of_a_target_that_sleeps_is_one_of_a_replica() {
    let mut shop = Shop::new(vec![triple()], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1000);
    assert_eq!((shop.replicas, shop.bounds()), (3, (3, 20)));
    // An event that says nothing brings the normal demand.
    let silent = Settings {
        wish: Wish::Times(Factor::OfEvent),
        ..triple()
    };
    let mut shop = Shop::new(vec![silent], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1000);
    assert_eq!((shop.replicas, shop.bounds()), (1, (1, 20)));
}

#[test]
fn another_name_for_a_trigger_is_no_reason_to_begin_anew() {
    for restarted in [false, true] {
        let mut shop = Shop::opened(0, 4, vec![triple()], known(&[sale("a", 1000, 2000)]));
        shop.queue = 40;
        shop.go_to(1500);
        assert_eq!(shop.bounds(), (12, 20));
        if restarted {
            shop.engine = Engine::default();
        }
        // The status now shows the sale's replicas, which are no baseline.
        shop.keys = Some(vec!["renamed"]);
        shop.edit(|_| {});
        shop.go_to(1600);
        assert_eq!(shop.bounds(), (12, 20), "restarted: {restarted}");
        assert_eq!(shop.times("PrescaleStarted").len(), 1);
        shop.go_to(3000);
        assert_eq!(shop.bounds(), (0, 20));
        assert_eq!(reports(&shop).len(), 1);
    }
}

#[test]
fn a_trigger_that_is_renamed_while_the_calendar_is_away_has_its_floor_when_it_is_back() {
    let sales = known(&[sale("a", 1000, 2000)]);
    let mut shop = Shop::opened(0, 4, vec![triple()], sales.clone());
    shop.queue = 40;
    shop.go_to(1500);
    shop.calendar = Occurrences::default();
    shop.keys = Some(vec!["renamed"]);
    shop.engine = Engine::default();
    shop.edit(|_| {});
    shop.calendar(sales);
    assert_eq!(shop.bounds(), (12, 20));
}

#[test]
fn a_trigger_that_is_taken_out_takes_its_floor_along_and_one_that_is_put_in_has_it_at_once() {
    let mut shop = Shop::new(vec![floor(10), floor(15)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    assert_eq!(shop.bounds(), (15, 20));
    shop.settings.pop();
    shop.edit(|object| object.trigger_count = 2);
    assert_eq!(shop.bounds(), (10, 20));
    shop.settings.push(floor(18));
    shop.edit(|object| object.trigger_count = 3);
    assert_eq!(shop.bounds(), (18, 20));
    shop.settings.clear();
    shop.edit(|object| object.trigger_count = 1);
    assert_eq!(shop.bounds(), (0, 20));
    assert!(shop.status.as_ref().unwrap().prescale.runs.is_empty());
}

#[test]
fn triggers_of_one_calendar_with_one_selector_are_two() {
    let mut shop = Shop::new(vec![floor(10), floor(15)], known(&[sale("a", 1000, 2000)]));
    shop.keys = Some(vec!["/sales?", "/sales?+"]);
    shop.go_to(2300);
    assert_eq!(
        reports(&shop).iter().map(|one| one.0).collect::<Vec<_>>(),
        [10, 15]
    );
    assert_eq!(shop.times("PrescaleStarted").len(), 2);
}

// ---- A target at zero

#[test]
fn a_formula_does_not_keep_a_target_at_zero_from_its_floor() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.edit(|object| {
        object.modifiers = Some(Modifiers {
            formula: Ok(Formula::compile("queue * 2", &["", "queue"]).unwrap()),
            target: 10.0,
            target_type: TargetType::AverageValue,
            activation_target: 5.0,
        });
    });
    shop.go_to(840);
    assert_eq!((shop.replicas, shop.bounds()), (2, (2, 20)));
    // A formula that can't be evaluated neither.
    shop.queue_fails = true;
    shop.replicas = 0;
    shop.go_to(1000);
    assert_eq!((shop.replicas, shop.bounds()), (10, (10, 20)));
    shop.queue_fails = false;
    shop.go_to(3000);
    assert_eq!((shop.replicas, shop.bounds()), (0, (0, 20)));
}

#[test]
fn a_target_at_zero_that_cannot_be_read_or_written_is_tried_again_soon() {
    for readable in [false, true] {
        let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
        shop.edit(|object| object.polling_interval = SignedDuration::from_hours(1));
        shop.go_to(839);
        (shop.readable, shop.writable) = (readable, false);
        shop.go_to(860);
        assert_eq!(shop.replicas, 0);
        (shop.readable, shop.writable) = (true, true);
        shop.go_to(866);
        assert!(shop.replicas >= 2, "readable: {readable}");
        // And nobody goes on asking once it is up.
        shop.go_to(2500);
        assert!(shop.engine.next_wakeup().unwrap() > at(2600));
    }
}

#[test]
fn an_idle_target_comes_up_for_the_sale_and_goes_back() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.edit(|object| {
        object.min_replicas = 3;
        object.idle_replicas = Some(0);
    });
    shop.go_to(839);
    assert_eq!(shop.replicas, 0);
    shop.go_to(840);
    assert_eq!((shop.replicas, shop.bounds()), (3, (3, 20)));
    shop.go_to(2109);
    assert!(shop.replicas >= 3);
    shop.go_to(2300);
    assert_eq!((shop.replicas, shop.bounds()), (0, (3, 20)));
}

// ---- Fallback

#[test]
fn a_fallback_of_another_trigger_leaves_the_floor_alone() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.edit(|object| {
        object.fallback = Some(Fallback {
            failure_threshold: 1,
            replicas: 4,
            behavior: FallbackBehavior::Static,
        });
    });
    shop.queue_fails = true;
    shop.go_to(1500);
    assert_eq!((shop.replicas, shop.bounds()), (10, (10, 20)));
    let served = shop.served["s0-sale-calendar-sales"].clone();
    assert_eq!(served, Ok(Quantity::from_integer(10)));
    assert!(shop.served["queue"].is_ok());
    shop.restart();
    shop.go_to(2049);
    assert_eq!((shop.replicas, shop.bounds()), (10, (10, 20)));
}

// ---- What people do to an object within a sale

#[test]
fn edits_of_the_floor_and_the_bounds_count_at_once() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    shop.settings[0].wish = Wish::Replicas(14);
    shop.edit(|_| {});
    assert_eq!(shop.bounds(), (14, 20));
    shop.settings[0].wish = Wish::Replicas(7);
    shop.edit(|_| {});
    assert_eq!(shop.bounds(), (7, 20));
    shop.edit(|object| object.max_replicas = 5);
    assert_eq!(shop.bounds(), (5, 5));
    shop.edit(|object| (object.min_replicas, object.max_replicas) = (9, 30));
    assert_eq!(shop.bounds(), (9, 30));
}

#[test]
fn a_pause_that_ends_after_the_sale_sets_no_floor() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    shop.edit(|object| object.switches.pause = Some(Pause::Whole));
    shop.go_to(5000);
    assert_eq!(shop.replicas, 10);
    let sets = shop.set.len();
    shop.edit(|object| object.switches.pause = None);
    assert_eq!(shop.bounds(), (0, 20));
    assert_eq!(shop.set.len(), sets + 1);
    // The same where the operator was restarted within the pause, and where the sale still runs.
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    shop.edit(|object| object.switches.pause = Some(Pause::Whole));
    shop.restart();
    shop.go_to(1600);
    shop.edit(|object| object.switches.pause = None);
    assert_eq!((shop.replicas, shop.bounds()), (10, (10, 20)));
}

// ---- Calendars

#[test]
fn a_calendar_that_is_deleted_and_made_again_moves_nothing() {
    let sales = known(&[sale("a", 1000, 2000)]);
    let mut shop = Shop::new(vec![floor(10)], sales.clone());
    shop.go_to(870);
    let before = shop.bounds();
    for restarted in [false, true] {
        shop.calendar(Occurrences::default());
        if restarted {
            shop.restart();
        }
        assert_eq!(shop.bounds(), before);
        shop.calendar(sales.clone());
        assert_eq!(shop.bounds(), before);
    }
    shop.go_to(900);
    assert_eq!(shop.bounds(), (10, 20));
    // Under another kind the triggers are known by another key.
    shop.keys = Some(vec!["SaleCalendar/sales?"]);
    shop.edit(|_| {});
    assert_eq!(shop.bounds(), (10, 20));
    assert_eq!(shop.times("PrescaleStarted").len(), 1);
}

#[test]
fn a_sale_that_goes_on_after_its_end_has_one_report_of_all_of_it() {
    let ways: [(&[i64], i64); 2] = [(&[2080], 2500), (&[1500, 1530], 2000)];
    for (when, end) in ways {
        let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
        shop.ready = Some(vec![at(905); 10]);
        shop.go_to(when[0]);
        if let [_, back] = *when {
            shop.calendar(known(&[]));
            shop.go_to(back);
        }
        assert!(shop.bounds().0 < 10, "it falls");
        shop.calendar(known(&[sale("a", 1000, end)]));
        assert_eq!(shop.bounds(), (10, 20));
        shop.go_to(end + 49);
        assert_eq!(shop.bounds(), (10, 20));
        shop.go_to(end + 200);
        assert_eq!(shop.bounds(), (0, 20));
        assert_eq!(shop.times("PrescaleEnded").last(), Some(&(end + 50)));
        assert_eq!(shop.times("PrescaleStarted").len(), 1);
        assert_eq!(reports(&shop), [(10, Some(95))]);
    }
}

#[test]
fn a_clock_that_is_behind_after_a_restart_takes_no_floor_away() {
    for (second, behind) in [(850, 20), (1500, 700), (1500, 50_000)] {
        let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
        shop.go_to(second);
        let before = shop.bounds();
        shop.now = at(second - behind);
        shop.restart();
        assert!(shop.bounds().0 >= 2, "at {second}");
        if second > 900 {
            assert_eq!(shop.bounds(), before);
        }
        shop.go_to(3000);
        assert_eq!(shop.bounds(), (0, 20));
    }
}

#[test]
fn a_clock_that_was_ahead_for_a_while_ends_no_other_sale() {
    let sales = known(&[sale("now", 1000, 9000), sale("later", 10_000, 20_000)]);
    let mut shop = Shop::new(vec![floor(10)], sales);
    shop.go_to(1500);
    // Three hours ahead: the later one has begun to climb, and the first is about to end.
    shop.now = at(9950);
    shop.restart();
    assert_eq!(shop.bounds(), (10, 20));
    shop.now = at(1600);
    shop.restart();
    shop.go_to(20_049);
    assert_eq!(shop.bounds(), (10, 20));
    shop.go_to(21_000);
    assert_eq!(shop.bounds(), (0, 20));
}

// ---- Proof

#[test]
fn a_floor_that_is_raised_before_the_start_has_to_be_proved_again() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.ready = Some(vec![at(905); 10]);
    shop.go_to(930);
    assert_eq!(shop.times("PrescaleReady").len(), 1);
    shop.settings[0].wish = Wish::Replicas(15);
    shop.edit(|_| {});
    shop.go_to(999);
    assert_eq!(shop.times("PrescaleReady").len(), 1);
    assert_eq!(shop.times("PrescaleLate"), [950]);
    let ready = [vec![at(905); 10], vec![at(1005); 5]].concat();
    shop.ready = Some(ready);
    shop.go_to(1500);
    assert_eq!(shop.times("PrescaleReady").len(), 2);
    // What is raised within the sale was not there at its start for nobody's fault.
    shop.settings[0].wish = Wish::Replicas(18);
    shop.edit(|_| {});
    shop.go_to(3000);
    assert_eq!(shop.times("PrescaleLate").len(), 1);
    assert_eq!(reports(&shop), [(18, Some(-5))]);
}

#[test]
fn pods_of_an_earlier_sale_are_no_proof_of_the_next() {
    let sudden = Settings {
        ramp_up: SignedDuration::ZERO,
        ..floor(10)
    };
    let sales = known(&[sale("a", 1000, 2000), sale("b", 4000, 5000)]);
    let mut shop = Shop::new(vec![sudden], sales);
    shop.ready = Some(vec![at(905); 10]);
    shop.go_to(3000);
    assert_eq!(shop.times("PrescaleReady").len(), 1);
    // They are gone, and nobody has looked since.
    shop.ready = Some(Vec::new());
    shop.go_to(3950);
    assert_eq!(shop.times("PrescaleReady").len(), 1);
    assert_eq!(shop.times("PrescaleLate"), [3950]);
}

#[test]
fn nobody_goes_on_seeing_a_floor_that_is_no_more() {
    let edits: [fn(&mut Shop); 2] = [
        |shop| shop.edit(|object| object.switches.pause = Some(Pause::Whole)),
        |shop| {
            shop.settings.clear();
            shop.edit(|object| object.trigger_count = 1);
        },
    ];
    for edit in edits {
        let sales = known(&[sale("a", 1000, 2000), sale("b", 4000, 5000)]);
        let mut shop = Shop::new(vec![floor(10)], sales);
        shop.go_to(1500);
        assert_eq!(shop.shown, Some((10, Some(at(4000)))));
        edit(&mut shop);
        assert_eq!(shop.shown, Some((0, None)));
    }
}

#[test]
fn pods_of_one_sale_are_no_proof_of_another_where_they_add_up() {
    let sum = |replicas| Settings {
        overlap: Overlap::Sum,
        ..floor(replicas)
    };
    let mut shop = Shop::new(vec![sum(10), sum(6)], known(&[sale("a", 1000, 2000)]));
    shop.ready = Some(vec![at(905); 10]);
    shop.go_to(940);
    assert_eq!(shop.bounds(), (16, 20));
    assert_eq!(shop.times("PrescaleReady").len(), 0);
    shop.go_to(960);
    assert_eq!(shop.times("PrescaleLate").len(), 2);
    shop.ready = Some(vec![at(970); 16]);
    shop.go_to(980);
    assert_eq!(shop.times("PrescaleReady").len(), 2);
}

// ---- All of it together

#[derive(Clone, Copy, Debug)]
enum Happens {
    Restart,
    CalendarLost,
    CalendarBack,
    Renamed(bool),
    Readable(bool),
    Writable(bool),
    QueueFails(bool),
    PodsReadable(bool),
    Queue(u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Restart),
        1 => Just(Happens::CalendarLost),
        2 => Just(Happens::CalendarBack),
        1 => any::<bool>().prop_map(Happens::Renamed),
        1 => any::<bool>().prop_map(Happens::Readable),
        1 => any::<bool>().prop_map(Happens::Writable),
        1 => any::<bool>().prop_map(Happens::QueueFails),
        1 => any::<bool>().prop_map(Happens::PodsReadable),
        1 => (0..200_u32).prop_map(Happens::Queue),
    ]
}

proptest! {
    #![proptest_config(crate::cases(64))]

    /// A floor that began as long as its calendar was known is at every instant what it is where nothing goes wrong.
    #[test]
    fn nothing_that_goes_wrong_moves_a_floor(
        sales in sales(), peak in 1..15_i32, sum in any::<bool>(),
        trace in prop::collection::vec((1..300_i64, happens()), 1..40),
    ) {
        let settings = Settings {
            overlap: if sum { Overlap::Sum } else { Overlap::Max },
            ..floor(peak)
        };
        let mut steady = Shop::new(vec![settings.clone()], known(&sales));
        let mut shaken = Shop::new(vec![settings], known(&sales));
        let mut second = 0;
        for (pause, happens) in trace {
            second += pause;
            steady.go_to(second);
            shaken.go_to(second);
            match happens {
                Happens::Restart => shaken.restart(),
                // What it knows stays, as a source that fails leaves it.
                Happens::CalendarLost => {
                    let known = shaken.calendar.known.clone();
                    shaken.calendar(Occurrences { known, complete: false });
                }
                Happens::CalendarBack => shaken.calendar(known(&sales)),
                Happens::Renamed(renamed) => {
                    shaken.keys = renamed.then(|| vec!["renamed"]);
                    shaken.edit(|_| {});
                }
                Happens::Readable(readable) => shaken.readable = readable,
                Happens::Writable(writable) => shaken.writable = writable,
                Happens::QueueFails(fails) => shaken.queue_fails = fails,
                Happens::PodsReadable(readable) => shaken.ready = readable.then(Vec::new),
                Happens::Queue(queue) => shaken.queue = queue,
            }
            prop_assert_eq!(steady.bounds(), shaken.bounds(), "at {} after {:?}", second, happens);
            let floor = shaken.bounds().0;
            prop_assert!(
                !shaken.readable || !shaken.writable || floor == 0 || shaken.replicas == 0 || shaken.replicas >= floor
            );
        }
    }
}
