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
//! another actor's, and is left alone.
//!
//! At most `maxConcurrent` pods are under way at a time: asked, and not carried out. Two kinds don't count, and don't wait
//! for others: a pod that was never Ready serves nobody, whom a resize could disturb; and a pod that gives back what helped
//! it to start only gives back.

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
pub use message::{ContainerResize, PodRef, ResizeEffect, ResizeEvent, ResizeOutcome};
pub use pod::{Container, ContainerKind, InProgress, Pending, PendingReason, Pod, Qos};
pub use policy::{
    Holding, MaxConcurrent, OnInfeasible, ParseMaxConcurrentError, Policy, Settings, When,
};
pub use remembered::{Memory, MemoryKept, REMEMBERED_ANNOTATION, Refused, RefusedBy, Remembered};
pub use report::{Decision, PodState, Report, ResizeResult};
pub use resizing::Resizing;
pub use resources::{Resource, ResourceList, Resources, Sizes};
pub use target::{Skipped, SkippedBecause};
