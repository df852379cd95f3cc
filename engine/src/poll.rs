//! When one object is polled: at its nominal times, one poll under way at a time.

use jiff::{SignedDuration, Timestamp};

use crate::agenda::{Task, Ticket};
use crate::effect::Effect;
use crate::engine::Turn;
use crate::object::PollId;
use crate::time::after;

/// A poll without an answer for two intervals, and at least this long, is given up.
const LOST_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// How soon after the start of a poll a conflicting write may start the next one.
const CONFLICT_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// The same for a push: a source that tells of each message it gets must not be polled for each, but a target at zero is to have its
/// first replica within a second.
const PUSH_PAUSE: SignedDuration = SignedDuration::from_millis(500);

/// Of a poll's answers, those to questions that others asked within so many tenths of the interval are taken. Not all ten: at the
/// next poll, which comes when the answer is an interval old, it must not count once more for want of a millisecond.
const SHARED_TENTHS: i32 = 9;
/// However long the interval is.
const SHARED_AT_MOST: SignedDuration = SignedDuration::from_mins(10);
/// For whoever wants to know how it is: the HPA, which in KEDA sees the source as it is at that moment. As old as a reading that is served
/// without a poll.
pub(crate) const RECENT: SignedDuration = SignedDuration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Polling {
    under_way: Option<UnderWay>,
    planned: Option<Ticket>,
    last_start: Option<Timestamp>,
    /// The first time planned for a poll that passed while one was under way.
    missed: Option<Timestamp>,
    /// The next poll takes no answer that others have.
    fresh: bool,
}

#[derive(Debug)]
struct UnderWay {
    poll: PollId,
    since: Timestamp,
    /// It was begun before the object was prepared anew: its answer says nothing about the object as it is now.
    outdated: bool,
}

/// What an answer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It belongs to the poll under way.
    Current,
    /// It belongs to the poll under way, but the object was prepared anew meanwhile: poll again.
    Outdated,
    /// It belongs to a poll that was given up.
    Late,
}

impl Polling {
    pub(crate) fn is_planned(&self) -> bool {
        self.planned.is_some()
    }

    /// Plans the next poll for `at`, instead of what was planned before.
    pub(crate) fn plan(&mut self, turn: &mut Turn<'_>, at: Timestamp) {
        self.unplan(turn);
        self.planned = Some(turn.agenda.add(at, Task::Poll, turn.key));
    }

    /// Plans nothing any more. The answer of a poll under way is still awaited.
    pub(crate) fn stop(&mut self, turn: &mut Turn<'_>) {
        self.missed = None;
        self.unplan(turn);
    }

    fn unplan(&mut self, turn: &mut Turn<'_>) {
        if let Some(ticket) = self.planned.take() {
            turn.agenda.cancel(ticket);
        }
    }

    /// A poll that is under way will bring an answer about the object as it was before.
    pub(crate) fn outdate(&mut self) {
        if let Some(poll) = &mut self.under_way {
            poll.outdated = true;
        }
    }

    /// Polls now unless a poll is under way; the next one follows an interval from now. Whoever wants that (the HPA; an object that is new, or
    /// prepared anew) wants to know how it is and not how it was.
    pub(crate) fn poll_now(&mut self, turn: &mut Turn<'_>, interval: SignedDuration) {
        self.poll_within(turn, interval, RECENT, false);
    }

    /// The same, because an HPA reads.
    pub(crate) fn poll_for_hpa(&mut self, turn: &mut Turn<'_>, interval: SignedDuration) {
        self.poll_within(turn, interval, RECENT, true);
    }

    /// Polls again after an answer that is too old for what it leads to.
    pub(crate) fn poll_fresh(&mut self, turn: &mut Turn<'_>, interval: SignedDuration) {
        self.poll_within(turn, interval, SignedDuration::ZERO, false);
    }

    fn poll_within(
        &mut self,
        turn: &mut Turn<'_>,
        interval: SignedDuration,
        within: SignedDuration,
        for_hpa: bool,
    ) {
        if !self.is_under_way(turn.now, interval) {
            self.start(turn, SignedDuration::ZERO, within, for_hpa);
            self.plan(turn, after(turn.now, interval));
        } else if self.planned.is_none() {
            // Should the answer never come, this is when it is noticed.
            self.plan(turn, after(turn.now, interval));
        }
    }

    /// The time planned for a poll has come. The next one follows an interval after the planned time, however late
    /// this one is; times that were missed altogether are left out rather than made up for. While a poll is under way, this one
    /// waits for its end.
    pub(crate) fn due(
        &mut self,
        turn: &mut Turn<'_>,
        planned: Timestamp,
        interval: SignedDuration,
    ) {
        let late = turn.now.duration_since(planned).max(SignedDuration::ZERO);
        let into_interval =
            SignedDuration::from_nanos_i128(late.as_nanos() % interval.as_nanos().max(1));
        self.planned = None;
        self.plan(turn, after(turn.now, interval - into_interval));
        if self.is_under_way(turn.now, interval) {
            self.missed.get_or_insert(planned);
        } else {
            self.start(turn, late, self.shared_within(interval), false);
        }
    }

    /// How old an answer may be that a planned poll takes from another.
    fn shared_within(&self, interval: SignedDuration) -> SignedDuration {
        match self.fresh {
            true => SignedDuration::ZERO,
            false => shared_within(interval),
        }
    }

    /// The poll under way has ended: one that was to begin meanwhile does so now. (KEDA, too, polls again at once after a poll that
    /// took longer than the interval.)
    pub(crate) fn catch_up(&mut self, turn: &mut Turn<'_>, interval: SignedDuration) {
        if let Some(missed) = self.missed.filter(|_| self.under_way.is_none()) {
            let late = turn.now.duration_since(missed).max(SignedDuration::ZERO);
            self.start(turn, late, self.shared_within(interval), false);
        }
    }

    /// The poll under way took answers that old: they count from when they were asked for, and so the next poll comes sooner. From
    /// then on the objects that share them poll at the same moment.
    pub(crate) fn follow_answers(
        &mut self,
        turn: &mut Turn<'_>,
        interval: SignedDuration,
        age: SignedDuration,
    ) {
        if age > SignedDuration::ZERO
            && let Some(started) = self.last_start
        {
            let next = after(started, interval - age.min(shared_within(interval)));
            self.plan(turn, next.max(turn.now));
        }
    }

    /// Polls again after a conflicting write: now, unless the last poll has only just begun.
    pub(crate) fn poll_after_conflict(&mut self, turn: &mut Turn<'_>, interval: SignedDuration) {
        self.poll_after(turn, interval, CONFLICT_PAUSE);
    }

    /// Polls for a push: now, unless the last poll has only just begun. The answer of a poll under way counts the push.
    pub(crate) fn poll_for_push(&mut self, turn: &mut Turn<'_>, interval: SignedDuration) {
        if !self.is_under_way(turn.now, interval) {
            self.poll_after(turn, interval, PUSH_PAUSE);
        }
    }

    /// Polls as soon as the start of the last poll lies so far back.
    fn poll_after(&mut self, turn: &mut Turn<'_>, interval: SignedDuration, pause: SignedDuration) {
        match self.last_start.map(|start| after(start, pause)) {
            // What others know already is older than the reason for this one.
            Some(earliest) if earliest > turn.now => {
                self.fresh = true;
                self.plan(turn, earliest);
            }
            _ => self.poll_fresh(turn, interval),
        }
    }

    /// Takes in an answer.
    pub(crate) fn answered(&mut self, poll: PollId) -> Answer {
        match self.under_way.take_if(|under_way| under_way.poll == poll) {
            Some(under_way) if under_way.outdated => Answer::Outdated,
            Some(_) => Answer::Current,
            None => Answer::Late,
        }
    }

    fn is_under_way(&self, now: Timestamp, interval: SignedDuration) -> bool {
        let patience = interval.saturating_mul(2).max(LOST_AFTER);
        self.under_way
            .as_ref()
            .is_some_and(|poll| now.duration_since(poll.since) < patience)
    }

    fn start(
        &mut self,
        turn: &mut Turn<'_>,
        late: SignedDuration,
        within: SignedDuration,
        for_hpa: bool,
    ) {
        let poll = PollId(*turn.next_poll);
        *turn.next_poll += 1;
        self.under_way = Some(UnderWay {
            poll,
            since: turn.now,
            outdated: false,
        });
        self.last_start = Some(turn.now);
        self.missed = None;
        self.fresh = false;
        turn.effects.push(Effect::Poll {
            key: turn.key.clone(),
            poll,
            late,
            within,
            for_hpa,
        });
    }
}

/// How old an answer may be that a poll takes from another.
fn shared_within(interval: SignedDuration) -> SignedDuration {
    (interval * SHARED_TENTHS / 10).min(SHARED_AT_MOST)
}
