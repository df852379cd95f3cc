//! Polls and what follows from them.

use jiff::SignedDuration;
use sakidori_engine::{
    ConditionStatus, Effect, Event, Pause, PollOutcome, Remembered, ScaleDirection, ScaleOutcome,
};

use crate::story::{Brief, Story, brief, failing, poll_of, reading, seconds, status};

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
fn last_active_time_alone_is_written_every_fifth_of_the_cooldown() {
    let (mut story, poll) = Story::brought_up();
    story.object.polling_interval = seconds(1);
    story.object.generation = 2;
    story.apply(Remembered::default());
    story.done();
    let poll = poll_of(&story.polled(poll, 1, reading(1.0)));
    assert_eq!(brief(&story.polled(poll, 1, reading(1.0))), [Brief::Status]);
    let writes = (0..180)
        .filter(|_| !story.poll(1, reading(1.0)).is_empty())
        .count();
    assert_eq!(writes, 3, "in 180 s with a cooldown of 300 s");
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
        ready_pods: None,
        age: SignedDuration::ZERO,
    };
    let effects = story.engine.handle(
        story.now,
        Event::Polled {
            key: story.key.clone(),
            poll,
            outcome,
        },
    );
    let message = "Error getting current replicas count for ScaleTarget: not found";
    let told = Brief::Log("ErrorGettingCurrentReplicas", message.into());
    assert_eq!(brief(&effects), [told, Brief::Status]);
    let ready = &status(&effects).unwrap().conditions.ready;
    assert_eq!(ready.reason, "ErrorGettingCurrentReplicas");
    assert_eq!(
        ready.message,
        "Error getting current replicas count for ScaleTarget: not found"
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

/// A poll that takes a little longer than the interval must not cost the whole next one.
#[test]
fn a_poll_that_was_due_while_one_was_under_way_begins_when_that_ends() {
    let (mut story, poll) = Story::brought_up();
    let start = story.now;
    assert!(!brief(&story.wait(seconds(31))).contains(&Brief::Poll));
    story.wait(seconds(4));
    let effects = story.polled(poll, 0, reading(0.0));
    let Some(Effect::Poll { poll, late, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    assert_eq!(*late, seconds(5), "it was to begin after 30 s");
    assert_eq!(
        story.engine.next_wakeup(),
        Some(start + seconds(60)),
        "it delays no other"
    );
    assert!(!brief(&story.polled(*poll, 0, reading(0.0))).contains(&Brief::Poll));
    assert_eq!(brief(&story.wait(seconds(25))), [Brief::Poll]);
}

#[test]
fn a_pause_leaves_out_a_poll_that_waits_for_the_end_of_another() {
    let (mut story, poll) = Story::brought_up();
    story.wait(seconds(31));
    story.object.switches.pause = Some(Pause::Whole);
    story.apply(Remembered::default());
    assert!(!brief(&story.polled(poll, 0, reading(0.0))).contains(&Brief::Poll));
}

/// Two objects with the same question poll at the same moment from then on: one question an interval.
#[test]
fn an_answer_that_was_shared_counts_from_when_it_was_asked_for() {
    let (mut story, poll) = Story::brought_up();
    let start = story.now;
    let key = story.key.clone();
    let polled = |poll, age| Event::Polled {
        key: key.clone(),
        poll,
        outcome: PollOutcome {
            replicas: Ok(0),
            triggers: vec![reading(0.0)],
            ready_pods: None,
            age: seconds(age),
        },
    };
    story.engine.handle(story.now, polled(poll, 20));
    assert_eq!(story.engine.next_wakeup(), Some(start + seconds(10)));
    let effects = story.wait(seconds(10));
    let Some(Effect::Poll { poll, within, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    assert_eq!(*within, seconds(27), "one of a whole interval ago is none");
    story.engine.handle(story.now, polled(*poll, 0));
    assert_eq!(story.engine.next_wakeup(), Some(start + seconds(40)));
}

/// That nothing waited for somebody else some time ago is no reason to take the replicas away.
#[test]
fn an_old_answer_brings_nothing_down() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 5, reading(0.0));
    // The cooldown is over.
    let poll = poll_of(&story.wait(seconds(400)));
    let key = story.key.clone();
    let polled = |poll, age| Event::Polled {
        key: key.clone(),
        poll,
        outcome: PollOutcome {
            replicas: Ok(5),
            triggers: vec![reading(0.0)],
            ready_pods: None,
            age: seconds(age),
        },
    };
    let effects = story.engine.handle(story.now, polled(poll, 20));
    assert!(
        !brief(&effects)
            .iter()
            .any(|brief| matches!(brief, Brief::Scale(..)))
    );
    let Some(Effect::Poll { poll, within, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    assert_eq!(*within, seconds(0));
    let effects = story.engine.handle(story.now, polled(*poll, 0));
    assert!(brief(&effects).contains(&Brief::Scale(5, 0, ScaleDirection::Deactivate)));
}

#[test]
fn the_hpa_and_a_push_take_newer_answers_only() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 0, reading(0.0));
    let within = |effects: &[Effect]| match effects.last() {
        Some(Effect::Poll { within, .. }) => *within,
        _ => panic!("{effects:?}"),
    };
    let key = story.key.clone();
    story.now += seconds(3);
    let wanted = Event::ReadingWanted { key: key.clone() };
    let effects = story.engine.handle(story.now, wanted);
    assert_eq!(within(&effects), seconds(1));
    story.polled(poll_of(&effects), 0, reading(0.0));
    story.now += seconds(3);
    let pushed = Event::Pushed {
        key,
        trigger: 0,
        metric: "s0-queue".into(),
    };
    assert_eq!(within(&story.engine.handle(story.now, pushed)), seconds(0));
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
