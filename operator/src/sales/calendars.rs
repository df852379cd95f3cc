//! The occurrences of calendars, for the objects that use them. So far of what stands in the calendars themselves.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use sakidori_api::{ClusterSaleCalendar, SaleCalendar, SaleCalendarSpec};
use sakidori_calendars::Book;
use sakidori_engine::ObjectKey;
use sakidori_engine::prescale::Occurrences;
use tokio::sync::mpsc;
use tracing::warn;

use crate::watches::{Namespaces, resilient};

/// Which calendar a trigger names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CalendarRef {
    pub cluster: bool,
    /// Empty for a ClusterSaleCalendar.
    pub namespace: String,
    pub name: String,
}

#[derive(Default)]
struct Inner {
    specs: HashMap<CalendarRef, SaleCalendarSpec>,
    owners: HashMap<CalendarRef, HashSet<ObjectKey>>,
}

pub struct Calendars {
    inner: Mutex<Inner>,
    changes: mpsc::UnboundedSender<ObjectKey>,
}

impl Calendars {
    /// `changes` is told of the objects whose calendars changed.
    pub fn new(changes: mpsc::UnboundedSender<ObjectKey>) -> Self {
        Self {
            inner: Mutex::default(),
            changes,
        }
    }

    /// What is known of a calendar; `None` where it is not there, or not known yet. The owner is told of changes from now on.
    pub fn occurrences(
        &self,
        owner: &ObjectKey,
        calendar: &CalendarRef,
    ) -> Option<Arc<Occurrences>> {
        let mut inner = self.lock();
        let owners = inner.owners.entry(calendar.clone()).or_default();
        owners.insert(owner.clone());
        let spec = inner.specs.get(calendar)?.clone();
        drop(inner);
        let zone = spec.zone().ok()?;
        let sources = spec.sources.iter().map(|source| source.name.as_str());
        let book = Book::new(spec.inline_events(&zone), sources, &[]);
        let now = Timestamp::now();
        match book.occurrences(now) {
            Ok(known) => Some(Arc::new(Occurrences {
                known,
                complete: book.is_complete(),
            })),
            Err(error) => {
                warn!(calendar = calendar.name, %error, "the calendar is past a limit");
                None
            }
        }
    }

    pub fn forget(&self, owner: &ObjectKey) {
        for owners in self.lock().owners.values_mut() {
            owners.remove(owner);
        }
    }

    /// Watches all calendars.
    pub async fn run(self: Arc<Self>, client: Client, namespaces: Namespaces) {
        let cluster = watcher(
            Api::<ClusterSaleCalendar>::all(client.clone()),
            watcher::Config::default(),
        );
        let mut tasks = tokio::task::JoinSet::new();
        let this = self.clone();
        tasks.spawn(async move {
            let mut stream = std::pin::pin!(resilient("ClusterSaleCalendars", cluster));
            while let Some(event) = stream.next().await {
                let reference = |one: &ClusterSaleCalendar| CalendarRef {
                    cluster: true,
                    namespace: String::new(),
                    name: one.name_any(),
                };
                this.take_in(event, reference, |one| one.spec.0.clone());
            }
        });
        for (_, api) in namespaces.apis::<SaleCalendar>(&client) {
            let this = self.clone();
            let watched = watcher(api, watcher::Config::default());
            tasks.spawn(async move {
                let mut stream = std::pin::pin!(resilient("SaleCalendars", watched));
                while let Some(event) = stream.next().await {
                    let reference = |one: &SaleCalendar| CalendarRef {
                        cluster: false,
                        namespace: one.namespace().unwrap_or_default(),
                        name: one.name_any(),
                    };
                    this.take_in(event, reference, |one| one.spec.clone());
                }
            });
        }
        tasks.join_all().await;
    }

    fn take_in<K>(
        &self,
        event: watcher::Event<K>,
        reference: impl Fn(&K) -> CalendarRef,
        spec: impl Fn(&K) -> SaleCalendarSpec,
    ) {
        match event {
            watcher::Event::Apply(one) | watcher::Event::InitApply(one) => {
                let (reference, spec) = (reference(&one), spec(&one));
                let before = self.lock().specs.insert(reference.clone(), spec.clone());
                if before.as_ref() != Some(&spec) {
                    self.tell(&reference);
                }
            }
            watcher::Event::Delete(one) => {
                let reference = reference(&one);
                self.lock().specs.remove(&reference);
                self.tell(&reference);
            }
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
    }

    fn tell(&self, calendar: &CalendarRef) {
        for owner in self.lock().owners.get(calendar).into_iter().flatten() {
            let _ = self.changes.send(owner.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}
