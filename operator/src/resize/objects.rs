//! What ScaledObjects ask for: whose pods are resized, and whose are put back for the last time.

use std::sync::Arc;

use kube::{Resource as _, ResourceExt};
use sakidori_api::ScaledObject;
use sakidori_engine::resize::Settings;
use sakidori_engine::{Event, ObjectKey};
use tokio::sync::oneshot;

use super::control::{Control, Message};
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
        // Those of another object of this name, and those of another target that this one had.
        self.end_all(key, |workload| {
            workload.uid != uid || !same_target(&workload.target, target)
        });
        if concerns(object) && self.is_anothers(key, object) {
            return self.leave(key, object);
        }
        match object.resize_settings() {
            Ok(Some(settings)) => self.want(key, object, settings),
            Ok(None) if concerns(object) => {
                // Said by the condition: a process before this one had not put all back.
                self.find_or_make(key, object);
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
        let id = self.find_or_make(key, object);
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

    /// The workload that the object has now.
    fn find_or_make(&mut self, key: &ObjectKey, object: &ScaledObject) -> WorkloadId {
        let uid = object.uid().unwrap_or_default();
        let target = &object.spec.scale_target_ref;
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
        let reason = resized_reason(object).map(str::to_owned);
        workload.telling.remember(reason);
        self.workloads.insert(id.clone(), workload);
        id
    }

    /// Puts the finalizer on the object, then follows its pods: nothing is resized that a deletion would not take back.
    fn hold(&mut self, id: &WorkloadId, object: &Arc<ScaledObject>) {
        if Finalizer::holds(object) {
            return self.follow(id);
        }
        let (around, sender) = (self.around.clone(), self.sender.clone());
        let (key, id) = (id.key.clone(), id.clone());
        self.around.tasks.spawn(async move {
            let objects = around.objects.clone();
            let current = || objects.object(&key);
            if around.finalizer.hold(current).await {
                sender.send(Message::Held(id));
            }
        });
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
        if self.is_taken_over(key, object) {
            self.let_go(key, object);
        } else {
            self.find_or_make(key, object);
        }
        self.end_all(key, |_| true);
        self.release_waiting(key);
    }
}
