//! Confused deputies: whoever may write objects in one namespace gets nothing through the operator that he couldn't get himself. Neither
//! another namespace's Secrets, nor what the operator proves itself with.

use anyhow::{Context, Result, ensure};
use sakidori_test_servers::VaultStandIn;
use sakidori_tests::Operator;
use sakidori_tests::canary::CANARY;
use serde_json::{Value, json};

use crate::credential_sources::{
    allow_tokens, authentication, cluster_wide, guarded, guarded_cluster_wide, ready, require,
    secret, service_account,
};
use crate::installed::{Installed, play_installed};
use crate::scene::{PATH, SCALED_OBJECTS, Scene, condition};

/// What Vault is asked with a token, and where a ServiceAccount logs in.
const LOOKUP: &str = "auth/token/lookup-self";
const LOGIN: &str = "auth/kubernetes/login";

/// An operator that has tokens of its own: one of Vault's, and one in a file.
async fn with_own_tokens(
    installed: &Installed,
    scene: &Scene<'_>,
    arguments: &[String],
) -> Result<Operator> {
    let mut settings = installed.watching(&scene.namespace);
    settings.extra_args = vec!["--credentials-refresh-seconds=1".to_owned()];
    settings.extra_args.extend(arguments.iter().cloned());
    let own = ("VAULT_TOKEN".to_owned(), format!("{CANARY}-operators"));
    settings.environment = vec![own];
    ready(settings).await
}

fn vault(vault: &VaultStandIn, more: &Value) -> Value {
    let mut spec = json!({
        "address": vault.address(),
        "secrets": [{"parameter": "token", "path": "secret/mq", "key": "token"}],
    });
    crate::scene::merge(&mut spec, more.clone());
    json!({"hashiCorpVault": spec})
}

async fn until_message(scene: &Scene<'_>, name: &str, part: &str) -> Result<()> {
    scene
        .until(part, SCALED_OBJECTS, name, |object| {
            let ready = condition(object, "Ready")?;
            let told = ready["message"].as_str()?.contains(part);
            (ready["status"] == "False" && told).then_some(())
        })
        .await
}

#[test]
fn the_operators_tokens_are_shown_to_no_vault_of_a_users() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "deputies-vault").await?;
        let users = VaultStandIn::start(CANARY)?;
        users.put("secret/mq", &json!({"token": format!("{CANARY}-users")}));
        users.allow_token(&format!("{CANARY}-own"), None);
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("token");
        scene.apply(service_account("reader", &json!({}))).await?;
        std::fs::write(&file, token_of(&scene, "reader").await?)?;
        scene.deploy("web", 1).await?;
        require(&scene, "users", 1);
        let operator = with_own_tokens(installed, &scene, &[]).await?;

        let by_environment = vault(&users, &json!({"authentication": "token"}));
        let by_file = vault(
            &users,
            &json!({
                "authentication": "kubernetes", "mount": "kubernetes", "role": "keda",
                "credential": {"serviceAccount": file.display().to_string()},
            }),
        );
        scene.apply(authentication(&by_environment)).await?;
        scene.apply(guarded(&scene)).await?;
        until_message(
            &scene,
            "web",
            "VAULT_TOKEN of the operator's environment is not shown",
        )
        .await?;
        scene.apply(authentication(&by_file)).await?;
        until_message(
            &scene,
            "web",
            "is not shown to a server that a TriggerAuthentication names",
        )
        .await?;
        until_message(&scene, "web", "or use a ClusterTriggerAuthentication").await?;
        for path in [LOOKUP, LOGIN, "secret/mq"] {
            ensure!(users.requests(path) == 0, "{path} was asked for");
        }
        ensure!(scene.source.requests(PATH) == 0);

        // Whoever has a token of their own is served with that.
        let own =
            json!({"authentication": "token", "credential": {"token": format!("{CANARY}-own")}});
        scene.apply(authentication(&vault(&users, &own))).await?;
        scene.ready("web").await?;
        drop(operator);

        // The administrator says where the operator's tokens may go: by the operator's own address of Vault,
        users.allow_token(&format!("{CANARY}-operators"), None);
        users.allow_role("kubernetes", "keda", "deputies-vault:reader", 3600);
        let _operator = with_own_tokens(
            installed,
            &scene,
            &[format!("--vault-addresses={}/", users.address())],
        )
        .await?;
        let lookups = users.requests(LOOKUP);
        scene.apply(authentication(&by_environment)).await?;
        scene
            .until(
                "a look at the operator's token",
                SCALED_OBJECTS,
                "web",
                |_| (users.requests(LOOKUP) > lookups).then_some(()),
            )
            .await?;
        scene.ready("web").await?;
        scene.apply(authentication(&by_file)).await?;
        scene
            .until(
                "a login with the operator's token",
                SCALED_OBJECTS,
                "web",
                |_| (users.requests(LOGIN) > 0).then_some(()),
            )
            .await?;
        scene.ready("web").await?;
        // and by writing a ClusterTriggerAuthentication, whatever the address.
        let other = VaultStandIn::start(CANARY)?;
        other.put("secret/mq", &json!({"token": format!("{CANARY}-cluster")}));
        other.allow_token(&format!("{CANARY}-operators"), None);
        let spec = vault(&other, &json!({"authentication": "token"}));
        scene.apply(cluster_wide("deputies-vault", &spec)).await?;
        require(&scene, "cluster", 1);
        scene
            .apply(guarded_cluster_wide(&scene, "deputies-vault"))
            .await?;
        scene
            .until(
                "a look at the operator's token",
                SCALED_OBJECTS,
                "web",
                |_| (other.requests(LOOKUP) > 0).then_some(()),
            )
            .await?;
        scene.ready("web").await
    });
}

/// A token of a ServiceAccount, as the kubelet gives it to a pod.
async fn token_of(scene: &Scene<'_>, account: &str) -> Result<String> {
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/{account}/token",
        scene.namespace
    );
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&body)?)?;
    let granted: Value = scene.client.request(request).await?;
    let token = granted["status"]["token"].as_str().context("no token")?;
    Ok(token.to_owned())
}

/// Every way in which an object of this namespace names something, with names that would lead elsewhere if they were paths.
#[test]
fn no_name_leads_to_another_namespace() {
    play_installed(async |installed| {
        let victim = Scene::open(&installed.cluster, "deputies-victim").await?;
        victim.apply(secret("mq", "victim")).await?;
        victim.apply(service_account("reader", &json!({}))).await?;
        allow_tokens(&victim, "reader").await?;
        victim.deploy("web", 1).await?;
        let mut number = secret("number", "x");
        number["stringData"] = json!({"value": "100"});
        victim.apply(number).await?;

        let scene = Scene::open(&installed.cluster, "deputies-names").await?;
        let mut settings = installed.watching(&scene.namespace);
        settings.extra_args = vec!["--credentials-refresh-seconds=1".to_owned()];
        let operator = ready(settings).await?;
        // Whatever token it is that comes, the source would count it.
        scene.set(50);
        let users = VaultStandIn::start(CANARY)?;
        let up = |kind: &str, name: &str| format!("x/../../../deputies-victim/{kind}/{name}");
        let out = |kind: &str, name: &str| format!("../../deputies-victim/{kind}/{name}");
        let from_secret = |name: String| json!({"secretTargetRef": [{"parameter": "token", "name": name, "key": "token"}]});
        let authentications = [
            from_secret("deputies-victim/mq".into()),
            from_secret(out("secrets", "mq")),
            from_secret("mq,metadata.namespace=deputies-victim".into()),
            json!({"configMapTargetRef": [{"parameter": "token", "name": out("secrets", "mq"), "key": "token"}]}),
            json!({"boundServiceAccountToken": [{"parameter": "token", "serviceAccountName": up("serviceaccounts", "reader")}]}),
            vault(
                &users,
                &json!({
                    "authentication": "kubernetes", "mount": "kubernetes", "role": "keda",
                    "credential": {"serviceAccountName": up("serviceaccounts", "reader")},
                }),
            ),
            json!({"filePath": "/var/run/secrets/kubernetes.io/serviceaccount/token"}),
        ];
        let mut names = Vec::new();
        for (index, spec) in authentications.iter().enumerate() {
            let name = format!("auth-{index}");
            let mut object = authentication(spec);
            object["metadata"]["name"] = json!(name);
            scene.apply(object).await?;
            let mut object = guarded(&scene);
            object["metadata"]["name"] = json!(name);
            object["spec"]["scaleTargetRef"]["name"] = json!(name);
            object["spec"]["triggers"][0]["authenticationRef"]["name"] = json!(name);
            names.push((name, object));
        }
        let stored = json!({
            "type": "kubernetes-resource",
            "metadata": {"resourceKind": "Secret", "resourceName": out("secrets", "number"), "key": "value", "targetValue": "10"},
        });
        let object = scene.scaled_object("stored", json!({"triggers": [stored]}));
        names.push(("stored".to_owned(), object));
        for (name, object) in &names {
            scene.deploy(name, 1).await?;
            scene.apply(object.clone()).await?;
        }
        // A target, and an HPA, elsewhere.
        let target = json!({"scaleTargetRef": {"name": out("deployments", "web")}});
        scene.apply(scene.scaled_object("target", target)).await?;
        scene.deploy("hpa", 1).await?;
        let advanced =
            json!({"horizontalPodAutoscalerConfig": {"name": "../../deputies-victim/x"}});
        let spec = json!({"advanced": advanced});
        scene.apply(scene.scaled_object("hpa", spec)).await?;

        for name in ["target", "hpa"] {
            until_message(&scene, name, "is no name of an object").await?;
        }
        for (name, _) in &names {
            until_message(&scene, name, "").await?;
            ensure!(scene.replicas(name).await? == 1, "{name} was scaled");
        }
        ensure!(
            scene.source.requests(PATH) == 0,
            "{:?}",
            scene.source.last(PATH).map(|last| last.headers)
        );
        ensure!(
            users.requests(LOGIN) == 0,
            "a login with a token of another namespace"
        );
        ensure!(victim.replicas("web").await? == 1);
        // Nothing was written there either.
        let log = installed.cluster.write_log()?;
        let there = log.iter().find(|write| {
            write.username == crate::scene::OPERATOR && write.namespace == victim.namespace
        });
        ensure!(there.is_none(), "{there:?}");
        drop(operator);
        scene.close().await
    });
}
