//! Servers that triggers read from, each on loopback with ports and a folder of its own, gone once the value is dropped
//! or the test is killed.
//!
//! - [`RabbitMq`]: a real broker, with the management API and TLS.
//! - [`ExternalScaler`]: a gRPC server in Go, on KEDA's own generated code.
//! - [`HttpSource`]: an HTTP server whose answers a test sets while it runs.
//! - [`MariaDb`]: a real server, with TLS.
//! - [`Moto`]: AWS's APIs, served from memory.
//! - [`PostgreSql`]: a real server, with TLS.
//! - [`VaultStandIn`]: what speaks a part of Vault's API.

mod external_scaler;
mod http_source;
mod mariadb;
mod moto;
mod postgresql;
mod rabbitmq;
mod serve;
mod service_user;
mod tls;
mod vault;

pub use external_scaler::{Answers, ExternalScaler, ExternalScalerOptions, Seen};
pub use http_source::{Answer, HttpSource, Received};
pub use mariadb::MariaDb;
pub use moto::Moto;
pub use postgresql::PostgreSql;
pub use rabbitmq::{RabbitMq, RabbitMqOptions, Unacknowledged};
pub use tls::{Tls, TlsMaterial};
pub use vault::VaultStandIn;
