//! Identities on AWS, and AWS Secrets Manager, against Moto. Each account holds another value: what is read tells who read it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, Moto};
use sakidori_tests::Operator;
use sakidori_tests::canary::CANARY;
use sakidori_tests::namespace::deployment;
use serde_json::{Value, json};

use crate::credential_sources::{authentication, guarded, require, secret, service_account};
use crate::installed::{Installed, play_installed};
use crate::scene::{PATH, SCALED_OBJECTS, SOON, Scene, condition};

/// The account of everyone who is nobody else.
const OWN: &str = "123456789012";

/// An operator whose AWS is Moto, with more of its environment.
pub async fn start(
    installed: &Installed,
    namespace: &str,
    moto: &Moto,
    environment: &[(&str, &str)],
) -> Result<Operator> {
    let mut settings = installed.watching(namespace);
    settings.extra_args = vec!["--credentials-refresh-seconds=1".to_owned()];
    let url = moto.url();
    let usual = [
        ("AWS_REGION", moto.region()),
        ("AWS_ENDPOINT_URL", url.as_str()),
        // Nobody asks beyond this machine who it is.
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    settings.environment = usual
        .iter()
        .chain(environment)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut operator = Operator::start(settings)?;
    operator.wait_ready(SOON).await?;
    Ok(operator)
}

async fn until_message(scene: &Scene<'_>, part: &str) -> Result<()> {
    scene
        .until(part, SCALED_OBJECTS, "web", |object| {
            let message = condition(object, "Ready")?["message"].as_str()?;
            message.contains(part).then_some(())
        })
        .await
}

/// Waits until the source is asked with this token.
async fn until_sent(scene: &Scene<'_>, token: &str) -> Result<()> {
    let wanted = format!("Bearer {CANARY}-{token}");
    eventually(&format!("token {token}"), SOON, async || {
        let last = scene.source.last(PATH).context("no request")?;
        let sent = last.headers.get("authorization").context("no token")?;
        Ok((sent == wanted.as_str()).then_some(()))
    })
    .await
}

fn by_identity(identity: &Value) -> Value {
    json!({"awsSecretManager": {
        "podIdentity": identity,
        "secrets": [{"parameter": "token", "name": "mq"}],
    }})
}

#[test]
fn a_secret_of_secrets_manager_is_read_with_keys_and_followed() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "aws-keys").await?;
        let moto = Moto::start().await?;
        let _operator = start(installed, &scene.namespace, &moto, &[]).await?;
        let value = |token: &str| format!("{CANARY}-{token}");
        moto.put_secret(OWN, "mq", &value("one")).await?;
        let object = json!({"token": value("two"), "port": 5672}).to_string();
        moto.put_secret(OWN, "mq-object", &object).await?;
        scene.deploy("web", 0).await?;
        scene.apply(secret("keys", "key")).await?;
        let from_secret = json!({"valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}});
        let spec = |secret: Value| {
            json!({"awsSecretManager": {
                "credentials": {"accessKey": from_secret, "accessSecretKey": from_secret},
                "secrets": [secret],
            }})
        };
        scene.apply(guarded(&scene)).await?;
        for (token, secret) in [
            ("one", json!({"parameter": "token", "name": "mq"})),
            (
                "two",
                json!({"parameter": "token", "name": "mq-object", "secretKey": "token"}),
            ),
            (
                "one",
                json!({"parameter": "token", "name": "mq", "versionStage": "AWSCURRENT"}),
            ),
        ] {
            require(&scene, token, 1);
            scene.apply(authentication(&spec(secret))).await?;
            until_sent(&scene, token).await?;
            scene.ready("web").await?;
        }
        scene.until_replicas("web", 1).await?;
        require(&scene, "three", 1);
        moto.put_secret(OWN, "mq", &value("three")).await?;
        until_sent(&scene, "three").await?;
        scene.ready("web").await?;

        for (secret, part) in [
            (
                json!({"name": "absent"}),
                "the secret \"absent\" of AWS Secrets Manager: there is no such thing",
            ),
            (
                json!({"name": "mq", "secretKey": "token"}),
                "expected a JSON object, because secretKey is given",
            ),
            (
                json!({"name": "mq-object", "secretKey": "user"}),
                "there is no key \"user\"",
            ),
            (
                json!({"name": "mq-object", "secretKey": "port"}),
                "the value of key \"port\" is no text",
            ),
        ] {
            let mut secret = secret;
            secret["parameter"] = json!("token");
            scene.apply(authentication(&spec(secret))).await?;
            until_message(&scene, "spec.awsSecretManager.secrets[0]").await?;
            until_message(&scene, part).await?;
        }
        // Away, it loses nothing that was read.
        scene
            .apply(authentication(&spec(
                json!({"parameter": "token", "name": "mq"}),
            )))
            .await?;
        scene.ready("web").await?;
        moto.pause();
        scene.stays("web", 1, PATH, 7).await?;
        scene.ready("web").await?;
        moto.resume();
        Ok(())
    });
}

pub fn token_file(folder: &Path) -> Result<String> {
    let file = folder.join("token");
    std::fs::write(&file, format!("{CANARY}-web-identity"))?;
    Ok(file.display().to_string())
}

pub fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/web")
}

#[test]
fn a_pod_identity_is_the_operators_a_role_or_the_workloads() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "aws-identity").await?;
        let moto = Moto::start().await?;
        let folder = tempfile::tempdir()?;
        let environment = [
            ("AWS_ROLE_ARN", &*role("111111111111")),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &*token_file(folder.path())?),
        ];
        let _operator = start(installed, &scene.namespace, &moto, &environment).await?;
        for (account, token) in [
            ("111111111111", "own"),
            ("222222222222", "role"),
            ("333333333333", "workload"),
            ("444444444444", "other"),
        ] {
            let value = format!("{CANARY}-{token}");
            moto.put_secret(account, "mq", &value).await?;
        }
        let mut target = deployment("web", 0);
        target["spec"]["template"]["spec"]["serviceAccountName"] = json!("web");
        scene.apply(target).await?;
        let annotated = |account: &str| {
            service_account("web", &json!({"eks.amazonaws.com/role-arn": role(account)}))
        };
        scene.apply(annotated("333333333333")).await?;
        scene.set(1);
        scene.apply(guarded(&scene)).await?;
        let workload = json!({"provider": "aws", "identityOwner": "workload"});
        for (identity, token) in [
            (json!({"provider": "aws"}), "own"),
            (json!({"provider": "aws", "identityOwner": "keda"}), "own"),
            (
                json!({"provider": "aws", "roleArn": role("222222222222")}),
                "role",
            ),
            (workload.clone(), "workload"),
        ] {
            scene.apply(authentication(&by_identity(&identity))).await?;
            until_sent(&scene, token).await?;
            scene.ready("web").await?;
        }
        scene.until_replicas("web", 1).await?;
        // Another annotation is another role.
        scene.apply(annotated("444444444444")).await?;
        until_sent(&scene, "other").await?;
        scene.apply(service_account("web", &json!({}))).await?;
        until_message(&scene, "has no annotation eks.amazonaws.com/role-arn").await?;
        scene.stays("web", 1, PATH, 2).await?;

        let both = json!({"provider": "aws", "identityOwner": "workload", "roleArn": role("2")});
        scene.apply(authentication(&by_identity(&both))).await?;
        until_message(
            &scene,
            "roleArn can't be set where identityOwner is \"workload\"",
        )
        .await?;
        // An authentication that only names an identity: the trigger type doesn't know it, and goes on.
        scene
            .apply(authentication(
                &json!({"podIdentity": {"provider": "aws"}, "secretTargetRef": [
                    {"parameter": "token", "name": "token", "key": "token"},
                ]}),
            ))
            .await?;
        scene.apply(secret("token", "plain")).await?;
        until_sent(&scene, "plain").await?;
        scene.ready("web").await
    });
}

/// The token of the operator's ServiceAccount is tried first; a role that does not trust it is assumed as who the operator is.
#[test]
fn a_role_is_assumed_with_its_external_id() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "aws-external").await?;
        let moto = Moto::start().await?;
        // A stand-in for STS, to see what it is asked: this answer is none to the token.
        let sts = HttpSource::start()?;
        sts.set("/", Answer::status(403));
        let sts_url = sts.url("");
        let folder = tempfile::tempdir()?;
        let file = token_file(folder.path())?;
        let key = format!("{CANARY}-key");
        let environment = [
            ("AWS_ENDPOINT_URL_STS", sts_url.as_str()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str()),
            ("AWS_ACCESS_KEY_ID", key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", key.as_str()),
        ];
        let _operator = start(installed, &scene.namespace, &moto, &environment).await?;
        moto.put_secret(OWN, "mq", &format!("{CANARY}-one")).await?;
        scene.deploy("web", 1).await?;
        require(&scene, "one", 1);
        let identity = json!({
            "provider": "aws", "roleArn": role("222222222222"), "externalID": "an id",
        });
        scene.apply(authentication(&by_identity(&identity))).await?;
        scene.apply(guarded(&scene)).await?;
        until_message(
            &scene,
            "assuming the role arn:aws:iam::222222222222:role/web",
        )
        .await?;
        scene
            .stays_for("web", 1, std::time::Duration::from_secs(2))
            .await?;
        ensure!(
            scene.source.requests(PATH) == 0,
            "it was asked without a token"
        );

        let end = "2099-01-01T00:00:00Z";
        sts.set("/", Answer::new("text/xml", format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
             <AccessKeyId>{CANARY}-id</AccessKeyId><SecretAccessKey>{CANARY}-secret</SecretAccessKey>\
             <SessionToken>{CANARY}-session</SessionToken><Expiration>{end}</Expiration>\
             </Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )));
        scene.ready("web").await?;
        until_sent(&scene, "one").await?;
        let asked = sts.last("/").context("nobody asked")?.body;
        for part in [
            "Action=AssumeRole&",
            "ExternalId=an%20id",
            "RoleSessionName=KEDA",
        ] {
            ensure!(asked.contains(part), "no {part} in {asked}");
        }
        // Good for years: once.
        let requests = sts.requests("/");
        scene.stays("web", 1, PATH, 4).await?;
        ensure!(sts.requests("/") == requests, "STS is asked at each read");
        Ok(())
    });
}
