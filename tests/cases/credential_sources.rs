//! Credentials from elsewhere than Secrets, each with its faults: tokens of ServiceAccounts, OAuth2, the environment; and which
//! Secrets may be read at all. (Files: credential_files.rs; Vault: vault.rs; AWS: aws.rs.)

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Answer;
use sakidori_tests::canary::CANARY;
use sakidori_tests::namespace::deployment;
use sakidori_tests::{Operator, OperatorSettings};
use serde_json::{Value, json};

use crate::installed::{Installed, play_installed};
use crate::scene::{PATH, SOON, Scene, answer};

/// An operator for one namespace that looks again every second at what it can't watch.
pub async fn start(
    installed: &Installed,
    namespace: &str,
    arguments: &[String],
) -> Result<Operator> {
    let mut settings = installed.watching(namespace);
    settings.extra_args = vec!["--credentials-refresh-seconds=1".to_owned()];
    settings.extra_args.extend(arguments.iter().cloned());
    ready(settings).await
}

pub async fn ready(settings: OperatorSettings) -> Result<Operator> {
    let mut operator = Operator::start(settings)?;
    operator.wait_ready(SOON).await?;
    Ok(operator)
}

/// A TriggerAuthentication of the name `token`.
pub fn authentication(spec: &Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": "token"},
        "spec": spec,
    })
}

pub fn cluster_wide(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ClusterTriggerAuthentication",
        "metadata": {"name": name},
        "spec": spec,
    })
}

pub fn secret(name: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"token": format!("{CANARY}-{token}")},
    })
}

/// A ScaledObject whose source wants a bearer token, from the TriggerAuthentication `token`.
pub fn guarded(scene: &Scene<'_>) -> Value {
    let mut trigger = scene.trigger();
    trigger["metadata"]["authMode"] = json!("bearer");
    trigger["authenticationRef"] = json!({"name": "token"});
    scene.scaled_object("web", json!({"triggers": [trigger], "cooldownPeriod": 0}))
}

pub fn guarded_cluster_wide(scene: &Scene<'_>, name: &str) -> Value {
    let mut object = guarded(scene);
    object["spec"]["triggers"][0]["authenticationRef"] =
        json!({"name": name, "kind": "ClusterTriggerAuthentication"});
    object
}

/// From now on the source answers only to this token.
pub fn require(scene: &Scene<'_>, token: &str, value: i64) {
    let bearer = format!("Bearer {CANARY}-{token}");
    scene
        .source
        .set(PATH, answer(value).requiring("authorization", &bearer));
}

/// The last token that the source got.
pub fn sent(scene: &Scene<'_>) -> Option<String> {
    let last = scene.source.last(PATH)?;
    let header = last.headers.get("authorization")?.to_str().ok()?;
    Some(header.strip_prefix("Bearer ")?.to_owned())
}

/// Lets the operator ask for tokens of a ServiceAccount, as docs/authentication.md has it.
pub async fn allow_tokens(scene: &Scene<'_>, account: &str) -> Result<()> {
    scene
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "keda-token"},
            "rules": [{
                "apiGroups": [""],
                "resources": ["serviceaccounts/token"],
                "resourceNames": [account],
                "verbs": ["create"],
            }],
        }))
        .await?;
    scene
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "keda-token"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "keda-token"},
            "subjects": [{"kind": "ServiceAccount", "name": "keda-operator", "namespace": "keda"}],
        }))
        .await?;
    Ok(())
}

pub fn service_account(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": annotations},
    })
}

/// Whose token it is, as the API server says.
async fn owner_of(scene: &Scene<'_>, token: &str) -> Result<Value> {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "metadata": {},
        "spec": {"token": token},
    });
    let request = http::Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&review)?)?;
    let mut review: Value = scene.client.request(request).await?;
    Ok(review["status"]["user"].take())
}

#[test]
fn a_service_accounts_token_is_asked_for() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "sources-token").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        scene.deploy("web", 0).await?;
        let spec = json!({
            "boundServiceAccountToken": [{"parameter": "token", "serviceAccountName": "reader"}],
        });
        scene.apply(authentication(&spec)).await?;
        scene.set(1);
        scene.apply(guarded(&scene)).await?;
        let message = scene.check_failed("web").await?;
        let part =
            "spec.boundServiceAccountToken[0]: ServiceAccount sources-token/reader doesn't exist";
        ensure!(message.contains(part), "{message}");

        scene.apply(service_account("reader", &json!({}))).await?;
        scene
            .until(
                "what to allow",
                crate::scene::SCALED_OBJECTS,
                "web",
                |object| {
                    let message = crate::scene::condition(object, "Ready")?["message"].to_string();
                    message
                        .contains("create serviceaccounts/token")
                        .then_some(())
                },
            )
            .await?;
        allow_tokens(&scene, "reader").await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;
        let token = sent(&scene).context("no token")?;
        let owner = owner_of(&scene, &token).await?;
        ensure!(
            owner["username"] == "system:serviceaccount:sources-token:reader",
            "{owner}"
        );

        // One of the same name is another: the tokens of the first are worth nothing any more.
        scene.delete("api/v1/serviceaccounts", "reader").await?;
        scene.check_failed("web").await?;
        scene.stays("web", 1, PATH, 2).await?;
        scene.apply(service_account("reader", &json!({}))).await?;
        scene.ready("web").await?;
        eventually("a token of the new ServiceAccount", SOON, async || {
            let now = sent(&scene).context("no token")?;
            if now == token {
                return Ok(None);
            }
            Ok((owner_of(&scene, &now).await?["uid"] != owner["uid"]).then_some(()))
        })
        .await?;
        scene.until_replicas("web", 1).await
    });
}

#[test]
fn oauth2_is_what_a_trigger_gets_its_token_with() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "sources-oauth2").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        scene.deploy("web", 0).await?;
        let spec = json!({"oauth2": {
            "type": "clientCredentials",
            "clientId": "orders",
            "clientSecret": {"valueFrom": {"secretKeyRef": {"name": "client", "key": "token"}}},
            "tokenUrl": scene.source.url("/token"),
            "scopes": ["read", "queues"],
            "tokenUrlParams": {"audience": "a queue&more", "tenant": "7"},
        }});
        scene.apply(authentication(&spec)).await?;
        require(&scene, "access", 1);
        let token = json!({"access_token": format!("{CANARY}-access"), "expires_in": 3600});
        scene.source.set("/token", Answer::json(&token));
        let mut object = guarded(&scene);
        object["spec"]["triggers"][0]["metadata"]["authMode"] = json!("oauth");
        scene.apply(object).await?;
        let message = scene.check_failed("web").await?;
        let part = "spec.oauth2.clientSecret: Secret sources-oauth2/client doesn't exist";
        ensure!(message.contains(part), "{message}");
        ensure!(scene.source.requests("/token") == 0);

        scene.apply(secret("client", "client")).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;
        let asked = scene.source.last("/token").context("nobody asked")?;
        for part in [
            "grant_type=client_credentials",
            "scope=read+queues",
            "audience=a+queue%26more",
            "tenant=7",
        ] {
            ensure!(
                asked.body.split('&').any(|pair| pair == part),
                "{part} in {}",
                asked.body
            );
        }
        Ok(())
    });
}

/// Secrets of other namespaces are out of reach, by whichever way they are named.
#[test]
fn access_to_secrets_may_be_restricted() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "sources-restricted").await?;
        let other = Scene::open(&installed.cluster, "sources-operators").await?;
        let mut settings = installed.watching(&scene.namespace);
        settings.environment = vec![
            ("KEDA_RESTRICT_SECRET_ACCESS".to_owned(), "True".to_owned()),
            (
                "KEDA_CLUSTER_OBJECT_NAMESPACE".to_owned(),
                other.namespace.clone(),
            ),
        ];
        let _operator = ready(settings).await?;
        // Each is of the right content: what keeps them from counting is the restriction.
        for place in [&scene, &other] {
            place.apply(secret("mq", "one")).await?;
        }
        let mut target = deployment("web", 0);
        target["spec"]["template"]["spec"]["containers"][0]["env"] = json!([
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "mq", "key": "token"}}},
            {"name": "PLAIN", "value": format!("{CANARY}-one")},
        ]);
        scene.apply(target).await?;
        require(&scene, "one", 1);
        scene.apply(guarded(&scene)).await?;
        let refused = "Secret sources-restricted/mq may not be read: KEDA_RESTRICT_SECRET_ACCESS allows Secrets of the \
                       namespace \\\"sources-operators\\\" only";
        for (spec, field) in [
            (
                json!({"secretTargetRef": [{"parameter": "token", "name": "mq", "key": "token"}]}),
                "secretTargetRef[0]",
            ),
            (
                json!({"env": [{"parameter": "token", "name": "TOKEN"}]}),
                "env[0].name",
            ),
        ] {
            scene.apply(authentication(&spec)).await?;
            scene
                .until(
                    &format!("{field} refused"),
                    crate::scene::SCALED_OBJECTS,
                    "web",
                    |object| {
                        let message =
                            crate::scene::condition(object, "Ready")?["message"].to_string();
                        (message.contains(refused) && message.contains(field)).then_some(())
                    },
                )
                .await?;
        }
        // Nor does a trigger read one as its source.
        scene.deploy("stored", 0).await?;
        let trigger = json!({"type": "kubernetes-resource", "metadata": {
            "resourceKind": "Secret", "resourceName": "mq", "key": "token", "targetValue": "10",
        }});
        let spec = json!({"triggers": [trigger]});
        scene.apply(scene.scaled_object("stored", spec)).await?;
        let refused = "Secret sources-restricted/mq may not be read: KEDA_RESTRICT_SECRET_ACCESS";
        scene
            .until_told_that("stored", "KEDAScalerFailed", refused)
            .await?;
        // What is no Secret may be read.
        let spec = json!({"env": [{"parameter": "token", "name": "PLAIN"}]});
        scene.apply(authentication(&spec)).await?;
        scene.until_replicas("web", 1).await?;
        // And so may the Secrets of cluster-wide authentications.
        require(&scene, "two", 1);
        other.apply(secret("mq", "two")).await?;
        let spec =
            json!({"secretTargetRef": [{"parameter": "token", "name": "mq", "key": "token"}]});
        scene
            .apply(cluster_wide("sources-restricted", &spec))
            .await?;
        scene
            .apply(guarded_cluster_wide(&scene, "sources-restricted"))
            .await?;
        scene.ready("web").await?;
        eventually("the other Secret's token", SOON, async || {
            Ok((sent(&scene) == Some(format!("{CANARY}-two"))).then_some(()))
        })
        .await
    });
}

/// A variable that can't be resolved concerns nobody but those who name it.
#[test]
fn only_the_variables_that_a_trigger_names_make_it_wait() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "sources-variables").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let mut target = deployment("web", 0);
        let containers = &mut target["spec"]["template"]["spec"]["containers"];
        containers[0]["env"] = json!([
            {"name": "HOST", "value": scene.source.url("/").replace("http://", &format!("http://web:{CANARY}@"))},
            {"name": "BROKEN", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "x"}}},
        ]);
        let sidecar = json!({"name": "sidecar", "image": "sidecar", "env": [
            {"name": "HOST", "value": "http://127.0.0.1:1/"}, {"name": "TOKEN", "value": "wrong"},
        ]});
        let list = containers.as_array_mut().context("no containers")?;
        list[0]["envFrom"] = json!([{"prefix": "OTHER_", "secretRef": {"name": "absent"}}]);
        list.push(sidecar);
        scene.apply(target.clone()).await?;
        const QUEUE: &str = "/api/queues/%2F/orders";
        let queue = json!({"name": "orders", "messages": 1});
        scene.source.set(QUEUE, Answer::json(&queue));
        let trigger = json!({"type": "rabbitmq", "metadata": {
            "protocol": "http", "queueName": "orders", "mode": "QueueLength", "value": "5", "hostFromEnv": "HOST",
        }});
        let mut object =
            scene.scaled_object("web", json!({"cooldownPeriod": 0, "triggers": [trigger]}));
        scene.apply(object.clone()).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;

        object["spec"]["triggers"][0]["metadata"]["passwordFromEnv"] = json!("BROKEN");
        scene.apply(object).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.contains(
                "environment variable \"BROKEN\": Secret sources-variables/absent doesn't exist"
            ),
            "{message}"
        );
        scene
            .stays_for("web", 1, std::time::Duration::from_secs(3))
            .await?;

        // As in KEDA's code, `env` of an authentication looks at the first container, not at envSourceContainerName's.
        let spec = json!({"env": [{"parameter": "token", "name": "TOKEN"}]});
        scene.apply(authentication(&spec)).await?;
        let mut object = guarded(&scene);
        object["spec"]["scaleTargetRef"]["envSourceContainerName"] = json!("sidecar");
        scene.apply(object).await?;
        scene
            .until(
                "the first container's lack",
                crate::scene::SCALED_OBJECTS,
                "web",
                |object| {
                    let message = crate::scene::condition(object, "Ready")?["message"].to_string();
                    message
                        .contains(
                            "spec.env[0].name: the target's container has no environment variable",
                        )
                        .then_some(())
                },
            )
            .await
    });
}

#[test]
fn an_authentication_that_goes_costs_no_replicas() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "sources-deleted").await?;
        let mut operator = start(installed, &scene.namespace, &[]).await?;
        scene.deploy("web", 0).await?;
        scene.apply(secret("mq", "one")).await?;
        let spec =
            json!({"secretTargetRef": [{"parameter": "token", "name": "mq", "key": "token"}]});
        scene.apply(authentication(&spec)).await?;
        require(&scene, "one", 1);
        scene.apply(guarded(&scene)).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;

        const AUTHENTICATIONS: &str = "apis/keda.sh/v1alpha1/triggerauthentications";
        scene.delete(AUTHENTICATIONS, "token").await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.contains("TriggerAuthentication sources-deleted/token doesn't exist"),
            "{message}"
        );
        // It goes on with what it had, and after a restart with nothing.
        scene.stays("web", 1, PATH, 2).await?;
        operator.terminate(SOON).await?;
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        let polls = scene.source.requests(PATH);
        scene
            .stays_for("web", 1, std::time::Duration::from_secs(5))
            .await?;
        ensure!(
            scene.source.requests(PATH) == polls,
            "it was asked without a token"
        );
        scene.apply(authentication(&spec)).await?;
        scene.ready("web").await?;
        require(&scene, "one", 0);
        scene.until_replicas("web", 0).await
    });
}

#[test]
fn what_comes_later_is_refused_in_words() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "sources-later").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        scene.deploy("web", 0).await?;
        scene.set(1);
        scene.apply(guarded(&scene)).await?;
        for (spec, part) in [
            (
                json!({"podIdentity": {"provider": "azure-workload"}}),
                "spec.podIdentity.provider: is \\\"azure-workload\\\": not supported by this version",
            ),
            (
                json!({"podIdentity": {"provider": "gcp"}}),
                "spec.podIdentity.provider: is \\\"gcp\\\": not supported by this version",
            ),
            (
                json!({"gcpSecretManager": {"secrets": [{"parameter": "token", "id": "x"}]}}),
                "spec.gcpSecretManager: not supported by this version",
            ),
        ] {
            scene.apply(authentication(&spec)).await?;
            scene
                .until(part, crate::scene::SCALED_OBJECTS, "web", |object| {
                    let message = crate::scene::condition(object, "Ready")?["message"].to_string();
                    message.contains(part).then_some(())
                })
                .await?;
        }
        Ok(())
    });
}
