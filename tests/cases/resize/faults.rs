//! What the cases of faults have in common: a shop whose sale they begin and end when they like, and what they do to its pods.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_tests::throughout::throughout;
use serde_json::{Value, json};

use super::stage::{PODS, Seen, has, resized_by, until_all, until_pods, web};
use crate::prescaling::{calendar, floor, from_now, trigger};
use crate::scene::{DEPLOYMENTS, OPERATOR, SCALED_OBJECTS, SOON, Scene, condition, merge, text};

/// What the pods of [`web`] request by their template, and with three times the CPU.
pub const OWN: &str = "500m 256Mi";
pub const TRIPLED: &str = "1500m 256Mi";

/// Three times the CPU within a sale.
pub fn tripled() -> Value {
    json!([{"container": "app", "when": "prescale", "cpu": "x3"}])
}

/// A pod template whose resizes take so long.
pub fn slow(time: &str) -> Value {
    told(&json!({"resize-time": time}))
}

/// A pod template with these annotations for the fake kubelet.
pub fn told(annotations: &Value) -> Value {
    json!({"metadata": {"annotations": for_kubelet(annotations)}})
}

fn for_kubelet(annotations: &Value) -> Value {
    let named = annotations.as_object().into_iter().flatten();
    let named = named.map(|(name, value)| (format!("kubelet.sakidori.test/{name}"), value.clone()));
    Value::Object(named.collect())
}

/// Waits until ScaledObject `web` shows nothing of resizing any more.
pub async fn until_nothing_is_left(scene: &Scene<'_>) -> Result<()> {
    let what = "no condition and no finalizer";
    scene
        .until(what, SCALED_OBJECTS, "web", |object| {
            let none = condition(object, "Resized").is_none();
            (none && object["metadata"]["finalizers"].is_null()).then_some(())
        })
        .await
}

/// Tells the fake kubelet something of one pod; `null` takes it back.
pub async fn tell_kubelet(scene: &Scene<'_>, pod: &str, annotations: &Value) -> Result<()> {
    let patch = json!({"metadata": {"annotations": for_kubelet(annotations)}});
    scene.patch(PODS, pod, &patch).await?;
    Ok(())
}

/// Deployment `web` with so many pods, and ScaledObject `web` on it, whose sale has not begun.
pub async fn bring_up(
    scene: &Scene<'_>,
    replicas: usize,
    template: Value,
    policies: Value,
    more: Value,
) -> Result<()> {
    bring_up_to("NoPolicyHolds", scene, replicas, template, policies, more).await
}

/// The same until the condition has another reason.
pub async fn bring_up_to(
    reason: &str,
    scene: &Scene<'_>,
    replicas: usize,
    template: Value,
    policies: Value,
    more: Value,
) -> Result<()> {
    scene.apply(web(i32::try_from(replicas)?, template)).await?;
    until_all(scene, "pods", replicas, has(OWN)).await?;
    scene.apply(calendar("sales", &[])).await?;
    scene.apply(shop(scene, replicas, policies, more)?).await?;
    scene.ready("web").await?;
    scene.condition("web", "Resized", "False", reason).await?;
    Ok(())
}

/// ScaledObject `web` whose sales need so many replicas, as many as there always are.
pub fn shop(scene: &Scene<'_>, replicas: usize, policies: Value, more: Value) -> Result<Value> {
    let replicas = i64::try_from(replicas)?;
    let mut spec = resized_by(policies, more);
    let own = json!({
        "minReplicaCount": replicas,
        "maxReplicaCount": replicas + 4,
        "triggers": [trigger("sales", floor(replicas)), scene.trigger()],
    });
    merge(&mut spec, own);
    Ok(scene.scaled_object("web", spec))
}

/// A sale that has begun already, and goes on until [`end_sale`].
pub async fn begin_sale(scene: &Scene<'_>) -> Result<()> {
    let sale = ("new-year", from_now(-60), from_now(1800));
    scene.apply(calendar("sales", &[sale])).await?;
    Ok(())
}

pub async fn end_sale(scene: &Scene<'_>) -> Result<()> {
    let sale = ("new-year", from_now(-60), from_now(0));
    scene.apply(calendar("sales", &[sale])).await?;
    Ok(())
}

/// Within a sale: all pods have three times the CPU, and the condition says so.
pub async fn until_tripled(scene: &Scene<'_>, count: usize) -> Result<BTreeMap<String, Seen>> {
    let grown = until_all(scene, "grown pods", count, has(TRIPLED)).await?;
    scene.condition("web", "Resized", "True", "Resized").await?;
    Ok(grown)
}

/// After a sale: nothing is left of it.
pub async fn until_back(scene: &Scene<'_>, count: usize) -> Result<BTreeMap<String, Seen>> {
    let back = until_all(scene, "pods that are back", count, super::stage::is_back).await?;
    scene
        .condition("web", "Resized", "False", "NoPolicyHolds")
        .await?;
    Ok(back)
}

/// Waits until some pod is like this, and gives its name.
pub async fn until_any(
    scene: &Scene<'_>,
    what: &str,
    is: impl Fn(&Seen) -> bool,
) -> Result<String> {
    until_pods(scene, what, SOON, |pods| {
        let found = pods.iter().find(|(_, pod)| is(pod));
        found.map(|(name, _)| name.clone())
    })
    .await
}

/// Waits until so many pods are like this.
pub async fn until_some(
    scene: &Scene<'_>,
    what: &str,
    count: usize,
    is: impl Fn(&Seen) -> bool,
) -> Result<()> {
    until_pods(scene, what, SOON, |pods| {
        (pods.values().filter(|pod| is(pod)).count() == count).then_some(())
    })
    .await
}

/// Waits until the condition `Resized` is False for this reason, with all of this in its message, and gives the message.
pub async fn until_says(scene: &Scene<'_>, reason: &str, parts: &[&str]) -> Result<String> {
    until_says_within(SOON, scene, reason, parts).await
}

pub async fn until_says_within(
    time: Duration,
    scene: &Scene<'_>,
    reason: &str,
    parts: &[&str],
) -> Result<String> {
    let what = format!("Resized False {reason} with {parts:?}");
    scene
        .until_within(time, &what, SCALED_OBJECTS, "web", |object| {
            let condition = condition(object, "Resized")?;
            let message = text(&condition["message"]);
            let is = condition["status"] == "False" && condition["reason"] == reason;
            (is && parts.iter().all(|part| message.contains(part))).then_some(message)
        })
        .await
}

/// So often the operator has asked for a resize, and what it was answered. A write that met another one changes nothing, and is made again.
pub fn asked(scene: &Scene<'_>) -> Result<Vec<u16>> {
    let log = scene.cluster.write_log()?;
    let of_it = log.iter().filter(|write| {
        write.username == OPERATOR
            && write.namespace == scene.namespace
            && (&*write.resource, &*write.subresource) == ("pods", "resize")
    });
    let codes = of_it.map(|write| write.code);
    Ok(codes.filter(|code| *code != 409).collect())
}

/// Watches that no pod is asked for anything.
pub async fn asks_nothing_for(scene: &Scene<'_>, time: Duration) -> Result<()> {
    let before = asked(scene)?;
    throughout("nothing is asked", time, async || {
        let now = asked(scene)?;
        ensure!(now == before, "{before:?} became {now:?}");
        Ok(())
    })
    .await
}

/// Sets a pod's CPU, request and limit, as another actor: the VPA does it like this.
pub async fn resize_as_another(scene: &Scene<'_>, pod: &str, cpu: &str, limit: &str) -> Result<()> {
    resize_by_hand(scene, pod, cpu, limit, "").await
}

/// What the API server would say to that now; nothing comes of it.
pub async fn try_as_another(scene: &Scene<'_>, pod: &str, cpu: &str, limit: &str) -> Result<()> {
    resize_by_hand(scene, pod, cpu, limit, "?dryRun=All").await
}

async fn resize_by_hand(
    scene: &Scene<'_>,
    pod: &str,
    cpu: &str,
    limit: &str,
    query: &str,
) -> Result<()> {
    let patch = json!({"spec": {"containers": [{
        "name": "app", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": limit}},
    }]}});
    let path = format!(
        "/api/v1/namespaces/{}/pods/{pod}/resize{query}",
        scene.namespace
    );
    let request = http::Request::patch(path)
        .header("content-type", "application/strategic-merge-patch+json")
        .body(serde_json::to_vec(&patch)?)?;
    let _: Value = scene.client.request(request).await?;
    Ok(())
}

/// Deployment `web` still has so many replicas.
pub async fn has_replicas(scene: &Scene<'_>, replicas: usize) -> Result<()> {
    let now = scene.replicas("web").await?;
    ensure!(
        usize::try_from(now)? == replicas,
        "there are {now} replicas"
    );
    ensure!(scene.get(DEPLOYMENTS, "web").await?.is_some());
    Ok(())
}

/// The number that `sakidori_resize_pods` has of a state.
pub async fn counted(
    scene: &Scene<'_>,
    bed: &sakidori_tests::bed::Bed,
    state: &str,
) -> Result<f64> {
    let page = bed.operator.lock().await.metrics().await?;
    let line = page.lines().find(|line| {
        line.starts_with("sakidori_resize_pods{")
            && line.contains(&format!("namespace=\"{}\"", scene.namespace))
            && line.contains(&format!("state=\"{state}\""))
    });
    let line = line.with_context(|| format!("no series of {state}"))?;
    let value = line.rsplit(' ').next().unwrap_or_default();
    value.parse().with_context(|| format!("no number: {line}"))
}

/// Another Deployment of pods like those of `web`.
pub fn another(name: &str, replicas: i32) -> Value {
    let mut object = web(replicas, json!({}));
    let labels = json!({"app": name});
    merge(
        &mut object,
        json!({
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}},
        }),
    );
    object
}

/// Waits until there are so many pods whose names begin so, and all are as `is` says.
pub async fn until_of(
    scene: &Scene<'_>,
    what: &str,
    prefix: &str,
    count: usize,
    is: impl Fn(&Seen) -> bool,
) -> Result<()> {
    until_pods(scene, what, SOON, |pods| {
        let those = pods.iter().filter(|(name, _)| name.starts_with(prefix));
        let those: Vec<_> = those.map(|(_, pod)| pod).collect();
        (those.len() == count && those.iter().all(|pod| is(pod))).then_some(())
    })
    .await
}
