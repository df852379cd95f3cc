//! Where credentials come from, and how a new one takes effect. (That none of them is ever told is checked after every case:
//! canary.rs.)

use anyhow::{Context, ensure};
use sakidori_tests::canary::CANARY;
use sakidori_tests::namespace::deployment;
use serde_json::{Value, json};

use crate::scene::{PATH, Scene, answer, merge, play};

fn secret(name: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"TOKEN": format!("{CANARY}-{token}")},
    })
}

fn authentication(spec: &Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": "token"},
        "spec": spec,
    })
}

/// A ScaledObject whose source wants a bearer token from the TriggerAuthentication `token`.
fn guarded(scene: &Scene<'_>) -> Value {
    let mut trigger = scene.trigger();
    trigger["metadata"]["authMode"] = json!("bearer");
    trigger["authenticationRef"] = json!({"name": "token"});
    scene.scaled_object("web", json!({"triggers": [trigger], "cooldownPeriod": 0}))
}

/// From now on the source answers only to this token.
fn require(scene: &Scene<'_>, token: &str, value: i64) {
    let bearer = format!("Bearer {CANARY}-{token}");
    scene
        .source
        .set(PATH, answer(value).requiring("authorization", &bearer));
}

#[test]
fn a_rotated_secret_takes_effect_on_the_next_poll() {
    play("credentials-rotated", async |scene| {
        scene.deploy("web", 0).await?;
        scene.apply(secret("credentials", "one")).await?;
        let from = json!({"secretTargetRef": [{"parameter": "token", "name": "credentials", "key": "TOKEN"}]});
        scene.apply(authentication(&from)).await?;
        require(scene, "one", 1);
        scene.apply(guarded(scene)).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;

        require(scene, "two", 1);
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        let note = scene.until_told("web", "KEDAScalerFailed").await?;
        ensure!(note.contains("401"), "{note}");
        scene.stays("web", 1, PATH, 1).await?;
        let rotated = std::time::Instant::now();
        scene.apply(secret("credentials", "two")).await?;
        scene.ready("web").await?;
        ensure!(
            rotated.elapsed().as_secs() < 8,
            "after {:?}",
            rotated.elapsed()
        );

        // Rotated before the source asks for it: no poll fails in between.
        scene.apply(secret("credentials", "three")).await?;
        let sent = format!("Bearer {CANARY}-three");
        sakidori_test_cluster::eventually("third token", crate::scene::SOON, async || {
            let last = scene.source.last(PATH).context("no request")?;
            let is = last
                .headers
                .get("authorization")
                .is_some_and(|value| value == sent.as_str());
            Ok(is.then_some(()))
        })
        .await?;
        require(scene, "three", 0);
        scene.until_replicas("web", 0).await?;
        scene.ready("web").await?;
        Ok(())
    });
}

#[test]
fn a_config_map_gives_parameters() {
    play("credentials-configmap", async |scene| {
        scene.deploy("web", 0).await?;
        let config_map = |token: &str| {
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "settings"},
                "data": {"token": format!("{CANARY}-{token}")},
            })
        };
        scene.apply(config_map("one")).await?;
        let from = json!({"configMapTargetRef": [{"parameter": "token", "name": "settings", "key": "token"}]});
        scene.apply(authentication(&from)).await?;
        require(scene, "one", 1);
        scene.apply(guarded(scene)).await?;
        scene.until_replicas("web", 1).await?;
        require(scene, "two", 1);
        scene.apply(config_map("two")).await?;
        scene.ready("web").await?;
        Ok(())
    });
}

#[test]
fn a_secret_goes_before_a_config_map() {
    play("credentials-order", async |scene| {
        scene.deploy("web", 0).await?;
        scene.apply(secret("credentials", "secret")).await?;
        let settings = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"token": "plain"},
        });
        scene.apply(settings).await?;
        let from = json!({
            "secretTargetRef": [{"parameter": "token", "name": "credentials", "key": "TOKEN"}],
            "configMapTargetRef": [{"parameter": "token", "name": "settings", "key": "token"}],
        });
        scene.apply(authentication(&from)).await?;
        require(scene, "secret", 1);
        scene.apply(guarded(scene)).await?;
        scene.until_replicas("web", 1).await
    });
}

/// `env` of a TriggerAuthentication is the environment of the target's container.
#[test]
fn the_environment_of_the_targets_container_gives_parameters() {
    play("credentials-env", async |scene| {
        scene.apply(secret("credentials", "one")).await?;
        let mut target = deployment("web", 0);
        let sidecar = json!({"name": "sidecar", "image": "sidecar", "env": [{"name": "API_TOKEN", "value": "wrong"}]});
        let environments = [
            json!({"env": [{
                "name": "API_TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "credentials", "key": "TOKEN"}},
            }]}),
            json!({"env": null, "envFrom": [{"prefix": "API_", "secretRef": {"name": "credentials"}}]}),
            json!({"envFrom": [{"secretRef": {"name": "credentials"}}], "env": [
                {"name": "API_TOKEN", "value": "$(TOKEN)"},
            ]}),
        ];
        let from = json!({"env": [{"parameter": "token", "name": "API_TOKEN"}]});
        scene.apply(authentication(&from)).await?;
        let containers = target["spec"]["template"]["spec"]["containers"].as_array_mut();
        let containers = containers.context("no containers")?;
        containers.push(sidecar);
        merge(&mut containers[0], environments[0].clone());
        scene.apply(target.clone()).await?;
        require(scene, "one", 1);
        scene.apply(guarded(scene)).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;
        for (token, environment) in ["two", "three"].into_iter().zip(&environments[1..]) {
            let container = &mut target["spec"]["template"]["spec"]["containers"][0];
            merge(container, environment.clone());
            // The number of replicas belongs to whoever scales.
            merge(&mut target, json!({"spec": {"replicas": null}}));
            scene.apply(target.clone()).await?;
            require(scene, token, 1);
            scene
                .condition("web", "Ready", "False", "TriggerError")
                .await?;
            scene.apply(secret("credentials", token)).await?;
            scene
                .ready("web")
                .await
                .with_context(|| format!("for {environment}"))?;
        }
        // The other container has another token.
        let from = json!({"env": [{"parameter": "token", "name": "API_TOKEN", "containerName": "sidecar"}]});
        scene.apply(authentication(&from)).await?;
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        Ok(())
    });
}

/// A trigger's own `...FromEnv` parameters: the container that `envSourceContainerName` names.
#[test]
fn a_parameter_from_the_environment_is_followed() {
    play("credentials-from-env", async |scene| {
        const QUEUE: &str = "/api/queues/%2F/orders";
        let queue = |messages: i64| {
            sakidori_test_servers::Answer::json(&json!({"name": "orders", "messages": messages}))
        };
        scene.source.set(QUEUE, queue(0));
        let broker = |user: &str| {
            let url = scene
                .source
                .url("/")
                .replace("http://", &format!("http://{user}:{CANARY}@"));
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "broker"}, "stringData": {"url": url},
            })
        };
        scene.apply(broker("first")).await?;
        let mut target = deployment("web", 0);
        target["spec"]["template"]["spec"]["containers"] = json!([
            {"name": "app", "image": "app"},
            {"name": "sidecar", "image": "sidecar", "env": [
                {"name": "BROKER", "valueFrom": {"secretKeyRef": {"name": "broker", "key": "url"}}},
            ]},
        ]);
        scene.apply(target).await?;
        let trigger = json!({
            "type": "rabbitmq",
            "metadata": {
                "protocol": "http", "queueName": "orders", "mode": "QueueLength", "value": "5", "hostFromEnv": "BROKER",
            },
        });
        let from = |container: &str| {
            let target = json!({"envSourceContainerName": container});
            scene.scaled_object(
                "web",
                json!({"triggers": [trigger], "scaleTargetRef": target}),
            )
        };
        scene.apply(from("absent")).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.contains("no container \"absent\"") && message.contains("app, sidecar"),
            "{message}"
        );
        scene.apply(from("sidecar")).await?;
        scene.ready("web").await?;
        scene.source.set(QUEUE, queue(1));
        scene.until_replicas("web", 1).await?;

        scene
            .source
            .set(QUEUE, sakidori_test_servers::Answer::status(500));
        scene
            .condition("web", "Ready", "False", "TriggerError")
            .await?;
        // base64 of `second:` and of the canary's beginning.
        scene.apply(broker("second")).await?;
        sakidori_test_cluster::eventually("the new user", crate::scene::SOON, async || {
            let last = scene.source.last(QUEUE).context("no request")?;
            let sent = last
                .headers
                .get("authorization")
                .context("no credentials")?;
            Ok(sent
                .to_str()?
                .starts_with("Basic c2Vjb25kOmNhbmFye")
                .then_some(()))
        })
        .await?;
        Ok(())
    });
}

#[test]
fn what_is_missing_in_a_secret_is_named() {
    play("credentials-missing", async |scene| {
        scene.deploy("web", 0).await?;
        scene.apply(secret("credentials", "one")).await?;
        let from = json!({
            "secretTargetRef": [{"parameter": "token", "name": "credentials", "key": "token"}],
            "env": [{"parameter": "other", "name": "ABSENT"}],
        });
        scene.apply(authentication(&from)).await?;
        scene.apply(guarded(scene)).await?;
        let message = scene.check_failed("web").await?;
        for part in [
            "secretTargetRef[0]",
            "Secret credentials-missing/credentials has no key \"token\"",
            "env[0].name",
            "\"ABSENT\"",
        ] {
            ensure!(message.contains(part), "no {part:?} in: {message}");
        }
        require(scene, "one", 1);
        let from = json!({"secretTargetRef": [{"parameter": "token", "name": "credentials", "key": "TOKEN"}]});
        scene.apply(authentication(&from)).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await
    });
}

/// Secrets of a ClusterTriggerAuthentication are in the operator's own namespace.
#[test]
fn a_cluster_trigger_authentication_has_its_secrets_with_the_operator() {
    play("credentials-cluster", async |scene| {
        scene.deploy("web", 0).await?;
        let mut its_secret = secret("cluster-credentials", "cluster");
        its_secret["metadata"]["namespace"] = json!("keda");
        scene.apply(its_secret).await?;
        // One of the same name beside the ScaledObject is not meant.
        scene.apply(secret("cluster-credentials", "wrong")).await?;
        let from = json!({"secretTargetRef": [{"parameter": "token", "name": "cluster-credentials", "key": "TOKEN"}]});
        let mut cluster_wide = authentication(&from);
        cluster_wide["kind"] = json!("ClusterTriggerAuthentication");
        cluster_wide["metadata"]["name"] = json!("cluster-token");
        scene.apply(cluster_wide).await?;
        require(scene, "cluster", 1);
        let mut object = guarded(scene);
        object["spec"]["triggers"][0]["authenticationRef"] =
            json!({"name": "cluster-token", "kind": "ClusterTriggerAuthentication"});
        scene.apply(object).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;
        Ok(())
    });
}
