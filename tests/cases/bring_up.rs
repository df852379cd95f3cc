//! What a new ScaledObject makes: its HPA, its status, its Events, and how little is written for them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::scene::{HPAS, SCALED_OBJECTS, Scene, condition, merge, play, same, text};

#[test]
fn the_hpa_has_kedas_shape_field_by_field() {
    play("bring-up-hpa", async |scene| {
        scene.deploy("web", 0).await?;
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 60, "policies": [
            {"type": "Percent", "value": 50, "periodSeconds": 15},
        ]}});
        let mut object = scene.scaled_object(
            "web",
            json!({
                "minReplicaCount": 2,
                "maxReplicaCount": 7,
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
                "triggers": [
                    scene.trigger(),
                    {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}},
                    {
                        "type": "kubernetes-workload",
                        "metricType": "Value",
                        "metadata": {"podSelector": "app=other", "value": "2.5"},
                    },
                ],
            }),
        );
        merge(
            &mut object["metadata"],
            json!({
                "labels": {"team": "checkout", "plan": "secret", "app.kubernetes.io/part-of": "shop"},
                "annotations": {"note": "kept", "scaledobject.keda.sh/hpa-excluded-labels": "plan,other"},
            }),
        );
        let applied = scene.apply(object).await?;
        scene.ready("web").await?;

        let mut hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        for of_the_api_server in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
        ] {
            hpa["metadata"]
                .as_object_mut()
                .context("no metadata")?
                .remove(of_the_api_server);
        }
        let selector = json!({"matchLabels": {"scaledobject.keda.sh/name": "web"}});
        let mut expected_behavior = behavior;
        // The API server's own defaults for what the ScaledObject leaves open.
        merge(
            &mut expected_behavior,
            json!({
                "scaleDown": {"selectPolicy": "Max"},
                "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 15},
                    {"type": "Percent", "value": 100, "periodSeconds": 15},
                ]},
            }),
        );
        same(
            "metadata",
            &hpa["metadata"],
            &json!({
                "name": "keda-hpa-web",
                "namespace": scene.namespace,
                "labels": {
                    "app.kubernetes.io/name": "keda-hpa-web",
                    "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
                    "app.kubernetes.io/part-of": "shop",
                    "app.kubernetes.io/managed-by": "keda-operator",
                    "scaledobject.keda.sh/name": "web",
                    "team": "checkout",
                },
                "annotations": {"note": "kept", "scaledobject.keda.sh/hpa-excluded-labels": "plan,other"},
                "ownerReferences": [{
                    "apiVersion": "keda.sh/v1alpha1",
                    "kind": "ScaledObject",
                    "name": "web",
                    "uid": applied["metadata"]["uid"],
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            }),
        )?;
        same(
            "spec",
            &hpa["spec"],
            &json!({
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2,
                "maxReplicas": 7,
                "metrics": [
                    {"type": "External", "external": {
                        "metric": {"name": "s0-metric-api-value", "selector": selector},
                        "target": {"type": "AverageValue", "averageValue": "10"},
                    }},
                    {"type": "External", "external": {
                        "metric": {"name": "s2-workload-bring-up-hpa", "selector": selector},
                        "target": {"type": "Value", "value": "2500m"},
                    }},
                    {"type": "Resource", "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 60},
                    }},
                ],
                "behavior": expected_behavior,
            }),
        )
    });
}

#[test]
fn the_hpa_of_a_bare_scaled_object_has_kedas_defaults() {
    play("bring-up-defaults", async |scene| {
        scene.deploy("web", 0).await?;
        let object = scene.scaled_object("web", json!({"maxReplicaCount": null}));
        scene.apply(object).await?;
        scene.ready("web").await?;
        let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        ensure!(
            hpa["metadata"]["annotations"].is_null(),
            "{}",
            hpa["metadata"]
        );
        ensure!(hpa["spec"]["behavior"].is_null(), "{}", hpa["spec"]);
        same("minReplicas", &hpa["spec"]["minReplicas"], &json!(1))?;
        same("maxReplicas", &hpa["spec"]["maxReplicas"], &json!(100))
    });
}

#[test]
fn the_status_is_complete() {
    play("bring-up-status", async |scene| {
        scene.deploy("web", 0).await?;
        let mut second = scene.trigger();
        second["metadata"]["valueLocation"] = json!("a.b");
        let triggers = json!([
            scene.trigger(),
            {"type": "kubernetes-workload", "metadata": {"podSelector": "app=other", "value": "1"}},
            {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}},
            {
                "type": "kubernetes-workload",
                "metadata": {"podSelector": "app=another", "value": "1"},
                "authenticationRef": {"name": "nothing"},
            },
        ]);
        let authentication = json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "TriggerAuthentication",
            "metadata": {"name": "nothing"},
            "spec": {},
        });
        scene.apply(authentication).await?;
        scene
            .apply(scene.scaled_object("web", json!({"triggers": triggers})))
            .await?;
        scene.ready("web").await?;
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("no ScaledObject")?;
        let mut status = object["status"].clone();
        // The HPA's own word comes when its controller has looked.
        let conditions = status["conditions"]
            .as_array_mut()
            .context("no conditions")?;
        conditions.retain(|condition| condition["type"] != "HPAActive");
        same(
            "the status",
            &status,
            &json!({
                "scaleTargetKind": "apps/v1.Deployment",
                "scaleTargetGVKR": {
                    "group": "apps", "version": "v1", "kind": "Deployment", "resource": "deployments",
                },
                "originalReplicaCount": 0,
                "externalMetricNames": [
                    "s0-metric-api-value", "s1-workload-bring-up-status", "s3-workload-bring-up-status",
                ],
                "resourceMetricNames": ["cpu"],
                "hpaName": "keda-hpa-web",
                "triggersTypes": "metrics-api,kubernetes-workload,cpu",
                "authenticationsTypes": "nothing",
                "triggersActivity": {
                    "s0-metric-api-value": {"isActive": false},
                    "s1-workload-bring-up-status": {"isActive": false},
                    "s3-workload-bring-up-status": {"isActive": false},
                },
                "conditions": [
                    {
                        "type": "Ready", "status": "True", "reason": "ScaledObjectReady",
                        "message": "ScaledObject is defined correctly and is ready for scaling",
                    },
                    {
                        "type": "Active", "status": "False", "reason": "ScalerNotActive",
                        "message": "Scaling is not performed because triggers are not active",
                    },
                    {
                        "type": "Fallback", "status": "False", "reason": "NoFallbackFound",
                        "message": "No fallbacks are active on this scaled object",
                    },
                    {"type": "Paused", "status": "False"},
                ],
            }),
        )
    });
}

/// KEDA needs 9 to 12.
#[test]
fn two_writes_bring_it_up() {
    play("bring-up-writes", async |scene| {
        scene.bring_up(0, json!({})).await?;
        let expected = [
            "patch horizontalpodautoscalers keda-hpa-web",
            "patch scaledobjects/status web",
        ];
        // What the HPA's controller says of the HPA may come with a later write; nothing else changes.
        scene.stays("web", 0, crate::scene::PATH, 4).await?;
        let writes = scene.writes()?;
        ensure!(
            writes.starts_with(&expected.map(str::to_owned)),
            "{writes:#?}"
        );
        ensure!(writes.len() <= 4, "{writes:#?}");
        Ok(())
    });
}

#[test]
fn its_events_are_kedas() {
    play("bring-up-events", async |scene| {
        scene.bring_up(0, json!({"cooldownPeriod": 1})).await?;
        scene.set(1);
        scene.until_told("web", "KEDAScaleTargetActivated").await?;
        scene.set(0);
        scene
            .until_told("web", "KEDAScaleTargetDeactivated")
            .await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_told("web", "ScaledObjectDeleted").await?;

        let told = scene.told("web").await?;
        let normal =
            |reason: &str, note: &str| ("Normal".to_owned(), reason.to_owned(), note.to_owned());
        let mut expected = vec![
            normal("KEDAScalersStarted", "Scaler metrics-api is built"),
            normal("KEDAScalersStarted", "Started scalers watch"),
            normal("ScaledObjectReady", "ScaledObject is ready for scaling"),
            normal(
                "KEDAScaleTargetActivated",
                "Scaled apps/v1.Deployment bring-up-events/web from 0 to 1, triggered by s0-metric-api-value",
            ),
            normal(
                "KEDAScaleTargetDeactivated",
                "Deactivated apps/v1.Deployment bring-up-events/web from 1 to 0",
            ),
            normal("KEDAScalersStopped", "Stopped scalers watch"),
            (
                "Warning".to_owned(),
                "ScaledObjectDeleted".to_owned(),
                "ScaledObject was deleted".to_owned(),
            ),
        ];
        let mut found = told.clone();
        // Events of one moment may change places.
        found.sort();
        expected.sort();
        ensure!(found == expected, "{told:#?}");
        Ok(())
    });
}

#[test]
fn kubectl_shows_the_columns() {
    play("bring-up-columns", async |scene| {
        scene.bring_up(0, json!({"minReplicaCount": 0})).await?;
        let (names, cells) = columns(scene).await?;
        let expected = [
            ("Name", json!("web")),
            ("ScaleTargetKind", json!("apps/v1.Deployment")),
            ("ScaleTargetName", json!("web")),
            ("Min", json!(0)),
            ("Max", json!(5)),
            ("Ready", json!("True")),
            ("Active", json!("False")),
            ("Fallback", json!("False")),
            ("Paused", json!("False")),
            ("Triggers", json!("metrics-api")),
            ("Authentications", json!("")),
        ];
        for (column, value) in expected {
            let at = names.iter().position(|name| name == column);
            let at = at.with_context(|| format!("no column {column} in {names:?}"))?;
            let cell = if cells[at].is_null() {
                json!("")
            } else {
                cells[at].clone()
            };
            same(column, &cell, &value)?;
        }
        Ok(())
    });
}

/// What `kubectl get scaledobject` prints: the columns' names and the first row.
async fn columns(scene: &Scene<'_>) -> Result<(Vec<String>, Vec<Value>)> {
    let path = format!(
        "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects",
        scene.namespace
    );
    let request = http::Request::get(path)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())?;
    let table: Value = scene.client.request(request).await?;
    let names = table["columnDefinitions"]
        .as_array()
        .context("no columns")?;
    let names = names.iter().map(|column| text(&column["name"])).collect();
    Ok((
        names,
        table["rows"][0]["cells"]
            .as_array()
            .context("no row")?
            .clone(),
    ))
}

#[test]
fn the_hpas_own_word_reaches_the_status() {
    play("bring-up-hpa-active", async |scene| {
        scene.bring_up(0, json!({})).await?;
        // At zero replicas the HPA switches itself off, which is as it should be.
        scene
            .until("ScalingDisabled of the HPA", HPAS, "keda-hpa-web", |hpa| {
                let active = condition(hpa, "ScalingActive")?;
                (active["reason"] == "ScalingDisabled").then_some(())
            })
            .await?;
        let message = scene
            .condition("web", "HPAActive", "True", "ScalingDisabled")
            .await?;
        ensure!(
            message == "scaling is disabled since the replica count of the target is zero",
            "{message}"
        );
        Ok(())
    });
}

/// The HPA does everything, and the ScaledObject is always active.
#[test]
fn with_cpu_alone_it_is_active_and_above_zero() {
    play("bring-up-cpu", async |scene| {
        scene.deploy("web", 0).await?;
        let cpu = json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}});
        let spec = json!({"minReplicaCount": 1, "triggers": [cpu], "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;
        scene
            .condition("web", "Active", "True", "ScalerActive")
            .await?;
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("no ScaledObject")?;
        let status = &object["status"];
        same(
            "resourceMetricNames",
            &status["resourceMetricNames"],
            &json!(["cpu"]),
        )?;
        same(
            "externalMetricNames",
            &status["externalMetricNames"],
            &Value::Null,
        )
    });
}

/// 54 letters are the most that admission takes; one that was stored before admission knew works all the same.
#[test]
fn a_long_name_is_cut_in_a_label_only() {
    play("bring-up-long", async |scene| {
        let name = format!("web{}", "-queue".repeat(10));
        scene.deploy("web", 0).await?;
        let spec = json!({"scaleTargetRef": {"name": "web"}});
        scene.apply(scene.scaled_object(&name, spec)).await?;
        scene.ready(&name).await?;
        let hpa_name = format!("keda-hpa-{name}");
        let hpa = scene.get(HPAS, &hpa_name).await?.context("no HPA")?;
        let label = &hpa["metadata"]["labels"]["app.kubernetes.io/name"];
        same("its label", label, &json!(&hpa_name[..63]))?;
        scene.set(1);
        scene.until_replicas("web", 1).await
    });
}
