//! What was seen, with its times.

use jiff::Timestamp;
use sakidori_api::PrescaleReport;

use crate::act::{CHECKOUT_FLOOR, Prepared, Reports, WEB_FLOOR};
use crate::pace::Pace;
use crate::story::{FIRST, SECOND};

/// The first sale, in which the calendar got lost.
pub struct First {
    pub prepared: Prepared,
    /// When web had the replicas that the traffic asked for.
    pub carried: Timestamp,
    /// When the calendar's server was stopped, and when the calendar was stale.
    pub stopped: Timestamp,
    pub stale: Timestamp,
    pub reports: Reports,
    /// When the batch work had its replicas again, and when the others were as before.
    pub jobs_again: Timestamp,
    pub back: Timestamp,
}

/// Prints it all.
pub fn print(first: &First, second: &Prepared, reports: &Reports, pace: &Pace) {
    let sale = &first.prepared.sale;
    println!();
    println!(
        "First sale, pods that become Ready in {} s",
        pace.pods_start_in.as_secs()
    );
    preparation(&first.prepared);
    after(
        "web has 18 Ready: the traffic asks for more than the floor",
        sale.start,
        first.carried,
        "the start",
    );
    after(
        "the calendar is Stale, and nothing falls",
        first.stopped,
        first.stale,
        "its server stopped",
    );
    after(
        "reports has its 6 again",
        sale.end,
        first.jobs_again,
        "the end",
    );
    after(
        "web and checkout are back at 5, down their ramps",
        sale.end,
        first.back,
        "the end",
    );
    println!();
    println!(
        "Second sale, pods that become Ready in {} s",
        pace.slow_pods_start_in.as_secs()
    );
    preparation(second);
    println!();
    let lead = |prepared: &Prepared| prepared.lead.as_secs();
    println!(
        "leadTime: auto moved the ramp from {:.0} s to {:.0} s before the start (lead {} s, then {} s).",
        first.prepared.before_start(first.prepared.ramp),
        second.before_start(second.ramp),
        lead(&first.prepared),
        lead(second),
    );
    for (sale, reports) in [(FIRST, &first.reports), (SECOND, reports)] {
        println!("The reports of {sale}:");
        report("web", &reports.web);
        report("checkout", &reports.checkout);
    }
}

fn preparation(prepared: &Prepared) {
    let line = |what: &str, at: Timestamp| {
        println!(
            "  {what:<60} {:>6.1} s before the start",
            prepared.before_start(at)
        );
    };
    line(
        "the ramp begins, as the learnt lead time has it",
        prepared.ramp,
    );
    line("and is seen to", prepared.climbing);
    line(
        &format!("the floors are complete: {WEB_FLOOR} and {CHECKOUT_FLOOR} replicas"),
        prepared.complete,
    );
    line("all of them are Ready, and reports is at 2", prepared.ready);
}

fn after(what: &str, since: Timestamp, at: Timestamp, event: &str) {
    let seconds = at.duration_since(since).as_secs_f64();
    println!("  {what:<60} {seconds:>6.1} s after {event}");
}

fn report(name: &str, report: &PrescaleReport) {
    println!(
        "  {name:<9} {:>3} replicas ready {} seconds before the start; other triggers needed up to {}; {} pod-hours",
        report.floor,
        report.ready_seconds_before_start.unwrap_or_default(),
        report.needed_by_others,
        report.pod_hours
    );
}
