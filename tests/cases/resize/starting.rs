//! Pods have more while they start, and give it back when they are Ready.

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::nodes::{RUNNING_AFTER_ANNOTATION, START_TIME_ANNOTATION};
use sakidori_test_cluster::{ClusterOptions, NodeSize};
use sakidori_tests::bed::Bed;
use sakidori_tests::pod_sizes::{Course, PodSizes, changes, first, live};
use serde_json::{Value, json};

use super::stage::{has, is_back, options, play, play_on, pods, resized_by, seen, until_all, web};
use crate::prescaling::{calendar, floor, from_now, trigger};
use crate::scene::{DEPLOYMENTS, SCALED_OBJECTS, SOON, Scene, merge};

/// What container `app` requests by its template, and while it starts under [`boost`].
const OWN: &str = "500m 256Mi";
const BOOSTED: &str = "1500m 256Mi";

/// Three times the CPU until Ready.
fn boost() -> Value {
    json!([{"container": "app", "when": "starting", "cpu": "x3"}])
}

/// Pods whose containers run after a second, and are Ready after so long.
fn ready_after(time: &str) -> Value {
    json!({"metadata": {"annotations": {RUNNING_AFTER_ANNOTATION: "1s", START_TIME_ANNOTATION: time}}})
}

/// A Ready pod that was there before the ScaledObject, which then boosts pods that start.
async fn bring_up(scene: &Scene<'_>, template: Value, policies: Value, more: Value) -> Result<()> {
    scene.apply(web(1, template)).await?;
    until_all(scene, "Ready pod", 1, has(OWN)).await?;
    until_ready(scene, 1).await?;
    let mut spec = resized_by(policies, json!({}));
    merge(
        &mut spec,
        json!({"minReplicaCount": 1, "maxReplicaCount": 300}),
    );
    merge(&mut spec, more);
    scene.apply(scene.scaled_object("web", spec)).await?;
    scene.ready("web").await?;
    scene
        .condition("web", "Resized", "False", "NoPolicyHolds")
        .await
        .map(drop)
}

async fn until_ready(scene: &Scene<'_>, count: i64) -> Result<()> {
    let is = |object: &Value| (object["status"]["readyReplicas"] == count).then_some(());
    scene.until("Ready replicas", DEPLOYMENTS, "web", is).await
}

/// From now on there are at least so many replicas.
async fn at_least(scene: &Scene<'_>, replicas: i64) -> Result<()> {
    let patch = json!({"spec": {"minReplicaCount": replicas}});
    scene.patch(SCALED_OBJECTS, "web", &patch).await.map(drop)
}

/// It had more before it was Ready, has what its template says since, and nothing is left of it.
fn was_helped(course: &Course) -> bool {
    let boosted = course.iter().position(|look| look.wanted == BOOSTED);
    let ready = course.iter().position(|look| look.ready);
    let back = course.last().is_some_and(|look| {
        look.ready && look.wanted == OWN && !look.is_under_way() && !look.remembers
    });
    boosted
        .zip(ready)
        .is_some_and(|(boosted, ready)| boosted < ready)
        && back
}

fn helped(courses: &std::collections::BTreeMap<String, Course>) -> usize {
    courses.values().filter(|course| was_helped(course)).count()
}

#[test]
fn a_pod_that_starts_has_more_until_it_is_ready() {
    play("starting-pod", async |scene| {
        bring_up(scene, ready_after("5s"), boost(), json!({})).await?;
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        let older: Vec<String> = pods(scene).await?.into_keys().collect();
        at_least(scene, 3).await?;
        let courses = watching
            .until("helped pods", SOON, |all| helped(all) == 2)
            .await?;
        for (name, course) in &courses {
            if older.contains(name) {
                ensure!(changes(course) == 0, "{name} was Ready before: {course:#?}");
                continue;
            }
            ensure!(changes(course) == 2, "{name}: {course:#?}");
            // Its containers ran with it.
            let had = first(course, |look| look.actual.as_deref() == Some(BOOSTED));
            ensure!(had.is_some_and(|look| !look.ready), "{name}: {course:#?}");
            ensure!(course.iter().all(|look| look.restarts == 0), "{course:#?}");
        }
        until_all(scene, "pods that are back", 3, is_back).await?;
        Ok(())
    });
}

#[test]
fn two_hundred_pods_that_start_at_once_cost_five_writes_each() {
    // A kubelet has to have room for them all.
    let node = NodeSize {
        cpu: "400".to_owned(),
        ..NodeSize::default()
    };
    let bed = Bed::start_with(ClusterOptions { node, ..options() }, |_| {}).unwrap();
    play_on(&bed, "starting-many", async |scene| {
        // Long enough that each is asked before it is Ready, whatever else the machine does.
        bring_up(scene, ready_after("25s"), boost(), json!({})).await?;
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        let earlier = scene.writes()?.len();
        at_least(scene, 201).await?;
        let within = SOON * 6;
        let courses = watching
            .until("helped pods", within, |all| helped(all) == 200)
            .await?;
        ensure!(
            courses.values().all(|course| changes(course) <= 2),
            "one was asked again"
        );
        let written = scene.writes()?.split_off(earlier);
        let of = |what: &str| -> usize {
            let those = written.iter().filter(|it| it.starts_with(what));
            those.filter(|it| !it.contains('(')).count()
        };
        // What is remembered is written, written anew, and removed.
        let (annotated, resized) = (of("patch pods web"), of("patch pods/resize web"));
        ensure!(
            (annotated, resized) == (600, 400),
            "{annotated} and {resized}"
        );
        let mut conflicts = std::collections::BTreeMap::<&str, usize>::new();
        for write in written
            .iter()
            .filter(|it| it.contains("pods") && it.contains('('))
        {
            ensure!(write.contains("(409)"), "{write}");
            *conflicts.entry(write).or_default() += 1;
        }
        // Its kubelet and the scheduler write the same pods: three of them until it is Ready, and each is in the way once.
        let most = conflicts.values().max().copied().unwrap_or_default();
        ensure!(most <= 4, "{most} conflicts of one pod: {conflicts:#?}");
        Ok(())
    });
}

#[test]
fn a_pod_that_starts_when_the_policy_comes_is_helped_and_one_that_never_is_ready_keeps_it() {
    play("starting-never", async |scene| {
        scene.apply(web(2, ready_after("1h"))).await?;
        until_all(scene, "pods that start", 2, has(OWN)).await?;
        let mut spec = resized_by(boost(), json!({}));
        merge(&mut spec, json!({"minReplicaCount": 2}));
        let object = scene.scaled_object("web", spec);
        scene.apply(object).await?;
        until_all(scene, "boosted pods", 2, has(BOOSTED)).await?;
        // A change of the policy is a change for them, too.
        let mut spec = resized_by(
            json!([{"container": "app", "when": "starting", "cpu": "x2"}]),
            json!({}),
        );
        merge(&mut spec, json!({"minReplicaCount": 2}));
        scene.apply(scene.scaled_object("web", spec)).await?;
        until_all(scene, "less boosted pods", 2, has("1 256Mi")).await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        until_all(scene, "pods that are back", 2, is_back).await?;
        Ok(())
    });
}

#[test]
fn a_pod_that_loses_its_readiness_is_not_starting_again() {
    play("starting-unready", async |scene| {
        bring_up(scene, ready_after("6s"), boost(), json!({})).await?;
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        let old = pods(scene).await?.into_keys().next().context("no pod")?;
        let conditions =
            scene.get(super::stage::PODS, &old).await?.context("gone")?["status"]["conditions"]
                .clone();
        let mut conditions = conditions.as_array().context("no conditions")?.clone();
        for condition in &mut conditions {
            if condition["type"] == "Ready" {
                merge(
                    condition,
                    json!({"status": "False", "lastTransitionTime": from_now(0).to_string()}),
                );
            }
        }
        let unready = json!({"status": {"conditions": conditions}});
        scene
            .patch(super::stage::PODS, &format!("{old}/status"), &unready)
            .await?;
        watching
            .until("pod that is not Ready", SOON, |all| {
                all.get(&old)
                    .is_some_and(|course| course.iter().any(|look| !look.ready))
            })
            .await?;
        // One that comes later is helped: so the other has been looked at.
        at_least(scene, 2).await?;
        let courses = watching
            .until("helped pod", SOON, |all| helped(all) == 1)
            .await?;
        let course = &courses[&old];
        ensure!(changes(course) == 0, "{course:#?}");
        Ok(())
    });
}

#[test]
fn a_rolling_update_helps_every_new_pod_and_no_old_one() {
    play("starting-rollout", async |scene| {
        bring_up(
            scene,
            ready_after("8s"),
            boost(),
            json!({"minReplicaCount": 4}),
        )
        .await?;
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        watching
            .until("first pods", SOON, |all| {
                let mut ready = live(all)
                    .filter(|(_, look)| look.ready && look.wanted == OWN && !look.remembers);
                ready.by_ref().count() == 4
            })
            .await?;
        drop(watching);
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        let old: Vec<String> = watching.courses()?.into_keys().collect();
        ensure!(old.len() == 4, "{old:?}");
        let next = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
        scene.patch(DEPLOYMENTS, "web", &next).await?;
        let courses = watching
            .until("new pods that were helped", SOON * 2, |all| {
                helped(all) == 4 && live(all).count() == 4
            })
            .await?;
        for (name, course) in &courses {
            let expected = if old.contains(name) { 0 } else { 2 };
            ensure!(changes(course) == expected, "{name}: {course:#?}");
        }
        Ok(())
    });
}

#[test]
fn a_pod_that_comes_in_a_sale_has_the_most_while_it_starts_and_keeps_what_the_sale_gives() {
    play("starting-sale", async |scene| {
        scene.apply(web(1, ready_after("6s"))).await?;
        until_ready(scene, 1).await?;
        scene
            .apply(calendar(
                "sales",
                &[("new-year", from_now(7), from_now(25))],
            ))
            .await?;
        let policies = json!([
            {"container": "app", "when": "prescale", "cpu": "1", "memory": "+256Mi"},
            {"container": "app", "when": "starting", "cpu": "x3"},
        ]);
        let mut spec = resized_by(policies, json!({}));
        merge(
            &mut spec,
            json!({"minReplicaCount": 1, "triggers": [trigger("sales", floor(2))]}),
        );
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        scene.apply(scene.scaled_object("web", spec)).await?;
        let courses = watching
            .until("pods that a sale made larger", SOON, |all| {
                let mut grown = live(all).filter(|(_, look)| {
                    look.ready && look.wanted == "1 512Mi" && !look.is_under_way()
                });
                grown.by_ref().count() == 2
            })
            .await?;
        let wanted: Vec<Vec<&str>> = courses
            .values()
            .map(|course| {
                let mut wanted: Vec<_> = course.iter().map(|look| look.wanted.as_str()).collect();
                wanted.dedup();
                wanted
            })
            .collect();
        ensure!(
            wanted.contains(&vec![OWN, "1 512Mi"]),
            "the one that was there: {wanted:?}"
        );
        ensure!(
            wanted.contains(&vec![OWN, "1500m 512Mi", "1 512Mi"]),
            "the one that came: {wanted:?}"
        );
        let back = |all: &std::collections::BTreeMap<String, Course>| {
            live(all).all(|(_, look)| look.wanted == OWN && !look.remembers)
        };
        watching.until("pods that are back", SOON, back).await?;
        Ok(())
    });
}

#[test]
fn a_sidecar_is_helped_beside_its_container() {
    play("starting-sidecar", async |scene| {
        let sidecar = json!({
            "name": "proxy", "image": "example.org/none:1", "restartPolicy": "Always",
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        });
        let mut template = ready_after("5s");
        merge(
            &mut template,
            json!({"spec": {"initContainers": [sidecar]}}),
        );
        let mut policies = boost();
        policies
            .as_array_mut()
            .context("no list")?
            .push(json!({"container": "proxy", "when": "starting", "cpu": "+400m"}));
        bring_up(scene, template, policies, json!({})).await?;
        at_least(scene, 2).await?;
        let proxy = |cpu: &str, pod: &Value| {
            pod["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] == cpu
        };
        until_some_pod(scene, "boosted sidecar", |pod| {
            proxy("500m", pod) && seen(pod).wanted == BOOSTED
        })
        .await?;
        until_all(scene, "pods that are back", 2, is_back).await?;
        ensure!(
            scene
                .list(super::stage::PODS)
                .await?
                .iter()
                .all(|pod| proxy("100m", pod))
        );
        Ok(())
    });
}

async fn until_some_pod(scene: &Scene<'_>, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
    sakidori_test_cluster::eventually(what, SOON, async || {
        let pods = scene.list(super::stage::PODS).await?;
        Ok(pods.iter().any(&is).then_some(()))
    })
    .await
}

#[test]
fn a_container_that_a_resize_restarts_is_left_alone_unless_it_may() {
    play("starting-restarts", async |scene| {
        let policy = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        let container = json!({
            "name": "app", "image": "example.org/none:1", "resources": super::stage::own(), "resizePolicy": policy,
        });
        let mut template = ready_after("5s");
        merge(&mut template, json!({"spec": {"containers": [container]}}));
        bring_up(scene, template, boost(), json!({})).await?;
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        at_least(scene, 2).await?;
        let message = scene
            .condition("web", "Resized", "False", "LeftAlone")
            .await?;
        ensure!(message.contains("allowRestart: true"), "{message}");
        until_ready(scene, 2).await?;
        ensure!(
            watching
                .courses()?
                .values()
                .all(|course| changes(course) == 0)
        );
        let allowed =
            json!({"spec": {"advanced": {"sakidori": {"inPlaceResize": {"allowRestart": true}}}}});
        scene.patch(SCALED_OBJECTS, "web", &allowed).await?;
        at_least(scene, 3).await?;
        let courses = watching
            .until("helped pod", SOON, |all| helped(all) == 1)
            .await?;
        for course in courses.values() {
            // Both ways, but where it had not run yet.
            let restarts = course.last().map_or(0, |look| look.restarts);
            ensure!(
                (restarts > 0) == was_helped(course) && restarts <= 2,
                "{course:#?}"
            );
        }
        Ok(())
    });
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    play("starting-guaranteed", async |scene| {
        let same = json!({"cpu": "500m", "memory": "256Mi"});
        let container = json!({
            "name": "app", "image": "example.org/none:1", "resources": {"requests": same, "limits": same},
        });
        let mut template = ready_after("5s");
        merge(&mut template, json!({"spec": {"containers": [container]}}));
        bring_up(scene, template, boost(), json!({})).await?;
        at_least(scene, 2).await?;
        until_some_pod(scene, "boosted pod", |pod| {
            let pod = seen(pod);
            pod.actual == BOOSTED && pod.limits == BOOSTED && pod.qos == "Guaranteed"
        })
        .await?;
        until_all(scene, "pods that are back", 2, |pod| {
            has(OWN)(pod) && pod.limits == OWN && pod.qos == "Guaranteed" && !pod.remembers
        })
        .await?;
        Ok(())
    });
}

#[test]
fn pods_of_a_stateful_set_are_helped_one_after_the_other() {
    play("starting-set", async |scene| {
        let mut set = web(1, ready_after("8s"));
        set["kind"] = json!("StatefulSet");
        set["spec"]["serviceName"] = json!("web");
        scene.apply(set).await?;
        let mut spec = resized_by(boost(), json!({}));
        merge(
            &mut spec,
            json!({"minReplicaCount": 3, "scaleTargetRef": {"kind": "StatefulSet"}}),
        );
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        scene.apply(scene.scaled_object("web", spec)).await?;
        watching
            .until("helped pods", SOON * 2, |all| {
                let of = |name: &str| all.get(name).is_some_and(was_helped);
                of("web-1") && of("web-2")
            })
            .await
            .map(drop)
    });
}

#[test]
fn pods_that_a_custom_resource_names_are_helped() {
    play("starting-custom", async |scene| {
        scene
            .apply(crate::targets::workers("workers", "Worker"))
            .await?;
        let shift = json!({
            "apiVersion": "sakidori.test/v1", "kind": "Worker", "metadata": {"name": "web"},
            "spec": {"replicas": 1},
        });
        crate::targets::apply_when_served(scene, &shift).await?;
        let status = json!({"status": {"replicas": 1, "selector": "app=shift"}});
        scene
            .patch("apis/sakidori.test/v1/workers", "web/status", &status)
            .await?;
        let mut spec = resized_by(boost(), json!({}));
        let target = json!({"apiVersion": "sakidori.test/v1", "kind": "Worker"});
        merge(
            &mut spec,
            json!({"minReplicaCount": 1, "scaleTargetRef": target}),
        );
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene
            .condition("web", "Resized", "False", "NoPolicyHolds")
            .await?;
        let watching = PodSizes::watch(&scene.client, &scene.namespace).await?;
        // Nobody else's: its controller makes pods in its own way.
        let mut pod = web(1, ready_after("5s"))["spec"]["template"].clone();
        merge(
            &mut pod,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shift-1", "labels": {"app": "shift"}}}),
        );
        scene.create(super::stage::PODS, &pod).await?;
        watching
            .until("helped pod", SOON, |all| helped(all) == 1)
            .await?;
        Ok(())
    });
}
