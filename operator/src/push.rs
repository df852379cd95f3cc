//! Triggers whose source tells by itself that there is work: one task each listens, for as long as its scaler is in use.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use sakidori_engine::{Event, ObjectKey};
use sakidori_scalers::{Pushes, Scaler, metric_name};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::error;

use crate::control::Events;
use crate::triggers::{PreparedTrigger, Source};

/// A source that tells of work again and again is heard this often, so that one source does not fill the control loop.
const ACTIVE_APART: Duration = Duration::from_millis(100);
/// Other metrics are a write of the HPA.
const METRICS_APART: Duration = Duration::from_secs(1);
/// After a scaler's bug. Its log line is worth no more.
const AFTER_A_PANIC: Duration = Duration::from_secs(60);

/// A task that listens. Dropped, it ends, and with it its streams. It lives in what was prepared, so it goes when the object is
/// deleted or paused, and when its trigger changes.
pub struct Listening(AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens for all of an object's triggers whose sources tell by themselves; those that did `before` with the same scaler go on.
pub fn listen(
    key: &ObjectKey,
    triggers: &mut [PreparedTrigger],
    before: &[PreparedTrigger],
    events: &Events,
) {
    for trigger in triggers {
        let Source::Scaler { scaler, .. } = &trigger.source else {
            continue;
        };
        if scaler.push().is_none() {
            continue;
        }
        let same = |before: &&PreparedTrigger| matches!(&before.source, Source::Scaler { scaler: other, .. } if Arc::ptr_eq(other, scaler));
        let kept = before.iter().find(same).and_then(|it| it.listening.clone());
        trigger.listening = kept.or_else(|| {
            let heard = Heard {
                key: key.clone(),
                trigger: trigger.index,
                kind: trigger.kind.clone(),
                events: events.clone(),
            };
            let task = tokio::spawn(heard.follow(scaler.clone()));
            Some(Arc::new(Listening(task.abort_handle())))
        });
    }
}

/// What is heard of one trigger becomes the engine's events.
struct Heard {
    key: ObjectKey,
    trigger: usize,
    kind: String,
    events: Events,
}

impl Heard {
    async fn follow(self, scaler: Arc<dyn Scaler>) {
        let Some(push) = scaler.push() else { return };
        let pushes = Pushes::default();
        loop {
            let listening = AssertUnwindSafe(push.listen(&pushes)).catch_unwind();
            tokio::select! {
                ended = listening => if ended.is_err() {
                    let (object, trigger) = (&self.key, self.trigger);
                    error!(%object, trigger, "listening to the trigger's source panicked; listening again");
                },
                () = self.tell_active(&pushes, scaler.as_ref()) => {}
                () = self.tell_metrics(&pushes) => {}
            }
            sleep(AFTER_A_PANIC).await;
        }
    }

    async fn tell_active(&self, pushes: &Pushes, scaler: &dyn Scaler) {
        loop {
            pushes.until_active().await;
            // KEDA: the first of its metrics.
            let metric = scaler
                .metrics()
                .into_iter()
                .next()
                .map(|metric| metric.name);
            self.events.send(Event::Pushed {
                key: self.key.clone(),
                trigger: self.trigger,
                metric: metric.unwrap_or_else(|| metric_name(self.trigger, &self.kind)),
            });
            sleep(ACTIVE_APART).await;
        }
    }

    async fn tell_metrics(&self, pushes: &Pushes) {
        loop {
            pushes.until_metrics_changed().await;
            let key = self.key.clone();
            self.events.send(Event::ReferenceChanged { key });
            sleep(METRICS_APART).await;
        }
    }
}
