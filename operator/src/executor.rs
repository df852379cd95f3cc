//! Carries out the engine's effects, each in a task of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use jiff::Timestamp;
use kube::Resource;
use sakidori_api::ScaledObject;
use sakidori_engine::prescale::Bounds;
use sakidori_engine::{
    Effect, Event, ObjectKey, PrepareOutcome, RoomOutcome, ScaleDirection, ScaleOutcome, Served,
    Spell, Switches,
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::capacity_buffers::CapacityBuffers;
use crate::control::Events;
use crate::events::{self, EventPublisher};
use crate::gate::{Gate, QUICK_REQUEST};
use crate::hpa;
use crate::objects::Objects;
use crate::poll::{Ask, Poller};
use crate::prepare::Preparer;
use crate::resize::Resizer;
use crate::sales;
use crate::status::StatusWriter;
use crate::target::{ScaleWrite, Target, Targets};

/// Objects whose preparation begins at the same time: each costs a few requests to the API server. More at once would be done no
/// sooner, and what a poll asks of the API server would wait behind them.
const PREPARATIONS_AT_ONCE: usize = 16;
/// Writes of replicas that begin at the same time.
const SCALES_AT_ONCE: usize = 64;
/// HPAs whose bounds are set at the same time: a thousand floors have the same instant, and a connection for each would cost more
/// than the requests.
const BOUNDS_AT_ONCE: usize = 32;
/// Looks at pods at the same time. Nothing waits for them, and they are not to be in the way of what sets floors: they stand back behind
/// it, but not for ever.
const LOOKS_AT_ONCE: usize = 4;
const LOOKS_STAND_BACK: Duration = Duration::from_secs(5);

/// An API server that hangs must not keep what is bounded above: kube's own timeouts are minutes long.
const PREPARE_WITHIN: Duration = Duration::from_secs(45);
const SCALE_WITHIN: Duration = Duration::from_secs(15);

/// Setting a CapacityBuffer: up to four requests. Shorter than the engine waits for the answer.
const BUFFER_WITHIN: Duration = Duration::from_secs(20);
/// A look at a target's pods, which may be a thousand.
const PODS_WITHIN: Duration = Duration::from_secs(10);
/// Between tries to set an HPA's bounds.
const FIRST_BOUNDS_RETRY: Duration = Duration::from_millis(200);
const LAST_BOUNDS_RETRY: Duration = Duration::from_secs(5);

pub struct Executor {
    pub objects: Arc<Objects>,
    pub targets: Arc<Targets>,
    pub preparer: Arc<Preparer>,
    pub poller: Arc<Poller>,
    pub status: Arc<StatusWriter>,
    pub publisher: Arc<EventPublisher>,
    pub events: Events,
    pub tasks: TaskTracker,
    pub buffers: CapacityBuffers,
    pub resizer: Resizer,
    preparations: Gate,
    scales: Gate,
    bounds: Arc<Gate>,
    looks: Gate,
}

/// The gate of [`Executor::bounds`], which others stand back behind.
pub fn bounds_gate() -> Arc<Gate> {
    Arc::new(Gate::new(BOUNDS_AT_ONCE, QUICK_REQUEST))
}

impl Executor {
    #[allow(
        clippy::too_many_arguments,
        reason = "the one place where all parts meet"
    )]
    pub fn new(
        objects: Arc<Objects>,
        targets: Arc<Targets>,
        preparer: Arc<Preparer>,
        poller: Arc<Poller>,
        status: Arc<StatusWriter>,
        publisher: Arc<EventPublisher>,
        events: Events,
        tasks: TaskTracker,
        buffers: CapacityBuffers,
        resizer: Resizer,
        bounds: Arc<Gate>,
    ) -> Self {
        Self {
            objects,
            targets,
            preparer,
            poller,
            status,
            publisher,
            events,
            tasks,
            buffers,
            resizer,
            preparations: Gate::new(PREPARATIONS_AT_ONCE, QUICK_REQUEST),
            scales: Gate::new(SCALES_AT_ONCE, QUICK_REQUEST),
            bounds,
            looks: Gate::new(LOOKS_AT_ONCE, QUICK_REQUEST),
        }
    }

    /// Starts one effect and returns at once.
    pub fn execute(self: &Arc<Self>, effect: Effect) {
        let this = self.clone();
        match effect {
            Effect::Prepare { key, generation } => {
                let uid = self.uid(&key);
                self.tasks.spawn(async move {
                    let prepare = timeout(PREPARE_WITHIN, async {
                        let prepare = AssertUnwindSafe(this.preparer.prepare(&key));
                        prepare
                            .catch_unwind()
                            .await
                            .unwrap_or_else(|_| PrepareOutcome::Failed {
                                message: "preparing it panicked: please report this".to_owned(),
                                pollable: this.objects.prepared(&key).is_some(),
                            })
                    });
                    // Time spent in the queue of many is no failure of this one.
                    let outcome = match this.preparations.pass(prepare).await {
                        Ok(outcome) => outcome,
                        Err(_) => PrepareOutcome::Failed {
                            message: "the API server did not answer in time".to_owned(),
                            pollable: this.objects.prepared(&key).is_some(),
                        },
                    };
                    if this.objects.object(&key).is_none() {
                        // Deleted meanwhile: what was asked for on its behalf is watched for nobody.
                        this.preparer.references.forget(&key);
                    }
                    // An answer about an object that was replaced meanwhile is none about the new one, which has its own.
                    if this.uid(&key) == uid {
                        this.events.send(Event::Prepared {
                            key,
                            generation,
                            outcome,
                        });
                    }
                });
            }
            Effect::Poll {
                key,
                poll,
                late,
                within,
                for_hpa,
            } => {
                let ask = Ask {
                    due: due(late),
                    within: within.try_into().unwrap_or_default(),
                    for_hpa,
                };
                self.tasks.spawn(async move {
                    let outcome = this.poller.poll(&key, ask).await;
                    this.events.send(Event::Polled { key, poll, outcome });
                });
            }
            Effect::Scale {
                key,
                from,
                to,
                direction,
                reason: _,
            } => {
                // The target that was polled, and the object as it was when this was decided.
                let decided_for = self.objects.object(&key);
                let prepared = self.objects.prepared(&key);
                self.tasks.spawn(async move {
                    let target = match prepared {
                        Some(prepared) => Ok(prepared.target.clone()),
                        None => this.target_of_paused(&key, direction).await,
                    };
                    let outcome = match target {
                        Ok(target) => {
                            let decision = Decision {
                                from,
                                to,
                                direction,
                            };
                            this.scale(&key, decided_for.as_deref(), &target, decision)
                                .await
                        }
                        Err(message) => ScaleOutcome::Failed { from, to, message },
                    };
                    this.poller.metrics().count_scale(direction, &outcome);
                    this.events.send(Event::Scaled { key, outcome });
                });
            }
            Effect::SetBounds {
                key,
                min,
                max,
                reason,
                after_status,
            } => {
                // Known at once: a preparation that is under way applies it too.
                let bounds = Bounds { min, max };
                self.tell_bounds(&key, bounds, &reason);
                self.objects.set_bounds(&key, bounds);
                self.tasks.spawn(async move {
                    if after_status {
                        this.status.settled(&key).await;
                    }
                    this.apply_bounds(&key, bounds).await;
                });
            }
            Effect::KeepRoom { key, pods, reason } => {
                self.tasks.spawn(async move {
                    this.status.settled(&key).await;
                    let uid = this.uid(&key);
                    let set = this.buffers.set(&this.objects, &key, pods, &reason);
                    let outcome = timeout(BUFFER_WITHIN, set).await;
                    let outcome = outcome.unwrap_or_else(|_| RoomOutcome::Failed {
                        message: "the API server did not answer in time".to_owned(),
                    });
                    // What became of another object's buffer says nothing of this one's.
                    if this.uid(&key) == uid {
                        this.events.send(Event::RoomKept { key, outcome });
                    }
                });
            }
            Effect::ReadPods { key } => {
                self.tasks.spawn(async move {
                    let pods = match this.objects.prepared(&key) {
                        Some(prepared) => {
                            this.bounds.quiet(LOOKS_STAND_BACK).await;
                            let look = sales::look(&this.targets, &prepared.target);
                            let look = this.looks.pass(timeout(PODS_WITHIN, look));
                            look.await.ok().flatten()
                        }
                        None => None,
                    };
                    this.events.send(Event::PodsSeen { key, pods });
                });
            }
            Effect::ShowPrescale { key, shown } => {
                self.resizer.sale(&key, shown.holds);
                self.poller.metrics().observe_prescaling(&key, &shown);
            }
            Effect::Serve { key, metrics, age } => {
                self.serve(&key, metrics, age.try_into().unwrap_or_default());
            }
            Effect::WriteStatus { key, status } => self.status.write(key, status),
            Effect::Publish { key, told } => {
                if let Some(object) = self.objects.object(&key) {
                    self.publisher.tell(object.object_ref(&()), told);
                }
            }
            Effect::Log { key, told } => {
                if let Some(object) = self.objects.object(&key) {
                    events::log(&object.object_ref(&()), &told);
                }
            }
        }
    }

    /// Logs bounds that are others than those that stand, or that were wanted last: after a restart they are the same.
    fn tell_bounds(&self, key: &ObjectKey, bounds: Bounds, cause: &str) {
        let before = self.objects.bounds(key);
        let before = before.or_else(|| self.preparer.standing_bounds(key));
        let before = before.map(hpa::possible);
        let bounds = hpa::possible(bounds);
        if before != Some(bounds) {
            let Bounds { min, max } = bounds;
            let reason = "HPABoundsChanged";
            info!(object = %key, reason, min, max, "the HPA's bounds are {min} to {max} from now on: {cause}");
        }
    }

    /// Writes the HPA with these bounds; until it is there, or others are wanted.
    async fn apply_bounds(&self, key: &ObjectKey, bounds: Bounds) {
        let mut pause = FIRST_BOUNDS_RETRY;
        let mut failing = Spell::default();
        while self.objects.bounds(key) == Some(bounds) {
            let apply = timeout(SCALE_WITHIN, self.preparer.apply_hpa(key));
            let applied = self.bounds.pass(apply).await;
            let error = match applied {
                Ok(Ok(())) => {
                    if failing.works() {
                        info!(object = %key, "the HPA's bounds are set");
                    }
                    return;
                }
                Ok(Err(error)) => error,
                Err(_) => "the API server did not answer in time".to_owned(),
            };
            if failing.fails(Timestamp::now(), &error) {
                warn!(object = %key, error, "setting the HPA's bounds fails; trying again");
            } else {
                debug!(object = %key, error, "setting the HPA's bounds failed again");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_BOUNDS_RETRY);
        }
    }

    /// Puts into the metric cache what the engine made of a poll.
    fn serve(&self, key: &ObjectKey, metrics: Vec<Served>, age: Duration) {
        let Some(prepared) = self.objects.prepared(key) else {
            return;
        };
        for Served { metric, value } in metrics {
            self.poller
                .observe_served(key, &prepared, &metric, value.as_ref().ok().copied(), age);
            let Some(slot) = prepared.readings.slot(&metric) else {
                continue;
            };
            match value {
                Ok(value) => slot.record(value, age),
                Err(message) => slot.record_failure(&message),
            }
        }
    }

    fn uid(&self, key: &ObjectKey) -> Option<String> {
        self.objects.object(key)?.metadata.uid.clone()
    }

    /// A paused object is not prepared, but has a target all the same.
    async fn target_of_paused(
        &self,
        key: &ObjectKey,
        direction: ScaleDirection,
    ) -> Result<Target, String> {
        let object = self
            .objects
            .object(key)
            .filter(|_| direction == ScaleDirection::HoldPaused);
        let Some(object) = object else {
            return Err("the ScaledObject is gone, or paused".to_owned());
        };
        let resolved = self
            .targets
            .resolve(&key.namespace, &object.spec.scale_target_ref);
        match timeout(SCALE_WITHIN, resolved).await {
            Ok(resolved) => resolved.map_err(|error| error.to_string()),
            Err(_) => Err("the API server did not answer in time".to_owned()),
        }
    }

    async fn scale(
        &self,
        key: &ObjectKey,
        decided_for: Option<&ScaledObject>,
        target: &Target,
        decision: Decision,
    ) -> ScaleOutcome {
        let Decision {
            from,
            to,
            direction,
        } = decision;
        // One bound for waiting and writing: a decision that is carried out much later is none any more.
        let write = self.scales.pass(async {
            let now = self.objects.object(key);
            if now.as_deref().map(version) != decided_for.map(version) {
                // Paused, edited or replaced meanwhile: it is decided anew.
                return ScaleWrite::Conflict;
            }
            self.targets.write(target, from, to).await
        });
        let written = timeout(SCALE_WITHIN, write).await;
        let unanswered = || ScaleWrite::Failed("the API server did not answer in time".to_owned());
        match written.unwrap_or_else(|_| unanswered()) {
            ScaleWrite::Done => {
                debug!(object = %key, from, to, ?direction, "wrote the replicas");
                ScaleOutcome::Done { from, to }
            }
            ScaleWrite::Conflict => ScaleOutcome::Conflict,
            ScaleWrite::Failed(message) => {
                debug!(object = %key, from, to, ?direction, error = message, "writing the replicas failed");
                ScaleOutcome::Failed { from, to, message }
            }
        }
    }
}

/// The time for which a poll was planned that is `late` now.
fn due(late: jiff::SignedDuration) -> Instant {
    let now = Instant::now();
    let late = Duration::try_from(late).unwrap_or_default();
    // Before this machine was started there were no polls.
    now.checked_sub(late).unwrap_or(now)
}

/// One write of replicas, as it was decided.
struct Decision {
    from: i32,
    to: i32,
    direction: ScaleDirection,
}

/// Whatever a decision about an object depends on.
fn version(object: &ScaledObject) -> (Option<String>, Option<i64>, Switches) {
    let metadata = &object.metadata;
    (metadata.uid.clone(), metadata.generation, object.switches())
}
