//! When a status is worth a write: only when a reader can see a difference.

use jiff::{SignedDuration, Timestamp};

use crate::conditions::ConditionStatus;
use crate::effect::ObjectStatus;
use crate::event::Remembered;

/// The status as it is, beside the one that was last written.
#[derive(Debug)]
pub(crate) struct StatusRecord {
    pub(crate) current: ObjectStatus,
    written: Option<ObjectStatus>,
    /// The first poll's answer is awaited, so that bringing an object up costs one write.
    held: bool,
    /// What preparation found has to be written even if nothing of the engine's part changed.
    forced: bool,
}

impl StatusRecord {
    /// Starts with what the object's status says.
    pub(crate) fn new(remembered: Remembered, last_active: Option<Timestamp>) -> Self {
        let Remembered {
            last_active_time,
            conditions,
            paused_replicas,
            health,
            prescale,
            seen_before,
        } = remembered;
        let stored = ObjectStatus {
            conditions,
            last_active_time,
            triggers_activity: Vec::new(),
            paused_replicas,
            health,
            prescale,
        };
        let current = ObjectStatus {
            last_active_time: last_active,
            ..stored.clone()
        };
        Self {
            current,
            written: seen_before.then_some(stored),
            held: false,
            forced: false,
        }
    }

    /// From now on nothing is written until `release`; then something is.
    pub(crate) fn hold_for_first_poll(&mut self) {
        self.held = true;
        self.forced = true;
    }

    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// The status to write now, if it is worth it. `lastActiveTime` alone is worth it when it lags by `lag`.
    /// Failures are counted on beyond `threshold`, but have no further effect: they are shown with the next write.
    pub(crate) fn flush(&mut self, lag: SignedDuration, threshold: i32) -> Option<ObjectStatus> {
        if self.held || !(self.forced || self.differs(lag, threshold)) {
            return None;
        }
        let mut status = self.current.clone();
        if self.forced && !self.lags(lag) {
            // After a restart: the time alone is not worth a write, and all else may be as it was.
            status.last_active_time = self.written.as_ref().and_then(|it| it.last_active_time);
        }
        self.forced = false;
        self.written = Some(status.clone());
        Some(status)
    }

    fn differs(&self, lag: SignedDuration, threshold: i32) -> bool {
        let Some(written) = &self.written else {
            return true;
        };
        if written.conditions != self.current.conditions
            || written.triggers_activity != self.current.triggers_activity
            || written.paused_replicas != self.current.paused_replicas
            || written.prescale != self.current.prescale
            || up_to(threshold, written) != up_to(threshold, &self.current)
        {
            return true;
        }
        self.lags(lag)
    }

    /// The time in the written status is too old, or there is none.
    pub(crate) fn lags(&self, lag: SignedDuration) -> bool {
        let Some(written) = &self.written else {
            return true;
        };
        // Only for an object that is shown as active does a restart count the time since as active, too; and only while it still
        // is active may the shown time be old.
        let active =
            |status: &ObjectStatus| status.conditions.active.status == ConditionStatus::True;
        let may_lag = active(written) && active(&self.current);
        match (written.last_active_time, self.current.last_active_time) {
            (Some(written), Some(current)) if may_lag => current.duration_since(written) >= lag,
            (written, current) => written != current,
        }
    }
}

/// The health of all metrics, with failures counted up to the one that takes effect.
fn up_to(threshold: i32, status: &ObjectStatus) -> Vec<(&str, bool, i32)> {
    let effective = threshold.saturating_add(1);
    let health = status.health.iter();
    health
        .map(|(metric, health)| (&**metric, health.failing, health.failures.min(effective)))
        .collect()
}
