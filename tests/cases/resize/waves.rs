//! How many pods are under way at a time, what edits of the policies do meanwhile, and what metrics say of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::nodes::RESIZE_TIME_ANNOTATION;
use sakidori_tests::pod_sizes::{PodSizes, changes};
use serde_json::{Value, json};

use super::stage::{has, is_back, play, resized_by, shared, until_all, web};
use crate::prescaling::{calendar, floor, from_now, trigger};
use crate::scene::{SCALED_OBJECTS, SOON, Scene, merge};

const OWN: &str = "500m 256Mi";

fn policies(cpu: &str) -> Value {
    json!([{"container": "app", "when": "prescale", "cpu": cpu}])
}

fn edit(resize: Value) -> Value {
    json!({"spec": {"advanced": {"sakidori": {"inPlaceResize": resize}}}})
}

/// Pods that each take a while to be resized, and a sale that holds already.
async fn bring_up(scene: &Scene<'_>, count: i32, cpu: &str, more: Value) -> Result<PodSizes> {
    let slow = json!({"metadata": {"annotations": {RESIZE_TIME_ANNOTATION: "700ms"}}});
    scene.apply(web(count, slow)).await?;
    let pods = usize::try_from(count)?;
    until_all(scene, "pods", pods, has(OWN)).await?;
    let ready = |object: &Value| (object["status"]["readyReplicas"] == count).then_some(());
    scene
        .until("Ready pods", crate::scene::DEPLOYMENTS, "web", ready)
        .await?;
    let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
    scene.apply(sale(600)).await?;
    let mut spec = resized_by(policies(cpu), more);
    let floor = floor(count.into());
    merge(
        &mut spec,
        json!({"minReplicaCount": count, "maxReplicaCount": count + 2, "triggers": [trigger("sales", floor)]}),
    );
    scene.apply(scene.scaled_object("web", spec)).await?;
    Ok(watching)
}

/// It has begun, and ends so many seconds from now.
fn sale(seconds: i64) -> Value {
    calendar("sales", &[("new-year", from_now(-60), from_now(seconds))])
}

#[test]
fn never_more_than_so_many_pods_are_under_way() {
    play("waves-number", async |scene| {
        let watching = bring_up(scene, 8, "x3", json!({"maxConcurrent": 3})).await?;
        until_all(scene, "grown pods", 8, has("1500m 256Mi")).await?;
        ensure!(
            watching.most_under_way() == 3,
            "{} at once",
            watching.most_under_way()
        );
        scene.apply(sale(-1)).await?;
        until_all(scene, "pods that are back", 8, is_back).await?;
        ensure!(
            watching.most_under_way() == 3,
            "{} at once",
            watching.most_under_way()
        );
        for (name, course) in watching.courses()? {
            ensure!(changes(&course) == 2, "{name}: {course:#?}");
        }
        Ok(())
    });
}

#[test]
fn a_share_of_the_pods_is_rounded_down_and_one_at_least() {
    play("waves-share", async |scene| {
        let watching = bring_up(scene, 7, "x3", json!({"maxConcurrent": "30%"})).await?;
        until_all(scene, "grown pods", 7, has("1500m 256Mi")).await?;
        ensure!(
            watching.most_under_way() == 2,
            "{} at once",
            watching.most_under_way()
        );
        drop(watching);
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        scene
            .patch(
                SCALED_OBJECTS,
                "web",
                &edit(json!({"maxConcurrent": "10%", "policies": policies("x2")})),
            )
            .await?;
        until_all(scene, "smaller pods", 7, has("1 256Mi")).await?;
        ensure!(
            watching.most_under_way() == 1,
            "{} at once",
            watching.most_under_way()
        );
        Ok(())
    });
}

#[test]
fn policies_are_edited_during_a_sale() {
    play("waves-edits", async |scene| {
        let watching = bring_up(scene, 4, "x3", json!({"maxConcurrent": 1})).await?;
        // In the middle of the first wave.
        watching
            .until("a grown pod", SOON, |all| {
                all.values().any(|course| {
                    course
                        .last()
                        .is_some_and(|look| look.wanted == "1500m 256Mi")
                })
            })
            .await?;
        scene
            .patch(
                SCALED_OBJECTS,
                "web",
                &edit(json!({"policies": policies("x2")})),
            )
            .await?;
        until_all(scene, "pods of the new policy", 4, has("1 256Mi")).await?;
        ensure!(
            watching.most_under_way() == 1,
            "{} at once",
            watching.most_under_way()
        );
        // What can't be understood changes nothing, and is refused by admission where that is on.
        let other = json!([{"container": "app", "when": "prescale", "memory": "+256Mi"}]);
        scene
            .patch(SCALED_OBJECTS, "web", &edit(json!({"policies": other})))
            .await?;
        until_all(scene, "pods of another resource", 4, has("500m 512Mi")).await?;
        let starting = json!([{"container": "app", "when": "starting", "cpu": "x3"}]);
        scene
            .patch(SCALED_OBJECTS, "web", &edit(json!({"policies": starting})))
            .await?;
        until_all(scene, "pods that are back", 4, is_back).await?;
        scene
            .patch(
                SCALED_OBJECTS,
                "web",
                &edit(json!({"policies": policies("x4")})),
            )
            .await?;
        until_all(scene, "grown pods", 4, has("2 256Mi")).await?;
        // Without the field, they go back, though the sale goes on.
        let without = json!({"spec": {"advanced": {"sakidori": null}}});
        scene.patch(SCALED_OBJECTS, "web", &without).await?;
        until_all(scene, "pods that are back", 4, is_back).await?;
        ensure!(
            watching.most_under_way() == 1,
            "{} at once",
            watching.most_under_way()
        );
        scene
            .until("no condition Resized", SCALED_OBJECTS, "web", |object| {
                crate::scene::condition(object, "Resized")
                    .is_none()
                    .then_some(())
            })
            .await
    });
}

/// The series of resizing of a namespace: their values by `resize_pods resized`, those that are 0 left out.
async fn series(namespace: &str) -> Result<BTreeMap<String, u64>> {
    let operator = shared()?.operator.lock().await;
    let page = operator.metrics().await?;
    let lines = page
        .lines()
        .filter(|line| line.starts_with("sakidori_resize_"));
    let mut found = BTreeMap::new();
    for line in lines.filter(|line| line.contains(&format!("namespace=\"{namespace}\""))) {
        let (labels, value) = line.rsplit_once(' ').context("no value")?;
        let (name, labels) = labels.split_once('{').context("no labels")?;
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        let names: Vec<_> = names.map(|(name, _)| name).collect();
        ensure!(names.len() == 3, "{line}");
        let mut words = labels.split(',').filter_map(|label| label.split_once('='));
        let word = words.find(|(name, _)| ["state", "result"].contains(name));
        let word = word.context("no label")?.1.trim_matches('"');
        let value: f64 = value.parse()?;
        if value > 0.0 {
            found.insert(
                format!("{} {word}", name.trim_start_matches("sakidori_resize_")),
                value as u64,
            );
        }
    }
    Ok(found)
}

async fn until_series(namespace: &str, expected: &[(&str, u64)]) -> Result<()> {
    let expected: BTreeMap<String, u64> = expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    let mut last = BTreeMap::new();
    let found = eventually("series", SOON, async || {
        last = series(namespace).await?;
        Ok((last == expected).then_some(()))
    })
    .await;
    found.with_context(|| format!("{last:?}, expected {expected:?}"))
}

#[test]
fn metrics_count_pods_and_what_became_of_them_and_go_with_the_policies() {
    play("waves-metrics", async |scene| {
        let namespace = scene.namespace.as_str();
        let watching = bring_up(scene, 4, "x3", json!({"maxConcurrent": 2})).await?;
        until_all(scene, "grown pods", 4, has("1500m 256Mi")).await?;
        let grown = [
            ("pods resized", 4),
            ("total asked", 4),
            ("total resized", 4),
        ];
        until_series(namespace, &grown).await?;
        scene.apply(sale(-1)).await?;
        let back = [
            ("pods template", 4),
            ("total asked", 8),
            ("total resized", 4),
            ("total restored", 4),
        ];
        until_series(namespace, &back).await?;
        let page = shared()?.operator.lock().await.metrics().await?;
        for name in watching.courses()?.keys() {
            ensure!(!page.contains(name.as_str()), "{name} is a label");
        }
        // With the policies.
        let without = json!({"spec": {"advanced": {"sakidori": null}}});
        scene.patch(SCALED_OBJECTS, "web", &without).await?;
        until_series(namespace, &[]).await?;
        // With the object, and from the beginning for another of its name.
        scene.apply(sale(600)).await?;
        scene
            .patch(
                SCALED_OBJECTS,
                "web",
                &edit(json!({"policies": policies("x2")})),
            )
            .await?;
        until_series(namespace, &grown).await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        until_all(scene, "pods that are back", 4, is_back).await?;
        until_series(namespace, &[]).await
    });
}
