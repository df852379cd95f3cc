//! Single stories of resizing.

use std::sync::Arc;

use sakidori_engine::resize::{
    Amount, MaxConcurrent, Memory, OnInfeasible, PendingReason, PodState, Policy, ResizeOutcome,
    Resource, Settings, Sizes, When,
};

use super::cluster::{actual, resources, specified};
use super::world::World;

pub(super) fn policy(when: When, cpu: &str, memory: Option<&str>) -> Policy {
    let parse = |resource, text| Amount::parse(resource, text).unwrap();
    Policy {
        container: "app".into(),
        when,
        cpu: Some(parse(Resource::Cpu, cpu)),
        memory: memory.map(|text| parse(Resource::Memory, text)),
        allow_restart: false,
    }
}

pub(super) fn world(policies: Vec<Policy>, most: usize) -> World {
    let max_concurrent = MaxConcurrent::Pods(u32::try_from(most).unwrap());
    World::new(
        Settings {
            policies,
            max_concurrent,
            ..Settings::default()
        },
        most,
        7,
    )
}

/// Pods that run already, each on a node of its own.
pub(super) fn with_pods(world: &mut World, count: usize, own: &str) -> Vec<Arc<str>> {
    let created = (0..count)
        .map(|number| world.create(&format!("web-{number}"), &format!("node-{number}"), own, 0));
    let created = created.collect();
    world.run(10);
    created
}

pub(super) fn sizes(text: &str) -> Sizes {
    [("app".into(), resources(text))].into()
}

pub(super) fn count_with(world: &World, text: &str) -> usize {
    let pods = world.cluster.pods.values();
    pods.filter(|it| actual(&it.pod) == sizes(text) && specified(&it.pod) == sizes(text))
        .count()
}

pub(super) fn reason(world: &World) -> &str {
    &world.report.as_ref().unwrap().condition.reason
}

/// How often it was told that no pod can be resized.
fn stops(world: &World) -> usize {
    let told = world.told.iter();
    told.filter(|it| it.starts_with("No pod can be resized"))
        .count()
}

pub(super) fn message(world: &World) -> &str {
    &world.report.as_ref().unwrap().condition.message
}

#[test]
fn a_sale_makes_pods_bigger_in_waves_and_puts_them_back() {
    let mut world = world(vec![policy(When::Prescale, "2", Some("+1Gi"))], 2);
    with_pods(&mut world, 6, "500m/1 1Gi/1Gi");
    assert_eq!((reason(&world), world.told.len()), ("NoPolicyHolds", 0));
    world.hold(true, false);
    world.run_until(world.now + 150);
    assert_eq!(
        (reason(&world), world.count(PodState::Waiting)),
        ("Resizing", 4)
    );
    world.run(20);
    assert_eq!(count_with(&world, "2/2001m 2Gi/2Gi"), 6);
    assert_eq!(
        (reason(&world), message(&world)),
        ("Resized", "Pods are resized for a sale")
    );
    assert!(world.told.contains(
        &"Pod web-0 is resized: app: cpu 500m -> 2, cpu limit 1 -> 2001m, memory 1Gi -> 2Gi (prescale)".to_owned()
    ), "{:?}", world.told);
    // A restart in the middle of it changes nothing.
    world.restart(true);
    world.run(60);
    assert_eq!(world.asks.values().sum::<usize>(), 6);
    world.hold(false, false);
    world.run(20);
    assert_eq!(count_with(&world, "500m/1 1Gi/1Gi"), 6);
    assert_eq!(reason(&world), "NoPolicyHolds");
    assert!(
        world
            .cluster
            .pods
            .values()
            .all(|it| it.pod.memory == Memory::Nothing)
    );
    let restored = world
        .told
        .iter()
        .filter(|it| it.contains("has its own resources again"))
        .count();
    assert_eq!(restored, 6, "{:?}", world.told);
    // And nothing more happens.
    let told = world.told.len();
    world.run(3600);
    assert_eq!(world.told.len(), told);
}

#[test]
fn two_hundred_pods_start_at_once() {
    let mut world = world(
        vec![
            policy(When::Starting, "x3", None),
            policy(When::Prescale, "1", None),
        ],
        1,
    );
    world.hold(true, false);
    let uids: Vec<_> = (0..200)
        .map(|number| {
            world.create(
                &format!("web-{number}"),
                &format!("node-{}", number / 10),
                "500m/1 1Gi",
                20_000,
            )
        })
        .collect();
    world.run(1);
    for uid in &uids {
        assert_eq!(
            specified(&world.cluster.pods[uid].pod),
            sizes("1500m/1500m 1Gi")
        );
    }
    // They are Ready 20 s after they were created, and a second later have given back what they got to start.
    world.run(18);
    assert_eq!(count_with(&world, "1500m/1500m 1Gi"), 200);
    world.run(2);
    for uid in &uids {
        assert_eq!(specified(&world.cluster.pods[uid].pod), sizes("1/1 1Gi"));
    }
    // What comes after goes in waves: one at a time.
    world.hold(false, false);
    world.run(2);
    assert!(count_with(&world, "500m/1 1Gi") < 10);
    world.run(600);
    assert_eq!(count_with(&world, "500m/1 1Gi"), 200);
}

#[test]
fn a_pod_that_loses_its_readiness_does_not_start_again() {
    let mut world = world(vec![policy(When::Starting, "x3", None)], 1);
    let uid = world.create("web-0", "node", "500m 1Gi", 3000);
    world.run(10);
    assert_eq!(world.asks[&uid], 2);
    world.run(60);
    let now = super::cluster::stamp(world.now);
    world.cluster.write(&uid, |stored| {
        (stored.pod.ready, stored.pod.ready_changed) = (false, Some(now));
        stored.ready_at = u64::MAX;
    });
    world.show(&uid);
    world.restart(true);
    world.run(60);
    assert_eq!(world.asks[&uid], 2);
}

#[test]
fn a_node_without_room_is_waited_for_and_then_left() {
    let mut world = world(vec![policy(When::Prescale, "3", None)], 2);
    world.cluster.node_cpu = 4000;
    let first = world.create("web-0", "node", "1 1Gi", 0);
    let second = world.create("web-1", "node", "1 1Gi", 0);
    world.run(10);
    world.hold(true, false);
    world.run(200);
    // The older has it; the other waits for room.
    assert_eq!(actual(&world.cluster.pods[&first].pod), sizes("3 1Gi"));
    let pending = world.cluster.pods[&second].pod.pending.clone().unwrap();
    assert_eq!(pending.why, PendingReason::Deferred);
    assert_eq!(
        (reason(&world), world.count(PodState::Deferred)),
        ("Deferred", 1)
    );
    world.run(200);
    assert_eq!(specified(&world.cluster.pods[&second].pod), sizes("1 1Gi"));
    assert_eq!(
        (reason(&world), world.count(PodState::Deferred)),
        ("Deferred", 1)
    );
    let asks = world.asks[&second];
    world.restart(true);
    world.run(3600);
    assert_eq!(world.asks[&second], asks);
    // Room comes.
    world.delete(&first);
    world.run(5);
    assert_eq!(actual(&world.cluster.pods[&second].pod), sizes("3 1Gi"));
    assert_eq!(reason(&world), "Resized");
}

#[test]
fn room_that_comes_in_time_is_taken() {
    let mut world = world(vec![policy(When::Prescale, "3", None)], 2);
    world.cluster.node_cpu = 2000;
    world.cluster.validates_node = false;
    let uid = world.create("web-0", "node", "1 1Gi", 0);
    world.create("web-1", "node", "1 1Gi", 0);
    world.run(10);
    world.cluster.node_cpu = 3500;
    world.hold(true, false);
    world.run(60);
    assert_eq!(world.count(PodState::Deferred), 2);
    world.cluster.node_cpu = 64_000;
    world.run(10);
    assert_eq!(actual(&world.cluster.pods[&uid].pod), sizes("3 1Gi"));
    assert_eq!(world.asks[&uid], 1);
}

#[test]
fn what_no_node_can_hold_is_left_or_evicted_once() {
    for (on_infeasible, validates_node, evictions) in [
        (OnInfeasible::Skip, false, 0),
        (OnInfeasible::Skip, true, 0),
        (OnInfeasible::Evict, false, 2),
        (OnInfeasible::Evict, true, 1),
    ] {
        let mut world = world(vec![policy(When::Prescale, "100", None)], 2);
        let settings = Settings {
            on_infeasible,
            ..world.settings.clone()
        };
        world.want(settings);
        world.cluster.validates_node = validates_node;
        with_pods(&mut world, 2, "1 1Gi");
        world.hold(true, false);
        world.run(3600);
        // Their successors can't have it either, and stay.
        assert_eq!(
            (world.evictions, world.count(PodState::Infeasible)),
            (evictions, 2),
            "{on_infeasible:?} {validates_node}"
        );
        assert_eq!(reason(&world), "Infeasible");
        assert!(
            world.asks.values().all(|asks| *asks == 1),
            "{:?}",
            world.asks
        );
        world.hold(false, false);
        world.run(60);
        assert_eq!(count_with(&world, "1 1Gi"), 2);
        assert_eq!(reason(&world), "NoPolicyHolds");
    }
}

#[test]
fn a_quota_refuses_until_something_changes() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    let uids = with_pods(&mut world, 3, "1 1Gi");
    world.cluster.quota = 4000;
    world.hold(true, false);
    world.run(3600);
    assert_eq!(
        (
            world.count(PodState::Resized),
            world.count(PodState::Refused)
        ),
        (1, 2)
    );
    assert_eq!(reason(&world), "Refused");
    assert!(
        message(&world).contains("Refused: 2 (web-1: exceeded quota)"),
        "{}",
        message(&world)
    );
    assert_eq!(world.asks.values().sum::<usize>(), 3);
    world.restart(true);
    world.run(3600);
    assert_eq!(world.asks.values().sum::<usize>(), 3);
    world.cluster.quota = 64_000;
    world.reconsider();
    world.run(20);
    assert_eq!(world.count(PodState::Resized), 3);
    assert_eq!(uids.len(), 3);
}

#[test]
fn another_actor_wins() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    let uid = with_pods(&mut world, 2, "1 1Gi").remove(0);
    world.hold(true, false);
    world.run(20);
    let set = |world: &mut World, uid: &Arc<str>, text: &str| {
        let text = text.to_owned();
        world.meddle(uid, |pod| pod.containers[0].resources = resources(&text));
    };
    set(&mut world, &uid, "1500m 1Gi");
    world.cluster.pods.get_mut(&uid).unwrap().foreign = true;
    world.run(600);
    assert_eq!(
        (reason(&world), world.count(PodState::Foreign)),
        ("Foreign", 1)
    );
    world.hold(false, false);
    world.run(60);
    assert_eq!(specified(&world.cluster.pods[&uid].pod), sizes("1500m 1Gi"));
    assert_eq!(
        (
            world.count(PodState::Template),
            world.count(PodState::Foreign)
        ),
        (1, 1)
    );
    // It is put back, and is ours again.
    set(&mut world, &uid, "2 1Gi");
    world.cluster.pods.get_mut(&uid).unwrap().foreign = false;
    world.run(20);
    assert_eq!(count_with(&world, "1 1Gi"), 2);
}

#[test]
fn memory_that_is_in_use_is_kept_and_the_rest_goes_back() {
    for shows_use in [true, false] {
        let mut world = world(vec![policy(When::Prescale, "2", Some("3Gi"))], 1);
        world.cluster.shows_use = shows_use;
        with_pods(&mut world, 1, "1/1 1Gi/1Gi");
        world.hold(true, false);
        world.run(20);
        assert_eq!(count_with(&world, "2/2 3Gi/3Gi"), 1);
        world.cluster.memory_used = "2Gi".parse().unwrap();
        world.run(5);
        world.hold(false, false);
        world.run(100);
        assert_eq!(count_with(&world, "1/1 3Gi/3Gi"), 1, "{shows_use}");
        assert_eq!(
            (reason(&world), world.count(PodState::MemoryKept)),
            ("MemoryKept", 1)
        );
        world.cluster.memory_used = "512Mi".parse().unwrap();
        world.run(120);
        assert_eq!(count_with(&world, "1/1 1Gi/1Gi"), 1, "{shows_use}");
        assert_eq!(reason(&world), "NoPolicyHolds");
    }
}

#[test]
fn a_node_that_fails_is_tried_again_later_each_time() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    world.cluster.failures = 10_000;
    let uid = with_pods(&mut world, 1, "1 1Gi").remove(0);
    world.hold(true, false);
    world.run(30);
    assert_eq!(world.count(PodState::Failed), 1);
    world.cluster.failures = 0;
    world.run(60);
    assert_eq!(specified(&world.cluster.pods[&uid].pod), sizes("1 1Gi"));
    assert!(message(&world).contains("no luck"), "{}", message(&world));
    world.run(90);
    assert_eq!(count_with(&world, "2 1Gi"), 1);
}

#[test]
fn an_object_that_ends_in_the_middle_of_a_wave_leaves_nothing() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 2);
    with_pods(&mut world, 6, "1 1Gi");
    world.hold(true, false);
    world.run(1);
    world.end();
    world.run_until(world.now + 200);
    assert!(!world.finished);
    world.restart(false);
    world.run(30);
    assert!(world.finished);
    assert_eq!(count_with(&world, "1 1Gi"), 6);
    assert!(
        world
            .cluster
            .pods
            .values()
            .all(|it| it.pod.memory == Memory::Nothing)
    );
}

#[test]
fn a_cluster_that_cannot_resize_is_asked_once_an_hour() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 2);
    world.supported = false;
    with_pods(&mut world, 4, "1 1Gi");
    world.hold(true, false);
    world.run(60);
    assert_eq!(reason(&world), "Unsupported");
    assert!(message(&world).contains("1.33"));
    assert_eq!(stops(&world), 1);
    world.supported = true;
    world.run(3000);
    assert_eq!(world.asks.len(), 0);
    world.run(1000);
    assert_eq!(count_with(&world, "2 1Gi"), 4);
    assert_eq!(reason(&world), "Resized");
    // Without the right to, an object that ends does not wait for ever.
    world.allowed = false;
    world.end();
    world.run(60);
    assert!(!world.finished);
    assert_eq!(reason(&world), "NotAllowed");
    world.run(600);
    assert!(world.finished);
}

#[test]
fn what_is_foreseen_is_told_before_any_pod_is_asked_and_until_it_is_otherwise() {
    for (outcome, told) in [
        (ResizeOutcome::Unsupported, "Unsupported"),
        (
            ResizeOutcome::NotAllowed {
                message: "no right".to_owned(),
            },
            "NotAllowed",
        ),
    ] {
        let mut world = world(vec![policy(When::Prescale, "2", None)], 2);
        with_pods(&mut world, 4, "1 1Gi");
        world.hold(false, false);
        world.foresee(outcome.clone());
        world.run(10);
        assert_eq!(reason(&world), told);
        assert_eq!(world.told.len(), 1, "{:?}", world.told);
        world.foresee(ResizeOutcome::Done);
        world.run(10);
        assert_eq!(reason(&world), "NoPolicyHolds");
        assert_eq!(world.told.len(), 1, "{:?}", world.told);

        // Within a sale nothing is asked, and then at once.
        world.foresee(outcome);
        world.hold(true, false);
        world.run(30);
        assert_eq!((world.asks.len(), reason(&world)), (0, told));
        world.foresee(ResizeOutcome::Done);
        world.run(10);
        assert_eq!(count_with(&world, "2 1Gi"), 4);
    }
}

#[test]
fn what_a_request_has_shown_is_tried_by_one_where_it_is_said_to_be_otherwise() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 2);
    with_pods(&mut world, 4, "1 1Gi");
    world.supported = false;
    world.hold(true, false);
    world.run(30);
    assert_eq!(reason(&world), "Unsupported");
    // Wrongly: one is asked, and told once.
    world.foresee(ResizeOutcome::Done);
    world.run(30);
    assert_eq!(reason(&world), "Unsupported");
    assert_eq!(stops(&world), 1, "{:?}", world.told);
    // Rightly.
    world.supported = true;
    world.foresee(ResizeOutcome::Done);
    world.run(10);
    assert_eq!(count_with(&world, "2 1Gi"), 4);

    // With nobody to ask, it is believed.
    world.hold(false, false);
    world.run(10);
    world.supported = false;
    world.hold(true, false);
    world.run(10);
    world.hold(false, false);
    world.run(10);
    assert_eq!(reason(&world), "Unsupported");
    world.foresee(ResizeOutcome::Done);
    world.run(5);
    assert_eq!(reason(&world), "NoPolicyHolds");
}

#[test]
fn who_ends_without_being_able_to_says_so() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 4);
    with_pods(&mut world, 4, "1 1Gi");
    world.hold(true, false);
    world.run(10);
    world.allowed = false;
    world.end();
    world.run(600);
    assert!(world.finished && world.gave_up());
    world.allowed = true;
    world.restart(false);
    world.run(60);
    assert_eq!(count_with(&world, "1 1Gi"), 4);
    assert!(!world.gave_up());
}

#[test]
fn pods_of_another_template_are_judged_by_their_own() {
    let mut world = world(vec![policy(When::Prescale, "+1", None)], 4);
    let old = with_pods(&mut world, 2, "1 1Gi");
    world.hold(true, false);
    world.run(20);
    world.delete(&old[0]);
    let new = world.create("web-9", "node-9", "3 2Gi", 0);
    world.run(20);
    assert_eq!(actual(&world.cluster.pods[&new].pod), sizes("4 2Gi"));
    assert_eq!(actual(&world.cluster.pods[&old[1]].pod), sizes("2 1Gi"));
    world.hold(false, false);
    world.run(20);
    assert_eq!(actual(&world.cluster.pods[&new].pod), sizes("3 2Gi"));
    assert_eq!(actual(&world.cluster.pods[&old[1]].pod), sizes("1 1Gi"));
}
