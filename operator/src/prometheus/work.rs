//! What a replica does while it leads. Nobody leads for ever: these series end with the term.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, Registry};
use sakidori_engine::{ScaleDirection, ScaleOutcome};
use sakidori_scalers::ScalerError;

use super::http;
use super::register::{counter, histogram};

/// Seconds of a poll: a quick one takes milliseconds, and no read more than 30 s.
const POLL_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Seconds by which a poll is late: a loop that keeps up is late by milliseconds.
const LATE_SECONDS: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How a poll went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    Ok,
    /// Some trigger failed.
    Partial,
    /// The target could not be read, or no trigger.
    Failed,
}

/// The counters of a term of leading.
pub struct Work {
    /// Shown only while this replica leads.
    pub registry: Registry,
    polls: IntCounterVec,
    poll_seconds: HistogramVec,
    late_seconds: HistogramVec,
    scales: IntCounterVec,
    source_reads: IntCounterVec,
    source_errors: IntCounterVec,
    http_seconds: HistogramVec,
}

impl Work {
    /// # Errors
    /// Only where two metrics have one name, which a test would show.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        Ok(Self {
            polls: counter(
                &registry,
                "sakidori_polls_total",
                "Polls of ScaledObjects by how they went",
                &["outcome"],
            )?,
            poll_seconds: histogram(
                &registry,
                "sakidori_poll_duration_seconds",
                "How long polls took, with all of their triggers",
                &[],
                POLL_SECONDS,
            )?,
            late_seconds: histogram(
                &registry,
                "sakidori_poll_late_seconds",
                "How much later than planned polls began",
                &[],
                LATE_SECONDS,
            )?,
            scales: counter(
                &registry,
                "sakidori_scales_total",
                "Writes of replicas by direction and outcome",
                &["direction", "outcome"],
            )?,
            source_reads: counter(
                &registry,
                "sakidori_source_reads_total",
                "Reads of event sources by trigger type",
                &["type", "result"],
            )?,
            source_errors: counter(
                &registry,
                "sakidori_source_errors_total",
                "Reads of event sources that failed, by trigger type and what was wrong",
                &["type", "kind"],
            )?,
            http_seconds: histogram(
                &registry,
                http::SECONDS,
                http::SECONDS_HELP,
                &["scaler", "status_code"],
                http::BUCKETS,
            )?,
            registry,
        })
    }

    pub fn http_seconds(&self) -> HistogramVec {
        self.http_seconds.clone()
    }

    pub fn polled(&self, how: Polled, took: Duration) {
        let outcome = match how {
            Polled::Ok => "ok",
            Polled::Partial => "partial",
            Polled::Failed => "failed",
        };
        self.polls.with_label_values(&[outcome]).inc();
        let seconds = self.poll_seconds.with_label_values::<&str>(&[]);
        seconds.observe(took.as_secs_f64());
    }

    pub fn late(&self, late: Duration) {
        let seconds = self.late_seconds.with_label_values::<&str>(&[]);
        seconds.observe(late.as_secs_f64());
    }

    pub fn scaled(&self, direction: ScaleDirection, outcome: &ScaleOutcome) {
        let direction = match direction {
            ScaleDirection::Activate => "activate",
            ScaleDirection::Deactivate => "deactivate",
            ScaleDirection::RaiseToMinimum => "raise_to_minimum",
            ScaleDirection::HoldPaused => "hold_paused",
        };
        let outcome = match outcome {
            ScaleOutcome::Done { .. } => "done",
            ScaleOutcome::Conflict => "conflict",
            ScaleOutcome::Failed { .. } => "failed",
        };
        self.scales.with_label_values(&[direction, outcome]).inc();
    }

    /// One read of a source, for counting how much is asked of sources.
    pub fn read(&self, trigger_type: &str, failure: Option<&ScalerError>) {
        let result = if failure.is_some() { "error" } else { "ok" };
        self.source_reads
            .with_label_values(&[trigger_type, result])
            .inc();
        if let Some(error) = failure {
            self.source_errors
                .with_label_values(&[trigger_type, kind(error)])
                .inc();
        }
    }

    /// The term is over.
    pub fn clear(&self) {
        for counter in [
            &self.polls,
            &self.scales,
            &self.source_reads,
            &self.source_errors,
        ] {
            counter.reset();
        }
        for histogram in [&self.poll_seconds, &self.late_seconds, &self.http_seconds] {
            histogram.reset();
        }
    }
}

fn kind(error: &ScalerError) -> &'static str {
    match error {
        ScalerError::Unauthorized(_) => "unauthorized",
        ScalerError::NotFound(_) => "not_found",
        ScalerError::Unreachable(_) => "unreachable",
        ScalerError::Malformed(_) => "malformed",
        ScalerError::RateLimited { .. } => "rate_limited",
    }
}
