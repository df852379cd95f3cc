//! Scalers against real servers, one module per kind of server.

// clippy.toml's permission ends at functions without #[test]; these are part of tests, too.
#![allow(clippy::unwrap_used)]

mod bystanders;
#[cfg(feature = "etcd")]
mod etcd;
mod external;
mod metrics_api;
#[cfg(feature = "nats")]
mod nats;
mod no_cluster;
#[cfg(feature = "postgresql")]
mod postgresql;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
