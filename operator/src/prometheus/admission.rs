//! What admission counts: KEDA's `keda_webhook_*`, and all questions.

use std::collections::HashSet;
use std::sync::Mutex;

use prometheus::{IntCounterVec, Registry};

use super::register::counter;
use crate::lock::lock;

/// More namespaces than a cluster has.
pub const NAMESPACES: usize = 20_000;

pub struct Validations {
    seen: IntCounterVec,
    refused: IntCounterVec,
    reviews: IntCounterVec,
    /// The namespaces that these two are counted for.
    namespaces: Mutex<HashSet<String>>,
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
        if self.is_counted(namespace) {
            self.seen.with_label_values(&[namespace, action]).inc();
        }
    }

    /// One reason for which admission refuses an object.
    pub fn count_error(&self, namespace: &str, action: &str, reason: &str) {
        if self.is_counted(namespace) {
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
    fn is_counted(&self, namespace: &str) -> bool {
        let mut counted = lock(&self.namespaces);
        counted.contains(namespace)
            || (counted.len() < NAMESPACES && counted.insert(namespace.to_owned()))
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
    }
}
