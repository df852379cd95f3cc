//! The HPA follows its ScaledObject, whatever anybody does to either.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::scene::{HPAS, PATH, SCALED_OBJECTS, Scene, merge, play, same, text};

const HPA: &str = "keda-hpa-web";

/// A ScaledObject that is ready, for a Deployment at 0.
async fn bring_up(scene: &Scene<'_>) -> Result<Value> {
    scene.bring_up(0, json!({})).await?;
    scene.get(HPAS, HPA).await?.context("no HPA")
}

/// Waits until the HPA's field at `pointer` is `value`.
async fn until_field(scene: &Scene<'_>, pointer: &str, value: Value) -> Result<()> {
    let found = |hpa: &Value| {
        (hpa.pointer(pointer).unwrap_or(&Value::Null) == &value && !hpa.is_null()).then_some(())
    };
    scene
        .until(&format!("{pointer} = {value}"), HPAS, HPA, found)
        .await
}

#[test]
fn deleted_by_hand_it_comes_back() {
    play("hpa-deleted", async |scene| {
        let before = bring_up(scene).await?;
        scene.delete(HPAS, HPA).await?;
        let after = scene
            .until("another HPA", HPAS, HPA, |hpa| {
                let another = !hpa.is_null() && hpa["metadata"]["uid"] != before["metadata"]["uid"];
                another.then(|| hpa.clone())
            })
            .await?;
        same("its spec", &after["spec"], &before["spec"])?;
        same(
            "its labels",
            &after["metadata"]["labels"],
            &before["metadata"]["labels"],
        )?;
        scene.ready("web").await
    });
}

#[test]
fn edited_by_hand_it_is_put_back() {
    play("hpa-edited", async |scene| {
        let before = bring_up(scene).await?;
        let edits = [
            json!({"spec": {"maxReplicas": 50}}),
            json!({"spec": {"minReplicas": 3}}),
            json!({"spec": {"scaleTargetRef": {"name": "other"}}}),
            json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}}),
            json!({"spec": {"metrics": []}}),
            json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}),
            json!({"metadata": {"ownerReferences": null}}),
        ];
        for edit in edits {
            let edited = scene.patch(HPAS, HPA, &edit).await?;
            ensure!(edited["spec"] != before["spec"] || edited["metadata"] != before["metadata"]);
            scene
                .until("the HPA as it was", HPAS, HPA, |hpa| {
                    let is = hpa["spec"] == before["spec"]
                        && ["labels", "ownerReferences"]
                            .iter()
                            .all(|field| hpa["metadata"][field] == before["metadata"][field]);
                    is.then_some(())
                })
                .await
                .with_context(|| format!("after {edit}"))?;
        }
        Ok(())
    });
}

/// What others add beside it is theirs, and starts no quarrel.
#[test]
fn labels_of_others_stay() {
    play("hpa-others", async |scene| {
        bring_up(scene).await?;
        let theirs = json!({"metadata": {"labels": {"example.com/seen": "yes"}, "annotations": {"example.com/at": "1"}}});
        scene.patch(HPAS, HPA, &theirs).await?;
        let before = scene.writes()?.len();
        scene.stays("web", 0, PATH, 3).await?;
        until_field(scene, "/metadata/labels/example.com~1seen", json!("yes")).await?;
        let writes = scene.writes()?;
        let hpa_writes: Vec<_> = writes[before..]
            .iter()
            .filter(|write| write.contains("horizontal"))
            .collect();
        ensure!(hpa_writes.is_empty(), "{writes:#?}");
        // The next change of ours leaves them, too.
        scene
            .apply(scene.scaled_object("web", json!({"maxReplicaCount": 6})))
            .await?;
        until_field(scene, "/spec/maxReplicas", json!(6)).await?;
        until_field(scene, "/metadata/labels/example.com~1seen", json!("yes")).await
    });
}

#[test]
fn renamed_the_old_one_goes() {
    play("hpa-renamed", async |scene| {
        bring_up(scene).await?;
        let named =
            |name: &str| json!({"advanced": {"horizontalPodAutoscalerConfig": {"name": name}}});
        scene
            .apply(scene.scaled_object("web", named("mine")))
            .await?;
        let its_name = |object: &Value| (object["status"]["hpaName"] == "mine").then_some(());
        scene
            .until("hpaName mine", SCALED_OBJECTS, "web", its_name)
            .await?;
        scene.until_gone(HPAS, HPA).await?;
        let hpa = scene
            .get(HPAS, "mine")
            .await?
            .context("no HPA of the new name")?;
        same(
            "its label",
            &hpa["metadata"]["labels"]["app.kubernetes.io/name"],
            &json!("mine"),
        )?;

        scene.apply(scene.scaled_object("web", json!({}))).await?;
        scene.until_gone(HPAS, "mine").await?;
        until_field(scene, "/metadata/name", json!(HPA)).await?;
        scene
            .until("hpaName", SCALED_OBJECTS, "web", |object| {
                (object["status"]["hpaName"] == HPA).then_some(())
            })
            .await?;
        scene.set(1);
        scene.until_replicas("web", 1).await
    });
}

/// KEDA takes them over with the next change of the spec only.
#[test]
fn labels_and_annotations_reach_it_at_once() {
    play("hpa-labels", async |scene| {
        bring_up(scene).await?;
        let mut object = scene.scaled_object("web", json!({}));
        let metadata = json!({
            "labels": {"team": "checkout", "plan": "a"}, "annotations": {"note": "first", "other": "x"},
        });
        merge(&mut object["metadata"], metadata);
        scene.apply(object.clone()).await?;
        until_field(scene, "/metadata/labels/team", json!("checkout")).await?;
        until_field(scene, "/metadata/annotations/note", json!("first")).await?;
        let changed = json!({
            "labels": {"team": "pay", "plan": null}, "annotations": {"note": "second", "other": null},
        });
        merge(&mut object["metadata"], changed);
        scene.apply(object.clone()).await?;
        until_field(scene, "/metadata/labels/team", json!("pay")).await?;
        until_field(scene, "/metadata/labels/plan", Value::Null).await?;
        until_field(scene, "/metadata/annotations/note", json!("second")).await?;
        until_field(scene, "/metadata/annotations/other", Value::Null).await?;
        let excluded = json!({"annotations": {"scaledobject.keda.sh/hpa-excluded-labels": "team"}});
        merge(&mut object["metadata"], excluded);
        scene.apply(object).await?;
        until_field(scene, "/metadata/labels/team", Value::Null).await
    });
}

#[test]
fn triggers_come_change_and_go() {
    play("hpa-triggers", async |scene| {
        bring_up(scene).await?;
        let mut trigger = scene.trigger();
        trigger["metadata"]["targetValue"] = json!("2.5");
        scene
            .apply(scene.scaled_object("web", json!({"triggers": [trigger]})))
            .await?;
        let target = "/spec/metrics/0/external/target/averageValue";
        until_field(scene, target, json!("2500m")).await?;

        let mut other = scene.trigger_on("/other");
        other["metadata"]["valueLocation"] = json!("depth");
        other["metricType"] = json!("Value");
        scene.source.set(
            "/other",
            sakidori_test_servers::Answer::json(&json!({"depth": 1})),
        );
        let both = json!({"triggers": [trigger, other]});
        scene.apply(scene.scaled_object("web", both)).await?;
        until_field(
            scene,
            "/spec/metrics/1/external/metric/name",
            json!("s1-metric-api-depth"),
        )
        .await?;
        until_field(
            scene,
            "/spec/metrics/1/external/target",
            json!({"type": "Value", "value": "10"}),
        )
        .await?;
        scene.until_replicas("web", 1).await?;
        let names = |expected: Value| {
            move |object: &Value| {
                (object["status"]["externalMetricNames"] == expected).then_some(())
            }
        };
        let both = json!(["s0-metric-api-value", "s1-metric-api-depth"]);
        scene
            .until("two metrics", SCALED_OBJECTS, "web", names(both))
            .await?;

        scene
            .apply(scene.scaled_object("web", json!({"triggers": [other]})))
            .await?;
        until_field(
            scene,
            "/spec/metrics/0/external/metric/name",
            json!("s0-metric-api-depth"),
        )
        .await?;
        until_field(scene, "/spec/metrics/1", Value::Null).await?;
        scene
            .until(
                "one metric",
                SCALED_OBJECTS,
                "web",
                names(json!(["s0-metric-api-depth"])),
            )
            .await?;
        let activity = scene
            .until("one metric's activity", SCALED_OBJECTS, "web", |object| {
                let activity = object["status"]["triggersActivity"].as_object()?;
                (activity.len() == 1).then(|| text(&json!(activity.keys().next())))
            })
            .await?;
        ensure!(activity == "s0-metric-api-depth", "{activity}");
        Ok(())
    });
}

/// A write of the same once more is no reason to write anything.
#[test]
fn applied_again_unchanged_nothing_is_written() {
    play("hpa-unchanged", async |scene| {
        bring_up(scene).await?;
        // The HPA controller's word on it is written into the status, whenever it comes.
        scene
            .condition("web", "HPAActive", "True", "ScalingDisabled")
            .await?;
        scene.stays("web", 0, PATH, 3).await?;
        let before = scene.writes()?.len();
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        scene.stays("web", 0, PATH, 2).await?;
        let writes = scene.writes()?;
        ensure!(writes.len() == before, "{writes:#?}");
        Ok(())
    });
}

/// Each has a target of its own, and both want an HPA of one name: whoever has it keeps it.
#[test]
fn an_hpa_that_is_anothers_is_left_alone() {
    play("hpa-anothers", async |scene| {
        scene.deploy("web", 0).await?;
        scene.deploy("api", 0).await?;
        let config = json!({"horizontalPodAutoscalerConfig": {"name": "shared"}});
        let named = |name: &str| scene.scaled_object(name, json!({"advanced": config}));
        scene.apply(named("web")).await?;
        scene.ready("web").await?;
        let before = scene.get(HPAS, "shared").await?.context("no HPA")?;
        scene.apply(named("api")).await?;
        let message = scene.check_failed("api").await?;
        ensure!(
            message.contains("shared") && message.contains("web"),
            "{message}"
        );
        scene.stays("web", 0, PATH, 2).await?;
        let after = scene.get(HPAS, "shared").await?.context("the HPA went")?;
        same("its spec", &after["spec"], &before["spec"])?;
        let owners = |hpa: &Value| hpa["metadata"]["ownerReferences"].clone();
        same("its owners", &owners(&after), &owners(&before))?;
        scene.ready("web").await?;

        // The name is free again, and the other has it at once.
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.ready("api").await
    });
}
