//! What external metrics are served, and how the replica that leads tells them to the others.
//!
//! A [`Store`] holds what is served of each object, and [`Reads`] answers HPAs from it, the same in every process. One [`Writer`] at a time
//! fills it: in the replica that leads the operator, with its own readings; in any other a [`Follower`], with what the leader's
//! [`Teller`] tells it.

mod changes;
mod connect;
mod counts;
mod follower;
#[cfg(test)]
mod interleavings;
mod lock;
mod messages;
mod moment;
mod readiness;
mod readings;
mod reads;
mod store;
mod teller;
mod telling;
mod wishes;

pub use counts::{Counted, Counts};
pub use follower::Follower;
pub use moment::Moment;
pub use readings::{Failure, Latest, ObjectReadings, Slot, Taken};
pub use reads::Reads;
pub use store::{Served, State, Store, Writer};
pub use teller::Teller;
pub use wishes::Listening;

/// The messages and services of `proto/`: one module for each package.
#[allow(clippy::all, missing_docs)]
mod generated {
    tonic::include_proto!("all");
}

/// KEDA's services.
pub use generated::api as keda;
/// Kubernetes' external metrics, which KEDA's services answer with.
pub use generated::k8s::io::metrics::pkg::apis::external_metrics::v1beta1 as external_metrics;
/// Between replicas.
pub use generated::sakidori::values::v1 as wire;
