//! The few things of the cluster that trigger types count or look up.
//!
//! All are requests at read time: a poll is rare next to the changes of pods, and nothing is kept in memory between polls, however large
//! the cluster is. They are consistent reads: an older, lower count of pods would lower replicas.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Pod as KubePod, Secret};
use k8s_openapi::api::discovery::v1::{Endpoint as KubeEndpoint, EndpointSlice};
use kube::api::ListParams;
use kube::{Api, Client};
use sakidori_scalers::{Cluster, ClusterError, Endpoint, Pod, StoreKind, Stored};

use crate::api_error::plain;
use crate::lean::LeanPod;
use crate::path_name;
use crate::references::ReferenceError;

pub struct ClusterView {
    client: Client,
    secrets_only_in: Option<String>,
}

impl ClusterView {
    /// `secrets_only_in` is the one namespace whose Secrets may be read, where that is restricted.
    pub fn new(client: Client, secrets_only_in: Option<&str>) -> Self {
        Self {
            client,
            secrets_only_in: secrets_only_in.map(str::to_owned),
        }
    }
}

#[async_trait]
impl Cluster for ClusterView {
    async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>, ClusterError> {
        let api: Api<LeanPod> = Api::namespaced(self.client.clone(), namespace);
        let pods = api
            .list(&ListParams::default().labels(selector))
            .await
            .map_err(|error| {
                ClusterError(format!(
                    "listing the pods of namespace {namespace}: {}",
                    plain(&error)
                ))
            })?;
        Ok(pods
            .items
            .into_iter()
            .map(KubePod::from)
            .map(|pod| Pod {
                phase: pod
                    .status
                    .and_then(|status| status.phase)
                    .unwrap_or_default(),
                node: pod.spec.and_then(|spec| spec.node_name),
            })
            .collect())
    }

    async fn ready_endpoints(
        &self,
        namespace: &str,
        service: &str,
    ) -> Result<Vec<Endpoint>, ClusterError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let selector = format!("kubernetes.io/service-name={service}");
        let slices = api
            .list(&ListParams::default().labels(&selector))
            .await
            .map_err(|error| {
                ClusterError(format!(
                    "listing the endpoints of Service {namespace}/{service}: {}",
                    plain(&error)
                ))
            })?;
        Ok(ready_addresses(slices.items))
    }

    async fn stored(
        &self,
        kind: StoreKind,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Stored, ClusterError> {
        path_name::check(name).map_err(|problem| ClusterError(format!("{kind} {problem}")))?;
        let client = self.client.clone();
        let value = match kind {
            StoreKind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(client, namespace);
                // Its binaryData can't be a number.
                let value = |it: ConfigMap| it.data?.remove(key).map(String::into_bytes);
                api.get_opt(name).await.map(|found| found.map(value))
            }
            StoreKind::Secret => {
                if let Some(allowed) = &self.secrets_only_in
                    && allowed != namespace
                {
                    let problem = ReferenceError::Restricted {
                        object: format!("Secret {namespace}/{name}"),
                        allowed: allowed.clone(),
                    };
                    return Err(ClusterError(problem.to_string()));
                }
                let api: Api<Secret> = Api::namespaced(client, namespace);
                let value = |it: Secret| it.data?.remove(key).map(|bytes| bytes.0);
                api.get_opt(name).await.map(|found| found.map(value))
            }
        };
        let value = value.map_err(|error| {
            let hint = match (&error, kind) {
                (kube::Error::Api(status), StoreKind::Secret) if status.code == 403 => {
                    ": name it in rbac.secrets of the operator's Helm chart"
                }
                _ => "",
            };
            ClusterError(format!(
                "error getting {kind} {namespace}/{name}: {}{hint}",
                plain(&error)
            ))
        })?;
        Ok(match value {
            None => Stored::NoObject,
            Some(None) => Stored::NoKey,
            Some(Some(value)) => Stored::Value(value),
        })
    }
}

/// Every ready address once, in a stable order. An endpoint that doesn't say is ready (Kubernetes' rule).
fn ready_addresses(slices: Vec<EndpointSlice>) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for slice in slices {
        let ports: Vec<u16> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| u16::try_from(port.port?).ok())
            .collect();
        let ready = |endpoint: &KubeEndpoint| {
            endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true)
        };
        for endpoint in slice.endpoints.into_iter().filter(ready) {
            endpoints.extend(endpoint.addresses.into_iter().map(|address| Endpoint {
                address,
                ports: ports.clone(),
            }));
        }
    }
    endpoints.sort_by(|a, b| (&a.address, &a.ports).cmp(&(&b.address, &b.ports)));
    endpoints.dedup();
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_addresses_count_and_each_once() {
        let slice = |endpoints| {
            let slice =
                json!({"addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints});
            serde_json::from_value(slice).unwrap()
        };
        let slices = vec![
            slice(
                json!([{"addresses": ["10.0.0.2"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.1"]}]),
            ),
            slice(
                json!([{"addresses": ["10.0.0.3"], "conditions": {"ready": false}}, {"addresses": ["10.0.0.1"]}]),
            ),
        ];
        let expected = |address: &str| Endpoint {
            address: address.into(),
            ports: vec![8080],
        };
        assert_eq!(
            ready_addresses(slices),
            [expected("10.0.0.1"), expected("10.0.0.2")]
        );
    }
}
