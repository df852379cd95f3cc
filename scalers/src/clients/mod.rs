//! Pooled connections: one per endpoint and credentials, kept across failing queries.

#[cfg(feature = "rabbitmq")]
pub mod amqp;
pub mod aws;
pub(crate) mod back_off;
#[cfg(any(feature = "mysql", feature = "postgresql", feature = "redis"))]
mod bounded;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod grpc;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "mysql")]
pub mod mysql;
mod names;
#[cfg(feature = "nats")]
pub mod nats;
// Not for every source a connection is kept.
#[cfg_attr(
    not(any(
        feature = "etcd",
        feature = "kafka",
        feature = "mysql",
        feature = "postgresql",
        feature = "rabbitmq",
        feature = "redis"
    )),
    allow(dead_code)
)]
pub(crate) mod on_demand;
#[cfg(feature = "postgresql")]
pub mod postgresql;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "redis")]
pub mod redis;
mod settings;
#[cfg(any(feature = "mysql", feature = "postgresql"))]
pub mod sql;
pub mod tls;
mod tls_floor;

use std::sync::Arc;

pub use settings::ClientSettings;
pub use tls_floor::{TlsFloor, TlsVersion};

/// All pools. One per process.
pub struct Clients {
    #[cfg(feature = "rabbitmq")]
    pub amqp: amqp::AmqpPool,
    #[cfg(feature = "etcd")]
    pub etcd: etcd::EtcdPool,
    pub grpc: grpc::GrpcPool,
    #[cfg(feature = "aws")]
    pub aws: Arc<aws::AwsPool>,
    pub http: Arc<http::HttpPool>,
    #[cfg(feature = "kafka")]
    pub kafka: kafka::KafkaPool,
    #[cfg(feature = "mysql")]
    pub mysql: mysql::MySqlPool,
    #[cfg(feature = "nats")]
    pub nats: nats::NatsPool,
    #[cfg(feature = "postgresql")]
    pub postgresql: postgresql::PostgreSqlPool,
    #[cfg(feature = "prometheus")]
    pub prometheus: prometheus::PrometheusPool,
    #[cfg(feature = "redis")]
    pub redis: redis::RedisPool,
}

impl Clients {
    pub fn new(settings: ClientSettings) -> Self {
        let oldest_tls = settings.oldest_tls;
        let http = Arc::new(http::HttpPool::new(settings));
        #[cfg(any(feature = "mysql", feature = "postgresql"))]
        let connector = Arc::new(sql::Connector::new(oldest_tls));
        Self {
            #[cfg(feature = "rabbitmq")]
            amqp: amqp::AmqpPool::new(oldest_tls),
            #[cfg(feature = "etcd")]
            etcd: etcd::EtcdPool::new(oldest_tls),
            grpc: grpc::GrpcPool::new(oldest_tls),
            #[cfg(feature = "aws")]
            aws: Arc::new(aws::AwsPool::new(Arc::clone(&http))),
            #[cfg(feature = "kafka")]
            kafka: kafka::KafkaPool::new(oldest_tls),
            #[cfg(feature = "mysql")]
            mysql: mysql::MySqlPool::new(connector.clone()),
            #[cfg(feature = "nats")]
            nats: nats::NatsPool::default(),
            #[cfg(feature = "postgresql")]
            postgresql: postgresql::PostgreSqlPool::new(connector),
            #[cfg(feature = "prometheus")]
            prometheus: prometheus::PrometheusPool::default(),
            #[cfg(feature = "redis")]
            redis: redis::RedisPool::new(oldest_tls),
            http,
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(ClientSettings::default())
    }
}
