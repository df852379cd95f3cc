//! Prometheus metrics, with KEDA's names and labels (pkg/metricscollector/prommetrics.go), so that its dashboards and alerts
//! work. Ours begin with `sakidori_`. docs/metrics.md has all of them.
//!
//! Series about ScaledObjects are written at a scrape from what is known of the objects ([`Facts`], [`View`]): so the series of a deleted
//! object go with it, and polls only note a few numbers. What is counted by fixed words is counted in the library's registries: one for the
//! process, and one ([`Work`]) that is shown only while this replica leads.

mod admission;
mod api_requests;
mod build;
mod calendars;
mod decision;
mod facts;
mod http;
mod objects;
mod register;
mod resize;
mod sales;
mod scaled_object;
mod serve;
mod text;
mod view;
mod work;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{IntGauge, Registry, TextEncoder};
use sakidori_engine::resize::{Report, ResizeResult};
use sakidori_engine::{ObjectKey, ScaleDirection, ScaleOutcome, Shown};
use sakidori_scalers::{Observer, ScalerError};

use self::admission::Validations;
use self::facts::{Facts, Table};
use self::http::{Durations, TriggerObserver};
use self::objects::Totals;
use self::text::{Family, Labels, Page};
use self::work::Work;
use crate::lock::lock;

pub use self::api_requests::ApiRequests;
pub use self::facts::{MetricFacts, Read, Series};
pub use self::serve::router;
pub use self::view::View;
pub use self::work::Polled;

const LEADER: Family = Family::gauge("sakidori_leader", "1 where this replica leads");

/// What kind of process shows metrics, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsOptions {
    /// It may lead.
    pub may_lead: bool,
    /// KEDA's `--enable-high-cardinality-metrics-labels`.
    pub high_cardinality: bool,
}

/// All that this process shows.
pub struct Metrics {
    registry: Registry,
    tasks: IntGauge,
    validations: Validations,
    options: MetricsOptions,
    objects: Table,
    work: Work,
    /// What is looked at at a scrape, while this replica leads.
    view: Mutex<Option<View>>,
}

impl Metrics {
    /// # Errors
    /// Only where two metrics have one name, which a test would show.
    pub fn new(options: MetricsOptions) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        build::register(&registry)?;
        Ok(Self {
            tasks: build::tasks(&registry)?,
            validations: Validations::new(&registry)?,
            registry,
            options,
            objects: Table::default(),
            work: Work::new()?,
            view: Mutex::default(),
        })
    }

    /// Adds metrics that somebody else keeps.
    ///
    /// # Errors
    /// Where a metric of that name is there already.
    pub fn add(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.registry.register(collector)
    }

    /// Takes away what [`Metrics::add`] added.
    pub fn remove(&self, collector: Box<dyn Collector>) {
        // One that isn't there can't be removed; that is no error here.
        let _ = self.registry.unregister(collector);
    }

    /// What admission counts.
    pub fn validations(&self) -> &Validations {
        &self.validations
    }

    // ---- A term of leading

    /// This replica leads from now on, and knows this.
    pub fn lead(&self, view: View) {
        *lock(&self.view) = Some(view);
    }

    /// Ends every series of a term of leading that is over; what admission counted stays. Nobody may write them any more.
    pub fn forget_all(&self) {
        *lock(&self.view) = None;
        self.objects.clear();
        self.work.clear();
    }

    /// Makes a ScaledObject and its triggers count. Series that it had with other triggers go (KEDA: at each reconciliation).
    /// One that is `paused` in one direction only counts as paused too.
    pub fn register(&self, key: &ObjectKey, trigger_types: Vec<String>, paused: bool) {
        self.objects.register(key, trigger_types, paused);
    }

    /// Removes every series of a deleted object.
    pub fn forget(&self, key: &ObjectKey) {
        self.objects.forget(key);
    }

    // ---- Polls

    /// A poll begins, so much later than planned. What is known of metrics that its object `has` no more is forgotten.
    pub fn begin_poll(&self, key: &ObjectKey, late: Duration, has: impl Fn(&MetricFacts) -> bool) {
        self.work.late(late);
        self.objects.note(key, |facts| {
            facts.late = Some(late);
            facts.keep(has);
        });
    }

    /// A poll has ended.
    pub fn end_poll(&self, key: &ObjectKey, how: Polled, replicas: Option<i32>, took: Duration) {
        self.work.polled(how, took);
        self.objects.note(key, |facts| {
            facts.errors += u64::from(how != Polled::Ok);
            facts.replicas = replicas.or(facts.replicas);
        });
    }

    /// A successful read, or what a formula makes of several.
    pub fn observe(&self, key: &ObjectKey, series: &Series<'_>, read: &Read) {
        self.objects.note(key, |facts| facts.read(series, read));
    }

    /// A failed read.
    pub fn observe_error(&self, key: &ObjectKey, series: &Series<'_>) {
        self.objects.note(key, |facts| facts.failed(series));
    }

    /// A `cpu` or `memory` trigger, which is always active.
    pub fn observe_resource(&self, key: &ObjectKey, series: &Series<'_>) {
        self.objects
            .note(key, |facts| facts.metric(series).active = Some(true));
    }

    /// One read of a source, for counting how much is asked of sources.
    pub fn count_read(&self, trigger_type: &str, failure: Option<&ScalerError>) {
        self.work.read(trigger_type, failure);
    }

    /// Who notes what a read of this trigger does; `None` where the object is gone.
    pub fn observer(&self, key: &ObjectKey, index: usize, kind: &str) -> Option<Arc<dyn Observer>> {
        Some(Arc::new(TriggerObserver {
            facts: self.objects.get(key)?,
            index,
            kind: kind.to_owned(),
            durations: match self.options.high_cardinality {
                true => Durations::OfTriggers,
                false => Durations::OfTypes(self.work.http_seconds()),
            },
        }))
    }

    /// A write of replicas.
    pub fn count_scale(&self, direction: ScaleDirection, outcome: &ScaleOutcome) {
        self.work.scaled(direction, outcome);
    }

    /// What the sales of an object come to now.
    pub fn observe_prescaling(&self, key: &ObjectKey, shown: &Shown) {
        self.objects.note(key, |facts| facts.show(shown));
    }

    // ---- Resizing

    /// How far the pods of an object are that are resized in place.
    pub fn observe_resize(&self, key: &ObjectKey, report: &Report) {
        self.objects.note(key, |facts| {
            facts.resize.get_or_insert_default().show(report)
        });
    }

    pub fn count_resize(&self, key: &ObjectKey, result: ResizeResult) {
        self.objects.note(key, |facts| {
            facts.resize.get_or_insert_default().count(result)
        });
    }

    /// The object's pods are not resized any more.
    pub fn forget_resize(&self, key: &ObjectKey) {
        self.objects.note(key, |facts| facts.resize = None);
    }

    // ---- A scrape

    /// The text exposition format. It takes a moment where there are many objects: not for a thread on which others wait.
    pub fn text(&self) -> String {
        // There is a runtime wherever somebody asks for them; a test of this file has none.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks();
            self.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
        }
        self.validations.forget_idle(Instant::now());
        let view = lock(&self.view).clone();
        let mut families = self.registry.gather();
        if view.is_some() {
            families.extend(self.work.registry.gather());
        }
        let mut text = String::new();
        // Writing to memory can't fail; a family without series, or a name that is none, is never gathered.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        self.page(view.as_ref()).write(&mut text);
        text
    }

    /// What is made from what is known now.
    fn page(&self, view: Option<&View>) -> Page {
        let mut page = Page::default();
        if self.options.may_lead {
            page.whether(LEADER, &Labels::default(), view.is_some());
        }
        let authentications = view.map(View::authentications).unwrap_or_default();
        let mut totals = Totals::of(authentications);
        for (key, facts) in self.objects.all() {
            self.write_object(&mut page, &mut totals, &key, &mut lock(&facts), view);
        }
        totals.write(&mut page);
        if let Some(view) = view {
            let now = view.clock.now();
            for (calendar, occurrences) in view.calendars.all() {
                calendars::write(&mut page, &calendar, &occurrences, now);
            }
        }
        page
    }

    fn write_object(
        &self,
        page: &mut Page,
        totals: &mut Totals,
        key: &ObjectKey,
        facts: &mut Facts,
        view: Option<&View>,
    ) {
        let live = view.and_then(|view| view.live(key));
        totals.add(key, facts);
        objects::write(page, key, facts, live.as_ref());
        sales::write(page, key, facts);
        if let Some(resizing) = &facts.resize {
            resize::write(page, key, resizing);
        }
        if let (Some(view), Some(live)) = (view, &live) {
            scaled_object::write(page, key, facts, live, view.clock.now());
            sales::write_planned(page, key, facts, live, view);
        }
    }
}
