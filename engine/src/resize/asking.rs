//! Who is asked, who is evicted, and in which order.

use std::sync::Arc;

use jiff::Timestamp;

use super::judge::PATIENCE;
use super::message::{ContainerResize, PodRef, ResizeEffect};
use super::pod::{ContainerKind, Pod};
use super::policy::Settings;
use super::record::{Flight, FlightKind, Record};
use super::report::{Decision, PodState, ResizeResult};
use super::resizing::Resizing;
use super::resources::{Sizes, change_in_words};
use super::verdict::{Asking, Todo};
use super::waves::{Candidate, Nodes, next_wave};
use crate::time::after;

impl Resizing {
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        settings: &Settings,
        effects: &mut Vec<ResizeEffect>,
    ) {
        if self.not_before.is_some_and(|it| now < it) {
            return;
        }
        let mut most = usize::MAX;
        let mut is_lifted = false;
        if let Some(stopped) = &self.stopped {
            let trying = self.pods.values().any(|it| {
                matches!(
                    it.flight,
                    Some(Flight {
                        kind: FlightKind::Ask { .. },
                        ..
                    })
                )
            });
            most = usize::from(stopped.until <= now && !trying);
            is_lifted = stopped.lifted && !trying;
        }
        let mut at_once = Vec::new();
        let mut candidates = Vec::new();
        let mut nodes = Nodes::default();
        for (uid, record) in &self.pods {
            let counted = record.takes_place(now);
            if counted {
                nodes.add_under_way(record.pod.node.as_ref());
            }
            let Some(verdict) = record.verdict.as_ref().filter(|_| record.pod.is_live()) else {
                continue;
            };
            if verdict.state == PodState::Deferred && verdict.in_wave {
                nodes.set_full(record.pod.node.as_ref());
            }
            let Some(Todo::Ask(asking)) = verdict.todo.as_ref().filter(|_| record.is_free(now))
            else {
                continue;
            };
            if asking.in_wave {
                candidates.push(Candidate {
                    uid: uid.clone(),
                    name: record.pod.name.clone(),
                    node: record.pod.node.clone(),
                    created: record.pod.created,
                    homeward: asking.homeward,
                    counted,
                });
            } else {
                at_once.push(uid.clone());
            }
        }
        let (places, taken) = self.places(now, settings);
        let wave = next_wave(candidates, places, taken, nodes);
        let mut chosen: Vec<_> = at_once.into_iter().chain(wave).collect();
        // Where something changed that admission may have refused them for, one shows whether it will have it now.
        let mut tried = self
            .pods
            .values()
            .any(|it| it.flight.is_some() && it.retrying);
        chosen.retain(|uid| {
            let record = self.pods.get(uid);
            let is_retry = record.is_some_and(|record| {
                let todo = record.verdict.as_ref().and_then(|it| it.todo.as_ref());
                matches!(todo, Some(Todo::Ask(asking)) if record.is_retry(&asking.target))
            });
            !is_retry || !std::mem::replace(&mut tried, true)
        });
        if is_lifted && chosen.is_empty() {
            // Nobody is there to show it.
            self.stopped = None;
        }
        for uid in chosen.into_iter().take(most) {
            self.ask_one(now, &uid, effects);
        }
    }

    /// How many pods may be under way, and how many are.
    fn places(&self, now: Timestamp, settings: &Settings) -> (usize, usize) {
        let live = self.pods.values().filter(|it| it.pod.is_live()).count();
        let taken = self.pods.values().filter(|it| it.takes_place(now)).count();
        (settings.max_concurrent.of(live), taken)
    }

    pub(super) fn ask_one(
        &mut self,
        now: Timestamp,
        uid: &Arc<str>,
        effects: &mut Vec<ResizeEffect>,
    ) {
        let Some(record) = self.pods.get(uid) else {
            return;
        };
        let Some(Todo::Ask(asking)) = record.verdict.as_ref().and_then(|it| it.todo.clone()) else {
            return;
        };
        let Asking {
            sizes,
            target,
            mut remember,
            in_wave,
            why,
            ..
        } = *asking;
        // It was judged when something changed last, and may have waited since.
        remember.at = now;
        let standing = record.pod.sizes();
        let change = change_in_words(&standing, &sizes);
        effects.push(ResizeEffect::Tell(Decision {
            pod: Some(PodRef::from(&record.pod)),
            result: ResizeResult::Asked,
            message: format!("{change} ({why})"),
        }));
        let containers = changed_containers(&record.pod, &standing, &sizes);
        if let Some(record) = self.pods.get_mut(uid) {
            if let Some(note) = &mut record.note {
                note.carried = Some(remember.clone());
            }
            record.retrying = record.is_retry(&target);
            if remember.refused.is_some() && remember.refused.as_ref() != record.refused() {
                // It is given up now: what changed before that is taken into account, whatever becomes of the answer.
                record.reconsidered = false;
            }
            record.asked_home = sizes == remember.before;
            record.last_target = Some(target.clone());
        }
        let kind = FlightKind::Ask {
            target,
            remember: remember.clone(),
        };
        self.send(now, uid, kind, in_wave, effects, |attempt, record| {
            ResizeEffect::Ask {
                attempt,
                pod: PodRef::from(&record.pod),
                version: record.pod.version.clone(),
                remember,
                containers,
            }
        });
    }

    pub(super) fn evict(
        &mut self,
        now: Timestamp,
        settings: &Settings,
        effects: &mut Vec<ResizeEffect>,
    ) {
        if self.stopped.is_some() || self.not_before.is_some_and(|it| now < it) {
            return;
        }
        let (places, taken) = self.places(now, settings);
        for _ in taken..places {
            let found = self.pods.iter().find_map(|(uid, record)| {
                let verdict = record.verdict.as_ref()?;
                let free = record.pod.is_live() && record.is_free(now) && record.evicted.is_none();
                match &verdict.todo {
                    Some(Todo::Evict(sizes)) if free && !self.in_vain(now, sizes) => {
                        Some((uid.clone(), sizes.clone(), verdict.message.clone()))
                    }
                    _ => None,
                }
            });
            let Some((uid, sizes, why)) = found else {
                return;
            };
            let others = self.evicted_for.as_ref().filter(|(of, _)| *of == sizes);
            if others.is_none() {
                self.evicted_for = Some((sizes.clone(), now));
            }
            self.send(
                now,
                &uid,
                FlightKind::Evict { sizes, why },
                true,
                effects,
                |attempt, record| ResizeEffect::Evict {
                    attempt,
                    pod: PodRef::from(&record.pod),
                },
            );
        }
    }

    /// Others were evicted for the same, and what came after them can't have it either, or nobody knows yet.
    pub(super) fn in_vain(&self, now: Timestamp, sizes: &Sizes) -> bool {
        let evicted = self.evicted_for.as_ref();
        // Those of one turn go together.
        let Some((_, since)) = evicted.filter(|(of, since)| of == sizes && *since < now) else {
            return false;
        };
        // Pods are created at whole seconds.
        let second = since.as_second();
        let successors = self
            .pods
            .values()
            .filter(|it| it.pod.created.as_second() >= second);
        let mut helped = false;
        for verdict in successors.filter_map(|it| it.verdict.as_ref()) {
            match (&verdict.todo, verdict.state) {
                (Some(Todo::Evict(of)), _) if of == sizes => return true,
                (_, PodState::Resized) => helped = true,
                _ => {}
            }
        }
        !helped && now < after(*since, PATIENCE)
    }

    pub(super) fn send(
        &mut self,
        now: Timestamp,
        uid: &Arc<str>,
        kind: FlightKind,
        in_wave: bool,
        effects: &mut Vec<ResizeEffect>,
        effect: impl FnOnce(u64, &Record) -> ResizeEffect,
    ) {
        self.attempt += 1;
        if let Some(record) = self.pods.get_mut(uid) {
            effects.push(effect(self.attempt, record));
            record.flight = Some(Flight {
                attempt: self.attempt,
                sent: now,
                kind,
                in_wave,
                outdated: false,
            });
        }
    }
}

fn changed_containers(pod: &Pod, standing: &Sizes, sizes: &Sizes) -> Vec<ContainerResize> {
    let changed = pod.containers.iter().filter_map(|container| {
        let new = sizes.get(&container.name)?;
        (standing.get(&container.name) != Some(new)).then(|| ContainerResize {
            name: container.name.clone(),
            sidecar: container.kind == ContainerKind::Sidecar,
            resources: *new,
        })
    });
    changed.collect()
}
