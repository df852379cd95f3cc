//! The external metrics API server, `external.metrics.k8s.io/v1beta1`, as an aggregated API: TLS, delegated
//! authentication and authorization, discovery, OpenAPI, errors as `metav1.Status`. It knows nothing of scalers: values
//! come from an [`ExternalMetrics`].
//!
//! A request passes, in this order: the TLS handshake ([`tls`], [`https`]), who asks ([`authentication`]), what is
//! asked ([`attributes`]), whether that is allowed ([`authorization`]), and the answer ([`api`]).

mod api;
mod attributes;
mod authentication;
mod authorization;
mod connections;
mod https;
pub mod mutual_tls;
mod reviews;
mod server;
mod source;
mod spell;
mod status;
mod tls;
mod ttl_cache;

pub use https::{HttpServer, HttpsServer};
pub use server::{Server, ServerError};
pub use source::{ExternalMetricValue, ExternalMetrics, MetricError};
pub use tls::{
    CertificateError, CertificateHandle, Clients, ServingCertificate, ServingTls, authorities_of,
};
