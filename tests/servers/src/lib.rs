//! Servers that triggers read from, each on loopback with ports and a folder of its own, gone once the value is dropped
//! or the test is killed.
//!
//! - [`RabbitMq`]: a real broker, with the management API and TLS.
//! - [`ExternalScaler`]: a gRPC server in Go, on KEDA's own generated code.
//! - [`HttpSource`]: an HTTP server whose answers a test sets while it runs.
//! - [`Kafka`]: a real broker, with listeners for each kind of login and of TLS.
//! - [`Moto`]: AWS's APIs, served from memory.
//! - [`PostgreSql`]: a real server, with TLS.
//! - [`VaultStandIn`]: what speaks a part of Vault's API.

mod external_scaler;
mod http_source;
mod kafka;
mod moto;
mod postgresql;
mod rabbitmq;
mod serve;
mod tls;
mod vault;

pub use external_scaler::{Answers, ExternalScaler, ExternalScalerOptions, Seen};
pub use http_source::{Answer, HttpSource, Received};
pub use kafka::{Kafka, KafkaListener, Member};
pub use moto::Moto;
pub use postgresql::PostgreSql;
pub use rabbitmq::{RabbitMq, RabbitMqOptions, Unacknowledged};
pub use tls::{Tls, TlsMaterial};
pub use vault::VaultStandIn;
