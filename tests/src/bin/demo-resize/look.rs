//! Looks at the pods and at the ScaledObject, shows them, and waits.

use std::collections::{BTreeMap, HashSet};
use std::io::{IsTerminal, Stdout};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};
use sakidori_api::ScaledObject;
use sakidori_tests::demo::Table;
use sakidori_tests::pod_sizes::{Course, PodSizes, live};

use crate::row::{self, Row};
use crate::shop::{NAME, NAMESPACE, NODES};

/// How often. What pods go through is noted by a watch, whenever it happens.
const EVERY: Duration = Duration::from_millis(250);

pub struct Looks {
    client: Client,
    pub watching: PodSizes,
    table: Table<Stdout, Row>,
    began: Instant,
    start: Timestamp,
    /// The Events that were shown.
    told: HashSet<String>,
}

impl Looks {
    pub fn new(client: Client, watching: PodSizes, start: Timestamp) -> Self {
        let out = std::io::stdout();
        let terminal = out.is_terminal();
        Self {
            client,
            watching,
            table: Table::new(out, terminal),
            began: Instant::now(),
            start,
            told: HashSet::new(),
        }
    }

    pub fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.table.note(&format!("-- {text}"))?)
    }

    pub fn end(&mut self) -> Result<()> {
        Ok(self.table.end()?)
    }

    /// Looks until the pods are as `is` says.
    ///
    /// # Errors
    /// If they are not at `by`.
    pub async fn until(
        &mut self,
        what: &str,
        by: Timestamp,
        is: impl Fn(&Row, &BTreeMap<String, Course>) -> bool,
    ) -> Result<()> {
        loop {
            let courses = self.watching.courses()?;
            let row = self.row(&courses).await;
            self.table.show(row.clone())?;
            self.tell_events().await?;
            if is(&row, &courses) {
                return Ok(());
            }
            if row.at >= by {
                bail!("no {what} by {by}; last seen: {row:?}");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Looks until `at`.
    pub async fn watch(&mut self, at: Timestamp) -> Result<()> {
        self.until("end of the time", Timestamp::MAX, |row, _| row.at >= at)
            .await
    }

    async fn row(&self, courses: &BTreeMap<String, Course>) -> Row {
        let api: Api<ScaledObject> = Api::namespaced(self.client.clone(), NAMESPACE);
        let status = api.get(NAME).await.ok().and_then(|object| object.status);
        let conditions = status.map(|status| status.conditions).unwrap_or_default();
        let resized = conditions.into_iter().find(|one| one.type_ == "Resized");
        let mut pods: Vec<_> = live(courses)
            .filter_map(|(name, look)| Some((courses.get(name)?.first()?.at, name, look)))
            .collect();
        pods.sort_unstable_by_key(|(since, name, _)| (*since, *name));
        Row {
            at: Timestamp::now(),
            time: self.began.elapsed(),
            start: self.start,
            resized: resized.map_or("-".to_owned(), |one| one.reason),
            pods: NODES.map(|node| {
                let there = pods
                    .iter()
                    .filter(|(_, _, look)| look.node.as_deref() == Some(node));
                there.map(|(_, _, look)| row::pod(look)).collect()
            }),
        }
    }

    /// What the operator says of resizing and of the sale, as it says it.
    async fn tell_events(&mut self) -> Result<()> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let of_kind = ListParams::default().fields("involvedObject.kind=ScaledObject");
        // They are shown the next time if the API server doesn't answer now.
        let Ok(events) = api.list(&of_kind).await else {
            return Ok(());
        };
        for event in events {
            let reason = event.reason.unwrap_or_default();
            if !reason.starts_with("Pod") && !reason.starts_with("Prescale") {
                continue;
            }
            let text = format!("{reason}: {}", event.message.unwrap_or_default());
            if self.told.insert(text.clone()) {
                self.table.note(&format!("   {text}"))?;
            }
        }
        Ok(())
    }
}
