//! What external metrics are served, and how the replica that leads tells them to the others.

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
