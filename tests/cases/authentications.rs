//! Authentications as objects: who uses them stands in their status, and Events tell of their changes.

use anyhow::{Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_tests::Operator;
use serde_json::{Value, json};

use crate::credential_sources::{authentication, guarded, secret, start};
use crate::installed::play_installed;
use crate::scene::{SOON, Scene, play, text};

const AUTHENTICATIONS: &str = "apis/keda.sh/v1alpha1/triggerauthentications";

fn spec(key: &str) -> Value {
    json!({"secretTargetRef": [{"parameter": "token", "name": "mq", "key": key}]})
}

async fn get(scene: &Scene<'_>, path: &str) -> Result<Value> {
    Ok(scene
        .client
        .request(http::Request::get(path).body(Vec::new())?)
        .await?)
}

/// Waits until the status of an authentication, by its path, names these.
async fn until_users(scene: &Scene<'_>, path: &str, users: &str) -> Result<()> {
    eventually(&format!("users {users:?} of {path}"), SOON, async || {
        let object = get(scene, path).await?;
        let found = text(&object["status"]["scaledobjects"]);
        ensure!(found == users, "they are {found:?}");
        Ok(Some(()))
    })
    .await
}

/// The Events about an authentication: type, reason and note.
async fn told(
    scene: &Scene<'_>,
    namespace: &str,
    name: &str,
) -> Result<Vec<(String, String, String)>> {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let list = get(scene, &path).await?;
    let mut events: Vec<&Value> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|event| {
            let regarding = &event["regarding"];
            regarding["name"] == name && text(&regarding["kind"]).ends_with("TriggerAuthentication")
        })
        .collect();
    events.sort_by_key(|event| text(&event["eventTime"]));
    let told = |event: &&Value| {
        let field = |name: &str| text(&event[name]);
        (field("type"), field("reason"), field("note"))
    };
    Ok(events.iter().map(told).collect())
}

#[test]
fn users_stand_in_the_status_and_changes_are_told() {
    play("auth-status", async |scene| {
        let path = format!(
            "/{}",
            AUTHENTICATIONS.replace("v1alpha1/", "v1alpha1/namespaces/auth-status/")
        );
        let path = format!("{path}/token");
        scene.apply(secret("mq", "one")).await?;
        scene.apply(authentication(&spec("token"))).await?;
        for name in ["web", "mails"] {
            scene.deploy(name, 0).await?;
            let mut object = guarded(scene);
            object["metadata"]["name"] = json!(name);
            object["spec"]["scaleTargetRef"]["name"] = json!(name);
            scene.apply(object).await?;
        }
        until_users(scene, &path, "mails,web").await?;
        let writes = |scene: &Scene<'_>| -> Result<usize> {
            let writes = scene.writes()?;
            Ok(writes
                .iter()
                .filter(|write| write.contains("triggerauthentications/status"))
                .count())
        };
        ensure!((1..=2).contains(&writes(scene)?), "{:?}", scene.writes()?);
        let before = writes(scene)?;

        // A change of its content, and of what uses it.
        scene.apply(authentication(&spec("other"))).await?;
        scene.delete(crate::scene::SCALED_OBJECTS, "mails").await?;
        until_users(scene, &path, "web").await?;
        scene.apply(scene.scaled_object("web", json!({}))).await?;
        until_users(scene, &path, "").await?;
        scene.delete(AUTHENTICATIONS, "token").await?;
        let expected = [
            (
                "TriggerAuthenticationAdded",
                "New TriggerAuthentication configured",
            ),
            (
                "ClusterTriggerAuthenticationUpdated",
                "ClusterTriggerAuthentication token is updated",
            ),
            (
                "TriggerAuthenticationDeleted",
                "TriggerAuthentication was deleted",
            ),
        ]
        .map(|(reason, note)| ("Normal".to_owned(), reason.to_owned(), note.to_owned()));
        eventually("three Events", SOON, async || {
            let told = told(scene, "auth-status", "token").await?;
            ensure!(told == expected, "{told:#?}");
            Ok(Some(()))
        })
        .await?;
        ensure!(writes(scene)? == before + 2, "{:?}", scene.writes()?);
        Ok(())
    });
}

/// Two ScaledObjects of one name, in two namespaces: a ClusterTriggerAuthentication's status knows their name only.
#[test]
fn of_two_users_of_one_name_the_other_stays() {
    play("auth-cluster", async |scene| {
        let other = Scene::open(scene.cluster, "auth-cluster-other").await?;
        let path = "/apis/keda.sh/v1alpha1/clustertriggerauthentications/auth-shared";
        let mut shared = authentication(&spec("token"));
        shared["kind"] = json!("ClusterTriggerAuthentication");
        shared["metadata"]["name"] = json!("auth-shared");
        scene.apply(shared).await?;
        for scene in [scene, &other] {
            scene.deploy("web", 0).await?;
            let mut object = guarded(scene);
            object["spec"]["triggers"][0]["authenticationRef"] =
                json!({"name": "auth-shared", "kind": "ClusterTriggerAuthentication"});
            scene.apply(object).await?;
        }
        until_users(scene, path, "web").await?;
        other.delete(crate::scene::SCALED_OBJECTS, "web").await?;
        other
            .until_gone(crate::scene::SCALED_OBJECTS, "web")
            .await?;
        // A change that is seen after the deletion.
        let mut mails = guarded(scene);
        mails["metadata"]["name"] = json!("mails");
        mails["spec"]["scaleTargetRef"]["name"] = json!("mails");
        mails["spec"]["triggers"][0]["authenticationRef"] =
            json!({"name": "auth-shared", "kind": "ClusterTriggerAuthentication"});
        scene.apply(mails).await?;
        until_users(scene, path, "mails,web").await?;
        let told = told(scene, "default", "auth-shared").await?;
        ensure!(
            told[0].1 == "ClusterTriggerAuthenticationAdded",
            "{told:#?}"
        );
        Ok(())
    });
}

#[test]
fn a_restart_writes_nothing_that_stands_there() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "auth-restart").await?;
        let mut operator: Operator = start(installed, &scene.namespace, &[]).await?;
        scene.deploy("web", 0).await?;
        scene.apply(secret("mq", "one")).await?;
        scene.apply(authentication(&spec("token"))).await?;
        crate::credential_sources::require(&scene, "one", 1);
        scene.apply(guarded(&scene)).await?;
        let path = "/apis/keda.sh/v1alpha1/namespaces/auth-restart/triggerauthentications/token";
        until_users(&scene, path, "web").await?;
        scene.until_replicas("web", 1).await?;
        let version = get(&scene, path).await?["metadata"]["resourceVersion"].clone();
        operator.terminate(SOON).await?;
        let polls = scene.source.requests(crate::scene::PATH);
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        eventually("polls", SOON, async || {
            Ok((scene.source.requests(crate::scene::PATH) > polls + 3).then_some(()))
        })
        .await?;
        let now = get(&scene, path).await?["metadata"]["resourceVersion"].clone();
        ensure!(now == version, "it was written");
        let told = told(&scene, "auth-restart", "token").await?;
        ensure!(told.len() == 1, "{told:#?}");
        Ok(())
    });
}
