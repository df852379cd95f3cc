//! In-place pod resize: pods get more CPU and memory while a policy holds, and go back after, without being replaced.
//!
//! ```text
//!              asked                node takes it on         carried out
//!  Template ----------> UnderWay ------------------------------------------> Resized
//!     ^                    |  no room now      > Deferred --- 5 minutes ---> back
//!     |                    |  never any room   > Infeasible (left, or evicted)
//!     |                    |  node fails       > Failed ----- 1 minute ----> back, and again later
//!     |                    |  API server says no > Refused (left until something changes)
//!     +-------- back ------+------------------------------------------------ no policy holds
//! ```
//!
//! [`Resizing`] is a state machine without IO for the pods of one ScaledObject: [`ResizeEvent`]s go in, [`ResizeEffect`]s come
//! out. All that it has to know after a restart stands on the pods: their conditions, and an annotation that is written
//! before a pod is first asked ([`Remembered`]). A pod whose resources are neither its own nor what it was asked for is
//! another actor's, and is left alone until they are one of these again; so is one whose annotation can't be read, or can't be
//! of this pod. A pod's own resources are those that it had before it was first asked: where the template changes meanwhile,
//! new pods have the new ones, and old pods go back to the old.
//!
//! # Waves
//!
//! At most `maxConcurrent` pods are under way at a time: asked, and not carried out, for 5 minutes at most. Two kinds don't
//! count, and don't wait for others: a pod that was never Ready serves nobody, whom a resize could disturb; and a pod that
//! gives back what helped it to start only gives back. One that is to get more of anything waits for its place.
//!
//! # Starting
//!
//! A pod starts until it is Ready for the first time, however long that takes, and however often its containers crash
//! meanwhile: the policy sets no time. It starts as well if it was created before the policy was there. It is asked as soon as
//! its kubelet has taken it in (before that, a pod that doesn't fit would fail), and gives back as soon as it is seen Ready. A
//! pod that loses its readiness does not start again.
//!
//! # What is not asked for again
//!
//! What a pod was refused, it is not asked for again until something changed that may make a difference; it is left at its own
//! resources till then (asked for in vain, where its node says Infeasible). That it was refused stands in its annotation, so that a restart is no change. A change is, whoever
//! refused it ([`RefusedBy`]):
//!
//! - that the policies, or those that hold, make something else of the pod; where none holds, the refusal is forgotten;
//! - [`ResizeEvent::Reconsider`], and that the object ends ([`ResizeEvent::Ended`]): the last chance.
//!
//! And besides:
//!
//! | refused by | a change is |
//! |---|---|
//! | `Room`: deferred for 5 minutes, and taken back | the object's other pods on its node request less of something than they did then |
//! | `Node`: infeasible, or larger than the node's capacity | nothing else |
//! | `Admission`: LimitRange, ResourceQuota, a webhook | the object's other pods request less of something than they did then, on any node |
//! | `Failure`: the node failed at it for a minute | time: 1 minute, and twice as long each time in a row, up to 32 |
//!
//! What other objects' pods request is not seen here; whoever sees room come tells with [`ResizeEvent::Reconsider`].
//!
//! Requests of which nobody knows what became (no answer within a minute, a conflict, a 5xx) are no refusals: the pod is read,
//! and asked again where it has to be, later each time after errors.
//!
//! # Memory
//!
//! A memory limit is not lowered below what is known to be used; the rest goes back, and the limit follows once less is used.
//! Where the use isn't known, the kubelet looks; if it fails at it for a minute, the limit is kept, and tried again after the
//! times above. Where the API server refuses to lower it (before Kubernetes 1.34), it is kept for as long as the pod lives.
//!
//! # Pauses, and the end
//!
//! While the object is paused, nothing is asked, evicted or written; what is under way goes on, and pods stay as they are.
//! [`ResizeEvent::Ended`] goes on regardless: all pods go back, in waves. [`ResizeEffect::Finished`] comes once each of them is
//! back, or has got as far as it will: one whose memory is in use, and a cluster in which nothing can be resized, are waited
//! for 5 minutes. A pod that keeps memory then keeps its annotation, too: another ScaledObject can bring it back.
//!
//! # Evictions
//!
//! With `onInfeasible: Evict`, pods that no node of theirs can ever hold are evicted, as many at a time as a wave is large,
//! once: if a pod that came after can't have it either, it stays. That is not remembered over a restart.

mod amount;
mod asking;
mod condition;
mod deciding;
mod judge;
mod message;
mod pod;
mod policy;
mod record;
mod remembered;
mod report;
mod resizing;
mod resources;
mod target;
#[cfg(test)]
mod tests;
mod verdict;
mod waves;

pub use amount::{Amount, ParseAmountError};
pub use message::{ContainerResize, PodRef, Refusal, ResizeEffect, ResizeEvent, ResizeOutcome};
pub use pod::{Container, ContainerKind, InProgress, Pending, PendingReason, Pod, Qos};
pub use policy::{
    Holding, MaxConcurrent, OnInfeasible, ParseMaxConcurrentError, Policy, Settings, When,
};
pub use remembered::{Memory, MemoryKept, REMEMBERED_ANNOTATION, Refused, RefusedBy, Remembered};
pub use report::{Decision, PodState, Report, ResizeResult};
pub use resizing::Resizing;
pub use resources::{Resource, ResourceList, Resources, Sizes};
pub use target::{Skipped, SkippedBecause};
