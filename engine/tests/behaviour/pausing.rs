//! Pausing, unpausing, and what is paused or forced in one direction.

use sakidori_engine::{
    ConditionStatus, Effect, ObjectStatus, Pause, PrepareOutcome, Remembered, ScaleDirection,
    ScaleOutcome, Switches,
};

use crate::story::{Brief, Story, brief, poll_of, reading, seconds, status};

const NOTHING: Switches = Switches {
    pause: None,
    scale_in_paused: false,
    scale_out_paused: false,
    activation_forced: false,
};

fn switch(story: &mut Story, switches: Switches) -> Vec<Effect> {
    story.object.switches = switches;
    story.apply(Remembered::default())
}

fn pause(story: &mut Story, pause: Pause) -> Vec<Effect> {
    let pause = Some(pause);
    switch(story, Switches { pause, ..NOTHING })
}

fn paused(story: &mut Story, target_replicas: Option<i32>) -> Vec<Effect> {
    story.prepared(PrepareOutcome::Paused { target_replicas })
}

fn normal(reason: &'static str, message: &str) -> Brief {
    Brief::Normal(reason, message.into())
}

/// Reason and message of Ready, Active and Paused.
fn conditions(status: &ObjectStatus) -> [(&str, &str); 3] {
    let all = &status.conditions;
    [&all.ready, &all.active, &all.paused].map(|it| (&*it.reason, &*it.message))
}

/// An object with 5 messages and 2 replicas, whose second poll is done.
fn running() -> Story {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 2, reading(5.0));
    story.poll(2, reading(5.0));
    story
}

#[test]
fn a_pause_ends_polling_at_once_and_is_shown_when_the_hpa_is_gone() {
    let mut story = running();
    let effects = pause(&mut story, Pause::Whole);
    assert_eq!(
        brief(&effects),
        [
            normal("ScaledObjectPaused", "ScaledObject is paused"),
            normal("KEDAScalersStopped", "Stopped scalers watch"),
            Brief::Prepare(1),
        ]
    );
    let effects = paused(&mut story, None);
    assert_eq!(brief(&effects), [Brief::Status]);
    let status = status(&effects).unwrap();
    let (now, since) = ("ScaledObjectPaused", "ScaledObject is paused");
    let active = "Scaling is performed because triggers are active";
    assert_eq!(
        conditions(status),
        [
            ("ScaledObjectReady", since),
            ("ScalerActive", active),
            (now, since)
        ]
    );
    assert_eq!(status.paused_replicas, None);
    assert_eq!(story.engine.next_wakeup(), None, "nothing is left to do");
    assert_eq!(brief(&story.wait(seconds(3600))), []);
}

#[test]
fn the_answer_of_a_poll_begun_before_the_pause_scales_nothing() {
    let (mut story, poll) = Story::brought_up();
    pause(&mut story, Pause::Whole);
    assert_eq!(brief(&story.polled(poll, 0, reading(5.0))), []);
    assert_eq!(brief(&paused(&mut story, None)), [Brief::Status]);
    assert_eq!(brief(&story.polled(poll, 0, reading(5.0))), []);
}

#[test]
fn the_end_of_a_pause_brings_the_polls_back_at_once() {
    let mut story = running();
    pause(&mut story, Pause::Whole);
    paused(&mut story, None);
    story.now += seconds(3600);
    let effects = switch(&mut story, NOTHING);
    let unpaused = normal(
        "ScaledObjectUnpaused",
        "pause annotation removed for ScaledObject",
    );
    assert_eq!(brief(&effects), [unpaused, Brief::Prepare(1)]);
    let effects = story.done();
    let started = normal("KEDAScalersStarted", "Started scalers watch");
    assert_eq!(brief(&effects), [started, Brief::Poll]);
    let effects = story.polled(poll_of(&effects), 2, reading(5.0));
    assert_eq!(brief(&effects), [Brief::Status]);
    let status = status(&effects).unwrap();
    assert_eq!(
        conditions(status),
        [
            (
                "ScaledObjectReady",
                "ScaledObject is defined correctly and is ready for scaling"
            ),
            (
                "ScalerActive",
                "Scaling is performed because triggers are active"
            ),
            (
                "ScaledObjectUnpaused",
                "pause annotation removed for ScaledObject"
            ),
        ]
    );
    assert_eq!(status.conditions.paused.status, ConditionStatus::False);
}

#[test]
fn the_cooldown_runs_on_during_a_pause() {
    let mut story = running();
    pause(&mut story, Pause::Whole);
    paused(&mut story, None);
    story.now += seconds(301);
    switch(&mut story, NOTHING);
    let poll = poll_of(&story.done());
    let effects = story.polled(poll, 2, reading(0.0));
    let deactivate = Brief::Scale(2, 0, ScaleDirection::Deactivate);
    assert_eq!(brief(&effects), [deactivate, Brief::Status]);
}

/// What only the log tells.
fn held(from: i32, to: i32) -> Brief {
    let message =
        format!("Scaled apps/v1.Deployment shop/web from {from} to {to}, paused at {to} replicas");
    Brief::Log("SetToPausedReplicas", message)
}

#[test]
fn a_number_of_replicas_is_set_once() {
    let mut story = running();
    pause(&mut story, Pause::At(4));
    let hold = Brief::Scale(2, 4, ScaleDirection::HoldPaused);
    assert_eq!(brief(&paused(&mut story, Some(2))), [hold]);
    let effects = story.scaled(ScaleOutcome::Done { from: 2, to: 4 });
    assert_eq!(brief(&effects), [held(2, 4), Brief::Status]);
    assert_eq!(status(&effects).unwrap().paused_replicas, Some(4));

    // A person scales it; then something makes the engine look again.
    assert_eq!(brief(&paused(&mut story, Some(1))), []);

    // Another number is another wish.
    assert_eq!(brief(&pause(&mut story, Pause::At(6))), [Brief::Prepare(1)]);
    let hold = Brief::Scale(1, 6, ScaleDirection::HoldPaused);
    assert_eq!(brief(&paused(&mut story, Some(1))), [hold]);
    let effects = story.scaled(ScaleOutcome::Done { from: 1, to: 6 });
    assert_eq!(status(&effects).unwrap().paused_replicas, Some(6));

    // Without a number they stay, and the number is not shown any more.
    pause(&mut story, Pause::Whole);
    let effects = paused(&mut story, None);
    assert_eq!(status(&effects).unwrap().paused_replicas, None);
}

#[test]
fn replicas_that_cannot_be_set_are_told_and_tried_again() {
    let mut story = running();
    pause(&mut story, Pause::At(0));
    paused(&mut story, Some(2));
    let effects = story.scaled(ScaleOutcome::Failed {
        from: 2,
        to: 0,
        message: "forbidden".into(),
    });
    let message = "failed to scale target to paused replica count: forbidden";
    let failed = Brief::Warning("ScaledObjectCheckFailed", message.into());
    assert_eq!(brief(&effects), [failed, Brief::Status]);
    assert_eq!(
        conditions(status(&effects).unwrap())[0],
        ("ScaledObjectCheckFailed", message)
    );
    let wait = story.engine.next_wakeup().unwrap();
    let wait = wait.duration_since(story.now);
    assert_eq!(brief(&story.wait(wait)), [Brief::Prepare(1)]);
    let hold = || Brief::Scale(2, 0, ScaleDirection::HoldPaused);
    assert_eq!(brief(&paused(&mut story, Some(2))), [hold()]);
    // Somebody else changes it at the same time: look again, at once.
    assert_eq!(
        brief(&story.scaled(ScaleOutcome::Conflict)),
        [Brief::Prepare(1)]
    );
    assert_eq!(brief(&paused(&mut story, Some(2))), [hold()]);
    let effects = story.scaled(ScaleOutcome::Done { from: 2, to: 0 });
    let ready = normal("ScaledObjectReady", "ScaledObject is ready for scaling");
    assert_eq!(brief(&effects), [held(2, 0), ready, Brief::Status]);
    assert_eq!(story.engine.next_wakeup(), None);
}

#[test]
fn a_write_under_way_when_the_pause_comes_is_followed_by_the_pauses_own() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 0, reading(5.0));
    pause(&mut story, Pause::At(3));
    assert_eq!(brief(&paused(&mut story, Some(0))), []);
    let effects = story.scaled(ScaleOutcome::Done { from: 0, to: 1 });
    assert_eq!(
        brief(&effects),
        [
            normal(
                "KEDAScaleTargetActivated",
                "Scaled apps/v1.Deployment shop/web from 0 to 1, triggered by s0-queue"
            ),
            Brief::Prepare(1),
        ]
    );
    let hold = Brief::Scale(1, 3, ScaleDirection::HoldPaused);
    assert_eq!(brief(&paused(&mut story, Some(1))), [hold]);
}

#[test]
fn a_restart_during_a_pause_moves_and_writes_nothing() {
    let mut story = running();
    pause(&mut story, Pause::At(4));
    paused(&mut story, Some(2));
    let effects = story.scaled(ScaleOutcome::Done { from: 2, to: 4 });
    let shown = status(&effects).unwrap().clone();

    let mut story = Story {
        engine: sakidori_engine::Engine::default(),
        now: story.now + seconds(7200),
        ..story
    };
    let effects = story.apply(Remembered {
        last_active_time: shown.last_active_time,
        conditions: shown.conditions,
        paused_replicas: shown.paused_replicas,
        seen_before: true,
        ..Remembered::default()
    });
    assert_eq!(brief(&effects), [Brief::Prepare(1)]);
    assert_eq!(brief(&paused(&mut story, Some(9))), []);
    assert_eq!(story.engine.next_wakeup(), None);

    // Unpaused, it is polled at once rather than some seconds later as after a restart.
    switch(&mut story, NOTHING);
    let started = normal("KEDAScalersStarted", "Started scalers watch");
    let effects = story.done();
    assert_eq!(brief(&effects), [started, Brief::Poll]);
    // The cooldown of long ago is over.
    let effects = story.polled(poll_of(&effects), 9, reading(0.0));
    let deactivate = Brief::Scale(9, 0, ScaleDirection::Deactivate);
    assert_eq!(brief(&effects), [deactivate, Brief::Status]);
}

#[test]
fn what_is_prepared_while_the_annotations_change_is_prepared_again() {
    let mut story = Story::new();
    story.apply(Remembered::default());
    // Paused while its HPA is made: the answer is about an object that is not paused.
    let told = normal("ScaledObjectPaused", "ScaledObject is paused");
    assert_eq!(brief(&pause(&mut story, Pause::Whole)), [told]);
    assert_eq!(brief(&story.done()), [Brief::Prepare(1)]);
    // And the other way round.
    switch(&mut story, NOTHING);
    assert_eq!(brief(&paused(&mut story, None)), [Brief::Prepare(1)]);
    // The shell may see the annotation before the engine does.
    assert_eq!(brief(&paused(&mut story, None)), [Brief::Prepare(1)]);
    assert!(brief(&story.done()).contains(&Brief::Poll));
}

#[test]
fn one_direction_paused_goes_on_polling() {
    let mut story = running();
    let both = Switches {
        scale_in_paused: true,
        scale_out_paused: true,
        ..NOTHING
    };
    let told = normal("ScaledObjectPaused", "ScaledObject is paused");
    assert_eq!(brief(&switch(&mut story, both)), [told, Brief::Prepare(1)]);
    let poll = poll_of(&story.done());
    let effects = story.polled(poll, 2, reading(5.0));
    assert_eq!(
        conditions(status(&effects).unwrap()),
        [
            (
                "ScaledObjectReady",
                "ScaledObject is defined correctly and is ready for scaling"
            ),
            (
                "ScalerActive",
                "Scaling is performed because triggers are active"
            ),
            ("ScaledObjectPaused", "ScaledObject is paused"),
        ]
    );
    // Not from zero, and not to zero; in KEDA the cooldown is not shown either.
    let effects = story.poll(0, reading(5.0));
    assert_eq!(brief(&effects), [Brief::Status], "lastActiveTime");
    let effects = story.poll(2, reading(0.0));
    assert_eq!(brief(&effects), [Brief::Status]);
    assert_eq!(
        conditions(status(&effects).unwrap())[1].0,
        "ScalerNotActive"
    );
    story.now += seconds(600);
    assert_eq!(brief(&story.poll(2, reading(0.0))), []);
}

#[test]
fn forced_activation_activates_and_ends_with_the_cooldown() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 0, reading(0.0));
    let forced = Switches {
        activation_forced: true,
        ..NOTHING
    };
    assert_eq!(brief(&switch(&mut story, forced)), [Brief::Prepare(1)]);
    let poll = poll_of(&story.done());
    let effects = story.polled(poll, 0, reading(0.0));
    let activate = Brief::Scale(0, 1, ScaleDirection::Activate);
    assert_eq!(brief(&effects), [activate, Brief::Status]);
    assert_eq!(
        conditions(status(&effects).unwrap())[1],
        (
            "ScalerActive",
            "Scaling is performed because activation is being forced by annotation"
        )
    );
    assert_eq!(
        brief(&story.scaled(ScaleOutcome::Done { from: 0, to: 1 })),
        [normal(
            "KEDAScaleTargetActivated",
            "Scaled apps/v1.Deployment shop/web from 0 to 1, caused by forced activation annotation"
        )]
    );
    story.now += seconds(1000);
    story.poll(1, reading(0.0));
    switch(&mut story, NOTHING);
    let poll = poll_of(&story.done());
    let effects = story.polled(poll, 1, reading(0.0));
    assert_eq!(
        conditions(status(&effects).unwrap())[1].0,
        "ScalerCooldown",
        "the cooldown runs from the end of the force"
    );
}
