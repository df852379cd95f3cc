//! The API server and the kubelets, as far as resizing goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::Quantity;
use sakidori_engine::resize::{
    Container, ContainerKind, ContainerResize, InProgress, Memory, Pending, PendingReason, Pod,
    Qos, Refusal, Remembered, ResizeOutcome, Resource, ResourceList, Resources, Sizes,
};

/// Milliseconds since the start, as the API server writes them.
pub fn stamp(now: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(i64::try_from(now).unwrap())
}

/// `500m/1 1Gi/2Gi`: cpu and memory, each a request and a limit, where there is one.
pub fn resources(text: &str) -> Resources {
    let mut found = Resources::default();
    for (resource, amounts) in Resource::ALL.iter().zip(text.split_whitespace()) {
        let (request, limit) = match amounts.split_once('/') {
            Some((request, limit)) => (request, limit.parse().ok()),
            None => (amounts, None),
        };
        let request: Option<Quantity> = request.parse().ok();
        match resource {
            Resource::Cpu => (found.requests.cpu, found.limits.cpu) = (request, limit),
            Resource::Memory => (found.requests.memory, found.limits.memory) = (request, limit),
        }
    }
    found
}

pub fn qos(containers: &[Container]) -> Qos {
    let all = || containers.iter().map(|it| it.resources);
    let nothing = |list: ResourceList| list == ResourceList::default();
    if all().all(|it| nothing(it.requests) && nothing(it.limits)) {
        Qos::BestEffort
    } else if all()
        .all(|it| it.limits.cpu.is_some() && it.limits.memory.is_some() && it.limits == it.requests)
    {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

/// A pod as the API server has it, and what its node does with it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub pod: Pod,
    /// Its resources when it was created.
    pub own: Sizes,
    /// What the kubelet has allocated.
    pub allocated: Sizes,
    /// When the kubelet will have carried out what it allocated.
    pub done_at: Option<u64>,
    /// How often the kubelet still fails at it.
    pub to_fail: u32,
    /// When it will be Ready.
    pub ready_at: u64,
    /// Another actor set its resources.
    pub foreign: bool,
}

#[derive(Clone, Debug)]
pub struct Cluster {
    pub pods: BTreeMap<Arc<str>, Stored>,
    version: u64,
    /// What a node has, in thousandths of a CPU and in MiB.
    pub node_cpu: i128,
    /// ResourceQuota of CPU requests, in thousandths.
    pub quota: i128,
    /// Memory limits can't be lowered, as before Kubernetes 1.34.
    pub old: bool,
    /// The API server compares with the node, too.
    pub validates_node: bool,
    /// Kubelets that do nothing.
    pub down: Vec<Arc<str>>,
    /// How long a kubelet takes.
    pub slowness: u64,
    /// How often each new resize fails first.
    pub failures: u32,
    /// What every container uses of its memory.
    pub memory_used: Quantity,
    pub shows_use: bool,
}

fn cpu_of(sizes: &Sizes) -> i128 {
    sizes
        .values()
        .filter_map(|it| it.requests.cpu)
        .map(Quantity::milli)
        .sum()
}

pub fn actual(pod: &Pod) -> Sizes {
    let containers = pod.containers.iter();
    containers
        .map(|it| (it.name.clone(), it.actual.unwrap_or_default()))
        .collect()
}

pub fn specified(pod: &Pod) -> Sizes {
    pod.containers
        .iter()
        .map(|it| (it.name.clone(), it.resources))
        .collect()
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            pods: BTreeMap::new(),
            version: 0,
            node_cpu: 64_000,
            quota: i128::MAX,
            old: false,
            validates_node: false,
            down: Vec::new(),
            slowness: 300,
            failures: 0,
            memory_used: Quantity::default(),
            shows_use: false,
        }
    }
}

impl Cluster {
    /// A new pod; its kubelet takes it in when it next ticks.
    pub fn create(
        &mut self,
        now: u64,
        name: &str,
        node: &str,
        own: Resources,
        starts_in: u64,
    ) -> Arc<str> {
        self.version += 1;
        let uid: Arc<str> = format!("{name}-{}", self.version).into();
        let containers = vec![Container {
            name: "app".into(),
            kind: ContainerKind::App,
            resources: own,
            actual: None,
            cpu_restarts: false,
            memory_restarts: false,
            memory_used: None,
        }];
        let pod = Pod {
            name: name.into(),
            uid: uid.clone(),
            version: self.version.to_string(),
            generation: 1,
            observed_generation: None,
            created: stamp(now),
            started: None,
            node: Some(node.into()),
            finished: false,
            deleting: false,
            ready: false,
            ready_changed: None,
            qos: qos(&containers),
            has_pod_resources: false,
            containers,
            pending: None,
            in_progress: None,
            memory: Memory::Nothing,
        };
        let own = specified(&pod);
        self.pods.insert(
            uid.clone(),
            Stored {
                allocated: own.clone(),
                own,
                pod,
                done_at: None,
                to_fail: 0,
                ready_at: now + starts_in,
                foreign: false,
            },
        );
        uid
    }

    /// One write by whomever; the watch shows it.
    pub fn write(&mut self, uid: &str, change: impl FnOnce(&mut Stored)) {
        self.version += 1;
        let version = self.version.to_string();
        if let Some(stored) = self.pods.get_mut(uid) {
            change(stored);
            stored.pod.version = version;
        }
    }

    /// Writes the annotation.
    pub fn remember(
        &mut self,
        uid: &str,
        version: &str,
        remember: Option<Remembered>,
    ) -> ResizeOutcome {
        match self.pods.get(uid) {
            None => ResizeOutcome::Gone,
            Some(stored) if stored.pod.version != version => ResizeOutcome::Conflict,
            Some(_) => {
                self.write(uid, |stored| {
                    stored.pod.memory = remember.map_or(Memory::Nothing, Memory::Known);
                });
                ResizeOutcome::Done
            }
        }
    }

    /// Patches `pods/resize`, as its validation and admission allow.
    pub fn resize(&mut self, uid: &str, containers: &[ContainerResize]) -> ResizeOutcome {
        let refused = |why, message: &str| ResizeOutcome::Refused {
            why,
            message: message.into(),
        };
        let others: i128 = self
            .pods
            .iter()
            .filter(|(other, _)| ***other != *uid)
            .map(|(_, stored)| cpu_of(&specified(&stored.pod)))
            .sum();
        let Some(stored) = self.pods.get(uid) else {
            return ResizeOutcome::Gone;
        };
        assert!(
            stored.pod.started.is_some(),
            "{uid} was asked before its kubelet took it in"
        );
        let mut pod = stored.pod.clone();
        for resize in containers {
            let container = pod
                .containers
                .iter_mut()
                .find(|it| it.name == resize.name)
                .unwrap();
            let (old, new) = (container.resources, resize.resources);
            for (old, new) in [(old.requests, new.requests), (old.limits, new.limits)] {
                assert_eq!(
                    (old.cpu.is_some(), old.memory.is_some()),
                    (new.cpu.is_some(), new.memory.is_some()),
                    "{uid}: amounts are never added nor removed"
                );
            }
            if self.old && new.limits.memory < old.limits.memory {
                return refused(Refusal::LowersNoMemory, "memory limits cannot be decreased");
            }
            container.resources = new;
        }
        assert_eq!(qos(&pod.containers), pod.qos, "{uid} keeps its class");
        let own = cpu_of(&specified(&pod));
        if own > cpu_of(&specified(&stored.pod)) && others + own > self.quota {
            return refused(Refusal::Admission, "exceeded quota");
        }
        if self.validates_node && own > self.node_cpu {
            return refused(
                Refusal::NodeTooSmall,
                "node didn't have enough allocatable resources",
            );
        }
        let changed = specified(&pod) != specified(&stored.pod);
        self.write(uid, |stored| {
            stored.pod.containers = pod.containers;
            stored.pod.generation += i64::from(changed);
        });
        ResizeOutcome::Done
    }

    /// Every kubelet does what there is to do; returns whose status changed.
    pub fn tick(&mut self, now: u64) -> Vec<Arc<str>> {
        let uids: Vec<_> = self.pods.keys().cloned().collect();
        uids.into_iter()
            .filter(|uid| {
                let node = self.pods.get(uid).and_then(|it| it.pod.node.clone());
                let up = node.is_some_and(|node| !self.down.contains(&node));
                up && self.sync(uid, now)
            })
            .collect()
    }

    fn room_beside(&self, uid: &str, node: &Option<Arc<str>>) -> i128 {
        let beside = self
            .pods
            .iter()
            .filter(|(other, it)| ***other != *uid && it.pod.node == *node);
        self.node_cpu - beside.map(|(_, it)| cpu_of(&it.allocated)).sum::<i128>()
    }

    /// Nothing is there to do for its kubelet.
    fn is_idle(&self, stored: &Stored, now: u64) -> bool {
        let pod = &stored.pod;
        let used = self.shows_use.then_some(self.memory_used);
        let starts = pod.started.is_none() || !pod.ready && stored.ready_at <= now;
        let carries_out = stored.done_at.is_some_and(|at| at <= now);
        let in_sync = pod.pending.is_none() && pod.observed_generation == Some(pod.generation);
        let mut containers = pod.containers.iter();
        !starts
            && !carries_out
            && in_sync
            && containers.all(|it| {
                stored.allocated.get(&it.name) == Some(&it.resources) && it.memory_used == used
            })
    }

    fn sync(&mut self, uid: &str, now: u64) -> bool {
        let (slowness, failures, used) = (self.slowness, self.failures, self.memory_used);
        let idle = |it: &Stored| self.is_idle(it, now);
        let Some(before) = self.pods.get(uid).filter(|it| !idle(it)).cloned() else {
            return false;
        };
        let room = self.room_beside(uid, &before.pod.node);
        let mut after = before.clone();
        let wanted = specified(&after.pod);
        let pod = &mut after.pod;
        if pod.started.is_none() {
            (pod.started, pod.ready_changed) = (Some(stamp(now)), Some(stamp(now)));
            after.allocated = wanted.clone();
            for container in &mut pod.containers {
                container.actual = Some(container.resources);
            }
        }
        if !pod.ready && after.ready_at <= now {
            (pod.ready, pod.ready_changed) = (true, Some(stamp(now)));
        }
        let generation = Some(pod.generation);
        pod.observed_generation = generation;
        // What was infeasible is not looked at again before the specification changes.
        let given_up = pod
            .pending
            .as_ref()
            .is_some_and(|it| it.why == PendingReason::Infeasible && it.generation == generation);
        if wanted == after.allocated {
            pod.pending = None;
        } else if !given_up {
            let why = match cpu_of(&wanted) {
                cpu if cpu > self.node_cpu => Some(PendingReason::Infeasible),
                cpu if cpu > room && cpu > cpu_of(&after.allocated) => {
                    Some(PendingReason::Deferred)
                }
                _ => None,
            };
            match why {
                Some(why) => {
                    let since = pod.pending.as_ref().map_or(stamp(now), |it| it.since);
                    let message = format!("{why:?}");
                    pod.pending = Some(Pending {
                        why,
                        message,
                        since,
                        generation,
                    });
                }
                None => {
                    (after.allocated, pod.pending) = (wanted, None);
                    after.to_fail = failures;
                    after.done_at = Some(now + slowness);
                    pod.in_progress = Some(InProgress {
                        error: None,
                        since: stamp(now),
                        generation,
                    });
                }
            }
        }
        if after.done_at.is_some_and(|at| at <= now) {
            let too_low = pod.containers.iter().any(|container| {
                let limit = after.allocated[&container.name].limits.memory;
                let actual = container.actual.and_then(|it| it.limits.memory);
                limit < actual && limit.is_some_and(|limit| limit < used)
            });
            if too_low || after.to_fail > 0 {
                after.to_fail = after.to_fail.saturating_sub(1);
                after.done_at = Some(now + 10_000);
                let since = pod.in_progress.as_ref().map_or(stamp(now), |it| it.since);
                let error = Some(if too_low { "below its use" } else { "no luck" }.to_owned());
                pod.in_progress = Some(InProgress {
                    error,
                    since,
                    generation,
                });
            } else {
                (after.done_at, pod.in_progress) = (None, None);
                for container in &mut pod.containers {
                    container.actual = after.allocated.get(&container.name).copied();
                }
            }
        }
        for container in &mut pod.containers {
            container.memory_used = self.shows_use.then_some(used);
        }
        let changed = after.pod != before.pod;
        let moved = after.allocated != before.allocated || after.done_at != before.done_at;
        if changed {
            self.write(uid, |stored| *stored = after);
        } else if moved {
            self.pods.insert(uid.into(), after);
        }
        changed
    }
}
