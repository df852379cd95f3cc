//! What both sales have in common: the operator learns of one, and everything is there before it starts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_api::PrescaleReport;
use sakidori_test_cluster::eventually;

use crate::calendar::{CalendarServer, Sale};
use crate::look::Looks;
use crate::pace::Pace;
use crate::row::Row;

/// What the manifests and the event ask for: 3 times the 5 replicas of a normal day, 10, and 2 at most.
pub const WEB_FLOOR: i32 = 15;
pub const CHECKOUT_FLOOR: i32 = 10;
pub const REPORTS_CAP: i32 = 2;

/// How long the operator may take to read a file again that it reads every 30 s, on a busy machine.
const READ_WITHIN: SignedDuration = SignedDuration::from_secs(90);

/// How long a status that is due may take.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

/// How a sale was prepared.
pub struct Prepared {
    pub sale: Sale,
    /// What the operator learnt from the pods.
    pub lead: SignedDuration,
    /// When the ramp was to begin, by that lead.
    pub ramp: Timestamp,
    /// When it was seen to have begun, when both floors were complete, and when all their pods were Ready.
    pub climbing: Timestamp,
    pub complete: Timestamp,
    pub ready: Timestamp,
}

impl Prepared {
    /// Seconds from then to the start.
    pub fn before_start(&self, at: Timestamp) -> f64 {
        self.sale.start.duration_since(at).as_secs_f64()
    }
}

/// Publishes a sale, and sees that all is there before its start.
///
/// # Errors
/// If it isn't.
pub async fn prepare(
    looks: &mut Looks,
    calendar: &CalendarServer,
    over: &[Sale],
    pace: &Pace,
    (name, starts_in, lasts): (&'static str, SignedDuration, SignedDuration),
) -> Result<Prepared> {
    let publish = |sale: Sale| {
        let mut all = over.to_vec();
        all.push(sale);
        calendar.publish(&all);
    };
    // It is so far away at the moment when the operator reads of it: until then, its start moves on.
    let from_now = || Sale::from_now(name, starts_in, lasts);
    publish(from_now()?);
    let mut start = None;
    let known = |row: &Row| {
        let Some((_, at)) = row.sale.as_ref().filter(|(known, _)| known == name) else {
            if let Ok(sale) = from_now() {
                publish(sale);
            }
            return false;
        };
        start = Some(*at);
        true
    };
    let by = Timestamp::now() + READ_WITHIN;
    looks.until("sale in the calendar", by, known).await?;
    let start = start.context("a sale that is known has a start")?;
    let sale = Sale {
        name,
        start,
        end: start + lasts,
    };
    publish(sale.clone());

    // The maximum is raised with the first step of the ramp, which is the baseline.
    let climbs = |row: &Row| row.web.bounds.is_some_and(|(_, max)| max == 20);
    let climbing = looks.until("ramp of web", start, climbs).await?;
    let run = looks.run("web", name).await?;
    let run = run.context("web has a ramp, and nothing of it in its status")?;
    let complete = looks
        .until("complete floors", start, |row| {
            let min = |bounds: Option<(i32, i32)>| bounds.map(|(min, _)| min);
            min(row.web.bounds) == Some(WEB_FLOOR)
                && min(row.checkout.bounds) == Some(CHECKOUT_FLOOR)
        })
        .await?;
    let ready = looks
        .until("Ready pods for both floors", start, |row| {
            row.web.ready >= Some(WEB_FLOOR)
                && row.checkout.ready >= Some(CHECKOUT_FLOOR)
                && row.reports.replicas == Some(REPORTS_CAP)
        })
        .await?;
    let ramp = start - run.lead - pace.ramp_up;
    let late = climbing.duration_since(ramp);
    ensure!(
        late > SignedDuration::from_secs(-1) && late < SignedDuration::from_secs(15),
        "the ramp of web was to begin at {ramp}, and was seen at {climbing}"
    );
    Ok(Prepared {
        sale,
        lead: run.lead,
        ramp,
        climbing,
        complete,
        ready,
    })
}

/// The reports of a sale whose hold is over, of web and checkout.
pub struct Reports {
    pub web: PrescaleReport,
    pub checkout: PrescaleReport,
}

/// Waits until the hold of `sale` is over.
///
/// # Errors
/// If the floor of a service was not all Ready before the start, by the operator's own report.
pub async fn reports(looks: &mut Looks, sale: &Sale, pace: &Pace) -> Result<Reports> {
    // The Events with the same words are seen meanwhile.
    let over = sale.end + pace.hold_after + SignedDuration::from_secs(3);
    looks.watch(over, |_| {}).await?;
    let reports = eventually("reports in the status", WRITTEN_WITHIN, async || {
        Ok(Some(Reports {
            web: looks.report("web", sale.name).await?,
            checkout: looks.report("checkout", sale.name).await?,
        }))
    })
    .await?;
    for (name, report, floor) in [
        ("web", &reports.web, WEB_FLOOR),
        ("checkout", &reports.checkout, CHECKOUT_FLOOR),
    ] {
        let before = report.ready_seconds_before_start;
        ensure!(
            report.floor == floor && before.is_some_and(|seconds| seconds > 0),
            "the report of {} for {name} is another one than promised: {report:?}",
            sale.name
        );
    }
    Ok(reports)
}
