//! `make pictures`: plays ten minutes with eight ScaledObjects, a source that fails and a sale, has a real Prometheus read the operators
//! meanwhile, and draws the chart's dashboards from what it answers.
//!
//! Grafana itself draws nothing here. `draw/` lays out what is in a dashboard's JSON as Grafana does, and a headless Chromium makes a picture of
//! it: so what a picture shows is what the dashboards' queries give, and not how each version of Grafana looks.

mod ask;
mod draw;
mod run;
mod shop;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use jiff::Timestamp;
use sakidori_test_cluster::install;
use sakidori_test_cluster::sandbox::Sandbox;
use sakidori_tests::{binary, dashboards, demo};
use serde_json::Value;

use crate::ask::{Prometheus, Span};

/// Where the pictures are.
const FOLDER: &str = "docs/pictures";
/// A picture that is larger weighs on every clone.
const LARGEST: u64 = 400 * 1024;
/// As often as the answers of a run of ten minutes make a smooth line.
const STEP: f64 = 5.0;

/// Draw the chart's dashboards from a real run into docs/pictures/. Takes about eleven minutes.
#[derive(Parser)]
#[command(name = "pictures")]
struct Arguments {
    /// Draw from this Prometheus instead, which has read operators of yours.
    #[arg(long)]
    prometheus: Option<String>,
    /// How many minutes back from now to draw then.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Where to write the pictures.
    #[arg(long)]
    to: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    demo::play("pictures", make(Arguments::parse())).await
}

async fn make(arguments: Arguments) -> Result<()> {
    let chromium = tokio::task::spawn_blocking(install::chromium).await??;
    let folder = arguments
        .to
        .unwrap_or_else(|| binary::repository().join(FOLDER));
    std::fs::create_dir_all(&folder)?;
    let Some(url) = arguments.prometheus else {
        return run::play(async |url, length| pictures(url, length, &chromium, &folder).await)
            .await;
    };
    let length = Duration::from_secs(u64::from(arguments.minutes) * 60);
    pictures(&url, length, &chromium, &folder).await
}

/// What is chosen in a dashboard's variables.
fn chosen(dashboard: &str) -> BTreeMap<String, String> {
    let chosen: &[(&str, &str)] = match dashboard {
        "scaled-object" => &[("namespace", shop::NAMESPACE), ("scaledObject", "web")],
        _ => &[
            ("namespace", ".*"),
            ("scaledObject", ".*"),
            ("calendar", ".*"),
        ],
    };
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    chosen.iter().map(owned).collect()
}

/// Draws all dashboards of the last `length`, and writes the page that tells of them.
async fn pictures(url: &str, length: Duration, chromium: &Path, folder: &Path) -> Result<()> {
    let now = (Timestamp::now().as_second() as f64 / STEP).floor() * STEP;
    let span = Span {
        from: now - length.as_secs_f64(),
        to: now,
        step: STEP,
    };
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut told = String::new();
    for (path, text) in dashboards::files() {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .context("a name")?;
        let board: Value = serde_json::from_str(&text)?;
        let prometheus = Prometheus {
            url: url.to_owned(),
            http: http.clone(),
            chosen: chosen(name),
            span,
        };
        let page = draw::page(&board, &prometheus)
            .await
            .with_context(|| name.to_owned())?;
        let picture = folder.join(format!("{name}.png"));
        photograph(&page, chromium, &picture)?;
        println!(
            "{}: {} panels have nothing to show",
            picture.display(),
            page.empty.len()
        );
        told += &describe(name, &board, &page);
    }
    let date = Timestamp::now().strftime("%Y-%m-%d");
    let page = include_str!("readme.txt")
        .replace("DATE", &date.to_string())
        .replace("DASHBOARDS\n", told.trim_start());
    std::fs::write(folder.join("README.md"), page)?;
    Ok(())
}

fn photograph(page: &draw::Page, chromium: &Path, picture: &Path) -> Result<()> {
    let sandbox = Sandbox::new("sakidori-picture")?;
    let file = sandbox.dir().join("page.html");
    std::fs::write(&file, &page.html)?;
    let output = Command::new(chromium)
        // What it shows is our own page, and it may run as root.
        .args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!(
            "--window-size={:.0},{:.0}",
            draw::WIDTH,
            page.height
        ))
        .arg(format!("--user-data-dir={}", sandbox.dir().display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .with_context(|| format!("{} doesn't start", chromium.display()))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let size = std::fs::metadata(picture)?.len();
    ensure!(size < LARGEST, "{} has {size} bytes", picture.display());
    Ok(())
}

/// What is on a picture, for those who don't see it.
fn describe(name: &str, board: &Value, page: &draw::Page) -> String {
    let title = board["title"].as_str().unwrap_or(name);
    let mut text = format!("\n## {title}\n\n![{title}]({name}.png)\n");
    for panel in board["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default();
        if panel["type"] == "row" {
            text += &format!("\n**{title}**\n\n");
            continue;
        }
        if text.ends_with(".png)\n") {
            text.push('\n');
        }
        let about = panel["description"].as_str().unwrap_or_default();
        let empty = page.empty.iter().any(|empty| empty == title);
        let nothing = if empty {
            " *(Nothing of it happened in this run.)*"
        } else {
            ""
        };
        text += &format!("- *{title}*: {about}{nothing}\n");
    }
    text
}
