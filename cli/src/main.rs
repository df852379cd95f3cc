//! The `sakidori` command: arguments and wiring.

mod check;
mod crds;
mod logs;
mod metrics_adapter;
mod operator;
mod plan;
mod process;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Scales Kubernetes workloads on events, and ahead of them. Compatible with KEDA.
#[derive(Parser)]
#[command(name = "sakidori", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Operator(Box<operator::Arguments>),
    MetricsAdapter(Box<metrics_adapter::Arguments>),
    Check(check::Arguments),
    Crds(crds::Arguments),
    Plan(Box<plan::Arguments>),
}

fn main() -> ExitCode {
    // Before anything makes a TLS connection: one provider for all of them.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("sakidori: a TLS provider was installed twice: this is a bug");
        return ExitCode::FAILURE;
    }
    let result = match Cli::parse().command {
        Command::Operator(arguments) => operator::run(&arguments),
        Command::MetricsAdapter(arguments) => metrics_adapter::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Crds(arguments) => crds::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Plan(arguments) => plan::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sakidori: {error:#}");
            ExitCode::FAILURE
        }
    }
}
