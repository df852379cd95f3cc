//! The rules for ScaledObjects, in this order: what the target's kind is, the object by itself ([`ScaledObject::problems`]), its
//! triggers, the calendars of those, `inPlaceResize`, the other ScaledObjects of its namespace, HPAs, and what `cpu` and `memory` triggers need of the target.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use sakidori_api::{ScaledObject, Trigger, annotations, reasons};

use super::cluster::{ClusterReads, TargetKind};
use super::neighbours::Neighbours;
use super::referred::authentications;
use super::resize;
use super::sales;
use super::triggers::{self, Owner};
use super::verdict::{Verdict, reason};
use super::{Admission, Asked};
use crate::resource_trigger::is_resource;
use crate::target::kind_of;

/// How long a request waits for the first lists of ScaledObjects and HPAs, which only a replica that has just started lacks.
const LISTS_WITHIN: Duration = Duration::from_secs(2);

const USELESS_POLLING_INTERVAL: &str = "PollingInterval is configured but is not relevant. PollingInterval is only relevant when minReplicaCount = 0, idleReplicaCount is set, or useCachedMetrics is enabled";
const USELESS_COOLDOWN: &str = "CooldownPeriod is configured but is not relevant. CooldownPeriod is only relevant when minReplicaCount = 0 or idleReplicaCount is set";

/// Judges a ScaledObject that is created or changed.
pub async fn judge(admission: &Admission, object: &ScaledObject, asked: &Asked) -> Verdict {
    let mut verdict = Verdict::default();
    let kind = admission
        .cluster
        .target_kind(object, asked.until, &mut verdict)
        .await;
    by_itself(object, &mut verdict);
    for warning in useless_settings(object) {
        verdict.warn(warning);
        if !asked.dry_run {
            admission.tell(object, reasons::SCALER_INFO, warning);
        }
    }
    let owner = Owner {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        has_hpa: true,
        has_formula: object.has_formula(),
        max_replicas: object.max_replicas(),
    };
    let until = asked.until;
    triggers::judge(admission, &object.spec.triggers, owner, until, &mut verdict).await;
    sales::judge(admission, object, &kind, asked, &mut verdict).await;
    let resizing = resize::judge(object, &mut verdict);
    beside_others(object, &admission.neighbours, until, &mut verdict).await;
    // A dry run is often one of many objects that aren't there yet.
    if !asked.dry_run {
        let cluster = &admission.cluster;
        let mut of_template = Verdict::default();
        tokio::join!(
            in_the_cluster(object, cluster, &kind, until, &mut verdict),
            resize::with_template(resizing.as_ref(), cluster, &kind, until, &mut of_template),
        );
        verdict.append(of_template);
    }
    verdict
}

fn by_itself(object: &ScaledObject, verdict: &mut Verdict) {
    for problem in object.problems() {
        verdict.refuse(problem.reason(), problem.to_string());
    }
}

/// KEDA's warnings about settings that nothing reads.
fn useless_settings(object: &ScaledObject) -> Vec<&'static str> {
    let spec = &object.spec;
    if spec.min_replica_count.unwrap_or(0) <= 0 || spec.idle_replica_count.is_some() {
        return Vec::new();
    }
    let cached = |trigger: &Trigger| trigger.use_cached_metrics == Some(true);
    let mut useless = Vec::new();
    if spec.polling_interval.is_some() && !spec.triggers.iter().any(cached) {
        useless.push(USELESS_POLLING_INTERVAL);
    }
    if spec.cooldown_period.is_some() {
        useless.push(USELESS_COOLDOWN);
    }
    useless
}

/// One target has one ScaledObject and one HPA, and one HPA one ScaledObject.
async fn beside_others(
    object: &ScaledObject,
    neighbours: &Neighbours,
    until: Instant,
    verdict: &mut Verdict,
) {
    let until = until.min(Instant::now() + LISTS_WITHIN);
    if tokio::time::timeout_at(until.into(), neighbours.listed())
        .await
        .is_err()
    {
        return verdict.warn(
            "it was not compared with other ScaledObjects and HPAs, which this replica has not listed yet",
        );
    }
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let target = &object.spec.scale_target_ref;
    let workload = || {
        format!(
            "the workload '{}' of type '{}'",
            target.name,
            kind_of(target)
        )
    };
    for other in neighbours.claimants(&namespace, &name, target) {
        verdict.refuse(
            reason::OTHER_SCALED_OBJECT,
            format!(
                "{} is already managed by the ScaledObject '{other}'",
                workload()
            ),
        );
    }
    let hpa_name = object.hpa_name();
    for other in neighbours.claimants_of_hpa(&namespace, &name, &hpa_name) {
        verdict.refuse(
            reason::OTHER_SCALED_OBJECT_HPA,
            format!("the HPA '{hpa_name}' is already managed by the ScaledObject '{other}'"),
        );
    }
    let taken_over = object
        .annotations()
        .get(annotations::TRANSFER_HPA_OWNERSHIP)
        .is_some_and(|value| value == "true");
    for hpa in neighbours.foreign_hpas(&namespace, &name, target) {
        if !taken_over {
            verdict.refuse(
                reason::OTHER_HPA,
                format!("{} is already managed by the hpa '{hpa}'", workload()),
            );
        } else if given_hpa_name(object) != Some(&hpa) {
            verdict.refuse(
                reason::TRANSFER,
                format!(
                    "the existing hpa '{hpa}' for workload '{}' of type '{}' must be specified by name in advanced settings to enable ownership transfer",
                    target.name,
                    kind_of(target)
                ),
            );
        }
    }
}

/// The HPA's name where the object gives one.
fn given_hpa_name(object: &ScaledObject) -> Option<&str> {
    let advanced = object.spec.advanced.as_ref()?;
    let config = advanced.horizontal_pod_autoscaler_config.as_ref()?;
    config.name.as_deref()
}

/// What the target and the authentications have to be. The reads that this needs run side by side.
async fn in_the_cluster(
    object: &ScaledObject,
    cluster: &ClusterReads,
    kind: &TargetKind,
    until: Instant,
    verdict: &mut Verdict,
) {
    let namespace = object.namespace().unwrap_or_default();
    let triggers = &object.spec.triggers;
    let (mut of_target, mut of_authentications) = (Verdict::default(), Verdict::default());
    tokio::join!(
        async {
            match kind {
                TargetKind::PodTemplate(target)
                    if triggers.iter().any(|t| is_resource(&t.type_)) =>
                {
                    cluster
                        .check_requests(target, triggers, until, &mut of_target)
                        .await;
                    check_scale_to_zero(object, &mut of_target);
                }
                TargetKind::PodTemplate(target) | TargetKind::Other(target) => {
                    cluster.look_for(target, until, &mut of_target).await;
                }
                TargetKind::Unknown => {}
            }
        },
        cluster.look_for_referred(
            &namespace,
            authentications(triggers),
            until,
            &mut of_authentications,
        ),
    );
    verdict.append(of_target);
    verdict.append(of_authentications);
}

/// `cpu` and `memory` of no pods is nothing, so they can't scale from zero.
fn check_scale_to_zero(object: &ScaledObject, verdict: &mut Verdict) {
    let spec = &object.spec;
    let only_resources = spec
        .triggers
        .iter()
        .all(|trigger| is_resource(&trigger.type_));
    if only_resources && spec.min_replica_count.unwrap_or(0) == 0 {
        verdict.refuse(
            reason::SCALE_TO_ZERO,
            "scaledobject has only cpu/memory triggers AND minReplica is 0 (scale to zero doesn't work in this case)",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
    use serde_json::{Value, json};

    fn scaled_object(name: &str, spec: Value) -> ScaledObject {
        let mut whole = json!({"scaleTargetRef": {"name": "web"}, "triggers": []});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": whole,
        }))
        .unwrap()
    }

    fn hpa(name: &str, target: Value, metadata: Value) -> HorizontalPodAutoscaler {
        let mut whole = json!({"name": name, "namespace": "shop"});
        for (key, value) in metadata.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(
            json!({"metadata": whole, "spec": {"maxReplicas": 1, "scaleTargetRef": target}}),
        )
        .unwrap()
    }

    async fn beside(
        object: &ScaledObject,
        objects: &[ScaledObject],
        hpas: &[HorizontalPodAutoscaler],
    ) -> Vec<String> {
        let neighbours = Neighbours::with(objects, hpas);
        let mut verdict = Verdict::default();
        let until = Instant::now() + Duration::from_secs(10);
        beside_others(object, &neighbours, until, &mut verdict).await;
        verdict.texts()
    }

    #[tokio::test]
    async fn one_target_has_one_scaled_object() {
        let web = |name| scaled_object(name, json!({}));
        let stateful = scaled_object(
            "c",
            json!({"scaleTargetRef": {"name": "web", "kind": "StatefulSet"}}),
        );
        let spelt_out = scaled_object(
            "d",
            json!({"scaleTargetRef": {"name": "web", "kind": "Deployment", "apiVersion": "apps/v1"}}),
        );
        assert_eq!(
            beside(&web("a"), &[web("a"), stateful, web("b"), spelt_out], &[]).await,
            [
                "the workload 'web' of type 'apps/v1.Deployment' is already managed by the ScaledObject 'b'",
                "the workload 'web' of type 'apps/v1.Deployment' is already managed by the ScaledObject 'd'",
            ]
        );
    }

    #[tokio::test]
    async fn one_hpa_has_one_scaled_object() {
        let named = |name, target, hpa: &str| {
            let config = json!({"horizontalPodAutoscalerConfig": {"name": hpa}});
            scaled_object(
                name,
                json!({"scaleTargetRef": {"name": target}, "advanced": config}),
            )
        };
        let other = named("b", "other", "keda-hpa-a");
        let elsewhere = named("c", "third", "mine");
        let object = scaled_object("a", json!({}));
        assert_eq!(
            beside(&object, &[other, elsewhere], &[]).await,
            ["the HPA 'keda-hpa-a' is already managed by the ScaledObject 'b'"]
        );
    }

    #[tokio::test]
    async fn one_target_has_one_hpa() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let owned_by = |name: &str| {
            let owner = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": name, "uid": "u"});
            json!({"ownerReferences": [owner]})
        };
        let exempt = json!({"annotations": {"validations.keda.sh/hpa-ownership": "false"}});
        let hpas = [
            hpa("by-hand", deployment.clone(), json!({})),
            hpa("exempt", deployment.clone(), exempt),
            hpa("keda-hpa-a", deployment.clone(), owned_by("a")),
            hpa("keda-hpa-b", deployment.clone(), owned_by("b")),
            hpa(
                "other-kind",
                json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"}),
                json!({}),
            ),
        ];
        let mut object = scaled_object("a", json!({}));
        assert_eq!(
            beside(&object, &[], &hpas).await,
            [
                "the workload 'web' of type 'apps/v1.Deployment' is already managed by the hpa 'by-hand'",
                "the workload 'web' of type 'apps/v1.Deployment' is already managed by the hpa 'keda-hpa-b'",
            ]
        );
        object.annotations_mut().insert(
            "scaledobject.keda.sh/transfer-hpa-ownership".into(),
            "true".into(),
        );
        let not_named = "the existing hpa 'by-hand' for workload 'web' of type 'apps/v1.Deployment' must be specified by name in advanced settings to enable ownership transfer";
        assert_eq!(beside(&object, &[], &hpas[..1]).await, [not_named]);
        let config = json!({"horizontalPodAutoscalerConfig": {"name": "by-hand"}});
        object.spec.advanced = serde_json::from_value(config).unwrap();
        assert_eq!(beside(&object, &[], &hpas[..1]).await, [""; 0]);
    }

    #[tokio::test]
    async fn without_lists_nothing_is_refused_but_the_user_is_told() {
        let neighbours = Neighbours::new(crate::watches::Namespaces::All);
        let mut verdict = Verdict::default();
        let object = scaled_object("a", json!({}));
        let until = Instant::now() + Duration::from_millis(20);
        beside_others(&object, &neighbours, until, &mut verdict).await;
        assert_eq!(verdict.message(), None);
        assert_eq!(verdict.into_warnings().len(), 1);
    }

    #[test]
    fn settings_that_nothing_reads_are_told() {
        let cached = json!([{"type": "kafka", "metadata": {}, "useCachedMetrics": true}]);
        let cases = [
            (json!({"pollingInterval": 5, "cooldownPeriod": 5}), vec![]),
            (
                json!({"pollingInterval": 5, "cooldownPeriod": 5, "minReplicaCount": 1}),
                vec![USELESS_POLLING_INTERVAL, USELESS_COOLDOWN],
            ),
            (
                json!({"pollingInterval": 5, "cooldownPeriod": 5, "minReplicaCount": 1, "idleReplicaCount": 0}),
                vec![],
            ),
            (
                json!({"pollingInterval": 5, "cooldownPeriod": 5, "minReplicaCount": 1, "triggers": cached}),
                vec![USELESS_COOLDOWN],
            ),
        ];
        for (spec, expected) in cases {
            let object = scaled_object("a", spec.clone());
            assert_eq!(useless_settings(&object), expected, "{spec}");
        }
    }

    #[test]
    fn cpu_and_memory_alone_need_a_replica() {
        let trigger = |kind: &str| json!({"type": kind, "metadata": {}});
        let text = "scaledobject has only cpu/memory triggers AND minReplica is 0 (scale to zero doesn't work in this case)";
        let cases = [
            (
                json!({"triggers": [trigger("cpu"), trigger("memory")]}),
                true,
            ),
            (
                json!({"triggers": [trigger("cpu")], "minReplicaCount": 0}),
                true,
            ),
            (
                json!({"triggers": [trigger("cpu")], "minReplicaCount": 1}),
                false,
            ),
            (
                json!({"triggers": [trigger("cpu"), trigger("cron")]}),
                false,
            ),
        ];
        for (spec, refused) in cases {
            let mut verdict = Verdict::default();
            check_scale_to_zero(&scaled_object("a", spec.clone()), &mut verdict);
            let expected = if refused {
                vec![text.to_owned()]
            } else {
                vec![]
            };
            assert_eq!(verdict.texts(), expected, "{spec}");
        }
    }
}
