//! Pooled connections: one per endpoint and credentials, kept across failing queries.

#[cfg(feature = "rabbitmq")]
pub mod amqp;
pub mod aws;
#[cfg(any(feature = "postgresql", feature = "redis"))]
mod bounded;
pub mod grpc;
pub mod http;
mod names;
pub(crate) mod on_demand;
#[cfg(feature = "postgresql")]
pub mod postgresql;
#[cfg(feature = "redis")]
pub mod redis;
mod settings;
pub mod tls;

pub use settings::{ClientSettings, TlsVersion};

/// All pools. One per process.
pub struct Clients {
    #[cfg(feature = "rabbitmq")]
    pub amqp: amqp::AmqpPool,
    pub grpc: grpc::GrpcPool,
    #[cfg(feature = "aws")]
    pub aws: aws::AwsPool,
    pub http: http::HttpPool,
    #[cfg(feature = "postgresql")]
    pub postgresql: postgresql::Connector,
    #[cfg(feature = "redis")]
    pub redis: redis::RedisPool,
}

impl Clients {
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            #[cfg(feature = "rabbitmq")]
            amqp: amqp::AmqpPool::new(settings.oldest_tls),
            grpc: grpc::GrpcPool::new(settings.oldest_tls),
            #[cfg(feature = "aws")]
            aws: aws::AwsPool::default(),
            #[cfg(feature = "postgresql")]
            postgresql: postgresql::Connector::new(settings.oldest_tls),
            #[cfg(feature = "redis")]
            redis: redis::RedisPool::new(settings.oldest_tls),
            http: http::HttpPool::new(settings),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(ClientSettings::default())
    }
}
