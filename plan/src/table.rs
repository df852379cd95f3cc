//! The plan as a table, for eyes: plain text.
//!
//! Columns are as wide as what is in them. A terminal that is too narrow for that gets the names of events cut; nothing else, and
//! nothing where no terminal is.

use std::fmt::Write;

use jiff::SignedDuration;
use sakidori_engine::prescale::in_words;

use crate::object::ObjectPlan;
use crate::phase::{Phase, Shape};
use crate::plan::{Plan, event};
use crate::time::{shown, zone_name};

const TITLES: [&str; 6] = ["FROM", "FOR", "FLOOR", "POD-HOURS", "EVENT", "NOTES"];
/// So that the tables of most objects have the same columns.
const USUAL: [usize; 6] = [23, 7, 12, 9, 20, 0];
const EVENT: usize = 4;
/// A name is cut to no less.
const SHORTEST: usize = 12;

/// A text that ends in a line break, for a terminal of so many columns.
pub fn write(plan: &Plan, columns: Option<usize>) -> String {
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
        text.push_str(&of_object(plan, object, columns));
    }
    if plan.objects.is_empty() {
        text.push_str("\nNo ScaledObject has a sale-calendar trigger.\n");
    } else {
        let _ = writeln!(
            text,
            "\nTotal: {}, {} pod-hours above their minReplicaCount",
            match plan.objects.len() {
                1 => "1 object".to_owned(),
                number => format!("{number} objects"),
            },
            hours(plan.pod_seconds())
        );
    }
    text
}

fn of_object(plan: &Plan, object: &ObjectPlan, columns: Option<usize>) -> String {
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
    let rows: Vec<_> = object.phases.iter().map(|phase| row(plan, phase)).collect();
    let mut widths = USUAL;
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cells(cell));
        }
    }
    if let Some(columns) = columns {
        let gaps = (0..widths.len()).map(|column| if is_number(column) { 1 } else { 2 });
        let whole = widths.iter().sum::<usize>() + gaps.sum::<usize>();
        let over = whole.saturating_sub(columns);
        widths[EVENT] = widths[EVENT]
            .saturating_sub(over)
            .max(SHORTEST.min(widths[EVENT]));
    }
    text.push_str(&line(&TITLES.map(str::to_owned), &widths));
    for row in &rows {
        text.push_str(&line(row, &widths));
    }
    let _ = writeln!(
        text,
        "  highest floor {}, {} pod-hours",
        object.highest_floor,
        hours(object.pod_seconds)
    );
    text
}

fn row(plan: &Plan, phase: &Phase) -> [String; 6] {
    let limit = phase.limit.as_ref().map(|(_, by)| by);
    let cause = phase.cause.as_ref().or(limit);
    [
        shown(phase.from, &plan.period.zone),
        span(phase.to.duration_since(phase.from)),
        floor(phase),
        hours(phase.pod_seconds),
        cause.map_or_else(String::new, |cause| clean(event(cause))),
        notes(phase).join(", "),
    ]
}

fn line(row: &[String; 6], widths: &[usize; 6]) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let cell = if column == EVENT {
            cut(cell, *width)
        } else {
            cell.clone()
        };
        let space = " ".repeat(width.saturating_sub(cells(&cell)));
        // Numbers end at one place, texts begin at one.
        let _ = if is_number(column) {
            write!(text, " {space}{cell}")
        } else {
            write!(text, "  {cell}{space}")
        };
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn is_number(column: usize) -> bool {
    (1..EVENT).contains(&column)
}

fn cut(text: &str, width: usize) -> String {
    if cells(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if cells(&short) + cells_of(c) + 1 > width {
            break;
        }
        short.push(c);
    }
    short + "…"
}

/// The columns that a text takes on a terminal.
fn cells(text: &str) -> usize {
    text.chars().map(cells_of).sum()
}

/// Two for what is written in squares (Chinese, Japanese, Korean, and pictures), none for marks on the letter before.
fn cells_of(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200D | 0x3099..=0x309A | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
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
    // A sum of nothing is -0.
    format!("{:.1}", pod_seconds.abs() / 3600.0)
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
