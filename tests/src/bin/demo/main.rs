//! `make demo`: a real RabbitMQ queue scales a real Deployment from 0 to 10 and back to 0, on a real control plane.

mod consumers;
mod row;
mod story;

use std::process::ExitCode;

use clap::Parser;
use sakidori_tests::demo;

/// Watch a queue scale a Deployment from 0 to 10 replicas and back to 0.
///
/// Starts a Kubernetes control plane, fake nodes, RabbitMQ and the operator, all on 127.0.0.1, and applies
/// examples/rabbitmq/. Everything is stopped and removed at the end, and on Ctrl-C.
#[derive(Parser)]
#[command(
    name = "demo",
    after_help = "Example:\n  make demo\n  make demo KEEP=1"
)]
struct Arguments {
    /// Leave everything running at the end, until Ctrl-C, and print how to point kubectl at it.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    demo::play("demo", story::tell(arguments.keep)).await
}
