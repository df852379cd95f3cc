//! What the demos share: how they start, how they stop, how they show what they see, and what is said when something they wait
//! for does not happen.

mod table;

use std::future::Future;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use kube::Client;
use kube::api::Api;
use kube::core::DynamicObject;
use sakidori_api::ScaledObject;
use tokio::signal::unix::{SignalKind, signal};

pub use table::{Row, Table};

use crate::{Operator, observe};

/// What a shell reports for a program that ended on SIGINT and SIGTERM: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Plays a story to its end, or until Ctrl-C. What it starts has to belong to its future: when that is dropped, everything is
/// stopped and removed.
pub async fn play(program: &str, story: impl Future<Output = Result<()>>) -> ExitCode {
    // Before anything starts, so that a Ctrl-C at any time stops what was started until then.
    let (mut interrupt, mut terminate) = match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("{program}: can't listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    tokio::select! {
        outcome = story => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\n{program}: {error:#}");
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

/// Awaits one step of the start, and says how long it took.
///
/// # Errors
/// The step's own.
pub async fn step<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let start = Instant::now();
    let done = work
        .await
        .with_context(|| format!("{what}: it did not start"))?;
    println!("  {:>5.1} s  {what}", start.elapsed().as_secs_f64());
    Ok(done)
}

/// The kind of a manifest.
pub fn kind(object: &DynamicObject) -> &str {
    object
        .types
        .as_ref()
        .map_or("", |types| types.kind.as_str())
}

/// What someone would look at next when something does not happen: the conditions of these ScaledObjects and of their HPAs, and
/// the operator's log.
pub async fn diagnosis(
    client: &Client,
    operator: &Operator,
    namespace: &str,
    names: &[&str],
) -> String {
    let api: Api<ScaledObject> = Api::namespaced(client.clone(), namespace);
    let mut lines = Vec::new();
    for name in names {
        match api.get(name).await {
            Ok(object) => {
                for condition in object
                    .status
                    .map(|status| status.conditions)
                    .unwrap_or_default()
                {
                    lines.push(format!(
                        "ScaledObject {name} {} {} {}: {}",
                        condition.type_, condition.status, condition.reason, condition.message
                    ));
                }
            }
            Err(error) => lines.push(format!(
                "{:#}",
                anyhow!(error).context(format!("the ScaledObject {name} can't be read"))
            )),
        }
        let hpa = format!("keda-hpa-{name}");
        match observe::hpa(client, namespace, &hpa).await {
            Ok(found) => {
                for condition in found
                    .status
                    .and_then(|status| status.conditions)
                    .unwrap_or_default()
                {
                    lines.push(format!(
                        "HPA {hpa} {} {} {}: {}",
                        condition.type_,
                        condition.status,
                        condition.reason.unwrap_or_default(),
                        condition.message.unwrap_or_default()
                    ));
                }
            }
            Err(error) => lines.push(format!(
                "{:#}",
                error.context(format!("the HPA {hpa} can't be read"))
            )),
        }
    }
    lines.push(format!(
        "the operator's log ends with\n{}",
        operator.log_tail()
    ));
    lines.join("\n")
}
