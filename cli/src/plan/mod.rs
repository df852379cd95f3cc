//! `sakidori plan`: the floors of sale calendars before the day. Arguments, files and the cluster; what computes is in `plan/`.

mod cluster;
mod files;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sakidori_calendars::Length;
use sakidori_plan::{
    Assumptions, Given, Manifests, Period, Plan, Severity, ics, json, point_in_time, svg, table,
    zone,
};

/// What a plan covers where nothing is said.
const USUAL: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Show the floors that sale calendars will make: of manifests, or of the cluster's objects.
///
/// Errors and warnings go to stderr. The exit code is 1 where something is wrong; warnings don't count.
#[derive(Args)]
#[command(after_help = "\
Without -f the objects are those of the cluster of your kubeconfig, read with your own rights. A plan fetches no URL and asks \
no database: such sources of manifests are left out, unless --source gives their text.

Example: sakidori plan -f manifests/ --from 2027-01-01 --to 2027-01-08 --time-zone Asia/Tokyo -o svg > plan.svg")]
pub struct Arguments {
    /// A file, a folder with all folders in it, or - for stdin. May be given several times.
    #[arg(short, long = "filename", value_name = "PATH")]
    filenames: Vec<String>,

    /// From when: RFC 3339, a wall time such as 2027-01-02T20:00, or a date [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Until when, in the same forms, or how long, such as 30d [default: 7d]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,

    /// The zone of wall times, and of all times in the output but JSON's.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,

    /// How the plan is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,

    /// With -o json: each step of every ramp.
    #[arg(long)]
    steps: bool,

    /// The text of one source, from a file: for a URL or a database, or to try another version.
    #[arg(long = "source", value_name = "CALENDAR/SOURCE=FILE")]
    sources: Vec<String>,

    /// What stands for `leadTime: auto`, which is learnt from pods.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    assume_lead: String,

    /// What stands for `baseline: observed`, where it is above minReplicaCount [default: minReplicaCount, or 1]
    #[arg(long, value_name = "REPLICAS")]
    assume_baseline: Option<i32>,

    /// The namespace in the cluster; with -f, that of objects that name none [default: that of the kubeconfig; with -f, default]
    #[arg(short, long)]
    namespace: Option<String>,

    /// The objects of all namespaces of the cluster.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "filenames"])]
    all_namespaces: bool,

    /// Where ClusterSaleCalendars have their ConfigMaps and Secrets [default: where the operator is; with -f, any]
    #[arg(long, value_name = "NAMESPACE")]
    cluster_object_namespace: Option<String>,

    /// The context of the kubeconfig.
    #[arg(long, conflicts_with = "filenames")]
    context: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
    Svg,
    Ics,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let assumptions = assumptions(arguments)?;
    let period = period(arguments)?;
    let given = sources(arguments)?;
    let manifests = manifests(arguments)?;
    let plan = Plan::new(&manifests, &given, period, assumptions);
    let text = match arguments.output {
        Output::Table => table::write(&plan, terminal_columns()),
        Output::Json => json::write(&plan, arguments.steps).context("writing JSON")?,
        Output::Svg => svg::write(&plan),
        Output::Ics => ics::write(&plan),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader (`head`, a pager) has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.context("printing the plan")?,
    }
    for finding in &plan.findings {
        eprintln!("{finding}");
    }
    let wrong = plan
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(if wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// `None` where stdout is no terminal: what reads it wants all.
fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

fn manifests(arguments: &Arguments) -> anyhow::Result<Manifests> {
    if arguments.filenames.is_empty() {
        return cluster::read(&cluster::Place {
            context: arguments.context.clone(),
            namespace: arguments.namespace.clone(),
            all_namespaces: arguments.all_namespaces,
            cluster_object_namespace: arguments.cluster_object_namespace.clone(),
        });
    }
    let namespace = arguments.namespace.as_deref().unwrap_or("default");
    let mut manifests = Manifests {
        cluster_object_namespace: arguments.cluster_object_namespace.clone(),
        ..Manifests::default()
    };
    let mut read = BTreeSet::new();
    for path in &arguments.filenames {
        files::read(path, namespace, &mut read, &mut manifests)?;
    }
    if manifests.documents == 0 && manifests.findings.is_empty() {
        let names = arguments.filenames.join(", ");
        bail!("no Kubernetes object in {names}: expected files that end in .yaml, .yml or .json");
    }
    Ok(manifests)
}

fn period(arguments: &Arguments) -> anyhow::Result<Period> {
    let zone = zone(&arguments.time_zone).map_err(|message| anyhow!("--time-zone: {message}"))?;
    let read = |flag: &str, text: &Option<String>, zone: &TimeZone| {
        text.as_deref()
            .map(|text| point_in_time(text, zone).map_err(|message| anyhow!("{flag}: {message}")))
            .transpose()
    };
    let from = read("--from", &arguments.from, &zone)?.unwrap_or_else(this_minute);
    let length = arguments
        .to
        .as_deref()
        .and_then(|text| Length::parse(text).ok());
    let to = match (length, &arguments.to) {
        (Some(length), _) => length
            .after(from, &zone)
            .context("--to is too late to plan for")?,
        (None, None) => from
            .checked_add(USUAL)
            .context("--from is too late to plan for")?,
        (None, to) => read("--to", to, &zone)?.unwrap_or(from),
    };
    if to <= from {
        bail!("--to ({to}) is not after --from ({from})");
    }
    // Beyond that, recurring events are not computed, and time zones are guesses.
    let (year, last) = (to.to_zoned(zone.clone()).year(), 2100);
    if year >= last {
        bail!("--to ({to}) is too late: a plan ends before the year {last}");
    }
    Ok(Period { from, to, zone })
}

/// Nobody plans by the second, and a table is easier to read without.
fn this_minute() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(60)).unwrap_or(now)
}

fn assumptions(arguments: &Arguments) -> anyhow::Result<Assumptions> {
    let lead = Length::parse(&arguments.assume_lead)
        .map_err(|message| anyhow!("--assume-lead: {message}"))?
        .as_duration();
    if lead > SignedDuration::from_hours(31 * 24) {
        bail!(
            "--assume-lead: {:?} is longer than 31 days",
            arguments.assume_lead
        );
    }
    if let Some(replicas) = arguments.assume_baseline.filter(|replicas| *replicas < 0) {
        bail!("--assume-baseline: {replicas} is below 0");
    }
    Ok(Assumptions {
        baseline: arguments.assume_baseline,
        lead,
    })
}

fn sources(arguments: &Arguments) -> anyhow::Result<Given> {
    let mut given = Given::new();
    for text in &arguments.sources {
        let parts = text
            .split_once('=')
            .and_then(|(name, file)| Some((name.split_once('/')?, file)));
        let Some(((calendar, source), file)) = parts else {
            bail!(
                "--source {text:?}: expected CALENDAR/SOURCE=FILE, such as sales/marketing=sales.ics"
            );
        };
        let content = files::text(file.as_ref()).with_context(|| format!("--source {text:?}"))?;
        given.insert((calendar.to_owned(), source.to_owned()), content);
    }
    Ok(given)
}
