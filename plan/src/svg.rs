//! The plan as a picture: one row per object, its floor as an area over the days, the sales named above it.

use std::fmt::Write;

use jiff::{Timestamp, ToSpan};

use crate::object::ObjectPlan;
use crate::plan::{Plan, event};
use crate::table::hours;
use crate::time::{shown, zone_name};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 230.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 78.0;
const ROW: f64 = 120.0;
/// Of a row, what the area may fill; the rest is for the sales' names.
const AREA: f64 = 74.0;
/// Roughly what a letter takes at the size of labels.
const LETTER: f64 = 6.3;
/// Names of days need so much room.
const TICK: f64 = 76.0;

struct Axis {
    from: Timestamp,
    seconds: f64,
}

impl Axis {
    fn x(&self, at: Timestamp) -> f64 {
        let passed = at.duration_since(self.from).as_secs_f64();
        LEFT + (passed / self.seconds).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }
}

pub fn write(plan: &Plan) -> String {
    let axis = Axis {
        from: plan.period.from,
        seconds: plan
            .period
            .to
            .duration_since(plan.period.from)
            .as_secs_f64()
            .max(1.0),
    };
    let bottom = TOP + ROW * plan.objects.len() as f64;
    let height = bottom + 52.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#1f2933\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let zone = &plan.period.zone;
    let _ = writeln!(
        svg,
        "<text x=\"20\" y=\"30\" font-size=\"18\" font-weight=\"bold\">Floors by sale calendar</text>\n\
         <text x=\"20\" y=\"50\" fill=\"#52606d\">{} to {} ({}), {} pod-hours above minReplicaCount</text>",
        shown(plan.period.from, zone),
        shown(plan.period.to, zone),
        escaped(zone_name(zone)),
        hours(plan.pod_seconds())
    );
    days(&mut svg, plan, &axis, bottom);
    for (index, object) in plan.objects.iter().enumerate() {
        row(&mut svg, plan, object, &axis, TOP + ROW * index as f64);
    }
    if !plan.assumed().is_empty() {
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"{}\" font-size=\"11\" fill=\"#7b8794\">Assumed: {}</text>",
            height - 10.0,
            escaped(&plan.assumed().join("; "))
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A line for each midnight, with a name where there is room.
fn days(svg: &mut String, plan: &Plan, axis: &Axis, bottom: f64) {
    let zone = &plan.period.zone;
    let whole_days = axis.seconds / 86_400.0;
    let room = (WIDTH - LEFT - RIGHT) / whole_days.max(0.1);
    // So many days between two lines that names don't touch.
    let stride = (TICK / room).ceil().clamp(1.0, 400.0) as i64;
    let Ok(mut day) = plan.period.from.to_zoned(zone.clone()).start_of_day() else {
        return;
    };
    while day.timestamp() < plan.period.to {
        if day.timestamp() >= plan.period.from {
            let x = axis.x(day.timestamp());
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#e4e7eb\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#52606d\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                day.strftime("%a %b %-d")
            );
        }
        match day.checked_add(stride.days()) {
            Ok(next) => day = next,
            Err(_) => return,
        }
    }
}

fn row(svg: &mut String, plan: &Plan, object: &ObjectPlan, axis: &Axis, top: f64) {
    let base = top + ROW - 12.0;
    let highest = object
        .phases
        .iter()
        .map(|phase| {
            phase
                .floor
                .0
                .max(phase.floor.1)
                .max(phase.limit.as_ref().map_or(0, |(limit, _)| *limit))
        })
        .max()
        .unwrap_or(0)
        .max(object.min_replica_count)
        .max(1);
    let y = |replicas: i32| base - f64::from(replicas) / f64::from(highest) * AREA;
    let _ = writeln!(
        svg,
        "<path d=\"M20 {top}H{end}\" stroke=\"#cbd2d9\"/>\
         <text x=\"20\" y=\"{:.1}\" font-size=\"14\" font-weight=\"bold\">{}</text>\
         <text x=\"20\" y=\"{:.1}\" fill=\"#52606d\">{}</text>\
         <text x=\"20\" y=\"{:.1}\" fill=\"#52606d\">{}</text>\
         <text x=\"20\" y=\"{:.1}\" fill=\"#52606d\">{} pod-hours</text>",
        top + 32.0,
        escaped(&cut(&object.name, 22)),
        top + 49.0,
        escaped(&cut(&object.namespace, 30)),
        top + 66.0,
        escaped(&cut(&object.target, 30)),
        top + 83.0,
        hours(object.pod_seconds),
        end = WIDTH - RIGHT,
    );
    for (replicas, anchor) in [(0, base), (highest, y(highest) + 8.0)] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{anchor:.1}\" font-size=\"11\" fill=\"#7b8794\" text-anchor=\"end\">{replicas}</text>",
            LEFT - 6.0
        );
    }
    for sale in &object.sales {
        let (from, to) = (axis.x(sale.occurrence.start), axis.x(sale.occurrence.end));
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#f7c948\" fill-opacity=\"0.22\"/>",
            base - AREA - 4.0,
            (to - from).max(1.0),
            AREA + 4.0
        );
    }
    for (fill, stroke, path) in [
        ("#2f80ed", "#1b5fb8", floors(object, axis, &y)),
        ("none", "#c0392b", caps(object, axis, &y)),
    ] {
        if !path.is_empty() {
            let dash = if fill == "none" {
                " stroke-dasharray=\"5 3\""
            } else {
                " fill-opacity=\"0.55\""
            };
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"1.5\"{dash}/>"
            );
        }
    }
    let usual = y(object.min_replica_count);
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {usual:.1}H{:.1}\" stroke=\"#7b8794\" stroke-dasharray=\"2 3\"/>\
         <path d=\"M{LEFT} {base:.1}H{:.1}\" stroke=\"#9aa5b1\"/>",
        WIDTH - RIGHT,
        WIDTH - RIGHT
    );
    names(svg, plan, object, axis, top + 22.0);
}

/// The floor as areas; one for each time without a gap.
fn floors(object: &ObjectPlan, axis: &Axis, y: &impl Fn(i32) -> f64) -> String {
    let mut path = String::new();
    let mut open: Option<Timestamp> = None;
    for (phase, steps) in object.steps().filter(|(phase, _)| phase.floor.0 > 0) {
        if open != Some(phase.from) {
            if let Some(end) = open {
                let _ = write!(path, "H{:.1}V{:.1}Z", axis.x(end), y(0));
            }
            let _ = write!(path, "M{:.1} {:.1}", axis.x(phase.from), y(0));
        }
        // Over a year, hundreds of steps are one dot: the last of them is drawn.
        let mut steps = steps.iter().peekable();
        while let Some((at, floor)) = steps.next() {
            let x = format!("{:.1}", axis.x(*at));
            if steps
                .peek()
                .is_none_or(|(next, _)| format!("{:.1}", axis.x(*next)) != x)
            {
                let _ = write!(path, "H{x}V{:.1}", y(*floor));
            }
        }
        open = Some(phase.to);
    }
    if let Some(end) = open {
        let _ = write!(path, "H{:.1}V{:.1}Z", axis.x(end), y(0));
    }
    path
}

fn caps(object: &ObjectPlan, axis: &Axis, y: &impl Fn(i32) -> f64) -> String {
    let mut path = String::new();
    for phase in &object.phases {
        if let Some((limit, _)) = &phase.limit {
            let (from, to) = (axis.x(phase.from), axis.x(phase.to));
            let _ = write!(path, "M{from:.1} {:.1}H{to:.1}", y(*limit));
        }
    }
    path
}

/// The sales' names, in two lines; one that has no room in either is left to the table.
fn names(svg: &mut String, plan: &Plan, object: &ObjectPlan, axis: &Axis, y: f64) {
    let mut taken = [LEFT - 2.0; 2];
    let mut last: Option<(&str, Timestamp)> = None;
    for sale in &object.sales {
        let one = (sale.occurrence.id.as_str(), sale.occurrence.start);
        // Two triggers may take the same sale.
        if last == Some(one) || sale.occurrence.end <= plan.period.from {
            continue;
        }
        last = Some(one);
        let what = match &sale.floor {
            Ok(profile) => profile.peak.to_string(),
            Err(limit) => format!("max {}", limit.replicas),
        };
        let label = format!("{} ({what})", cut(event(&sale.occurrence), 30));
        let width = label.chars().count() as f64 * LETTER;
        let x = axis
            .x(sale.occurrence.start)
            .min(WIDTH - RIGHT - width)
            .max(LEFT);
        let Some(line) = (0..taken.len()).find(|line| taken[*line] <= x) else {
            continue;
        };
        taken[line] = x + width + 10.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"11\">{}</text>",
            y - 7.0 + 12.0 * line as f64,
            escaped(&label)
        );
    }
}

fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars()
        .take(letters.saturating_sub(1))
        .chain(['…'])
        .collect()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
