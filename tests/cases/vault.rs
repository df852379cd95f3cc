//! HashiCorp Vault, of which no server can be had here: `VaultStandIn` speaks the part of its documented HTTP API that is needed,
//! and is not Vault.

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::VaultStandIn;
use sakidori_tests::canary::CANARY;
use serde_json::{Value, json};

use crate::credential_sources::{
    allow_tokens, authentication, guarded, require, service_account, start,
};
use crate::installed::play_installed;
use crate::scene::{HPAS, PATH, SCALED_OBJECTS, SOON, Scene, condition};

/// `hashiCorpVault` that logs in with a token and reads one secret.
fn by_token(vault: &VaultStandIn, secret: &Value) -> Value {
    json!({"hashiCorpVault": {
        "address": vault.address(),
        "authentication": "token",
        "credential": {"token": format!("{CANARY}-vault")},
        "secrets": [secret],
    }})
}

async fn until_message(scene: &Scene<'_>, part: &str) -> Result<()> {
    scene
        .until(part, SCALED_OBJECTS, "web", |object| {
            let message = condition(object, "Ready")?["message"].as_str()?;
            message.contains(part).then_some(())
        })
        .await
}

/// Waits until the source is asked with another token than this one, and gives that.
async fn until_sent_another(scene: &Scene<'_>, than: &str) -> Result<String> {
    eventually("another token", SOON, async || {
        let last = scene.source.last(PATH).context("no request")?;
        let sent = last.headers.get("authorization").context("no token")?;
        let sent = sent.to_str()?.trim_start_matches("Bearer ").to_owned();
        Ok((sent != than).then_some(sent))
    })
    .await
}

#[test]
fn a_secret_of_either_version_is_read_and_followed() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "vault-kv").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let vault = VaultStandIn::start(CANARY)?;
        vault.allow_token(&format!("{CANARY}-vault"), None);
        let value = |token: &str| json!({"token": format!("{CANARY}-{token}"), "port": 5672});
        vault.put("secret/mq", &value("one"));
        vault.put_v2("kv/data/mq", &value("two"));
        scene.deploy("web", 0).await?;
        scene.apply(guarded(&scene)).await?;
        let secret = |path: &str, kind: &str| json!({"parameter": "token", "path": path, "key": "token", "type": kind});
        for (token, path, kind) in [
            ("one", "secret/mq", "secret"),
            ("two", "kv/data/mq", "secretV2"),
            ("one", "secret/mq", ""),
            ("two", "kv/data/mq", ""),
        ] {
            require(&scene, token, 1);
            scene
                .apply(authentication(&by_token(&vault, &secret(path, kind))))
                .await?;
            scene
                .ready("web")
                .await
                .with_context(|| format!("{path} {kind}"))?;
        }
        scene.until_replicas("web", 1).await?;

        // Rotated in Vault, where nobody tells of it.
        require(&scene, "three", 1);
        vault.put_v2("kv/data/mq", &value("three"));
        scene
            .condition("web", "Ready", "True", "ScaledObjectReady")
            .await?;
        until_sent_another(&scene, &format!("{CANARY}-two")).await?;
        scene.ready("web").await?;

        // What is wrong is named: the key, the kind of engine, the path.
        for (path, kind, key, part) in [
            (
                "kv/data/mq",
                "",
                "password",
                "\"kv/data/mq\" of Vault http://127.0.0.1",
            ),
            ("kv/data/mq", "", "password", "there is no key \"password\""),
            (
                "kv/data/mq",
                "",
                "port",
                "the value of key \"port\" is no text",
            ),
            ("secret/mq", "secretV2", "token", "is \"data\" in the path?"),
            ("kv/data/absent", "", "token", "there is no such thing"),
        ] {
            let secret = json!({"parameter": "token", "path": path, "key": key, "type": kind});
            scene
                .apply(authentication(&by_token(&vault, &secret)))
                .await?;
            until_message(&scene, "spec.hashiCorpVault.secrets[0]").await?;
            until_message(&scene, part).await?;
        }
        scene.stays("web", 1, PATH, 2).await
    });
}

#[test]
fn a_vault_that_is_down_loses_nothing_that_was_read() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "vault-down").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let mut vault = VaultStandIn::start(CANARY)?;
        vault.allow_token(&format!("{CANARY}-vault"), None);
        vault.put("secret/mq", &json!({"token": format!("{CANARY}-one")}));
        vault.stop();
        scene.deploy("web", 1).await?;
        let secret = json!({"parameter": "token", "path": "secret/mq", "key": "token"});
        scene
            .apply(authentication(&by_token(&vault, &secret)))
            .await?;
        require(&scene, "one", 0);
        scene.apply(guarded(&scene)).await?;
        // Down at the start: nothing is asked with what is left, and the replicas stay.
        until_message(&scene, "asking Vault: no connection").await?;
        scene
            .stays_for("web", 1, std::time::Duration::from_secs(3))
            .await?;
        ensure!(
            scene.source.requests(PATH) == 0,
            "it was asked without a token"
        );
        vault.run()?;
        scene.ready("web").await?;
        scene.until_replicas("web", 0).await?;
        require(&scene, "one", 1);
        scene.until_replicas("web", 1).await?;

        // Down later, also when everything is looked up again.
        vault.stop();
        scene.stays("web", 1, PATH, 5).await?;
        let more = json!({"spec": {"maxReplicaCount": 7}});
        scene.patch(SCALED_OBJECTS, "web", &more).await?;
        scene
            .until("the change", HPAS, "keda-hpa-web", |hpa| {
                (hpa["spec"]["maxReplicas"] == 7).then_some(())
            })
            .await?;
        scene.stays("web", 1, PATH, 2).await?;
        scene.ready("web").await?;
        // Forgetful, sealed, or with another idea of who may read: the same.
        vault.revoke_tokens();
        vault.run()?;
        scene.stays("web", 1, PATH, 3).await?;
        scene.ready("web").await?;
        // A secret that is gone is told.
        vault.allow_token(&format!("{CANARY}-vault"), None);
        vault.delete("secret/mq");
        until_message(&scene, "there is no such thing").await?;
        scene.stays("web", 1, PATH, 2).await
    });
}

#[test]
fn a_service_account_logs_in() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "vault-login").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let vault = VaultStandIn::start(CANARY)?;
        vault.require_namespace("team");
        vault.allow_role("k8s", "orders", "vault-login:reader", 4);
        vault.put("secret/mq", &json!({"token": format!("{CANARY}-one")}));
        scene.deploy("web", 0).await?;
        scene.apply(service_account("reader", &json!({}))).await?;
        allow_tokens(&scene, "reader").await?;
        let spec = |role: &str| {
            json!({"hashiCorpVault": {
                "address": vault.address(),
                "namespace": "team",
                "authentication": "kubernetes",
                "mount": "k8s",
                "role": role,
                "credential": {"serviceAccountName": "reader"},
                "secrets": [{"parameter": "token", "path": "secret/mq", "key": "token"}],
            }})
        };
        scene.apply(authentication(&spec("admin"))).await?;
        require(&scene, "one", 1);
        scene.apply(guarded(&scene)).await?;
        until_message(
            &scene,
            "logging in at auth/k8s: Vault answered 400 Bad Request",
        )
        .await?;
        until_message(
            &scene,
            "may this ServiceAccount log in as the role \"admin\"?",
        )
        .await?;
        scene.apply(authentication(&spec("orders"))).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;

        // Its tokens live 4 s: it logs in anew before they end, and after they were revoked.
        let logins = vault.requests("auth/k8s/login");
        eventually("two more logins", SOON, async || {
            Ok((vault.requests("auth/k8s/login") > logins + 1).then_some(()))
        })
        .await?;
        vault.revoke_tokens();
        vault.put("secret/mq", &json!({"token": format!("{CANARY}-two")}));
        require(&scene, "two", 1);
        until_sent_another(&scene, &format!("{CANARY}-one")).await?;
        scene.ready("web").await?;
        scene.stays("web", 1, PATH, 2).await
    });
}

/// The file's ServiceAccount is the operator's in production, and no other file may leave the operator this way.
#[test]
fn a_service_accounts_token_in_a_file_logs_in_and_nothing_else_does() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "vault-file").await?;
        let vault = VaultStandIn::start(CANARY)?;
        let shown_to = format!("--vault-addresses={}", vault.address());
        let _operator = start(installed, &scene.namespace, &[shown_to]).await?;
        vault.allow_role("kubernetes", "keda", "vault-file:reader", 3600);
        vault.put("secret/mq", &json!({"token": format!("{CANARY}-one")}));
        scene.deploy("web", 0).await?;
        scene.apply(service_account("reader", &json!({}))).await?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("token");
        std::fs::write(&file, format!("{CANARY}: no token"))?;
        let spec = json!({"hashiCorpVault": {
            "address": vault.address(),
            "authentication": "kubernetes",
            "mount": "kubernetes",
            "role": "keda",
            "credential": {"serviceAccount": file.display().to_string()},
            "secrets": [{"parameter": "token", "path": "secret/mq", "key": "token"}],
        }});
        scene.apply(authentication(&spec)).await?;
        require(&scene, "one", 1);
        scene.apply(guarded(&scene)).await?;
        until_message(&scene, "holds no token of a ServiceAccount").await?;
        ensure!(
            vault.requests("auth/kubernetes/login") == 0,
            "the file was sent to Vault"
        );
        let path = "/api/v1/namespaces/vault-file/serviceaccounts/reader/token";
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(
                br#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}"#
                    .to_vec(),
            )?;
        let granted: Value = scene.client.request(request).await?;
        std::fs::write(
            &file,
            granted["status"]["token"].as_str().context("no token")?,
        )?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await
    });
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "vault-renewed").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let vault = VaultStandIn::start(CANARY)?;
        vault.allow_token(&format!("{CANARY}-vault"), Some(6));
        // A certificate for days: between its reads nothing but the renewal keeps the token alive.
        vault.put_pki("pki/issue/web", 864_000);
        scene.deploy("web", 0).await?;
        let secret = json!({
            "parameter": "token", "path": "pki/issue/web", "key": "certificate", "type": "pki",
            "pkiData": {"commonName": "web.example.com"},
        });
        scene
            .apply(authentication(&by_token(&vault, &secret)))
            .await?;
        require(&scene, "web.example.com-1", 1);
        scene.apply(guarded(&scene)).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;
        eventually("three renewals", SOON, async || {
            Ok((vault.requests("auth/token/renew-self") >= 3).then_some(()))
        })
        .await?;
        ensure!(
            vault.requests("pki/issue/web") == 1,
            "another certificate was issued"
        );
        ensure!(vault.requests("auth/token/lookup-self") == 1);
        Ok(())
    });
}

#[test]
fn what_is_leased_is_replaced_before_it_ends() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "vault-leased").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let vault = VaultStandIn::start(CANARY)?;
        vault.allow_token(&format!("{CANARY}-vault"), None);
        vault.put_leased("database/creds/web", 6);
        vault.put_pki("pki/issue/web", 6);
        scene.deploy("web", 0).await?;
        scene.set(1);
        let leased = json!({"parameter": "token", "path": "database/creds/web", "key": "password"});
        let issued = json!({
            "parameter": "token", "path": "pki/issue/web", "key": "certificate", "type": "pki",
            "pkiData": {"commonName": "web.example.com", "ttl": "6s"},
        });
        for secret in [leased, issued] {
            scene
                .apply(authentication(&by_token(&vault, &secret)))
                .await?;
            scene.apply(guarded(&scene)).await?;
            scene.ready("web").await?;
            let mut sent = String::new();
            for _ in 0..3 {
                sent = until_sent_another(&scene, &sent).await?;
            }
            // Renewed every 4 s at most, not at each poll.
            let path = secret["path"].as_str().context("no path")?;
            ensure!(vault.requests(path) < 8, "{path}: {}", vault.requests(path));
        }
        scene.ready("web").await
    });
}
