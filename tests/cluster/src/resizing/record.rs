//! One pod, as its kubelet knows it: what it was given, what its containers have, and what is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::jiff::Timestamp;

use super::amounts::{self, Amounts, CPU, MEMORY};
use super::knobs::{Failure, Knobs};

/// Resources by container. Init containers that end are in it as long as they may be resized: until they have run.
pub(super) type Sizes = BTreeMap<String, ResourceRequirements>;

/// A condition `PodResizePending`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub reason: &'static str,
    pub message: String,
    pub generation: i64,
    /// Since when it has that reason.
    pub since: Timestamp,
}

pub(super) const DEFERRED: &str = "Deferred";
pub(super) const INFEASIBLE: &str = "Infeasible";

/// A resize that was taken on, and is not there yet: a condition `PodResizeInProgress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub generation: i64,
    /// Since when it is as it is: under way, or failing.
    pub since: Timestamp,
    /// What it failed with.
    pub error: Option<String>,
    /// When the containers get it.
    pub due: Timestamp,
    /// Since when it fails by [`Knobs::fails`].
    failing_since: Option<Timestamp>,
}

/// A container that runs, or is away for a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub since: Timestamp,
    pub restarts: i32,
    /// When it was stopped for a restart.
    pub stopped: Option<Timestamp>,
    /// From when to when it ran before.
    pub last: Option<(Timestamp, Timestamp)>,
}

/// A pod on a node.
#[derive(Debug)]
pub(super) struct Record {
    pub pod: Pod,
    pub ip: String,
    /// What the node keeps for it.
    pub allocated: Sizes,
    /// What its containers run with.
    pub actual: Sizes,
    /// When the node took it on: its start time.
    pub admitted: Option<Timestamp>,
    /// When its containers started.
    pub started: Option<Timestamp>,
    /// When it was ready first.
    pub ready: Option<Timestamp>,
    /// Whether all its containers are ready, and since when.
    pub containers_ready: (bool, Timestamp),
    pub lives: BTreeMap<String, Life>,
    pub pending: Option<Pending>,
    pub progress: Option<Progress>,
}

impl Record {
    /// A pod that is new on its node, or that somebody else has started there.
    pub fn new(pod: Pod, ip: String, now: Timestamp) -> Record {
        let mut record = Record {
            ip,
            allocated: Sizes::new(),
            actual: Sizes::new(),
            admitted: None,
            started: None,
            ready: None,
            containers_ready: (false, now),
            lives: BTreeMap::new(),
            pending: None,
            progress: None,
            pod,
        };
        record.allocated = record.desired();
        if record.phase() == "Running" {
            record.adopt(now);
        }
        record
    }

    fn adopt(&mut self, now: Timestamp) {
        let status = self.pod.status.clone().unwrap_or_default();
        let began = status.start_time.as_ref().map_or(now, |time| time.0);
        self.admitted = Some(began);
        self.start(now);
        self.ready = Some(now);
        if let Some(ip) = status.pod_ip {
            self.ip = ip;
        }
        let statuses = status.container_statuses.into_iter().flatten();
        for status in statuses.chain(status.init_container_statuses.into_iter().flatten()) {
            if let Some(resources) = status.resources {
                self.allocated
                    .insert(status.name.clone(), resources.clone());
                self.actual.insert(status.name.clone(), resources);
            }
            if let Some(life) = self.lives.get_mut(&status.name) {
                life.restarts = status.restart_count;
            }
        }
    }

    pub fn phase(&self) -> &str {
        let phase = self.pod.status.as_ref().and_then(|it| it.phase.as_deref());
        phase.unwrap_or("Pending")
    }

    /// It has ended, and keeps nothing of its node.
    pub fn is_over(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    pub fn is_deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    pub fn generation(&self) -> i64 {
        self.pod.metadata.generation.unwrap_or(0)
    }

    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        let spec = self.pod.spec.iter();
        spec.flat_map(|spec| {
            spec.containers
                .iter()
                .chain(spec.init_containers.iter().flatten())
        })
    }

    /// Whether a container runs as long as its pod does.
    pub fn stays(&self, container: &Container) -> bool {
        let spec = self.pod.spec.as_ref();
        let mut main = spec.into_iter().flat_map(|spec| &spec.containers);
        amounts::is_sidecar(container) || main.any(|it| it.name == container.name)
    }

    /// What the pod's spec asks for.
    pub fn desired(&self) -> Sizes {
        let sizes = self
            .containers()
            .map(|it| (it.name.clone(), it.resources.clone().unwrap_or_default()));
        sizes.collect()
    }

    /// Whether the spec asks for something else than it was given.
    pub fn wants_another_size(&self) -> bool {
        self.containers().any(|container| {
            let nothing = ResourceRequirements::default();
            let desired = container.resources.as_ref().unwrap_or(&nothing);
            let allocated = self.allocated.get(&container.name).unwrap_or(&nothing);
            desired != allocated && !same_size(desired, allocated)
        })
    }

    /// What its node counts for it: what it was given, or has still.
    pub fn used(&self) -> Amounts {
        let Some(spec) = &self.pod.spec else {
            return Amounts::default();
        };
        amounts::of_pod(spec, |container| {
            let of = |sizes: &Sizes| {
                sizes
                    .get(&container.name)
                    .map(amounts::requests)
                    .unwrap_or_default()
            };
            of(&self.allocated).max(of(&self.actual))
        })
    }

    /// What it asks for.
    pub fn wanted(&self) -> Amounts {
        self.sum(&self.desired())
    }

    /// Whether it asks for more than it was given.
    pub fn grows(&self) -> bool {
        let (wanted, allocated) = (self.wanted(), self.sum(&self.allocated));
        wanted.cpu > allocated.cpu || wanted.memory > allocated.memory
    }

    pub fn sum(&self, sizes: &Sizes) -> Amounts {
        let Some(spec) = &self.pod.spec else {
            return Amounts::default();
        };
        amounts::of_pod(spec, |container| {
            sizes
                .get(&container.name)
                .map(amounts::requests)
                .unwrap_or_default()
        })
    }

    /// The node takes on what the spec asks for.
    pub fn allocate(&mut self, now: Timestamp, takes: Duration) {
        self.allocated = self.desired();
        self.pending = None;
        self.progress = None;
        // Containers that are not there yet start with it.
        if self.started.is_some() && !self.is_in_place() {
            self.progress = Some(Progress {
                generation: self.generation(),
                since: now,
                error: None,
                due: after(now, takes),
                failing_since: None,
            });
        }
    }

    /// The node does not take it on.
    pub fn refuse(&mut self, reason: &'static str, message: String, now: Timestamp) {
        let since = match &self.pending {
            Some(pending) if pending.reason == reason => pending.since,
            _ => now,
        };
        self.pending = Some(Pending {
            reason,
            message,
            generation: self.generation(),
            since,
        });
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Timestamp, knobs: Knobs<'_>, start_time: Duration) {
        let start_time = knobs.start_time(start_time);
        let admitted = *self.admitted.get_or_insert_with(|| {
            self.containers_ready = (false, now);
            now
        });
        let running_after = knobs.running_after().unwrap_or(start_time).min(start_time);
        if self.started.is_none() && now >= after(admitted, running_after) {
            self.start(now);
        }
        if self.started.is_some() && self.ready.is_none() && now >= after(admitted, start_time) {
            self.ready = Some(now);
        }
        let restart_time = knobs.restart_time();
        for life in self.lives.values_mut() {
            if let Some(stopped) = life.stopped.filter(|at| now >= after(*at, restart_time)) {
                *life = Life {
                    since: now,
                    restarts: life.restarts + 1,
                    stopped: None,
                    last: Some((life.since, stopped)),
                };
            }
        }
        if self.progress.as_ref().is_some_and(|it| now >= it.due) && !knobs.silent() {
            self.carry_out(now, knobs);
        }
        let ready = self.ready.is_some() && self.lives.values().all(|life| life.stopped.is_none());
        if ready != self.containers_ready.0 {
            self.containers_ready = (ready, now);
        }
    }

    /// When [`advance`](Self::advance) has something to do again, if nothing happens.
    pub fn due(&self, knobs: Knobs<'_>, start_time: Duration) -> Option<Timestamp> {
        let mut times = Vec::new();
        let start_time = knobs.start_time(start_time);
        if let Some(admitted) = self.admitted {
            if self.started.is_none() {
                let running_after = knobs.running_after().unwrap_or(start_time);
                times.push(after(admitted, running_after.min(start_time)));
            } else if self.ready.is_none() {
                times.push(after(admitted, start_time));
            }
        }
        let stopped = self.lives.values().filter_map(|life| life.stopped);
        times.extend(stopped.map(|at| after(at, knobs.restart_time())));
        if let Some(progress) = self.progress.as_ref().filter(|_| !knobs.silent()) {
            let recovers = || {
                Some(after(
                    progress.failing_since?,
                    knobs.fails()?.recovers_after?,
                ))
            };
            times.extend(match &progress.error {
                None => Some(progress.due),
                Some(_) => recovers(),
            });
        }
        times.into_iter().min()
    }

    fn start(&mut self, now: Timestamp) {
        self.started = Some(now);
        self.actual = self.allocated.clone();
        let lives = self
            .containers()
            .filter(|it| self.stays(it))
            .map(|container| {
                let life = Life {
                    since: now,
                    restarts: 0,
                    stopped: None,
                    last: None,
                };
                (container.name.clone(), life)
            });
        self.lives = lives.collect();
    }

    /// Whether a container runs; one that does not gets its size when it starts.
    fn runs(&self, name: &str) -> bool {
        self.lives
            .get(name)
            .is_some_and(|life| life.stopped.is_none())
    }

    fn differs(&self, name: &str, resource: &str) -> bool {
        let nothing = ResourceRequirements::default();
        let allocated = self.allocated.get(name).unwrap_or(&nothing);
        let actual = self.actual.get(name).unwrap_or(&nothing);
        !amounts::same(allocated, actual, resource)
    }

    /// Whether all containers that run have what they were given.
    fn is_in_place(&self) -> bool {
        self.lives.keys().all(|name| {
            !self.runs(name) || !(self.differs(name, CPU) || self.differs(name, MEMORY))
        })
    }

    /// Gives the containers what was taken on, as far as that goes.
    fn carry_out(&mut self, now: Timestamp, knobs: Knobs<'_>) {
        for name in self.to_restart() {
            if let Some(life) = self.lives.get_mut(&name) {
                life.stopped = Some(now);
            }
            if let Some(allocated) = self.allocated.get(&name) {
                self.actual.insert(name, allocated.clone());
            }
        }
        let error = self.memory_refusal(knobs).or_else(|| {
            let failure = knobs.fails()?;
            self.fail(&failure, now)
        });
        let Some(error) = error else {
            for (name, resource) in self.steps() {
                self.give(&name, resource);
            }
            // Whatever else is in the resources: claims, and resources that can't be resized.
            self.actual = self.allocated.clone();
            self.progress = None;
            return;
        };
        if self.is_in_place() {
            self.progress = None;
        } else if let Some(progress) = &mut self.progress {
            if progress.error.is_none() {
                progress.since = now;
            }
            progress.error = Some(error);
        }
    }

    /// Containers whose policy is to restart for a resource that changes.
    fn to_restart(&self) -> Vec<String> {
        let restarts = self.containers().filter(|container| {
            let policies = container.resize_policy.iter().flatten();
            let mut restart = policies.filter(|it| it.restart_policy == "RestartContainer");
            self.runs(&container.name)
                && restart.any(|it| self.differs(&container.name, &it.resource_name))
        });
        restarts.map(|it| it.name.clone()).collect()
    }

    /// What there is to do, in a kubelet's order: memory before CPU, less before more.
    fn steps(&self) -> Vec<(String, &'static str)> {
        let mut steps = Vec::new();
        for resource in [MEMORY, CPU] {
            let names = || {
                self.lives
                    .keys()
                    .filter(|it| self.runs(it) && self.differs(it, resource))
            };
            let shrinks = |name: &&String| {
                let of = |sizes: &Sizes| {
                    let resources = sizes.get(*name)?;
                    amounts::limited(resources, resource)
                        .or_else(|| amounts::requested(resources, resource))
                };
                of(&self.allocated) < of(&self.actual)
            };
            let (less, more): (Vec<_>, Vec<_>) = names().partition(shrinks);
            steps.extend(
                less.into_iter()
                    .chain(more)
                    .map(|name| (name.clone(), resource)),
            );
        }
        steps
    }

    fn give(&mut self, name: &str, resource: &str) {
        let Some(allocated) = self.allocated.get(name) else {
            return;
        };
        let actual = self.actual.entry(name.to_owned()).or_default();
        for (from, to) in [
            (&allocated.requests, &mut actual.requests),
            (&allocated.limits, &mut actual.limits),
        ] {
            if let Some(quantity) = from.as_ref().and_then(|all| all.get(resource)) {
                let to = to.get_or_insert_with(BTreeMap::new);
                to.insert(resource.to_owned(), quantity.clone());
            }
        }
    }

    /// Does a part, and says what the rest failed with; nothing once it has recovered.
    fn fail(&mut self, failure: &Failure<'_>, now: Timestamp) -> Option<String> {
        let failing_since = self.progress.as_ref()?.failing_since;
        if let (Some(since), Some(time)) = (failing_since, failure.recovers_after)
            && now >= after(since, time)
        {
            return None;
        }
        let steps = self.steps();
        let fails = |place: usize, name: &str| match &failure.containers {
            Some(names) => names.contains(&name),
            // Once it fails, the next try gets no further.
            None => failing_since.is_some() || place >= steps.len() / 2,
        };
        let mut first = None;
        for (place, (name, resource)) in steps.iter().enumerate() {
            if fails(place, name) {
                first.get_or_insert_with(|| (name.clone(), *resource));
            } else {
                self.give(name, resource);
            }
        }
        let (name, resource) = first?;
        self.progress.as_mut()?.failing_since.get_or_insert(now);
        Some(format!(
            "failed to resize {resource} of container {name:?}: the fake kubelet was told to fail"
        ))
    }

    /// Why a limit of memory may not fall, in a kubelet's words.
    fn memory_refusal(&self, knobs: Knobs<'_>) -> Option<String> {
        let limit =
            |sizes: &Sizes, name: &str| Some(amounts::limited(sizes.get(name)?, MEMORY)? / 1000);
        let of_pod = |sizes: &Sizes| {
            let limits = self.lives.keys().map(|name| limit(sizes, name));
            limits.sum::<Option<i128>>()
        };
        let mut errors = Vec::new();
        let in_use: i128 = self
            .lives
            .keys()
            .map(|name| knobs.memory_in_use(name))
            .sum();
        if let Some(new) = of_pod(&self.allocated)
            && of_pod(&self.actual).is_none_or(|old| new < old)
            && in_use >= new
        {
            errors.push(format!(
                "attempting to set pod memory limit ({new}) below current usage ({in_use})"
            ));
        }
        for name in self.lives.keys().filter(|name| self.runs(name)) {
            let in_use = knobs.memory_in_use(name);
            if let Some(new) = limit(&self.allocated, name)
                && limit(&self.actual, name).is_none_or(|old| new < old)
                && in_use >= new
            {
                errors.push(format!(
                    "attempting to set container {name:?} memory limit ({new}) below current usage ({in_use})"
                ));
            }
        }
        match errors.as_slice() {
            [] => None,
            [one] => Some(format!("cannot decrease memory limits: {one}")),
            several => Some(format!(
                "cannot decrease memory limits: [{}]",
                several.join(", ")
            )),
        }
    }
}

fn same_size(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    amounts::same(a, b, CPU) && amounts::same(a, b, MEMORY)
}

pub(super) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
