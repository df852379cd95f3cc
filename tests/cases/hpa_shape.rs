//! The HPAs that KEDA would make of several manifests, written out in full.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::scene::{HPAS, SCALED_OBJECTS, Scene, merge, play, same};

/// An HPA without what only the API server knows.
async fn hpa(scene: &Scene<'_>, name: &str) -> Result<Value> {
    let mut hpa = scene.get(HPAS, name).await?.context("no HPA")?;
    let of_the_api_server = json!({"metadata": {
        "uid": null, "resourceVersion": null, "creationTimestamp": null, "generation": null, "managedFields": null,
    }, "status": null});
    merge(&mut hpa, of_the_api_server);
    Ok(hpa)
}

/// The HPA of a ScaledObject with no labels and annotations of its own.
fn expected(scene: &Scene<'_>, object: &Value, name: &str, spec: Value) -> Value {
    let object = &object["metadata"];
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": name,
            "namespace": scene.namespace,
            "labels": {
                "app.kubernetes.io/name": name,
                "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
                "app.kubernetes.io/part-of": object["name"],
                "app.kubernetes.io/managed-by": "keda-operator",
                "scaledobject.keda.sh/name": object["name"],
            },
            "ownerReferences": [{
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "ScaledObject",
                "name": object["name"],
                "uid": object["uid"],
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    })
}

/// An external metric as it stands in the HPA of `object`.
fn external(object: &str, metric: &str, target: Value) -> Value {
    let selector = json!({"matchLabels": {"scaledobject.keda.sh/name": object}});
    json!({
        "type": "External",
        "external": {"metric": {"name": metric, "selector": selector}, "target": target},
    })
}

/// Containers before sources before pods, as KEDA sorts them by type; within a type in the triggers' order.
#[test]
fn cpu_and_memory_in_all_their_forms() {
    play("hpa-resources", async |scene| {
        scene.deploy("web", 1).await?;
        let resource = |kind: &str, metric_type: &str, metadata: Value| json!({"type": kind, "metricType": metric_type, "metadata": metadata});
        let spec = json!({
            "minReplicaCount": 1,
            "triggers": [
                resource("memory", "AverageValue", json!({"value": "512Mi"})),
                scene.trigger(),
                resource("cpu", "Utilization", json!({"value": "60", "containerName": "main"})),
                resource("cpu", "Utilization", json!({"value": "70"})),
                resource("memory", "AverageValue", json!({"value": "0.5Gi", "containerName": "main"})),
            ],
        });
        let applied = scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": [
                {"type": "ContainerResource", "containerResource": {
                    "name": "cpu", "container": "main", "target": {"type": "Utilization", "averageUtilization": 60},
                }},
                {"type": "ContainerResource", "containerResource": {
                    "name": "memory", "container": "main", "target": {"type": "AverageValue", "averageValue": "512Mi"},
                }},
                external("web", "s1-metric-api-value", json!({"type": "AverageValue", "averageValue": "10"})),
                {"type": "Resource", "resource": {
                    "name": "memory", "target": {"type": "AverageValue", "averageValue": "512Mi"},
                }},
                {"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70},
                }},
            ],
        });
        same(
            "the HPA",
            &hpa(scene, "keda-hpa-web").await?,
            &expected(scene, &applied, "keda-hpa-web", spec),
        )?;
        let object = scene.get(SCALED_OBJECTS, "web").await?;
        let status = object.context("no ScaledObject")?["status"].clone();
        same(
            "resourceMetricNames",
            &status["resourceMetricNames"],
            &json!(["memory", "cpu"]),
        )?;
        same(
            "externalMetricNames",
            &status["externalMetricNames"],
            &json!(["s1-metric-api-value"]),
        )
    });
}

#[test]
fn another_kind_another_name_and_a_whole_value() {
    play("hpa-other", async |scene| {
        let stateful_set = json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db"},
            "spec": {
                "replicas": 2,
                "serviceName": "db",
                "selector": {"matchLabels": {"app": "db"}},
                "template": {
                    "metadata": {"labels": {"app": "db"}},
                    "spec": {"containers": [{"name": "main", "image": "example.org/none:1"}]},
                },
            },
        });
        scene.apply(stateful_set).await?;
        let mut trigger = scene.trigger();
        trigger["metricType"] = json!("Value");
        trigger["metadata"]["targetValue"] = json!("0.25");
        let spec = json!({
            "scaleTargetRef": {"kind": "StatefulSet", "name": "db"},
            "minReplicaCount": 2,
            "idleReplicaCount": 0,
            "maxReplicaCount": null,
            "advanced": {"horizontalPodAutoscalerConfig": {"name": "scales-the-db"}},
            "triggers": [trigger],
        });
        let applied = scene.apply(scene.scaled_object("orders", spec)).await?;
        scene.ready("orders").await?;
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"},
            "minReplicas": 2,
            "maxReplicas": 100,
            "metrics": [external("orders", "s0-metric-api-value", json!({"type": "Value", "value": "250m"}))],
        });
        same(
            "the HPA",
            &hpa(scene, "scales-the-db").await?,
            &expected(scene, &applied, "scales-the-db", spec),
        )
    });
}

#[test]
fn behavior_is_passed_on_word_for_word() {
    play("hpa-behavior", async |scene| {
        scene.deploy("web", 0).await?;
        let whole = json!({
            "scaleUp": {
                "stabilizationWindowSeconds": 30,
                "selectPolicy": "Min",
                "tolerance": "50m",
                "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 60},
                    {"type": "Percent", "value": 200, "periodSeconds": 15},
                ],
            },
            "scaleDown": {
                "stabilizationWindowSeconds": 3600,
                "selectPolicy": "Disabled",
                "tolerance": "0",
                "policies": [{"type": "Percent", "value": 10, "periodSeconds": 1800}],
            },
        });
        let with = |behavior: &Value| {
            let config = json!({"horizontalPodAutoscalerConfig": {"behavior": behavior}});
            scene.scaled_object("web", json!({"advanced": config}))
        };
        scene.apply(with(&whole)).await?;
        scene.ready("web").await?;
        let found = hpa(scene, "keda-hpa-web").await?;
        same("behavior", &found["spec"]["behavior"], &whole)?;

        // Left out again, nothing of it stays.
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        scene
            .until("no behavior", HPAS, "keda-hpa-web", |hpa| {
                hpa["spec"]["behavior"].is_null().then_some(())
            })
            .await
    });
}

/// From any number of replicas to none in one step, also where the HPA's policies would allow no step down at all.
#[test]
fn after_the_cooldown_the_hpas_policies_hold_nothing_up() {
    play("hpa-policies", async |scene| {
        scene.deploy("web", 4).await?;
        let spec = json!({
            "cooldownPeriod": 1,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {
                "scaleDown": {"stabilizationWindowSeconds": 3600, "selectPolicy": "Disabled"},
            }}},
        });
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 0).await?;
        let note = scene
            .until_told("web", "KEDAScaleTargetDeactivated")
            .await?;
        ensure!(
            note == "Deactivated apps/v1.Deployment hpa-policies/web from 4 to 0",
            "{note}"
        );
        Ok(())
    });
}
