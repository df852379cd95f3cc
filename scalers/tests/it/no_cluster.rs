//! A cluster for trigger types that ask nothing of it.

use async_trait::async_trait;
use sakidori_scalers::{Cluster, ClusterError, Endpoint, Pod, StoreKind, Stored};

pub struct NoCluster;

#[async_trait]
impl Cluster for NoCluster {
    async fn pods(&self, _: &str, _: &str) -> Result<Vec<Pod>, ClusterError> {
        Err(ClusterError("no cluster here".to_owned()))
    }
    async fn ready_endpoints(&self, _: &str, _: &str) -> Result<Vec<Endpoint>, ClusterError> {
        Err(ClusterError("no cluster here".to_owned()))
    }
    async fn stored(
        &self,
        _: StoreKind,
        _: &str,
        _: &str,
        _: &str,
    ) -> Result<Stored, ClusterError> {
        Err(ClusterError("no cluster here".to_owned()))
    }
}
