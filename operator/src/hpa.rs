//! The HPA that a ScaledObject asks for, and whether the one in the cluster still is that. Pure.
//!
//! The shape is KEDA's (controllers/keda/hpa.go), field by field, so that swapping the operator changes no HPA.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, ExternalMetricSource, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec,
    MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::Resource;
use kube::api::ObjectMeta;
use sakidori_api::{ScaledObject, annotations};
use sakidori_engine::prescale::Bounds;
use sakidori_engine::{Modifiers, TargetType};
use sakidori_scalers::{MetricSpec as ScalerMetric, MetricType};
use serde_json::Value;

use crate::target::Target;

/// The name under which this operator owns fields in server-side apply.
pub const FIELD_MANAGER: &str = "sakidori-operator";

/// The longest value that a label may have.
const LABEL_VALUE_LIMIT: usize = 63;

/// Builds the HPA. `metrics` are in the order of the triggers.
pub fn desired(
    object: &ScaledObject,
    target: &Target,
    metrics: Vec<MetricSpec>,
) -> HorizontalPodAutoscaler {
    let mut metrics = metrics;
    // ContainerResource < External < Resource, the triggers' order within each: as KEDA sorts them.
    metrics.sort_by(|a, b| a.type_.cmp(&b.type_));
    if let Some(modifiers) = object.modifiers() {
        // One metric instead of all external ones, behind the others. (KEDA loses those of a container here.)
        metrics.retain(|metric| metric.external.is_none());
        let object_name = object.metadata.name.as_deref().unwrap_or_default();
        metrics.push(external_metric(object_name, &composite(&modifiers)));
    }
    let name = object.hpa_name();
    HorizontalPodAutoscaler {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: object.metadata.namespace.clone(),
            labels: Some(labels(object, &name)),
            annotations: object
                .metadata
                .annotations
                .clone()
                .filter(|all| !all.is_empty()),
            owner_references: Some(owner(object).into_iter().collect()),
            ..ObjectMeta::default()
        },
        spec: Some(HorizontalPodAutoscalerSpec {
            min_replicas: Some(object.min_replicas().max(1)),
            max_replicas: object.max_replicas(),
            metrics: Some(metrics),
            behavior: behavior(object),
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(target.resource.api_version.clone()),
                kind: target.resource.kind.clone(),
                name: target.name.clone(),
            },
        }),
        status: None,
    }
}

/// Gives the HPA other bounds than those of the specification.
pub fn set_bounds(hpa: &mut HorizontalPodAutoscaler, bounds: Bounds) {
    if let Some(spec) = &mut hpa.spec {
        let Bounds { min, max } = possible(bounds);
        spec.max_replicas = max;
        spec.min_replicas = Some(min);
    }
}

/// As an HPA can have them.
pub fn possible(bounds: Bounds) -> Bounds {
    let max = bounds.max.max(1);
    let min = bounds.min.clamp(1, max);
    Bounds { min, max }
}

/// The bounds that an HPA has.
pub fn bounds(hpa: &HorizontalPodAutoscaler) -> Option<Bounds> {
    let spec = hpa.spec.as_ref()?;
    Some(Bounds {
        min: spec.min_replicas.unwrap_or(1),
        max: spec.max_replicas,
    })
}

/// The behavior that the object configures, with a direction switched off that is paused.
fn behavior(object: &ScaledObject) -> Option<HorizontalPodAutoscalerBehavior> {
    let mut behavior = object
        .spec
        .advanced
        .as_ref()
        .and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref())
        .and_then(|config| config.behavior.clone());
    let disable = |rules: &mut Option<HPAScalingRules>| {
        rules.get_or_insert_default().select_policy = Some("Disabled".to_owned());
    };
    let switches = object.switches();
    if switches.scale_in_paused {
        disable(&mut behavior.get_or_insert_default().scale_down);
    }
    if switches.scale_out_paused {
        disable(&mut behavior.get_or_insert_default().scale_up);
    }
    behavior
}

/// The metric that a formula makes of all external ones.
fn composite(modifiers: &Modifiers) -> ScalerMetric {
    ScalerMetric {
        name: annotations::COMPOSITE_METRIC.to_owned(),
        target_type: match modifiers.target_type {
            TargetType::AverageValue => MetricType::AverageValue,
            TargetType::Value => MetricType::Value,
        },
        target: sakidori_engine::Quantity::of_formula(modifiers.target),
    }
}

/// The External metric through which the HPA reads a scaler's metric.
pub fn external_metric(object_name: &str, metric: &ScalerMetric) -> MetricSpec {
    let target = Some(Quantity(metric.target.to_string()));
    let (type_, average_value, value) = match metric.target_type {
        MetricType::Value => ("Value", None, target),
        MetricType::AverageValue | MetricType::Utilization => ("AverageValue", target, None),
    };
    MetricSpec {
        type_: "External".to_owned(),
        external: Some(ExternalMetricSource {
            metric: MetricIdentifier {
                name: metric.name.clone(),
                selector: Some(LabelSelector {
                    match_labels: Some(BTreeMap::from([(
                        annotations::SCALED_OBJECT_NAME.to_owned(),
                        object_name.to_owned(),
                    )])),
                    match_expressions: None,
                }),
            },
            target: MetricTarget {
                type_: type_.to_owned(),
                average_value,
                value,
                average_utilization: None,
            },
        }),
        ..MetricSpec::default()
    }
}

/// The scaler's metric that such an External metric came from; `None` where someone else wrote its target.
pub fn metric_of(external: &ExternalMetricSource) -> Option<ScalerMetric> {
    let target = &external.target;
    let (target_type, quantity) = match target.type_.as_str() {
        "Value" => (MetricType::Value, &target.value),
        _ => (MetricType::AverageValue, &target.average_value),
    };
    Some(ScalerMetric {
        name: external.metric.name.clone(),
        target_type,
        target: quantity.as_ref()?.0.parse().ok()?,
    })
}

/// The ScaledObject as the HPA's controller. It can't go before the HPA does where someone deletes it in the foreground.
fn owner(object: &ScaledObject) -> Option<OwnerReference> {
    let owner = object.controller_owner_ref(&())?;
    Some(OwnerReference {
        block_owner_deletion: Some(true),
        ..owner
    })
}

/// KEDA's four labels, then all of the ScaledObject's, which win. The object's name is a label of every ScaledObject
/// in KEDA, written there by its operator; here it is put on the HPA without that extra write.
fn labels(object: &ScaledObject, hpa_name: &str) -> BTreeMap<String, String> {
    let object_name = object.metadata.name.clone().unwrap_or_default();
    let excluded: BTreeSet<&str> = object
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(annotations::HPA_EXCLUDED_LABELS))
        .map(|list| list.split(',').collect())
        .unwrap_or_default();
    let mut labels = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), label_value(hpa_name)),
        (
            "app.kubernetes.io/version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("app.kubernetes.io/part-of".to_owned(), object_name.clone()),
        (
            "app.kubernetes.io/managed-by".to_owned(),
            "keda-operator".to_owned(),
        ),
    ]);
    let own = object.metadata.labels.clone().unwrap_or_default();
    labels.extend(
        own.into_iter()
            .filter(|(key, _)| !excluded.contains(key.as_str())),
    );
    // Whatever is excluded: the HPA is watched by it.
    labels.insert(annotations::SCALED_OBJECT_NAME.to_owned(), object_name);
    labels
}

/// Cuts a name to what a label may hold; a label's value ends with a letter or digit.
pub(crate) fn label_value(name: &str) -> String {
    name.chars()
        .take(LABEL_VALUE_LIMIT)
        .collect::<String>()
        .trim_end_matches(|c: char| !c.is_alphanumeric())
        .to_owned()
}

/// An HPA that is asked for, and what the API server made of it.
#[derive(Debug)]
pub struct Wanted {
    pub desired: HorizontalPodAutoscaler,
    /// The spec with which the API server answered the last write: with its defaults, its spelling of quantities, and without
    /// what it does not know.
    pub answered: Option<HorizontalPodAutoscalerSpec>,
}

impl Wanted {
    pub fn new(desired: HorizontalPodAutoscaler) -> Self {
        Self {
            desired,
            answered: None,
        }
    }

    /// True where `actual` is what is asked for, so that nothing needs to be written. Other tools may add labels and annotations.
    /// What this operator once set and no longer wants counts as a difference.
    pub fn is_met_by(&self, actual: &HorizontalPodAutoscaler) -> bool {
        let spec_is_met = match &self.answered {
            Some(answered) => Some(answered) == actual.spec.as_ref(),
            None => spec_covers(&self.desired, actual),
        };
        spec_is_met
            && contains_all(&self.desired.metadata.labels, &actual.metadata.labels)
            && contains_all(
                &self.desired.metadata.annotations,
                &actual.metadata.annotations,
            )
            && owner_uids(&self.desired.metadata) == owner_uids(&actual.metadata)
            && !owns_more(&self.desired, actual)
    }
}

/// The API server adds defaults (policies of a behavior); everything else has to be as asked for.
fn spec_covers(desired: &HorizontalPodAutoscaler, actual: &HorizontalPodAutoscaler) -> bool {
    let (Some(want), Some(have)) = (&desired.spec, &actual.spec) else {
        return false;
    };
    let as_json =
        |spec: &HorizontalPodAutoscalerSpec| serde_json::to_value(spec).unwrap_or(Value::Null);
    select_policies(want) == select_policies(have) && covers(&as_json(want), &as_json(have))
}

/// How the policies of both directions are selected, where there is a behavior: `Max` if it doesn't say. What is left out
/// must not pass for `Disabled`, which stays behind in an HPA of KEDA's.
fn select_policies(spec: &HorizontalPodAutoscalerSpec) -> Option<[&str; 2]> {
    let behavior = spec.behavior.as_ref()?;
    Some([
        select_policy(behavior.scale_up.as_ref()),
        select_policy(behavior.scale_down.as_ref()),
    ])
}

fn select_policy(rules: Option<&HPAScalingRules>) -> &str {
    rules
        .and_then(|rules| rules.select_policy.as_deref())
        .unwrap_or("Max")
}

/// Every field of `want` is in `have` with the same value; lists have the same length.
fn covers(want: &Value, have: &Value) -> bool {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => want
            .iter()
            .all(|(key, value)| have.get(key).is_some_and(|other| covers(value, other))),
        (Value::Array(want), Value::Array(have)) => {
            want.len() == have.len() && want.iter().zip(have).all(|(a, b)| covers(a, b))
        }
        (want, have) => want == have || same_quantity(want, have),
    }
}

/// `0.5` and `500m`: the API server spells quantities its own way.
fn same_quantity(want: &Value, have: &Value) -> bool {
    let quantity = |value: &Value| value.as_str()?.parse::<sakidori_engine::Quantity>().ok();
    quantity(want).is_some_and(|want| quantity(have) == Some(want))
}

fn contains_all(
    want: &Option<BTreeMap<String, String>>,
    have: &Option<BTreeMap<String, String>>,
) -> bool {
    let nothing = BTreeMap::new();
    let have = have.as_ref().unwrap_or(&nothing);
    want.iter()
        .flatten()
        .all(|(key, value)| have.get(key) == Some(value))
}

fn owner_uids(metadata: &ObjectMeta) -> BTreeSet<&str> {
    metadata
        .owner_references
        .iter()
        .flatten()
        .map(|owner| owner.uid.as_str())
        .collect()
}

/// The managed fields tell which labels and annotations this operator set before: one that is no longer wanted is removed
/// by the next apply.
fn owns_more(desired: &HorizontalPodAutoscaler, actual: &HorizontalPodAutoscaler) -> bool {
    let managed = actual.metadata.managed_fields.iter().flatten();
    managed
        .filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
        .filter_map(|entry| entry.fields_v1.as_ref().map(|fields| &fields.0))
        .any(|fields| {
            [
                ("f:labels", &desired.metadata.labels),
                ("f:annotations", &desired.metadata.annotations),
            ]
            .iter()
            .any(|(path, wanted)| {
                fields
                    .get("f:metadata")
                    .and_then(|metadata| metadata.get(path))
                    .and_then(Value::as_object)
                    .is_some_and(|keys| {
                        keys.keys()
                            .filter_map(|key| key.strip_prefix("f:"))
                            .any(|key| {
                                !wanted
                                    .as_ref()
                                    .is_some_and(|wanted| wanted.contains_key(key))
                            })
                    })
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::{ApiResource, GroupVersionKind};
    use sakidori_engine::Quantity as Milli;
    use serde_json::json;

    fn object(yaml: &str) -> ScaledObject {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn orders() -> ScaledObject {
        object(
            r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: orders
  namespace: shop
  uid: 3c0c
  labels: {team: checkout, app.kubernetes.io/managed-by: Helm, secret-plan: "yes"}
  annotations: {scaledobject.keda.sh/hpa-excluded-labels: "secret-plan,other", note: kept}
spec:
  scaleTargetRef: {name: orders}
  minReplicaCount: 0
  maxReplicaCount: 10
  triggers:
  - {type: rabbitmq, metadata: {}}
"#,
        )
    }

    fn target() -> Target {
        Target {
            resource: ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk("apps", "v1", "Deployment"),
                "deployments",
            ),
            namespace: "shop".into(),
            name: "orders".into(),
        }
    }

    fn metric() -> MetricSpec {
        external_metric(
            "orders",
            &ScalerMetric {
                name: "s0-rabbitmq-orders".into(),
                target_type: MetricType::AverageValue,
                target: Milli::from_milli(2500),
            },
        )
    }

    #[test]
    fn it_has_kedas_shape() {
        let hpa = desired(&orders(), &target(), vec![metric()]);
        let json = serde_json::to_value(&hpa).unwrap();
        assert_eq!(
            json["metadata"],
            serde_json::json!({
                "name": "keda-hpa-orders",
                "namespace": "shop",
                "labels": {
                    "app.kubernetes.io/name": "keda-hpa-orders",
                    "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
                    "app.kubernetes.io/part-of": "orders",
                    "app.kubernetes.io/managed-by": "Helm",
                    "scaledobject.keda.sh/name": "orders",
                    "team": "checkout",
                },
                "annotations": {"scaledobject.keda.sh/hpa-excluded-labels": "secret-plan,other", "note": "kept"},
                "ownerReferences": [{
                    "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "orders", "uid": "3c0c",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            })
        );
        assert_eq!(
            json["spec"],
            serde_json::json!({
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"},
                "minReplicas": 1,
                "maxReplicas": 10,
                "metrics": [{"type": "External", "external": {
                    "metric": {"name": "s0-rabbitmq-orders", "selector": {"matchLabels": {"scaledobject.keda.sh/name": "orders"}}},
                    "target": {"type": "AverageValue", "averageValue": "2500m"},
                }}],
            })
        );
    }

    #[test]
    fn what_the_api_server_and_other_tools_add_is_no_difference() {
        let mut with_behavior = orders();
        with_behavior.spec.advanced = serde_json::from_value(serde_json::json!({
            "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}
        }))
        .unwrap();
        let want = desired(&with_behavior, &target(), vec![metric()]);
        let mut have = want.clone();
        have.metadata
            .annotations
            .get_or_insert_default()
            .insert("tool.example/seen".into(), "1".into());
        let behavior = have.spec.as_mut().unwrap().behavior.as_mut().unwrap();
        behavior.scale_down.as_mut().unwrap().select_policy = Some("Max".into());
        behavior.scale_up = Some(Default::default());
        assert!(Wanted::new(want.clone()).is_met_by(&have));
    }

    #[test]
    fn each_change_that_matters_is_a_difference() {
        let want = desired(&orders(), &target(), vec![metric()]);
        type Change = fn(&mut HorizontalPodAutoscaler);
        let changes: [(&str, Change); 7] = [
            ("max", |hpa| hpa.spec.as_mut().unwrap().max_replicas = 99),
            ("min", |hpa| {
                hpa.spec.as_mut().unwrap().min_replicas = Some(3)
            }),
            ("metrics", |hpa| {
                hpa.spec.as_mut().unwrap().metrics = Some(vec![metric(), metric()])
            }),
            ("behavior", |hpa| {
                hpa.spec.as_mut().unwrap().behavior = Some(Default::default())
            }),
            ("target", |hpa| {
                hpa.spec.as_mut().unwrap().scale_target_ref.name = "other".into()
            }),
            ("label", |hpa| {
                drop(hpa.metadata.labels.as_mut().unwrap().remove("team"))
            }),
            ("owner", |hpa| {
                hpa.metadata.owner_references.as_mut().unwrap()[0].uid = "old".into()
            }),
        ];
        assert!(Wanted::new(want.clone()).is_met_by(&want));
        for (name, change) in changes {
            let mut have = want.clone();
            change(&mut have);
            assert!(!Wanted::new(want.clone()).is_met_by(&have), "{name}");
        }
    }

    #[test]
    fn what_the_api_server_made_of_it_before_is_what_was_asked_for() {
        let mut wanted = Wanted::new(desired(&orders(), &target(), vec![metric()]));
        let mut have = wanted.desired.clone();
        // A server that does not know the field drops it.
        wanted.desired.spec.as_mut().unwrap().behavior = Some(Default::default());
        assert!(!wanted.is_met_by(&have));
        wanted.answered = have.spec.clone();
        assert!(wanted.is_met_by(&have));
        have.spec.as_mut().unwrap().max_replicas = 99;
        assert!(!wanted.is_met_by(&have));
    }

    #[test]
    fn quantities_are_compared_by_value() {
        let want = desired(&orders(), &target(), vec![metric()]);
        let mut have = want.clone();
        let metrics = have.spec.as_mut().unwrap().metrics.as_mut().unwrap();
        let target = &mut metrics[0].external.as_mut().unwrap().target;
        target.average_value = Some(Quantity("2.5".into()));
        assert!(Wanted::new(want).is_met_by(&have));
    }

    #[test]
    fn a_label_of_ours_that_is_no_longer_wanted_is_a_difference() {
        let want = desired(&orders(), &target(), vec![metric()]);
        let mut have = want.clone();
        have.metadata.managed_fields = serde_json::from_value(serde_json::json!([{
            "manager": FIELD_MANAGER, "operation": "Apply",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:team": {}, "f:gone": {}}}},
        }]))
        .unwrap();
        assert!(!Wanted::new(want.clone()).is_met_by(&have));
    }

    #[test]
    fn a_paused_direction_is_disabled_beside_what_the_user_configured() {
        let annotated = |key: &str, behavior: Value| {
            let mut object = orders();
            let annotation = (format!("autoscaling.keda.sh/{key}"), "true".to_owned());
            object.metadata.annotations = Some(BTreeMap::from([annotation]));
            object.spec.advanced = serde_json::from_value(
                json!({"horizontalPodAutoscalerConfig": {"behavior": behavior}}),
            )
            .unwrap();
            serde_json::to_value(behavior_of(&desired(&object, &target(), vec![]))).unwrap()
        };
        assert_eq!(
            annotated("paused-scale-in", Value::Null),
            json!({"scaleDown": {"selectPolicy": "Disabled"}})
        );
        let window = json!({"scaleDown": {"stabilizationWindowSeconds": 7, "selectPolicy": "Min"}});
        assert_eq!(
            annotated("paused-scale-in", window.clone()),
            json!({"scaleDown": {"stabilizationWindowSeconds": 7, "selectPolicy": "Disabled"}})
        );
        let mut both = window;
        both["scaleUp"] = json!({"selectPolicy": "Disabled"});
        assert_eq!(
            annotated("paused-scale-out", json!({"scaleDown": both["scaleDown"]})),
            both
        );
        assert_eq!(annotated("force-activation", Value::Null), Value::Null);
    }

    #[test]
    fn a_direction_that_is_still_disabled_is_a_difference() {
        let behavior = |json: Value| {
            let mut hpa = desired(&orders(), &target(), vec![metric()]);
            hpa.spec.as_mut().unwrap().behavior = serde_json::from_value(json).unwrap();
            hpa
        };
        let window = json!({"scaleDown": {"stabilizationWindowSeconds": 7}});
        let want = Wanted::new(behavior(window.clone()));
        let mut have = window;
        have["scaleDown"]["selectPolicy"] = json!("Max");
        have["scaleUp"] = json!({"selectPolicy": "Max"});
        assert!(
            want.is_met_by(&behavior(have.clone())),
            "the API server's defaults"
        );
        for direction in ["scaleDown", "scaleUp"] {
            let mut disabled = have.clone();
            disabled[direction]["selectPolicy"] = json!("Disabled");
            assert!(!want.is_met_by(&behavior(disabled)), "{direction}");
        }
    }

    fn behavior_of(hpa: &HorizontalPodAutoscaler) -> Option<HorizontalPodAutoscalerBehavior> {
        hpa.spec.as_ref().and_then(|spec| spec.behavior.clone())
    }

    #[test]
    fn a_long_name_is_cut_to_a_label_that_ends_with_a_letter() {
        assert_eq!(
            label_value(&format!("{}-{}", "a".repeat(62), "b")),
            "a".repeat(62)
        );
    }
}
