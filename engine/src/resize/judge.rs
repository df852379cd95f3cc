//! What a pod is in, and what is to be done with it: a function of the pod as it is seen, of what is remembered on it, and
//! of what holds. So a restart changes nothing.

use jiff::{SignedDuration, Timestamp};

use super::pod::{Pod, Progress};
use super::policy::OnInfeasible;
use super::remembered::{Memory, MemoryKept, Refused, RefusedBy, Remembered};
use super::report::PodState;
use super::resources::{ResourceList, Sizes, requested};
use super::target::{Keep, Target, keep_memory, target};
use super::verdict::{Asking, Situation, Todo, Verdict};
use crate::time::after;

/// How long a pod may be under way: a deferred one is taken back then (as long as the VPA waits for one), and one of which
/// nothing is heard no longer holds the others up.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_mins(5);
/// How long a node may fail before it is asked for something else. It tries again by itself, within seconds at first.
const FAILING_PATIENCE: SignedDuration = SignedDuration::from_mins(1);
/// The first wait after a node failed; each is twice the one before.
const FIRST_RETRY: SignedDuration = SignedDuration::from_mins(1);
/// How often it doubles: the longest wait is about half an hour.
const MOST_DOUBLINGS: u32 = 5;
/// How soon after it was asked a pod may be evicted: before Kubernetes 1.34, a condition doesn't say which resize it is about.
const BEFORE_EVICTION: SignedDuration = SignedDuration::from_secs(10);
/// Messages in annotations are cut to so many characters.
const LONGEST_MESSAGE: usize = 256;

/// A pod while it is judged.
struct Case<'a> {
    pod: &'a Pod,
    situation: &'a Situation<'a>,
    remembered: Option<&'a Remembered>,
    standing: Sizes,
    /// The pod's own resources.
    own: &'a Sizes,
    target: Target,
    /// It gets less once it is Ready.
    boosted: bool,
    /// What may not be asked for now, if that is the target.
    refused: Option<&'a Refused>,
}

pub(super) fn judge(pod: &Pod, memory: &Memory, situation: &Situation<'_>) -> Verdict {
    let standing = pod.sizes();
    let remembered = match memory {
        Memory::Nothing => None,
        Memory::Known(remembered) => Some(remembered),
        Memory::Unreadable => {
            return Verdict::of(PodState::Foreign, "its annotation can't be read");
        }
    };
    if let Some(remembered) = remembered {
        if standing != remembered.before && !remembered.asked.contains(&standing) {
            return Verdict {
                todo: situation.ended.then_some(Todo::Remember(None)),
                ..Verdict::of(PodState::Foreign, "another actor has set its resources")
            };
        }
        if !same_shape(&remembered.before, &standing) {
            return Verdict::of(PodState::Foreign, "its annotation is of another pod");
        }
    } else if pod.pending.is_some() || pod.in_progress.is_some() {
        // What was under way when it was forgotten goes on without anybody's looking after it.
        if situation.ended {
            return Verdict::of(PodState::UnderWay, "");
        }
        return Verdict::of(PodState::Foreign, "another actor's resize is under way");
    }
    let own = remembered.map_or(&standing, |it| &it.before).clone();
    let of_policies = |starting| target(pod, &own, situation.settings, situation.holding, starting);
    let starting = !situation.was_ready && !situation.ended;
    let target = of_policies(starting);
    if situation.undone == Some(&target.sizes) {
        let message = "another actor took back what it was asked to have";
        return Verdict::of(PodState::Foreign, message);
    }
    let boosted = starting && of_policies(false).sizes != target.sizes;
    let skipped = target.skipped.iter().map(ToString::to_string).collect();
    let refused = remembered
        .and_then(|it| it.refused.as_ref())
        .filter(|it| it.sizes == target.sizes && blocks(it, situation));
    let case = Case {
        pod,
        situation,
        remembered,
        standing,
        own: &own,
        target,
        boosted,
        refused,
    };
    let homeward = case.target.sizes == own || case.refused.is_some();
    Verdict {
        skipped,
        homeward,
        ..case.judge()
    }
}

/// Both are of the same containers, and say the same amounts, though not how much: no amount can be added or taken away.
fn same_shape(one: &Sizes, other: &Sizes) -> bool {
    let shape = |sizes: &Sizes| -> Vec<_> {
        let says = |list: &ResourceList| (list.cpu.is_some(), list.memory.is_some());
        let containers = sizes.iter();
        containers
            .map(|(name, it)| (name.clone(), says(&it.requests), says(&it.limits)))
            .collect()
    };
    shape(one) == shape(other)
}

/// Nothing changed that could make a difference.
pub(super) fn blocks(refused: &Refused, situation: &Situation<'_>) -> bool {
    let no_less = |beside: &ResourceList| !beside.is_below(&refused.beside);
    !situation.reconsidered
        && match refused.by {
            RefusedBy::Node => true,
            RefusedBy::Room => no_less(&situation.beside_on_node),
            RefusedBy::Admission => {
                let then = situation.refused_beside.unwrap_or(refused.beside);
                !situation.beside.is_below(&then)
            }
            RefusedBy::Failure => refused.until.is_some_and(|until| situation.now < until),
        }
}

impl Case<'_> {
    fn judge(&self) -> Verdict {
        let back = self.refused.is_some() || self.target.sizes == *self.own;
        let wanted = if back { self.own } else { &self.target.sizes };
        let aim = self.with_memory_kept(wanted);
        if self.standing == aim {
            return self.arrived(wanted, &aim);
        }
        if let Some(refused) = self.refused.filter(|it| it.sizes == *self.own) {
            return self.refused(refused);
        }
        if self.pod.started.is_none() {
            return Verdict::of(PodState::Waiting, "");
        }
        let (refused, memory_kept) = (self.refused.cloned(), self.memory_kept().cloned());
        let why = match (&refused, self.situation.ended) {
            (Some(refused), _) => refused.message.clone(),
            (None, true) => "the ScaledObject asks for nothing any more".to_owned(),
            (None, false) if self.target.under.is_empty() => "no policy holds".to_owned(),
            (None, false) => {
                let under: Vec<_> = self.target.under.iter().map(|it| it.as_str()).collect();
                under.join(", ")
            }
        };
        self.ask(aim, refused, memory_kept, self.failures(), why)
    }

    /// What stands in the specification is what it is to have now.
    fn arrived(&self, wanted: &Sizes, aim: &Sizes) -> Verdict {
        let at = self.remembered.map(|it| it.at);
        let patience = at.map_or(self.situation.now, |at| after(at, PATIENCE));
        let in_patience = self.situation.now < patience;
        let in_wave = in_patience && self.remembered.is_some_and(|it| it.in_wave);
        let waiting = |state, message: &str| Verdict {
            in_wave,
            wake: in_patience.then_some(patience),
            apart: self.remembered.is_some_and(|it| !it.in_wave),
            ..Verdict::of(state, message)
        };
        match self.pod.progress() {
            Progress::Actual => self.actual(wanted, aim),
            // Nothing was asked, so nothing is under way: its kubelet has only not written its status yet.
            _ if self.remembered.is_none() => self.actual(wanted, aim),
            Progress::UnderWay if in_patience => waiting(PodState::UnderWay, ""),
            Progress::UnderWay => self.settled(waiting(
                PodState::Silent,
                "its node has not carried out the resize for 5 minutes",
            )),
            Progress::Infeasible(message) => {
                let evictable = at.map(|at| after(at, BEFORE_EVICTION));
                let wait = evictable.filter(|it| self.situation.now < *it);
                let evict = aim != self.own && wait.is_none();
                self.settled(Verdict {
                    todo: evict.then(|| self.eviction(aim)).flatten(),
                    wake: wait,
                    ..Verdict::of(PodState::Infeasible, message)
                })
            }
            Progress::Deferred(message) if in_patience => waiting(PodState::Deferred, message),
            Progress::Deferred(message) => self.give_up(message, RefusedBy::Room),
            Progress::Failing(message, since) => {
                let until = after(at.map_or(since, |at| at.max(since)), FAILING_PATIENCE);
                if self.situation.now < until {
                    Verdict {
                        in_wave,
                        wake: Some(until),
                        ..Verdict::of(PodState::Failed, message)
                    }
                } else if self.lowers_memory() {
                    self.keep_memory_for_a_while(message)
                } else {
                    self.give_up(message, RefusedBy::Failure)
                }
            }
        }
    }

    fn actual(&self, wanted: &Sizes, aim: &Sizes) -> Verdict {
        if let Some(refused) = self.refused {
            return self.refused(refused);
        }
        if aim != wanted {
            let kept = self.memory_kept();
            return self.settled(Verdict {
                wake: kept.and_then(|it| it.until),
                for_good: kept.is_some_and(|it| it.until.is_none()),
                ..Verdict::of(
                    PodState::MemoryKept,
                    kept.map_or("it uses more memory than it would be limited to", |it| {
                        it.message.as_str()
                    }),
                )
            });
        }
        if aim != self.own {
            return self.settled(Verdict::of(PodState::Resized, ""));
        }
        let left_alone = !self.target.skipped.is_empty();
        let state = if left_alone {
            PodState::LeftAlone
        } else {
            PodState::Template
        };
        Verdict {
            todo: self.remembered.map(|_| Todo::Remember(None)),
            ..Verdict::of(state, "")
        }
    }

    /// It is not asked for that now.
    fn refused(&self, refused: &Refused) -> Verdict {
        let state = match refused.by {
            RefusedBy::Room => PodState::Deferred,
            RefusedBy::Node => PodState::Infeasible,
            RefusedBy::Admission => PodState::Refused,
            RefusedBy::Failure => PodState::Failed,
        };
        let todo = (refused.by == RefusedBy::Node)
            .then(|| self.eviction(&refused.sizes))
            .flatten();
        self.settled(Verdict {
            todo,
            wake: refused.until,
            ..Verdict::of(state, refused.message.clone())
        })
    }

    /// Where all pods go back, nothing needs to be remembered of one that won't get any further.
    fn settled(&self, verdict: Verdict) -> Verdict {
        let forget =
            self.situation.ended && self.standing == *self.own && self.remembered.is_some();
        Verdict {
            todo: if forget {
                Some(Todo::Remember(None))
            } else {
                verdict.todo
            },
            ..verdict
        }
    }

    /// Only a pod that has served already: one that starts is on its way without a boost, too.
    fn eviction(&self, sizes: &Sizes) -> Option<Todo> {
        let evict = self.situation.settings.on_infeasible == OnInfeasible::Evict
            && self.situation.was_ready
            && !self.situation.ended;
        evict.then(|| Todo::Evict(sizes.clone()))
    }

    /// Back to its own resources, and not asked again for these until something changes.
    fn give_up(&self, message: &str, by: RefusedBy) -> Verdict {
        let state = match by {
            RefusedBy::Room => PodState::Deferred,
            _ => PodState::Failed,
        };
        let aim = self.with_memory_kept(self.own);
        if aim == self.standing {
            let place = self.place_until();
            let verdict = Verdict {
                in_wave: place.is_some(),
                wake: place,
                ..Verdict::of(state, message)
            };
            return if place.is_some() {
                verdict
            } else {
                self.settled(verdict)
            };
        }
        let failures = self.failures_so_far();
        let (beside, until) = match by {
            RefusedBy::Failure => (ResourceList::default(), Some(self.retry_at(failures))),
            _ => (self.situation.beside_on_node, None),
        };
        let refused = Refused {
            sizes: self.target.sizes.clone(),
            by,
            message: cut(message),
            beside,
            until,
        };
        let failures = failures.saturating_add(u32::from(by == RefusedBy::Failure));
        let why = format!("taken back: {message}");
        let kept = self.memory_kept().cloned();
        Verdict {
            state,
            message: message.to_owned(),
            ..self.ask(aim, Some(refused), kept, failures, why)
        }
    }

    /// The node does not lower the memory limit: the rest goes on, and the limit is tried again later.
    fn keep_memory_for_a_while(&self, message: &str) -> Verdict {
        let failures = self.failures_so_far();
        let kept = MemoryKept {
            message: cut(message),
            until: Some(self.retry_at(failures)),
        };
        let aim = keep_memory(self.pod, self.own, &self.standing, Keep::All);
        let why = format!("memory limit kept: {message}");
        Verdict {
            state: PodState::Failed,
            message: message.to_owned(),
            ..self.ask(
                aim,
                self.refused.cloned(),
                Some(kept),
                failures.saturating_add(1),
                why,
            )
        }
    }

    fn ask(
        &self,
        aim: Sizes,
        mut refused: Option<Refused>,
        memory_kept: Option<MemoryKept>,
        failures: u32,
        why: String,
    ) -> Verdict {
        if let Some(refused) = &mut refused
            && refused.by == RefusedBy::Admission
        {
            // What has been seen to make no difference since is no news after a restart.
            refused.beside = self.situation.refused_beside.unwrap_or(refused.beside);
        }
        let homeward = !requested(&self.standing).is_below(&requested(&aim));
        let gives_back = homeward && self.remembered.is_some_and(|it| it.boosted);
        let in_wave = self.situation.was_ready && !gives_back;
        let mut asked: Vec<_> = [self.standing.clone(), aim.clone()]
            .into_iter()
            .filter(|sizes| sizes != self.own)
            .collect();
        asked.dedup();
        let remember = Remembered {
            before: self.own.clone(),
            asked,
            at: self.situation.now,
            boosted: self.boosted && aim == self.target.sizes,
            in_wave,
            refused,
            memory_kept,
            failures,
        };
        let place = self.place_until();
        Verdict {
            in_wave: place.is_some(),
            wake: place,
            apart: !in_wave,
            todo: Some(Todo::Ask(Box::new(Asking {
                sizes: aim,
                target: self.target.sizes.clone(),
                remember,
                in_wave,
                homeward,
                why,
            }))),
            ..Verdict::of(PodState::Waiting, "")
        }
    }

    /// Until when it takes a place in a wave, if it does.
    fn place_until(&self) -> Option<Timestamp> {
        let under_way = matches!(
            self.pod.progress(),
            Progress::UnderWay | Progress::Deferred(_) | Progress::Failing(..)
        );
        let remembered = self.remembered.filter(|it| it.in_wave && under_way);
        let until = remembered.map(|it| after(it.at, PATIENCE));
        until.filter(|until| self.situation.now < *until)
    }

    fn with_memory_kept(&self, wanted: &Sizes) -> Sizes {
        let keep = if self.memory_kept().is_some() {
            Keep::All
        } else {
            Keep::InUse
        };
        keep_memory(self.pod, self.own, wanted, keep)
    }

    fn memory_kept(&self) -> Option<&MemoryKept> {
        let kept = self.remembered.and_then(|it| it.memory_kept.as_ref());
        kept.filter(|it| {
            !self.situation.reconsidered && it.until.is_none_or(|until| self.situation.now < until)
        })
    }

    /// The node is to give a container less memory than it has.
    fn lowers_memory(&self) -> bool {
        self.pod.containers.iter().any(|container| {
            let actual = container.actual.and_then(|it| it.limits.memory);
            let wanted = container.resources.limits.memory;
            actual
                .zip(wanted)
                .is_some_and(|(actual, wanted)| wanted < actual)
        })
    }

    fn failures_so_far(&self) -> u32 {
        self.remembered.map_or(0, |it| it.failures)
    }

    /// What counts on when the pod is asked for this target: an earlier failure to get it.
    fn failures(&self) -> u32 {
        let counts = self.remembered.is_some_and(|it| {
            let again = it
                .refused
                .as_ref()
                .is_some_and(|it| it.sizes == self.target.sizes);
            again || it.memory_kept.is_some()
        });
        if counts { self.failures_so_far() } else { 0 }
    }

    /// An object that ends has only a few minutes left.
    fn retry_at(&self, failures: u32) -> Timestamp {
        let doublings = match self.situation.ended {
            true => 0,
            false => failures.min(MOST_DOUBLINGS),
        };
        let wait = FIRST_RETRY * (1 << doublings);
        after(self.situation.now, wait)
    }
}

/// What is told, short enough to be kept.
pub(super) fn cut(message: &str) -> String {
    message.chars().take(LONGEST_MESSAGE).collect()
}
