//! Subscriptions, queues and their bounds.

use futures::FutureExt;

use super::*;

fn trigger(number: usize) -> TriggerName {
    TriggerName {
        namespace: "shop".into(),
        object: "web".into(),
        trigger: format!("queue-{number}"),
    }
}

fn raw() -> Arc<RawMetrics> {
    Arc::new(RawMetrics::new(RawMetricsMode::All))
}

/// A poll of trigger 0.
fn publish(raw: &RawMetrics, value: f64, now: Instant) {
    raw.publish(
        &TriggerRead {
            namespace: "shop",
            object: "web",
            trigger: "queue-0",
            values: &[(value, value > 5.0)],
            asked: Timestamp::from_second(1_700_000_000).unwrap(),
            interval: Duration::from_secs(30),
            for_hpa: false,
        },
        now,
    );
}

/// The value of the message that is there, or that the stream has ended.
fn taken(stream: &RawStream) -> Option<Option<f64>> {
    let message = stream.next().now_or_never()?;
    Some(message.map(|message| message.metrics[0].value))
}

#[test]
fn an_acknowledgement_says_how_it_was_before() {
    let (raw, now) = (raw(), Instant::now());
    assert_eq!(raw.subscribe("tool", trigger(0), now), Ok(false));
    assert_eq!(raw.subscribe("tool", trigger(0), now), Ok(true));
    assert_eq!(raw.subscribe("other", trigger(0), now), Ok(false));
    assert!(!raw.unsubscribe("tool", &trigger(1)));
    assert!(raw.unsubscribe("tool", &trigger(0)));
    assert!(!raw.unsubscribe("tool", &trigger(0)));
    assert!(!raw.unsubscribe("nobody", &trigger(0)));
    assert!(raw.unsubscribe("other", &trigger(0)));
    assert!(raw.lock().by_name.is_empty() && raw.lock().triggers.is_empty());
}

#[test]
fn a_stream_may_come_before_or_after_the_subscription() {
    let (raw, now) = (raw(), Instant::now());
    publish(&raw, 0.0, now);
    raw.subscribe("early", trigger(0), now).unwrap();
    publish(&raw, 1.0, now);
    let (early, late) = (
        raw.open("early", now).unwrap(),
        raw.open("late", now).unwrap(),
    );
    raw.subscribe("late", trigger(0), now).unwrap();
    publish(&raw, 2.0, now);
    assert_eq!(taken(&early), Some(Some(1.0)));
    assert_eq!(taken(&early), Some(Some(2.0)));
    assert_eq!(taken(&early), None);
    assert_eq!(taken(&late), Some(Some(2.0)));
}

#[test]
fn a_message_says_value_time_activity_and_the_triggers_name() {
    let (raw, now) = (raw(), Instant::now());
    raw.subscribe("tool", trigger(0), now).unwrap();
    let stream = raw.open("tool", now).unwrap();
    raw.publish(
        &TriggerRead {
            namespace: "shop",
            object: "web",
            trigger: "queue-0",
            values: &[(7.25, true), (f64::NAN, true), (0.0, false)],
            asked: "2026-01-02T03:04:05.5Z".parse().unwrap(),
            interval: Duration::from_secs(30),
            for_hpa: false,
        },
        now,
    );
    let message = stream.next().now_or_never().unwrap().unwrap();
    let metric = |value, is_active| RawMetric {
        value,
        timestamp: Some(prost_types::Timestamp {
            seconds: 1_767_323_045,
            nanos: 500_000_000,
        }),
        metadata: Some(ScaledObjectRef {
            name: "web".into(),
            namespace: "shop".into(),
            metric_name: "queue-0".into(),
        }),
        is_active,
    };
    assert_eq!(message.metrics, [metric(7.25, true), metric(0.0, false)]);
}

#[test]
fn streams_of_one_subscriber_share_its_messages() {
    let (raw, now) = (raw(), Instant::now());
    raw.subscribe("tool", trigger(0), now).unwrap();
    let (first, second) = (
        raw.open("tool", now).unwrap(),
        raw.open("tool", now).unwrap(),
    );
    publish(&raw, 1.0, now);
    publish(&raw, 2.0, now);
    assert_eq!(taken(&first), Some(Some(1.0)));
    assert_eq!(taken(&second), Some(Some(2.0)));
    // One that ends takes nothing with it.
    drop(first);
    publish(&raw, 3.0, now);
    assert_eq!(taken(&second), Some(Some(3.0)));
}

#[test]
fn with_the_last_subscription_the_streams_end() {
    let (raw, now) = (raw(), Instant::now());
    for number in 0..2 {
        raw.subscribe("tool", trigger(number), now).unwrap();
    }
    let streams = [0, 1].map(|_| raw.open("tool", now).unwrap());
    raw.unsubscribe("tool", &trigger(0));
    assert_eq!(taken(&streams[0]), None);
    raw.unsubscribe("tool", &trigger(1));
    for stream in &streams {
        assert_eq!(taken(stream), Some(None));
    }
    // Whoever comes under that name later is another one.
    let anew = raw.open("tool", now).unwrap();
    drop(streams);
    raw.subscribe("tool", trigger(0), now).unwrap();
    publish(&raw, 1.0, now);
    assert_eq!(taken(&anew), Some(Some(1.0)));
}

#[test]
fn a_stream_that_ends_leaves_the_subscriptions() {
    let (raw, now) = (raw(), Instant::now());
    let first = raw.open("tool", now).unwrap();
    raw.subscribe("tool", trigger(0), now).unwrap();
    drop(first);
    publish(&raw, 1.0, now);
    assert_eq!(taken(&raw.open("tool", now).unwrap()), Some(Some(1.0)));
    // But a subscriber without subscriptions is gone with its stream.
    drop(raw.open("visitor", now).unwrap());
    assert_eq!(raw.lock().by_name.len(), 1);
    assert_eq!(raw.streams(), 0);
}

#[test]
fn a_term_leaves_nothing_to_the_next() {
    let (raw, now) = (raw(), Instant::now());
    raw.subscribe("tool", trigger(0), now).unwrap();
    let stream = raw.open("tool", now).unwrap();
    raw.forget_all();
    assert_eq!(taken(&stream), Some(None));
    drop(stream);
    assert_eq!(raw.subscribe("tool", trigger(0), now), Ok(false));
    assert_eq!(raw.streams(), 0);
}

#[test]
fn who_takes_nothing_for_a_minute_is_unsubscribed() {
    let (raw, start) = (raw(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    for number in 0..2 {
        raw.subscribe("tool", trigger(number), start).unwrap();
    }
    let stream = raw.open("tool", start).unwrap();
    // Four may wait for however long.
    for hour in 0..4 {
        publish(&raw, 1.0, at(hour * 3600));
    }
    publish(&raw, 1.0, at(20_000));
    publish(&raw, 1.0, at(20_059));
    // It has taken one: the minute begins anew.
    assert_eq!(taken(&stream), Some(Some(1.0)));
    publish(&raw, 1.0, at(20_070));
    publish(&raw, 1.0, at(20_080));
    publish(&raw, 1.0, at(20_139));
    assert_eq!(raw.subscriptions.load(Ordering::Relaxed), 2);
    publish(&raw, 1.0, at(20_140));
    assert_eq!(raw.subscriptions.load(Ordering::Relaxed), 0);
    assert!(raw.lock().by_name.is_empty() && raw.lock().triggers.is_empty());
    // What waited is there, then the end.
    for _ in 0..9 {
        assert_eq!(taken(&stream), Some(Some(1.0)));
    }
    assert_eq!(taken(&stream), Some(None));
}

#[test]
fn a_full_queue_drops_what_comes() {
    let (raw, now) = (raw(), Instant::now());
    raw.subscribe("tool", trigger(0), now).unwrap();
    for _ in 0..QUEUE + 10 {
        publish(&raw, 1.0, now);
    }
    let stream = raw.open("tool", now).unwrap();
    let waited = std::iter::from_fn(|| taken(&stream)).count();
    assert_eq!(waited, QUEUE);
}

#[test]
fn nobody_fills_the_memory() {
    let (raw, now) = (raw(), Instant::now());
    for number in 0..SUBSCRIBERS {
        let name = format!("tool-{number}");
        raw.subscribe(&name, trigger(0), now).unwrap();
    }
    let too_many = Refused::TooMany(SUBSCRIBERS, "subscribers");
    assert_eq!(
        raw.subscribe("one-more", trigger(0), now),
        Err(too_many.clone())
    );
    assert_eq!(raw.open("one-more", now).err(), Some(too_many));
    for number in 1..=SUBSCRIPTIONS - SUBSCRIBERS {
        raw.subscribe("tool-0", trigger(number), now).unwrap();
    }
    assert_eq!(
        raw.subscribe("tool-1", trigger(1), now),
        Err(Refused::TooMany(SUBSCRIPTIONS, "subscriptions"))
    );
    let streams: Vec<_> = (0..STREAMS)
        .map(|_| raw.open("tool-1", now).unwrap())
        .collect();
    assert_eq!(
        raw.open("tool-1", now).err(),
        Some(Refused::TooMany(STREAMS, "streams"))
    );
    drop(streams);
    let long = "x".repeat(LONGEST_NAME + 1);
    assert_eq!(
        raw.subscribe(&long, trigger(0), now),
        Err(Refused::TooLong(LONGEST_NAME + 1))
    );
    // Those who never opened a stream make room in the end.
    let later = now + FORGOTTEN_AFTER * 2;
    assert_eq!(raw.subscribe("one-more", trigger(0), later), Ok(false));
    assert_eq!(raw.lock().by_name.len(), 1);
}
