//! Pods as resizing sees them, parsed without all else that they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod as KubePod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::Resource as _;
use kube::ResourceExt;
use sakidori_engine::Quantity;
use sakidori_engine::resize::{
    Container, ContainerKind, InProgress, Memory, Pending, PendingReason, Pod, Qos,
    REMEMBERED_ANNOTATION, Resource, ResourceList, Resources, Sizes,
};
use serde::Deserialize;

use super::usage::Used;
use crate::lean::Lean;
use crate::target::Target;

/// What is read of a pod.
pub type ResizablePod = Lean<KubePod, Option<Spec>, Option<Status>>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    node_name: Option<String>,
    containers: Vec<ContainerSpec>,
    init_containers: Vec<ContainerSpec>,
    resources: Option<Amounts>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerSpec {
    name: String,
    resources: Option<Amounts>,
    resize_policy: Vec<ResizePolicy>,
    restart_policy: Option<String>,
}

impl ContainerSpec {
    /// An init container that runs on.
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// `resources` as the API has them, with what is neither CPU nor memory left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Amounts {
    requests: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResizePolicy {
    resource_name: String,
    restart_policy: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    phase: Option<String>,
    start_time: Option<Time>,
    qos_class: Option<String>,
    observed_generation: Option<i64>,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
    last_transition_time: Option<Time>,
    observed_generation: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    resources: Option<Amounts>,
}

/// Whether a pod that the workload's selector finds is the workload's own. A selector may find others' pods: the HPA counts them, but to
/// change them is another matter. Of kinds that this operator doesn't know, all are.
pub fn belongs_to(pod: &ResizablePod, target: &Target) -> bool {
    let Some(owner) = controller(pod) else {
        return !target.is_built_in();
    };
    let kind = target.resource.kind.as_str();
    match kind {
        "Deployment" if target.is_built_in() => {
            let hash = pod.labels().get("pod-template-hash");
            let of_it = hash.is_some_and(|hash| owner.name == format!("{}-{hash}", target.name));
            owner.kind == "ReplicaSet" && of_it
        }
        "StatefulSet" | "ReplicaSet" if target.resource.group == "apps" => {
            owner.kind == kind && owner.name == target.name
        }
        _ => true,
    }
}

fn controller(pod: &ResizablePod) -> Option<&OwnerReference> {
    let mut owners = pod.owner_references().iter();
    owners.find(|owner| owner.controller == Some(true))
}

/// The pod in the engine's terms; `used` is what its containers use of their memory, where that is known. `None` for what no API server
/// sends: a pod without a name, uid or time of creation.
pub fn to_engine(pod: &ResizablePod, used: &Used) -> Option<Pod> {
    let metadata = pod.meta();
    let uid: Arc<str> = metadata.uid.as_deref()?.into();
    let none = Spec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let unseen = Status::default();
    let status = pod.status.as_ref().unwrap_or(&unseen);
    let condition = |kind: &str| status.conditions.iter().find(|one| one.kind == kind);
    let ready = condition("Ready");
    let is_true = |one: &&Condition| one.status == "True";
    let used = used.of(&uid);
    let containers = containers(spec, status, &used);
    let created = metadata.creation_timestamp.as_ref()?.0;
    Some(Pod {
        name: metadata.name.as_deref()?.into(),
        uid,
        version: metadata.resource_version.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        observed_generation: status.observed_generation,
        created,
        started: taken_in(status, ready, created),
        node: spec
            .node_name
            .as_deref()
            .filter(|node| !node.is_empty())
            .map(Arc::from),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        deleting: metadata.deletion_timestamp.is_some(),
        ready: ready.filter(is_true).is_some(),
        ready_changed: ready.and_then(|one| Some(one.last_transition_time.as_ref()?.0)),
        qos: match status.qos_class.as_deref() {
            Some("Guaranteed") => Qos::Guaranteed,
            Some("BestEffort") => Qos::BestEffort,
            _ => Qos::Burstable,
        },
        has_pod_resources: spec.resources.as_ref().is_some_and(|it| !it.is_empty()),
        containers,
        pending: condition("PodResizePending").filter(is_true).map(pending),
        in_progress: condition("PodResizeInProgress")
            .filter(is_true)
            .map(in_progress),
        memory: memory(pod.annotations().get(REMEMBERED_ANNOTATION)),
    })
}

/// When its kubelet took the pod in. Not every virtual one writes `startTime`; what is told of containers is a kubelet's word, too.
fn taken_in(status: &Status, ready: Option<&Condition>, created: Timestamp) -> Option<Timestamp> {
    if let Some(time) = &status.start_time {
        return Some(time.0);
    }
    let told = status.phase.as_deref() == Some("Running") || !status.container_statuses.is_empty();
    let since = || Some(ready?.last_transition_time.as_ref()?.0);
    told.then(|| since().unwrap_or(created))
}

/// What a pod requests of a resource while it runs; nothing, once it has ended. One that is resized here counts as of its own size:
/// what it gives back is no news.
pub fn requested(pod: &ResizablePod, resource: Resource) -> Quantity {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let spec = pod.spec.as_ref();
    let spec = spec.filter(|_| !matches!(phase, Some("Succeeded" | "Failed")));
    let own = match memory(pod.annotations().get(REMEMBERED_ANNOTATION)) {
        Memory::Known(remembered) => remembered.before,
        Memory::Nothing | Memory::Unreadable => Sizes::new(),
    };
    let all = spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter();
        spec.containers
            .iter()
            .chain(init.filter(|one| one.is_sidecar()))
    });
    let requests = all.filter_map(|one| {
        let stands = || one.resources.as_ref().map(Amounts::resources);
        let resources = own.get(&one.name).copied().or_else(stands)?;
        Some(resources.requests.get(resource)?.milli())
    });
    Quantity::from_milli(requests.sum())
}

fn containers(spec: &Spec, status: &Status, used: &BTreeMap<String, Quantity>) -> Vec<Container> {
    let init = spec.init_containers.iter().map(|one| {
        let kind = match one.is_sidecar() {
            true => ContainerKind::Sidecar,
            false => ContainerKind::Init,
        };
        (one, kind, &status.init_container_statuses)
    });
    let app = spec
        .containers
        .iter()
        .map(|one| (one, ContainerKind::App, &status.container_statuses));
    app.chain(init)
        .map(|(one, kind, statuses)| {
            let actual = statuses.iter().find(|status| status.name == one.name);
            let restarts = |resource: &str| {
                let mut policies = one.resize_policy.iter();
                policies.any(|policy| {
                    policy.resource_name == resource && policy.restart_policy == "RestartContainer"
                })
            };
            Container {
                name: one.name.clone(),
                kind,
                resources: one
                    .resources
                    .as_ref()
                    .map(Amounts::resources)
                    .unwrap_or_default(),
                actual: actual
                    .and_then(|status| status.resources.as_ref())
                    .map(Amounts::resources),
                cpu_restarts: restarts("cpu"),
                memory_restarts: restarts("memory"),
                memory_used: used.get(&one.name).copied(),
            }
        })
        .collect()
}

impl Amounts {
    fn resources(&self) -> Resources {
        let list = |of: &BTreeMap<String, String>| {
            let amount = |name: &str| of.get(name).and_then(|text| text.parse().ok());
            ResourceList {
                cpu: amount("cpu"),
                memory: amount("memory"),
            }
        };
        Resources {
            requests: list(&self.requests),
            limits: list(&self.limits),
        }
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

fn pending(condition: &Condition) -> Pending {
    Pending {
        why: match condition.reason.as_deref() {
            Some("Infeasible") => PendingReason::Infeasible,
            _ => PendingReason::Deferred,
        },
        message: condition.message.clone().unwrap_or_default(),
        since: since(condition),
        generation: condition.observed_generation,
    }
}

fn in_progress(condition: &Condition) -> InProgress {
    let failed = condition.reason.as_deref() == Some("Error");
    InProgress {
        error: failed.then(|| condition.message.clone().unwrap_or_default()),
        since: since(condition),
        generation: condition.observed_generation,
    }
}

fn since(condition: &Condition) -> jiff::Timestamp {
    let at = condition.last_transition_time.as_ref();
    at.map_or(jiff::Timestamp::MIN, |time| time.0)
}

/// An annotation that somebody emptied is one that isn't there.
fn memory(annotation: Option<&String>) -> Memory {
    match annotation.map(|text| text.trim()) {
        None | Some("") => Memory::Nothing,
        Some(text) => serde_json::from_str(text).map_or(Memory::Unreadable, Memory::Known),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ApiResource, GroupVersionKind};
    use serde_json::{Value, json};

    use super::*;

    fn parsed(pod: Value) -> ResizablePod {
        serde_json::from_value(pod).unwrap()
    }

    fn metadata() -> Value {
        json!({
            "name": "web-1", "uid": "u1", "resourceVersion": "70", "generation": 3,
            "creationTimestamp": "2026-11-30T10:00:00Z",
        })
    }

    #[test]
    fn a_pod_tells_all_that_resizing_looks_at() {
        let remembered = r#"{"before":{"app":{"requests":{"cpu":"500m"}}},"asked":[],"at":"2026-11-30T10:00:05Z"}"#;
        let mut metadata = metadata();
        metadata["annotations"] = json!({REMEMBERED_ANNOTATION: remembered});
        let pod = parsed(json!({
            "metadata": metadata,
            "spec": {
                "nodeName": "n1",
                "containers": [{
                    "name": "app",
                    "resources": {"requests": {"cpu": "2", "memory": "1Gi", "example.com/gpu": "1"}, "limits": {"memory": "1Gi"}},
                    "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}, {"resourceName": "cpu", "restartPolicy": "NotRequired"}],
                }],
                "initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "10m"}}}],
            },
            "status": {
                "phase": "Running", "startTime": "2026-11-30T10:00:02Z", "qosClass": "Burstable", "observedGeneration": 2,
                "conditions": [
                    {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-30T10:00:02Z"},
                    {"type": "PodResizePending", "status": "True", "reason": "Deferred", "message": "Node didn't have enough capacity: cpu",
                        "lastTransitionTime": "2026-11-30T10:00:09Z", "observedGeneration": 3},
                    {"type": "PodResizeInProgress", "status": "True", "reason": "Error", "message": "oom", "observedGeneration": 2},
                ],
                "containerStatuses": [{"name": "app", "resources": {"requests": {"cpu": "500m"}}}],
            },
        }));
        let used = Used::default();
        used.saw("u1", [("app".to_owned(), "700Mi".parse().unwrap())].into());
        let seen = to_engine(&pod, &used).unwrap();
        assert_eq!(
            (&*seen.name, &*seen.uid, &*seen.version),
            ("web-1", "u1", "70")
        );
        assert_eq!((seen.generation, seen.observed_generation), (3, Some(2)));
        assert!(!seen.ready && !seen.finished && !seen.deleting && !seen.has_pod_resources);
        assert_eq!(seen.started, seen.ready_changed);
        assert!(matches!(&seen.memory, Memory::Known(known) if known.asked.is_empty()));
        let pending = seen.pending.unwrap();
        assert_eq!(
            (pending.why, pending.generation),
            (PendingReason::Deferred, Some(3))
        );
        assert_eq!(seen.in_progress.unwrap().error.as_deref(), Some("oom"));
        let [app, setup, proxy] = &seen.containers[..] else {
            panic!("{:?}", seen.containers)
        };
        assert_eq!(app.kind, ContainerKind::App);
        assert_eq!(
            (setup.kind, proxy.kind),
            (ContainerKind::Init, ContainerKind::Sidecar)
        );
        assert_eq!(app.resources.requests.cpu, Some("2".parse().unwrap()));
        assert_eq!(
            app.actual.unwrap().requests.cpu,
            Some("500m".parse().unwrap())
        );
        assert!(app.memory_restarts && !app.cpu_restarts);
        assert_eq!(app.memory_used, Some("700Mi".parse().unwrap()));
        assert_eq!((proxy.actual, proxy.memory_used), (None, None));
    }

    #[test]
    fn a_pod_without_anything_yet_is_a_pod() {
        let seen = to_engine(&parsed(json!({"metadata": metadata()})), &Used::default()).unwrap();
        assert_eq!(
            (seen.started, seen.node, seen.containers.len()),
            (None, None, 0)
        );
        assert_eq!(seen.memory, Memory::Nothing);
        let mut broken = metadata();
        broken["annotations"] = json!({REMEMBERED_ANNOTATION: "{"});
        let seen = to_engine(&parsed(json!({"metadata": broken})), &Used::default()).unwrap();
        assert_eq!(seen.memory, Memory::Unreadable);
        assert!(to_engine(&parsed(json!({"metadata": {}})), &Used::default()).is_none());
    }

    #[test]
    fn a_kubelet_that_tells_of_containers_has_taken_the_pod_in() {
        let started = |status: Value| {
            let pod = parsed(json!({"metadata": metadata(), "status": status}));
            let started = to_engine(&pod, &Used::default()).unwrap().started;
            started.map(|at| at.to_string())
        };
        let ready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-30T10:00:02Z"}]);
        let waiting = json!([{"name": "app"}]);
        let [created, later] =
            ["2026-11-30T10:00:00Z", "2026-11-30T10:00:02Z"].map(|it| Some(it.to_owned()));
        // The scheduler writes conditions, too.
        assert_eq!(
            started(json!({"phase": "Pending", "conditions": ready})),
            None
        );
        assert_eq!(
            started(json!({"phase": "Pending", "containerStatuses": waiting})),
            created
        );
        assert_eq!(
            started(json!({"phase": "Running", "conditions": ready})),
            later
        );
        let told =
            json!({"phase": "Running", "conditions": ready, "startTime": "2026-11-30T10:00:00Z"});
        assert_eq!(started(told), created);
    }

    #[test]
    fn pods_of_others_that_a_selector_finds_are_theirs() {
        let target = |group: &str, kind: &str| Target {
            resource: ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk(group, "v1", kind),
                "x",
            ),
            namespace: "shop".into(),
            name: "web".into(),
        };
        let owned = |kind: &str, name: &str| {
            let mut metadata = metadata();
            metadata["labels"] = json!({"pod-template-hash": "7f9"});
            metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "o", "controller": true}]);
            parsed(json!({"metadata": metadata}))
        };
        let plain = target("apps", "ReplicaSet");
        assert!(belongs_to(&owned("ReplicaSet", "web"), &plain));
        assert!(!belongs_to(&owned("ReplicaSet", "web-7f9"), &plain));
        let (deployment, set) = (target("apps", "Deployment"), target("apps", "StatefulSet"));
        let rollout = target("argoproj.io", "Rollout");
        assert!(belongs_to(&owned("ReplicaSet", "web-7f9"), &deployment));
        assert!(!belongs_to(
            &owned("ReplicaSet", "web-two-7f9"),
            &deployment
        ));
        assert!(!belongs_to(&owned("Job", "web-7f9"), &deployment));
        assert!(belongs_to(&owned("StatefulSet", "web"), &set));
        assert!(!belongs_to(&owned("StatefulSet", "other"), &set));
        assert!(belongs_to(&owned("ReplicaSet", "anything"), &rollout));
        let orphan = parsed(json!({"metadata": metadata()}));
        assert!(!belongs_to(&orphan, &deployment) && belongs_to(&orphan, &rollout));
    }

    #[test]
    fn a_resized_pod_counts_as_of_its_own_size() {
        let remembered = r#"{"before":{"app":{"requests":{"cpu":"500m"}}},"asked":[],"at":"2026-11-30T10:00:05Z"}"#;
        let container =
            |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        let mut metadata = metadata();
        let spec = json!({
            "containers": [container("app", "2"), container("log", "100m")],
            "initContainers": [container("setup", "9")],
        });
        let cpu = |metadata: &Value, phase: &str| {
            let pod = json!({"metadata": metadata, "spec": spec, "status": {"phase": phase}});
            requested(&parsed(pod), Resource::Cpu).milli()
        };
        assert_eq!(
            (cpu(&metadata, "Running"), cpu(&metadata, "Failed")),
            (2100, 0)
        );
        metadata["annotations"] = json!({REMEMBERED_ANNOTATION: remembered});
        assert_eq!(cpu(&metadata, "Running"), 600);
    }
}
