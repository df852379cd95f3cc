//! `advanced.sakidori.inPlaceResize`: what can't be read, and what the triggers and the target's pod template say about it.

use anyhow::ensure;
use serde_json::{Value, json};

use super::rules::{Rule, Warned, cron, deployment, rule, scaled_object, triggers};
use super::stage::play;
use super::{holds, is_warned_of};
use crate::scene::merge;

/// A policy for the container `app` with `change` merged over it.
fn policy(change: Value) -> Value {
    let mut whole = json!({"container": "app", "when": "starting", "cpu": "+100%"});
    merge(&mut whole, change);
    whole
}

/// `inPlaceResize` with these policies, and `change` merged over it.
fn resize(policies: Value, change: Value) -> Value {
    let mut whole = json!({"policies": policies});
    merge(&mut whole, change);
    json!({"advanced": {"sakidori": {"inPlaceResize": whole}}})
}

pub fn rules() -> Vec<Rule> {
    let object = |name: &str, policies| scaled_object(name, resize(policies, json!({})));
    let with = |name: &str, change| scaled_object(name, resize(json!([policy(json!({}))]), change));
    vec![
        rule(
            object("no-policy", json!([])),
            "spec.advanced.sakidori.inPlaceResize.policies: [] has no policy: expected at least one, such as {container: app, when: prescale, cpu: \"+100%\"}",
        ),
        rule(
            object("no-container", json!([policy(json!({"container": ""}))])),
            "spec.advanced.sakidori.inPlaceResize.policies[0].container: \"\" is no name: expected the name of a container of the pod",
        ),
        rule(
            object("when", json!([policy(json!({"when": "always"}))])),
            "spec.advanced.sakidori.inPlaceResize.policies[0].when: \"always\" is unknown: expected prescale, saturated or starting",
        ),
        rule(
            object(
                "nothing",
                json!([
                    policy(json!({})),
                    policy(json!({"when": "saturated", "cpu": null}))
                ]),
            ),
            "spec.advanced.sakidori.inPlaceResize.policies[1]: it has neither cpu nor memory: expected one of them at least, such as cpu: \"+100%\"",
        ),
        rule(
            object("cpu", json!([policy(json!({"cpu": "two"}))])),
            "spec.advanced.sakidori.inPlaceResize.policies[0].cpu: \"two\" is no amount: expected CPUs such as 2, 500m, +1, +100% or x3",
        ),
        rule(
            object("boolean", json!([policy(json!({"cpu": true}))])),
            "spec.advanced.sakidori.inPlaceResize.policies[0].cpu: true is no amount: expected a number, or a text such as \"+100%\" or \"x2\"",
        ),
        rule(
            object("less", json!([policy(json!({"cpu": "x0.5"}))])),
            "spec.advanced.sakidori.inPlaceResize.policies[0].cpu: \"x0.5\" is no amount: a factor below 1 would make the pod smaller",
        ),
        rule(
            object("memory", json!([policy(json!({"memory": 512}))])),
            "spec.advanced.sakidori.inPlaceResize.policies[0].memory: \"512\" is no amount: less than 1Mi is no memory for a container; is its unit missing, such as 512Mi?",
        ),
        rule(
            object(
                "twice",
                json!([
                    policy(json!({})),
                    policy(json!({"cpu": "x3", "memory": "x2"}))
                ]),
            ),
            "spec.advanced.sakidori.inPlaceResize.policies[1].cpu: \"x3\" of the container \"app\" while starting: policies[0] says that already; expected one policy for it, leave one out",
        ),
        rule(
            with("concurrent", json!({"maxConcurrent": "half"})),
            "spec.advanced.sakidori.inPlaceResize.maxConcurrent: \"half\" is no number of pods: expected a whole number above 0 such as 5, or a percentage from 1% to 100% such as 25%",
        ),
        rule(
            with("infeasible", json!({"onInfeasible": "evict"})),
            "spec.advanced.sakidori.inPlaceResize.onInfeasible: \"evict\" is unknown: expected Skip or Evict",
        ),
    ]
}

/// A Deployment of one container `app` that requests half a CPU and a gibibyte; `change` is merged over its pod.
fn target(name: &str, change: Value) -> Value {
    let mut whole = deployment(
        name,
        &[("app", json!({"requests": {"cpu": "500m", "memory": "1Gi"}}))],
    );
    merge(&mut whole["spec"]["template"]["spec"], change);
    whole
}

fn container(name: &str, change: Value) -> Value {
    let mut whole = json!({"name": name, "image": "example.org/none:1", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}});
    merge(&mut whole, change);
    whole
}

pub fn warnings() -> Vec<Warned> {
    let warned = |name: &str, pod: Value, policies: Value, warning| Warned {
        before: vec![target(name, pod)],
        object: scaled_object(name, resize(policies, json!({}))),
        warning,
    };
    let moved = |name: &str, trigger: Value, policies: Value, warning| {
        let mut object = triggers(name, json!([trigger, cron()]));
        merge(&mut object["spec"], resize(policies, json!({})));
        Warned {
            before: vec![target(
                name,
                json!({"containers": [container("app", json!({})), container("proxy", json!({}))]}),
            )],
            object,
            warning,
        }
    };
    let utilization = |kind: &str, metadata: Value| {
        let mut whole = json!({"value": "60"});
        merge(&mut whole, metadata);
        json!({"type": kind, "metricType": "Utilization", "metadata": whole})
    };
    let proxy = || policy(json!({"container": "proxy"}));
    let restarts = json!({"containers": [container("app", json!({"resizePolicy": [
        {"resourceName": "memory", "restartPolicy": "RestartContainer"},
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
    ]}))]});
    let bigger = || policy(json!({"memory": "+1Gi"}));
    vec![
        moved(
            "moved",
            utilization("cpu", json!({})),
            json!([
                policy(json!({"cpu": null, "memory": "x2"})),
                proxy(),
                policy(json!({"when": "saturated", "cpu": 2}))
            ]),
            "trigger 0 (cpu): its Utilization is measured by what pods request at the moment, which is changed by policies[1].cpu, policies[2].cpu of inPlaceResize: a pod with twice the cpu has half the utilization, and the HPA takes replicas away. Give it metricType: AverageValue, and a quantity as its value",
        ),
        moved(
            "moved-of-one",
            utilization("memory", json!({"containerName": "proxy"})),
            json!([
                bigger(),
                policy(json!({"container": "proxy", "memory": "x2"}))
            ]),
            "trigger 0 (memory): its Utilization is measured by what pods request at the moment, which is changed by policies[1].memory of inPlaceResize: a pod with twice the memory has half the utilization, and the HPA takes replicas away. Give it metricType: AverageValue, and a quantity as its value",
        ),
        warned(
            "no-sale",
            json!({}),
            json!([policy(json!({"when": "prescale"}))]),
            "spec.advanced.sakidori.inPlaceResize.policies[0].when: prescale never holds without a sale-calendar trigger: add one, or leave the policy out",
        ),
        warned(
            "injected",
            json!({"containers": [container("app", json!({})), container("proxy", json!({}))]}),
            json!([policy(json!({"container": "istio-proxy"}))]),
            "spec.advanced.sakidori.inPlaceResize.policies[0].container: the pod template has no container \"istio-proxy\", but app, proxy: correct the name, unless it is injected into the pods",
        ),
        warned(
            "init",
            json!({"initContainers": [container("migrate", json!({}))]}),
            json!([policy(json!({"container": "migrate"}))]),
            "spec.advanced.sakidori.inPlaceResize.policies[0].container: \"migrate\" is an init container, whose resources Kubernetes does not change: name another one",
        ),
        warned(
            "unsized",
            json!({"containers": [container("app", json!({"resources": {"requests": {"memory": null}}}))]}),
            json!([bigger()]),
            "spec.advanced.sakidori.inPlaceResize.policies[0].memory: the container \"app\" requests no memory in the pod template, and a request that is added can't be taken away again: it is left as it is. Give it a request",
        ),
        warned(
            "restarts",
            restarts,
            json!([bigger()]),
            "spec.advanced.sakidori.inPlaceResize.policies[0].memory: the container \"app\" is left as it is, as its resizePolicy restarts it when its memory changes: set allowRestart: true if it may restart, or change its resizePolicy to NotRequired",
        ),
        warned(
            "no-more",
            json!({}),
            json!([bigger(), policy(json!({"when": "saturated", "cpu": 0.5}))]),
            "spec.advanced.sakidori.inPlaceResize.policies[1].cpu: 500m does nothing, as the container \"app\" requests 500m in the pod template: expected more than that",
        ),
        warned(
            "whole-pod",
            json!({"resources": {"requests": {"cpu": "2", "memory": "2Gi"}}}),
            json!([bigger()]),
            "spec.advanced.sakidori.inPlaceResize: the pod template has resources for the whole pod (spec.resources), which Kubernetes does not change together with its containers': no pod is resized. Give the containers theirs instead",
        ),
    ]
}

#[test]
fn every_rule_of_in_place_resize_is_refused_in_its_words() {
    play(async |stage| {
        let ward = stage.ward("admission-resize").await?;
        holds(&ward, rules()).await
    });
}

#[test]
fn what_keeps_a_policy_from_its_work_is_warned_of_and_the_object_is_stored() {
    play(async |stage| {
        let ward = stage.ward("admission-resize-warnings").await?;
        is_warned_of(&ward, warnings()).await
    });
}

#[test]
fn policies_that_work_are_let_through_without_a_word() {
    play(async |stage| {
        let ward = stage.ward("admission-resize-right").await?;
        let restarts = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        let limited = json!({"requests": null, "limits": {"cpu": "500m", "memory": "1Gi"}});
        let sidecar = json!({"restartPolicy": "Always"});
        let cpu = |kind: &str, metadata: Value| json!({"type": "cpu", "metricType": kind, "metadata": metadata});
        let cases = [
            (
                "numbers",
                json!({}),
                json!({"triggers": [cpu("AverageValue", json!({"value": "400m"})), cron()]}),
                resize(
                    json!([policy(json!({"cpu": 1.5, "memory": 2147483648_i64}))]),
                    json!({"maxConcurrent": 3, "onInfeasible": "Evict"}),
                ),
            ),
            (
                "another",
                json!({"containers": [container("app", json!({})), container("proxy", json!({}))]}),
                json!({"triggers": [cpu("Utilization", json!({"value": "60", "containerName": "proxy"})), cron()]}),
                resize(json!([policy(json!({}))]), json!({})),
            ),
            (
                "sidecar",
                json!({"initContainers": [container("app", sidecar)], "containers": [container("main", json!({}))]}),
                json!({}),
                resize(json!([policy(json!({}))]), json!({"maxConcurrent": "100%"})),
            ),
            (
                "limits-only",
                json!({"containers": [container("app", json!({"resources": limited}))]}),
                json!({}),
                resize(json!([policy(json!({"memory": "+50%"}))]), json!({})),
            ),
            (
                "may-restart",
                json!({"containers": [container("app", json!({"resizePolicy": restarts}))]}),
                json!({}),
                resize(json!([policy(json!({}))]), json!({"allowRestart": true})),
            ),
            (
                "policy-may-restart",
                json!({"containers": [container("app", json!({"resizePolicy": restarts}))]}),
                json!({}),
                resize(json!([policy(json!({"allowRestart": true}))]), json!({})),
            ),
        ];
        for (name, pod, spec, resize) in cases {
            ward.create(&target(name, pod)).await?.passed()?;
            let mut object = scaled_object(name, spec);
            merge(&mut object["spec"], resize);
            let answer = ward.create(&object).await?.passed()?;
            ensure!(answer.warnings.is_empty(), "{name}: {answer:?}");
        }
        // A LimitRange gives the request that a container lacks.
        let range = json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "defaults"},
            "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]},
        });
        ward.create(&range).await?.passed()?;
        let bare = json!({"containers": [container("app", json!({"resources": null}))]});
        ward.create(&target("defaulted", bare)).await?.passed()?;
        let object = scaled_object("defaulted", resize(json!([policy(json!({}))]), json!({})));
        let answer = ward.create(&object).await?.passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        Ok(())
    });
}

/// A Deployment that isn't there, a dry run, a kind without a known template: nothing is known, and nothing is said.
#[test]
fn without_a_template_only_the_object_is_judged() {
    play(async |stage| {
        let ward = stage.ward("admission-resize-blind").await?;
        let policies = json!([policy(json!({"container": "none"}))]);
        let object = scaled_object("blind", resize(policies, json!({})));
        let answer = ward.create(&object).await?.passed()?;
        let absent = "the scale target is not there yet: deployments.apps \"blind\" not found";
        ensure!(answer.warnings == [absent], "{answer:?}");
        ward.create(&target("dry", json!({}))).await?.passed()?;
        let mut dry = object.clone();
        dry["metadata"]["name"] = json!("dry");
        dry["spec"]["scaleTargetRef"]["name"] = json!("dry");
        let answer = ward.dry_run(&dry).await?.passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        let bad = scaled_object("bad", resize(json!([]), json!({})));
        ward.dry_run(&bad).await?.refused()?;
        Ok(())
    });
}
