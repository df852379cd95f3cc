//! Panics in scalers end nothing, and hold up nobody.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use kube::Client;
use kube::client::Body;
use kube::core::{ApiResource, GroupVersionKind};
use sakidori_api::ScaledObject;
use sakidori_engine::{Effect, Engine, Event, PrepareOutcome, Remembered};
use sakidori_scalers::{Freshness, MetricSpec, MetricType};
use serde_json::json;

use super::*;
use crate::control::Events;
use crate::prometheus::MetricsOptions;
use crate::status::Found;
use crate::target::Target;

/// Where a scaler panics.
#[derive(Clone, Copy, PartialEq)]
enum Panics {
    Never,
    Reading,
    /// Reading fails, and telling of it panics: around what is guarded by itself.
    Telling,
}

/// A poll that takes no answer of others'.
fn fresh() -> Ask {
    Ask {
        due: Instant::now(),
        within: Duration::ZERO,
        for_hpa: false,
    }
}

struct Fragile {
    metrics: Vec<MetricSpec>,
    panics: Panics,
    read: AtomicBool,
}

#[async_trait]
impl Scaler for Fragile {
    fn metrics(&self) -> Vec<MetricSpec> {
        assert!(
            self.panics != Panics::Telling || !self.read.load(Ordering::SeqCst),
            "told by a test"
        );
        self.metrics.clone()
    }

    async fn read(&self, _: &Freshness) -> Result<Vec<sakidori_scalers::Reading>, ScalerError> {
        // After the first await, as in most scalers.
        tokio::task::yield_now().await;
        self.read.store(true, Ordering::SeqCst);
        match self.panics {
            Panics::Never => Ok(vec![sakidori_scalers::Reading {
                metric: self.metrics[0].name.clone(),
                value: 7.0,
                active: true,
            }]),
            Panics::Reading => panic!("by a test"),
            Panics::Telling => Err(ScalerError::Unreachable("refused".into())),
        }
    }
}

fn trigger(index: usize, panics: Panics) -> PreparedTrigger {
    let metric = MetricSpec {
        name: format!("s{index}-queue"),
        target_type: MetricType::AverageValue,
        target: Quantity::from_integer(5),
    };
    PreparedTrigger::of(
        index,
        Arc::new(Fragile {
            metrics: vec![metric],
            panics,
            read: AtomicBool::new(false),
        }),
    )
}

/// An API server where every target has two replicas.
fn two_replicas() -> Client {
    let service = tower::service_fn(|_: http::Request<Body>| async {
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 2},
        });
        Ok::<_, Infallible>(http::Response::new(Body::from(
            scale.to_string().into_bytes(),
        )))
    });
    Client::new(service, "shop")
}

/// A poller that knows an object for each name, with triggers that panic as given.
fn poller(objects: &[(&str, &[Panics])]) -> (Poller, Vec<(ObjectKey, ScaledObject)>) {
    let index = Arc::new(Objects::default());
    let mut all = Vec::new();
    for (name, triggers) in objects {
        let key = ObjectKey::new("shop", *name);
        let declared: Vec<_> = triggers
            .iter()
            .map(|_| json!({"type": "test", "metadata": {}}))
            .collect();
        let spec = json!({"scaleTargetRef": {"name": name}, "triggers": declared});
        let mut object = ScaledObject::new(name, serde_json::from_value(spec).unwrap());
        object.metadata.uid = Some((*name).to_owned());
        index.apply(&key, Arc::new(object.clone()));
        let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
        let prepared = Prepared {
            target: Target {
                resource: ApiResource::from_gvk_with_plural(&kind, "deployments"),
                namespace: "shop".into(),
                name: (*name).to_owned(),
            },
            triggers: triggers
                .iter()
                .enumerate()
                .map(|(index, panics)| trigger(index, *panics))
                .collect(),
            readings: Arc::new(index.values().store().readings(
                &key,
                Duration::from_secs(30),
                [],
                |_| None,
            )),
            found: Found::default(),
            fallback: None,
            modifiers: None,
            sales: Vec::new(),
        };
        index.set_prepared(&key, Some(name), Arc::new(prepared));
        all.push((key, object));
    }
    let targets = Arc::new(Targets::new(two_replicas()));
    let poller = Poller::new(
        index,
        targets,
        Arc::new(Metrics::new(MetricsOptions::default()).unwrap()),
        None,
        Events::channel().0,
    );
    (poller, all)
}

#[tokio::test]
async fn a_panic_in_a_scaler_is_a_failed_read() {
    let (poller, objects) = poller(&[("web", &[Panics::Reading, Panics::Never])]);
    let (web, _) = &objects[0];
    let outcome = poller.poll(web, fresh()).await;
    assert_eq!(outcome.replicas, Ok(2));
    let told = "trigger 0 (test): malformed answer: the scaler panicked: please report this";
    assert_eq!(
        outcome.triggers[0],
        TriggerOutcome::Failed {
            message: told.into()
        }
    );
    assert!(matches!(&outcome.triggers[1], TriggerOutcome::Read(readings) if readings.len() == 1));
}

#[tokio::test]
async fn a_panic_around_a_scaler_is_a_failed_poll() {
    let (poller, objects) = poller(&[("web", &[Panics::Telling])]);
    let (web, _) = &objects[0];
    for _ in 0..2 {
        let outcome = poller.poll(web, fresh()).await;
        assert!(
            outcome
                .replicas
                .is_err_and(|error| error.contains("please report this"))
        );
    }
}

/// As the control loop does it, at made-up times.
#[tokio::test]
async fn beside_a_scaler_that_panics_all_keep_their_rhythm_and_replicas() {
    let (poller, objects) = poller(&[
        ("bad", &[Panics::Reading]),
        ("worse", &[Panics::Telling]),
        ("good", &[Panics::Never]),
    ]);
    let mut engine = Engine::default();
    let mut now = Timestamp::UNIX_EPOCH;
    let mut polls: Vec<(ObjectKey, Timestamp, Duration)> = Vec::new();
    let mut events: Vec<Event> = objects
        .iter()
        .map(|(key, object)| Event::Applied {
            key: key.clone(),
            object: object.to_engine("apps/v1.Deployment"),
            remembered: Remembered::default(),
        })
        .collect();
    let end = now + jiff::SignedDuration::from_secs(95);
    while now < end {
        let event = events.pop().unwrap_or(Event::Woke);
        for effect in engine.handle(now, event) {
            match effect {
                Effect::Prepare { key, generation } => events.push(Event::Prepared {
                    key,
                    generation,
                    outcome: PrepareOutcome::Done {
                        target_replicas: 2,
                        problems: Vec::new(),
                        metrics: Vec::new(),
                    },
                }),
                Effect::Poll {
                    key, poll, late, ..
                } => {
                    polls.push((key.clone(), now, late.try_into().unwrap()));
                    let outcome = poller.poll(&key, fresh()).await;
                    events.push(Event::Polled { key, poll, outcome });
                }
                Effect::Scale { .. } => panic!("nothing is to be scaled: {effect:?}"),
                _ => {}
            }
        }
        if events.is_empty() {
            now = engine.next_wakeup().unwrap_or(end).max(now);
        }
    }
    for (key, _) in &objects {
        let times: Vec<_> = polls
            .iter()
            .filter(|(polled, _, late)| polled == key && late.is_zero())
            .map(|(_, at, _)| at.as_second())
            .collect();
        assert_eq!(times, [0, 30, 60, 90], "{key}");
    }
}
