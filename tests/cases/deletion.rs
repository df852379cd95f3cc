//! Deleting a ScaledObject, in all its ways: the HPA goes, nothing else does, and deletion never hangs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::scene::{DEPLOYMENTS, HPAS, PATH, SCALED_OBJECTS, SOON, Scene, merge, play, text};

const KEDA_FINALIZER: &str = "finalizer.keda.sh";
const TRIGGER_AUTHENTICATIONS: &str = "apis/keda.sh/v1alpha1/triggerauthentications";

#[test]
fn the_hpa_goes_and_the_target_stays_as_it_is() {
    play("deletion-plain", async |scene| {
        scene.deploy("web", 0).await?;
        scene
            .apply(scene.scaled_object("web", json!({"minReplicaCount": 2})))
            .await?;
        scene.until_replicas("web", 2).await?;
        scene.ready("web").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        scene.until_gone(HPAS, "keda-hpa-web").await?;
        // It isn't polled any longer, and so nothing brings an HPA or replicas back.
        let requests = scene.source.requests(PATH);
        scene.stays_for("web", 2, Duration::from_secs(3)).await?;
        ensure!(
            scene.source.requests(PATH) <= requests + 1,
            "it is still polled"
        );
        ensure!(
            scene.get(HPAS, "keda-hpa-web").await?.is_none(),
            "the HPA came back"
        );
        Ok(())
    });
}

#[test]
fn an_object_taken_over_from_keda_is_let_go() {
    play("deletion-finalizer", async |scene| {
        scene.deploy("web", 0).await?;
        let mut object = scene.scaled_object("web", json!({}));
        object["metadata"]["finalizers"] = json!([KEDA_FINALIZER]);
        scene.apply(object).await?;
        scene.ready("web").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        scene.until_gone(HPAS, "keda-hpa-web").await
    });
}

/// No finalizer is set on them here; but those that came from KEDA have one.
#[test]
fn an_authentication_taken_over_from_keda_is_let_go() {
    play("deletion-authentication", async |scene| {
        let authentication = json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "TriggerAuthentication",
            "metadata": {"name": "old", "finalizers": [KEDA_FINALIZER]},
            "spec": {"secretTargetRef": [{"parameter": "token", "name": "secret", "key": "token"}]},
        });
        scene.apply(authentication).await?;
        scene.delete(TRIGGER_AUTHENTICATIONS, "old").await?;
        scene.until_gone(TRIGGER_AUTHENTICATIONS, "old").await
    });
}

/// Deletion stops scaling as soon as it is asked for, and leaves a finalizer of somebody else to them.
#[test]
fn an_object_that_somebody_else_holds_is_scaled_no_longer() {
    play("deletion-held", async |scene| {
        scene.deploy("web", 0).await?;
        let mut object = scene.scaled_object("web", json!({}));
        object["metadata"]["finalizers"] = json!(["example.com/hold", KEDA_FINALIZER]);
        scene.apply(object).await?;
        scene.ready("web").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene
            .until(
                "the other finalizer alone",
                SCALED_OBJECTS,
                "web",
                |object| {
                    (object["metadata"]["finalizers"] == json!(["example.com/hold"])).then_some(())
                },
            )
            .await?;
        scene.set(1);
        scene.stays_for("web", 0, Duration::from_secs(3)).await?;
        let let_go = json!({"metadata": {"finalizers": null}});
        scene.patch(SCALED_OBJECTS, "web", &let_go).await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        scene.until_gone(HPAS, "keda-hpa-web").await
    });
}

#[test]
fn the_original_replicas_are_restored_where_that_is_asked_for() {
    play("deletion-restore", async |scene| {
        scene.deploy("web", 3).await?;
        let spec =
            json!({"advanced": {"restoreToOriginalReplicaCount": true}, "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 0).await?;
        let object = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("no ScaledObject")?;
        ensure!(object["status"]["originalReplicaCount"] == 3, "{object:#}");
        ensure!(
            object["metadata"]["finalizers"] == json!([KEDA_FINALIZER]),
            "{object:#}"
        );
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        ensure!(
            scene.replicas("web").await? == 3,
            "the object went before its replicas were back"
        );
        scene.until_gone(HPAS, "keda-hpa-web").await?;
        scene.stays_for("web", 3, Duration::from_secs(2)).await
    });
}

#[test]
fn there_is_nothing_to_restore_where_the_target_is_gone() {
    play("deletion-restore-gone", async |scene| {
        scene.deploy("web", 3).await?;
        let spec = json!({"advanced": {"restoreToOriginalReplicaCount": true}});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.ready("web").await?;
        scene.delete(DEPLOYMENTS, "web").await?;
        scene.until_gone(DEPLOYMENTS, "web").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await
    });
}

/// The finalizer goes when nothing is to be restored any longer, and is not left to hang.
#[test]
fn restoring_that_is_no_longer_asked_for_is_left_out() {
    play("deletion-no-restore", async |scene| {
        scene.deploy("web", 3).await?;
        let restore = |wanted: bool| json!({"advanced": {"restoreToOriginalReplicaCount": wanted}, "cooldownPeriod": 0});
        scene
            .apply(scene.scaled_object("web", restore(true)))
            .await?;
        scene.until_replicas("web", 0).await?;
        scene
            .apply(scene.scaled_object("web", restore(false)))
            .await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        scene.stays_for("web", 0, Duration::from_secs(1)).await
    });
}

#[test]
fn an_object_whose_target_is_missing_goes_at_once() {
    play("deletion-no-target", async |scene| {
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        scene.check_failed("web").await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        // Its target comes too late to be scaled.
        scene.deploy("web", 0).await?;
        scene.set(1);
        scene.stays_for("web", 0, Duration::from_secs(3)).await?;
        ensure!(
            scene.get(HPAS, "keda-hpa-web").await?.is_none(),
            "it got an HPA"
        );
        Ok(())
    });
}

/// The old HPA is up for garbage collection while the new object needs one of the same name.
#[test]
fn deleted_and_created_again_at_once_it_has_one_hpa_of_its_own() {
    play("deletion-again", async |scene| {
        scene.bring_up(1, json!({"minReplicaCount": 1})).await?;
        for round in 1..=4 {
            scene.delete(SCALED_OBJECTS, "web").await?;
            // Straight after it, and a moment later, when the garbage collector is at work.
            tokio::time::sleep(Duration::from_millis(40 * (round - 1))).await;
            scene.until_gone(SCALED_OBJECTS, "web").await?;
            let spec = json!({"minReplicaCount": 1, "maxReplicaCount": 5 + round});
            let applied = scene.apply(scene.scaled_object("web", spec)).await?;
            let uid = text(&applied["metadata"]["uid"]);
            scene.ready("web").await?;
            one_hpa_stays(scene, &uid, 5 + round)
                .await
                .with_context(|| format!("round {round}"))?;
        }
        scene
            .patch(DEPLOYMENTS, "web", &json!({"spec": {"replicas": 0}}))
            .await?;
        scene.set(1);
        scene.until_replicas("web", 1).await
    });
}

/// The HPA of the object with this uid is there, and stays.
async fn one_hpa_stays(scene: &Scene<'_>, uid: &str, max: u64) -> Result<()> {
    let is_its = |hpa: &Value| {
        let owners = hpa["metadata"]["ownerReferences"].as_array()?;
        let is = owners.len() == 1
            && owners[0]["uid"] == uid
            && hpa["spec"]["maxReplicas"] == max
            && hpa["metadata"]["deletionTimestamp"].is_null();
        is.then(|| text(&hpa["metadata"]["uid"]))
    };
    scene
        .until("HPA of the new object", HPAS, "keda-hpa-web", is_its)
        .await?;
    // The garbage collector works within a second or two of the deletion; polls go on meanwhile.
    scene.stays("web", 1, PATH, 3).await?;
    scene
        .until("HPA of the new object", HPAS, "keda-hpa-web", is_its)
        .await
        .map(drop)
}

#[test]
fn a_deletion_in_the_foreground_ends() {
    play("deletion-foreground", async |scene| {
        scene.bring_up(1, json!({"minReplicaCount": 1})).await?;
        let path = format!(
            "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects/web?propagationPolicy=Foreground",
            scene.namespace
        );
        let request = http::Request::delete(path).body(Vec::new())?;
        let _: Value = scene.client.request(request).await?;
        scene.until_gone(SCALED_OBJECTS, "web").await?;
        ensure!(
            scene.get(HPAS, "keda-hpa-web").await?.is_none(),
            "the HPA outlived its owner"
        );
        ensure!(scene.replicas("web").await? == 1);
        Ok(())
    });
}

/// KEDA users know namespaces that hang in Terminating.
#[test]
fn a_namespace_with_scaled_objects_can_be_deleted() {
    play("deletion-namespace", async |scene| {
        scene.deploy("web", 2).await?;
        let spec =
            json!({"advanced": {"restoreToOriginalReplicaCount": true}, "minReplicaCount": 1});
        scene.apply(scene.scaled_object("web", spec)).await?;
        let mut other = scene.scaled_object("other", json!({"scaleTargetRef": {"name": "absent"}}));
        merge(
            &mut other,
            json!({"metadata": {"finalizers": [KEDA_FINALIZER]}}),
        );
        scene.apply(other).await?;
        scene.ready("web").await?;
        scene.check_failed("other").await?;
        let path = format!("/api/v1/namespaces/{}", scene.namespace);
        let request = http::Request::delete(&path).body(Vec::new())?;
        let _: Value = scene.client.request(request).await?;
        sakidori_test_cluster::eventually("absence of the namespace", SOON, async || {
            let request = http::Request::get(&path).body(Vec::new())?;
            match scene.client.request::<Value>(request).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(())),
                Ok(namespace) => anyhow::bail!("{:#}", namespace["status"]),
                Err(error) => Err(error.into()),
            }
        })
        .await
    });
}
