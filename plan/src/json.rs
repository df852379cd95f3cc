//! The plan as JSON, for programs. Fields are added, never renamed or removed; docs/plan.md describes them.

use jiff::Timestamp;
use sakidori_engine::prescale::Occurrence;
use serde::Serialize;

use crate::finding::Severity;
use crate::object::{ObjectPlan, Sale};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::time::zone_name;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    from: Timestamp,
    to: Timestamp,
    time_zone: &'a str,
    assumed: Vec<String>,
    pod_hours: f64,
    objects: Vec<Object<'a>>,
    findings: Vec<Told<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    namespace: &'a str,
    name: &'a str,
    target: &'a str,
    min_replica_count: i32,
    max_replica_count: i32,
    highest_floor: i32,
    pod_hours: f64,
    phases: Vec<Part<'a>>,
    sales: Vec<Event<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    from: Timestamp,
    to: Timestamp,
    shape: &'a str,
    floor_from: i32,
    floor_to: i32,
    min_replicas: i32,
    max_replicas: i32,
    event: Option<&'a str>,
    occurrence: Option<&'a str>,
    cap: Option<i32>,
    cap_event: Option<&'a str>,
    raised_max: Option<i32>,
    hand_over: bool,
    pod_hours: f64,
    steps: Vec<(Timestamp, i32)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    trigger: usize,
    #[serde(flatten)]
    occurrence: &'a Occurrence,
    climbs_at: Timestamp,
    complete_at: Option<Timestamp>,
    holds_until: Timestamp,
    gone_at: Timestamp,
    baseline: Option<i32>,
    floor: Option<i32>,
    cap: Option<i32>,
    pod_hours: f64,
}

#[derive(Serialize)]
struct Told<'a> {
    severity: &'a str,
    origin: String,
    object: &'a str,
    message: &'a str,
}

/// Indented, and with a line break at the end. With `steps`, ramps have each of their steps.
///
/// # Errors
/// Never for a plan: JSON can write all of it.
pub fn write(plan: &Plan, steps: bool) -> Result<String, serde_json::Error> {
    let whole = Whole {
        from: plan.period.from,
        to: plan.period.to,
        time_zone: zone_name(&plan.period.zone),
        assumed: plan.assumed(),
        pod_hours: hours(plan.pod_seconds()),
        objects: plan
            .objects
            .iter()
            .map(|object| of_object(object, steps))
            .collect(),
        findings: plan
            .findings
            .iter()
            .map(|finding| Told {
                severity: match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                origin: finding.origin.to_string(),
                object: &finding.object,
                message: &finding.message,
            })
            .collect(),
    };
    serde_json::to_string_pretty(&whole).map(|text| text + "\n")
}

fn of_object(object: &ObjectPlan, steps: bool) -> Object<'_> {
    let phases = if steps {
        let phases = object.steps();
        phases
            .map(|(phase, steps)| of_phase(phase, steps))
            .collect()
    } else {
        let phases = object.phases.iter();
        phases.map(|phase| of_phase(phase, Vec::new())).collect()
    };
    Object {
        namespace: &object.namespace,
        name: &object.name,
        target: &object.target,
        min_replica_count: object.min_replica_count,
        max_replica_count: object.max_replica_count,
        highest_floor: object.highest_floor,
        pod_hours: hours(object.pod_seconds),
        phases,
        sales: object.sales.iter().map(of_sale).collect(),
    }
}

fn of_phase(phase: &Phase, steps: Vec<(Timestamp, i32)>) -> Part<'_> {
    Part {
        from: phase.from,
        to: phase.to,
        shape: phase.shape.word(),
        floor_from: phase.floor.0,
        floor_to: phase.floor.1,
        min_replicas: phase.bounds.min,
        max_replicas: phase.bounds.max,
        event: phase.cause.as_ref().map(|cause| cause.name.as_str()),
        occurrence: phase.cause.as_ref().map(|cause| cause.id.as_str()),
        cap: phase.limit.as_ref().map(|(limit, _)| *limit),
        cap_event: phase.limit.as_ref().map(|(_, by)| by.name.as_str()),
        raised_max: phase.raised_max,
        hand_over: phase.handed_over,
        pod_hours: hours(phase.pod_seconds),
        steps,
    }
}

fn of_sale(sale: &Sale) -> Event<'_> {
    let profile = sale.floor.as_ref().ok();
    let (climbs_at, gone_at) = sale.span();
    Event {
        trigger: sale.trigger,
        occurrence: &sale.occurrence,
        climbs_at,
        complete_at: profile.map(|profile| profile.complete_at),
        holds_until: profile.map_or(gone_at, |profile| profile.holds_until),
        gone_at,
        baseline: profile.map(|profile| profile.baseline),
        floor: profile.map(|profile| profile.peak),
        cap: sale.floor.as_ref().err().map(|limit| limit.replicas),
        pod_hours: hours(sale.pod_seconds),
    }
}

/// To a thousandth: what is behind it is no knowledge, and differs between machines.
fn hours(pod_seconds: f64) -> f64 {
    // A sum of nothing is -0.
    (pod_seconds.abs() / 3.6).round() / 1000.0
}
