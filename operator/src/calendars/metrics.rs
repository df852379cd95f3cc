//! The metrics of calendars. A deleted calendar leaves no series.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, Opts};

use super::{CalendarRef, lock};
use crate::clock::Clock;

const LABELS: &[&str] = &["kind", "namespace", "calendar"];

#[derive(Clone)]
pub struct CalendarMetrics(Arc<Inner>);

struct Inner {
    clock: Clock,
    stale: GaugeVec,
    errors: IntCounterVec,
    /// Of every calendar that there is.
    stale_since: Mutex<HashMap<CalendarRef, Option<Timestamp>>>,
}

impl CalendarMetrics {
    /// # Errors
    /// Never: the names are constants.
    pub fn new(clock: Clock) -> Result<Self, prometheus::Error> {
        let stale = Opts::new(
            "sakidori_calendar_stale_seconds",
            "For how long a source of each calendar could not be read; 0 where all can",
        );
        let errors = Opts::new(
            "sakidori_calendar_refresh_errors_total",
            "Refreshes of the sources of each calendar that failed",
        );
        Ok(Self(Arc::new(Inner {
            clock,
            stale: GaugeVec::new(stale, LABELS)?,
            errors: IntCounterVec::new(errors, LABELS)?,
            stale_since: Mutex::default(),
        })))
    }

    pub(super) fn set_stale_since(&self, calendar: &CalendarRef, since: Option<Timestamp>) {
        lock(&self.0.stale_since).insert(calendar.clone(), since);
        // From the first on, so that an increase shows.
        self.0.errors.with_label_values(&labels(calendar));
    }

    pub(super) fn count_error(&self, calendar: &CalendarRef) {
        self.0.errors.with_label_values(&labels(calendar)).inc();
    }

    pub(super) fn forget(&self, calendar: &CalendarRef) {
        let mut since = lock(&self.0.stale_since);
        since.remove(calendar);
        // A series that was never written can't be removed; that is no error here.
        let _ = self.0.stale.remove_label_values(&labels(calendar));
        let _ = self.0.errors.remove_label_values(&labels(calendar));
    }
}

fn labels(calendar: &CalendarRef) -> [&str; 3] {
    [calendar.kind(), &calendar.namespace, &calendar.name]
}

/// How long a calendar has been stale is known when it is asked for.
impl Collector for CalendarMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.0.stale.desc();
        all.extend(self.0.errors.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = self.0.clock.now();
        let since = lock(&self.0.stale_since);
        for (calendar, since) in &*since {
            let seconds = since.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
            let series = self.0.stale.with_label_values(&labels(calendar));
            series.set(seconds.max(0.0));
        }
        let mut all = self.0.stale.collect();
        all.extend(self.0.errors.collect());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_calendar_leaves_no_series() {
        let metrics = CalendarMetrics::new(Clock::start()).unwrap();
        let registry = prometheus::Registry::new();
        registry.register(Box::new(metrics.clone())).unwrap();
        let sales = CalendarRef {
            cluster: false,
            namespace: "shop".into(),
            name: "sales".into(),
        };
        let text = || {
            let families = registry.gather();
            prometheus::TextEncoder::new()
                .encode_to_string(&families)
                .unwrap()
        };
        metrics.set_stale_since(&sales, None);
        metrics.count_error(&sales);
        let labels = r#"{calendar="sales",kind="SaleCalendar",namespace="shop"}"#;
        let all = text();
        assert!(
            all.contains(&format!("sakidori_calendar_stale_seconds{labels} 0")),
            "{all}"
        );
        assert!(
            all.contains(&format!("sakidori_calendar_refresh_errors_total{labels} 1")),
            "{all}"
        );
        // Well within the 36 that is looked for, whatever the two clocks differ by.
        let hour_ago = Clock::start().now() - jiff::SignedDuration::from_secs(3630);
        metrics.set_stale_since(&sales, Some(hour_ago));
        assert!(text().contains(&format!("sakidori_calendar_stale_seconds{labels} 36")));
        metrics.forget(&sales);
        assert!(!text().contains("sales\""), "{}", text());
    }
}
