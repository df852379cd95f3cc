//! What admission counts: KEDA's `keda_webhook_*`, and all questions.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, Registry};

use super::register::counter;
use crate::lock::lock;

/// More namespaces than a cluster has.
pub const NAMESPACES: usize = 20_000;
/// A namespace of which admission has seen nothing for so long may be gone, and its series go. Long after any alert on it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

pub struct Validations {
    seen: IntCounterVec,
    refused: IntCounterVec,
    reviews: IntCounterVec,
    /// The namespaces that the first two are counted for.
    namespaces: Mutex<HashMap<String, Counted>>,
}

/// What is counted for a namespace.
struct Counted {
    last: Instant,
    /// The labels of its series: the action, and the reason of a refusal.
    labels: HashSet<(String, Option<String>)>,
}

impl Validations {
    /// # Errors
    /// Where a metric of that name is there already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            seen: counter(
                registry,
                "keda_webhook_scaled_object_validations_total",
                "ScaledObjects that admission looked at",
                &["namespace", "action"],
            )?,
            refused: counter(
                registry,
                "keda_webhook_scaled_object_validation_errors_total",
                "ScaledObjects and ScaledJobs that admission refused, by reason",
                &["namespace", "action", "reason"],
            )?,
            reviews: counter(
                registry,
                "sakidori_webhook_requests_total",
                "Objects that the API server asked about, by what became of them",
                &["resource", "outcome"],
            )?,
            namespaces: Mutex::default(),
        })
    }

    /// A ScaledObject that admission looks at; `action` is `create` or `update`.
    pub fn count(&self, namespace: &str, action: &str) {
        if self.is_counted(namespace, action, None, Instant::now()) {
            self.seen.with_label_values(&[namespace, action]).inc();
        }
    }

    /// One reason for which admission refuses an object.
    pub fn count_error(&self, namespace: &str, action: &str, reason: &str) {
        if self.is_counted(namespace, action, Some(reason), Instant::now()) {
            self.refused
                .with_label_values(&[namespace, action, reason])
                .inc();
        }
    }

    /// One question of the API server's, of whatever kind.
    pub fn count_review(&self, resource: &str, outcome: &str) {
        self.reviews.with_label_values(&[resource, outcome]).inc();
    }

    /// Whoever reaches the webhooks can make up namespaces, so their number is bounded.
    fn is_counted(
        &self,
        namespace: &str,
        action: &str,
        reason: Option<&str>,
        now: Instant,
    ) -> bool {
        let mut namespaces = lock(&self.namespaces);
        if namespaces.len() >= NAMESPACES && !namespaces.contains_key(namespace) {
            return false;
        }
        let counted = namespaces
            .entry(namespace.to_owned())
            .or_insert_with(|| Counted {
                last: now,
                labels: HashSet::new(),
            });
        counted.last = now;
        let labels = (action.to_owned(), reason.map(str::to_owned));
        counted.labels.insert(labels);
        true
    }

    /// Ends the series of namespaces of which nothing was seen for a day.
    pub fn forget_idle(&self, now: Instant) {
        lock(&self.namespaces).retain(|namespace, counted| {
            let stays = now.saturating_duration_since(counted.last) < FORGOTTEN_AFTER;
            if !stays {
                for (action, reason) in &counted.labels {
                    // They are there; and what isn't there can't be removed.
                    let _ = match reason {
                        None => self.seen.remove_label_values(&[namespace, action]),
                        Some(reason) => self
                            .refused
                            .remove_label_values(&[namespace, action, reason]),
                    };
                }
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validations_are_counted_for_a_bounded_number_of_namespaces() {
        let registry = Registry::new();
        let validations = Validations::new(&registry).unwrap();
        for n in 0..NAMESPACES + 5 {
            validations.count(&n.to_string(), "create");
        }
        validations.count_error("7", "create", "incorrect-triggers");
        validations.count_error("made-up", "create", "incorrect-triggers");
        let series = |name: &str| {
            let families = registry.gather();
            let family = families.iter().find(|family| family.name() == name);
            family.map_or(0, |family| family.get_metric().len())
        };
        let total = "keda_webhook_scaled_object_validations_total";
        assert_eq!(series(total), NAMESPACES);
        let errors = "keda_webhook_scaled_object_validation_errors_total";
        assert_eq!(series(errors), 1);
        let now = Instant::now();
        validations.forget_idle(now + FORGOTTEN_AFTER / 2);
        assert_eq!((series(total), series(errors)), (NAMESPACES, 1));
        validations.forget_idle(now + FORGOTTEN_AFTER * 2);
        assert_eq!((series(total), series(errors)), (0, 0));
        validations.count("made-up", "create");
        assert_eq!(series(total), 1);
    }
}
