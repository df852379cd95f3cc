//! A real Kubernetes control plane on one machine, for tests, the demo and benchmarks: etcd, kube-apiserver,
//! kube-controller-manager and kube-scheduler, with fake nodes on which pods become Ready.
//!
//! ```no_run
//! use sakidori_test_cluster::{Cluster, ClusterOptions};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = Cluster::start(ClusterOptions { nodes: 3, ..ClusterOptions::default() }).await?;
//! cluster.create_namespace("shop").await?;
//! let client = cluster.client(); // a kube::Client of a cluster administrator
//! # Ok(()) } // every process and file is gone once `cluster` is dropped
//! ```
//!
//! Everything but the kubelet is the real thing: HPAs, garbage collection, RBAC, admission, the aggregation layer. The
//! fake kubelet is KWOK with the Stage files in `stages/`; see [`nodes`] for the annotations it knows. A test that is
//! about in-place resizes asks for one that acts them out ([`ClusterOptions::acts_out_resizes`]).

pub mod aggregation;
pub mod audit;
mod cluster;
mod components;
mod eventually;
pub mod install;
mod kubeconfig;
pub mod maven;
pub mod nodes;
mod options;
pub mod pki;
pub mod ports;
pub mod python;
mod resizing;
pub mod sandbox;

pub use aggregation::ExternalMetricsTrust;
pub use cluster::{Cluster, Login};
pub use components::{Component, FRONT_PROXY_NAME, KWOK_USER};
pub use eventually::eventually;
pub use kubeconfig::Kubeconfig;
pub use options::{ClusterOptions, NodeSize};
