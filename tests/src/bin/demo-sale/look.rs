//! Looks at everything with kubectl's means, shows it, and waits.

use std::collections::HashSet;
use std::io::{IsTerminal, Stdout};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};
use sakidori_api::{ClusterSaleCalendar, PrescaleReport, ScaledObject};
use sakidori_engine::prescale::Run;
use sakidori_tests::demo::Table;
use sakidori_tests::observe;

use crate::row::{Row, ServiceSeen};
use crate::shop::{CALENDAR, NAMESPACE};

/// How often.
const EVERY: Duration = Duration::from_millis(500);

/// A service of the shop, as far as the looks need to know it.
struct Service {
    name: &'static str,
    /// The external metric of its sale trigger.
    floor: &'static str,
    /// `maxReplicaCount` in its manifest.
    max: i32,
}

const WEB: Service = Service {
    name: "web",
    floor: "s1-sale-calendar-sales",
    max: 12,
};
const CHECKOUT: Service = Service {
    name: "checkout",
    floor: "s0-sale-calendar-sales",
    max: 20,
};
const REPORTS: Service = Service {
    name: "reports",
    floor: "s1-sale-calendar-sales",
    max: 8,
};

pub struct Looks {
    client: Client,
    table: Table<Stdout, Row>,
    began: Instant,
    traffic: u32,
    /// The Events that were shown.
    told: HashSet<String>,
}

impl Looks {
    pub fn new(client: Client, traffic: u32) -> Self {
        let out = std::io::stdout();
        let terminal = out.is_terminal();
        Self {
            client,
            table: Table::new(out, terminal),
            began: Instant::now(),
            traffic,
            told: HashSet::new(),
        }
    }

    /// What the sources answer from now on.
    pub fn traffic_is(&mut self, requests_per_second: u32) {
        self.traffic = requests_per_second;
    }

    /// Says something between the rows.
    pub fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.table.note(&format!("-- {text}"))?)
    }

    pub fn end(&mut self) -> Result<()> {
        Ok(self.table.end()?)
    }

    /// Looks until `happened`, and gives when that was.
    ///
    /// # Errors
    /// If it hasn't happened at `by`.
    pub async fn until(
        &mut self,
        what: &str,
        by: Timestamp,
        mut happened: impl FnMut(&Row) -> bool,
    ) -> Result<Timestamp> {
        loop {
            let row = self.look().await;
            self.table.show(row.clone())?;
            self.tell_events().await?;
            if happened(&row) {
                return Ok(row.at);
            }
            if row.at >= by {
                bail!("no {what} by {by}; last seen: {row:?}");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Looks until `at`, however long that is, at every row.
    pub async fn watch(&mut self, at: Timestamp, mut each: impl FnMut(&Row)) -> Result<()> {
        let what = "end of the time";
        self.until(what, Timestamp::MAX, |row| {
            each(row);
            row.at >= at
        })
        .await?;
        Ok(())
    }

    async fn look(&self) -> Row {
        let (calendar, web, checkout, reports) = tokio::join!(
            self.calendar(),
            self.service(&WEB),
            self.service(&CHECKOUT),
            self.service(&REPORTS),
        );
        let (sale, stale) = calendar.unwrap_or_default();
        Row {
            at: Timestamp::now(),
            time: self.began.elapsed(),
            sale,
            stale,
            traffic: self.traffic,
            web,
            checkout,
            reports,
        }
    }

    /// The first occurrence that the status shows, and whether the calendar is stale.
    async fn calendar(&self) -> Result<(Option<(String, Timestamp)>, Option<bool>)> {
        let api: Api<ClusterSaleCalendar> = Api::all(self.client.clone());
        let status = api.get(CALENDAR).await?.status.unwrap_or_default();
        let now = Timestamp::now();
        // A status is written when something changes; that a sale ended is no change.
        let mut coming = status.occurrences.iter().filter(|one| one.end.0 > now);
        let stale = status.conditions.iter().find(|one| one.type_ == "Stale");
        Ok((
            coming.next().map(|one| (one.name.clone(), one.start.0)),
            stale.map(|one| one.status == "True"),
        ))
    }

    async fn service(&self, service: &Service) -> ServiceSeen {
        let hpa = format!("keda-hpa-{}", service.name);
        let (floor, hpa, replicas) = tokio::join!(
            observe::external_metric(&self.client, NAMESPACE, service.floor, service.name),
            observe::hpa(&self.client, NAMESPACE, &hpa),
            observe::replicas(&self.client, NAMESPACE, service.name),
        );
        let spec = hpa.ok().and_then(|hpa| hpa.spec);
        let bounds = spec.map(|spec| (spec.min_replicas.unwrap_or(1), spec.max_replicas));
        let replicas = replicas.ok();
        ServiceSeen {
            floor: floor.ok().and_then(|metric| metric.value.parse().ok()),
            cap: bounds.map(|(_, max)| max).filter(|max| *max < service.max),
            bounds,
            replicas: replicas.map(|replicas| replicas.wanted),
            ready: replicas.map(|replicas| replicas.ready),
        }
    }

    /// What the operator says of sales, as it says it.
    async fn tell_events(&mut self) -> Result<()> {
        let api: Api<Event> = Api::all(self.client.clone());
        for kind in ["ScaledObject", "ClusterSaleCalendar"] {
            let of_kind = ListParams::default().fields(&format!("involvedObject.kind={kind}"));
            // They are shown the next time if the API server doesn't answer now.
            let Ok(events) = api.list(&of_kind).await else {
                continue;
            };
            for event in events {
                let reason = event.reason.unwrap_or_default();
                if !(reason.starts_with("Prescale") || reason.starts_with("Calendar")) {
                    continue;
                }
                let name = event.involved_object.name.unwrap_or_default();
                let text = format!("{reason} {name}: {}", event.message.unwrap_or_default());
                if self.told.insert(text.clone()) {
                    self.table.note(&format!("   {text}"))?;
                }
            }
        }
        Ok(())
    }

    async fn status(&self, name: &str) -> Result<sakidori_api::PrescalingStatus> {
        let api: Api<ScaledObject> = Api::namespaced(self.client.clone(), NAMESPACE);
        let status = api.get(name).await?.status.unwrap_or_default();
        let prescaling = status.sakidori.and_then(|sakidori| sakidori.prescaling);
        Ok(prescaling.unwrap_or_default())
    }

    /// What the floor of that sale is made of, once its ramp has begun.
    pub async fn run(&self, service: &str, sale: &str) -> Result<Option<Run>> {
        let mut runs = self.status(service).await?.to_engine().runs.into_iter();
        Ok(runs.find(|run| run.occurrence.name == sale))
    }

    /// What became of that sale, once its hold is over.
    ///
    /// # Errors
    /// If there is no report of it.
    pub async fn report(&self, service: &str, sale: &str) -> Result<PrescaleReport> {
        let mut reports = self.status(service).await?.reports.into_iter();
        reports
            .find(|report| report.name == sale)
            .with_context(|| format!("the status of {service} has no report of {sale}"))
    }
}
