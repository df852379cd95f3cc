//! KEDA's protocol on the wire: its `externalscaler.proto`, in Rust. By hand, since it is nine small messages and five methods, and a
//! generator would cost more to build than all else here. The tests speak with a server that KEDA's own generated code serves.
//!
//! ```proto
//! package externalscaler;
//! service ExternalScaler {
//!   rpc IsActive(ScaledObjectRef) returns (IsActiveResponse);
//!   rpc StreamIsActive(ScaledObjectRef) returns (stream IsActiveResponse);
//!   rpc GetMetricSpec(ScaledObjectRef) returns (GetMetricSpecResponse);
//!   rpc GetMetrics(GetMetricsRequest) returns (GetMetricsResponse);
//!   rpc StreamMetricSpec(ScaledObjectRef) returns (stream GetMetricSpecResponse);
//! }
//! ```

#![allow(dead_code, reason = "the integration tests serve what is asked here")]

use std::collections::BTreeMap;

pub const IS_ACTIVE: &str = "/externalscaler.ExternalScaler/IsActive";
pub const STREAM_IS_ACTIVE: &str = "/externalscaler.ExternalScaler/StreamIsActive";
pub const GET_METRIC_SPEC: &str = "/externalscaler.ExternalScaler/GetMetricSpec";
pub const GET_METRICS: &str = "/externalscaler.ExternalScaler/GetMetrics";
/// Since KEDA 2.21; older servers don't have it.
pub const STREAM_METRIC_SPEC: &str = "/externalscaler.ExternalScaler/StreamMetricSpec";

/// Which trigger of which object asks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScaledObjectRef {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub scaler_metadata: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct IsActiveResponse {
    #[prost(bool, tag = "1")]
    pub result: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricSpecResponse {
    #[prost(message, repeated, tag = "1")]
    pub metric_specs: Vec<MetricSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricSpec {
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// Deprecated: counts where `target_size_float` is not above 0.
    #[prost(int64, tag = "2")]
    pub target_size: i64,
    #[prost(double, tag = "3")]
    pub target_size_float: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsRequest {
    #[prost(message, optional, tag = "1")]
    pub scaled_object_ref: Option<ScaledObjectRef>,
    #[prost(string, tag = "2")]
    pub metric_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsResponse {
    #[prost(message, repeated, tag = "1")]
    pub metric_values: Vec<MetricValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricValue {
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// Deprecated: counts where `metric_value_float` is not above 0.
    #[prost(int64, tag = "2")]
    pub metric_value: i64,
    #[prost(double, tag = "3")]
    pub metric_value_float: f64,
}
