//! Scalers read event sources. One file (or folder) per trigger type; a scaler gets parameters and credentials and
//! gives readings. It never sees a Kubernetes object: what little it needs of the cluster comes through [`Cluster`].

mod answers;
#[cfg(feature = "kafka")]
mod apache_kafka;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod aws_cloudwatch;
#[cfg(feature = "aws")]
mod aws_dynamodb;
#[cfg(feature = "aws")]
mod aws_dynamodb_streams;
#[cfg(feature = "aws")]
mod aws_kinesis_stream;
#[cfg(feature = "aws")]
mod aws_sqs_queue;
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
#[cfg(feature = "kafka")]
mod kafka;
mod keda_types;
mod kubernetes_resource;
mod kubernetes_workload;
mod limits;
mod metric;
mod metrics_api;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "nats")]
mod nats_jetstream;
mod observer;
pub mod params;
#[cfg(feature = "postgresql")]
mod postgresql;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_cluster;
#[cfg(feature = "redis")]
mod redis_cluster_streams;
#[cfg(feature = "redis")]
mod redis_keys;
#[cfg(feature = "redis")]
mod redis_sentinel;
#[cfg(feature = "redis")]
mod redis_sentinel_streams;
#[cfg(feature = "redis")]
mod redis_streams;
mod registry;
mod scaler;
#[cfg(any(feature = "mysql", feature = "postgresql"))]
mod sql_query;

pub use answers::{Answers, Freshness};
pub use check::{Known, check};
pub use document::{Document, DocumentLimits, Text};
pub use http::over_http;
pub use keda_types::{KEDA_TYPES, feature_of};
pub use metric::{MetricSpec, MetricType, Reading, metric_name};
pub use observer::{Observer, observed};
pub use params::Warning;
#[cfg(feature = "postgresql")]
pub use postgresql::{Rows, Table, TableLimits};
pub use registry::{Kind, build, kinds, warnings};
pub use scaler::{
    BuildError, Cluster, ClusterError, Context, Endpoint, Pod, PodIdentity, Push, Pushes, Scaler,
    ScalerError, StoreKind, Stored, Trigger,
};
