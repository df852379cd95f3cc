//! Single stories, told event by event.

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::{
    Condition, ConditionStatus, Conditions, Effect, Engine, Event, EventType, ObjectKey,
    ObjectStatus, PollId, PollOutcome, PrepareOutcome, Reading, Remembered, ScaleDirection,
    ScaleOutcome, ScaledObject, TriggerOutcome,
};

/// An engine that is told about one object.
struct Story {
    engine: Engine,
    now: Timestamp,
    key: ObjectKey,
    object: ScaledObject,
}

/// What effects are about, without what doesn't matter to a story.
#[derive(Debug, PartialEq)]
enum Brief {
    Prepare(i64),
    Poll,
    Scale(i32, i32, ScaleDirection),
    Status,
    Normal(&'static str, String),
    Warning(&'static str, String),
}

fn brief(effects: &[Effect]) -> Vec<Brief> {
    let brief = |effect: &Effect| match effect {
        Effect::Prepare { generation, .. } => Brief::Prepare(*generation),
        Effect::Poll { .. } => Brief::Poll,
        Effect::Scale {
            from,
            to,
            direction,
            ..
        } => Brief::Scale(*from, *to, *direction),
        Effect::WriteStatus { .. } => Brief::Status,
        Effect::Publish {
            kind: EventType::Normal,
            reason,
            message,
            ..
        } => Brief::Normal(reason, message.clone()),
        Effect::Publish {
            kind: EventType::Warning,
            reason,
            message,
            ..
        } => Brief::Warning(reason, message.clone()),
    };
    effects.iter().map(brief).collect()
}

fn status(effects: &[Effect]) -> Option<&ObjectStatus> {
    effects.iter().find_map(|effect| {
        if let Effect::WriteStatus { status, .. } = effect {
            Some(status)
        } else {
            None
        }
    })
}

fn poll_of(effects: &[Effect]) -> PollId {
    let poll = effects.iter().find_map(|effect| {
        if let Effect::Poll { poll, .. } = effect {
            Some(*poll)
        } else {
            None
        }
    });
    poll.unwrap_or_else(|| panic!("no poll in {effects:?}"))
}

fn reading(value: f64) -> TriggerOutcome {
    TriggerOutcome::Read(vec![Reading {
        metric: "s0-queue".into(),
        value,
        active: value > 0.0,
    }])
}

fn failing(message: &str) -> TriggerOutcome {
    TriggerOutcome::Failed {
        message: message.into(),
    }
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

impl Story {
    fn new() -> Self {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let object = ScaledObject {
            uid: "4b0c1f0e-0000-4000-8000-000000000001".into(),
            generation: 1,
            created_at: now,
            polling_interval: seconds(30),
            cooldown_period: seconds(300),
            initial_cooldown_period: SignedDuration::ZERO,
            idle_replicas: None,
            min_replicas: 0,
            max_replicas: 100,
            target_kind: "apps/v1.Deployment".into(),
            target_name: "web".into(),
            trigger_count: 1,
        };
        Self {
            engine: Engine::default(),
            now,
            key: ObjectKey::new("shop", "web"),
            object,
        }
    }

    fn apply(&mut self, remembered: Remembered) -> Vec<Effect> {
        let event = Event::Applied {
            key: self.key.clone(),
            object: self.object.clone(),
            remembered,
        };
        self.engine.handle(self.now, event)
    }

    fn prepared(&mut self, outcome: PrepareOutcome) -> Vec<Effect> {
        let event = Event::Prepared {
            key: self.key.clone(),
            generation: self.object.generation,
            outcome,
        };
        self.engine.handle(self.now, event)
    }

    fn done(&mut self) -> Vec<Effect> {
        self.prepared(PrepareOutcome::Done {
            target_replicas: 0,
            problems: vec![],
        })
    }

    fn polled(&mut self, poll: PollId, replicas: i32, trigger: TriggerOutcome) -> Vec<Effect> {
        let outcome = PollOutcome {
            replicas: Ok(replicas),
            triggers: vec![trigger],
        };
        self.engine.handle(
            self.now,
            Event::Polled {
                key: self.key.clone(),
                poll,
                outcome,
            },
        )
    }

    fn scaled(&mut self, outcome: ScaleOutcome) -> Vec<Effect> {
        self.engine.handle(
            self.now,
            Event::Scaled {
                key: self.key.clone(),
                outcome,
            },
        )
    }

    fn wait(&mut self, duration: SignedDuration) -> Vec<Effect> {
        self.now += duration;
        self.engine.handle(self.now, Event::Woke)
    }

    /// An object that is prepared and whose first poll is under way.
    fn brought_up() -> (Self, PollId) {
        let mut story = Self::new();
        story.apply(Remembered::default());
        let poll = poll_of(&story.done());
        (story, poll)
    }

    /// Waits until the next poll is due, and answers it.
    fn poll(&mut self, replicas: i32, trigger: TriggerOutcome) -> Vec<Effect> {
        let wait = self.engine.next_wakeup().unwrap().duration_since(self.now);
        let effects = self.wait(wait);
        self.polled(poll_of(&effects), replicas, trigger)
    }
}

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
fn messages_bring_a_target_up_and_their_end_brings_it_down_after_the_cooldown() {
    let (mut story, poll) = Story::brought_up();
    let effects = story.polled(poll, 0, reading(500.0));
    assert_eq!(
        brief(&effects),
        [Brief::Scale(0, 1, ScaleDirection::Activate), Brief::Status]
    );
    assert_eq!(
        status(&effects).unwrap().triggers_activity,
        [("s0-queue".to_owned(), true)]
    );
    assert_eq!(
        brief(&story.scaled(ScaleOutcome::Done { from: 0, to: 1 })),
        [Brief::Normal(
            "KEDAScaleTargetActivated",
            "Scaled apps/v1.Deployment shop/web from 0 to 1, triggered by s0-queue".into()
        )]
    );
    let last_active = story.now;

    let effects = story.poll(5, reading(0.0));
    assert_eq!(brief(&effects), [Brief::Status]);
    let cooling = status(&effects).unwrap();
    assert_eq!(
        (&*cooling.conditions.active.reason, cooling.last_active_time),
        ("ScalerCooldown", Some(last_active))
    );
    while story.now < last_active + seconds(270) {
        assert_eq!(brief(&story.poll(5, reading(0.0))), []);
    }
    assert_eq!(
        brief(&story.poll(5, reading(0.0))),
        [],
        "the cooldown's end does not count as after it"
    );
    assert_eq!(
        brief(&story.poll(5, reading(0.0))),
        [
            Brief::Scale(5, 0, ScaleDirection::Deactivate),
            Brief::Status
        ]
    );
    assert_eq!(
        brief(&story.scaled(ScaleOutcome::Done { from: 5, to: 0 })),
        [Brief::Normal(
            "KEDAScaleTargetDeactivated",
            "Deactivated apps/v1.Deployment shop/web from 5 to 0".into()
        )]
    );
}

#[test]
fn last_active_time_alone_is_written_every_tenth_of_the_cooldown() {
    let (mut story, poll) = Story::brought_up();
    story.object.polling_interval = seconds(1);
    story.object.generation = 2;
    story.apply(Remembered::default());
    story.done();
    let poll = poll_of(&story.polled(poll, 1, reading(1.0)));
    assert_eq!(brief(&story.polled(poll, 1, reading(1.0))), [Brief::Status]);
    let writes = (0..90)
        .filter(|_| !story.poll(1, reading(1.0)).is_empty())
        .count();
    assert_eq!(writes, 3, "in 90 s with a cooldown of 300 s");
}

#[test]
fn a_failing_source_shows_and_scales_nothing() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 3, reading(9.0));
    story.now += seconds(3000);
    let effects = story.wait(SignedDuration::ZERO);
    let effects = story.polled(poll_of(&effects), 3, failing("connection refused"));
    assert_eq!(
        brief(&effects),
        [
            Brief::Warning("KEDAScalerFailed", "connection refused".into()),
            Brief::Status
        ]
    );
    let written = status(&effects).unwrap();
    assert_eq!(&*written.conditions.ready.reason, "TriggerError");
    assert_eq!(&*written.conditions.active.reason, "ScalerNotActive");
    assert_eq!(
        written.triggers_activity,
        [("s0-queue".to_owned(), false)],
        "it keeps its metric"
    );
    assert_eq!(
        brief(&story.poll(3, failing("connection refused"))),
        [],
        "told once"
    );
    let effects = story.poll(3, reading(9.0));
    assert_eq!(
        &*status(&effects).unwrap().conditions.ready.reason,
        "ScaledObjectReady"
    );
}

#[test]
fn replicas_that_cannot_be_read_show_and_scale_nothing() {
    let (mut story, poll) = Story::brought_up();
    let outcome = PollOutcome {
        replicas: Err("not found".into()),
        triggers: vec![reading(0.0)],
    };
    let effects = story.engine.handle(
        story.now,
        Event::Polled {
            key: story.key.clone(),
            poll,
            outcome,
        },
    );
    assert_eq!(brief(&effects), [Brief::Status]);
    let ready = &status(&effects).unwrap().conditions.ready;
    assert_eq!(ready.reason, "ErrorGettingCurrentReplicas");
    assert_eq!(
        ready.message,
        "Error getting current replicas count for ScaleTarget: not found"
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
fn polls_keep_their_rhythm_and_missed_ones_are_left_out() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 0, reading(0.0));
    let start = story.now;
    let effects = story.wait(seconds(31));
    assert_eq!(brief(&effects), [Brief::Poll]);
    assert_eq!(
        story.engine.next_wakeup(),
        Some(start + seconds(60)),
        "one that is late delays no other"
    );
    story.polled(poll_of(&effects), 0, reading(0.0));
    let effects = story.wait(seconds(100));
    assert_eq!(
        brief(&effects),
        [Brief::Poll],
        "not one for each that was missed"
    );
    assert_eq!(story.engine.next_wakeup(), Some(start + seconds(150)));
    // One that takes longer than the interval holds back the next ones, until it has to be lost.
    assert_eq!(brief(&story.wait(seconds(19))), []);
    assert_eq!(brief(&story.wait(seconds(30))), []);
    assert_eq!(
        brief(&story.wait(seconds(30))),
        [Brief::Poll],
        "the old one is given up after two intervals"
    );
    assert_eq!(
        story.polled(poll_of(&effects), 0, reading(9.0)),
        [],
        "and its answer comes too late"
    );
}

#[test]
fn a_reading_for_the_hpa_counts_as_the_poll() {
    let (mut story, poll) = Story::brought_up();
    let wanted = Event::ReadingWanted {
        key: story.key.clone(),
    };
    assert_eq!(
        story.engine.handle(story.now, wanted.clone()),
        [],
        "one is under way"
    );
    story.polled(poll, 0, reading(0.0));
    story.now += seconds(20);
    assert_eq!(
        brief(&story.engine.handle(story.now, wanted)),
        [Brief::Poll]
    );
    assert_eq!(story.engine.next_wakeup(), Some(story.now + seconds(30)));
}

#[test]
fn a_conflicting_write_polls_again_but_not_in_a_tight_loop() {
    let (mut story, poll) = Story::brought_up();
    story.now += seconds(1);
    story.polled(poll, 0, reading(1.0));
    let effects = story.scaled(ScaleOutcome::Conflict);
    assert_eq!(brief(&effects), [Brief::Poll]);
    let effects = story.polled(poll_of(&effects), 0, reading(1.0));
    assert_eq!(
        brief(&effects),
        [Brief::Scale(0, 1, ScaleDirection::Activate)]
    );
    assert_eq!(story.scaled(ScaleOutcome::Conflict), []);
    assert_eq!(story.engine.next_wakeup(), Some(story.now + seconds(1)));
}

#[test]
fn failed_writes_are_told_and_tried_again_at_the_next_poll() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 0, reading(1.0));
    assert_eq!(
        brief(&story.scaled(ScaleOutcome::Failed {
            from: 0,
            to: 1,
            message: "forbidden".into()
        })),
        [Brief::Warning(
            "KEDAScaleTargetActivationFailed",
            "Failed to scale apps/v1.Deployment shop/web from 0 to 1: forbidden".into()
        )]
    );
    assert_eq!(
        brief(&story.poll(0, reading(1.0)))[0],
        Brief::Scale(0, 1, ScaleDirection::Activate)
    );
}

#[test]
fn the_hpas_condition_goes_out_with_the_next_poll() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 0, reading(0.0));
    for status in [true, false, true] {
        let (reason, message) = ("FailedGetExternalMetric".into(), "no metric".into());
        let event = Event::HpaObserved {
            key: story.key.clone(),
            status,
            reason,
            message,
        };
        assert_eq!(story.engine.handle(story.now, event), []);
    }
    let effects = story.poll(0, reading(0.0));
    let hpa = status(&effects)
        .unwrap()
        .conditions
        .hpa_active
        .as_ref()
        .unwrap();
    assert_eq!(
        (hpa.status, &*hpa.reason, &*hpa.message),
        (
            ConditionStatus::True,
            "HPAActive",
            "HPA is actively scaling"
        )
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
            seen_before: true
        })),
        [Brief::Prepare(1)]
    );
    assert_eq!(
        brief(&story.prepared(PrepareOutcome::Done {
            target_replicas: 7,
            problems: vec![]
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

#[test]
fn first_polls_after_a_restart_are_spread_with_zero_replicas_first() {
    let mut engine = Engine::default();
    let story = Story::new();
    let start = story.now;
    for number in 0..10_000 {
        let key = ObjectKey::new("shop", format!("web-{number}"));
        let object = ScaledObject {
            uid: format!("4b0c1f0e-0000-4000-8000-{number:012}"),
            ..story.object.clone()
        };
        let remembered = Remembered {
            seen_before: true,
            ..Remembered::default()
        };
        engine.handle(
            start,
            Event::Applied {
                key: key.clone(),
                object,
                remembered,
            },
        );
        let outcome = PrepareOutcome::Done {
            target_replicas: number % 2,
            problems: vec![],
        };
        engine.handle(
            start,
            Event::Prepared {
                key,
                generation: 1,
                outcome,
            },
        );
    }
    let mut polls = [0; 10];
    while let Some(at) = engine.next_wakeup().filter(|at| *at < start + seconds(10)) {
        for effect in engine.handle(at, Event::Woke) {
            let Effect::Poll { key, .. } = effect else {
                panic!("{effect:?}")
            };
            let even = key.name.ends_with(['0', '2', '4', '6', '8']);
            let second = at.duration_since(start).as_secs();
            assert_eq!(even, second < 2, "{key} at {second} s");
            polls[usize::try_from(second).unwrap()] += 1;
        }
    }
    assert_eq!(polls.iter().sum::<i32>(), 10_000);
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
