//! What a kubelet writes into a pod's status.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, PodCondition, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::amounts::{Amounts, CPU, MEMORY};
use super::record::{Record, Sizes};
use crate::nodes::NODE_IP;

const PENDING: &str = "PodResizePending";
const IN_PROGRESS: &str = "PodResizeInProgress";

/// The status of a pod, as the `status` of a strategic merge patch: conditions of others stay.
pub(super) fn status(record: &Record) -> Value {
    let started = record.started.is_some();
    let spec = record.pod.spec.as_ref();
    let main = spec.into_iter().flat_map(|spec| &spec.containers);
    let init = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let main: Vec<_> = main.map(|it| container_status(record, it)).collect();
    let init: Vec<_> = init.map(|it| container_status(record, it)).collect();
    let mut status = json!({
        "observedGeneration": record.generation(),
        "phase": if started { "Running" } else { "Pending" },
        "startTime": record.admitted.map(Time),
        "conditions": conditions(record),
        "containerStatuses": main,
        "hostIP": NODE_IP,
        "hostIPs": [{"ip": NODE_IP}],
        "allocatedResources": amounts_of(record, &record.allocated),
    });
    if !init.is_empty() {
        status["initContainerStatuses"] = json!(init);
    }
    if started {
        status["podIP"] = json!(record.ip);
        status["podIPs"] = json!([{"ip": record.ip}]);
    }
    status
}

fn conditions(record: &Record) -> Vec<Value> {
    let generation = record.generation();
    let of = |kind: &str, status: bool, since: Option<Timestamp>| PodCondition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: since.map(Time),
        ..PodCondition::default()
    };
    let spec = record.pod.spec.as_ref();
    let has_init = spec.is_some_and(|spec| spec.init_containers.iter().flatten().next().is_some());
    let started = record.started.is_some();
    let since_start = record.started.or(record.admitted);
    let (ready, ready_since) = record.containers_ready;

    let mut all = vec![
        of("PodReadyToStartContainers", started, since_start),
        of(
            "Initialized",
            started || !has_init,
            if has_init {
                since_start
            } else {
                record.admitted
            },
        ),
    ];
    for kind in ["ContainersReady", "Ready"] {
        let mut condition = of(kind, ready, Some(ready_since));
        if !ready {
            let unready = record
                .containers()
                .filter(|it| record.stays(it) && !is_ready(record, &it.name));
            let unready: Vec<_> = unready.map(|it| it.name.as_str()).collect();
            condition.reason = Some("ContainersNotReady".to_owned());
            condition.message = Some(format!(
                "containers with unready status: [{}]",
                unready.join(" ")
            ));
        }
        all.push(condition);
    }
    // The scheduler's; a kubelet says it again.
    all.push(of("PodScheduled", true, None));
    let gates = spec
        .into_iter()
        .flat_map(|spec| spec.readiness_gates.iter().flatten());
    let since_ready = record.ready;
    all.extend(gates.filter_map(|gate| Some(of(&gate.condition_type, true, Some(since_ready?)))));

    let mut values: Vec<Value> = all.iter().map(|condition| json!(condition)).collect();
    values.push(match &record.pending {
        Some(pending) => json!({
            "type": PENDING,
            "status": "True",
            "reason": pending.reason,
            "message": pending.message,
            "observedGeneration": pending.generation,
            "lastProbeTime": Time(pending.since),
            "lastTransitionTime": Time(pending.since),
        }),
        None => json!({"$patch": "delete", "type": PENDING}),
    });
    values.push(match &record.progress {
        Some(progress) => json!({
            "type": IN_PROGRESS,
            "status": "True",
            // Null takes away what an earlier one had.
            "reason": progress.error.as_ref().map(|_| "Error"),
            "message": progress.error,
            "observedGeneration": progress.generation,
            "lastProbeTime": Time(progress.since),
            "lastTransitionTime": Time(progress.since),
        }),
        None => json!({"$patch": "delete", "type": IN_PROGRESS}),
    });
    values
}

fn is_ready(record: &Record, name: &str) -> bool {
    let runs = record
        .lives
        .get(name)
        .is_some_and(|life| life.stopped.is_none());
    record.ready.is_some() && runs
}

fn container_status(record: &Record, container: &Container) -> ContainerStatus {
    let name = &container.name;
    let mut status = ContainerStatus {
        name: name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let Some(started) = record.started else {
        let spec = record.pod.spec.as_ref();
        let has_init =
            spec.is_some_and(|spec| spec.init_containers.iter().flatten().next().is_some());
        let reason = if has_init {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        status.state = Some(ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.to_owned()),
                message: None,
            }),
            ..ContainerState::default()
        });
        return status;
    };
    let allocated = record.allocated.get(name).cloned().unwrap_or_default();
    status.allocated_resources.clone_from(&allocated.requests);
    let Some(life) = record.lives.get(name) else {
        // It ran before the others, and ended.
        status.ready = true;
        status.resources = Some(allocated);
        status.container_id = Some(container_id(record, name, 0));
        status.state = Some(ended(started, started, 0, "Completed"));
        return status;
    };
    status.restart_count = life.restarts;
    status.container_id = Some(container_id(record, name, life.restarts));
    status.last_state = life
        .last
        .map(|(since, until)| ended(since, until, 143, "Error"));
    status.ready = is_ready(record, name);
    if let Some(stopped) = life.stopped {
        status.resources = Some(allocated);
        status.state = Some(ended(life.since, stopped, 143, "Error"));
        return status;
    }
    status.started = Some(true);
    status.resources = Some(shown(&allocated, record.actual.get(name)));
    status.state = Some(ContainerState {
        running: Some(ContainerStateRunning {
            started_at: Some(Time(life.since)),
        }),
        ..ContainerState::default()
    });
    status
}

/// What is allocated, with the CPU and memory that a container has.
fn shown(
    allocated: &ResourceRequirements,
    actual: Option<&ResourceRequirements>,
) -> ResourceRequirements {
    let mut shown = allocated.clone();
    let Some(actual) = actual else {
        return shown;
    };
    for (from, to) in [
        (&actual.requests, &mut shown.requests),
        (&actual.limits, &mut shown.limits),
    ] {
        let Some(to) = to else { continue };
        for resource in [CPU, MEMORY] {
            match from.as_ref().and_then(|all| all.get(resource)) {
                Some(quantity) => {
                    to.insert(resource.to_owned(), quantity.clone());
                }
                // One that was added, and is not there yet.
                None => {
                    to.remove(resource);
                }
            }
        }
    }
    shown
}

fn container_id(record: &Record, name: &str, restarts: i32) -> String {
    let uid = record.pod.metadata.uid.as_deref().unwrap_or_default();
    format!("fake://{uid}-{name}-{restarts}")
}

fn ended(since: Timestamp, until: Timestamp, exit_code: i32, reason: &str) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code,
            reason: Some(reason.to_owned()),
            started_at: Some(Time(since)),
            finished_at: Some(Time(until)),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

/// The sum for the whole pod, since 1.36 in its status.
fn amounts_of(record: &Record, sizes: &Sizes) -> Value {
    let Amounts { cpu, memory } = record.sum(sizes);
    let mut all = json!({});
    if cpu > 0 {
        all[CPU] = json!(format!("{cpu}m"));
    }
    if memory > 0 {
        all[MEMORY] = json!(memory.to_string());
    }
    all
}
