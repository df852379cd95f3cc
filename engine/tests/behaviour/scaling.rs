//! The engine's promises, over made-up traces. Most are checked by the world at each effect.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sakidori_engine::{ConditionStatus, Fallback, FallbackBehavior, Pause, ScaledObject, Switches};

use crate::world::{Source, Step, World};

fn object() -> impl Strategy<Value = ScaledObject> {
    (
        bounds(),
        1..40_i64,
        0..120_i64,
        0..60_i64,
        prop::option::of(fallback()),
    )
        .prop_map(
            |((idle, min, max), interval, cooldown, initial, fallback)| ScaledObject {
                uid: "4b0c1f0e-0000-4000-8000-000000000001".into(),
                generation: 1,
                created_at: Timestamp::from_second(1_700_000_000).unwrap(),
                polling_interval: SignedDuration::from_secs(interval),
                cooldown_period: SignedDuration::from_secs(cooldown),
                initial_cooldown_period: SignedDuration::from_secs(initial),
                idle_replicas: idle,
                min_replicas: min,
                max_replicas: max,
                target_kind: "apps/v1.Deployment".into(),
                target_name: "web".into(),
                trigger_count: 2,
                fallback,
                modifiers: None,
                switches: Switches::default(),
            },
        )
}

/// Any but the one for formulas.
fn fallback() -> impl Strategy<Value = Fallback> {
    use FallbackBehavior::{
        CurrentReplicas, CurrentReplicasIfHigher, CurrentReplicasIfLower, Static,
    };
    let behaviors = vec![
        Static,
        CurrentReplicas,
        CurrentReplicasIfHigher,
        CurrentReplicasIfLower,
    ];
    (0..4_i32, 0..12_i32, prop::sample::select(behaviors)).prop_map(
        |(failure_threshold, replicas, behavior)| Fallback {
            failure_threshold,
            replicas,
            behavior,
        },
    )
}

/// The fallback says nothing else than to keep what there is, or to have more.
fn keeps_replicas(object: &ScaledObject) -> bool {
    object.fallback.as_ref().is_none_or(|fallback| {
        matches!(
            fallback.behavior,
            FallbackBehavior::CurrentReplicas | FallbackBehavior::CurrentReplicasIfHigher
        )
    })
}

/// Valid bounds: idle < min <= max.
fn bounds() -> impl Strategy<Value = (Option<i32>, i32, i32)> {
    (0..4_i32, 1..8_i32, prop::option::of(0..3_i32))
        .prop_map(|(min, more, idle)| (idle.filter(|idle| *idle < min), min, min.max(1) + more))
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        4 => Just(Source::Holds(0)),
        4 => (1..100_u32).prop_map(Source::Holds),
        2 => Just(Source::Fails),
        1 => Just(Source::SaysNothing),
        1 => Just(Source::SaysNaN),
        1 => Just(Source::Resource),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => step_without_pushes(),
        2 => (0..2_usize).prop_map(Step::Push),
    ]
}

/// Whoever is away does not hear a push, so what it leads to differs: to at least as many replicas for who was there.
fn step_without_pushes() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..90_000_u32).prop_map(Step::Wait),
        4 => (0..1000_u32).prop_map(Step::Wait),
        6 => (0..2_usize, source()).prop_map(|(trigger, source)| Step::Source(trigger, source)),
        2 => (0..12_i32).prop_map(Step::Scale),
        1 => any::<bool>().prop_map(Step::TargetReadable),
        1 => any::<bool>().prop_map(Step::ScaleWritable),
        1 => prop::option::of(any::<bool>()).prop_map(Step::Preparation),
        1 => prop_oneof![4 => (0..5000_u32).prop_map(Some), 1 => Just(None)].prop_map(Step::Latency),
        1 => Just(Step::ReferenceChanged),
        2 => Just(Step::ReadingWanted),
        1 => any::<bool>().prop_map(Step::HpaFlips),
        1 => bounds().prop_map(|(idle, min, max)| Step::Edit(idle, min, max)),
        1 => Just(Step::Recreate),
        2 => Just(Step::Restart),
        2 => switches().prop_map(Step::Switch),
    ]
}

fn switches() -> impl Strategy<Value = Switches> {
    let pause = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Pause::Whole)),
        1 => (0..12_i32).prop_map(|replicas| Some(Pause::At(replicas))),
    ];
    let others = [any::<bool>(), any::<bool>(), any::<bool>()];
    (pause, others, any::<bool>()).prop_map(|(pause, [scale_in, scale_out, force], plain)| {
        let others = !plain;
        Switches {
            pause,
            scale_in_paused: others && scale_in,
            scale_out_paused: others && scale_out,
            activation_forced: others && force,
        }
    })
}

fn run(object: &ScaledObject, replicas: i32, trace: &[Step]) -> World {
    let mut world = World::new(
        object.clone(),
        replicas,
        [Source::Holds(0), Source::Holds(0)],
    );
    for step in trace {
        world.take(step);
    }
    world
}

proptest! {
    #![proptest_config(crate::cases(512))]

    /// The world checks each effect: bounds, cooldown, no scaling in on errors, one poll under way, one status write.
    #[test]
    fn no_trace_breaks_a_promise_and_each_comes_to_rest(
        object in object(),
        replicas in 0..12_i32,
        trace in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = run(&object, replicas, &trace);
        world.settle();
        prop_assert!(world.status_writes <= world.occasions, "{} writes for {} occasions", world.status_writes, world.occasions);

        let status = world.status.clone().expect("an object that was prepared has a status");
        prop_assert_eq!(&status.conditions.ready.reason, "ScaledObjectReady");
        prop_assert_eq!(&status.conditions.fallback.reason, "NoFallbackFound");
        let min = world.object.min_replicas;
        if status.conditions.active.status == ConditionStatus::True {
            prop_assert!(world.replicas >= min.max(1), "active with {} replicas", world.replicas);
        } else if let Some(idle) = world.object.idle_replicas {
            prop_assert_eq!(world.replicas, idle.min(world.replicas), "inactive above the idle replicas");
        } else if min == 0 {
            prop_assert_eq!(world.replicas, 0, "inactive");
        } else {
            prop_assert!(world.replicas >= min, "{} replicas below the minimum {}", world.replicas, min);
        }
    }

    #[test]
    fn the_same_trace_has_the_same_effects(
        object in object(),
        replicas in 0..12_i32,
        trace in prop::collection::vec(step(), 0..30),
    ) {
        prop_assert_eq!(run(&object, replicas, &trace).log, run(&object, replicas, &trace).log);
    }

    #[test]
    fn a_restart_at_any_point_ends_in_the_same_replicas(
        object in object(),
        replicas in 0..12_i32,
        trace in prop::collection::vec(step_without_pushes(), 1..30),
        point in any::<prop::sample::Index>(),
    ) {
        let mut with_restart = trace.clone();
        with_restart.insert(point.index(trace.len() + 1), Step::Restart);
        let mut world = run(&object, replicas, &trace);
        let mut restarted = run(&object, replicas, &with_restart);
        world.settle();
        restarted.settle();
        prop_assert_eq!(world.replicas, restarted.replicas);
    }

    /// While every trigger fails, and whatever else happens, nobody's replicas go down.
    #[test]
    fn failing_sources_never_lower_replicas(
        object in object().prop_filter("a fallback may ask for fewer", keeps_replicas),
        replicas in 0..12_i32,
        before in prop::collection::vec(step(), 0..20),
        failures in prop::collection::vec(prop_oneof![
            3 => (1..200_000_u32).prop_map(Step::Wait),
            1 => (0..2_usize, prop_oneof![Just(Source::Fails), Just(Source::SaysNothing), Just(Source::SaysNaN)])
                .prop_map(|(trigger, source)| Step::Source(trigger, source)),
            1 => Just(Step::Restart),
            1 => Just(Step::ReferenceChanged),
            1 => Just(Step::ReadingWanted),
            1 => (0..2_usize).prop_map(Step::Push),
            1 => any::<bool>().prop_map(Step::TargetReadable),
            1 => prop::option::of(any::<bool>()).prop_map(Step::Preparation),
        ], 1..20),
    ) {
        let mut world = run(&object, replicas, &before);
        // Setting the target to a pause's replicas is somebody's wish, and no failure.
        world.take(&Step::Switch(Switches::default()));
        world.take(&Step::Source(0, Source::Fails));
        world.take(&Step::Source(1, Source::Fails));
        // A reading taken just before may still be acted upon.
        world.take(&Step::Latency(Some(20)));
        world.take(&Step::Wait(10_000));
        // A fallback lets the HPA scale, which keeps its bounds.
        let replicas = match world.object.fallback {
            Some(_) => world.replicas.min(world.object.max_replicas),
            None => world.replicas,
        };
        for step in &failures {
            world.take(step);
            prop_assert!(world.replicas >= replicas, "{} replicas became {} by {:?}", replicas, world.replicas, step);
        }
    }

    /// Once triggers have failed for longer than the threshold, the target has the replicas that the fallback says, within its
    /// bounds, however often the HPA asks and the operator starts anew meanwhile.
    #[test]
    fn a_static_fallback_gets_its_replicas(
        object in object(),
        fallback in fallback(),
        replicas in 0..12_i32,
        before in prop::collection::vec(step(), 0..20),
        during in prop::collection::vec(prop_oneof![
            2 => (1..20_000_u32).prop_map(Step::Wait),
            1 => Just(Step::Restart),
            2 => Just(Step::ReadingWanted),
        ], 0..20),
    ) {
        let fallback = Fallback { behavior: FallbackBehavior::Static, ..fallback };
        let mut world = World::new(ScaledObject { fallback: Some(fallback.clone()), ..object }, replicas, [Source::Holds(0); 2]);
        for step in &before {
            world.take(step);
        }
        world.settle();
        for trigger in 0..2 {
            world.take(&Step::Source(trigger, Source::Fails));
        }
        for step in &during {
            world.take(step);
        }
        let interval = u32::try_from(world.object.polling_interval.as_secs()).unwrap();
        let intervals = u32::try_from(fallback.failure_threshold).unwrap() + 4;
        world.take(&Step::Wait(1000 * (intervals * interval + 60)));
        let status = world.status.clone().unwrap();
        prop_assert_eq!(&status.conditions.fallback.reason, "FallbackExists");
        let (min, max) = (world.object.min_replicas.max(1), world.object.max_replicas);
        prop_assert_eq!(world.replicas, fallback.replicas.clamp(min, max));
    }

    /// Whatever the triggers say and however often the operator starts anew, who is paused keeps the replicas.
    #[test]
    fn nothing_but_a_person_moves_a_paused_target(
        object in object(),
        replicas in 0..12_i32,
        before in prop::collection::vec(step(), 0..20),
        pause in prop_oneof![Just(Pause::Whole), (0..12_i32).prop_map(Pause::At)],
        during in prop::collection::vec(prop_oneof![
            3 => (1..200_000_u32).prop_map(Step::Wait),
            3 => (0..2_usize, source()).prop_map(|(trigger, source)| Step::Source(trigger, source)),
            1 => (0..12_i32).prop_map(Step::Scale),
            1 => Just(Step::Restart),
            1 => Just(Step::ReferenceChanged),
            1 => Just(Step::ReadingWanted),
            1 => (0..2_usize).prop_map(Step::Push),
            1 => bounds().prop_map(|(idle, min, max)| Step::Edit(idle, min, max)),
            1 => any::<bool>().prop_map(Step::TargetReadable),
            1 => any::<bool>().prop_map(Step::ScaleWritable),
            1 => prop::option::of(any::<bool>()).prop_map(Step::Preparation),
        ], 1..20),
    ) {
        let mut world = run(&object, replicas, &before);
        world.take(&Step::Switch(Switches::default()));
        world.take(&Step::Switch(Switches { pause: Some(pause), ..Switches::default() }));
        world.settle_as_switched();
        let mut expected = world.replicas;
        if let Pause::At(replicas) = pause {
            prop_assert_eq!(expected, replicas);
        }
        let written = world.status_writes;
        for step in &during {
            world.take(step);
            if let Step::Scale(replicas) = step {
                expected = *replicas;
            }
            prop_assert_eq!(world.replicas, expected, "moved by {:?}", step);
        }
        let status = world.status.clone().expect("a paused object has a status");
        prop_assert_eq!(&status.conditions.paused.reason, "ScaledObjectPaused");
        let failed = during.iter().any(|step| matches!(step, Step::Preparation(Some(_)) | Step::TargetReadable(false)));
        prop_assert!(failed || world.status_writes == written, "written while nothing changed");
    }

    /// A pause that comes and goes leaves no trace. (One at a number of replicas is a person's scaling, too.)
    #[test]
    fn a_pause_changes_nothing_in_the_end(
        object in object(),
        replicas in 0..12_i32,
        trace in prop::collection::vec(step_without_pushes(), 1..30),
        points in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let points = [points.0.index(trace.len() + 1), points.1.index(trace.len() + 1)];
        let mut paused = trace.clone();
        paused.insert(points[0].max(points[1]), Step::Switch(Switches::default()));
        paused.insert(points[0].min(points[1]), Step::Switch(Switches { pause: Some(Pause::Whole), ..Switches::default() }));
        let mut world = run(&object, replicas, &trace);
        let mut interrupted = run(&object, replicas, &paused);
        world.settle();
        interrupted.settle();
        // Below the idle replicas nobody moves anything: what is found there depends on what was found before.
        let at_rest = |world: &World| world.replicas.max(world.object.idle_replicas.unwrap_or(0));
        prop_assert_eq!(at_rest(&world), at_rest(&interrupted));
    }
}
