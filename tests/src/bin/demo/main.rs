//! `make demo`: a real RabbitMQ queue scales a real Deployment from 0 to 10 and back to 0, on a real control plane.

mod consumers;
mod story;
mod table;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

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

/// What a shell reports for a program that ended on SIGINT and SIGTERM: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before anything starts, so that a Ctrl-C at any time stops what was started until then.
    let (mut interrupt, mut terminate) = match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("demo: can't listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    // What runs belongs to the future: when it is dropped, everything is stopped and removed.
    tokio::select! {
        outcome = story::tell(arguments.keep) => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\ndemo: {error:#}");
                ExitCode::FAILURE
            }
        },
        _ = interrupt.recv() => stopped("Ctrl-C", INTERRUPTED),
        _ = terminate.recv() => stopped("SIGTERM", TERMINATED),
    }
}

fn stopped(why: &str, code: u8) -> ExitCode {
    println!("\n{why}: stopped and removed everything that was started");
    ExitCode::from(code)
}
