//! What the demo, the benchmark and the end-to-end cases share beyond the test bed: the operator as a process, applying
//! manifests, and looking at what happened.

pub mod balancer;
pub mod bed;
pub mod binary;
pub mod canary;
pub mod certificates;
pub mod chart;
pub mod container;
pub mod dashboards;
pub mod demo;
pub mod docs;
pub mod fields;
pub mod footprint;
pub mod helm;
pub mod image;
pub mod kubelet;
pub mod load;
pub mod log_lines;
pub mod manifests;
pub mod memory;
pub mod name_server;
pub mod namespace;
pub mod observe;
pub mod operator;
pub mod pod_sizes;
pub mod processor;
pub mod raw_source;
pub mod reads;
pub mod reference;
pub mod replicas;
pub mod rhythm;
pub mod terms;
pub mod throughout;
pub mod trigger_index;
pub mod webhooks;

pub use operator::{Operator, OperatorSettings};
