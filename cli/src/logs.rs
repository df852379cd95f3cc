//! How a process logs, on standard error: which lines, and how they look. Also what ends it, and panics.

mod keda;
mod line;

use std::panic::PanicHookInfo;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

pub use keda::{KlogFlags, ZapFlags};

/// The flags about logs that all processes have.
#[derive(Args)]
pub struct Logs {
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// error, warn, info, debug or trace, of Sakidori's own lines; or a filter such as info,kube=debug, which names libraries too.
    #[arg(long, env = "RUST_LOG", value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    log_level: String,

    #[command(flatten)]
    zap: ZapFlags,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Logs {
    /// Starts logging.
    ///
    /// # Errors
    /// Where the level is none.
    pub fn start(&self) -> anyhow::Result<()> {
        // KEDA's flags come from values that were written for it, after those that the chart always gives.
        let level = self.zap.level().unwrap_or(&self.log_level);
        let format = self.zap.format().unwrap_or(self.log_format);
        let filter = EnvFilter::try_new(log_filter(level))
            .with_context(|| format!("--log-level {level:?}: expected a level or a filter"))?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .event_format(line::Lines(format))
            .init();
        std::panic::set_hook(Box::new(log_panic));
        info!(version = env!("CARGO_PKG_VERSION"), "starting");
        Ok(())
    }
}

/// Logs what ended a process that has started logging.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A panic is a line like any other. Words that were put together at run time may hold what was read from somewhere, so only the
/// place stands for them.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let words = panic.payload().downcast_ref::<&'static str>().copied();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    match words {
        Some(words) => error!(place, thread, "a panic, which is a bug: {words}"),
        None => error!(place, thread, "a panic, which is a bug"),
    }
}

/// All libraries, unless they are named: their lines about single connections and requests are for who looks for a fault in them. kube
/// warns at each request that is refused or fails, and lapin at every login: whoever asked tells that better, and once.
const LIBRARIES: &str = "warn,kube=off,lapin=off";

/// `info` is the level of Sakidori's lines; what is behind a comma is about who is named there.
fn log_filter(text: &str) -> String {
    let mut level = "info";
    let mut named = String::new();
    for directive in text.split(',').map(str::trim) {
        if is_level(directive) {
            level = directive;
        } else if !directive.is_empty() {
            named.push(',');
            named.push_str(directive);
        }
    }
    let libraries = match level.to_ascii_lowercase().as_str() {
        quiet @ ("off" | "error") => quiet.to_owned(),
        _ => LIBRARIES.to_owned(),
    };
    // All crates of this workspace begin with that name.
    format!("{libraries},sakidori={level}{named}")
}

fn is_level(text: &str) -> bool {
    text.parse::<tracing::Level>().is_ok() || text.eq_ignore_ascii_case("off")
}

fn log_level(text: &str) -> Result<String, String> {
    // A filter takes any word for a module's name: a bare word has to be a level.
    match EnvFilter::try_new(text) {
        Ok(_) if is_level(text) || text.contains(['=', ',']) => Ok(text.to_owned()),
        _ => Err(
            "expected error, warn, info, debug, trace, or a filter such as info,kube=debug"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Where lines are written to be looked at.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_a_line_without_what_was_read() {
        let written = Written::default();
        let into = written.clone();
        let lines = tracing_subscriber::fmt()
            .with_writer(move || into.clone())
            .event_format(line::Lines(LogFormat::Json))
            .finish();
        tracing::subscriber::with_default(lines, || {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(log_panic));
            let read = "a password";
            let _ = std::panic::catch_unwind(|| panic!("it can't be"));
            let _ = std::panic::catch_unwind(|| panic!("{read} can't be"));
            std::panic::set_hook(before);
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["message"], "a panic, which is a bug: it can't be");
        assert_eq!(lines[1]["message"], "a panic, which is a bug");
        assert!(lines[1]["place"].as_str().unwrap().contains("logs.rs"));
        assert_eq!(lines[0]["level"], "ERROR");
    }

    #[test]
    fn a_log_level_is_a_level_or_a_filter() {
        for good in [
            "info",
            "DEBUG",
            "off",
            "info,kube=debug",
            "sakidori_operator=trace",
        ] {
            assert!(log_level(good).is_ok(), "{good}");
            assert!(EnvFilter::try_new(log_filter(good)).is_ok(), "{good}");
        }
        assert!(log_level("chatty").is_err());
        assert!(log_level("info,kube=loud").is_err());
    }

    #[test]
    fn a_level_is_that_of_our_lines_and_libraries_warn_unless_named() {
        let cases = [
            ("info", "warn,kube=off,lapin=off,sakidori=info"),
            ("trace", "warn,kube=off,lapin=off,sakidori=trace"),
            ("ERROR", "error,sakidori=ERROR"),
            ("off", "off,sakidori=off"),
            (
                "debug,kube=info,hyper=debug",
                "warn,kube=off,lapin=off,sakidori=debug,kube=info,hyper=debug",
            ),
            (
                "sakidori_scalers=trace",
                "warn,kube=off,lapin=off,sakidori=info,sakidori_scalers=trace",
            ),
        ];
        for (text, filter) in cases {
            assert_eq!(log_filter(text), filter);
        }
    }
}
