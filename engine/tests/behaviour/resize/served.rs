//! How requests are answered, and what must never be asked.

use std::sync::Arc;

use sakidori_engine::resize::{
    ContainerResize, PendingReason, RefusedBy, ResizeEffect, ResizeEvent, ResizeOutcome,
};

use super::cluster::{Stored, actual, specified};
use super::world::{Asked, Decided, Message, PATIENCE, Refusal, World};

impl World {
    /// The API server carries out a request, and answers, if all goes well.
    pub(super) fn serve(&mut self, life: u32, effect: ResizeEffect) {
        if self.chance.one_in(self.loss) {
            return self.fail(life, effect);
        }
        let (attempt, pod) = match &effect {
            ResizeEffect::Ask { attempt, pod, .. }
            | ResizeEffect::Remember { attempt, pod, .. }
            | ResizeEffect::Evict { attempt, pod }
            | ResizeEffect::Read { attempt, pod } => (*attempt, pod.clone()),
            _ => return,
        };
        let outcome = match effect {
            ResizeEffect::Ask {
                version,
                remember,
                containers,
                ..
            } if self.supported && self.allowed => {
                let refused = remember.refused.clone();
                let decided = self.decided.get(&(life, attempt)).copied();
                match self.cluster.remember(&pod.uid, &version, Some(remember)) {
                    ResizeOutcome::Done => {
                        self.show(&pod.uid);
                        // What failed is tried again after a while, changed or not.
                        if let Some(refused) = refused.filter(|it| it.by != RefusedBy::Failure) {
                            let changes = decided.map_or(0, |it| it.changes);
                            self.refuse_since(&pod.uid, refused.sizes, true, changes);
                        }
                        // Half of those that break off do so between the two writes.
                        if self.chance.one_in(self.loss) {
                            return self.answer(life, attempt, &pod.uid, failed());
                        }
                        self.resize(&pod.uid, &containers, decided)
                    }
                    other => other,
                }
            }
            ResizeEffect::Ask { .. } if !self.supported => ResizeOutcome::Unsupported,
            ResizeEffect::Ask { .. } => ResizeOutcome::NotAllowed {
                message: "may not".into(),
            },
            ResizeEffect::Remember {
                version, remember, ..
            } => {
                let written = remember.as_ref().is_some_and(|it| it.refused.is_some());
                let outcome = self.cluster.remember(&pod.uid, &version, remember);
                if outcome == ResizeOutcome::Done {
                    if let Some(refusal) = self.refusals.get_mut(&pod.uid) {
                        refusal.written = written;
                    }
                    self.show(&pod.uid);
                }
                outcome
            }
            ResizeEffect::Evict { .. } => {
                self.evictions += 1;
                let node = self
                    .cluster
                    .pods
                    .get(&pod.uid)
                    .and_then(|it| it.pod.node.clone());
                let own = self.cluster.pods.get(&pod.uid).map(|it| it.own.clone());
                self.delete(&pod.uid);
                if let (Some(node), Some(own)) = (node, own) {
                    let name = format!("{}x", pod.name);
                    self.create_with(&name, &node, own["app"], 1000);
                }
                ResizeOutcome::Done
            }
            _ if self.cluster.pods.contains_key(&pod.uid) => ResizeOutcome::Done,
            _ => ResizeOutcome::Gone,
        };
        self.answer(life, attempt, &pod.uid, outcome);
    }

    fn resize(
        &mut self,
        uid: &Arc<str>,
        containers: &[ContainerResize],
        decided: Option<Decided>,
    ) -> ResizeOutcome {
        let before = self.cluster.pods[uid].clone();
        assert!(
            !before.foreign,
            "{uid} is another's, and was asked for {containers:?}"
        );
        let mut asked = specified(&before.pod);
        for container in containers {
            asked.insert(container.name.clone(), container.resources);
        }
        *self.asks.entry(uid.clone()).or_default() += 1;
        let changes = self.changes.get(uid).copied().unwrap_or_default();
        if let Some(refusal) = self.refusals.get(uid) {
            assert!(
                refusal.sizes != asked || refusal.changes != changes,
                "{uid} is asked again at {} for {asked:?}, though nothing changed",
                self.now
            );
        }
        let outcome = self.cluster.resize(uid, containers);
        match &outcome {
            ResizeOutcome::Refused { .. } => {
                // It counts once the operator knows.
                let changes = u64::MAX;
                self.refusals.insert(
                    uid.clone(),
                    Refusal {
                        sizes: asked,
                        changes,
                        written: false,
                    },
                );
            }
            ResizeOutcome::Done => {
                self.show(uid);
                let at = decided.map_or(self.now, |it| it.at);
                let starting = decided.is_some_and(|it| it.starting);
                let (old, new) = (
                    &specified(&before.pod)["app"].requests,
                    &asked["app"].requests,
                );
                let gives_back = new.cpu <= old.cpu && new.memory <= old.memory;
                let helped = self.asked.get(uid).is_some_and(|it| it.starting);
                let apart = starting || helped && gives_back;
                let asked = Asked {
                    at,
                    starting,
                    apart,
                };
                self.asked.insert(uid.clone(), asked);
                self.check_waves();
            }
            _ => {}
        }
        outcome
    }

    fn check_waves(&self) {
        let under_way = self
            .cluster
            .pods
            .values()
            .filter(|it| self.is_under_way(it))
            .count();
        assert!(
            under_way <= self.most,
            "{under_way} pods are under way at {}, not {}",
            self.now,
            self.most
        );
    }

    /// As the cluster has it, whatever the operator takes it for.
    fn is_under_way(&self, stored: &Stored) -> bool {
        let Some(asked) = self.asked.get(&stored.pod.uid) else {
            return false;
        };
        let infeasible = stored
            .pod
            .pending
            .as_ref()
            .is_some_and(|it| it.why == PendingReason::Infeasible);
        !asked.apart
            && !stored.foreign
            && !infeasible
            && specified(&stored.pod) != actual(&stored.pod)
            && self.now < asked.at + PATIENCE
    }

    fn fail(&mut self, life: u32, effect: ResizeEffect) {
        let attempt = match effect {
            ResizeEffect::Ask { attempt, .. }
            | ResizeEffect::Remember { attempt, .. }
            | ResizeEffect::Evict { attempt, .. }
            | ResizeEffect::Read { attempt, .. } => attempt,
            _ => return,
        };
        // Some get no answer at all.
        if self.chance.one_in(2) {
            let event = ResizeEvent::Answered {
                attempt,
                seen: None,
                outcome: failed(),
            };
            self.messages
                .push_back((self.now, Message::ToEngine(life, event)));
        }
    }

    fn answer(&mut self, life: u32, attempt: u64, uid: &Arc<str>, outcome: ResizeOutcome) {
        // Carried out, and the answer lost: with an error, or without.
        let lost = self.chance.one_in(self.loss);
        if lost && self.chance.one_in(2) {
            return;
        }
        let (seen, outcome) = match lost {
            true => (None, failed()),
            false => (
                self.cluster
                    .pods
                    .get(uid)
                    .map(|it| Box::new(it.pod.clone())),
                outcome,
            ),
        };
        let at = self.now + self.chance.below(self.latency);
        let event = ResizeEvent::Answered {
            attempt,
            seen,
            outcome,
        };
        self.messages
            .push_back((at, Message::ToEngine(life, event)));
    }
}

fn failed() -> ResizeOutcome {
    ResizeOutcome::Failed {
        message: "connection reset".into(),
        retry_after: None,
    }
}
