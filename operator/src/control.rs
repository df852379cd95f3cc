//! The control loop: feeds the engine, carries out its effects, sleeps until its next wake-up.
//!
//! One task owns the engine; everything that takes time runs in tasks of its own and answers with an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use sakidori_engine::{Engine, Event};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::executor::Executor;
use crate::leadership::Fence;

/// Where events for the engine are put in. Cheap to clone.
#[derive(Clone)]
pub struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// After the loop's end events go nowhere, which is what a shutdown wants.
    pub fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

/// The time of the control loop's last turn, for `/healthz`.
#[derive(Clone, Default)]
pub struct Heartbeat(Arc<AtomicI64>);

impl Heartbeat {
    fn beat(&self, now: Timestamp) {
        self.0.store(now.as_second(), Ordering::Relaxed);
    }

    /// Seconds from the loop's last turn, or from `started` where it never turned, until `now`.
    pub fn age(&self, started: Timestamp, now: Timestamp) -> u64 {
        let last = self.0.load(Ordering::Relaxed).max(started.as_second());
        u64::try_from(now.as_second() - last).unwrap_or(0)
    }
}

/// The loop turns at least this often, which `/healthz` looks at.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Runs until `shutdown`, or until this process may not act any more.
pub async fn run(
    mut events: mpsc::UnboundedReceiver<Event>,
    executor: Arc<Executor>,
    clock: Clock,
    heartbeat: Heartbeat,
    fence: Fence,
    shutdown: CancellationToken,
) {
    let mut engine = Engine::default();
    loop {
        let now = clock.now();
        heartbeat.beat(now);
        let sleep = engine
            .next_wakeup()
            .map_or(LONGEST_SLEEP, |at| until(now, at).min(LONGEST_SLEEP));
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            event = events.recv() => match event {
                Some(event) => event,
                None => return,
            },
            () = sleep_until(Instant::now() + sleep) => Event::Woke,
        };
        let now = clock.now();
        let mut effects = engine.handle(now, event);
        // Events that keep coming must not keep the agenda from being looked at.
        if engine.next_wakeup().is_some_and(|at| at <= now) {
            effects.extend(engine.handle(now, Event::Woke));
        }
        // What was decided by a process that was suspended since, or on its behalf, is no decision any more.
        if !fence.may_act() {
            return;
        }
        for effect in effects {
            executor.execute(effect);
        }
    }
}

fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}
