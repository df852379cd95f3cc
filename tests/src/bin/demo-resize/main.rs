//! `make demo-resize`: a sale in a minute, on a real control plane: the pods that run grow before new ones come, one node has no room for
//! that, and after the sale all are back, none restarted.

mod look;
mod row;
mod shop;
mod story;
mod summary;

use std::process::ExitCode;

use clap::Parser;
use sakidori_tests::demo;

/// Watch the pods of a service grow for a sale that starts in a minute, and go back after it.
///
/// Starts a Kubernetes control plane, three fake nodes and the operator, all on 127.0.0.1, and makes a Deployment of 6 pods, a calendar and a
/// ScaledObject. Takes about two and a half minutes. A pod whose node has no room is taken back after 5 minutes, or when the sale is over, whichever
/// comes first: here it is the latter. Everything is stopped and removed at the end, and on Ctrl-C. The exit code is 0 only if all that is said
/// at the end was seen.
#[derive(Parser)]
#[command(
    name = "demo-resize",
    after_help = "Examples:\n  make demo-resize\n  make demo-resize KEEP=1\n  make demo-resize ARGS=--long-sale"
)]
struct Arguments {
    /// Leave everything running at the end, until Ctrl-C, and print how to point kubectl at it.
    #[arg(long)]
    keep: bool,
    /// A sale that is longer than 5 minutes, so that the pod without room is taken back while it runs: 8 minutes in all.
    #[arg(long)]
    long_sale: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let story = story::tell(arguments.long_sale, arguments.keep);
    demo::play("demo-resize", story).await
}
