//! Fallback and formulas: what counts instead of what the triggers say.

use sakidori_engine::{
    ConditionStatus, Fallback, FallbackBehavior, Formula, MetricHealth, Modifiers, ObjectStatus,
    Remembered, ScaleDirection, TargetType,
};

use crate::story::{Brief, Story, brief, failing, poll_of, reading, seconds, status};

fn falling_back(behavior: FallbackBehavior) -> Story {
    let mut story = Story::new();
    story.object.fallback = Some(Fallback {
        failure_threshold: 2,
        replicas: 6,
        behavior,
    });
    story
}

fn composed(formula: &str) -> Modifiers {
    Modifiers {
        formula: Formula::compile(formula, &["queue"]).map_err(|error| error.to_string()),
        target: 2.0,
        target_type: TargetType::AverageValue,
        activation_target: 1.0,
    }
}

fn served(value: &str) -> Brief {
    Brief::Serve("s0-queue".into(), value.into())
}

fn health(status: &ObjectStatus) -> (i32, bool) {
    let [(metric, health)] = &status.health[..] else {
        panic!("{:?}", status.health)
    };
    assert_eq!(metric, "s0-queue");
    (health.failures, health.failing)
}

#[test]
fn after_more_failures_than_the_threshold_the_fallback_counts() {
    let mut story = falling_back(FallbackBehavior::Static);
    let poll = story.bring_up();
    let effects = story.polled(poll, 3, failing("refused"));
    // KEDA: an object with a fallback stays Ready.
    let first = Brief::Warning("KEDAScalerFailed", "refused".into());
    assert_eq!(brief(&effects), [first, served("no"), Brief::Status]);
    let shown = status(&effects).unwrap();
    assert_eq!(
        (&*shown.conditions.ready.reason, health(shown)),
        ("ScaledObjectReady", (1, true))
    );
    assert_eq!(shown.conditions.fallback.reason, "NoFallbackFound");
    let effects = story.poll(3, failing("refused"));
    assert_eq!(brief(&effects), [served("no"), Brief::Status]);

    // 6 replicas with 5 for each.
    let effects = story.poll(3, failing("refused"));
    let told = Brief::Normal(
        "ScaledObjectFallbackActivated",
        "ScaledObject fallback is active".into(),
    );
    assert_eq!(brief(&effects), [told, served("30"), Brief::Status]);
    let shown = status(&effects).unwrap();
    assert_eq!(health(shown), (3, true));
    let condition = &shown.conditions.fallback;
    let message = "At least one trigger is falling back on this scaled object";
    assert_eq!(
        (&*condition.reason, &*condition.message),
        ("FallbackExists", message)
    );
    assert_eq!(shown.conditions.active.reason, "ScalerActive");
    assert_eq!(shown.triggers_activity, [("s0-queue".to_owned(), true)]);

    // What follows is counted on, but is no reason for a write.
    let effects = story.poll(6, failing("refused"));
    assert_eq!(brief(&effects), [served("30")]);

    let effects = story.poll(6, reading(7.0));
    let told = Brief::Normal(
        "ScaledObjectFallbackDeactivated",
        "ScaledObject fallback is no longer active".into(),
    );
    let works = Brief::Log(
        "TriggerRecovered",
        "trigger 0 (s0-queue) works again".into(),
    );
    assert_eq!(brief(&effects), [works, told, Brief::Status]);
    let shown = status(&effects).unwrap();
    assert_eq!(
        (health(shown), &*shown.conditions.fallback.reason),
        ((0, false), "NoFallbackFound")
    );
}

#[test]
fn a_fallback_brings_a_target_up_from_zero() {
    let mut story = falling_back(FallbackBehavior::Static);
    let poll = story.bring_up();
    story.polled(poll, 0, failing("refused"));
    assert!(
        !brief(&story.poll(0, failing("refused")))
            .iter()
            .any(|it| matches!(it, Brief::Scale(..)))
    );
    let effects = brief(&story.poll(0, failing("refused")));
    assert!(
        effects.contains(&Brief::Scale(0, 1, ScaleDirection::Activate)),
        "{effects:?}"
    );
}

#[test]
fn with_no_replicas_to_fall_back_to_failures_scale_nothing_down() {
    // KEDA scales to zero here, before the threshold is reached.
    let mut story = falling_back(FallbackBehavior::Static);
    story.object.fallback = story.object.fallback.map(|fallback| Fallback {
        replicas: 0,
        failure_threshold: 100,
        ..fallback
    });
    let poll = story.bring_up();
    story.polled(poll, 3, failing("refused"));
    for _ in 0..50 {
        let effects = brief(&story.poll(3, failing("refused")));
        assert!(
            !effects.iter().any(|it| matches!(it, Brief::Scale(..))),
            "{effects:?}"
        );
    }
}

#[test]
fn what_the_hpa_asks_for_in_between_counts_once() {
    let mut story = falling_back(FallbackBehavior::Static);
    let poll = story.bring_up();
    story.polled(poll, 3, failing("refused"));
    let mut counts = Vec::new();
    for _ in 0..8 {
        story.now += seconds(10);
        let effects = story.reading_wanted();
        let effects = story.polled(poll_of(&effects), 3, failing("refused"));
        if let Some(status) = status(&effects) {
            counts.push((story.now - story.object.created_at).get_seconds());
            assert_eq!(health(status).0, i32::try_from(counts.len()).unwrap() + 1);
        }
    }
    assert_eq!(counts, [30, 60], "seconds at which a failure counted");
}

#[test]
fn a_restart_goes_on_counting() {
    let mut story = falling_back(FallbackBehavior::CurrentReplicas);
    let health = MetricHealth {
        failures: 2,
        failing: true,
    };
    let remembered = Remembered {
        health: vec![("s0-queue".into(), health)],
        seen_before: true,
        ..Remembered::default()
    };
    story.apply(remembered);
    story.done();
    let effects = story.wait(seconds(10));
    let effects = story.polled(poll_of(&effects), 4, failing("refused"));
    assert!(brief(&effects).contains(&served("20")), "{effects:?}");
}

#[test]
fn a_fallback_that_is_taken_away_is_forgotten() {
    let mut story = falling_back(FallbackBehavior::Static);
    let poll = story.bring_up();
    story.polled(poll, 3, failing("refused"));
    for _ in 0..3 {
        story.poll(3, failing("refused"));
    }
    story.object.fallback = None;
    story.object.generation += 1;
    story.apply(Remembered::default());
    let effects = story.done();
    let effects = story.polled(poll_of(&effects), 3, failing("refused"));
    let shown = status(&effects).unwrap();
    assert_eq!(shown.conditions.fallback.reason, "NoFallbackFound");
    assert_eq!(
        (&*shown.conditions.ready.reason, &shown.health[..]),
        ("TriggerError", &[][..])
    );
    assert!(
        !brief(&effects)
            .iter()
            .any(|it| matches!(it, Brief::Serve(..)))
    );
}

#[test]
fn a_formula_alone_says_what_is_served_and_whether_the_object_is_active() {
    let mut story = Story::new();
    story.object.modifiers = Some(composed("queue / 10"));
    let poll = story.bring_up();
    let composite = |value: &str| Brief::Serve("composite-metric".into(), value.into());
    let effects = story.polled(poll, 0, reading(10.0));
    assert!(brief(&effects).contains(&composite("1")), "{effects:?}");
    let shown = status(&effects).unwrap();
    assert_eq!(shown.conditions.active.reason, "ScalerNotActive");
    // KEDA: the triggers' own activity is not shown.
    assert_eq!(shown.triggers_activity, [("s0-queue".to_owned(), false)]);

    let effects = story.poll(0, reading(25.0));
    let scale = Brief::Scale(0, 1, ScaleDirection::Activate);
    assert_eq!(brief(&effects), [composite("2500m"), scale, Brief::Status]);
    assert_eq!(
        status(&effects).unwrap().conditions.active.status,
        ConditionStatus::True
    );

    let effects = story.poll(1, failing("refused"));
    let told = Brief::Warning("KEDAMetricSourceFailed", "refused".into());
    assert_eq!(brief(&effects), [told, composite("no"), Brief::Status]);
}

#[test]
fn a_formula_that_gives_no_number_is_a_failure_and_scales_nothing_down() {
    let mut story = Story::new();
    story.object.modifiers = Some(composed("1 / (queue - 5)"));
    let poll = story.bring_up();
    story.polled(poll, 3, reading(5.5));
    for _ in 0..20 {
        let effects = story.poll(3, reading(5.0));
        assert!(
            !brief(&effects)
                .iter()
                .any(|it| matches!(it, Brief::Scale(..))),
            "{effects:?}"
        );
    }
    let mut story = Story::new();
    story.object.modifiers = Some(composed("1 / (queue - 5)"));
    let poll = story.bring_up();
    let effects = story.polled(poll, 3, reading(5.0));
    let problem = "composite-metric: the formula gives inf: expected a number";
    assert!(
        brief(&effects).contains(&Brief::Warning("KEDAMetricSourceFailed", problem.into())),
        "{effects:?}"
    );
    assert_eq!(
        status(&effects).unwrap().conditions.ready.reason,
        "TriggerError"
    );
}

#[test]
fn a_fallback_of_the_formula_gives_nil_for_the_trigger() {
    let mut story = falling_back(FallbackBehavior::ScalingModifiers);
    story.object.fallback = story.object.fallback.map(|fallback| Fallback {
        failure_threshold: 0,
        ..fallback
    });
    story.object.modifiers = Some(composed("queue ?? nil"));
    let poll = story.bring_up();
    // 6 replicas with a target of 2.
    let effects = story.polled(poll, 0, failing("refused"));
    assert!(
        brief(&effects).contains(&Brief::Serve("composite-metric".into(), "12".into())),
        "{effects:?}"
    );
    assert_eq!(
        status(&effects).unwrap().conditions.fallback.reason,
        "FallbackExists"
    );
}
