//! Carries out what state machines ask for.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use sakidori_api::ScaledObject;
use sakidori_engine::Event;
use sakidori_engine::condition_reasons as reasons;
use sakidori_engine::resize::{Report, ResizeEffect, ResizeEvent, ResizeOutcome};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::control::{Control, Message};
use super::follow::Follower;
use super::foresight;
use super::requests::{Answer, Pods};
use super::room::{self, Room};
use super::tell::Line;
use super::workload::WorkloadId;
use crate::events;
use crate::target::same_target;

/// All requests of one effect together. Shorter than the engine waits for the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Floors go first: new pods take longer than a resize. But not for ever.
const FLOORS_GO_FIRST: Duration = Duration::from_secs(1);
/// Pods in one look of whose memory nobody tells: then nobody is there who would.
const MOST_UNKNOWN: usize = 5;

impl Control {
    pub(super) fn follow(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        if workload.following.is_some() {
            return;
        }
        let follower = Follower {
            client: self.around.client.clone(),
            targets: self.around.targets.clone(),
            namespace: id.key.namespace.to_string(),
            reference: workload.target.clone(),
            used: self.used.clone(),
        };
        let (sender, id) = (self.sender.clone(), id.clone());
        let follow = follower.run({
            let id = id.clone();
            move |event| sender.send(Message::Of(id.clone(), event))
        });
        workload.following = Some(AbortOnDropHandle::new(tokio::spawn(follow)));
        self.foresee(&id, None);
    }

    /// Looks, in a task, whether there is room for pods that were refused, and what memory is in use where it is kept up. As long as
    /// that is so it looks again and again.
    pub(super) fn look(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        if !workload.is_in_trouble() {
            (workload.looking, workload.room) = (None, None);
            return;
        }
        let (client, sender) = (self.around.client.clone(), self.sender.clone());
        let namespace = id.key.namespace.to_string();
        let (nodes, kept, id) = (workload.nodes(), workload.memory_in_use(), id.clone());
        let looks = self.looks.clone();
        let pods = Pods::new(client.clone(), &namespace, self.used.clone());
        workload.looking = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let look = Room::look(&client, &namespace, &nodes);
            let room = looks.pass(look).await;
            sender.send(Message::Looked(id.clone(), room));
            let mut unknown = 0;
            for pod in &kept {
                let Some(seen) = pods.look_at_memory(pod).await else {
                    unknown += 1;
                    if unknown < MOST_UNKNOWN {
                        continue;
                    }
                    break;
                };
                // News of a pod that is known, and none of one that has gone meanwhile: as an answer that nobody waits for.
                let event = ResizeEvent::Answered {
                    attempt: 0,
                    seen: Some(Box::new(seen)),
                    outcome: ResizeOutcome::Done,
                };
                sender.send(Message::Of(id.clone(), event));
            }
            sleep(room::LOOK_EVERY).await;
            sender.send(Message::Look(id));
        })));
    }

    pub(super) fn looked(&mut self, id: &WorkloadId, room: Room) {
        self.with(id, |workload, now| {
            let before = workload.room.take().unwrap_or_default();
            let has_grown = room.has_grown_since(&before);
            workload.room = Some(before.updated(room));
            match has_grown {
                true => workload.handle(now, ResizeEvent::Reconsider),
                false => Vec::new(),
            }
        });
    }

    pub(super) fn carry_out(&mut self, id: &WorkloadId, now: Timestamp, effect: ResizeEffect) {
        match effect {
            ResizeEffect::Ask {
                attempt,
                pod,
                version,
                remember,
                containers,
            } => {
                // One that starts is not to wait; its boost is over in seconds.
                let stands_back = remember.in_wave;
                self.ask(id, attempt, stands_back, |pods| async move {
                    pods.resize(&pod, &version, &remember, &containers).await
                });
            }
            ResizeEffect::Remember {
                attempt,
                pod,
                version,
                remember,
            } => self.ask(id, attempt, true, |pods| async move {
                pods.remember(&pod, &version, remember.as_ref()).await
            }),
            ResizeEffect::Evict { attempt, pod } => {
                self.ask(
                    id,
                    attempt,
                    true,
                    |pods| async move { pods.evict(&pod).await },
                );
            }
            ResizeEffect::Read { attempt, pod } => {
                self.ask(
                    id,
                    attempt,
                    false,
                    |pods| async move { pods.read(&pod).await },
                );
            }
            ResizeEffect::Tell(decision) => {
                self.around.metrics.count_resize(&id.key, decision.result);
                if let Some(workload) = self.workloads.get_mut(id) {
                    let line = workload.telling.decided(now, &decision);
                    self.tell(id, line);
                }
            }
            ResizeEffect::Show(report) => self.show(id, report),
            ResizeEffect::Finished => self.finished(id),
        }
    }

    /// Asks the API server in a task of its own, whose answer is a message.
    fn ask<F>(
        &self,
        id: &WorkloadId,
        attempt: u64,
        stands_back: bool,
        request: impl FnOnce(Pods) -> F,
    ) where
        F: Future<Output = Answer> + Send + 'static,
    {
        let (around, requests) = (self.around.clone(), self.requests.clone());
        let (sender, id) = (self.sender.clone(), id.clone());
        let pods = Pods::new(around.client.clone(), &id.key.namespace, self.used.clone());
        let request = request(pods);
        let tasks = self.around.tasks.clone();
        tasks.spawn(async move {
            if stands_back {
                around.bounds.quiet(FLOORS_GO_FIRST).await;
            }
            let answer = requests.pass(timeout(ANSWER_WITHIN, request)).await;
            let answer = answer.unwrap_or_else(|_| Answer {
                seen: None,
                outcome: ResizeOutcome::Failed {
                    message: "the API server did not answer in time".to_owned(),
                    retry_after: None,
                },
            });
            let Answer { seen, outcome } = answer;
            let event = ResizeEvent::Answered {
                attempt,
                seen: seen.map(Box::new),
                outcome,
            };
            sender.send(Message::Of(id, event));
        });
    }

    /// Notes how far an object's pods are.
    fn show(&mut self, id: &WorkloadId, report: Report) {
        let is_shown = self.is_shown(id);
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let is_stopped = [reasons::RESIZE_UNSUPPORTED, reasons::RESIZE_NOT_ALLOWED];
        if !is_stopped.contains(&report.condition.reason.as_str()) {
            workload.stops = 0;
        }
        let turned = workload.telling.turned(&report.condition);
        if is_shown {
            self.around.metrics.observe_resize(&id.key, &report);
        }
        workload.report = Some(report);
        let begins_to_look = workload.looking.is_none() && workload.is_in_trouble();
        if let Some(line) = turned {
            self.tell(id, line);
        }
        if begins_to_look {
            self.look(id);
        }
    }

    /// Of an object that has another target by now, that target's pods are shown.
    fn is_shown(&self, id: &WorkloadId) -> bool {
        let ids = self.ids_of(&id.key);
        let mut others = ids.iter().filter(|other| *other != id);
        let is_wanted = |id: &WorkloadId| self.workloads.get(id).is_some_and(|it| it.wanted);
        is_wanted(id) || !others.any(is_wanted)
    }

    /// Writes the condition, if it is time to.
    pub(super) fn show_condition(&mut self, id: &WorkloadId, now: Timestamp) {
        if !self.is_shown(id) {
            return;
        }
        let workload = self.workloads.get_mut(id);
        if let Some(condition) = workload.and_then(|workload| workload.take_unshown(now)) {
            self.around.events.send(Event::ResizeObserved {
                key: id.key.clone(),
                condition: Some(condition),
            });
        }
    }

    fn tell(&self, id: &WorkloadId, line: Line) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let reference = workload.object.clone();
        match line.is_event {
            true => self.around.publisher.tell(reference, line.told),
            false => events::log(&reference, &line.told),
        }
    }

    /// All pods of a workload are back, or can't be brought back.
    pub(super) fn finished(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.remove(id) else {
            return;
        };
        if let Some(planned) = workload.planned {
            self.agenda.remove(&(planned, id.clone()));
        }
        // It may be another object of this name by now.
        let object = self.around.objects.object(&id.key);
        let is_own = |object: &ScaledObject| object.uid().as_ref() == Some(&workload.uid);
        // What it gave up is tried again by the next process, or when the object changes.
        let gave_up = workload.resizing.gave_up();
        let own = (id.key.clone(), workload.uid.clone());
        if gave_up {
            self.gave_up.insert(own.clone());
        }
        if let Some(object) = object.as_ref().filter(|object| is_own(object) && !gave_up)
            && !same_target(&workload.target, &object.spec.scale_target_ref)
        {
            self.forget_target(&id.key, object, &workload.target);
        }
        if !self.ids_of(&id.key).is_empty() {
            return;
        }
        self.release_waiting(&id.key);
        let Some(object) = object else {
            return;
        };
        let is_over = match object.in_place_resize() {
            Some(_) => self.is_anothers(&id.key, &object),
            None => !self.gave_up.contains(&own) || !is_own(&object),
        };
        if is_over {
            self.show_nothing(&id.key, &object);
        }
    }

    /// Looks up again whether pods can be resized at all, after a request has shown that they can't: later each time, where what is looked up
    /// says otherwise.
    pub(super) fn look_ahead(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        // What is refused of one pod only, as its eviction, stops nothing.
        let is_looking = workload.foreseeing.as_ref();
        if !workload.resizing.is_stopped() || is_looking.is_some_and(|task| !task.is_finished()) {
            return;
        }
        let after = foresight::after_a_stop(workload.stops);
        workload.stops = workload.stops.saturating_add(1);
        self.foresee(id, Some(after));
    }

    fn foresee(&mut self, id: &WorkloadId, after_a_stop: Option<Duration>) {
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let (sender, id) = (self.sender.clone(), id.clone());
        let (foresight, namespace) = (self.foresight.clone(), id.key.namespace.to_string());
        let tell = move |event| sender.send(Message::Of(id.clone(), event));
        let look = foresight.run(namespace, after_a_stop, tell);
        workload.foreseeing = Some(AbortOnDropHandle::new(tokio::spawn(look)));
    }
}
