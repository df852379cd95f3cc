//! In-place resize of pods: turns what is seen of ScaledObjects, their HPAs and their pods into events of the engine's
//! [`Resizing`](sakidori_engine::resize::Resizing), and carries out what it asks for.
//!
//! It has a loop of its own beside the engine's: what a thousand pods do is no business of those who poll and scale, and an object's pods
//! are looked after beyond the object: those of a ScaledObject that is being deleted go back before its finalizer is removed. The loop
//! (`control.rs`) owns all state; what objects ask for is in `objects.rs`, what is done about it in `effects.rs`. Who follows pods
//! (`follow.rs`) and who asks the API server (`requests.rs`) are tasks that answer with a message.

mod control;
mod effects;
mod follow;
mod foresight;
mod objects;
mod outcome;
mod pod;
mod requests;
mod resized_targets;
mod rivals;
mod room;
mod tell;
mod usage;
mod workload;

use sakidori_api::ScaledObject;
use sakidori_engine::{ConditionType, ObjectKey};
use tokio::sync::{mpsc, oneshot};

use crate::hpa_index::Saturation;
use control::Message;

pub use control::{Around, run};

/// Tells the loop what happens. Cheap to clone.
#[derive(Clone)]
pub struct Resizer(mpsc::UnboundedSender<Message>);

impl Resizer {
    /// The receiver is for [`run`].
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// A ScaledObject appeared, or changed in any way.
    pub fn applied(&self, key: &ObjectKey, object: std::sync::Arc<ScaledObject>) {
        self.send(Message::Applied {
            key: key.clone(),
            object,
        });
    }

    /// A ScaledObject is gone, or is being deleted.
    pub fn deleted(&self, key: &ObjectKey) {
        self.send(Message::Deleted { key: key.clone() });
    }

    /// Whether a sale holds now; `None` while a pause leaves that open.
    pub fn sale(&self, key: &ObjectKey, holds: Option<bool>) {
        self.send(Message::Sale {
            key: key.clone(),
            holds,
        });
    }

    /// It was looked whose the object's target is.
    pub fn owner_found(&self, key: &ObjectKey) {
        self.send(Message::OwnerFound { key: key.clone() });
    }

    /// Whether the object's HPA wants more replicas than it may have.
    pub fn saturated(&self, key: &ObjectKey, saturation: Saturation) {
        self.send(Message::Saturated {
            key: key.clone(),
            saturation,
        });
    }

    /// Puts back the pods of an object that is being deleted, those of targets that it had before, too. True when they are, or can't be;
    /// false where the end of the term comes first: the next term has to do it.
    pub async fn put_back(&self, key: &ObjectKey, object: ScaledObject) -> bool {
        if !concerns(&object) {
            return true;
        }
        let (done, is_done) = oneshot::channel();
        self.send(Message::PutBack {
            key: key.clone(),
            object: Box::new(object),
            done,
        });
        is_done.await.is_ok()
    }

    /// After the loop's end messages go nowhere, which is what a shutdown wants.
    fn send(&self, message: Message) {
        let _ = self.0.send(message);
    }
}

/// Whether pods of the object are resized, or have been and may still have to go back.
pub fn concerns(object: &ScaledObject) -> bool {
    let asked_for = object.in_place_resize().is_some();
    asked_for || resized_reason(object).is_some() || !resized_targets::of(object).is_empty()
}

/// The reason of the condition `Resized` that the object's status has. The condition stays until all pods are back: it is what a restart
/// knows of an object that asks for nothing any more.
fn resized_reason(object: &ScaledObject) -> Option<&str> {
    let status = object.status.as_ref()?;
    let mut conditions = status.conditions.iter();
    let resized = conditions.find(|one| one.type_ == ConditionType::Resized.as_str())?;
    Some(&resized.reason)
}
