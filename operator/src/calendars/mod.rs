//! SaleCalendars and ClusterSaleCalendars: what is known of each, and who is told when that changes.
//!
//! [`Follower`] watches both kinds and gives each calendar a task of its own (`calendar.rs`), which reads its sources
//! (`source.rs`), keeps the last good copy of each, writes its status (`status.rs`) and puts its occurrences in here. Whoever asks
//! [`Calendars::occurrences`] never waits.

mod calendar;
mod follow;
mod metrics;
mod source;
mod status;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use sakidori_engine::ObjectKey;
use sakidori_engine::prescale::Occurrences;
use tokio::sync::mpsc;

use crate::lock::lock;

pub use follow::{Around, Follower};
pub use metrics::CalendarMetrics;

/// Names one calendar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalendarRef {
    /// A ClusterSaleCalendar; its namespace is empty.
    pub cluster: bool,
    pub namespace: String,
    pub name: String,
}

impl CalendarRef {
    pub fn kind(&self) -> &'static str {
        if self.cluster {
            "ClusterSaleCalendar"
        } else {
            "SaleCalendar"
        }
    }
}

/// `SaleCalendar shop/sales`, or `ClusterSaleCalendar sales`.
impl fmt::Display for CalendarRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace, name, ..
        } = self;
        if self.cluster {
            write!(f, "{} {name}", self.kind())
        } else {
            write!(f, "{} {namespace}/{name}", self.kind())
        }
    }
}

#[derive(Clone)]
struct Known {
    occurrences: Arc<Occurrences>,
}

/// The occurrences of all calendars.
pub struct Calendars {
    changes: mpsc::UnboundedSender<ObjectKey>,
    known: Mutex<HashMap<CalendarRef, Known>>,
    /// Who asked for which, whether it exists or not.
    asked: Mutex<HashMap<CalendarRef, HashSet<ObjectKey>>>,
}

impl Calendars {
    /// `changes` gets the key of each ScaledObject that asked for a calendar whose occurrences changed.
    pub fn new(changes: mpsc::UnboundedSender<ObjectKey>) -> Self {
        Self {
            changes,
            known: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// What is known of a calendar; `None` while it does not exist or was not looked at yet. From now on `owner` is told when
    /// that changes.
    pub fn occurrences(
        &self,
        owner: &ObjectKey,
        calendar: &CalendarRef,
    ) -> Option<Arc<Occurrences>> {
        // Noted before it is looked at: a change in between is told, and never missed.
        lock(&self.asked)
            .entry(calendar.clone())
            .or_default()
            .insert(owner.clone());
        let known = lock(&self.known);
        known.get(calendar).map(|known| known.occurrences.clone())
    }

    /// The same without being told of changes.
    pub fn known(&self, calendar: &CalendarRef) -> Option<Arc<Occurrences>> {
        let known = lock(&self.known);
        known.get(calendar).map(|known| known.occurrences.clone())
    }

    /// `owner` is gone, or asks for other calendars: it is told of none any more.
    pub fn forget(&self, owner: &ObjectKey) {
        lock(&self.asked).retain(|_, owners| {
            owners.remove(owner);
            !owners.is_empty()
        });
    }

    fn learned(&self, calendar: &CalendarRef, known: Known) {
        let before = lock(&self.known).insert(calendar.clone(), known.clone());
        if before.is_none_or(|before| before.occurrences != known.occurrences) {
            self.tell(calendar);
        }
    }

    fn gone(&self, calendar: &CalendarRef) {
        if lock(&self.known).remove(calendar).is_some() {
            self.tell(calendar);
        }
    }

    fn tell(&self, calendar: &CalendarRef) {
        for owner in lock(&self.asked).get(calendar).into_iter().flatten() {
            // No receiver: the operator is shutting down.
            let _ = self.changes.send(owner.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_told_of_changes_and_of_nothing_else() {
        let (changes, mut told) = mpsc::unbounded_channel();
        let calendars = Calendars::new(changes);
        let sales = CalendarRef {
            cluster: true,
            namespace: String::new(),
            name: "sales".into(),
        };
        let owner = ObjectKey::new("shop", "web");
        assert!(calendars.occurrences(&owner, &sales).is_none());
        let known = |complete| Known {
            occurrences: Arc::new(Occurrences {
                complete,
                ..Occurrences::default()
            }),
        };
        calendars.learned(&sales, known(false));
        assert_eq!(told.try_recv().ok(), Some(owner.clone()), "it exists now");
        calendars.learned(&sales, known(false));
        assert!(told.try_recv().is_err(), "nothing changed");
        calendars.learned(&sales, known(true));
        assert_eq!(told.try_recv().ok(), Some(owner.clone()));
        calendars.forget(&owner);
        calendars.gone(&sales);
        assert!(told.try_recv().is_err(), "it is not asked for any more");
        assert!(calendars.occurrences(&owner, &sales).is_none());
    }
}
