//! Pooled connections: one per endpoint and credentials, kept across failing queries.

#[cfg(feature = "rabbitmq")]
pub mod amqp;
pub mod aws;
pub mod grpc;
pub mod http;
mod names;
// Not for every source a connection is kept.
#[cfg_attr(not(feature = "rabbitmq"), allow(dead_code))]
pub(crate) mod on_demand;
#[cfg(feature = "postgresql")]
pub mod postgresql;
#[cfg(feature = "prometheus")]
pub mod prometheus;
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
    #[cfg(feature = "prometheus")]
    pub prometheus: prometheus::PrometheusPool,
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
            #[cfg(feature = "prometheus")]
            prometheus: prometheus::PrometheusPool::default(),
            http: http::HttpPool::new(settings),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(ClientSettings::default())
    }
}
