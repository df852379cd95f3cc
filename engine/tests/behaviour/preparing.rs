//! Bringing objects up: the first time, after a change, after a restart, and when it fails.

use jiff::SignedDuration;
use sakidori_engine::{
    Condition, ConditionStatus, Conditions, Effect, Engine, Event, ObjectKey, PrepareOutcome,
    Remembered, ScaleDirection, ScaleOutcome, ScaledObject,
};

use crate::story::{Brief, Story, brief, failing, metrics, poll_of, reading, seconds, status};

#[test]
fn a_new_object_is_brought_up_with_one_status_write() {
    let mut story = Story::new();
    assert_eq!(
        brief(&story.apply(Remembered::default())),
        [Brief::Prepare(1)]
    );
    assert_eq!(
        brief(&story.apply(Remembered::default())),
        [],
        "nothing changed"
    );
    let effects = story.done();
    assert_eq!(
        brief(&effects),
        [
            Brief::Normal("KEDAScalersStarted", "Started scalers watch".into()),
            Brief::Normal(
                "ScaledObjectReady",
                "ScaledObject is ready for scaling".into()
            ),
            Brief::Poll,
        ]
    );
    let effects = story.polled(poll_of(&effects), 0, reading(0.0));
    assert_eq!(brief(&effects), [Brief::Status]);
    let conditions = &status(&effects).unwrap().conditions;
    let listed: Vec<_> = conditions
        .iter()
        .map(|(kind, c)| (kind.as_str(), c.status.as_str(), &*c.reason))
        .collect();
    assert_eq!(
        listed,
        [
            ("Ready", "True", "ScaledObjectReady"),
            ("Active", "False", "ScalerNotActive"),
            ("Fallback", "False", "NoFallbackFound"),
            ("Paused", "False", ""),
        ]
    );
    assert_eq!(
        brief(&story.poll(0, reading(0.0))),
        [],
        "nothing that a reader could see changed"
    );
}

#[test]
fn a_slow_first_poll_does_not_hold_the_status_back_for_long() {
    let (mut story, poll) = Story::brought_up();
    assert_eq!(story.engine.next_wakeup(), Some(story.now + seconds(2)));
    assert_eq!(brief(&story.wait(seconds(2))), [Brief::Status]);
    assert_eq!(
        brief(&story.polled(poll, 0, reading(0.0))),
        [Brief::Status],
        "Active became known"
    );
}

#[test]
fn an_object_that_cannot_be_prepared_says_so_once_and_is_tried_again() {
    let mut story = Story::new();
    story.apply(Remembered::default());
    let failed = || PrepareOutcome::Failed {
        message: "Deployment shop/web does not exist".into(),
        pollable: false,
    };
    let effects = story.prepared(failed());
    assert_eq!(
        brief(&effects),
        [
            Brief::Warning(
                "ScaledObjectCheckFailed",
                "Deployment shop/web does not exist".into()
            ),
            Brief::Status
        ]
    );
    let conditions = &status(&effects).unwrap().conditions;
    assert_eq!(
        (conditions.ready.status, &*conditions.ready.reason),
        (ConditionStatus::False, "ScaledObjectCheckFailed")
    );
    assert_eq!(
        conditions.ready.message,
        "Deployment shop/web does not exist"
    );
    assert_eq!(
        (&*conditions.active.reason, &*conditions.active.message),
        ("UnknownState", "ScaledObject check failed")
    );

    let wait = story
        .engine
        .next_wakeup()
        .unwrap()
        .duration_since(story.now);
    assert!(wait <= seconds(1), "{wait}");
    assert_eq!(brief(&story.wait(wait)), [Brief::Prepare(1)]);
    assert_eq!(
        brief(&story.prepared(failed())),
        [],
        "the same message is not told again"
    );
    assert_eq!(
        brief(&story.engine.handle(
            story.now,
            Event::ReferenceChanged {
                key: story.key.clone()
            }
        )),
        [Brief::Prepare(1)]
    );
    let effects = story.done();
    assert!(brief(&effects).contains(&Brief::Normal(
        "ScaledObjectReady",
        "ScaledObject is ready for scaling".into()
    )));
}

#[test]
fn problems_keep_ready_at_false_while_the_other_triggers_work() {
    let mut story = Story::new();
    story.apply(Remembered::default());
    let problems = vec![
        "b is missing".into(),
        "a is missing".into(),
        "b is missing".into(),
    ];
    let effects = story.prepared(PrepareOutcome::Done {
        target_replicas: 0,
        problems,
        metrics: metrics(),
    });
    let effects = story.polled(poll_of(&effects), 0, reading(1.0));
    assert_eq!(
        brief(&effects),
        [Brief::Scale(0, 1, ScaleDirection::Activate), Brief::Status]
    );
    let ready = &status(&effects).unwrap().conditions.ready;
    assert_eq!(
        (&*ready.reason, &*ready.message),
        ("ScaledObjectCheckFailed", "b is missing; a is missing")
    );
}

#[test]
fn a_change_while_preparing_prepares_once_more_afterwards() {
    let mut story = Story::new();
    story.apply(Remembered::default());
    for _ in 0..3 {
        assert_eq!(
            story.engine.handle(
                story.now,
                Event::ReferenceChanged {
                    key: story.key.clone()
                }
            ),
            []
        );
    }
    assert!(brief(&story.done()).contains(&Brief::Prepare(1)));
    assert!(!brief(&story.done()).contains(&Brief::Prepare(1)));
}

#[test]
fn an_answer_to_an_outdated_preparation_is_dropped() {
    let mut story = Story::new();
    story.apply(Remembered::default());
    story.object.generation = 2;
    story.object.min_replicas = 2;
    assert_eq!(brief(&story.apply(Remembered::default())), []);
    let outcome = PrepareOutcome::Failed {
        message: "of the old one".into(),
        pollable: true,
    };
    let event = Event::Prepared {
        key: story.key.clone(),
        generation: 1,
        outcome,
    };
    assert_eq!(
        brief(&story.engine.handle(story.now, event)),
        [Brief::Prepare(2)]
    );
}

#[test]
fn a_poll_begun_before_a_change_is_repeated_after_it() {
    let (mut story, poll) = Story::brought_up();
    story.engine.handle(
        story.now,
        Event::ReferenceChanged {
            key: story.key.clone(),
        },
    );
    assert_eq!(brief(&story.done()), [], "a poll is under way");
    let effects = story.polled(poll, 0, failing("the old password"));
    assert_eq!(
        brief(&effects),
        [Brief::Poll],
        "its answer says nothing about the new password"
    );
}

#[test]
fn a_restart_neither_shortens_the_cooldown_nor_tells_old_news() {
    let mut story = Story::new();
    let conditions = Conditions {
        ready: Condition {
            status: ConditionStatus::True,
            reason: "ScaledObjectReady".into(),
            message: String::new(),
        },
        active: Condition {
            status: ConditionStatus::True,
            reason: "ScalerActive".into(),
            message: String::new(),
        },
        ..Conditions::default()
    };
    let last_active_time = Some(story.now - seconds(1000));
    assert_eq!(
        brief(&story.apply(Remembered {
            last_active_time,
            conditions,
            seen_before: true,
            ..Remembered::default()
        })),
        [Brief::Prepare(1)]
    );
    assert_eq!(
        brief(&story.prepared(PrepareOutcome::Done {
            target_replicas: 7,
            problems: vec![],
            metrics: metrics()
        })),
        []
    );
    let effects = story.poll(7, reading(0.0));
    assert_eq!(
        brief(&effects),
        [Brief::Status],
        "active until the restart: the cooldown begins there"
    );
    assert_eq!(
        &*status(&effects).unwrap().conditions.active.reason,
        "ScalerCooldown"
    );
}

/// So many objects after a restart, every second at zero: how many are polled in each tenth of `window`.
fn first_polls(objects: i32, window: SignedDuration) -> [i32; 10] {
    let mut engine = Engine::default();
    let story = Story::new();
    let start = story.now;
    let key = |number: i32| ObjectKey::new("shop", format!("web-{number}"));
    for number in 0..objects {
        let object = ScaledObject {
            uid: format!("4b0c1f0e-0000-4000-8000-{number:012}"),
            ..story.object.clone()
        };
        let remembered = Remembered {
            seen_before: true,
            ..Remembered::default()
        };
        let key = key(number);
        engine.handle(
            start,
            Event::Applied {
                key,
                object,
                remembered,
            },
        );
    }
    for number in 0..objects {
        let outcome = PrepareOutcome::Done {
            target_replicas: number % 2,
            problems: vec![],
            metrics: metrics(),
        };
        engine.handle(
            start,
            Event::Prepared {
                key: key(number),
                generation: 1,
                outcome,
            },
        );
    }
    let mut polls = [0; 10];
    while let Some(at) = engine.next_wakeup().filter(|at| *at < start + window) {
        for effect in engine.handle(at, Event::Woke) {
            let Effect::Poll { key, .. } = effect else {
                panic!("{effect:?}")
            };
            let even = key.name.ends_with(['0', '2', '4', '6', '8']);
            let tenth = at.duration_since(start).as_nanos() * 10 / window.as_nanos();
            assert_eq!(even, tenth < 2, "{key} in tenth {tenth}");
            polls[usize::try_from(tenth).unwrap()] += 1;
        }
    }
    assert_eq!(polls.iter().sum::<i32>(), objects);
    polls
}

#[test]
fn first_polls_after_a_restart_are_spread_with_zero_replicas_first() {
    let polls = first_polls(10_000, seconds(10));
    assert!(
        polls[..2].iter().all(|count| (2300..2700).contains(count)),
        "{polls:?}"
    );
    assert!(
        polls[2..].iter().all(|count| (500..750).contains(count)),
        "{polls:?}"
    );
}

#[test]
fn few_objects_are_all_polled_soon_after_a_restart() {
    first_polls(50, SignedDuration::from_millis(250));
    first_polls(1, SignedDuration::from_millis(5));
}

#[test]
fn events_about_objects_that_are_gone_do_nothing() {
    let (mut story, poll) = Story::brought_up();
    assert_eq!(
        story.engine.handle(
            story.now,
            Event::Deleted {
                key: story.key.clone()
            }
        ),
        []
    );
    assert_eq!(story.engine.next_wakeup(), None);
    assert_eq!(story.polled(poll, 0, reading(1.0)), []);
    assert_eq!(story.done(), []);
    assert_eq!(story.scaled(ScaleOutcome::Conflict), []);
    assert_eq!(
        story.engine.handle(
            story.now,
            Event::ReadingWanted {
                key: story.key.clone()
            }
        ),
        []
    );
}
