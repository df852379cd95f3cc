//! `examples/aws-sqs/`, and queues that are read with the identities of pods.

use anyhow::Result;
use sakidori_test_servers::{ElasticMq, Moto};
use sakidori_tests::bed;
use sakidori_tests::namespace::deployment;
use serde_json::json;

use super::Example;
use crate::aws::{role, start, token_file};
use crate::credential_sources::service_account;
use crate::installed::play_installed;
use crate::scene::Scene;

const QUEUE: &str = "orders";
/// At 20 per replica these are 25 replicas, of which the example allows 10.
const MESSAGES: usize = 500;

#[test]
fn the_example_scales_from_zero_to_many_and_back() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let server = ElasticMq::start().await?;
        let api = server.api()?;
        let queue = api.create_queue(QUEUE).await?;
        let example = Example {
            folder: "aws-sqs",
            name: "orders",
            metric: "s0-aws-sqs-orders",
            most: 10,
            changes: &[(
                "awsEndpoint: https://sqs.eu-west-1.amazonaws.com",
                &format!("awsEndpoint: {}", server.url()),
            )],
        };
        let send = async || api.send(&queue, MESSAGES, 0).await;
        let purge = async || api.purge(&queue).await;
        example
            .scales_up_and_back(bed, "shop-sqs", (MESSAGES as f64, send), purge)
            .await
    })
}

/// Each account has a queue of its own: who reads it is in that account. All roles are assumed with the token of the operator's
/// ServiceAccount.
#[test]
fn a_queue_is_read_as_the_operator_as_a_role_and_as_the_workload() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "aws-queue").await?;
        let moto = Moto::start().await?;
        let accounts = [
            "111111111111",
            "222222222222",
            "333333333333",
            "444444444444",
        ];
        let [own, other, workload, parameter] = accounts.map(role);
        let folder = tempfile::tempdir()?;
        let file = token_file(folder.path())?;
        let environment = [
            ("AWS_ROLE_ARN", own.as_str()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str()),
        ];
        let _operator = start(installed, &scene.namespace, &moto, &environment).await?;
        let annotations = json!({"eks.amazonaws.com/role-arn": workload});
        scene.apply(service_account("web", &annotations)).await?;
        scene
            .apply(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "role"},
                "stringData": {"arn": parameter},
            }))
            .await?;
        let from_secret = json!([{"parameter": "awsRoleArn", "name": "role", "key": "arn"}]);
        let identities = [
            ("own", json!({"podIdentity": {"provider": "aws"}})),
            (
                "other",
                json!({"podIdentity": {"provider": "aws", "roleArn": other}}),
            ),
            (
                "workload",
                json!({"podIdentity": {"provider": "aws", "identityOwner": "workload"}}),
            ),
            ("parameter", json!({"secretTargetRef": from_secret})),
        ];
        for (account, (name, spec)) in accounts.into_iter().zip(identities) {
            let api = moto.api(account)?;
            let queue = api.create_queue(name).await?;
            api.send(&queue, 1, 0).await?;
            let mut target = deployment(name, 0);
            target["spec"]["template"]["spec"]["serviceAccountName"] = json!("web");
            scene.apply(target).await?;
            scene
                .apply(json!({
                    "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
                    "metadata": {"name": name}, "spec": spec,
                }))
                .await?;
            let trigger = json!({
                "type": "aws-sqs-queue",
                "metadata": {"queueURL": name, "awsRegion": moto.region()},
                "authenticationRef": {"name": name},
            });
            let spec = json!({"triggers": [trigger]});
            scene.apply(scene.scaled_object(name, spec)).await?;
            scene.until_replicas(name, 1).await?;
            scene.ready(name).await?;
        }
        Ok(())
    });
}
