//! An HPA that is there before its ScaledObject: refused, or taken over where that is asked for.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::scene::{HPAS, Scene, merge, play, same};

/// An HPA that a person made, with things in it that no ScaledObject asks for.
async fn made_by_hand(scene: &Scene<'_>) -> Result<Value> {
    scene.deploy("web", 2).await?;
    let hpa = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "mine", "labels": {"team": "checkout"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2,
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
            }}],
            "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
        },
    });
    scene.create(HPAS, &hpa).await
}

fn scaled_object(scene: &Scene<'_>, transfer: Option<&str>) -> Value {
    let config = json!({"horizontalPodAutoscalerConfig": {"name": "mine"}});
    let mut object = scene.scaled_object("web", json!({"minReplicaCount": 1, "advanced": config}));
    if let Some(value) = transfer {
        let annotations =
            json!({"annotations": {"scaledobject.keda.sh/transfer-hpa-ownership": value}});
        merge(&mut object["metadata"], annotations);
    }
    object
}

#[test]
fn an_hpa_of_a_person_is_refused_without_the_annotation() {
    play("hpa-refused", async |scene| {
        let before = made_by_hand(scene).await?;
        for transfer in [None, Some("false")] {
            scene.apply(scaled_object(scene, transfer)).await?;
            let message = scene.check_failed("web").await?;
            ensure!(
                message
                    == "failed to ensure HPA is correctly created for ScaledObject: the HPA 'mine' was not made for \
                        this ScaledObject: delete it, or take it over with the annotation \
                        scaledobject.keda.sh/transfer-hpa-ownership: \"true\"",
                "{message}"
            );
        }
        let after = scene.get(HPAS, "mine").await?.context("the HPA went")?;
        same("its spec", &after["spec"], &before["spec"])?;
        same(
            "its owners",
            &after["metadata"]["ownerReferences"],
            &Value::Null,
        )?;
        // Its ScaledObject goes, and leaves it behind.
        scene.delete(crate::scene::SCALED_OBJECTS, "web").await?;
        let after = scene.get(HPAS, "mine").await?.context("the HPA went")?;
        same("its spec", &after["spec"], &before["spec"])
    });
}

/// The whole of it, as KEDA's update: what the person had set beside it goes.
#[test]
fn an_hpa_that_is_there_is_taken_over_where_that_is_asked_for() {
    play("hpa-transfer", async |scene| {
        let before = made_by_hand(scene).await?;
        let applied = scene.apply(scaled_object(scene, Some("true"))).await?;
        scene.ready("web").await?;
        let after = scene.get(HPAS, "mine").await?.context("the HPA went")?;
        same(
            "its uid: it is the same",
            &after["metadata"]["uid"],
            &before["metadata"]["uid"],
        )?;
        let owner = &after["metadata"]["ownerReferences"][0];
        same("its owner", &owner["uid"], &applied["metadata"]["uid"])?;
        same(
            "its spec",
            &after["spec"],
            &json!({
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 1,
                "maxReplicas": 5,
                "metrics": [{"type": "External", "external": {
                    "metric": {
                        "name": "s0-metric-api-value",
                        "selector": {"matchLabels": {"scaledobject.keda.sh/name": "web"}},
                    },
                    "target": {"type": "AverageValue", "averageValue": "10"},
                }}],
            }),
        )?;
        // From now on it is its ScaledObject's, also without the annotation.
        scene.apply(scaled_object(scene, None)).await?;
        scene
            .until("no annotation", HPAS, "mine", |hpa| {
                hpa["metadata"]["annotations"].is_null().then_some(())
            })
            .await?;
        scene.ready("web").await
    });
}
