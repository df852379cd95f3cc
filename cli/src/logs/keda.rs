//! KEDA's flags about logs: what its processes are started with goes on meaning the same here, as far as there is such a thing.

use clap::Args;
use clap::builder::BoolishValueParser;

use super::LogFormat;

/// Those of KEDA's operator and webhooks (zap). Of the ones that say nothing here, the values are taken and count for nothing.
#[derive(Args)]
pub struct ZapFlags {
    /// KEDA's name for --log-level, and counts more: debug, info, error, panic, or a number, where a higher one means more lines.
    #[arg(long, value_name = "LEVEL", value_parser = zap_level)]
    zap_log_level: Option<Level>,

    /// KEDA's name for --log-format, and counts more: json, or console for text.
    #[arg(long, value_name = "ENCODER", value_parser = zap_encoder)]
    zap_encoder: Option<LogFormat>,

    /// debug and text, where the two flags before this don't say otherwise.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, value_parser = BoolishValueParser::new(), hide = true)]
    zap_devel: bool,

    /// Times are always RFC 3339, which most of KEDA's installations ask for.
    #[arg(long, value_name = "ENCODING", hide = true)]
    zap_time_encoding: Option<String>,

    /// No line has a stack trace.
    #[arg(long, value_name = "LEVEL", hide = true)]
    zap_stacktrace_level: Option<String>,
}

/// Those of KEDA's metrics server (klog), which count for nothing: everything goes to standard error.
#[derive(Args)]
pub struct KlogFlags {
    /// --log-level says it.
    #[arg(short, long, value_name = "NUMBER", hide = true)]
    v: Option<i32>,

    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, value_parser = BoolishValueParser::new(), hide = true)]
    logtostderr: bool,

    #[arg(long, value_name = "LEVEL", hide = true)]
    stderrthreshold: Option<String>,
}

/// A word for `--log-level`; a name of its own, since clap takes `Option<&str>` for a flag that is parsed by itself.
type Level = &'static str;

impl ZapFlags {
    /// What stands for `--log-level`, if anything does.
    pub fn level(&self) -> Option<&'static str> {
        self.zap_log_level.or(self.zap_devel.then_some("debug"))
    }

    /// What stands for `--log-format`, if anything does.
    pub fn format(&self) -> Option<LogFormat> {
        self.zap_encoder
            .or(self.zap_devel.then_some(LogFormat::Text))
    }
}

/// zap has a level for each number above 0; where KEDA uses one, it is 1, which is debug.
fn zap_level(text: &str) -> Result<Level, String> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Ok("debug"),
        "info" => Ok("info"),
        "error" | "panic" => Ok("error"),
        word => match word.parse::<u8>() {
            Ok(0) => Ok("info"),
            Ok(1) => Ok("debug"),
            Ok(_) => Ok("trace"),
            Err(_) => Err("expected debug, info, error, panic, or a number".to_owned()),
        },
    }
}

fn zap_encoder(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(LogFormat::Json),
        "console" => Ok(LogFormat::Text),
        _ => Err("expected json or console".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        zap: ZapFlags,
        #[command(flatten)]
        klog: KlogFlags,
    }

    fn parsed(arguments: &[&str]) -> Result<(Option<&'static str>, Option<LogFormat>), String> {
        let arguments = ["test"].iter().chain(arguments);
        let flags = Flags::try_parse_from(arguments).map_err(|error| error.to_string())?;
        // They are taken.
        let _ = (flags.klog.v, flags.klog.logtostderr);
        Ok((flags.zap.level(), flags.zap.format()))
    }

    #[test]
    fn kedas_flags_say_the_same_here() {
        let cases: [(&[&str], _, _); 9] = [
            (&[], None, None),
            (&["--zap-log-level=debug"], Some("debug"), None),
            (&["--zap-log-level=error"], Some("error"), None),
            (&["--zap-log-level", "1"], Some("debug"), None),
            (&["--zap-log-level=9"], Some("trace"), None),
            (&["--zap-encoder=json"], None, Some(LogFormat::Json)),
            (&["--zap-encoder=console"], None, Some(LogFormat::Text)),
            (&["--zap-devel"], Some("debug"), Some(LogFormat::Text)),
            (
                &[
                    "--zap-devel=true",
                    "--zap-log-level=info",
                    "--zap-encoder=json",
                ],
                Some("info"),
                Some(LogFormat::Json),
            ),
        ];
        for (arguments, level, format) in cases {
            assert_eq!(parsed(arguments), Ok((level, format)), "{arguments:?}");
        }
    }

    #[test]
    fn what_says_nothing_here_is_taken() {
        let arguments = [
            "--zap-time-encoding=rfc3339",
            "--zap-stacktrace-level=panic",
            "--v=0",
            "--logtostderr=true",
            "--stderrthreshold=ERROR",
        ];
        assert_eq!(parsed(&arguments), Ok((None, None)));
    }

    #[test]
    fn what_is_no_level_of_zaps_is_refused() {
        for wrong in ["--zap-log-level=loud", "--zap-encoder=xml"] {
            let error = parsed(&[wrong]).unwrap_err();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
