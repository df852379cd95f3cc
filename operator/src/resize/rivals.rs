//! Several ScaledObjects on one target: its pods are resized for the one that it belongs to. The others leave them alone; also those that are
//! deleted, whose going back would undo what the owner asks for.

use kube::ResourceExt;
use sakidori_api::{ScaleTargetRef, ScaledObject};
use sakidori_engine::{Event, ObjectKey};

use super::control::Control;
use super::workload::{Workload, WorkloadId};
use crate::hpa_index::scales;
use crate::target::same_target;

impl Control {
    /// The object's target belongs to another object.
    pub(super) fn is_anothers(&self, key: &ObjectKey, object: &ScaledObject) -> bool {
        self.owner_instead(key, object).is_some()
    }

    /// The pods of the object's target are left to the other object that it belongs to; but what one that resizes nothing has of this one's
    /// pods, nobody else would put back.
    pub(super) fn is_left(&self, key: &ObjectKey, object: &ScaledObject) -> bool {
        let Some(owner) = self.owner_instead(key, object) else {
            return false;
        };
        let resizes = |object: &ScaledObject| object.in_place_resize().is_some();
        let owner = || self.around.objects.object(&owner);
        resizes(object) || owner().is_some_and(|owner| resizes(&owner))
    }

    /// The other object that the object's target belongs to.
    fn owner_instead(&self, key: &ObjectKey, object: &ScaledObject) -> Option<ObjectKey> {
        let target = &object.spec.scale_target_ref;
        let has_hpa = |name: &ObjectKey, object: &ScaledObject| {
            let hpas = self
                .around
                .hpas
                .owned_by(name, object.metadata.uid.as_deref());
            hpas.iter().any(|hpa| scales(hpa, target))
        };
        let winner = self.around.objects.winner(key, object, has_hpa)?;
        Some(ObjectKey::new(&*key.namespace, winner))
    }

    /// The object is resized now and may not be, or the other way round.
    pub(super) fn owner_found(&mut self, key: &ObjectKey) {
        let Some(object) = self.around.objects.object(key) else {
            return;
        };
        if object.in_place_resize().is_none() {
            return;
        }
        let ids = self.ids_of(key);
        let mut known = ids.iter().filter_map(|id| self.workloads.get(id));
        let resizes = known.any(|workload| workload.wanted);
        if resizes == self.is_anothers(key, &object) {
            self.applied(key, &object);
        }
    }

    /// Leaves the pods of the object's target alone, as they are.
    pub(super) fn leave(&mut self, key: &ObjectKey, object: &ScaledObject) {
        if self.ids_of(key).is_empty() {
            return self.show_nothing(key, object);
        }
        self.let_go(key, &object.spec.scale_target_ref);
    }

    /// No pods are resized for the object: nothing is shown of it and, where it asks for none, nothing is kept.
    pub(super) fn show_nothing(&self, key: &ObjectKey, object: &ScaledObject) {
        self.around.metrics.forget_resize(key);
        self.around.events.send(Event::ResizeObserved {
            key: key.clone(),
            condition: None,
        });
        if object.in_place_resize().is_some() {
            return;
        }
        let (around, key) = (self.around.clone(), key.clone());
        let status = self.status_of(&key, object);
        self.around.tasks.spawn(async move {
            status.forget_all().await;
            let objects = around.objects.clone();
            around.finalizer.release(|| objects.object(&key)).await;
        });
    }

    /// Leaves the pods of targets alone that the object had before and another object has by now.
    pub(super) fn let_go_of_former(&mut self, key: &ObjectKey, target: &ScaleTargetRef) {
        for id in self.ids_of(key) {
            let workload = self.workloads.get(&id);
            let former = workload.filter(|it| !same_target(&it.target, target));
            if former.is_some_and(|it| self.is_taken_over(key, &it.target)) {
                self.finished(&id);
            }
        }
    }

    pub(super) fn let_go(&mut self, key: &ObjectKey, target: &ScaleTargetRef) {
        for id in self.ids_of(key) {
            let workload = self.workloads.get(&id);
            if workload.is_some_and(|it| same_target(&it.target, target)) {
                self.finished(&id);
            }
        }
    }

    /// Another object has the target's pods resized already.
    pub(super) fn is_taken_over(&self, key: &ObjectKey, target: &ScaleTargetRef) -> bool {
        let mut others = self.others_on(key, target);
        others.any(|(_, workload)| workload.wanted)
    }

    /// What another object had on the same target, and is putting back, is this object's from now on; also where that had this one's name.
    pub(super) fn take_over(&mut self, key: &ObjectKey, object: &ScaledObject) {
        let own = self.ids_of(key);
        let uid = object.uid();
        let target = &object.spec.scale_target_ref;
        let mut known = own.iter().filter_map(|id| self.workloads.get(id));
        if known.any(|it| Some(&it.uid) == uid.as_ref() && same_target(&it.target, target)) {
            return;
        }
        let others = self.others_on(key, target);
        let ending = others.filter(|(_, workload)| !workload.wanted);
        let mut ending: Vec<_> = ending.map(|(id, _)| id.clone()).collect();
        ending.extend(own.into_iter().filter(|id| {
            let workload = self.workloads.get(id);
            workload.is_some_and(|it| same_target(&it.target, target))
        }));
        for id in ending {
            self.finished(&id);
        }
    }

    /// Workloads of other objects with this target.
    fn others_on(
        &self,
        key: &ObjectKey,
        target: &ScaleTargetRef,
    ) -> impl Iterator<Item = (&WorkloadId, &Workload)> {
        let first = WorkloadId {
            key: ObjectKey::new(&*key.namespace, ""),
            number: 0,
        };
        let of_namespace = self.workloads.range(first..);
        let of_namespace = of_namespace.take_while(|(id, _)| id.key.namespace == key.namespace);
        of_namespace
            .filter(move |(id, workload)| id.key != *key && same_target(&workload.target, target))
    }

    /// Whoever waits for the pods of an object need not any more, where none are put back.
    pub(super) fn release_waiting(&mut self, key: &ObjectKey) {
        if self.ids_of(key).is_empty() {
            for waiting in self.waiting.remove(key).into_iter().flatten() {
                let _ = waiting.send(());
            }
        }
    }
}
