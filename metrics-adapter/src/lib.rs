//! The external metrics API server, `external.metrics.k8s.io/v1beta1`, as an aggregated API: TLS, delegated
//! authentication and authorization, discovery, OpenAPI, errors as `metav1.Status`. It knows nothing of scalers: values
//! come from an [`ExternalMetrics`].

mod source;

pub use source::{ExternalMetricValue, ExternalMetrics, MetricError};
