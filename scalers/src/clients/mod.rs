//! Pooled connections: one per endpoint and credentials, kept across failing queries.

pub mod amqp;
pub mod http;
pub mod tls;

/// All pools. One per process.
#[derive(Default)]
pub struct Clients {
    pub amqp: amqp::AmqpPool,
    pub http: http::HttpPool,
}
