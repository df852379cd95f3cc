//! What is known of one pod while an operator lives, beside what the pod itself shows.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::judge::{PATIENCE, cut};
use super::message::Refusal;
use super::pod::Pod;
use super::remembered::{Memory, MemoryKept, Refused, RefusedBy, Remembered};
use super::report::PodState;
use super::resources::{ResourceList, Sizes};
use super::verdict::Verdict;
use crate::backoff::Backoff;
use crate::time::after;

/// How long an answer may take; then the pod is read to see what became of it.
const ANSWER_OVERDUE: SignedDuration = SignedDuration::from_secs(60);

/// One pod.
#[derive(Debug)]
pub(super) struct Record {
    pub pod: Pod,
    pub requested: ResourceList,
    /// It is or was Ready.
    pub was_ready: bool,
    pub flight: Option<Flight>,
    /// Before this, nothing is asked of the API server for this pod.
    pub not_before: Timestamp,
    pub backoff: Backoff,
    /// What is to be remembered on the pod and isn't yet.
    pub note: Option<Note>,
    /// Nobody knows whether the last request was carried out; it counts as if it was.
    pub unknown: Option<Unknown>,
    /// What was refused may be asked for again.
    pub reconsidered: bool,
    /// What it was last asked for under its policies, and whether that was its own resources.
    pub last_target: Option<Sizes>,
    pub asked_home: bool,
    /// What another actor has taken back: it is not asked for again while the policies want that.
    pub undone: Option<Sizes>,
    /// What the others requested when another was refused in vain: less than what is remembered.
    pub refused_beside: Option<ResourceList>,
    /// What it is asked for now was refused by admission before.
    pub retrying: bool,
    /// Conflicts in a row.
    pub conflicts: u32,
    /// When its eviction was accepted.
    pub evicted: Option<Timestamp>,
    /// What was told of it last.
    pub told: Option<PodState>,
    /// What went wrong with the last request, if it did.
    pub error: Option<String>,
    /// The last verdict, as long as nothing changes.
    pub verdict: Option<Verdict>,
    /// Whether what was refused was still to be left when it was judged: others' requests may change that.
    pub blocked: bool,
}

/// A request whose answer is awaited.
#[derive(Debug)]
pub(super) struct Flight {
    pub attempt: u64,
    pub sent: Timestamp,
    pub kind: FlightKind,
    /// It takes a place in a wave.
    pub in_wave: bool,
    /// The object has ended since it was sent: all goes back now.
    pub outdated: bool,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are asks, and there is one for a pod at a time"
)]
pub(super) enum FlightKind {
    Ask { target: Sizes, remember: Remembered },
    Remember,
    Evict { sizes: Sizes, why: String },
    Read,
}

/// A request that may have been carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unknown {
    pub in_wave: bool,
}

#[derive(Debug)]
pub(super) struct Note {
    pub remembered: Remembered,
    /// The API server refuses to have it written.
    pub unwritable: bool,
    /// What the last request would write instead.
    pub carried: Option<Remembered>,
}

impl Note {
    pub(super) fn new(remembered: Remembered) -> Self {
        Self {
            remembered,
            unwritable: false,
            carried: None,
        }
    }

    /// It stands on the pod, or what came after it: its answer was lost.
    fn is_written(&self, memory: &Memory) -> bool {
        let Memory::Known(known) = memory else {
            return false;
        };
        *known == self.remembered || self.carried.as_ref() == Some(known)
    }
}

impl Flight {
    pub(super) fn overdue_at(&self) -> Timestamp {
        after(self.sent, ANSWER_OVERDUE)
    }
}

impl Record {
    pub(super) fn new(pod: Pod) -> Self {
        Self {
            requested: pod.requested(),
            was_ready: pod.has_been_ready(),
            pod,
            flight: None,
            not_before: Timestamp::MIN,
            backoff: Backoff::default(),
            note: None,
            unknown: None,
            reconsidered: false,
            last_target: None,
            asked_home: false,
            undone: None,
            refused_beside: None,
            retrying: false,
            conflicts: 0,
            evicted: None,
            told: None,
            error: None,
            verdict: None,
            blocked: false,
        }
    }

    /// The pod was seen. What was read before what is known says nothing new.
    pub(super) fn see(&mut self, pod: Pod) {
        if pod.is_older_than(&self.pod) {
            return;
        }
        self.was_ready |= pod.has_been_ready();
        self.requested = pod.requested();
        if let (Memory::Known(known), Memory::Nothing) = (&self.pod.memory, &pod.memory) {
            // Somebody removed the annotation, though the way back is not done.
            let sizes = pod.sizes();
            if sizes != known.before && known.asked.contains(&sizes) && self.note.is_none() {
                self.note = Some(Note::new(known.clone()));
            }
        }
        self.note.take_if(|note| note.is_written(&pod.memory));
        if let (Memory::Known(known), false) = (&pod.memory, self.asked_home) {
            // It had what it was asked to have, and has its own again, which nobody here asked for.
            let (stood, stands) = (self.pod.sizes(), pod.sizes());
            let was_ours = stood != known.before && known.asked.contains(&stood);
            if was_ours && stands == known.before {
                self.undone = Some(self.last_target.clone().unwrap_or(stood));
            }
        }
        self.pod = pod;
        self.verdict = None;
    }

    /// What is remembered of the pod, written already or not.
    pub(super) fn memory(&self) -> Cow<'_, Memory> {
        match &self.note {
            Some(note) => Cow::Owned(Memory::Known(note.remembered.clone())),
            None => Cow::Borrowed(&self.pod.memory),
        }
    }

    /// Its specification says what it did before anything was asked.
    pub(super) fn is_home(&self) -> bool {
        match &*self.memory() {
            Memory::Known(known) => known.before == self.pod.sizes(),
            _ => true,
        }
    }

    /// What it could not get, written already or not.
    pub(super) fn refused(&self) -> Option<&Refused> {
        match (&self.note, &self.pod.memory) {
            (Some(note), _) => note.remembered.refused.as_ref(),
            (None, Memory::Known(known)) => known.refused.as_ref(),
            (None, _) => None,
        }
    }

    /// Something can be asked of the API server for this pod now.
    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        self.flight.is_none() && self.unknown.is_none() && self.not_before <= now
    }

    /// Until when it takes a place for having been evicted: on a node that is gone, a pod stays for ever.
    pub(super) fn evicted_until(&self) -> Option<Timestamp> {
        self.evicted.map(|at| after(at, PATIENCE))
    }

    /// It takes a place in a wave, as the API server knows it or may.
    pub(super) fn takes_place(&self, now: Timestamp) -> bool {
        let asked = self.flight.as_ref().is_some_and(|it| it.in_wave);
        let unknown = self.unknown.is_some_and(|it| it.in_wave);
        let under_way = self.verdict.as_ref().is_some_and(|it| it.in_wave);
        asked || unknown || under_way || self.evicted_until().is_some_and(|until| now < until)
    }

    /// Admission has refused these resources before.
    pub(super) fn is_retry(&self, target: &Sizes) -> bool {
        let refused = self.refused();
        refused.is_some_and(|it| it.by == RefusedBy::Admission && it.sizes == *target)
    }

    /// The API server refused what the pod was asked for: that is noted, and what stands is as it was.
    pub(super) fn note_refusal(
        &mut self,
        kind: FlightKind,
        why: Refusal,
        told: &str,
        beside: ResourceList,
    ) {
        let FlightKind::Ask {
            target, remember, ..
        } = kind
        else {
            return;
        };
        // That stands on the pod already. What stands in its specification is what stood; its place in a wave it keeps, since
        // that may not be carried out yet.
        let mut remembered = remember;
        remembered.boosted &= self.pod.sizes() != remembered.before;
        let message = cut(told);
        let refused = |by| {
            Some(Refused {
                sizes: target,
                by,
                message: message.clone(),
                beside,
                until: None,
            })
        };
        match why {
            Refusal::NodeTooSmall => remembered.refused = refused(RefusedBy::Node),
            Refusal::Admission => remembered.refused = refused(RefusedBy::Admission),
            Refusal::LowersNoMemory => {
                remembered.memory_kept = Some(MemoryKept {
                    message,
                    until: None,
                });
            }
        }
        (self.reconsidered, self.refused_beside) = (false, None);
        self.note = Some(Note::new(remembered));
        self.verdict = None;
    }

    /// What it could not give back is tried once more, whatever is under way.
    pub(super) fn give_last_chance(&mut self) {
        self.reconsidered = true;
        if let Some(flight) = &mut self.flight {
            flight.outdated = true;
        }
    }

    /// Try again, later each time.
    pub(super) fn back_off(&mut self, now: Timestamp, retry_after: Option<SignedDuration>) {
        let wait = self.backoff.next(&self.pod.uid);
        self.not_before = after(now, wait.max(retry_after.unwrap_or_default()));
        self.verdict = None;
    }

    pub(super) fn answered_well(&mut self) {
        self.error = None;
        self.backoff.reset();
        self.not_before = Timestamp::MIN;
        self.unknown = None;
        self.verdict = None;
    }
}
