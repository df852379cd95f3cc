//! Pooled connections: one per endpoint and credentials, kept across failing queries.

#[cfg(feature = "rabbitmq")]
pub mod amqp;
pub mod aws;
pub(crate) mod back_off;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod grpc;
pub mod http;
mod names;
#[cfg(feature = "nats")]
pub mod nats;
pub(crate) mod on_demand;
#[cfg(feature = "postgresql")]
pub mod postgresql;
mod settings;
pub mod tls;

pub use settings::{ClientSettings, TlsVersion};

/// All pools. One per process.
pub struct Clients {
    #[cfg(feature = "rabbitmq")]
    pub amqp: amqp::AmqpPool,
    #[cfg(feature = "etcd")]
    pub etcd: etcd::EtcdPool,
    pub grpc: grpc::GrpcPool,
    #[cfg(feature = "aws")]
    pub aws: aws::AwsPool,
    pub http: http::HttpPool,
    #[cfg(feature = "nats")]
    pub nats: nats::NatsPool,
    #[cfg(feature = "postgresql")]
    pub postgresql: postgresql::Connector,
}

impl Clients {
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            #[cfg(feature = "rabbitmq")]
            amqp: amqp::AmqpPool::new(settings.oldest_tls),
            #[cfg(feature = "etcd")]
            etcd: etcd::EtcdPool::new(settings.oldest_tls),
            grpc: grpc::GrpcPool::new(settings.oldest_tls),
            #[cfg(feature = "aws")]
            aws: aws::AwsPool::default(),
            #[cfg(feature = "nats")]
            nats: nats::NatsPool::default(),
            #[cfg(feature = "postgresql")]
            postgresql: postgresql::Connector::new(settings.oldest_tls),
            http: http::HttpPool::new(settings),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(ClientSettings::default())
    }
}
