//! What ScaledObjects ask for: whose pods are resized, and whose are put back for the last time.

use std::sync::Arc;

use kube::{Resource as _, ResourceExt};
use sakidori_api::{ScaleTargetRef, ScaledObject};
use sakidori_engine::resize::Settings;
use sakidori_engine::{Event, ObjectKey};
use tokio::sync::oneshot;

use super::control::{Control, Message};
use super::resized_targets::{self, Writer};
use super::workload::{Workload, WorkloadId};
use super::{concerns, resized_reason, tell};
use crate::deletion::Finalizer;
use crate::hpa_index::saturation;
use crate::sales;
use crate::target::same_target;

impl Control {
    pub(super) fn applied(&mut self, key: &ObjectKey, object: &Arc<ScaledObject>) {
        let uid = object.uid().unwrap_or_default();
        let target = &object.spec.scale_target_ref;
        let ids = self.ids_of(key);
        let mut known = ids.iter().filter_map(|id| self.workloads.get(id));
        if known.any(|workload| workload.uid != uid) {
            self.sales.remove(key);
        }
        self.gave_up.remove(&(key.clone(), uid.clone()));
        self.let_go_of_former(key, target);
        // Those of another object of this name, and those of another target that this one had.
        self.end_all(key, |workload| {
            workload.uid != uid || !same_target(&workload.target, target)
        });
        self.end_former(key, object);
        if concerns(object) && self.is_left(key, object) {
            return self.leave(key, object);
        }
        match object.resize_settings() {
            Ok(Some(settings)) => self.want(key, object, settings),
            Ok(None) if concerns(object) => {
                // Said by the condition: a process before this one had not put all back.
                self.find_or_make(key, object, target);
                self.end_all(key, |_| true);
            }
            Ok(None) => self.end_all(key, |_| true),
            Err(problems) => self.misunderstand(key, object, &problems.join("; ")),
        }
    }

    /// It may be told before the workload is there, and is not told again when another takes its place within a sale.
    pub(super) fn sale(&mut self, key: &ObjectKey, holds: Option<bool>) {
        if self.around.objects.object(key).is_none() {
            return;
        }
        match holds {
            Some(holds) => self.sales.insert(key.clone(), holds),
            None => self.sales.remove(key),
        };
        self.each(key, |workload, now| workload.sale(now, holds));
    }

    /// Resizes the object's pods from now on.
    fn want(&mut self, key: &ObjectKey, object: &Arc<ScaledObject>, settings: Settings) {
        self.take_over(key, object);
        let id = self.find_or_make(key, object, &object.spec.scale_target_ref);
        let paused = object.pause().is_some();
        let holds = match sales::has_sales(object) {
            true => self.sales.get(key).copied(),
            false => Some(false),
        };
        let uid = object.metadata.uid.as_deref();
        let hpas = self.around.hpas.owned_by(key, uid);
        let saturation = hpas.iter().find_map(|hpa| saturation(hpa));
        self.with(&id, |workload, now| {
            let mut effects = workload.pause(now, paused);
            effects.extend(workload.want(now, settings));
            if let Some(saturation) = saturation {
                effects.extend(workload.saturated(now, saturation));
            }
            if holds.is_some() {
                effects.extend(workload.sale(now, holds));
            }
            effects
        });
        self.hold(&id, object);
    }

    /// Policies that can't be understood take nothing back: those of before go on.
    fn misunderstand(&mut self, key: &ObjectKey, object: &ScaledObject, problems: &str) {
        let uid = object.uid().unwrap_or_default();
        let ids = self.ids_of(key);
        let mut known = ids.iter().filter_map(|id| self.workloads.get(id));
        let known = known.any(|it| it.wanted && it.uid == uid);
        let condition = tell::invalid(problems, known);
        let paused = object.pause().is_some();
        self.each(key, |workload, now| {
            if !workload.wanted || workload.uid != uid {
                return Vec::new();
            }
            workload.invalid = Some(problems.to_owned());
            workload.pause(now, paused)
        });
        let condition = Some(condition);
        let key = key.clone();
        self.around
            .events
            .send(Event::ResizeObserved { key, condition });
    }

    /// The object's workload of this target.
    fn find_or_make(
        &mut self,
        key: &ObjectKey,
        object: &ScaledObject,
        target: &ScaleTargetRef,
    ) -> WorkloadId {
        let uid = object.uid().unwrap_or_default();
        let known = self.ids_of(key).into_iter().find(|id| {
            let workload = self.workloads.get(id);
            workload.is_some_and(|it| it.uid == uid && same_target(&it.target, target))
        });
        if let Some(known) = known {
            return known;
        }
        self.numbers += 1;
        let id = WorkloadId {
            key: key.clone(),
            number: self.numbers,
        };
        let reference = object.object_ref(&());
        let mut workload = Workload::new(uid, target.clone(), reference);
        if same_target(target, &object.spec.scale_target_ref) {
            let reason = resized_reason(object).map(str::to_owned);
            workload.telling.remember(reason);
        }
        self.workloads.insert(id.clone(), workload);
        id
    }

    /// Puts the finalizer on the object and its target into its status, then follows its pods: nothing is resized that a deletion, or
    /// another target after a restart, would not take back.
    fn hold(&mut self, id: &WorkloadId, object: &Arc<ScaledObject>) {
        let target = object.spec.scale_target_ref.clone();
        if Finalizer::holds(object) && resized_targets::has(object, &target) {
            return self.follow(id);
        }
        let (around, sender) = (self.around.clone(), self.sender.clone());
        let (id, status) = (id.clone(), self.status_of(&id.key, object));
        self.around.tasks.spawn(async move {
            let objects = around.objects.clone();
            let current = || objects.object(&id.key);
            if around.finalizer.hold(current).await && status.remember(&target).await {
                sender.send(Message::Held(id));
            }
        });
    }

    /// Puts back the pods of targets that the object had before: a process before this one may have been told of the change, or none.
    fn end_former(&mut self, key: &ObjectKey, object: &Arc<ScaledObject>) {
        for target in resized_targets::former(object) {
            if self.is_taken_over(key, &target) {
                self.forget_target(key, object, &target);
            } else {
                let id = self.find_or_make(key, object, &target);
                self.end(&id);
            }
        }
    }

    /// The pods of a target are back, or another object's.
    pub(super) fn forget_target(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        target: &ScaleTargetRef,
    ) {
        if !resized_targets::has(object, target) {
            return;
        }
        let (status, target) = (self.status_of(key, object), target.clone());
        let forget = async move { status.forget(&target).await };
        self.around.tasks.spawn(forget);
    }

    pub(super) fn status_of(&self, key: &ObjectKey, object: &ScaledObject) -> Writer {
        Writer {
            client: self.around.client.clone(),
            gate: self.statuses.clone(),
            key: key.clone(),
            uid: object.uid().unwrap_or_default(),
        }
    }

    /// Puts back the pods of all workloads of a key that `which` picks.
    pub(super) fn end_all(&mut self, key: &ObjectKey, which: impl Fn(&Workload) -> bool) {
        for id in self.ids_of(key) {
            if self.workloads.get(&id).is_some_and(&which) {
                self.end(&id);
            }
        }
    }

    fn end(&mut self, id: &WorkloadId) {
        self.follow(id);
        self.with(id, Workload::end);
    }

    pub(super) fn put_back(
        &mut self,
        key: &ObjectKey,
        object: &ScaledObject,
        done: oneshot::Sender<()>,
    ) {
        self.waiting.entry(key.clone()).or_default().push(done);
        let mut targets = resized_targets::former(object);
        targets.push(object.spec.scale_target_ref.clone());
        for target in &targets {
            if self.is_taken_over(key, target) {
                self.let_go(key, target);
            } else {
                self.find_or_make(key, object, target);
            }
        }
        self.end_all(key, |_| true);
        self.release_waiting(key);
    }
}
