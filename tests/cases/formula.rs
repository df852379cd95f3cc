//! `scalingModifiers` on a real HPA: one metric out of all triggers.

use anyhow::{Context, ensure};
use sakidori_test_servers::Answer;
use serde_json::{Value, json};

use crate::scene::{HPAS, SCALED_OBJECTS, Scene, answer, play, same};

/// The trigger `name`, on the source's path of that name.
fn trigger(scene: &Scene<'_>, name: &str) -> Value {
    let mut trigger = scene.trigger_on(&format!("/{name}"));
    trigger["name"] = json!(name);
    trigger
}

/// A ScaledObject for `web` over the triggers `orders` and `returns`.
fn composed(scene: &Scene<'_>, modifiers: Value, spec: Value) -> Value {
    let mut whole = json!({
        "triggers": [trigger(scene, "orders"), trigger(scene, "returns")],
        "advanced": {"scalingModifiers": modifiers},
    });
    crate::scene::merge(&mut whole, spec);
    scene.scaled_object("web", whole)
}

fn set(scene: &Scene<'_>, orders: i64, returns: i64) {
    scene.source.set("/orders", answer(orders));
    scene.source.set("/returns", answer(returns));
}

#[test]
fn one_metric_stands_for_all_triggers() {
    play("formula", async |scene| {
        set(scene, 0, 0);
        scene.deploy("web", 0).await?;
        let modifiers =
            json!({"formula": "orders + returns / 2", "target": "2.5", "activationTarget": "3"});
        scene.apply(composed(scene, modifiers, json!({}))).await?;
        scene.ready("web").await?;
        let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        let metric = json!([{
            "type": "External",
            "external": {
                "metric": {
                    "name": "composite-metric",
                    "selector": {"matchLabels": {"scaledobject.keda.sh/name": "web"}},
                },
                "target": {"type": "AverageValue", "averageValue": "2500m"},
            },
        }]);
        same("the HPA's metrics", &hpa["spec"]["metrics"], &metric)?;
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("it is gone")?;
        same(
            "compositeScalerName",
            &object["status"]["compositeScalerName"],
            &json!("composite-metric"),
        )?;
        let names = json!(["s0-metric-api-value", "s1-metric-api-value"]);
        same(
            "externalMetricNames",
            &object["status"]["externalMetricNames"],
            &names,
        )?;

        // 3 is not above 3; each trigger's own activation doesn't count.
        set(scene, 1, 4);
        scene.stays("web", 0, "/orders", 3).await?;
        set(scene, 3, 4);
        scene.until_replicas("web", 2).await?;
        let note = scene.until_told("web", "KEDAScaleTargetActivated").await?;
        ensure!(note.contains("triggered by composite-metric"), "{note}");
        set(scene, 8, 8);
        scene.until_replicas("web", 5).await?;
        set(scene, 0, 0);
        scene.until_replicas("web", 0).await
    });
}

#[test]
fn a_formula_is_changed_and_taken_away_live() {
    play("formula-live", async |scene| {
        set(scene, 20, 30);
        scene.deploy("web", 1).await?;
        let min = json!({"minReplicaCount": 1});
        let modifiers =
            json!({"formula": "min(orders, returns)", "target": "10", "metricType": "Value"});
        scene.apply(composed(scene, modifiers, min.clone())).await?;
        // A Value above its target doubles what is Ready, until the maximum.
        scene.until_replicas("web", 5).await?;
        let modifiers =
            json!({"formula": "count([orders, returns], {# > 25}) * 20", "target": "10"});
        scene.apply(composed(scene, modifiers, min.clone())).await?;
        scene.until_replicas("web", 2).await?;
        let plain = json!({"triggers": [trigger(scene, "orders"), trigger(scene, "returns")], "minReplicaCount": 1});
        scene.apply(scene.scaled_object("web", plain)).await?;
        scene.until_replicas("web", 3).await?;
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("it is gone")?;
        same(
            "compositeScalerName",
            &object["status"]["compositeScalerName"],
            &Value::Null,
        )
    });
}

#[test]
fn metrics_of_pods_and_containers_stay_beside_the_formula() {
    play("formula-resources", async |scene| {
        set(scene, 0, 0);
        scene.deploy("web", 1).await?;
        let cpu = |container: Option<&str>| {
            let mut metadata = json!({"value": "50"});
            if let Some(container) = container {
                metadata["containerName"] = json!(container);
            }
            json!({"type": "cpu", "metricType": "Utilization", "metadata": metadata})
        };
        let triggers = json!([cpu(None), trigger(scene, "orders"), cpu(Some("web"))]);
        let modifiers = json!({"formula": "orders", "target": "10"});
        let spec = json!({"triggers": triggers, "minReplicaCount": 1});
        scene.apply(composed(scene, modifiers, spec)).await?;
        scene.ready("web").await?;
        let hpa = scene.get(HPAS, "keda-hpa-web").await?.context("no HPA")?;
        let metrics = hpa["spec"]["metrics"].as_array().context("no metrics")?;
        let types: Vec<&Value> = metrics.iter().map(|metric| &metric["type"]).collect();
        // KEDA: the formula's comes last; it loses the container's.
        ensure!(
            types == ["ContainerResource", "Resource", "External"],
            "{types:?}"
        );
        Ok(())
    });
}

#[test]
fn what_is_wrong_with_a_formula_is_told_and_nothing_is_scaled() {
    play("formula-wrong", async |scene| {
        set(scene, 20, 30);
        scene.deploy("web", 2).await?;
        let modifiers = json!({"formula": "orders + retuns", "target": "0"});
        scene.apply(composed(scene, modifiers, json!({}))).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message
                == "failed to ensure HPA is correctly created for ScaledObject: \
                    error validating formula in ScalingModifiers: unknown name \"retuns\" at column 10, did you mean \"returns\"?; \
                    error validating target in ScalingModifiers: error converting target for scalingModifiers (string->float) \
                    to valid target: \"0\" is no number above 0",
            "{message}"
        );
        ensure!(
            scene.get(HPAS, "keda-hpa-web").await?.is_none(),
            "there is an HPA"
        );
        let good = json!({"formula": "orders + returns", "target": "10"});
        scene.apply(composed(scene, good, json!({}))).await?;
        scene.until_replicas("web", 5).await?;

        // Bad input loses nothing: the object is left as it is.
        let bad = json!({"formula": "orders +", "target": "10"});
        scene.apply(composed(scene, bad, json!({}))).await?;
        scene.check_failed("web").await?;
        set(scene, 0, 0);
        scene.stays("web", 5, "/orders", 4).await?;
        let good = json!({"formula": "orders - returns", "target": "10"});
        scene.apply(composed(scene, good, json!({}))).await?;
        scene.until_replicas("web", 0).await
    });
}

#[test]
fn a_trigger_that_fails_or_a_formula_without_a_result_keeps_the_replicas() {
    play("formula-fails", async |scene| {
        set(scene, 20, 10);
        scene.deploy("web", 1).await?;
        let modifiers = json!({"formula": "orders / (returns / 10)", "target": "10"});
        scene.apply(composed(scene, modifiers, json!({}))).await?;
        scene.until_replicas("web", 2).await?;
        scene.source.set("/returns", Answer::status(503));
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        scene.until_told("web", "KEDAMetricSourceFailed").await?;
        scene.stays("web", 2, "/orders", 5).await?;
        // Dividing by zero: KEDA takes it for nothing to do.
        set(scene, 20, 0);
        scene
            .until_told_that("web", "KEDAMetricSourceFailed", "the formula gives inf")
            .await?;
        scene.stays("web", 2, "/orders", 5).await?;
        set(scene, 30, 10);
        scene.ready("web").await?;
        scene.until_replicas("web", 3).await
    });
}

#[test]
fn a_fallback_counts_instead_of_the_formula_or_within_it() {
    play("formula-fallback", async |scene| {
        set(scene, 20, 10);
        scene.deploy("web", 1).await?;
        let spec = |behavior: &str| json!({"fallback": {"failureThreshold": 1, "replicas": 4, "behavior": behavior}});
        // KEDA does not fall back where the target is no whole number.
        let modifiers = json!({"formula": "orders + returns", "target": "12.5"});
        scene
            .apply(composed(scene, modifiers, spec("static")))
            .await?;
        scene.until_replicas("web", 3).await?;
        scene.source.set("/returns", Answer::status(503));
        scene.until_replicas("web", 4).await?;
        scene
            .condition("web", "Fallback", "True", "FallbackExists")
            .await?;

        // Nil for the one that fails, and the fallback's replicas where all is nil.
        let modifiers = json!({"formula": "returns ?? orders", "target": "10"});
        scene
            .apply(composed(scene, modifiers, spec("scalingModifiers")))
            .await?;
        scene.until_replicas("web", 2).await?;
        scene.source.set("/orders", Answer::status(503));
        scene.until_replicas("web", 4).await?;
        scene.stays("web", 4, "/orders", 5).await
    });
}
