//! What is shown of the program itself.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

/// # Errors
/// Where a metric of that name is there already.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    let options = Opts::new("keda_build_info", "1, with the version in its labels");
    let labels = ["version", "git_commit", "goversion", "goos", "goarch"];
    let info = IntGaugeVec::new(options, &labels)?;
    // KEDA's labels, kept for the queries that group by them: there is no Go here.
    let values = [
        env!("CARGO_PKG_VERSION"),
        option_env!("GIT_COMMIT").unwrap_or_default(),
        "",
        std::env::consts::OS,
        architecture(std::env::consts::ARCH),
    ];
    info.with_label_values(&values).set(1);
    registry.register(Box::new(info))?;
    #[cfg(target_os = "linux")]
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    Ok(())
}

/// As Go, and so the label, spells it.
fn architecture(own: &str) -> &str {
    match own {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// # Errors
/// Where a metric of that name is there already.
pub fn tasks(registry: &Registry) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(
        "sakidori_process_tasks",
        "Tasks of this process that outlive a term of leading: a number that grows for ever is a leak",
    )?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
