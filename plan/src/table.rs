//! The plan as a table, for eyes: plain text, 100 columns.

use std::fmt::Write;

use jiff::SignedDuration;
use sakidori_engine::prescale::in_words;

use crate::object::ObjectPlan;
use crate::phase::{Phase, Shape};
use crate::plan::{Plan, event};
use crate::time::{shown, zone_name};

/// Leaves room for notes within 100 columns; names that are longer make their line longer.
const NAME_WIDTH: usize = 20;

/// A text that ends in a line break.
pub fn write(plan: &Plan) -> String {
    let zone = &plan.period.zone;
    let mut text = format!(
        "Plan from {} to {} ({})\n",
        shown(plan.period.from, zone),
        shown(plan.period.to, zone),
        zone_name(zone)
    );
    for line in plan.assumed() {
        let _ = writeln!(text, "Assumed: {line}");
    }
    for object in &plan.objects {
        text.push_str(&of_object(plan, object));
    }
    if plan.objects.is_empty() {
        text.push_str("\nNo ScaledObject has a sale-calendar trigger.\n");
    } else {
        let _ = writeln!(
            text,
            "\nTotal: {} objects, {} pod-hours above their minReplicaCount",
            plan.objects.len(),
            hours(plan.pod_seconds())
        );
    }
    text
}

fn of_object(plan: &Plan, object: &ObjectPlan) -> String {
    let mut text = format!(
        "\n{}/{} ({}, minReplicaCount {}, maxReplicaCount {})\n",
        clean(&object.namespace),
        clean(&object.name),
        clean(&object.target),
        object.min_replica_count,
        object.max_replica_count
    );
    if object.phases.is_empty() {
        text.push_str("  nothing in this period\n");
        return text;
    }
    let _ = writeln!(
        text,
        "  {:<23} {:>7} {:>12} {:>9}  {:<NAME_WIDTH$}  NOTES",
        "FROM", "FOR", "FLOOR", "POD-HOURS", "EVENT"
    );
    for phase in &object.phases {
        let cause = phase
            .cause
            .as_ref()
            .or(phase.limit.as_ref().map(|(_, by)| by));
        let line = format!(
            "  {:<23} {:>7} {:>12} {:>9}  {:<NAME_WIDTH$}  {}",
            shown(phase.from, &plan.period.zone),
            span(phase.to.duration_since(phase.from)),
            floor(phase),
            hours(phase.pod_seconds),
            cause.map_or_else(String::new, |cause| clean(event(cause))),
            notes(phase).join(", ")
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(
        text,
        "  highest floor {}, {} pod-hours",
        object.highest_floor,
        hours(object.pod_seconds)
    );
    text
}

fn floor(phase: &Phase) -> String {
    match (phase.shape, phase.floor) {
        (Shape::Hold, (0, _)) => "-".to_owned(),
        (Shape::Hold, (floor, _)) => floor.to_string(),
        (_, (from, to)) => format!("{from} -> {to}"),
    }
}

fn notes(phase: &Phase) -> Vec<String> {
    let mut notes = Vec::new();
    if phase.handed_over {
        notes.push("hand-over".to_owned());
    }
    if let Some((limit, _)) = &phase.limit {
        notes.push(format!("at most {limit}"));
    }
    if let Some(max) = phase.raised_max {
        notes.push(format!("max {max}"));
    }
    if phase.floor.0.max(phase.floor.1) > phase.bounds.max && phase.limit.is_none() {
        notes.push(format!("held to {}", phase.bounds.max));
    }
    notes
}

pub(crate) fn hours(pod_seconds: f64) -> String {
    format!("{:.1}", pod_seconds / 3600.0)
}

/// `2h 30m`; without the space in a column.
pub(crate) fn span(span: SignedDuration) -> String {
    in_words(span).replace(' ', "")
}

/// Names come from calendars that anybody may write; a terminal must not obey them.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
