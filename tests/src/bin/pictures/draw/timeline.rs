//! What was so, and when: a row for each series, a bar for each time in which its value stayed.

use std::fmt::Write as _;

use super::Named;
use super::look::Look;
use super::words::escaped;
use crate::ask::Span;

/// The names at the left have so much room, at most.
const NAMES: f64 = 190.0;
const AXIS: f64 = 18.0;
/// A letter of the bars' text is about so wide.
const LETTER: f64 = 7.0;

/// A value and how long it stayed.
#[derive(Debug, PartialEq)]
struct Stay {
    from: f64,
    to: f64,
    value: f64,
}

pub fn rows(series: &[Named], look: &Look<'_>, span: Span, (width, height): (f64, f64)) -> String {
    let room = height - AXIS;
    let each = (room / series.len().max(1) as f64).min(34.0);
    let names = series.iter().map(|one| one.name.chars().count()).max();
    let left = (names.unwrap_or(0) as f64 * 6.6 + 10.0).min(NAMES);
    let x = |time: f64| {
        let time = time.clamp(span.from, span.to);
        left + (time - span.from) / (span.to - span.from) * (width - left - 6.0)
    };
    let mut html = format!(r#"<div class="timeline" style="height:{height:.0}px">"#);
    for (index, one) in series.iter().enumerate() {
        let top = index as f64 * each;
        let thick = each * 0.8;
        let _ = write!(
            html,
            r#"<span class="name" style="top:{top:.1}px;width:{:.0}px;line-height:{thick:.1}px">{}</span>"#,
            left - 8.0,
            escaped(&one.name)
        );
        for stay in stays(&one.series.points, span.step) {
            let (from, to) = (x(stay.from), x(stay.to));
            let text = look.text(&one.query, stay.value);
            let fits = (text.chars().count() as f64) * LETTER + 10.0 < to - from;
            let _ = write!(
                html,
                r#"<span class="bar" style="left:{from:.1}px;width:{:.1}px;top:{top:.1}px;height:{thick:.1}px;line-height:{thick:.1}px;background:{}">{}</span>"#,
                (to - from).max(1.0),
                look.colour(&one.query, stay.value),
                if fits { escaped(&text) } else { String::new() }
            );
        }
    }
    let ends = [(span.from, "left"), (span.to, "right")];
    for (time, side) in ends {
        let at = jiff::Timestamp::from_second(time as i64);
        let name = at
            .map(|at| at.strftime("%H:%M").to_string())
            .unwrap_or_default();
        let place = if side == "left" { left } else { 6.0 };
        let _ = write!(
            html,
            r#"<span class="axis" style="{side}:{place:.0}px">{name}</span>"#
        );
    }
    html + "</div>"
}

fn stays(points: &[(f64, f64)], step: f64) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    for (time, value) in points {
        match stays.last_mut() {
            Some(last) if last.value == *value && time - last.to < step * 0.6 => {
                last.to = time + step;
            }
            _ => stays.push(Stay {
                from: *time,
                to: time + step,
                value: *value,
            }),
        }
    }
    stays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_until_another_or_a_gap() {
        let points = [(0.0, 1.0), (5.0, 1.0), (10.0, 0.0), (30.0, 0.0)];
        let stay = |from, to, value| Stay { from, to, value };
        assert_eq!(
            stays(&points, 5.0),
            [
                stay(0.0, 10.0, 1.0),
                stay(10.0, 15.0, 0.0),
                stay(30.0, 35.0, 0.0)
            ]
        );
    }
}
