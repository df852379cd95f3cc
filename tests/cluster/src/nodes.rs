//! Fake nodes and the fake kubelet's behaviour (KWOK Stage files in `stages/`).

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use crate::options::NodeSize;

/// On a pod: how long it takes to become Running and Ready once it is bound to a node, such as `3s` or `1m`. Overrides
/// [`ClusterOptions::pod_start_time`](crate::ClusterOptions::pod_start_time).
pub const START_TIME_ANNOTATION: &str = "kubelet.sakidori.test/start-time";
/// On a pod: how long it runs until all its containers end with exit code 0. Without it, it runs on.
pub const COMPLETE_AFTER_ANNOTATION: &str = "kubelet.sakidori.test/complete-after";
/// On a pod: how long it runs until all its containers end with exit code 1.
pub const FAIL_AFTER_ANNOTATION: &str = "kubelet.sakidori.test/fail-after";
/// On a pod: how long it takes to go once it is deleted. Without it, it goes at once.
pub const STOP_TIME_ANNOTATION: &str = "kubelet.sakidori.test/stop-time";

/// The address that all fake nodes show. From TEST-NET-1 (RFC 5737): nothing answers there.
pub(crate) const NODE_IP: &str = "192.0.2.1";

/// The stage whose delay is the pod start time.
const POD_READY: &str = "pod-ready";

const STAGES: &[(&str, &str)] = &[
    ("node-ready", include_str!("../stages/node-ready.yaml")),
    (
        "node-heartbeat",
        include_str!("../stages/node-heartbeat.yaml"),
    ),
    (POD_READY, include_str!("../stages/pod-ready.yaml")),
    ("pod-resized", include_str!("../stages/pod-resized.yaml")),
    (
        "pod-completed",
        include_str!("../stages/pod-completed.yaml"),
    ),
    ("pod-failed", include_str!("../stages/pod-failed.yaml")),
    ("pod-deleted", include_str!("../stages/pod-deleted.yaml")),
];

/// KWOK's configuration: all stages, with the cluster's pod start time, for pods of all namespaces but these.
pub(crate) fn stages(pod_start_time: Duration, unmanaged_namespaces: &[String]) -> Result<String> {
    let mut documents = Vec::new();
    for (name, text) in STAGES {
        let mut stage: Value = serde_saphyr::from_str(text)
            .with_context(|| format!("stages/{name}.yaml is not YAML"))?;
        if *name == POD_READY {
            let milliseconds = u64::try_from(pod_start_time.as_millis()).unwrap_or(u64::MAX);
            stage["spec"]["delay"]["durationMilliseconds"] = json!(milliseconds);
        }
        let of_pods = stage["spec"]["resourceRef"]["kind"] == "Pod";
        if of_pods && !unmanaged_namespaces.is_empty() {
            let elsewhere = json!({
                "key": ".metadata.namespace",
                "operator": "NotIn",
                "values": unmanaged_namespaces,
            });
            stage["spec"]["selector"]["matchExpressions"]
                .as_array_mut()
                .with_context(|| format!("stages/{name}.yaml selects by no expressions"))?
                .push(elsewhere);
        }
        documents.push(serde_json::to_string_pretty(&stage)?);
    }
    Ok(documents.join("\n---\n"))
}

/// A node as a kubelet would register it, already Ready.
pub(crate) fn node(name: &str, size: &NodeSize) -> Result<Node> {
    let room = json!({"cpu": size.cpu, "memory": size.memory, "pods": size.pods.to_string()});
    let node = json!({
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "status": {
            "capacity": room,
            "allocatable": room,
            "addresses": [
                {"type": "InternalIP", "address": NODE_IP},
                {"type": "Hostname", "address": name},
            ],
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "a fake kubelet is posting ready status",
            }],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "fake://1.0.0",
                "kernelVersion": "fake",
                "kubeProxyVersion": "",
                "kubeletVersion": crate::install::KUBERNETES_VERSION,
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "fake",
                "systemUUID": "",
            },
        },
    });
    serde_json::from_value(node).with_context(|| format!("node {name} is not a Node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_named_as_its_file_and_the_start_time_is_set() {
        let text = stages(Duration::from_millis(2500), &[]).unwrap();
        let stages: Vec<Value> = text
            .split("\n---\n")
            .map(|part| serde_json::from_str(part).unwrap())
            .collect();
        assert_eq!(stages.len(), STAGES.len());
        for (stage, (name, _)) in stages.iter().zip(STAGES) {
            assert_eq!(stage["kind"], "Stage");
            assert_eq!(stage["metadata"]["name"], *name);
        }
        let ready = stages
            .iter()
            .find(|stage| stage["metadata"]["name"] == POD_READY)
            .unwrap();
        assert_eq!(ready["spec"]["delay"]["durationMilliseconds"], 2500);
        assert!(!text.contains("\".metadata.namespace\""));
    }

    #[test]
    fn pods_of_unmanaged_namespaces_are_in_no_stage() {
        let text = stages(Duration::ZERO, &["keda".to_owned()]).unwrap();
        for part in text.split("\n---\n") {
            let stage: Value = serde_json::from_str(part).unwrap();
            let of_pods = stage["spec"]["resourceRef"]["kind"] == "Pod";
            let selector = stage["spec"]["selector"].to_string();
            let excluded = r#"{"key":".metadata.namespace","operator":"NotIn","values":["keda"]}"#;
            assert_eq!(selector.contains(excluded), of_pods, "{selector}");
        }
    }
}
