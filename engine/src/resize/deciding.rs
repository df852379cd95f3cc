//! What follows from all that is known: each pod judged, and what is due for it done.

use std::sync::Arc;

use jiff::Timestamp;

use super::condition::{Seen, Sight};
use super::judge::{PATIENCE, blocks, judge};
use super::message::{PodRef, ResizeEffect};
use super::policy::{Holding, Settings};
use super::record::{Flight, FlightKind, Record, Unknown};
use super::remembered::{Memory, Remembered};
use super::report::{Decision, PodState, ResizeResult};
use super::resizing::{ENDED_PATIENCE, Resizing};
use super::verdict::{Situation, Todo, Verdict};
use crate::condition_reasons as reasons;
use crate::time::after;

impl Resizing {
    /// No cluster to resize in, as far as is known.
    pub(super) fn unsupported(&self, now: Timestamp) -> bool {
        let stopped = self.stopped.as_ref();
        stopped.is_some_and(|it| it.result == ResizeResult::Unsupported && now < it.until)
    }

    pub(super) fn decide(&mut self, now: Timestamp, effects: &mut Vec<ResizeEffect>) {
        // An object that ends has no policies any more that could hold.
        let holding = self.holding.or(self.ended.map(|_| Holding::default()));
        let (Some(settings), Some(holding), true) = (self.settings.clone(), holding, self.listed)
        else {
            return self.finish_unseen(now, effects);
        };
        if self.stopped.as_ref().is_some_and(|it| it.until <= now) {
            self.judge_anew();
        }
        self.judge_all(now, &settings, holding, effects);
        self.look_after_unanswered(now, effects);
        if self.is_paused() {
            self.show(&settings, holding, effects);
            return self.plan(now);
        }
        self.write_down(now, effects);
        self.ask(now, &settings, effects);
        self.evict(now, &settings, effects);
        self.show(&settings, holding, effects);
        self.finish(now, effects);
        self.plan(now);
    }

    /// An object that ends is done with, paused or not.
    fn is_paused(&self) -> bool {
        self.paused && self.ended.is_none()
    }

    pub(super) fn judge_all(
        &mut self,
        now: Timestamp,
        settings: &Settings,
        holding: Holding,
        effects: &mut Vec<ResizeEffect>,
    ) {
        let (nodes, all) = self.loads();
        let (ended, unsupported) = (self.ended.is_some(), self.unsupported(now));
        let holding = if ended || unsupported {
            Holding::default()
        } else {
            holding
        };
        let nothing = Settings {
            policies: Vec::new(),
            ..settings.clone()
        };
        let settings = if ended || unsupported {
            &nothing
        } else {
            settings
        };
        for record in self.pods.values_mut().filter(|it| it.pod.is_live()) {
            let node = record.pod.node.as_ref();
            let on_node = node
                .and_then(|node| nodes.get(node))
                .copied()
                .unwrap_or_default();
            let situation = Situation {
                now,
                settings,
                holding,
                ended,
                was_ready: record.was_ready,
                reconsidered: record.reconsidered,
                refused_beside: record.refused_beside,
                undone: record.undone.as_ref(),
                beside_on_node: on_node.minus(&record.requested),
                beside: all.minus(&record.requested),
            };
            // What others request may make a difference where something was refused.
            let blocked = record.refused().is_some_and(|it| blocks(it, &situation));
            let due = |verdict: &Verdict| verdict.wake.is_some_and(|wake| wake <= now);
            let verdict = record.verdict.as_ref();
            let stands = verdict.is_some_and(|it| !due(it) && !it.is_outdated(&situation));
            if blocked == record.blocked && stands {
                continue;
            }
            let memory = record.memory();
            let mut verdict = judge(&record.pod, &memory, &situation);
            drop(memory);
            if verdict.todo == Some(Todo::Remember(None)) && record.pod.memory == Memory::Nothing {
                // It was never written.
                (record.note, verdict.todo) = (None, None);
            }
            tell_change(record, &verdict, effects);
            record.blocked = blocked;
            record.undone.take_if(|_| verdict.homeward);
            record.verdict = Some(verdict);
        }
    }

    /// Requests without an answer, and those of which nobody knows what became.
    pub(super) fn look_after_unanswered(
        &mut self,
        now: Timestamp,
        effects: &mut Vec<ResizeEffect>,
    ) {
        let mut reads = Vec::new();
        for (uid, record) in &mut self.pods {
            if let Some(flight) = record.flight.take_if(|it| it.overdue_at() <= now) {
                record.unknown = Some(Unknown {
                    in_wave: flight.in_wave,
                });
            }
            if record.unknown.is_some() && record.flight.is_none() && record.not_before <= now {
                reads.push(uid.clone());
            }
        }
        for uid in reads {
            self.send(
                now,
                &uid,
                FlightKind::Read,
                false,
                effects,
                |attempt, record| ResizeEffect::Read {
                    attempt,
                    pod: PodRef::from(&record.pod),
                },
            );
        }
    }

    /// What is to be remembered on pods, or forgotten.
    pub(super) fn write_down(&mut self, now: Timestamp, effects: &mut Vec<ResizeEffect>) {
        let mut writes: Vec<(Arc<str>, Option<Remembered>)> = Vec::new();
        for (uid, record) in &self.pods {
            if !record.is_free(now) || self.not_before.is_some_and(|it| now < it) {
                continue;
            }
            match (
                &record.note,
                record.verdict.as_ref().and_then(|it| it.todo.as_ref()),
            ) {
                (_, Some(Todo::Remember(remember))) => writes.push((uid.clone(), remember.clone())),
                (Some(note), todo) if !note.unwritable && !matches!(todo, Some(Todo::Ask(_))) => {
                    writes.push((uid.clone(), Some(note.remembered.clone())));
                }
                _ => {}
            }
        }
        for (uid, remember) in writes {
            self.send(
                now,
                &uid,
                FlightKind::Remember,
                false,
                effects,
                |attempt, record| ResizeEffect::Remember {
                    attempt,
                    pod: PodRef::from(&record.pod),
                    version: record.pod.version.clone(),
                    remember,
                },
            );
        }
    }

    pub(super) fn show(
        &mut self,
        settings: &Settings,
        holding: Holding,
        effects: &mut Vec<ResizeEffect>,
    ) {
        let pods = self.pods.values().filter(|it| it.pod.is_live());
        let seen = pods.filter_map(|record| {
            let verdict = record.verdict.as_ref()?;
            let flight = record.flight.as_ref();
            let asked = flight.filter(|it| matches!(it.kind, FlightKind::Ask { .. }));
            Some(Seen {
                state: asked.map_or(verdict.state, |_| PodState::UnderWay),
                message: verdict.message.clone(),
                name: record.pod.name.clone(),
                apart: asked.map_or(verdict.apart, |it| !it.in_wave),
                homeward: verdict.homeward,
                skipped: verdict.skipped.clone(),
            })
        });
        let report = Sight {
            holding,
            ended: self.ended.is_some(),
            max_concurrent: settings.max_concurrent,
            stopped: self.why_stopped(),
            pods: seen.collect(),
        }
        .report();
        if self.shown.as_ref() != Some(&report) {
            self.shown = Some(report.clone());
            effects.push(ResizeEffect::Show(report));
        }
    }

    /// The condition's reason and message where nothing is asked for at all.
    fn why_stopped(&self) -> Option<(&'static str, String)> {
        if self.is_paused() {
            let message = "ScaledObject is paused: its pods are left as they are".to_owned();
            return Some((reasons::RESIZING_PAUSED, message));
        }
        self.stopped.as_ref().map(|it| {
            let reason = match it.result {
                ResizeResult::Unsupported => reasons::RESIZE_UNSUPPORTED,
                _ => reasons::RESIZE_NOT_ALLOWED,
            };
            (reason, it.message.clone())
        })
    }

    /// Nobody could list the pods of an object that ends: it is not held for ever.
    fn finish_unseen(&mut self, now: Timestamp, effects: &mut Vec<ResizeEffect>) {
        let until = self.ended.map(|since| after(since, ENDED_PATIENCE));
        self.wake = until.filter(|until| now < *until);
        if until.is_some() && self.wake.is_none() {
            (self.finished, self.gave_up) = (true, true);
            effects.push(ResizeEffect::Finished);
        }
    }

    /// All pods are back, or are where they stay.
    pub(super) fn finish(&mut self, now: Timestamp, effects: &mut Vec<ResizeEffect>) {
        let Some(since) = self.ended else {
            return;
        };
        let patient = now < after(since, ENDED_PATIENCE);
        let hopeless = self.stopped.is_some() && !patient;
        let open = self.pods.values().any(|record| {
            let verdict = record.verdict.as_ref();
            let under_way = [PodState::UnderWay, PodState::Deferred, PodState::Failed];
            let settling = verdict.is_some_and(|it| {
                // Memory may be given free yet.
                let kept = it.state == PodState::MemoryKept && !it.for_good;
                // Its node may come back, and then it is asked for the rest.
                let silent_elsewhere = it.state == PodState::Silent && !record.is_home();
                // To forget what is remembered is not worth waiting for without an end.
                let forgets = matches!(it.todo, Some(Todo::Remember(_)));
                let hinders = !(forgets && record.error.is_some() && !patient);
                it.todo.is_some() && hinders
                    || it.wake.is_some() && under_way.contains(&it.state)
                    || (kept || silent_elsewhere) && patient
            });
            let unknown = record.unknown.is_some() && (patient || record.error.is_none());
            let asked = record.flight.is_some() || unknown;
            // Nor is a place worth waiting for without an end that a pod has of which nobody can read what became of it.
            let takes_place = record.takes_place(now) && (unknown || record.unknown.is_none());
            record.pod.is_live() && (asked || settling || takes_place)
        });
        if hopeless || !open {
            (self.finished, self.gave_up) = (true, open);
            effects.push(ResizeEffect::Finished);
        }
    }

    pub(super) fn plan(&mut self, now: Timestamp) {
        let of_pods = self.pods.values().flat_map(|record| {
            let verdict = record.verdict.as_ref();
            let waits = verdict.is_some_and(|it| it.todo.is_some())
                || record.unknown.is_some()
                || record.note.is_some();
            [
                verdict.and_then(|it| it.wake),
                record.flight.as_ref().map(Flight::overdue_at),
                waits.then_some(record.not_before),
                record.evicted_until(),
            ]
        });
        let ended = self.ended.map(|since| after(since, ENDED_PATIENCE));
        let evicted = self.evicted_for.as_ref();
        let of_all = [
            evicted.map(|(_, since)| after(*since, PATIENCE)),
            self.stopped.as_ref().map(|it| it.until),
            self.not_before,
            ended,
        ];
        self.wake = of_pods.chain(of_all).flatten().filter(|it| *it > now).min();
    }
}

/// A state is told once, when the pod gets into it; what it was in when it was first seen is told only where something is
/// wrong.
fn tell_change(record: &mut Record, verdict: &Verdict, effects: &mut Vec<ResizeEffect>) {
    let passing = [PodState::Waiting, PodState::UnderWay, PodState::LeftAlone];
    if passing.contains(&verdict.state) {
        record.told.get_or_insert(verdict.state);
        return;
    }
    if record.told == Some(verdict.state) {
        return;
    }
    let first = record.told.replace(verdict.state).is_none();
    let Some(result) = verdict.state.result() else {
        return;
    };
    if first && !result.is_problem() {
        return;
    }
    effects.push(ResizeEffect::Tell(Decision {
        pod: Some(PodRef::from(&record.pod)),
        result,
        message: verdict.message.clone(),
    }));
}
