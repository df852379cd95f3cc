//! A dashboard's JSON and Prometheus' answers as a page of HTML, laid out as Grafana does. It knows what our dashboards have, not all of Grafana.

mod chart;
mod look;
mod table;
mod timeline;
mod words;

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::ask::{Prometheus, Series};
use look::Look;
use words::escaped;

/// The page is so wide, and a unit of Grafana's grid so high, with the gap between panels.
pub const WIDTH: f64 = 1_600.0;
const UNIT: f64 = 36.0;
const GAP: f64 = 8.0;
const TOP: f64 = 64.0;
/// A panel's title and its margins.
const TITLE: f64 = 34.0;
const MARGIN: f64 = 10.0;
/// Each line of a legend.
const LEGEND: f64 = 20.0;

/// When something happened, in Unix time.
pub struct Mark {
    pub at: f64,
    pub colour: String,
}

/// A series, what it is called, and which query it answers.
pub struct Named {
    pub name: String,
    pub query: String,
    pub series: Series,
}

/// A page, and how high it is.
pub struct Page {
    pub html: String,
    pub height: f64,
    /// Panels that have nothing to show: their titles.
    pub empty: Vec<String>,
}

/// # Errors
/// If Prometheus doesn't answer, or a panel is of a type that isn't drawn.
pub async fn page(board: &Value, prometheus: &Prometheus) -> Result<Page> {
    let marks = marks(board, prometheus).await?;
    let panels = board["panels"].as_array().context("no panels")?;
    let mut html = heading(board, prometheus);
    let mut bottom = 0.0;
    let mut empty = Vec::new();
    for panel in panels {
        let place = Place::of(panel);
        bottom = f64::max(bottom, place.y + place.height);
        let title = escaped(panel["title"].as_str().unwrap_or_default());
        let Place {
            x,
            y,
            width,
            height,
        } = place;
        let style = format!("left:{x:.0}px;top:{y:.0}px;width:{width:.0}px;height:{height:.0}px");
        if panel["type"] == "row" {
            let _ = write!(
                html,
                r#"<div class="row" style="{style}">&#9662; {title}</div>"#
            );
            continue;
        }
        let room = (width - 2.0 * MARGIN, height - TITLE - MARGIN);
        let drawn = content(panel, prometheus, &marks, room).await;
        let drawn = drawn.with_context(|| format!("panel {title:?}"))?;
        if drawn.is_empty {
            empty.push(title.clone());
        }
        let content = drawn.html;
        let _ = write!(
            html,
            r#"<div class="panel" style="{style}"><div class="title">{title}</div>{content}</div>"#
        );
    }
    let height = bottom + MARGIN;
    let head = concat!("<style>", include_str!("page.css"), "</style>");
    Ok(Page {
        html: format!("<!doctype html><meta charset=\"utf-8\">{head}<body>{html}</body>"),
        height,
        empty,
    })
}

/// Where a panel is, in pixels.
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Place {
    fn of(panel: &Value) -> Self {
        let at = |key: &str| panel["gridPos"][key].as_f64().unwrap_or_default();
        let column = (WIDTH - 2.0 * MARGIN) / 24.0;
        Self {
            x: MARGIN + at("x") * column,
            y: TOP + at("y") * UNIT,
            width: at("w") * column - GAP,
            height: at("h") * UNIT - GAP,
        }
    }
}

fn heading(board: &Value, prometheus: &Prometheus) -> String {
    let mut html = format!(
        r#"<div class="heading"><b>{}</b>"#,
        escaped(board["title"].as_str().unwrap_or_default())
    );
    for variable in board["templating"]["list"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        let Some(chosen) = prometheus.chosen.get(name) else {
            continue;
        };
        let label = variable["label"].as_str().unwrap_or(name);
        let chosen = if chosen == ".*" { "All" } else { chosen };
        let _ = write!(
            html,
            r#"<span class="variable"><i>{}</i>{}</span>"#,
            escaped(label),
            escaped(chosen)
        );
    }
    for mark in board["annotations"]["list"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let colour = look::colour(mark["iconColor"].as_str().unwrap_or_default());
        let name = escaped(mark["name"].as_str().unwrap_or_default());
        let _ = write!(
            html,
            r#"<span class="mark" style="color:{colour}">&#9650; {name}</span>"#
        );
    }
    let minutes = (prometheus.span.to - prometheus.span.from) / 60.0;
    let _ = write!(
        html,
        r#"<span class="variable time"><i>Last</i>{minutes:.0} minutes</span></div>"#
    );
    html
}

async fn marks(board: &Value, prometheus: &Prometheus) -> Result<Vec<Mark>> {
    let mut marks = Vec::new();
    for mark in board["annotations"]["list"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let expr = mark["expr"].as_str().context("a mark without a query")?;
        let colour = mark["iconColor"].as_str().unwrap_or("blue").to_owned();
        for series in prometheus.range(expr).await? {
            let times: Vec<f64> = if mark["useValueForTime"] == true {
                series
                    .points
                    .iter()
                    .map(|(_, value)| value / 1000.0)
                    .collect()
            } else {
                // Grafana shows what goes on as one region; here its beginning is marked.
                let starts = series
                    .points
                    .chunk_by(|one, next| next.0 - one.0 < prometheus.span.step * 1.5);
                starts
                    .filter_map(|part| part.first())
                    .map(|(time, _)| *time)
                    .collect()
            };
            for at in times {
                let known = |mark: &Mark| (mark.at - at).abs() < 1.0 && mark.colour == colour;
                if !marks.iter().any(known) {
                    marks.push(Mark {
                        at,
                        colour: colour.clone(),
                    });
                }
            }
        }
    }
    Ok(marks)
}

struct Content {
    html: String,
    is_empty: bool,
}

async fn content(
    panel: &Value,
    prometheus: &Prometheus,
    marks: &[Mark],
    room: (f64, f64),
) -> Result<Content> {
    let look = Look::of(panel, prometheus.span.to);
    let kind = panel["type"].as_str().unwrap_or_default();
    let mut answers = Vec::new();
    let mut all = Vec::new();
    for target in panel["targets"].as_array().context("no queries")? {
        let query = target["refId"].as_str().unwrap_or_default().to_owned();
        let expr = target["expr"].as_str().context("no expression")?;
        let format = target["legendFormat"].as_str().unwrap_or_default();
        let series = match target["instant"] == true {
            true => prometheus.instant(expr).await?,
            false => prometheus.range(expr).await?,
        };
        let named = series.iter().filter(|series| !series.points.is_empty());
        all.extend(named.map(|series| Named {
            name: look::legend(format, series),
            query: query.clone(),
            series: series.clone(),
        }));
        answers.push((query, series));
    }
    let html = match kind {
        _ if all.is_empty() => nothing(&look),
        "stat" => stat(panel, &all, &look, prometheus, room),
        "timeseries" => series(&all, &look, marks, prometheus, room),
        "state-timeline" => timeline::rows(&all, &look, prometheus.span, room),
        "table" => table::table(panel, &answers, &look, room.1),
        other => bail!("a panel of type {other:?} isn't drawn here"),
    };
    Ok(Content {
        html,
        is_empty: all.is_empty(),
    })
}

fn nothing(look: &Look<'_>) -> String {
    format!(r#"<div class="nothing">{}</div>"#, escaped(look.nothing()))
}

fn stat(
    panel: &Value,
    all: &[Named],
    look: &Look<'_>,
    prometheus: &Prometheus,
    (width, height): (f64, f64),
) -> String {
    let names_series = panel["options"]["textMode"] == "name";
    // A series that has ended counts for nothing now.
    let fresh = |one: &&Named| {
        let last = one.series.points.last();
        last.is_some_and(|(time, _)| prometheus.span.to - time < prometheus.span.step * 1.5)
    };
    let shown: Vec<_> = all.iter().filter(fresh).collect();
    if shown.is_empty() {
        return nothing(look);
    }
    let each = width / shown.len() as f64;
    let mut html = r#"<div class="stats">"#.to_owned();
    for one in &shown {
        let value = one.series.last().unwrap_or_default();
        let colour = look.colour(&one.query, value);
        let text = match names_series {
            true => one.name.clone(),
            false => look.text(&one.query, value),
        };
        // As large as it fits: a letter is about 0.6 of its size.
        let letters = text.chars().count().max(2) as f64;
        let size = (each * 0.86 / (letters * 0.6)).min(height * 0.52).min(44.0);
        let name = match shown.len() {
            1 => String::new(),
            _ => format!("<small>{}</small>", escaped(&one.name)),
        };
        let spark = match one.series.points.len() {
            1 => String::new(),
            _ => chart::spark(
                &one.series.points,
                prometheus.span,
                (each, height * 0.4),
                colour,
            ),
        };
        let _ = write!(
            html,
            r#"<div class="stat" style="width:{each:.0}px;height:{height:.0}px;color:{colour};font-size:{size:.0}px">{name}<span>{}</span>{spark}</div>"#,
            escaped(&text)
        );
    }
    html + "</div>"
}

fn series(
    all: &[Named],
    look: &Look<'_>,
    marks: &[Mark],
    prometheus: &Prometheus,
    (width, height): (f64, f64),
) -> String {
    let custom = |name: &str| look.custom(name).as_str().unwrap_or_default();
    let stacked = look.custom("stacking")["mode"] == "normal";
    let filled = look.custom("fillOpacity").as_f64().unwrap_or_default() / 100.0;
    let mut below = std::collections::BTreeMap::new();
    let mut lines = Vec::new();
    let mut legend = String::new();
    let mut letters = 0;
    let points: Vec<Vec<(f64, f64)>> = all
        .iter()
        .map(|one| match stacked {
            true => on_top(&one.series.points, &mut below),
            false => one.series.points.clone(),
        })
        .collect();
    for (index, (one, points)) in all.iter().zip(&points).enumerate() {
        let fixed = look.overridden(&one.query, "color");
        let fixed = fixed.and_then(|fixed| fixed["fixedColor"].as_str());
        let colour = fixed.map_or(look::of_palette(index), look::colour);
        let dashed = look.overridden(&one.query, "custom.lineStyle").is_some();
        let own = look.overridden(&one.query, "custom.fillOpacity");
        let own = own.and_then(Value::as_f64).map(|percent| percent / 100.0);
        lines.push(chart::Line {
            points,
            colour,
            dashed,
            filled: own.unwrap_or(filled),
            covers: stacked,
            steps: custom("lineInterpolation") == "stepAfter",
        });
        let class = if dashed { " class=\"dashed\"" } else { "" };
        let name = escaped(&one.name);
        letters += one.name.chars().count() + 6;
        let _ = write!(
            legend,
            r#"<span><i{class} style="border-color:{colour}"></i>{name}</span>"#
        );
    }
    if stacked {
        // The highest lie behind.
        lines.reverse();
    }
    let rows = (letters as f64 * 6.4 / width).ceil().clamp(1.0, 4.0);
    let height = height - rows * LEGEND - 2.0;
    let text = |value: f64| look.text("", value);
    let axis = chart::Axis {
        whole: look.is_whole(),
        binary: look.is_binary(),
    };
    let chart = chart::lines(&lines, marks, prometheus.span, (width, height), axis, text);
    let room = rows * LEGEND;
    format!(r#"{chart}<div class="legend" style="height:{room:.0}px">{legend}</div>"#)
}

/// The values with those below them added, by their times.
fn on_top(
    points: &[(f64, f64)],
    below: &mut std::collections::BTreeMap<i64, f64>,
) -> Vec<(f64, f64)> {
    let add = |(time, value): &(f64, f64)| {
        let sum = below.entry(time.round() as i64).or_default();
        *sum += value;
        (*time, *sum)
    };
    points.iter().map(add).collect()
}
