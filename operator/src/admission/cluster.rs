//! What admission reads of the cluster, each read with a deadline: the kind of a target, its pod template, and the namespace's
//! LimitRanges. A read that fails refuses nothing; what is only not there yet doesn't
//! either, since manifests are applied in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, LimitRange, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use sakidori_api::{ScaledObject, Trigger};
use tokio::time::timeout_at;
use tracing::debug;

use super::triggers::named;
use super::verdict::{Verdict, reason};
use crate::api_error::plain;
use crate::resource_trigger::is_resource;
use crate::target::{Target, TargetError, Targets};
use crate::term::Current;

pub struct ClusterReads {
    pub client: Client,
    pub targets: Arc<Targets>,
    /// What the operator holds in memory of calendars, while it leads.
    pub leading: Current,
    /// Where ClusterSaleCalendars have what they refer to.
    pub cluster_object_namespace: String,
}

/// What is known of a target's kind.
pub enum TargetKind {
    /// One whose pod template is known to be where it is: the kinds that KEDA looks into.
    PodTemplate(Target),
    Other(Target),
    Unknown,
}

impl ClusterReads {
    /// Finds the kind of an object's target. Refuses one that the cluster doesn't serve.
    pub async fn target_kind(
        &self,
        object: &ScaledObject,
        until: Instant,
        verdict: &mut Verdict,
    ) -> TargetKind {
        let reference = &object.spec.scale_target_ref;
        let namespace = object.namespace().unwrap_or_default();
        let resolved = timeout_at(until.into(), self.targets.resolve(&namespace, reference));
        let error = match resolved.await {
            Ok(Ok(target)) if target.is_built_in() => return TargetKind::PodTemplate(target),
            Ok(Ok(target)) => return TargetKind::Other(target),
            Ok(Err(error)) => error,
            Err(_) => {
                verdict.warn("there was no time to look for the kind of its target");
                return TargetKind::Unknown;
            }
        };
        let text = error.to_string();
        match &error {
            // KEDA takes these two kinds for known in whatever group they are named.
            TargetError::Kind { kind, .. }
                if error.is_for_good() && matches!(kind.as_str(), "Deployment" | "StatefulSet") =>
            {
                verdict.refuse_beyond_keda(reason::TARGET, text);
            }
            _ if error.is_for_good() => verdict.refuse(reason::TARGET, text),
            _ => verdict.warn(format!("its target was not looked at: {text}")),
        }
        TargetKind::Unknown
    }

    /// Warns of a target that isn't there or can't be scaled.
    pub async fn look_for(&self, target: &Target, until: Instant, verdict: &mut Verdict) {
        match timeout_at(until.into(), self.targets.scale(target)).await {
            Ok(Err(error @ TargetError::NotFound { .. })) => {
                verdict.warn(format!("the scale target is not there yet: {error}"));
            }
            Ok(Err(error @ (TargetError::NotScalable { .. } | TargetError::Forbidden { .. }))) => {
                verdict.warn(error.to_string());
            }
            Ok(Err(error)) => debug!(%error, "admission could not look for a target"),
            Ok(Ok(_)) | Err(_) => {}
        }
    }

    /// A `cpu` or `memory` trigger needs a request or a limit on the containers that it is about, or a LimitRange that gives
    /// them one.
    pub async fn check_requests(
        &self,
        target: &Target,
        triggers: &[Trigger],
        until: Instant,
        verdict: &mut Verdict,
    ) {
        let pod = match timeout_at(until.into(), self.pod_template(target)).await {
            Ok(Ok(Some(pod))) => pod,
            Ok(Ok(None)) => {
                let error = TargetError::NotFound {
                    resource: target.resource_name(),
                    name: target.name.clone(),
                };
                return verdict.warn(format!("the scale target is not there yet: {error}"));
            }
            Ok(Err(error)) => {
                return verdict.warn(format!(
                    "the requests of its target were not looked at: {}",
                    plain(&error)
                ));
            }
            Err(_) => {
                return verdict.warn("there was no time to look at the requests of its target");
            }
        };
        let mut missing = missing_requests(&pod, triggers);
        if !missing.is_empty() {
            let ranges = timeout_at(until.into(), self.limit_ranges(&target.namespace)).await;
            let ranges = match ranges {
                Ok(Ok(ranges)) => ranges,
                // KEDA takes a failure for no LimitRange, and refuses.
                Ok(Err(error)) => {
                    return verdict.warn(format!(
                        "the namespace's LimitRanges were not looked at: {}",
                        plain(&error)
                    ));
                }
                Err(_) => {
                    return verdict
                        .warn("there was no time to look at the namespace's LimitRanges");
                }
            };
            missing.retain(|(_, resource)| !has_default(&ranges, resource));
        }
        for (container, resource) in missing {
            verdict.refuse(
                reason::MISSING_REQUESTS,
                format!(
                    "the scaledobject has a {resource} trigger but the container {container} doesn't have the {resource} request defined"
                ),
            );
        }
        for warning in unknown_containers(&pod, triggers) {
            verdict.warn(warning);
        }
    }

    pub async fn pod_template(&self, target: &Target) -> Result<Option<PodSpec>, kube::Error> {
        let (client, namespace) = (self.client.clone(), &target.namespace);
        let template = if target.resource.kind == "StatefulSet" {
            let api: Api<StatefulSet> = Api::namespaced(client, namespace);
            let found = api.get_opt(&target.name).await?;
            found.map(|found| found.spec.unwrap_or_default().template)
        } else {
            let api: Api<Deployment> = Api::namespaced(client, namespace);
            let found = api.get_opt(&target.name).await?;
            found.map(|found| found.spec.unwrap_or_default().template)
        };
        Ok(template.map(|template| template.spec.unwrap_or_default()))
    }

    pub async fn limit_ranges(&self, namespace: &str) -> Result<Vec<LimitRange>, kube::Error> {
        let api: Api<LimitRange> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.list(&ListParams::default()).await?.items)
    }
}

/// The containers that lack a request and a limit which one of the triggers needs, each with the resource.
fn missing_requests(pod: &PodSpec, triggers: &[Trigger]) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    for trigger in triggers
        .iter()
        .filter(|trigger| is_resource(&trigger.type_))
    {
        let only = container_name(trigger);
        for container in &pod.containers {
            let meant = only.is_none_or(|only| only == container.name);
            if meant && !has_request(container, &trigger.type_) {
                missing.push((container.name.clone(), trigger.type_.clone()));
            }
        }
    }
    missing
}

fn unknown_containers(pod: &PodSpec, triggers: &[Trigger]) -> BTreeSet<String> {
    let indexed = triggers.iter().enumerate();
    let resources = indexed.filter(|(_, trigger)| is_resource(&trigger.type_));
    resources
        .filter_map(|(index, trigger)| Some((index, trigger, container_name(trigger)?)))
        .filter(|(_, _, name)| {
            pod.containers
                .iter()
                .all(|container| container.name != *name)
        })
        .map(|(index, trigger, name)| {
            let text = format!("the scale target has no container {name:?} (containerName)");
            named(index, trigger, &text)
        })
        .collect()
}

fn container_name(trigger: &Trigger) -> Option<&str> {
    let name = trigger.metadata.get("containerName")?.as_str();
    (!name.is_empty()).then_some(name)
}

fn has_request(container: &Container, resource: &str) -> bool {
    let Some(resources) = &container.resources else {
        return false;
    };
    is_above_zero(resources.requests.as_ref(), resource)
        || is_above_zero(resources.limits.as_ref(), resource)
}

/// True where a LimitRange gives each container a request or a limit.
fn has_default(ranges: &[LimitRange], resource: &str) -> bool {
    let limits = ranges.iter().filter_map(|range| range.spec.as_ref());
    limits
        .flat_map(|spec| &spec.limits)
        .filter(|item| item.type_ == "Container")
        .any(|item| {
            is_above_zero(item.default_request.as_ref(), resource)
                || is_above_zero(item.default.as_ref(), resource)
        })
}

fn is_above_zero(quantities: Option<&BTreeMap<String, Quantity>>, resource: &str) -> bool {
    let quantity = quantities.and_then(|quantities| quantities.get(resource));
    let parsed = quantity.map(|quantity| quantity.0.parse::<sakidori_engine::Quantity>());
    parsed.is_some_and(|parsed| parsed.is_ok_and(|quantity| quantity.to_f64() > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(containers: Value) -> PodSpec {
        serde_json::from_value(json!({"containers": containers})).unwrap()
    }

    fn triggers(triggers: Value) -> Vec<Trigger> {
        serde_json::from_value(triggers).unwrap()
    }

    #[test]
    fn each_container_needs_a_request_or_a_limit() {
        let pod = pod(json!([
            {"name": "app", "resources": {"requests": {"cpu": "100m"}}},
            {"name": "limited", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
            {"name": "zero", "resources": {"requests": {"cpu": "0"}}},
            {"name": "bare"},
        ]));
        let missing = |of: Value| -> Vec<String> {
            let missing = missing_requests(&pod, &triggers(of)).into_iter();
            missing
                .map(|(container, resource)| format!("{container} {resource}"))
                .collect()
        };
        let cpu = json!({"type": "cpu", "metadata": {"value": "50"}});
        assert_eq!(missing(json!([cpu])), ["zero cpu", "bare cpu"]);
        let memory = json!({"type": "memory", "metadata": {"containerName": "app"}});
        assert_eq!(missing(json!([memory])), ["app memory"]);
        let elsewhere = json!({"type": "memory", "metadata": {"containerName": "none"}});
        assert_eq!(
            missing(json!([elsewhere.clone(), {"type": "cron", "metadata": {}}])),
            [""; 0]
        );
        assert_eq!(
            unknown_containers(&pod, &triggers(json!([elsewhere])))
                .into_iter()
                .collect::<Vec<_>>(),
            [r#"trigger 0 (memory): the scale target has no container "none" (containerName)"#]
        );
    }

    #[test]
    fn a_limit_range_may_give_the_request() {
        let ranges = |of: Value| -> Vec<LimitRange> {
            vec![serde_json::from_value(json!({"metadata": {}, "spec": {"limits": [of]}})).unwrap()]
        };
        let default = json!({"type": "Container", "defaultRequest": {"cpu": "100m"}});
        assert!(has_default(&ranges(default.clone()), "cpu"));
        assert!(!has_default(&ranges(default), "memory"));
        let limit = json!({"type": "Container", "default": {"memory": "1Gi"}});
        assert!(has_default(&ranges(limit), "memory"));
        let pods = json!({"type": "Pod", "default": {"memory": "1Gi"}});
        assert!(!has_default(&ranges(pods), "memory"));
    }
}
