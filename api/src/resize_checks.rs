//! What is probably not meant with an `inPlaceResize` that can be read. Admission and plans say the same.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, LimitRange, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use sakidori_engine::Quantity;
use sakidori_engine::resize::{Amount, Policy, Resource, Settings, When};

use crate::for_resize::PATH;
use crate::scaled_object::ScaledObject;
use crate::trigger::Trigger;

const BOTH: [Resource; 2] = Resource::ALL;

impl ScaledObject {
    /// What the object says against itself: triggers that its policies move, and policies that never hold.
    pub fn resize_warnings(&self, settings: &Settings) -> Vec<String> {
        let triggers = &self.spec.triggers;
        let indexed = triggers.iter().enumerate();
        let mut warnings: Vec<String> = indexed
            .filter_map(|(index, trigger)| moved(index, trigger, settings))
            .collect();
        let has_sales = triggers
            .iter()
            .any(|trigger| trigger.type_ == "sale-calendar");
        for (index, policy) in settings.policies.iter().enumerate() {
            if policy.when == When::Prescale && !has_sales {
                warnings.push(format!(
                    "{PATH}.policies[{index}].when: prescale never holds without a sale-calendar trigger: add one, or leave the policy out"
                ));
            }
        }
        warnings
    }
}

/// A trigger of the HPA's own that divides by what a policy changes.
fn moved(index: usize, trigger: &Trigger, settings: &Settings) -> Option<String> {
    let resource = BOTH
        .into_iter()
        .find(|resource| resource.to_string() == trigger.type_)?;
    if trigger.metric_type.as_deref() != Some("Utilization") {
        return None;
    }
    let only = trigger.metadata.get("containerName");
    let only = only.map(|name| name.as_str()).filter(|it| !it.is_empty());
    let moving: Vec<String> = (settings.policies.iter().enumerate())
        .filter(|(_, policy)| only.is_none_or(|only| only == policy.container))
        .filter(|(_, policy)| amount(policy, resource).is_some())
        .map(|(index, _)| format!("policies[{index}].{resource}"))
        .collect();
    (!moving.is_empty()).then(|| {
        format!(
            "trigger {index} ({resource}): its Utilization is measured by what pods request at the moment, which is changed by {} of inPlaceResize: \
             a pod with twice the {resource} has half the utilization, and the HPA takes replicas away. Give it metricType: \
             AverageValue, and a quantity as its value",
            moving.join(", ")
        )
    })
}

fn amount(policy: &Policy, resource: Resource) -> Option<Amount> {
    match resource {
        Resource::Cpu => policy.cpu,
        Resource::Memory => policy.memory,
    }
}

/// What the pod template keeps policies from doing. Containers that request nothing themselves may be given a request by the namespace's
/// LimitRanges; where these aren't known, none is missed.
pub fn resize_warnings_of_pod(
    settings: &Settings,
    pod: &PodSpec,
    ranges: Option<&[LimitRange]>,
) -> Vec<String> {
    if pod.resources.is_some() {
        return vec![format!(
            "{PATH}: the pod template has resources for the whole pod (spec.resources), which Kubernetes does not change together with its \
             containers': no pod is resized. Give the containers theirs instead"
        )];
    }
    let policies = settings.policies.iter().enumerate();
    policies
        .flat_map(|(index, policy)| of_policy(index, policy, pod, ranges))
        .collect()
}

fn of_policy(
    index: usize,
    policy: &Policy,
    pod: &PodSpec,
    ranges: Option<&[LimitRange]>,
) -> Vec<String> {
    let path = format!("{PATH}.policies[{index}]");
    let name = &policy.container;
    let init = pod.init_containers.iter().flatten();
    let of_name = |container: &&Container| container.name == *name;
    let found = pod.containers.iter().find(of_name);
    let container = match found.or_else(|| init.clone().find(of_name)) {
        None => {
            let names: Vec<&str> = (pod.containers.iter().chain(init.filter(is_sidecar)))
                .map(|it| it.name.as_str())
                .collect();
            return vec![format!(
                "{path}.container: the pod template has no container {name:?}, but {}: correct the name, unless it is injected into the pods",
                names.join(", ")
            )];
        }
        Some(container) if found.is_none() && !is_sidecar(&container) => {
            return vec![format!(
                "{path}.container: {name:?} is an init container, whose resources Kubernetes does not change: name another one"
            )];
        }
        Some(container) => container,
    };
    let of_resource = |resource| {
        let amount = amount(policy, resource)?;
        let field = format!("{path}.{resource}");
        let Some(request) = request(container, resource, ranges.unwrap_or_default()) else {
            return ranges.map(|_| format!(
                "{field}: the container {name:?} requests no {resource} in the pod template, and a request that is added can't be taken \
                 away again: it is left as it is. Give it a request"
            ));
        };
        if amount.of(resource, request) == request {
            return Some(format!(
                "{field}: {} does nothing, as the container {name:?} requests {} in the pod template: expected more than that",
                worded(resource, amount),
                resource.worded(request),
            ));
        }
        (restarts(container, resource) && !policy.allow_restart).then(|| {
            format!(
                "{field}: the container {name:?} is left as it is, as its resizePolicy restarts it when its {resource} changes: set \
                 allowRestart: true if it may restart, or change its resizePolicy to NotRequired"
            )
        })
    };
    BOTH.into_iter().filter_map(of_resource).collect()
}

/// An init container that goes on running.
fn is_sidecar(container: &&Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn restarts(container: &Container, resource: Resource) -> bool {
    let policies = container.resize_policy.iter().flatten();
    policies
        .filter(|policy| policy.resource_name == resource.to_string())
        .any(|policy| policy.restart_policy == "RestartContainer")
}

/// What the container will request: what it says, else its limit, else what a LimitRange gives it.
fn request(container: &Container, resource: Resource, ranges: &[LimitRange]) -> Option<Quantity> {
    let own = container.resources.as_ref();
    let requests = own.and_then(|own| own.requests.as_ref());
    let limits = own.and_then(|own| own.limits.as_ref());
    let defaults = ranges.iter().filter_map(|range| range.spec.as_ref());
    let mut defaults = defaults
        .flat_map(|spec| &spec.limits)
        .filter(|item| item.type_ == "Container")
        .flat_map(|item| [item.default_request.as_ref(), item.default.as_ref()]);
    quantity(requests, resource)
        .or_else(|| quantity(limits, resource))
        .or_else(|| defaults.find_map(|item| quantity(item, resource)))
}

fn quantity(
    quantities: Option<&BTreeMap<String, Written>>,
    resource: Resource,
) -> Option<Quantity> {
    quantities?.get(&resource.to_string())?.0.parse().ok()
}

fn worded(resource: Resource, amount: Amount) -> String {
    match amount {
        Amount::Of(amount) => resource.worded(amount),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(triggers: Value, policies: Value) -> ScaledObject {
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"name": "web"},
                "triggers": triggers,
                "advanced": {"sakidori": {"inPlaceResize": {"policies": policies}}},
            },
        });
        serde_json::from_value(object).unwrap()
    }

    fn settings(policies: Value) -> Settings {
        object(json!([]), policies)
            .resize_settings()
            .unwrap()
            .unwrap()
    }

    #[test]
    fn utilization_is_moved_by_requests_of_the_containers_that_it_is_about() {
        let policies = || {
            json!([
                {"container": "app", "when": "starting", "cpu": "x2"},
                {"container": "proxy", "when": "starting", "memory": "x2"},
                {"container": "proxy", "when": "saturated", "cpu": "x2", "memory": "x2"},
            ])
        };
        let settings = settings(policies());
        for (kind, metric_type, container, moving) in [
            ("cpu", "Utilization", "", "policies[0].cpu, policies[2].cpu"),
            ("cpu", "Utilization", "app", "policies[0].cpu"),
            (
                "memory",
                "Utilization",
                "proxy",
                "policies[1].memory, policies[2].memory",
            ),
            ("memory", "Utilization", "app", ""),
            ("cpu", "AverageValue", "", ""),
            ("cron", "AverageValue", "", ""),
        ] {
            let trigger = json!({"type": kind, "metricType": metric_type, "metadata": {"value": "60", "containerName": container}});
            let warnings = object(json!([trigger]), policies()).resize_warnings(&settings);
            if moving.is_empty() {
                assert_eq!(warnings, [""; 0], "{kind} {metric_type} {container}");
                continue;
            }
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            let start =
                format!("trigger 0 ({kind}): its Utilization is measured by what pods request");
            assert!(warnings[0].starts_with(&start), "{warnings:?}");
            assert!(
                warnings[0].contains(&format!("changed by {moving} of inPlaceResize: ")),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn prescale_needs_a_sale() {
        let policies = || json!([{"container": "app", "when": "prescale", "cpu": "x2"}]);
        let warnings =
            |triggers| object(triggers, policies()).resize_warnings(&settings(policies()));
        assert_eq!(
            warnings(json!([{"type": "sale-calendar", "metadata": {}}])),
            [""; 0]
        );
        let told = warnings(json!([{"type": "cron", "metadata": {}}]));
        assert!(
            told[0].contains("policies[0].when: prescale never holds"),
            "{told:?}"
        );
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn a_template_may_keep_a_policy_from_its_work() {
        let sized = |name: &str, resources: Value| json!({"name": name, "resources": resources});
        let both = || json!({"requests": {"cpu": "1", "memory": "1Gi"}});
        let restarts = |resource: &str| {
            let mut container = sized("app", both());
            container["resizePolicy"] =
                json!([{"resourceName": resource, "restartPolicy": "RestartContainer"}]);
            container
        };
        let sidecar = json!({"name": "app", "restartPolicy": "Always", "resources": both()});
        let app = |more: Value| {
            let mut policy = json!({"container": "app", "when": "starting"});
            for (key, value) in more.as_object().unwrap() {
                policy[key] = value.clone();
            }
            policy
        };
        for (pod, policy, told) in [
            (
                json!({"containers": [sized("app", both())]}),
                app(json!({"cpu": "x2"})),
                "",
            ),
            (
                json!({"containers": [sized("main", both())], "initContainers": [sidecar]}),
                app(json!({"cpu": "x2"})),
                "",
            ),
            (
                json!({"containers": [sized("app", json!({"limits": {"cpu": "1"}}))]}),
                app(json!({"cpu": "x2"})),
                "",
            ),
            (
                json!({"containers": [sized("app", json!({"limits": {"cpu": "1"}}))]}),
                app(json!({"memory": "x2"})),
                ".memory: the container \"app\" requests no memory",
            ),
            (
                json!({"containers": [sized("main", both())]}),
                app(json!({"cpu": "x2"})),
                ".container: the pod template has no container \"app\", but main:",
            ),
            (
                json!({"containers": [], "initContainers": [sized("app", both())]}),
                app(json!({"cpu": "x2"})),
                ".container: \"app\" is an init container",
            ),
            (
                json!({"containers": [restarts("memory")]}),
                app(json!({"cpu": "x2"})),
                "",
            ),
            (
                json!({"containers": [restarts("cpu")]}),
                app(json!({"cpu": "x2"})),
                ".cpu: the container \"app\" is left as it is, as its resizePolicy",
            ),
            (
                json!({"containers": [restarts("cpu")]}),
                app(json!({"cpu": "x2", "allowRestart": true})),
                "",
            ),
            (
                json!({"containers": [restarts("cpu")]}),
                app(json!({"cpu": "1"})),
                ".cpu: 1 does nothing",
            ),
            (
                json!({"containers": [sized("app", both())]}),
                app(json!({"memory": 1073741824})),
                ".memory: 1Gi does nothing, as the container \"app\" requests 1Gi",
            ),
            (
                json!({"containers": [sized("app", both())]}),
                app(json!({"cpu": "x1"})),
                ".cpu: x1 does nothing",
            ),
        ] {
            let settings = settings(json!([policy]));
            let pod: PodSpec = serde_json::from_value(pod).unwrap();
            let warnings = resize_warnings_of_pod(&settings, &pod, Some(&[]));
            match told {
                "" => assert_eq!(warnings, [""; 0], "{policy}"),
                told => {
                    let start = format!("spec.advanced.sakidori.inPlaceResize.policies[0]{told}");
                    assert!(
                        warnings.len() == 1 && warnings[0].starts_with(&start),
                        "{warnings:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_limit_range_gives_the_request_that_a_container_lacks() {
        let settings = settings(json!([{"container": "app", "when": "starting", "cpu": "1"}]));
        let pod: PodSpec =
            serde_json::from_value(json!({"containers": [{"name": "app"}]})).unwrap();
        let ranges = |item: Value| -> Vec<LimitRange> {
            vec![
                serde_json::from_value(json!({"metadata": {}, "spec": {"limits": [item]}}))
                    .unwrap(),
            ]
        };
        let warnings =
            |ranges: Option<&[LimitRange]>| resize_warnings_of_pod(&settings, &pod, ranges);
        let given = ranges(
            json!({"type": "Container", "defaultRequest": {"cpu": "100m"}, "default": {"cpu": "1"}}),
        );
        assert_eq!(warnings(Some(&given)), [""; 0]);
        let enough = ranges(json!({"type": "Container", "default": {"cpu": "1"}}));
        assert!(warnings(Some(&enough))[0].contains("1 does nothing"));
        let of_pods = ranges(json!({"type": "Pod", "default": {"cpu": "1"}}));
        assert!(warnings(Some(&of_pods))[0].contains("requests no cpu"));
        assert_eq!(warnings(None), [""; 0], "nobody knows");
    }

    #[test]
    fn a_pod_with_resources_of_its_own_is_told_once() {
        let settings = settings(json!([
            {"container": "app", "when": "starting", "cpu": "1"},
            {"container": "none", "when": "starting", "cpu": "1"},
        ]));
        let pod = json!({"containers": [{"name": "app"}], "resources": {"requests": {"cpu": "1"}}});
        let pod: PodSpec = serde_json::from_value(pod).unwrap();
        let warnings = resize_warnings_of_pod(&settings, &pod, Some(&[]));
        assert!(
            warnings.len() == 1 && warnings[0].contains("for the whole pod"),
            "{warnings:?}"
        );
    }
}
