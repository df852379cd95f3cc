//! Which resources a pod is to have: its own, or more under the policies that hold.
//!
//! A policy is measured from the pod's own resources, those from before its first resize, and never makes it smaller. What
//! can't be taken back is not given: a request or limit that isn't there is not added, since Kubernetes refuses to remove it.

use std::fmt;

use super::pod::{Container, ContainerKind, Pod, Qos};
use super::policy::{Holding, Policy, Settings, When};
use super::resources::{Resource, Resources, Sizes};
use crate::quantity::Quantity;

/// How far a limit is put above its request where they would be the same and the pod must not become Guaranteed: a
/// thousandth of a CPU, and a whole number of memory pages of any architecture.
const APART: [(Resource, Quantity); 2] = [
    (Resource::Cpu, Quantity::from_milli(1)),
    (Resource::Memory, Quantity::from_integer(1024 * 1024)),
];

/// What a pod is to have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub sizes: Sizes,
    /// The policies that make it so.
    pub under: Vec<When>,
    /// What policies ask for in vain.
    pub skipped: Vec<Skipped>,
}

/// Something that a policy asks for and a pod can't get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub container: String,
    pub resource: Option<Resource>,
    pub why: SkippedBecause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkippedBecause {
    NoSuchContainer,
    InitContainer,
    /// A BestEffort pod, or a container without a request for it: what is added can't be taken away again.
    NoRequest,
    /// `resizePolicy` restarts the container.
    Restarts,
    /// The pod has resources of its own, beside those of its containers.
    PodResources,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {}", self.container)?;
        if let Some(resource) = self.resource {
            write!(f, ", {resource}")?;
        }
        f.write_str(": ")?;
        f.write_str(match self.why {
            SkippedBecause::NoSuchContainer => "the pod has no container of this name",
            SkippedBecause::InitContainer => "an init container's resources can't change",
            SkippedBecause::NoRequest => {
                "it has no request, and one that is added can't be taken away again; give it a request in the template"
            }
            SkippedBecause::Restarts => {
                "its resizePolicy restarts it; set allowRestart: true if that may happen"
            }
            SkippedBecause::PodResources => {
                "the pod has spec.resources, which Kubernetes does not change together with its containers'"
            }
        })
    }
}

/// What `pod` is to have, whose own resources are `own`.
pub(super) fn target(
    pod: &Pod,
    own: &Sizes,
    settings: &Settings,
    holding: Holding,
    starting: bool,
) -> Target {
    let mut target = Target {
        sizes: own.clone(),
        under: Vec::new(),
        skipped: Vec::new(),
    };
    let holds = |policy: &&Policy| holding.has(policy.when, starting);
    for policy in settings.policies.iter().filter(holds) {
        apply(policy, pod, own, &mut target);
    }
    target.under.sort_unstable();
    target.under.dedup();
    keep_qos(pod, own, &mut target.sizes);
    target
}

fn apply(policy: &Policy, pod: &Pod, own: &Sizes, target: &mut Target) {
    let skip = |resource, why| Skipped {
        container: policy.container.clone(),
        resource,
        why,
    };
    let found = pod.containers.iter().find(|it| it.name == policy.container);
    let whole = match found {
        _ if pod.has_pod_resources => Some(SkippedBecause::PodResources),
        None => Some(SkippedBecause::NoSuchContainer),
        Some(container) if container.kind == ContainerKind::Init => {
            Some(SkippedBecause::InitContainer)
        }
        Some(_) => None,
    };
    if let Some(why) = whole {
        push_once(&mut target.skipped, skip(None, why));
        return;
    }
    let Some((container, own)) = found.and_then(|it| Some((it, own.get(&it.name)?))) else {
        return;
    };
    for resource in Resource::ALL {
        let Some(amount) = policy.amount(resource) else {
            continue;
        };
        let Some(request) = own.requests.get(resource) else {
            push_once(
                &mut target.skipped,
                skip(Some(resource), SkippedBecause::NoRequest),
            );
            continue;
        };
        let wanted = amount.of(resource, request);
        if wanted == request {
            continue;
        }
        if container.restarts(resource) && !policy.allow_restart {
            push_once(
                &mut target.skipped,
                skip(Some(resource), SkippedBecause::Restarts),
            );
            continue;
        }
        target.under.push(policy.when);
        if let Some(resources) = target.sizes.get_mut(&container.name) {
            raise(resources, pod.qos, resource, wanted);
        }
    }
}

fn push_once(list: &mut Vec<Skipped>, skipped: Skipped) {
    if !list.contains(&skipped) {
        list.push(skipped);
    }
}

/// The request rises to `wanted`, unless another policy gives more; the limit with it where requests are limits, else only
/// so far that it isn't below.
fn raise(resources: &mut Resources, qos: Qos, resource: Resource, wanted: Quantity) {
    let request = resources
        .requests
        .get(resource)
        .unwrap_or_default()
        .max(wanted);
    resources.requests.set(resource, request);
    if let Some(limit) = resources.limits.get(resource) {
        let limit = if qos == Qos::Guaranteed {
            request
        } else {
            limit.max(request)
        };
        resources.limits.set(resource, limit);
    }
}

/// A pod whose requests all became its limits would be Guaranteed, and is refused by the API server: one limit goes a
/// little further.
fn keep_qos(pod: &Pod, own: &Sizes, sizes: &mut Sizes) {
    if pod.qos != Qos::Burstable || !would_be_guaranteed(pod, sizes) {
        return;
    }
    for (resource, apart) in APART {
        for (name, resources) in sizes.iter_mut() {
            let before = own.get(name).copied().unwrap_or_default();
            let limit = resources.limits.get(resource);
            let changed = resources.requests.get(resource) != before.requests.get(resource)
                || limit != before.limits.get(resource);
            if let (true, Some(limit)) = (changed, limit) {
                let apart = limit.milli().saturating_add(apart.milli());
                resources.limits.set(resource, Quantity::from_milli(apart));
                return;
            }
        }
    }
}

/// Every container, init containers too, requests all that it is limited to, of both resources.
fn would_be_guaranteed(pod: &Pod, sizes: &Sizes) -> bool {
    pod.containers.iter().all(|container| {
        let resources = sizes.get(&container.name).unwrap_or(&container.resources);
        Resource::ALL.iter().all(|resource| {
            let limit = resources.limits.get(*resource);
            limit.is_some_and(|it| it > Quantity::default())
                && limit == resources.requests.get(*resource)
        })
    })
}

/// Which memory limits stay where they are, though the target has them lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Those below what is known to be used.
    InUse,
    /// All of them: the node or the API server doesn't lower them.
    All,
}

/// `target` with the memory of those containers as it stands whose limit can't be lowered now. Where the use is unknown, the
/// kubelet looks before it lowers a limit, since Kubernetes 1.34; before, the API server refuses it.
pub(super) fn keep_memory(pod: &Pod, own: &Sizes, target: &Sizes, keep: Keep) -> Sizes {
    let mut sizes = target.clone();
    for container in &pod.containers {
        let Some(wanted) = sizes.get_mut(&container.name) else {
            continue;
        };
        let standing = container.with_most_memory();
        let lowered = match (wanted.limits.memory, standing.limits.memory) {
            (Some(wanted), Some(standing)) => wanted < standing,
            _ => false,
        };
        let used = container.memory_used.unwrap_or_default();
        let kept = match keep {
            Keep::All => true,
            Keep::InUse => wanted.limits.memory.is_some_and(|limit| used > limit),
        };
        // One that is restarted begins anew with its memory.
        if lowered && kept && !container.memory_restarts {
            wanted.requests.memory = standing.requests.memory;
            wanted.limits.memory = standing.limits.memory;
        }
    }
    if sizes != *target {
        keep_qos(pod, own, &mut sizes);
    }
    sizes
}

impl Container {
    /// Its resources as they are or as they are to be, whichever limits memory less: a limit that the node has not lowered
    /// yet is as good as never lowered.
    fn with_most_memory(&self) -> Resources {
        match self.actual {
            Some(actual) if actual.limits.memory > self.resources.limits.memory => actual,
            _ => self.resources,
        }
    }

    fn restarts(&self, resource: Resource) -> bool {
        match resource {
            Resource::Cpu => self.cpu_restarts,
            Resource::Memory => self.memory_restarts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::amount::Amount;
    use crate::resize::tests::{container, pod, policy, settings, sizes};

    const SALE: Holding = Holding {
        prescale: true,
        saturated: false,
    };
    const BOTH: Holding = Holding {
        prescale: true,
        saturated: true,
    };

    fn under(pod: &Pod, policies: &[Policy], holding: Holding) -> Target {
        target(pod, &pod.sizes(), &settings(policies), holding, false)
    }

    #[test]
    fn the_strongest_policy_counts_for_each_resource() {
        let policies = [
            policy("prescale cpu 2 memory +1Gi"),
            policy("saturated cpu +100%"),
            policy("saturated memory x1.5"),
            policy("starting cpu x9"),
        ];
        for (own, holding, expected) in [
            ("500m 1Gi", Holding::default(), "500m 1Gi"),
            ("500m 1Gi", SALE, "2 2Gi"),
            ("500m 1Gi", BOTH, "2 2Gi"),
            ("1500m 1Gi", BOTH, "3 2Gi"),
            ("1500m 4Gi", BOTH, "3 6Gi"),
            // A policy makes no pod smaller.
            ("3 1Gi", SALE, "3 2Gi"),
        ] {
            let found = under(&pod("a", own), &policies, holding);
            assert_eq!(found.sizes, sizes(expected), "{own} {holding:?}");
        }
        let starting = target(
            &pod("a", "1 1Gi"),
            &sizes("1 1Gi"),
            &settings(&policies),
            BOTH,
            true,
        );
        assert_eq!(starting.sizes, sizes("9 2Gi"));
        assert_eq!(starting.under, When::ALL);
    }

    #[test]
    fn limits_follow_so_that_the_class_stays() {
        let policies = [policy("prescale cpu x2 memory +1Gi")];
        for (own, expected) in [
            // Guaranteed: both move.
            ("1/1 1Gi/1Gi", "2/2 2Gi/2Gi"),
            // Burstable: a limit rises as far as it has to, and none is added.
            ("500m/4 1Gi/8Gi", "1/4 2Gi/8Gi"),
            ("1/1 1Gi", "2/2 2Gi"),
            ("1 1Gi/1Gi", "2 2Gi/2Gi"),
            ("1/1500m 1Gi/4Gi", "2/2 2Gi/4Gi"),
            // It would be Guaranteed.
            ("500m/1 1Gi/1Gi", "1/1001m 2Gi/2Gi"),
            ("1/1 1Gi/1536Mi", "2/2001m 2Gi/2Gi"),
            // BestEffort: nothing to do.
            ("", ""),
        ] {
            let pod = pod("a", own);
            let found = under(&pod, &policies, SALE);
            assert_eq!(found.sizes, sizes(expected), "{own}");
            let mut resized = pod.clone();
            resized.containers[0].resources = found.sizes["app"];
            assert_eq!(
                resized.qos == Qos::Guaranteed,
                would_be_guaranteed(&resized, &found.sizes)
            );
        }
        // Only memory changes, so only its limit can be put apart.
        let memory = under(
            &pod("a", "1/1 1Gi/2Gi"),
            &[policy("prescale memory 2Gi")],
            SALE,
        );
        assert_eq!(memory.sizes, sizes("1/1 2Gi/2049Mi"));
    }

    #[test]
    fn another_container_without_limits_keeps_the_class_too() {
        let mut two = pod("a", "500m/1 1Gi/1Gi");
        two.containers
            .push(container("log", ContainerKind::Sidecar, "10m 10Mi"));
        let found = under(&two, &[policy("prescale cpu x2")], SALE);
        assert_eq!(found.sizes["app"], sizes("1/1 1Gi/1Gi")["app"]);
        assert_eq!(found.sizes["log"], sizes("10m 10Mi")["app"]);
    }

    #[test]
    fn what_cannot_be_given_is_skipped_with_its_reason() {
        use SkippedBecause::{InitContainer, NoRequest, NoSuchContainer, PodResources, Restarts};
        let base = pod("a", "1 1Gi");
        let init = |pod: &Pod| {
            let mut pod = pod.clone();
            pod.containers[0].kind = ContainerKind::Init;
            pod
        };
        let restarts = |pod: &Pod| {
            let mut pod = pod.clone();
            pod.containers[0].memory_restarts = true;
            pod
        };
        let in_all = Pod {
            has_pod_resources: true,
            ..base.clone()
        };
        let other = Policy {
            container: "ap".into(),
            ..policy("prescale cpu 2")
        };
        for (seen, policy, why, expected) in [
            (base.clone(), other, NoSuchContainer, "1 1Gi"),
            (
                pod("a", "1"),
                policy("prescale cpu 2 memory 1Gi"),
                NoRequest,
                "2",
            ),
            (pod("a", ""), policy("prescale cpu 2"), NoRequest, ""),
            (
                restarts(&base),
                policy("prescale cpu 2 memory 2Gi"),
                Restarts,
                "2 1Gi",
            ),
            (in_all, policy("prescale cpu 2"), PodResources, "1 1Gi"),
        ] {
            let found = under(&seen, &[policy], SALE);
            assert_eq!(found.sizes, sizes(expected));
            let reasons: Vec<_> = found.skipped.iter().map(|it| it.why).collect();
            assert_eq!(reasons, [why]);
        }
        let found = under(&init(&base), &[policy("prescale cpu 2")], SALE);
        assert_eq!(found.skipped[0].why, InitContainer);
        let allowed = settings(&[Policy {
            allow_restart: true,
            ..policy("prescale memory 2Gi")
        }]);
        let pod = restarts(&base);
        let found = target(&pod, &pod.sizes(), &allowed, SALE, false);
        assert_eq!(found.sizes, sizes("1 2Gi"));
        // One that restarts but gets no more is none to tell of.
        let enough = under(&restarts(&base), &[policy("prescale memory 1Gi")], SALE);
        assert_eq!(enough.skipped, []);
    }

    #[test]
    fn a_memory_limit_in_use_stays() {
        for (own, standing, used, keep, expected) in [
            (
                "1/2 1Gi/1Gi",
                "2/2 3Gi/3Gi",
                None,
                Keep::InUse,
                "1/2 1Gi/1Gi",
            ),
            (
                "1/2 1Gi/1Gi",
                "2/2 3Gi/3Gi",
                Some("1Gi"),
                Keep::InUse,
                "1/2 1Gi/1Gi",
            ),
            (
                "1/2 1Gi/1Gi",
                "2/2 3Gi/3Gi",
                Some("2Gi"),
                Keep::InUse,
                "1/2 3Gi/3Gi",
            ),
            ("1/2 1Gi/1Gi", "2/2 3Gi/3Gi", None, Keep::All, "1/2 3Gi/3Gi"),
            // Without a limit, a request may go whatever is used.
            ("1/2 1Gi", "2/2 3Gi", Some("2Gi"), Keep::All, "1/2 1Gi"),
            // Kept memory must not make it Guaranteed either.
            (
                "1/1 1Gi/2Gi",
                "2/2001m 3Gi/3Gi",
                None,
                Keep::All,
                "1/1 3Gi/3073Mi",
            ),
        ] {
            let mut seen = pod("a", own);
            seen.containers[0].resources = sizes(standing)["app"];
            seen.containers[0].memory_used = used.map(|it| it.parse().unwrap());
            let kept = keep_memory(&seen, &sizes(own), &sizes(own), keep);
            assert_eq!(kept, sizes(expected), "{own} {standing} {used:?} {keep:?}");
        }
        let mut restarts = pod("a", "1/2 1Gi/1Gi");
        restarts.containers[0].resources = sizes("1/2 3Gi/3Gi")["app"];
        restarts.containers[0].memory_restarts = true;
        let own = sizes("1/2 1Gi/1Gi");
        assert_eq!(keep_memory(&restarts, &own, &own, Keep::All), own);
    }

    #[test]
    fn amounts_of_one_pod_are_measured_from_its_own_resources() {
        let mut raised = pod("a", "1 1Gi");
        raised.containers[0].resources = sizes("3 1Gi")["app"];
        let own = sizes("1 1Gi");
        let found = target(
            &raised,
            &own,
            &settings(&[policy("prescale cpu x3")]),
            SALE,
            false,
        );
        assert_eq!(found.sizes, sizes("3 1Gi"));
        assert!(Amount::parse(Resource::Cpu, "x3").is_ok());
    }
}
