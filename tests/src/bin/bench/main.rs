//! `make bench`: how long it takes, and what it costs the API server and the operator, to bring up many ScaledObjects, and to have
//! the floors of a sale there in time; and how soon pods that start are helped to.

mod bring_up;
mod objects;
mod report;
mod resize;
mod resize_report;
mod sale;
mod sale_report;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measure many ScaledObjects that are created at once, one sale for many services, and many pods that are helped to start.
///
/// Starts a Kubernetes control plane, the operator and an HTTP source on 127.0.0.1, for each of the three anew. Fails if the
/// operator writes more than it promises; times and memory are printed only.
#[derive(Parser)]
#[command(
    name = "bench",
    after_help = "Examples:\n  make bench\n  make bench ARGS=\"--only bring-up --objects 1000\"\n  make bench ARGS=\"--only sale\"\n  make bench ARGS=\"--only resize\""
)]
struct Arguments {
    /// How many ScaledObjects are created at once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    objects: u32,
    /// How many services have the sale.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    services: u32,
    /// How many pods start at once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pods: u32,
    /// Measure one of the three.
    #[arg(long)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// ScaledObjects that are created at once.
    BringUp,
    /// One sale for many services.
    Sale,
    /// Pods that have more until they are Ready.
    Resize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let is_wanted = |part| arguments.only.is_none_or(|only| only == part);
    let mut verdict = Ok(());
    if is_wanted(Part::BringUp) {
        let report = bring_up::measure(arguments.objects).await?;
        println!("\n{report}");
        verdict = report.judge();
    }
    if is_wanted(Part::Sale) {
        let report = sale::measure(arguments.services).await?;
        println!("\n{report}");
        verdict = verdict.and(report.judge());
    }
    if is_wanted(Part::Resize) {
        let report = resize::measure(arguments.pods).await?;
        println!("\n{report}");
        verdict = verdict.and(report.judge());
    }
    verdict
}
