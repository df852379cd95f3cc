//! SaleCalendars and ClusterSaleCalendars: what is known of each, and who is told when that changes.
//!
//! [`Follower`] watches both kinds and gives each calendar a task of its own (`calendar.rs`), which reads its sources
//! (`source.rs`), keeps the last good copy of each, writes its status (`status.rs`) and puts its occurrences in here. Whoever asks
//! [`Calendars::picked`] never waits.

mod calendar;
mod follow;
mod metrics;
mod source;
mod status;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Mutex;

use sakidori_engine::ObjectKey;
use sakidori_engine::prescale::Occurrences;
use sakidori_engine::selector::Selector;
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

    /// How log lines name it, beside its kind.
    pub fn object(&self) -> String {
        match self.cluster {
            true => self.name.clone(),
            false => format!("{}/{}", self.namespace, self.name),
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

/// What is known of one calendar.
struct Known {
    occurrences: Occurrences,
    /// What selectors picked of it: a thousand services that share a calendar have a few selectors between them.
    picked: HashMap<Selector, Occurrences>,
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

    /// What `selector` picks of a calendar; nothing, and not complete, while it does not exist or was not looked at yet. From now
    /// on `owner` is told when that changes.
    pub fn picked(
        &self,
        owner: &ObjectKey,
        calendar: &CalendarRef,
        selector: &Selector,
    ) -> Occurrences {
        // Noted before it is looked at: a change in between is told, and never missed.
        lock(&self.asked)
            .entry(calendar.clone())
            .or_default()
            .insert(owner.clone());
        self.peeked(calendar, selector)
    }

    /// The same without being told of changes.
    pub fn peeked(&self, calendar: &CalendarRef, selector: &Selector) -> Occurrences {
        let mut known = lock(&self.known);
        let Some(Known {
            occurrences,
            picked,
        }) = known.get_mut(calendar)
        else {
            return Occurrences::default();
        };
        if let Some(found) = picked.get(selector) {
            return found.clone();
        }
        let all = occurrences.known.iter();
        let found = Occurrences {
            known: all
                .filter(|one| selector.matches(&one.labels))
                .cloned()
                .collect(),
            complete: occurrences.complete,
        };
        picked.insert(selector.clone(), found.clone());
        found
    }

    /// All that is known of a calendar, without being told of changes; `None` while it does not exist or was not looked at yet.
    pub fn known(&self, calendar: &CalendarRef) -> Option<Occurrences> {
        let known = lock(&self.known);
        known.get(calendar).map(|known| known.occurrences.clone())
    }

    /// All that is known of all calendars, in the order of their names.
    pub fn all(&self) -> Vec<(CalendarRef, Occurrences)> {
        let mut all: Vec<_> = lock(&self.known)
            .iter()
            .map(|(calendar, known)| (calendar.clone(), known.occurrences.clone()))
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// `owner` is gone, or asks for other calendars: it is told of none any more.
    pub fn forget(&self, owner: &ObjectKey) {
        lock(&self.asked).retain(|_, owners| {
            owners.remove(owner);
            !owners.is_empty()
        });
    }

    fn learned(&self, calendar: &CalendarRef, occurrences: &Occurrences) {
        {
            let mut known = lock(&self.known);
            if known
                .get(calendar)
                .is_some_and(|known| known.occurrences == *occurrences)
            {
                return;
            }
            let learned = Known {
                occurrences: occurrences.clone(),
                picked: HashMap::new(),
            };
            known.insert(calendar.clone(), learned);
        }
        self.tell(calendar);
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
        let everything = Selector::default();
        let picked = || calendars.picked(&owner, &sales, &everything);
        assert!(!picked().complete, "it is not there yet");
        let known = |complete| Occurrences {
            complete,
            ..Occurrences::default()
        };
        calendars.learned(&sales, &known(false));
        assert_eq!(told.try_recv().ok(), Some(owner.clone()), "it exists now");
        calendars.learned(&sales, &known(false));
        assert!(told.try_recv().is_err(), "nothing changed");
        calendars.learned(&sales, &known(true));
        assert_eq!(told.try_recv().ok(), Some(owner.clone()));
        assert!(picked().complete);
        calendars.forget(&owner);
        calendars.gone(&sales);
        assert!(told.try_recv().is_err(), "it is not asked for any more");
        assert!(!picked().complete);
    }
}
