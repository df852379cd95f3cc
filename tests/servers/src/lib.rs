//! Servers that triggers read from, each on loopback with ports and a folder of its own, gone once the value is dropped
//! or the test is killed.
//!
//! - [`RabbitMq`]: a real broker, with the management API and TLS.
//! - [`ElasticMq`]: the API of SQS, served from memory.
//! - [`ExternalScaler`]: a gRPC server in Go, on KEDA's own generated code.
//! - [`HttpSource`]: an HTTP server whose answers a test sets while it runs.
//! - [`MariaDb`]: a real server, with TLS.
//! - [`Kafka`]: a real broker, with listeners for each kind of login and of TLS.
//! - [`MetricsClient`]: no server, but a client of the operator's gRPC services, in Go, on KEDA's own generated code.
//! - [`Moto`]: AWS's APIs, served from memory.
//! - [`Etcd`]: a real server, or a cluster, with users and TLS.
//! - [`Nats`]: a real server with JetStream, or a cluster.
//! - [`PostgreSql`]: a real server, with TLS.
//! - [`Prometheus`]: a real server that scrapes one number.
//! - [`Redis`], [`RedisCluster`], [`RedisSentinel`]: real servers, with users, databases and TLS.
//! - [`VaultStandIn`]: what speaks a part of Vault's API.

mod aws;
mod elasticmq;
mod etcd;
mod external_scaler;
mod http_source;
mod kafka;
mod mariadb;
mod metrics_client;
mod moto;
mod nats;
mod postgresql;
mod prometheus;
mod rabbitmq;
mod redis;
mod serve;
mod service_user;
mod tls;
mod vault;

pub use aws::{AwsApi, Keys};
pub use elasticmq::ElasticMq;
pub use etcd::Etcd;
pub use external_scaler::{Answers, ExternalScaler, ExternalScalerOptions, Seen};
pub use http_source::{Answer, HttpSource, Received};
pub use kafka::{Kafka, KafkaListener, Member};
pub use mariadb::MariaDb;
pub use metrics_client::{Connection, MetricsClient, RawMetricsStream};
pub use moto::Moto;
pub use nats::Nats;
pub use postgresql::PostgreSql;
pub use prometheus::{Job, Prometheus, PrometheusOptions};
pub use rabbitmq::{RabbitMq, RabbitMqOptions, Unacknowledged};
pub use redis::{Redis, RedisCluster, RedisOptions, RedisSentinel};
pub use tls::{Tls, TlsMaterial};
pub use vault::VaultStandIn;
