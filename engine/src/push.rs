//! Sources that tell by themselves that there is work.
//!
//! A push counts as activity of its trigger in the next poll that can act on it, which starts at once. So what a push leads to is decided
//! in the order of every poll, by replicas that were just read. Inactivity is never pushed: polls see it.

use crate::activation::Activity;

/// The pushes that no poll has acted on yet.
#[derive(Debug, Default)]
pub(crate) struct Pushes(Vec<Push>);

#[derive(Debug)]
struct Push {
    trigger: usize,
    /// The name under which its trigger is shown as active.
    metric: String,
}

impl Pushes {
    /// Notes a push. Several of one trigger are one.
    pub(crate) fn add(&mut self, trigger: usize, metric: String) {
        if self.0.iter().all(|push| push.trigger != trigger) {
            self.0.push(Push { trigger, metric });
        }
    }

    /// They have been acted on, or are about triggers that are none any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds those that could not be acted on after all.
    pub(crate) fn restore(&mut self, others: Self) {
        for push in others.0 {
            self.add(push.trigger, push.metric);
        }
    }

    /// Counts them as activity, whatever their triggers answered to the poll.
    pub(crate) fn count_in(&self, activity: &mut Activity) {
        for push in &self.0 {
            activity.active = true;
            if !activity.metrics.contains(&push.metric) {
                activity.metrics.push(push.metric.clone());
            }
        }
    }

    /// Shows them among the metrics and whether each is active.
    pub(crate) fn show_in(&self, triggers_activity: &mut [(String, bool)]) {
        for (metric, active) in triggers_activity {
            *active |= self.0.iter().any(|push| push.metric == *metric);
        }
    }
}
