//! What external metrics are served, and how the replica that leads tells them to the others.
//!
//! A [`Store`] holds what is served of each object, and [`Reads`] answers HPAs from it, the same in every process. One [`Writer`] at a time
//! fills it: in the replica that leads the operator, with its own readings; in any other a [`Follower`], with what the leader's
//! [`Teller`] tells it.

mod calls;
mod changes;
mod connect;
mod counts;
mod follower;
#[cfg(test)]
mod interleavings;
mod leader;
mod lock;
mod messages;
mod metrics_service;
mod moment;
mod raw_metrics;
mod raw_metrics_service;
mod read_metrics;
mod readiness;
mod readings;
mod reads;
mod store;
mod teller;
mod telling;
mod wishes;

use std::sync::Arc;

use sakidori_metrics_adapter::ExternalMetrics;
use tonic::service::Routes;

use keda::metrics_service_server::MetricsServiceServer;
use keda::raw_metrics_service_server::RawMetricsServiceServer;

pub use calls::{Calling, Calls};
pub use counts::{Counted, Counts};
pub use follower::Follower;
pub use leader::Leader;
pub use moment::Moment;
pub use raw_metrics::{RawMetrics, RawMetricsMode, RawStream, Refused, TriggerName, TriggerRead};
pub use raw_metrics_service::Raw;
pub use read_metrics::ReadMetrics;
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

/// A request of KEDA's services holds a few names.
const REQUEST_BYTES: usize = 64 * 1024;

/// Adds KEDA's services to what a replica serves over gRPC: `source` answers the HPA's reads.
pub fn keda_services(routes: Routes, source: Arc<dyn ExternalMetrics>, raw: Raw) -> Routes {
    let metrics = metrics_service::Metrics::new(source);
    let metrics = MetricsServiceServer::new(metrics).max_decoding_message_size(REQUEST_BYTES);
    let raw = RawMetricsServiceServer::new(raw).max_decoding_message_size(REQUEST_BYTES);
    routes.add_service(metrics).add_service(raw)
}
