//! Counts what HPAs read, and how old it was.

use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts};
use sakidori_metrics_adapter::MetricError;

use crate::readings::Taken;

/// Seconds of a read: it waits a second for its source, unless told otherwise.
const SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Seconds of age: two polling intervals at most, and those are 30 s by default.
const AGES: &[f64] = &[
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 600.0,
];

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It was there, and young enough.
    Fresh,
    /// It was waited for.
    Polled,
    /// The source was too slow: the last reading.
    Last,
}

/// The counters. Cheap to clone.
#[derive(Clone)]
pub struct ReadMetrics {
    reads: IntCounterVec,
    seconds: Histogram,
    ages: Histogram,
}

impl ReadMetrics {
    /// # Errors
    /// Never: the names are constants.
    pub fn new() -> Result<Self, prometheus::Error> {
        let reads = Opts::new(
            "sakidori_hpa_reads_total",
            "Reads of HPAs by where the value came from, or why there was none",
        );
        let seconds = HistogramOpts::new(
            "sakidori_hpa_read_duration_seconds",
            "How long reads of HPAs took",
        );
        let ages = HistogramOpts::new(
            "sakidori_hpa_read_age_seconds",
            "How old the values were that HPAs were served",
        );
        Ok(Self {
            reads: IntCounterVec::new(reads, &["outcome"])?,
            seconds: Histogram::with_opts(seconds.buckets(SECONDS.to_vec()))?,
            ages: Histogram::with_opts(ages.buckets(AGES.to_vec()))?,
        })
    }

    pub(crate) fn count(&self, read: &Result<(Taken, How), MetricError>, took: Duration) {
        let outcome = match read {
            Ok((_, How::Fresh)) => "fresh",
            Ok((_, How::Polled)) => "polled",
            Ok((_, How::Last)) => "last",
            Err(MetricError::Unavailable(_)) => "unavailable",
            Err(MetricError::NotFound(_)) => "not_found",
            Err(MetricError::BadRequest(_)) => "bad_request",
        };
        self.reads.with_label_values(&[outcome]).inc();
        self.seconds.observe(took.as_secs_f64());
        if let Ok((taken, _)) = read {
            self.ages.observe(taken.at.elapsed().as_secs_f64());
        }
    }

    fn all(&self) -> [&dyn Collector; 3] {
        [&self.reads, &self.seconds, &self.ages]
    }
}

impl Collector for ReadMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.all().iter().flat_map(|one| one.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.all().iter().flat_map(|one| one.collect()).collect()
    }
}
