//! Pods, policies and sizes in short, for the tests of resizing.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::quantity::Quantity;

/// Seconds after the epoch.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

/// `500m/1 1Gi/2Gi`: cpu and memory, each a request and a limit, where there is one.
pub(super) fn resources(text: &str) -> Resources {
    let mut found = Resources::default();
    for (resource, amounts) in Resource::ALL.iter().zip(text.split_whitespace()) {
        let (request, limit) = match amounts.split_once('/') {
            Some((request, limit)) => (request, Some(limit)),
            None => (amounts, None),
        };
        let quantity = |text: &str| -> Quantity { text.parse().unwrap() };
        found.requests.set(*resource, quantity(request));
        if let Some(limit) = limit {
            found.limits.set(*resource, quantity(limit));
        }
    }
    found
}

/// The container `app` with these resources.
pub(super) fn sizes(text: &str) -> Sizes {
    [("app".into(), resources(text))].into()
}

pub(super) fn container(name: &str, kind: ContainerKind, text: &str) -> Container {
    Container {
        name: name.into(),
        kind,
        resources: resources(text),
        actual: Some(resources(text)),
        cpu_restarts: false,
        memory_restarts: false,
        memory_used: None,
    }
}

/// A pod that runs and is Ready.
pub(super) fn pod(name: &str, text: &str) -> Pod {
    let own = resources(text);
    let equal = |resource: Resource| {
        own.limits.get(resource).is_some() && own.limits.get(resource) == own.requests.get(resource)
    };
    let qos = if own == Resources::default() {
        Qos::BestEffort
    } else if equal(Resource::Cpu) && equal(Resource::Memory) {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    };
    Pod {
        name: name.into(),
        uid: name.into(),
        version: "1".into(),
        generation: 1,
        observed_generation: Some(1),
        created: at(0),
        started: Some(at(1)),
        node: Some("node-1".into()),
        finished: false,
        deleting: false,
        ready: true,
        ready_changed: Some(at(2)),
        qos,
        has_pod_resources: false,
        containers: vec![container("app", ContainerKind::App, text)],
        pending: None,
        in_progress: None,
        memory: Memory::Nothing,
    }
}

/// `prescale cpu 2 memory +1Gi`, of the container `app`.
pub(super) fn policy(text: &str) -> Policy {
    let words: Vec<&str> = text.split(' ').collect();
    let amount = |resource: Resource| {
        let place = words.iter().position(|it| *it == resource.to_string())?;
        Some(Amount::parse(resource, words[place + 1]).unwrap())
    };
    Policy {
        container: "app".into(),
        when: When::ALL
            .into_iter()
            .find(|it| it.as_str() == words[0])
            .unwrap(),
        cpu: amount(Resource::Cpu),
        memory: amount(Resource::Memory),
        allow_restart: false,
    }
}

pub(super) fn settings(policies: &[Policy]) -> Settings {
    Settings {
        policies: policies.to_vec(),
        ..Settings::default()
    }
}

#[test]
fn what_happens_together_is_decided_once_and_as_if_one_after_the_other() {
    let starting = |name: &str| Pod {
        ready: false,
        ready_changed: None,
        ..pod(name, "500m 1Gi")
    };
    let begun = || {
        let mut resizing = Resizing::default();
        let policies = settings(&[policy("starting cpu 2")]);
        resizing.handle(at(5), ResizeEvent::Wanted(policies));
        resizing.handle(at(5), ResizeEvent::Holding(Holding::default()));
        resizing.handle(at(5), ResizeEvent::Listed(Vec::new()));
        resizing
    };
    let events = || {
        let seen = |name: &str| ResizeEvent::Seen(Box::new(starting(name)));
        vec![
            seen("a"),
            seen("b"),
            ResizeEvent::Gone { uid: "a".into() },
            seen("c"),
        ]
    };
    let asked = |effects: &[ResizeEffect]| -> Vec<String> {
        let asks = effects.iter().filter_map(|effect| match effect {
            ResizeEffect::Ask { pod, .. } => Some(pod.name.to_string()),
            _ => None,
        });
        asks.collect()
    };
    let mut together = begun();
    let effects = together.handle_all(at(6), events());
    // One that is gone again is not asked for anything.
    assert_eq!(asked(&effects), ["b", "c"]);
    let shown = effects
        .iter()
        .filter(|it| matches!(it, ResizeEffect::Show(_)));
    assert_eq!(shown.count(), 1);
    let mut one_by_one = begun();
    let effects: Vec<_> = events()
        .into_iter()
        .flat_map(|event| one_by_one.handle(at(6), event))
        .collect();
    assert_eq!(asked(&effects), ["a", "b", "c"]);
    assert_eq!(together.next_wakeup(), one_by_one.next_wakeup());
}

/// These pods 5 s after the epoch, in a sale, and what is asked first.
fn in_a_sale(settings: Settings, pods: Vec<Pod>) -> (Resizing, Vec<ResizeEffect>) {
    let mut resizing = Resizing::default();
    let holding = Holding {
        prescale: true,
        ..Holding::default()
    };
    resizing.handle(at(5), ResizeEvent::Wanted(settings));
    resizing.handle(at(5), ResizeEvent::Holding(holding));
    let effects = resizing.handle(at(5), ResizeEvent::Listed(pods));
    (resizing, effects)
}

/// The request about this pod.
fn attempt_on(effects: &[ResizeEffect], name: &str) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        ResizeEffect::Ask { attempt, pod, .. }
        | ResizeEffect::Read { attempt, pod }
        | ResizeEffect::Evict { attempt, pod } => (&*pod.name == name).then_some(*attempt),
        _ => None,
    })
}

#[test]
fn a_read_that_is_refused_for_a_moment_is_made_again_within_seconds() {
    let settings = settings(&[policy("prescale cpu 2")]);
    let (mut resizing, mut effects) = in_a_sale(settings, vec![pod("a", "500m 1Gi")]);
    // The API server goes, and comes back before it knows its roles.
    let gone = ResizeOutcome::Failed {
        message: "connection reset".to_owned(),
        retry_after: None,
    };
    let refused = || ResizeOutcome::NotAllowed {
        message: "clusterrole not found".to_owned(),
    };
    let mut reads = Vec::new();
    for outcome in [gone, refused(), refused(), refused()] {
        let attempt = attempt_on(&effects, "a");
        let now = reads.last().copied().unwrap_or(at(5));
        let answer = ResizeEvent::Answered {
            attempt: attempt.unwrap(),
            seen: None,
            outcome,
        };
        resizing.handle(now, answer);
        let wake = resizing.next_wakeup().unwrap();
        effects = resizing.handle(wake, ResizeEvent::Woke);
        reads.push(wake);
    }
    assert!(reads.is_sorted() && reads[3] <= at(5 + 15), "{reads:?}");

    // Where that is so for ever, a deletion doesn't wait for ever.
    let ended = reads[3];
    effects.extend(resizing.handle(ended, ResizeEvent::Ended));
    let mut now = ended;
    while !resizing.is_finished() && now < ended + SignedDuration::from_hours(1) {
        if let Some(attempt) = attempt_on(&effects, "a") {
            let answer = ResizeEvent::Answered {
                attempt,
                seen: None,
                outcome: refused(),
            };
            resizing.handle(now, answer);
        }
        now = resizing.next_wakeup().unwrap_or(Timestamp::MAX);
        effects = resizing.handle(now, ResizeEvent::Woke);
    }
    assert!(resizing.is_finished());
    assert!(now <= ended + SignedDuration::from_secs(300 + 60), "{now}");
}

#[test]
fn an_evicted_pod_that_does_not_go_holds_up_the_others_for_five_minutes_only() {
    let done = |attempt: u64, seen: Option<Pod>| ResizeEvent::Answered {
        attempt,
        seen: seen.map(Box::new),
        outcome: ResizeOutcome::Done,
    };
    let settings = Settings {
        max_concurrent: MaxConcurrent::Pods(1),
        on_infeasible: OnInfeasible::Evict,
        ..settings(&[policy("prescale cpu 2")])
    };
    let pods = vec![pod("a", "500m 1Gi"), pod("b", "500m 1Gi")];
    let (mut resizing, effects) = in_a_sale(settings, pods);
    let (attempt, remember) = effects
        .iter()
        .find_map(|effect| match effect {
            ResizeEffect::Ask {
                attempt, remember, ..
            } => Some((*attempt, remember.clone())),
            _ => None,
        })
        .unwrap();
    let mut large = Pod {
        version: "2".into(),
        generation: 2,
        memory: Memory::Known(remember),
        pending: Some(Pending {
            why: PendingReason::Infeasible,
            message: "no such node".to_owned(),
            since: at(5),
            generation: Some(2),
        }),
        ..pod("a", "2 1Gi")
    };
    large.containers[0].actual = Some(resources("500m 1Gi"));
    let mut effects = resizing.handle(at(5), done(attempt, Some(large.clone())));
    // What isn't feasible keeps no place; the other is asked, and is done.
    let other = attempt_on(&effects, "b").unwrap();
    let mut grown = pod("b", "2 1Gi");
    (grown.version, grown.generation, grown.observed_generation) = ("2".into(), 2, Some(2));
    effects.extend(resizing.handle(at(6), done(other, Some(grown))));
    effects.extend(resizing.handle(at(20), ResizeEvent::Woke));
    let evicted = attempt_on(&effects, "a").unwrap();
    resizing.handle(at(20), done(evicted, None));
    large.deleting = true;
    large.version = "3".into();
    resizing.handle(at(21), ResizeEvent::Seen(Box::new(large)));
    // Its node is gone, and it stays. One that comes is held up by it, but not for ever.
    let late = ResizeEvent::Seen(Box::new(pod("c", "500m 1Gi")));
    assert_eq!(attempt_on(&resizing.handle(at(22), late), "c"), None);
    assert_eq!(resizing.next_wakeup(), Some(at(20 + 300)));
    let effects = resizing.handle(at(20 + 300), ResizeEvent::Woke);
    assert!(attempt_on(&effects, "c").is_some());
}
