//! Scalers read event sources. One file (or folder) per trigger type; a scaler gets parameters and credentials and
//! gives readings. It never sees a Kubernetes object: what little it needs of the cluster comes through [`Cluster`].

mod answers;
mod check;
pub mod clients;
mod cron;
mod document;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(test)]
mod example;
mod external;
mod external_push;
mod external_scaler;
mod http;
mod keda_types;
mod kubernetes_resource;
mod kubernetes_workload;
mod metric;
mod metrics_api;
#[cfg(feature = "nats")]
mod nats_jetstream;
pub mod params;
#[cfg(feature = "postgresql")]
mod postgresql;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod registry;
mod scaler;

pub use answers::{Answers, Freshness};
pub use check::{Known, check};
pub use document::{Document, DocumentLimits};
pub use metric::{MetricSpec, MetricType, Reading, metric_name};
pub use params::Warning;
#[cfg(feature = "postgresql")]
pub use postgresql::{Rows, Table, TableLimits};
pub use registry::{Kind, build, kinds, warnings};
pub use scaler::{
    BuildError, Cluster, ClusterError, Context, Endpoint, Pod, PodIdentity, Push, Pushes, Scaler,
    ScalerError, StoreKind, Stored, Trigger,
};
