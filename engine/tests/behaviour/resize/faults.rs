//! Stories of what goes on while pods are resized: pauses, other actors, restarts, pods that start.

use std::sync::Arc;

use jiff::Timestamp;
use sakidori_engine::resize::{
    Memory, OnInfeasible, PodState, Remembered, ResizeEffect, ResizeEvent, Resizing, Settings, When,
};

use super::cluster::{actual, resources, specified, stamp};
use super::stories::{count_with, policy, reason, sizes, with_pods, world};
use super::world::World;

fn asks(world: &World) -> usize {
    world.asks.values().sum()
}

fn set(world: &mut World, uid: &Arc<str>, text: &str) {
    world.meddle(uid, |pod| pod.containers[0].resources = resources(text));
}

fn remember(world: &mut World, uid: &Arc<str>, memory: Memory) {
    world
        .cluster
        .write(uid, |stored| stored.pod.memory = memory);
    world.show(uid);
}

fn remembered(before: &str, asked: &str, boosted: bool, in_wave: bool, at: u64) -> Memory {
    Memory::Known(Remembered {
        before: sizes(before),
        asked: vec![sizes(asked)],
        at: stamp(at),
        boosted,
        in_wave,
        refused: None,
        memory_kept: None,
        failures: 0,
    })
}

#[test]
fn pods_of_a_paused_object_are_left_as_they_are() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    with_pods(&mut world, 3, "1 1Gi");
    world.pause(true);
    world.hold(true, false);
    world.run(600);
    assert_eq!((asks(&world), reason(&world)), (0, "ResizingPaused"));
    world.pause(false);
    world.run(1);
    // One is under way, and goes on; no other follows.
    world.pause(true);
    world.run(600);
    assert_eq!(asks(&world), 1);
    assert_eq!(count_with(&world, "2 1Gi"), 1);
    // A restart forgets no pause.
    world.restart(true);
    world.run(60);
    assert_eq!((asks(&world), reason(&world)), (1, "ResizingPaused"));
    // Whoever deletes a paused object wants its pods back all the same.
    world.end();
    world.run(60);
    assert!(world.finished);
    assert_eq!(count_with(&world, "1 1Gi"), 3);
}

#[test]
fn another_actor_wins_while_a_resize_is_under_way_and_may_give_the_pod_back() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    world.cluster.slowness = 30_000;
    let uid = with_pods(&mut world, 1, "1 1Gi").remove(0);
    world.hold(true, false);
    world.run(5);
    assert_eq!(world.count(PodState::UnderWay), 1);
    set(&mut world, &uid, "1500m 1Gi");
    world.run(600);
    assert_eq!((asks(&world), reason(&world)), (1, "Foreign"));
    // It restarts, and still knows.
    world.restart(true);
    world.run(60);
    assert_eq!((asks(&world), reason(&world)), (1, "Foreign"));
    // Given back as it was at first, it is resized again.
    set(&mut world, &uid, "1 1Gi");
    world.run(120);
    assert_eq!(count_with(&world, "2 1Gi"), 1);
    world.hold(false, false);
    world.run(120);
    assert_eq!(count_with(&world, "1 1Gi"), 1);
    assert_eq!(reason(&world), "NoPolicyHolds");
}

#[test]
fn a_pod_that_replaces_another_under_its_name_is_another_pod() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    let uid = world.create("web-0", "node-0", "1 1Gi", 0);
    world.run(10);
    // The answer to what the first was asked comes when the second is there.
    world.latency = 500;
    world.hold(true, false);
    world.delete(&uid);
    let next = world.create("web-0", "node-0", "3 1Gi", 0);
    world.run(30);
    assert_eq!(world.asks.get(&next), None);
    assert_eq!(count_with(&world, "3 1Gi"), 1);
    world.hold(false, false);
    world.run(30);
    assert_eq!(count_with(&world, "3 1Gi"), 1);
}

#[test]
fn a_restart_between_the_annotation_and_the_resize_is_made_up_for() {
    for holds in [true, false] {
        let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
        let uid = with_pods(&mut world, 1, "1 1Gi").remove(0);
        let written = remembered("1 1Gi", "2 1Gi", false, true, world.now);
        world.hold(holds, false);
        world.messages.clear();
        remember(&mut world, &uid, written);
        world.restart(false);
        world.run(10);
        let expected = if holds { "2 1Gi" } else { "1 1Gi" };
        assert_eq!(count_with(&world, expected), 1);
        let known = world.cluster.pods[&uid].pod.memory != Memory::Nothing;
        assert_eq!(known, holds);
    }
}

#[test]
fn an_annotation_that_is_of_no_use_is_left_alone() {
    let unreadable = Memory::Unreadable;
    // Its amounts are not those of the pod: nothing can be added or taken away.
    let of_another = remembered("1/1 1Gi", "2 1Gi", false, false, 0);
    let mut of_two = remembered("1 1Gi", "2 1Gi", false, false, 0);
    if let Memory::Known(known) = &mut of_two {
        known.before.insert("other".into(), resources("1"));
        known.asked = vec![sizes("1 1Gi")];
    }
    for memory in [unreadable, of_another, of_two] {
        let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
        let uid = with_pods(&mut world, 2, "1 1Gi").remove(0);
        if let Memory::Known(known) = &memory {
            assert!(!known.asked.is_empty());
        }
        let stands = match &memory {
            Memory::Known(known) => known.asked[0]["app"],
            _ => resources("1 1Gi"),
        };
        world.meddle(&uid, |pod| pod.containers[0].resources = stands);
        remember(&mut world, &uid, memory);
        world.run(30);
        world.hold(true, false);
        world.run(600);
        assert_eq!(world.asks.get(&uid), None);
        assert_eq!(
            (reason(&world), world.count(PodState::Resized)),
            ("Foreign", 1)
        );
        world.end();
        world.run(60);
        assert!(world.finished);
    }
}

#[test]
fn a_pod_that_never_becomes_ready_keeps_what_it_starts_with() {
    let mut world = world(Vec::new(), 1);
    let never = world.create("web-0", "node-0", "1 1Gi", u64::MAX / 2);
    let ready = world.create("web-1", "node-1", "1 1Gi", 0);
    world.run(60);
    // Those that are starting already when the policy comes are helped, too.
    let mut settings = world.settings.clone();
    settings.policies = vec![policy(When::Starting, "x3", None)];
    world.want(settings.clone());
    world.run(7200);
    assert_eq!(actual(&world.cluster.pods[&never].pod), sizes("3 1Gi"));
    assert_eq!(world.asks.get(&ready), None);
    // Its container crashes and starts again; the operator, too.
    world.restart(true);
    world.run(60);
    assert_eq!(world.asks[&never], 1);
    settings.policies.clear();
    world.want(settings);
    world.run(10);
    assert_eq!(count_with(&world, "1 1Gi"), 2);
}

#[test]
fn a_pod_gives_back_what_it_started_with_while_waves_are_full() {
    let policies = vec![
        policy(When::Starting, "x3", None),
        policy(When::Prescale, "2", None),
    ];
    let mut world = world(policies, 1);
    world.cluster.slowness = 100_000;
    with_pods(&mut world, 3, "1 1Gi");
    let new = world.create("web-9", "node-9", "1 1Gi", 150_000);
    world.hold(true, false);
    world.run(149);
    assert_eq!(specified(&world.cluster.pods[&new].pod), sizes("3 1Gi"));
    world.run(2);
    assert_eq!(specified(&world.cluster.pods[&new].pod), sizes("2 1Gi"));
    assert!(world.count(PodState::Waiting) > 0);
}

#[test]
fn a_ready_pod_that_never_got_its_help_waits_for_its_place() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    world.cluster.slowness = 100_000;
    let uids = with_pods(&mut world, 2, "1 1Gi");
    // It was to be helped as it started; the operator died before it was.
    let written = remembered("1 1Gi", "3 1Gi", true, false, 0);
    remember(&mut world, &uids[1], written);
    world.holding.prescale = true;
    world.restart(false);
    world.run(30);
    assert_eq!((asks(&world), world.count(PodState::UnderWay)), (1, 1));
}

#[test]
fn what_is_refused_needs_no_way_back() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    with_pods(&mut world, 2, "1 1Gi");
    world.cluster.quota = 2000;
    world.hold(true, false);
    world.run(60);
    assert_eq!((world.count(PodState::Refused), asks(&world)), (2, 2));
    world.hold(false, false);
    world.run(60);
    assert_eq!((reason(&world), asks(&world)), ("NoPolicyHolds", 2));
    let mut pods = world.cluster.pods.values();
    assert!(pods.all(|it| it.pod.memory == Memory::Nothing));
    // A policy that holds anew is a change.
    world.cluster.quota = i128::MAX;
    world.hold(true, false);
    world.run(60);
    assert_eq!(count_with(&world, "2 1Gi"), 2);
}

#[test]
fn a_quota_is_not_taken_for_a_cluster_that_lowers_no_memory() {
    let mut world = world(vec![policy(When::Prescale, "2", Some("+1Gi"))], 1);
    with_pods(&mut world, 1, "1/1 1Gi/1Gi");
    world.hold(true, false);
    world.run(20);
    assert_eq!(count_with(&world, "2/2 2Gi/2Gi"), 1);
    // More CPU and less memory are asked for at once, and refused because of the CPU.
    world.cluster.quota = 2000;
    let mut settings = world.settings.clone();
    settings.policies = vec![policy(When::Prescale, "3500m", None)];
    world.want(settings);
    world.run(600);
    assert_eq!(reason(&world), "Refused");
    assert_eq!(count_with(&world, "1/1 1Gi/1Gi"), 1);
}

#[test]
fn what_was_deferred_for_too_long_is_tried_again_when_asked_to() {
    let mut world = world(vec![policy(When::Prescale, "3", None)], 1);
    let uid = with_pods(&mut world, 1, "1 1Gi").remove(0);
    world.create("other", "node-0", "1 1Gi", 0);
    world.cluster.node_cpu = 3500;
    world.run(10);
    world.hold(true, false);
    world.run(900);
    assert_eq!(specified(&world.cluster.pods[&uid].pod), sizes("1 1Gi"));
    let before = asks(&world);
    // Pods of others went, which nothing here shows.
    world.cluster.node_cpu = 64_000;
    world.run(900);
    assert_eq!(asks(&world), before);
    world.reconsider();
    world.run(60);
    assert_eq!(count_with(&world, "3 1Gi"), 2);
}

#[test]
fn an_object_that_ends_waits_a_while_for_memory_in_use() {
    for (used, limit) in [("512Mi", "1/1 1Gi/1Gi"), ("2Gi", "1/1 3Gi/3Gi")] {
        let mut world = world(vec![policy(When::Prescale, "2", Some("3Gi"))], 1);
        with_pods(&mut world, 1, "1/1 1Gi/1Gi");
        world.hold(true, false);
        world.run(20);
        world.cluster.memory_used = "2Gi".parse().unwrap();
        world.hold(false, false);
        world.run(75);
        assert_eq!(world.count(PodState::MemoryKept), 1);
        world.cluster.memory_used = used.parse().unwrap();
        world.end();
        world.run(20);
        assert_eq!(world.finished, used == "512Mi");
        world.run(600);
        assert!(world.finished);
        assert_eq!(count_with(&world, limit), 1);
    }
}

#[test]
fn who_takes_back_what_a_pod_was_asked_to_have_is_not_raced_with() {
    let mut world = world(vec![policy(When::Prescale, "2", None)], 1);
    let uid = with_pods(&mut world, 2, "1 1Gi").remove(0);
    world.hold(true, false);
    world.run(60);
    assert_eq!(count_with(&world, "2 1Gi"), 2);
    set(&mut world, &uid, "1 1Gi");
    world.run(600);
    assert_eq!((asks(&world), reason(&world)), (2, "Foreign"));
    assert_eq!(count_with(&world, "1 1Gi"), 1);
    // The next sale is another matter.
    world.hold(false, false);
    world.run(60);
    assert_eq!(count_with(&world, "1 1Gi"), 2);
    assert_eq!(reason(&world), "NoPolicyHolds");
    world.hold(true, false);
    world.run(60);
    assert_eq!(count_with(&world, "2 1Gi"), 2);
}

#[test]
fn one_eviction_in_vain_is_enough() {
    let mut world = world(vec![policy(When::Prescale, "100", None)], 1);
    let settings = Settings {
        on_infeasible: OnInfeasible::Evict,
        ..world.settings.clone()
    };
    world.want(settings);
    with_pods(&mut world, 4, "1 1Gi");
    world.hold(true, false);
    world.run(3600);
    assert_eq!((world.evictions, world.count(PodState::Infeasible)), (1, 4));
}

#[test]
fn an_object_whose_pods_nobody_can_list_ends_all_the_same() {
    let mut resizing = Resizing::default();
    let at = |second| Timestamp::from_second(second).unwrap();
    resizing.handle(at(0), ResizeEvent::Wanted(Settings::default()));
    assert_eq!(resizing.handle(at(0), ResizeEvent::Ended), []);
    assert_eq!(resizing.next_wakeup(), Some(at(300)));
    assert_eq!(resizing.handle(at(299), ResizeEvent::Woke), []);
    let effects = resizing.handle(at(300), ResizeEvent::Woke);
    assert_eq!(effects, [ResizeEffect::Finished]);
    assert!(resizing.is_finished());
}
