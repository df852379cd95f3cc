//! What reads of triggers do on their way, noted for the trigger that reads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use prometheus::HistogramVec;
use sakidori_scalers::Observer;

use super::facts::Facts;
use super::text::Histogram;
use crate::lock::lock;

pub const SECONDS: &str = "keda_scaler_http_request_duration_seconds";
pub const SECONDS_HELP: &str = "How long HTTP requests of triggers took";
/// KEDA's.
pub const BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// How a status stands in a label. A server may answer any number: those that mean nothing are one.
pub fn status_label(status: Option<u16>) -> String {
    match status {
        // KEDA's word.
        None => "error".to_owned(),
        Some(0) => "other".to_owned(),
        Some(status) => status.to_string(),
    }
}

/// 0 for a status that nothing defines.
fn known(status: u16) -> u16 {
    let defined = StatusCode::from_u16(status).ok();
    let defined = defined.filter(|status| status.canonical_reason().is_some());
    defined.map_or(0, |status| status.as_u16())
}

/// Where the durations of exchanges go.
#[derive(Clone)]
pub enum Durations {
    /// By trigger type and status.
    OfTypes(HistogramVec),
    /// KEDA's `--enable-high-cardinality-metrics-labels`: each trigger has its own.
    OfTriggers,
}

/// Notes what a trigger's reads do.
pub struct TriggerObserver {
    pub facts: Arc<Mutex<Facts>>,
    pub index: usize,
    pub kind: String,
    pub durations: Durations,
}

impl Observer for TriggerObserver {
    fn exchanged(&self, status: Option<u16>, took: Duration) {
        let status = status.map(known);
        let mut facts = lock(&self.facts);
        let exchanges = facts.exchanges.entry((self.index, status)).or_default();
        exchanges.count += 1;
        let took = took.as_secs_f64();
        match &self.durations {
            Durations::OfTypes(all) => all
                .with_label_values(&[self.kind.as_str(), &status_label(status)])
                .observe(took),
            Durations::OfTriggers => exchanges
                .seconds
                .get_or_insert_with(|| Histogram::new(BUCKETS))
                .observe(took),
        }
    }

    fn answered_nothing(&self, ignored: bool) {
        let mut facts = lock(&self.facts);
        *facts.empty.entry((self.index, ignored)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_can_not_make_up_statuses() {
        for (status, label) in [
            (Some(200), "200"),
            (Some(404), "404"),
            (Some(299), "other"),
            (Some(999), "other"),
            (None, "error"),
        ] {
            assert_eq!(status_label(status.map(known)), label);
        }
    }
}
