//! The demo from beginning to end: a sale whose calendar gets lost, and one with slower pods.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_tests::Operator;
use sakidori_tests::demo::{diagnosis, step};

use crate::act::{self, CHECKOUT_FLOOR, Prepared, Reports, WEB_FLOOR};
use crate::calendar::{CalendarServer, Sale};
use crate::look::Looks;
use crate::pace::Pace;
use crate::row::Row;
use crate::shop::{self, EXAMPLE, NAMESPACE, SERVICES, Sources};
use crate::summary::{self, First};

/// The sales, as the calendar calls them.
pub const FIRST: &str = "first-sale";
pub const SECOND: &str = "second-sale";

/// Requests per second on a normal day, which are 5 replicas' worth, and in a sale: 18.
const NORMAL_TRAFFIC: u32 = 230;
const SALE_TRAFFIC: u32 = 880;
const REPLICAS_FOR_SALE_TRAFFIC: i32 = 18;
/// The replicas that the services start with, and come back to.
const WEB_NORMAL: i32 = 5;
const CHECKOUT_NORMAL: i32 = 5;
const REPORTS_NORMAL: i32 = 6;

/// Shorter than Kubernetes' own 15 s, so that less is waited for.
const HPA_SYNC_PERIOD: Duration = Duration::from_secs(5);
/// The sale runs for so long before its calendar gets lost.
const CALENDAR_STOPS_AFTER: SignedDuration = SignedDuration::from_secs(3);
/// How long services may take to be back once nothing holds them, on a busy machine.
const BACK_WITHIN: SignedDuration = SignedDuration::from_secs(90);

/// Runs the demo. All that it starts belongs to the returned future, and ends with it.
///
/// # Errors
/// If something doesn't start, or one of the things that the summary says isn't so.
pub async fn tell(pace: Pace, keep: bool) -> Result<()> {
    println!(
        "Three services prepare for a sale that a calendar announces. On 127.0.0.1 this starts:"
    );
    println!(
        "  etcd, kube-apiserver, kube-controller-manager, kube-scheduler   a Kubernetes control plane"
    );
    println!(
        "  kwok                                                            fake nodes: pods become Ready, no container runs"
    );
    println!(
        "  two HTTP servers                                                the calendar's file; the shop's traffic and jobs"
    );
    println!(
        "  sakidori operator                                               what this is about"
    );
    println!();
    let options = ClusterOptions {
        hpa_sync_period: HPA_SYNC_PERIOD,
        pod_start_time: Duration::try_from(pace.pods_start_in)?,
        ..ClusterOptions::default()
    };
    let cluster = step("control plane", Cluster::start(options)).await?;
    let mut operator = step(
        "operator, its CRDs and the external metrics API",
        Operator::install(&cluster),
    )
    .await?;
    let client = cluster.client();
    let sources = Sources::start(NORMAL_TRAFFIC)?;
    let mut calendar = CalendarServer::start()?;
    step(
        &format!("{EXAMPLE}/ applied: the Deployments, Ready"),
        shop::apply_deployments(&client),
    )
    .await?;
    let url = calendar.url();
    // The calendar is read when it is applied, and then every 30 s.
    let (starts_in, lasts) = (pace.first_in, pace.first_lasts);
    calendar.publish(&[Sale::from_now(FIRST, starts_in, lasts)?]);
    step(
        &format!("{EXAMPLE}/ applied: the calendar and the ScaledObjects, Ready"),
        shop::apply_scaled_objects(&client, &sources, &url, &pace),
    )
    .await?;
    println!();
    println!(
        "web follows the traffic, 50 requests a second each; for a sale it is to have 3 times its replicas of a normal day."
    );
    println!(
        "checkout is to have {CHECKOUT_FLOOR} replicas. reports works off jobs, 10 each, and makes room: 2 at most."
    );
    println!(
        "The calendar is {url}, read every 30 s. The HPA controller looks every {} s.",
        HPA_SYNC_PERIOD.as_secs()
    );
    println!();

    let mut story = Story {
        looks: Looks::new(client.clone(), NORMAL_TRAFFIC),
        sources,
        pace,
    };
    let played = async {
        let first = story.first_sale(&mut calendar).await?;
        story.new_version(&mut calendar, &client).await?;
        let (second, reports) = story.second_sale(&calendar, &first).await?;
        anyhow::Ok((first, second, reports))
    };
    let (first, second, reports) = match played.await {
        Ok(played) => played,
        Err(error) => {
            story.looks.end()?;
            let diagnosis = diagnosis(&client, &operator, NAMESPACE, &SERVICES).await;
            return Err(anyhow!("{error:#}\n{diagnosis}"));
        }
    };
    story.looks.end()?;
    summary::print(&first, &second, &reports, &story.pace);
    if keep {
        print_how_to_look(&cluster, &url);
        story.looks.watch(Timestamp::MAX, |_| {}).await?;
    }
    operator.terminate(Duration::from_secs(5)).await?;
    Ok(())
}

struct Story {
    looks: Looks,
    sources: Sources,
    pace: Pace,
}

impl Story {
    fn traffic(&mut self, requests_per_second: u32) {
        self.sources.set_traffic(requests_per_second);
        self.looks.traffic_is(requests_per_second);
    }

    /// The calendar's server goes away while the sale runs.
    async fn first_sale(&mut self, calendar: &mut CalendarServer) -> Result<First> {
        let pace = &self.pace;
        let about = (FIRST, pace.first_in, pace.first_lasts);
        let prepared = act::prepare(&mut self.looks, calendar, &[], pace, about).await?;
        let (start, end) = (prepared.sale.start, prepared.sale.end);
        self.looks.watch(start, |_| {}).await?;
        self.traffic(SALE_TRAFFIC);
        self.looks
            .say("the sale starts: traffic for 18 replicas arrives")?;

        let stops = start + CALENDAR_STOPS_AFTER;
        let mut carried = None;
        let mut carries = |row: &Row| {
            if carried.is_none() && row.web.ready >= Some(REPLICAS_FOR_SALE_TRAFFIC) {
                carried = Some(row.at);
            }
            carried.is_some()
        };
        self.looks
            .watch(stops, |row| {
                carries(row);
            })
            .await?;
        calendar.stop();
        self.looks.say("the calendar's server is stopped")?;
        // Nothing may be lower at any look than at the one before, until the sale ends.
        let mut lowest = Lowest::default();
        let mut stale = None;
        let what = "stale calendar, with 18 Ready replicas of web,";
        self.looks
            .until(what, end, |row| {
                lowest.saw(row);
                if stale.is_none() && row.stale == Some(true) {
                    stale = Some(row.at);
                }
                carries(row) && stale.is_some()
            })
            .await?;
        self.looks.watch(end, |row| lowest.saw(row)).await?;
        ensure!(
            lowest.fell.is_empty(),
            "while the calendar could not be read, something fell: {}",
            lowest.fell.join("; ")
        );

        self.traffic(NORMAL_TRAFFIC);
        self.looks
            .say("the sale ends, with its calendar still out of reach: its traffic goes")?;
        let reports = act::reports(&mut self.looks, &prepared.sale, &self.pace).await?;
        let by = end + self.pace.hold_after + self.pace.ramp_down + BACK_WITHIN;
        let mut jobs_again = None;
        let back = |row: &Row| {
            if jobs_again.is_none() && row.reports.ready == Some(REPORTS_NORMAL) {
                jobs_again = Some(row.at);
            }
            row.web.replicas == Some(WEB_NORMAL)
                && row.checkout.replicas == Some(CHECKOUT_NORMAL)
                && row.web.floor == Some(0)
                && row.checkout.floor == Some(0)
                && jobs_again.is_some()
        };
        let back = self.looks.until("services as before", by, back).await?;
        let (Some(carried), Some(stale), Some(jobs_again)) = (carried, stale, jobs_again) else {
            return Err(anyhow!("something was seen and not noted"));
        };
        Ok(First {
            prepared,
            carried,
            stopped: stops,
            stale,
            reports,
            jobs_again,
            back,
        })
    }

    /// Between the sales: the calendar can be read again, and pods become slower.
    async fn new_version(
        &mut self,
        calendar: &mut CalendarServer,
        client: &kube::Client,
    ) -> Result<()> {
        calendar.run_again()?;
        self.looks.say(&format!(
            "the calendar's server runs again; a new version is rolled out, whose pods take {} s to become Ready",
            self.pace.slow_pods_start_in.as_secs()
        ))?;
        tokio::select! {
            done = shop::roll_out(client, self.pace.slow_pods_start_in) => done?,
            ended = self.looks.watch(Timestamp::MAX, |_| {}) => ended?,
        }
        self.looks.say("it is rolled out")
    }

    async fn second_sale(
        &mut self,
        calendar: &CalendarServer,
        first: &First,
    ) -> Result<(Prepared, Reports)> {
        let pace = &self.pace;
        let about = (SECOND, pace.second_in, pace.second_lasts);
        let over = [first.prepared.sale.clone()];
        let prepared = act::prepare(&mut self.looks, calendar, &over, pace, about).await?;
        ensure!(
            prepared.lead > first.prepared.lead,
            "slower pods made the lead time no longer: {:?} after {:?}",
            prepared.lead,
            first.prepared.lead
        );
        let (start, end) = (prepared.sale.start, prepared.sale.end);
        self.looks.watch(start, |_| {}).await?;
        self.traffic(SALE_TRAFFIC);
        self.looks.say("the second sale starts")?;
        self.looks.watch(end, |_| {}).await?;
        self.traffic(NORMAL_TRAFFIC);
        let reports = act::reports(&mut self.looks, &prepared.sale, &self.pace).await?;
        Ok((prepared, reports))
    }
}

/// What fell below a number that it had been seen to have.
#[derive(Default)]
struct Lowest {
    last: Option<Row>,
    fell: Vec<String>,
}

impl Lowest {
    fn saw(&mut self, row: &Row) {
        if let Some(last) = self.last.replace(row.clone()) {
            let services = [
                ("web", last.web, row.web, WEB_FLOOR),
                ("checkout", last.checkout, row.checkout, CHECKOUT_FLOOR),
            ];
            for (name, before, now, floor) in services {
                let min = |bounds: Option<(i32, i32)>| bounds.map(|(min, _)| min);
                // What couldn't be read at one look says nothing.
                let lower = |now: Option<i32>, than: Option<i32>| now.is_some() && now < than;
                if lower(now.replicas, before.replicas)
                    || lower(min(now.bounds), Some(floor))
                    || lower(now.ready, before.ready)
                {
                    self.fell
                        .push(format!("{name} at {}: {now:?} after {before:?}", row.at));
                }
            }
        }
    }
}

fn print_how_to_look(cluster: &Cluster, calendar: &str) {
    println!();
    println!("Everything keeps running. In another terminal:");
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  kubectl get clustersalecalendar");
    println!("  kubectl -n {NAMESPACE} get scaledobject,hpa,deployment");
    println!("  kubectl -n {NAMESPACE} get scaledobject web -o yaml");
    println!("  curl {calendar}");
    println!("Ctrl-C stops and removes everything.");
    println!();
}
