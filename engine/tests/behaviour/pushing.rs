//! Sources that tell by themselves that there is work.

use jiff::SignedDuration;
use sakidori_engine::{
    Effect, Event, Pause, PollOutcome, PrepareOutcome, Remembered, ScaleDirection, ScaleOutcome,
    Switches,
};

use crate::story::{Brief, Story, brief, failing, poll_of, reading, seconds, status};

const ACTIVATE: Brief = Brief::Scale(0, 1, ScaleDirection::Activate);

impl Story {
    fn push(&mut self) -> Vec<Effect> {
        let event = Event::Pushed {
            key: self.key.clone(),
            trigger: 0,
            metric: "s0-queue".into(),
        };
        self.engine.handle(self.now, event)
    }

    /// An object at zero whose first poll found nothing to do, a while ago.
    fn at_rest() -> Self {
        let (mut story, poll) = Self::brought_up();
        story.polled(poll, 0, reading(0.0));
        story.now += seconds(10);
        story
    }
}

#[test]
fn a_push_is_polled_at_once_and_activates_though_the_poll_says_no() {
    let mut story = Story::at_rest();
    let effects = story.push();
    assert_eq!(brief(&effects), [Brief::Poll]);
    let effects = story.polled(poll_of(&effects), 0, reading(0.0));
    assert_eq!(brief(&effects), [ACTIVATE, Brief::Status]);
    let written = status(&effects).unwrap();
    assert_eq!(&*written.conditions.active.reason, "ScalerActive");
    assert_eq!(written.triggers_activity, [("s0-queue".to_owned(), true)]);
    assert_eq!(written.last_active_time, Some(story.now));
    let done = story.scaled(ScaleOutcome::Done { from: 0, to: 1 });
    let note = "Scaled apps/v1.Deployment shop/web from 0 to 1, triggered by s0-queue";
    assert_eq!(
        brief(&done),
        [Brief::Normal("KEDAScaleTargetActivated", note.into())]
    );
    // It counts once: from the next poll on, the cooldown runs.
    let effects = story.poll(1, reading(0.0));
    assert_eq!(
        &*status(&effects).unwrap().conditions.active.reason,
        "ScalerCooldown"
    );
}

#[test]
fn a_push_activates_though_its_trigger_cannot_be_read() {
    let mut story = Story::at_rest();
    let poll = poll_of(&story.push());
    let effects = story.polled(poll, 0, failing("connection refused"));
    assert!(brief(&effects).contains(&ACTIVATE), "{effects:?}");
}

#[test]
fn a_push_keeps_an_active_object_from_cooling_down() {
    let (mut story, poll) = Story::brought_up();
    story.polled(poll, 5, reading(9.0));
    for _ in 0..20 {
        story.now += seconds(200);
        let poll = poll_of(&story.push());
        let effects = story.polled(poll, 5, reading(0.0));
        let scaled = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Scale { .. }));
        assert!(!scaled, "{effects:?}");
    }
}

#[test]
fn the_answer_of_a_poll_under_way_counts_the_push() {
    let (mut story, poll) = Story::brought_up();
    assert_eq!(brief(&story.push()), [], "one poll at a time");
    let effects = story.polled(poll, 0, reading(0.0));
    assert!(brief(&effects).contains(&ACTIVATE), "{effects:?}");
}

#[test]
fn a_push_waits_for_replicas_and_for_a_write_that_succeeds() {
    let mut story = Story::at_rest();
    let poll = poll_of(&story.push());
    let outcome = PollOutcome {
        replicas: Err("unreachable".into()),
        triggers: vec![reading(0.0)],
        ready_pods: None,
        age: SignedDuration::ZERO,
    };
    let key = story.key.clone();
    story
        .engine
        .handle(story.now, Event::Polled { key, poll, outcome });
    for outcome in [
        ScaleOutcome::Conflict,
        ScaleOutcome::Failed {
            from: 0,
            to: 1,
            message: "forbidden".into(),
        },
        ScaleOutcome::Done { from: 0, to: 1 },
    ] {
        let effects = story.poll(0, reading(0.0));
        assert!(brief(&effects).contains(&ACTIVATE), "{effects:?}");
        story.scaled(outcome);
    }
    let effects = story.poll(0, reading(0.0));
    assert!(!brief(&effects).contains(&ACTIVATE), "{effects:?}");
}

#[test]
fn pushes_that_follow_one_another_are_polled_twice_a_second() {
    let mut story = Story::at_rest();
    let mut polls = 0;
    for _ in 0..1000 {
        let mut effects = story.push();
        effects.extend(story.wait(SignedDuration::from_millis(10)));
        if effects
            .iter()
            .any(|effect| matches!(effect, Effect::Poll { .. }))
        {
            polls += 1;
            story.polled(poll_of(&effects), 1, reading(0.0));
        }
    }
    assert!((15..=21).contains(&polls), "{polls} polls in 10 s");
}

#[test]
fn nobody_who_is_paused_or_not_prepared_or_gone_hears_a_push() {
    let mut story = Story::new();
    assert_eq!(brief(&story.push()), [], "unknown");
    story.apply(Remembered::default());
    assert_eq!(brief(&story.push()), [], "not prepared");

    let mut story = Story::at_rest();
    let poll = poll_of(&story.push());
    story.object.switches = Switches {
        pause: Some(Pause::Whole),
        ..Switches::default()
    };
    story.apply(Remembered::default());
    story.prepared(PrepareOutcome::Paused {
        target_replicas: None,
    });
    assert_eq!(brief(&story.push()), [], "paused");
    story.polled(poll, 0, reading(0.0));
    // What was told before the pause is not done after it.
    story.object.switches = Switches::default();
    story.apply(Remembered::default());
    let poll = poll_of(&story.done());
    let effects = story.polled(poll, 0, reading(0.0));
    assert!(!brief(&effects).contains(&ACTIVATE), "{effects:?}");
}

#[test]
fn scaling_out_that_is_paused_is_paused_for_pushes_too() {
    let mut story = Story::at_rest();
    story.object.switches.scale_out_paused = true;
    story.apply(Remembered::default());
    let poll = poll_of(&story.done());
    story.polled(poll, 0, reading(0.0));
    story.now += seconds(10);
    let poll = poll_of(&story.push());
    let effects = story.polled(poll, 0, reading(0.0));
    assert!(!brief(&effects).contains(&ACTIVATE), "{effects:?}");
}
