//! Pooled connections: one per endpoint and credentials, kept across failing queries.

#[cfg(feature = "rabbitmq")]
pub mod amqp;
pub mod aws;
pub mod grpc;
pub mod http;
#[cfg(feature = "mysql")]
pub mod mysql;
mod names;
pub(crate) mod on_demand;
#[cfg(feature = "postgresql")]
pub mod postgresql;
mod settings;
#[cfg(any(feature = "mysql", feature = "postgresql"))]
pub mod sql;
pub mod tls;

#[cfg(any(feature = "mysql", feature = "postgresql"))]
use std::sync::Arc;

pub use settings::{ClientSettings, TlsVersion};

/// All pools. One per process.
pub struct Clients {
    #[cfg(feature = "rabbitmq")]
    pub amqp: amqp::AmqpPool,
    pub grpc: grpc::GrpcPool,
    #[cfg(feature = "aws")]
    pub aws: aws::AwsPool,
    pub http: http::HttpPool,
    #[cfg(feature = "mysql")]
    pub mysql: mysql::MySqlPool,
    #[cfg(feature = "postgresql")]
    pub postgresql: postgresql::PostgreSqlPool,
}

impl Clients {
    pub fn new(settings: ClientSettings) -> Self {
        #[cfg(any(feature = "mysql", feature = "postgresql"))]
        let connector = Arc::new(sql::Connector::new(settings.oldest_tls));
        Self {
            #[cfg(feature = "rabbitmq")]
            amqp: amqp::AmqpPool::new(settings.oldest_tls),
            grpc: grpc::GrpcPool::new(settings.oldest_tls),
            #[cfg(feature = "aws")]
            aws: aws::AwsPool::default(),
            #[cfg(feature = "mysql")]
            mysql: mysql::MySqlPool::new(connector.clone()),
            #[cfg(feature = "postgresql")]
            postgresql: postgresql::PostgreSqlPool::new(connector),
            http: http::HttpPool::new(settings),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(ClientSettings::default())
    }
}
