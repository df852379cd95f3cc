//! Nodes first: room for a floor's pods is asked for before its ramp, shrinks as they find nodes, and is gone once they are Ready;
//! and nothing of it ever holds up a floor.

use sakidori_engine::prescale::Nodes;

use super::*;

/// As [`floor`], with nodes first: from 540, which is 5 minutes before its ramp.
fn nodes_first(replicas: i32) -> Settings {
    Settings {
        nodes: Nodes::First,
        ..floor(replicas)
    }
}

fn shop(replicas: i32) -> Shop {
    let mut shop = Shop::new(
        vec![nodes_first(10)],
        known(&[sale("new-year", 1000, 2000)]),
    );
    shop.queue = 1;
    shop.edit(|object| object.min_replicas = 1);
    shop.replicas = replicas;
    shop
}

fn all_ready(shop: &mut Shop) {
    let now = shop.now;
    let ready = usize::try_from(shop.replicas).unwrap();
    shop.ready = Some(vec![now; ready]);
}

#[test]
fn room_is_there_from_before_the_ramp_until_the_pods_are_ready() {
    let mut shop = shop(3);
    // Whatever an earlier life may have left behind.
    assert_eq!(shop.rooms, [(0, None)]);
    shop.go_to(539);
    assert_eq!((shop.buffer, shop.prescaled()), (None, None));
    shop.go_to(540);
    assert_eq!(shop.buffer, Some(7));
    let (reason, message) = shop.prescaled().unwrap();
    assert_eq!(reason, "NodesRequested");
    assert!(
        message.starts_with("room for 7 more pods is to be there for new-year before its ramp at"),
        "{message}"
    );
    // Another trigger asks for two more, which find a node.
    shop.replicas = 5;
    shop.go_to(600);
    assert_eq!(shop.buffer, Some(5));
    // The floor is complete at 900: the pods are there, but two have no node yet.
    shop.homeless = 2;
    shop.go_to(920);
    assert_eq!((shop.replicas, shop.buffer), (10, Some(2)));
    shop.homeless = 0;
    shop.go_to(940);
    assert_eq!(shop.buffer, Some(0), "they may lose it again");
    all_ready(&mut shop);
    shop.go_to(950);
    assert_eq!(shop.buffer, None);
    assert_eq!(shop.status.as_ref().unwrap().prescale.room, None);
    // A pod that fails within the sale is no reason to ask again.
    shop.ready = Some(vec![at(940); 4]);
    shop.homeless = 4;
    shop.go_to(5000);
    assert_eq!(shop.rooms.last(), Some(&(945, None)));
    assert_eq!(shop.buffer, None);
}

#[test]
fn pods_that_never_come_give_their_room_up_at_the_end() {
    let mut shop = shop(1);
    shop.ready = None;
    shop.go_to(2049);
    assert!(shop.buffer.is_some());
    shop.go_to(2050);
    assert_eq!(shop.buffer, None);
}

#[test]
fn no_room_is_asked_for_where_the_pods_are_there_already() {
    let mut shop = shop(15);
    shop.queue = 150;
    all_ready(&mut shop);
    shop.go_to(3000);
    assert_eq!(shop.rooms, [(0, None)]);
}

#[test]
fn a_cluster_without_capacity_buffers_says_so_and_scales_as_usual() {
    let mut shop = shop(1);
    shop.no_buffer = Some(RoomOutcome::Unsupported);
    shop.go_to(700);
    let (reason, message) = shop.prescaled().unwrap();
    assert_eq!(reason, "NodesUnsupported");
    assert!(message.contains("has no CapacityBuffer"), "{message}");
    assert_eq!(shop.times("PrescaleNodesFailed"), [540]);
    shop.go_to(900);
    assert_eq!(shop.bounds(), (10, 20));
    let (reason, message) = shop.prescaled().unwrap();
    assert_eq!(reason, "PodsNotReady");
    assert!(
        message.contains("; the cluster has no CapacityBuffer"),
        "{message}"
    );
    // It may be installed at any time.
    shop.no_buffer = None;
    shop.go_to(970);
    assert!(shop.buffer.is_some());
}

#[test]
fn a_refused_buffer_is_told_and_tried_again_and_hinders_nothing() {
    let mut shop = shop(1);
    let message = "capacitybuffers.autoscaling.x-k8s.io is forbidden".to_owned();
    shop.no_buffer = Some(RoomOutcome::Failed { message });
    shop.go_to(850);
    assert_eq!(shop.prescaled().unwrap().0, "PodsNotReady");
    assert_eq!(shop.times("PrescaleNodesFailed"), [540]);
    shop.go_to(900);
    assert_eq!((shop.replicas, shop.bounds()), (10, (10, 20)));
    shop.no_buffer = None;
    shop.go_to(930);
    assert!(shop.buffer.is_some());
    // Also a deletion that fails comes again, until it is done.
    shop.no_buffer = Some(RoomOutcome::Failed {
        message: "no quorum".into(),
    });
    all_ready(&mut shop);
    shop.go_to(2000);
    assert!(shop.buffer.is_some() && shop.status.as_ref().unwrap().prescale.room.is_some());
    shop.restart();
    shop.no_buffer = None;
    shop.go_to(2031);
    assert_eq!(shop.buffer, None);
}

#[test]
fn what_an_edit_or_a_pause_leaves_no_reason_for_goes() {
    let edits: [fn(&mut Shop); 3] = [
        |shop| shop.edit(|object| object.switches.pause = Some(Pause::Whole)),
        |shop| {
            shop.settings[0].nodes = Nodes::WithPods;
            shop.edit(|_| {});
        },
        |shop| {
            shop.settings.clear();
            shop.edit(|object| object.trigger_count = 1);
        },
    ];
    for (case, edit) in edits.into_iter().enumerate() {
        for restarted in [false, true] {
            let mut shop = shop(1);
            shop.go_to(700);
            assert_eq!(shop.buffer, Some(9));
            if restarted {
                // The edit is made while the operator is away.
                shop.engine = Engine::default();
            }
            edit(&mut shop);
            assert_eq!(shop.buffer, None, "{case} {restarted}");
            assert_eq!(shop.status.as_ref().unwrap().prescale.room, None);
        }
    }
}

#[test]
fn a_calendar_that_is_not_known_yet_after_a_restart_keeps_the_room_until_the_ramp() {
    let mut shop = shop(1);
    shop.go_to(700);
    let rooms = shop.rooms.clone();
    shop.calendar = Occurrences::default();
    shop.restart();
    shop.go_to(839);
    assert_eq!((shop.buffer, &shop.rooms), (Some(9), &rooms));
    // Then there is no floor that it would be for.
    shop.go_to(900);
    assert_eq!(shop.buffer, None);
}

#[test]
fn a_sale_that_is_taken_out_of_the_calendar_takes_its_room_along() {
    for second in [700, 850, 1500] {
        let mut shop = shop(1);
        shop.go_to(second);
        assert!(shop.buffer.is_some());
        shop.calendar(known(&[]));
        assert_eq!(shop.buffer, None, "at {second}");
    }
}

#[test]
fn room_follows_a_floor_that_is_changed_and_ends_at_the_maximum() {
    let mut shop = shop(1);
    shop.go_to(700);
    shop.settings[0].wish = Wish::Replicas(15);
    shop.edit(|_| {});
    assert_eq!(shop.buffer, Some(14));
    shop.settings[0].wish = Wish::Replicas(50);
    shop.edit(|_| {});
    assert_eq!(shop.buffer, Some(19));
    // Raised within the sale, when all were Ready.
    shop.go_to(910);
    all_ready(&mut shop);
    shop.go_to(1500);
    assert_eq!((shop.replicas, shop.buffer), (20, None));
    shop.homeless = 10;
    shop.edit(|object| object.max_replicas = 30);
    shop.go_to(1531);
    assert_eq!((shop.replicas, shop.buffer), (30, Some(10)));
}

#[test]
fn one_that_is_deleted_by_hand_is_made_anew() {
    let mut shop = shop(1);
    shop.go_to(600);
    shop.buffer = None;
    shop.go_to(660);
    assert_eq!(shop.buffer, Some(9));
}

#[test]
fn a_limit_and_floors_that_add_up_count() {
    let limit = Settings {
        wish: Wish::Limit(4),
        ..floor(1)
    };
    let mut limited = Shop::new(
        vec![nodes_first(10), limit],
        known(&[sale("a", 1000, 2000)]),
    );
    limited.replicas = 1;
    limited.go_to(600);
    assert_eq!((limited.replicas, limited.buffer), (0, Some(4)));
    let sum = |replicas| Settings {
        overlap: sakidori_engine::prescale::Overlap::Sum,
        ..nodes_first(replicas)
    };
    let mut summed = Shop::new(vec![sum(5), sum(7)], known(&[sale("a", 1000, 2000)]));
    summed.go_to(600);
    assert_eq!(summed.buffer, Some(12));
}

#[derive(Clone, Debug)]
enum Happens {
    Restart,
    Replicas(i32),
    Homeless(i32),
    Ready(usize),
    Unreadable,
    BufferRefused(bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::Restart),
        (1..20_i32).prop_map(Happens::Replicas),
        (0..10_i32).prop_map(Happens::Homeless),
        (0..20_usize).prop_map(Happens::Ready),
        Just(Happens::Unreadable),
        any::<bool>().prop_map(Happens::BufferRefused),
    ]
}

fn play(
    sales: &[Arc<Occurrence>],
    peak: i32,
    trace: &[(i64, Happens)],
    mut look: impl FnMut(&Shop),
) -> Shop {
    let mut shop = Shop::new(vec![nodes_first(peak)], known(sales));
    shop.edit(|object| object.min_replicas = 1);
    shop.queue = 1;
    shop.replicas = 1;
    let mut second = 0;
    for (pause, happens) in trace {
        second += pause;
        shop.go_to(second);
        match happens {
            Happens::Restart => shop.restart(),
            Happens::Replicas(replicas) => {
                let (min, max) = shop.bounds();
                shop.replicas = *replicas.clamp(&min.max(1), &max);
            }
            Happens::Homeless(homeless) => shop.homeless = *homeless,
            Happens::Ready(ready) => shop.ready = Some(vec![shop.now; *ready]),
            Happens::Unreadable => shop.ready = None,
            Happens::BufferRefused(refused) => {
                let message = "quota".to_owned();
                shop.no_buffer = refused.then_some(RoomOutcome::Failed { message });
            }
        }
        look(&shop);
    }
    shop.no_buffer = None;
    shop.go_to(9000);
    shop
}

proptest! {
    #![proptest_config(crate::cases(64))]

    #[test]
    fn room_is_kept_only_between_ahead_and_ready_and_never_above_the_floor(
        sales in sales(), peak in 1..15_i32,
        trace in prop::collection::vec((1..400_i64, happens()), 1..40),
    ) {
        // From 5 minutes before the first ramp instant to the end of the hold.
        let may_be = |second: i64| sales.iter().any(|one| {
            let (start, end) = (one.start.as_second() - BEGIN, one.end.as_second() - BEGIN);
            start - 460 <= second && second < end + 50
        });
        let mut wrong = Vec::new();
        let shop = play(&sales, peak, &trace, |shop| {
            // A refused deletion comes again after 30 s.
            let refused = shop.refused_at.is_some_and(|at| shop.second() - at <= 30);
            if shop.buffer.is_some_and(|pods| !(refused || may_be(shop.second())) || pods > peak) {
                wrong.push((shop.second(), shop.buffer));
            }
        });
        prop_assert!(wrong.is_empty(), "{:?}", wrong);
        prop_assert_eq!(shop.buffer, None, "nothing is left behind");
        prop_assert_eq!(shop.status.unwrap().prescale.room, None);
        for (second, pods) in &shop.rooms {
            prop_assert!(pods.is_none() || may_be(*second), "asked for {:?} at {}", pods, second);
        }
    }

    #[test]
    fn the_same_trace_asks_for_the_same_room_and_no_room_changes_a_floor(
        sales in sales(), peak in 1..15_i32,
        trace in prop::collection::vec((1..400_i64, happens()), 1..40),
    ) {
        let one = play(&sales, peak, &trace, |_| {});
        let other = play(&sales, peak, &trace, |_| {});
        prop_assert_eq!(&one.rooms, &other.rooms);
        let refused: Vec<_> = trace.iter().map(|(pause, happens)| match happens {
            Happens::BufferRefused(_) => (*pause, Happens::BufferRefused(true)),
            other => (*pause, other.clone()),
        }).collect();
        let refused = play(&sales, peak, &refused, |_| {});
        prop_assert_eq!(&one.set, &refused.set);
    }
}
