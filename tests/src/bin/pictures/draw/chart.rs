//! Lines over time, with axes, and the marks of what happened.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Mark;
use super::words::escaped;
use crate::ask::Span;

/// Room for the numbers at the left, and for the times below.
const LEFT: f64 = 62.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 8.0;
const RIGHT: f64 = 10.0;

/// A line, and how it looks.
pub struct Line<'a> {
    pub points: &'a [(f64, f64)],
    pub colour: &'a str,
    pub dashed: bool,
    /// How much of the room below it is filled, 0 to 1.
    pub filled: f64,
    /// Nothing shows through what is filled: other lines lie behind this one.
    pub covers: bool,
    /// Values hold until the next, rather than lead to it.
    pub steps: bool,
}

/// What kind of numbers an axis has.
#[derive(Clone, Copy, Default)]
pub struct Axis {
    pub whole: bool,
    /// Units are powers of 1024.
    pub binary: bool,
}

/// The lines in a space of so many pixels; `text` gives the numbers of the axis their unit.
pub fn lines(
    lines: &[Line<'_>],
    marks: &[Mark],
    span: Span,
    (width, height): (f64, f64),
    axis: Axis,
    text: impl Fn(f64) -> String,
) -> String {
    let highest = lines.iter().flat_map(|line| line.points);
    let highest = highest.map(|(_, value)| *value).fold(0.0, f64::max);
    let (top, tick) = scale(highest, axis);
    let (right, bottom) = (width - RIGHT, height - BELOW);
    let x = |time: f64| LEFT + (time - span.from) / (span.to - span.from) * (right - LEFT);
    let y = |value: f64| bottom - value / top * (bottom - ABOVE);
    let mut svg = format!(r#"<svg width="{width:.0}" height="{height:.0}">"#);
    let mut value = 0.0;
    while value <= top + tick / 2.0 {
        let at = y(value);
        let _ = write!(
            svg,
            r#"<line x1="{LEFT}" x2="{right:.0}" y1="{at:.1}" y2="{at:.1}" class="grid"/><text x="{:.0}" y="{:.1}" class="axis" text-anchor="end">{}</text>"#,
            LEFT - 7.0,
            at + 4.0,
            escaped(&text(value))
        );
        value += tick;
    }
    for (time, name) in times(span, right - LEFT) {
        let at = x(time);
        let _ = write!(
            svg,
            r#"<line x1="{at:.1}" x2="{at:.1}" y1="{ABOVE}" y2="{bottom:.0}" class="grid"/><text x="{at:.1}" y="{:.0}" class="axis" text-anchor="middle">{name}</text>"#,
            bottom + 16.0
        );
    }
    for line in lines {
        for part in parts(line.points, span.step) {
            draw(&mut svg, line, part, &x, &y);
        }
    }
    for mark in marks {
        if mark.at < span.from || mark.at > span.to {
            continue;
        }
        let (at, colour) = (x(mark.at), super::look::colour(&mark.colour));
        let _ = write!(
            svg,
            r#"<line x1="{at:.1}" x2="{at:.1}" y1="{ABOVE}" y2="{bottom:.0}" stroke="{colour}" stroke-dasharray="3 3" opacity="0.8"/><path d="M{:.1} {:.1}h10l-5 -7z" fill="{colour}"/>"#,
            at - 5.0,
            bottom + 5.0
        );
    }
    svg + "</svg>"
}

fn draw(
    svg: &mut String,
    line: &Line<'_>,
    points: &[(f64, f64)],
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let mut path = String::new();
    for (index, (time, value)) in points.iter().enumerate() {
        let (at, value) = (x(*time), y(*value));
        let _ = match index {
            0 => write!(path, "M{at:.1} {value:.1}"),
            _ if line.steps => write!(path, "H{at:.1}V{value:.1}"),
            _ => write!(path, "L{at:.1} {value:.1}"),
        };
    }
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return;
    };
    if line.filled > 0.0 {
        let behind = if line.covers {
            "#181b1f"
        } else {
            "transparent"
        };
        let _ = write!(
            svg,
            r#"<path d="{path}L{:.1} {:.1}L{:.1} {:.1}Z" style="fill:color-mix(in srgb, {} {:.0}%, {behind})"/>"#,
            x(last.0),
            y(0.0),
            x(first.0),
            y(0.0),
            line.colour,
            line.filled * 100.0
        );
    }
    let dash = if line.dashed {
        r#" stroke-dasharray="8 6""#
    } else {
        ""
    };
    let _ = write!(
        svg,
        r#"<path d="{path}" fill="none" stroke="{}" stroke-width="2" stroke-linejoin="round"{dash}/>"#,
        line.colour
    );
}

/// The points up to each gap: where values are missing, no line leads over it.
fn parts(points: &[(f64, f64)], step: f64) -> impl Iterator<Item = &[(f64, f64)]> {
    points.chunk_by(move |one, next| next.0 - one.0 < step * 1.5)
}

/// The top of an axis on which `highest` has room, and the distance of its ticks: between 3 and 6 of them.
fn scale(highest: f64, axis: Axis) -> (f64, f64) {
    if axis.binary {
        let unit = 1024f64.powf(highest.max(1.0).log(1024.0).floor());
        let (top, tick) = scale(highest / unit, Axis::default());
        return (top * unit, tick * unit);
    }
    if highest <= 0.0 {
        return if axis.whole { (1.0, 1.0) } else { (1.0, 0.5) };
    }
    let rough = highest / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let sizes = [1.0, 2.0, 2.5, 5.0, 10.0].map(|size| size * power);
    let fits = |size: &f64| *size >= rough && (!axis.whole || size.fract() == 0.0);
    let tick = sizes.into_iter().find(fits).unwrap_or(1.0);
    ((highest / tick * 1.02).ceil() * tick, tick)
}

/// The times on the axis, so many that their names have room.
fn times(span: Span, width: f64) -> Vec<(f64, String)> {
    const DISTANCES: [f64; 8] = [30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 10_800.0];
    let fitting = DISTANCES
        .into_iter()
        .find(|distance| (span.to - span.from) / distance * 70.0 < width);
    let distance = fitting.unwrap_or(21_600.0);
    let mut time = (span.from / distance).ceil() * distance;
    let mut all = Vec::new();
    while time <= span.to {
        let name =
            Timestamp::from_second(time as i64).map(|time| time.strftime("%H:%M").to_string());
        all.push((time, name.unwrap_or_default()));
        time += distance;
    }
    all
}

/// A line without axes, in the background of a number.
pub fn spark(
    points: &[(f64, f64)],
    span: Span,
    (width, height): (f64, f64),
    colour: &str,
) -> String {
    let highest = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let top = if highest > 0.0 { highest } else { 1.0 };
    let x = |time: f64| (time - span.from) / (span.to - span.from) * width;
    let y = |value: f64| height - (value.max(0.0) / top) * (height - 2.0) - 1.0;
    let line = Line {
        points,
        colour,
        dashed: false,
        filled: 0.15,
        covers: false,
        steps: false,
    };
    let mut svg = format!(r#"<svg class="spark" width="{width:.0}" height="{height:.0}">"#);
    for part in parts(points, span.step) {
        draw(&mut svg, &line, part, &x, &y);
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_a_few_round_ticks() {
        let (any, whole) = (
            Axis::default(),
            Axis {
                whole: true,
                binary: false,
            },
        );
        let bytes = Axis {
            whole: false,
            binary: true,
        };
        for (highest, axis, top, tick) in [
            (0.0, any, 1.0, 0.5),
            (0.0, whole, 1.0, 1.0),
            (1.0, any, 1.25, 0.25),
            (2.0, whole, 3.0, 1.0),
            (7.0, any, 8.0, 2.0),
            (20.0, any, 25.0, 5.0),
            (95.0, any, 100.0, 25.0),
            (0.003, any, 0.004, 0.001),
            (3.0 * 1_048_576.0, bytes, 4.0 * 1_048_576.0, 1_048_576.0),
        ] {
            let (is_top, is_tick) = scale(highest, axis);
            let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
            assert!(
                near(is_top, top) && near(is_tick, tick),
                "{highest}: {is_top} {is_tick}"
            );
        }
    }

    #[test]
    fn no_line_leads_over_a_gap() {
        let points = [(0.0, 1.0), (5.0, 1.0), (20.0, 1.0)];
        let lengths: Vec<_> = parts(&points, 5.0).map(<[_]>::len).collect();
        assert_eq!(lengths, [2, 1]);
    }
}
