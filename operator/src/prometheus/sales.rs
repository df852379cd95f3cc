//! The series of sales, made at a scrape.

use std::time::{Duration, Instant};

use sakidori_engine::{ObjectKey, Shown};

use super::facts::Facts;
use super::text::{Family, Histogram, Labels, Page};
use super::view::{Live, View};
use crate::sales;

const FLOOR: Family = Family::gauge(
    "sakidori_prescale_floor_replicas",
    "The floor that sales have set under the replicas; 0 is none",
);
const READY: Family = Family::gauge(
    "sakidori_prescale_ready_replicas",
    "The target's Ready pods, as last seen for a floor",
);
const REPLICAS: Family = Family::gauge(
    "sakidori_prescale_replicas",
    "The target's replicas, as last seen for a floor",
);
const CONDITION: Family = Family::gauge(
    "sakidori_prescale_condition",
    "1 for the reason of the condition Prescaled, while a floor climbs or holds",
);
const LATE: Family = Family::gauge(
    "sakidori_prescale_late",
    "1 from half of the lead time before a sale on, while replicas of its floor are missing",
);
const NEXT_START: Family = Family::gauge(
    "sakidori_prescale_next_start_timestamp_seconds",
    "When the next sale starts, in Unix time",
);
const LEAD: Family = Family::histogram(
    "sakidori_prescale_ready_lead_seconds",
    "How long before the start of a sale the last pod of its floor was Ready; negative is late",
);
const PLANNED: Family = Family::gauge(
    "sakidori_prescale_planned_floor_replicas",
    "The highest floor of each of the next seven days, 24 h each from now on",
);

/// Seconds from readiness to the start of a sale.
const LEADS: &[f64] = &[
    -600.0, -300.0, -60.0, -10.0, 0.0, 10.0, 60.0, 300.0, 600.0, 1200.0, 3600.0,
];

/// What is planned is computed again after this long: it is about days.
const PLANNED_FOR: Duration = Duration::from_secs(60);

impl Facts {
    /// What the sales of the object come to now.
    pub fn show(&mut self, shown: &Shown) {
        // There from the start, so that a rate over it sees the first sale.
        let leads = self.leads.get_or_insert_with(|| Histogram::new(LEADS));
        for lead in shown
            .reports
            .iter()
            .filter_map(|one| one.ready_before_start)
        {
            leads.observe(lead.as_secs_f64());
        }
        let (ready, replicas) = match self.shown.take() {
            // What isn't known now is what was last seen.
            Some(before) => (
                shown.ready.or(before.ready),
                shown.replicas.or(before.replicas),
            ),
            None => (shown.ready, shown.replicas),
        };
        self.shown = Some(Shown {
            ready,
            replicas,
            reports: Vec::new(),
            ..shown.clone()
        });
    }
}

/// Writes the series of one object's sales.
pub fn write(page: &mut Page, key: &ObjectKey, facts: &Facts) {
    let labels = Labels::new([("namespace", &*key.namespace), ("scaledObject", &key.name)]);
    if let Some(leads) = &facts.leads {
        page.histogram(LEAD, &labels, leads);
    }
    let Some(shown) = &facts.shown else {
        return;
    };
    page.sample(FLOOR, &labels, shown.floor.into());
    if let Some(ready) = shown.ready {
        page.count(READY, &labels, ready as u64);
    }
    if let Some(replicas) = shown.replicas {
        page.sample(REPLICAS, &labels, replicas.into());
    }
    page.whether(LATE, &labels, shown.late);
    if let Some(reason) = &shown.reason {
        let labels = Labels::new([
            ("namespace", &*key.namespace),
            ("reason", reason),
            ("scaledObject", &key.name),
        ]);
        page.whether(CONDITION, &labels, true);
    }
    if let Some(start) = shown.next_start {
        page.sample(NEXT_START, &labels, start.as_millisecond() as f64 / 1000.0);
    }
}

/// Writes what the calendars make of the next days.
pub fn write_planned(
    page: &mut Page,
    key: &ObjectKey,
    facts: &mut Facts,
    live: &Live,
    view: &View,
) {
    if !sales::has_sales(&live.object) {
        return;
    }
    let known = facts.planned.take();
    let (at, floors) = known
        .filter(|(at, _)| at.elapsed() < PLANNED_FOR)
        .unwrap_or_else(|| (Instant::now(), view.planned(key, live, facts.replicas)));
    for (day, floor) in floors.iter().enumerate() {
        let day = day.to_string();
        let labels = Labels::new([
            ("day", &*day),
            ("namespace", &key.namespace),
            ("scaledObject", &key.name),
        ]);
        page.sample(PLANNED, &labels, (*floor).into());
    }
    facts.planned = Some((at, floors));
}
