//! What is to be done when, for all objects together: one binary heap, so that ten thousand objects cost one sleep.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use jiff::Timestamp;

use crate::object::ObjectKey;

/// Names one entry. Entries of the same time come out in the order in which they were put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What an object wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// The next poll is due.
    Poll,
    /// Preparing is to be tried again, or its answer is overdue.
    Prepare,
    /// The status has been held back for the first poll long enough.
    WriteStatus,
    /// A floor changes, or pods are to be looked at.
    Prescale,
}

type Entry = Reverse<(Timestamp, Ticket, Task, ObjectKey)>;

/// Cancelling only strikes an entry off the list of valid ones; the heap drops it when it comes to the top, or when
/// struck entries outnumber valid ones. So the heap is never more than about twice as long as what is planned.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Entry>,
    valid: BTreeSet<Ticket>,
    next: u64,
}

/// Below this length a heap full of struck entries is not worth rebuilding.
const REBUILD_FROM: usize = 64;

impl Agenda {
    pub(crate) fn add(&mut self, at: Timestamp, task: Task, key: &ObjectKey) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.valid.insert(ticket);
        self.heap.push(Reverse((at, ticket, task, key.clone())));
        ticket
    }

    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        if !self.valid.remove(&ticket) {
            return;
        }
        if self.heap.len() > REBUILD_FROM && self.heap.len() > 2 * self.valid.len() {
            let valid = &self.valid;
            self.heap
                .retain(|Reverse((_, ticket, _, _))| valid.contains(ticket));
        }
        self.drop_struck();
    }

    /// When the first entry is due.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes out the first entry if it is due, with the time for which it was planned.
    pub(crate) fn take_due(
        &mut self,
        now: Timestamp,
    ) -> Option<(Timestamp, Ticket, Task, ObjectKey)> {
        if self.first()? > now {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.valid.remove(&entry.1);
        self.drop_struck();
        Some(entry)
    }

    /// Entries held, valid or not: what the memory bound is about.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Keeps a valid entry at the top, so that `first` is exact.
    fn drop_struck(&mut self) {
        while let Some(Reverse((_, ticket, _, _))) = self.heap.peek()
            && !self.valid.contains(ticket)
        {
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    #[test]
    fn entries_come_out_by_time_then_by_insertion() {
        let mut agenda = Agenda::default();
        agenda.add(at(5), Task::Poll, &key("late"));
        agenda.add(at(1), Task::Prepare, &key("first"));
        agenda.add(at(1), Task::Poll, &key("second"));
        let mut names = Vec::new();
        while let Some((.., key)) = agenda.take_due(at(4)) {
            names.push(key.name.to_string());
        }
        assert_eq!(names, ["first", "second"]);
        assert_eq!(agenda.first(), Some(at(5)));
    }

    #[test]
    fn a_cancelled_entry_neither_wakes_nor_comes_out() {
        let mut agenda = Agenda::default();
        let cancelled = agenda.add(at(1), Task::Poll, &key("a"));
        agenda.add(at(2), Task::Poll, &key("b"));
        agenda.cancel(cancelled);
        agenda.cancel(cancelled);
        assert_eq!(agenda.first(), Some(at(2)));
        assert_eq!(agenda.take_due(at(9)).map(|entry| entry.3), Some(key("b")));
        assert_eq!(agenda.first(), None);
    }

    #[test]
    fn rescheduling_for_ever_does_not_fill_the_memory() {
        let mut agenda = Agenda::default();
        agenda.add(at(0), Task::Poll, &key("first"));
        let mut ticket = agenda.add(at(1), Task::Poll, &key("a"));
        for second in 2..10_000 {
            agenda.cancel(ticket);
            ticket = agenda.add(at(second), Task::Poll, &key("a"));
        }
        assert!(
            agenda.len() <= REBUILD_FROM + 1,
            "{} entries for two that are valid",
            agenda.len()
        );
    }
}
