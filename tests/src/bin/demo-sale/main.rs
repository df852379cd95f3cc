//! `make demo-sale`: a calendar, two sales and three services, on a real control plane: capacity is there before the start, a
//! calendar that can't be read takes nothing away, and pods that start more slowly are asked for earlier.

mod act;
mod calendar;
mod look;
mod pace;
mod row;
mod shop;
mod story;
mod summary;

use std::process::ExitCode;

use clap::Parser;
use sakidori_tests::demo;

use crate::pace::Pace;

/// Watch three services prepare for a sale that starts in two minutes.
///
/// Starts a Kubernetes control plane, fake nodes, a calendar's web server and the operator, all on 127.0.0.1, and applies
/// examples/sale-demo/. Takes between 6 and 7 minutes. Everything is stopped and removed at the end, and on Ctrl-C. The exit code
/// is 0 only if all that is said at the end was seen.
#[derive(Parser)]
#[command(
    name = "demo-sale",
    after_help = "Example:\n  make demo-sale\n  make demo-sale KEEP=1\n  make demo-sale ARGS=--quick"
)]
struct Arguments {
    /// Leave everything running at the end, until Ctrl-C, and print how to point kubectl at it.
    #[arg(long)]
    keep: bool,
    /// Sales that are nearer and ramps that are steeper: the same in between 4 and 5 minutes.
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let pace = if arguments.quick {
        Pace::QUICK
    } else {
        Pace::SHOWN
    };
    demo::play("demo-sale", story::tell(pace, arguments.keep)).await
}
