//! Fake nodes and the fake kubelet's behaviour (KWOK Stage files in `stages/`).

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use crate::options::{ClusterOptions, NodeSize};

/// On a pod: how long it takes to become Running and Ready once it is bound to a node, such as `3s` or `1m`. Overrides
/// [`ClusterOptions::pod_start_time`](crate::ClusterOptions::pod_start_time).
pub const START_TIME_ANNOTATION: &str = "kubelet.sakidori.test/start-time";
/// On a pod: how long it runs until all its containers end with exit code 0. Without it, it runs on.
pub const COMPLETE_AFTER_ANNOTATION: &str = "kubelet.sakidori.test/complete-after";
/// On a pod: how long it runs until all its containers end with exit code 1.
pub const FAIL_AFTER_ANNOTATION: &str = "kubelet.sakidori.test/fail-after";
/// On a pod: how long it takes to go once it is deleted. Without it, it goes at once.
pub const STOP_TIME_ANNOTATION: &str = "kubelet.sakidori.test/stop-time";

// The following are for a cluster with `acts_out_resizes` only. On a node, they hold for its pods that don't have them; `false` on a pod takes back
// what its node says. They are looked at when something is decided, so that a test may set them at any time.

/// On a pod: how long it takes until its containers run, not yet ready, once it is bound. Without it, they run when they are ready.
pub const RUNNING_AFTER_ANNOTATION: &str = "kubelet.sakidori.test/running-after";
/// On a pod or node: how long a resize takes from being taken on until the containers have it, such as `3s`. Without it, 200 ms.
pub const RESIZE_TIME_ANNOTATION: &str = "kubelet.sakidori.test/resize-time";
/// On a pod or node: how long a container is away that a resize restarts. Without it, 200 ms.
pub const RESIZE_RESTART_TIME_ANNOTATION: &str = "kubelet.sakidori.test/resize-restart-time";
/// On a pod or node: a resize is put off as long as it is there, whatever room there is. `true`, or the message.
pub const RESIZE_DEFERRED_ANNOTATION: &str = "kubelet.sakidori.test/resize-deferred";
/// On a pod or node: a resize is found infeasible. `true`, or the message.
pub const RESIZE_INFEASIBLE_ANNOTATION: &str = "kubelet.sakidori.test/resize-infeasible";
/// On a pod or node: a resize fails half-way. `true` for the second half of what there is to do (memory before CPU, less before more), or the
/// containers that stay as they are: `app,side`.
pub const RESIZE_FAILS_ANNOTATION: &str = "kubelet.sakidori.test/resize-fails";
/// On a pod or node: how long it fails. Without it, until the annotation `resize-fails` goes.
pub const RESIZE_RECOVERS_AFTER_ANNOTATION: &str = "kubelet.sakidori.test/resize-recovers-after";
/// On a pod or node: the memory that each container uses, `300Mi`, or named ones, `app=300Mi,side=10Mi`. A limit at or below it fails until it is
/// less.
pub const RESIZE_MEMORY_IN_USE_ANNOTATION: &str = "kubelet.sakidori.test/resize-memory-in-use";
/// On a pod: nothing is written of its resizes. On a node: its kubelet is down, and nothing at all is written of its pods.
pub const RESIZE_SILENT_ANNOTATION: &str = "kubelet.sakidori.test/resize-silent";

/// The address that all fake nodes show. From TEST-NET-1 (RFC 5737): nothing answers there.
pub(crate) const NODE_IP: &str = "192.0.2.1";

/// The stage whose delay is the pod start time.
const POD_READY: &str = "pod-ready";
/// The stage that makes any resize actual at once.
const POD_RESIZED: &str = "pod-resized";

const STAGES: &[(&str, &str)] = &[
    ("node-ready", include_str!("../stages/node-ready.yaml")),
    (
        "node-heartbeat",
        include_str!("../stages/node-heartbeat.yaml"),
    ),
    (POD_READY, include_str!("../stages/pod-ready.yaml")),
    (POD_RESIZED, include_str!("../stages/pod-resized.yaml")),
    (
        "pod-completed",
        include_str!("../stages/pod-completed.yaml"),
    ),
    ("pod-failed", include_str!("../stages/pod-failed.yaml")),
    ("pod-deleted", include_str!("../stages/pod-deleted.yaml")),
];

/// KWOK's configuration: all stages, with the cluster's pod start time, for pods of all namespaces but these. Without those that
/// [`resizing`](crate::resizing) acts out, where it does.
pub(crate) fn stages(options: &ClusterOptions) -> Result<String> {
    let ClusterOptions {
        pod_start_time,
        unmanaged_namespaces,
        acts_out_resizes,
        ..
    } = options;
    let mut documents = Vec::new();
    for (name, text) in STAGES {
        if *acts_out_resizes && [POD_READY, POD_RESIZED].contains(name) {
            continue;
        }
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_stage_is_named_as_its_file_and_the_start_time_is_set() {
        let options = ClusterOptions {
            pod_start_time: Duration::from_millis(2500),
            ..ClusterOptions::default()
        };
        let text = stages(&options).unwrap();
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
    fn pods_are_started_and_resized_by_one_kubelet_only() {
        let options = ClusterOptions {
            acts_out_resizes: true,
            ..ClusterOptions::default()
        };
        let text = stages(&options).unwrap();
        for stage in [POD_READY, POD_RESIZED] {
            assert!(!text.contains(&format!("\"{stage}\"")), "{stage}");
        }
        assert!(text.contains("\"pod-deleted\""));
    }

    #[test]
    fn pods_of_unmanaged_namespaces_are_in_no_stage() {
        let options = ClusterOptions {
            unmanaged_namespaces: vec!["keda".to_owned()],
            ..ClusterOptions::default()
        };
        let text = stages(&options).unwrap();
        for part in text.split("\n---\n") {
            let stage: Value = serde_json::from_str(part).unwrap();
            let of_pods = stage["spec"]["resourceRef"]["kind"] == "Pod";
            let selector = stage["spec"]["selector"].to_string();
            let excluded = r#"{"key":".metadata.namespace","operator":"NotIn","values":["keda"]}"#;
            assert_eq!(selector.contains(excluded), of_pods, "{selector}");
        }
    }
}
