//! Scalers against real servers, one module per kind of server.

// clippy.toml's permission ends at functions without #[test]; these are part of tests, too.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "aws")]
mod aws;
mod bystanders;
#[cfg(feature = "etcd")]
mod etcd;
mod external;
mod hostile;
#[cfg(feature = "kafka")]
mod kafka;
mod metrics_api;
#[cfg(feature = "nats")]
mod nats;
mod no_cluster;
#[cfg(feature = "postgresql")]
mod postgresql;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(all(feature = "mysql", feature = "postgresql"))]
mod sql;
