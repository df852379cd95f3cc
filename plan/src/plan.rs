//! All floors of a period.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sakidori_engine::prescale::{LEAD_UNTIL_LEARNT, Occurrence};

use crate::calendars::{Calendars, Given};
use crate::checks;
use crate::finding::Finding;
use crate::manifests::Manifests;
use crate::object::ObjectPlan;

/// From when to when, and the zone in which it is told.
#[derive(Clone, Debug)]
pub struct Period {
    pub from: Timestamp,
    pub to: Timestamp,
    pub zone: TimeZone,
}

/// What stands for what only running pods show.
#[derive(Clone, Copy, Debug)]
pub struct Assumptions {
    /// For `baseline: observed`; never below minReplicaCount. 1 if absent.
    pub baseline: Option<i32>,
    /// For `leadTime: auto`.
    pub lead: SignedDuration,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            baseline: None,
            lead: LEAD_UNTIL_LEARNT,
        }
    }
}

/// The floors of all objects with a sale-calendar trigger.
#[derive(Clone, Debug)]
pub struct Plan {
    pub period: Period,
    pub assumptions: Assumptions,
    /// By namespace and name.
    pub objects: Vec<ObjectPlan>,
    /// Errors first, each in the order of what was given.
    pub findings: Vec<Finding>,
}

/// Ramps, lead times and holds are a month each at most, so that a sale so far outside of the period may still reach into it.
const REACH: SignedDuration = SignedDuration::from_hours(3 * 31 * 24);

impl Plan {
    pub fn new(
        manifests: &Manifests,
        given: &Given,
        period: Period,
        assumptions: Assumptions,
    ) -> Self {
        let mut findings = manifests.findings.clone();
        let reach = (
            period.from.checked_sub(REACH).unwrap_or(Timestamp::MIN),
            period.to.checked_add(REACH).unwrap_or(Timestamp::MAX),
        );
        let calendars = Calendars::read(manifests, given, period.from, reach, &mut findings);
        let mut objects = Vec::new();
        for (origin, object) in &manifests.scaled_objects {
            checks::resize(origin, object, &manifests.around, &mut findings);
            let Some(selected) = checks::object(origin, object, &calendars, &mut findings) else {
                continue;
            };
            let span = (period.from, period.to);
            let plan = ObjectPlan::new(
                object,
                &selected,
                assumptions.baseline,
                assumptions.lead,
                span,
            );
            checks::plan(origin, object, &plan, &selected, &mut findings);
            checks::around(origin, object, &plan, &manifests.around, &mut findings);
            checks::ramps(origin, object, &selected, span, &mut findings);
            objects.push(plan);
        }
        objects.sort_by(|one, other| {
            (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
        });
        findings.sort_by_key(|finding| finding.severity);
        findings.dedup();
        Self {
            period,
            assumptions,
            objects,
            findings,
        }
    }

    pub fn pod_seconds(&self) -> f64 {
        self.objects.iter().map(|object| object.pod_seconds).sum()
    }

    /// The lines that say what was assumed, and for what.
    pub fn assumed(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.objects.iter().any(|object| object.assumes.lead) {
            lines.push(format!(
                "leadTime: auto is taken as {} (--assume-lead)",
                crate::table::span(self.assumptions.lead)
            ));
        }
        let baselines: std::collections::BTreeSet<_> = self
            .objects
            .iter()
            .filter_map(|object| object.assumes.baseline)
            .collect();
        if !baselines.is_empty() {
            let which = match self.assumptions.baseline {
                Some(baseline) => format!("{baseline}, or minReplicaCount where that is more"),
                None => "minReplicaCount, or 1 where that is 0".to_owned(),
            };
            lines.push(format!(
                "baseline: observed is taken as {which} (--assume-baseline)"
            ));
        }
        lines
    }
}

/// The event as texts name it.
pub(crate) fn event(occurrence: &Arc<Occurrence>) -> &str {
    &occurrence.name
}
