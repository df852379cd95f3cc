//! Servers that triggers read from, each on loopback with ports and a folder of its own, gone once the value is dropped
//! or the test is killed.
//!
//! - [`RabbitMq`]: a real broker, with the management API and TLS.
//! - [`ExternalScaler`]: a gRPC server in Go, on KEDA's own generated code.
//! - [`HttpSource`]: an HTTP server whose answers a test sets while it runs.
//! - [`Moto`]: AWS's APIs, served from memory.
//! - [`Etcd`]: a real server, or a cluster, with users and TLS.
//! - [`Nats`]: a real server with JetStream, or a cluster.
//! - [`PostgreSql`]: a real server, with TLS.
//! - [`VaultStandIn`]: what speaks a part of Vault's API.

mod etcd;
mod external_scaler;
mod http_source;
mod moto;
mod nats;
mod postgresql;
mod rabbitmq;
mod serve;
mod tls;
mod vault;

pub use etcd::Etcd;
pub use external_scaler::{Answers, ExternalScaler, ExternalScalerOptions, Seen};
pub use http_source::{Answer, HttpSource, Received};
pub use moto::Moto;
pub use nats::Nats;
pub use postgresql::PostgreSql;
pub use rabbitmq::{RabbitMq, RabbitMqOptions, Unacknowledged};
pub use tls::{Tls, TlsMaterial};
pub use vault::VaultStandIn;
