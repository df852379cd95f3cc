//! The API server refuses a resize: LimitRange, ResourceQuota, a policy of admission. It is not asked again until something changes.

use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_test_cluster::eventually;
use serde_json::{Value, json};

use super::faults::{
    OWN, TRIPLED, asked, asks_nothing_for, begin_sale, bring_up, end_sale, has_replicas, tripled,
    try_as_another, until_any, until_back, until_says, until_some, until_tripled,
};
use super::stage::{has, play, until_all};
use super::witness::Witness;
use crate::scene::{SOON, Scene};

const LIMIT_RANGES: &str = "api/v1/limitranges";
const QUOTAS: &str = "api/v1/resourcequotas";

/// Longer than between two looks for room.
const A_WHILE: Duration = Duration::from_secs(15);

fn limit_range(cpu: &str) -> Value {
    let limits = json!([{"type": "Container", "max": {"cpu": cpu}}]);
    json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}, "spec": {"limits": limits}})
}

fn quota(cpu: &str) -> Value {
    let hard = json!({"requests.cpu": cpu});
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": hard}})
}

/// The quota counts this much.
async fn until_used(scene: &Scene<'_>, cpu: &str) -> Result<()> {
    let what = format!("{cpu} used");
    scene
        .until(&what, QUOTAS, "team", |quota| {
            (quota["status"]["used"]["requests.cpu"] == cpu).then_some(())
        })
        .await
}

#[test]
fn a_limit_range_refuses_until_it_goes() {
    play("resize-limit-range", async |scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 1})).await?;
        let witness = Witness::of(scene);
        scene.apply(limit_range("1")).await?;
        let told = "maximum cpu usage per Container is 1, but limit is 1501m";
        // The API server's admission learns of it by a watch.
        let some_pod = until_any(scene, "a pod", has(OWN)).await?;
        eventually("a limit that counts", SOON, async || {
            let refused = try_as_another(scene, &some_pod, "1500m", "1501m")
                .await
                .err();
            Ok(refused
                .filter(|it| format!("{it:#}").contains(told))
                .map(drop))
        })
        .await?;
        begin_sale(scene).await?;
        until_says(scene, "Refused", &["Refused: 3", told]).await?;
        let note = scene.until_told("web", "PodResizeRefused").await?;
        ensure!(note.contains(told), "{note}");
        until_all(scene, "pods as they were", 3, has(OWN)).await?;
        asks_nothing_for(scene, A_WHILE).await?;
        ensure!(asked(scene)? == [403, 403, 403], "{:?}", asked(scene)?);
        // One that still is too small makes no difference but one more try.
        scene.apply(limit_range("1200m")).await?;
        until_says(scene, "Refused", &["Refused: 3", "per Container is 1200m"]).await?;
        scene.delete(LIMIT_RANGES, "limits").await?;
        until_tripled(scene, 3).await?;
        end_sale(scene).await?;
        until_back(scene, 3).await?;
        has_replicas(scene, 3).await?;
        witness.content(1)
    });
}

#[test]
fn a_quota_refuses_until_there_is_room_in_it() {
    play("resize-quota", async |scene| {
        bring_up(scene, 4, json!({}), tripled(), json!({"maxConcurrent": 1})).await?;
        let witness = Witness::of(scene);
        // Room for one of the four.
        scene.apply(quota("3500m")).await?;
        until_used(scene, "2").await?;
        begin_sale(scene).await?;
        until_says(scene, "Refused", &["Refused: 3", "exceeded quota: team"]).await?;
        until_some(scene, "one grown", 1, has(TRIPLED)).await?;
        asks_nothing_for(scene, A_WHILE).await?;
        scene.apply(quota("6")).await?;
        until_tripled(scene, 4).await?;
        end_sale(scene).await?;
        until_back(scene, 4).await?;
        witness.content(1)
    });
}

#[test]
fn what_is_refused_all_the_time_is_asked_once_a_sale() {
    play("resize-admission", async |scene| {
        bring_up(scene, 2, json!({}), tripled(), json!({"maxConcurrent": 2})).await?;
        let name = format!("no-resize-{}", scene.namespace);
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/resize"],
                }]},
                "validations": [{"expression": "false", "message": "nobody resizes pods on a Monday"}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}},
            },
        });
        scene.apply(policy).await?;
        scene.apply(binding).await?;
        let pods = super::stage::pods(scene).await?;
        let pod = pods.keys().next().cloned().unwrap_or_default();
        // A policy counts once the API server has compiled it.
        let is_denied =
            sakidori_test_cluster::eventually("a denial", crate::scene::SOON, async || {
                let another = super::faults::resize_as_another(scene, &pod, "500m", "1").await;
                Ok(another.is_err().then_some(()))
            });
        is_denied.await?;
        begin_sale(scene).await?;
        until_says(
            scene,
            "Refused",
            &["Refused: 2", "nobody resizes pods on a Monday"],
        )
        .await?;
        asks_nothing_for(scene, A_WHILE).await?;
        end_sale(scene).await?;
        until_back(scene, 2).await?;
        ensure!(asked(scene)?.len() == 2, "{:?}", asked(scene)?);
        begin_sale(scene).await?;
        until_says(scene, "Refused", &["Refused: 2"]).await?;
        ensure!(asked(scene)?.len() == 4, "{:?}", asked(scene)?);
        for kind in [
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicies",
        ] {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/{name}");
            let request = http::Request::delete(path).body(Vec::new())?;
            let _: Value = scene.client.request(request).await?;
        }
        end_sale(scene).await?;
        until_back(scene, 2).await?;
        Ok(())
    });
}
