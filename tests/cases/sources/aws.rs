//! `examples/aws-sqs/`, and queues that are read with the identities of pods.

use anyhow::Result;
use sakidori_test_servers::{ElasticMq, Moto};
use sakidori_tests::bed;
use sakidori_tests::namespace::deployment;
use serde_json::json;

use super::Example;
use crate::aws::{role, start, token_file};
use crate::credential_sources::{authentication, service_account};
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

/// Each account has a queue of another length: by the replicas one sees whose queue was read. All roles are assumed with the token of
/// the operator's ServiceAccount.
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
        for (messages, account) in (1..).zip(accounts) {
            let api = moto.api(account)?;
            let queue = api.create_queue(QUEUE).await?;
            api.send(&queue, messages, 0).await?;
        }
        let [own, other, workload, parameter] = accounts.map(role);
        let folder = tempfile::tempdir()?;
        let file = token_file(folder.path())?;
        let environment = [
            ("AWS_ROLE_ARN", own.as_str()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str()),
        ];
        let _operator = start(installed, &scene.namespace, &moto, &environment).await?;
        let mut target = deployment("web", 0);
        target["spec"]["template"]["spec"]["serviceAccountName"] = json!("web");
        scene.apply(target).await?;
        let annotations = json!({"eks.amazonaws.com/role-arn": workload});
        scene.apply(service_account("web", &annotations)).await?;
        scene
            .apply(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "role"},
                "stringData": {"arn": parameter},
            }))
            .await?;
        let trigger = json!({
            "type": "aws-sqs-queue",
            "metadata": {"queueURL": QUEUE, "queueLength": "1", "awsRegion": moto.region()},
            "authenticationRef": {"name": "token"},
        });
        let object = scene.scaled_object("web", json!({"triggers": [trigger]}));
        for (replicas, spec) in (1..).zip([
            json!({"podIdentity": {"provider": "aws"}}),
            json!({"podIdentity": {"provider": "aws", "roleArn": other}}),
            json!({"podIdentity": {"provider": "aws", "identityOwner": "workload"}}),
            json!({"secretTargetRef": [{"parameter": "awsRoleArn", "name": "role", "key": "arn"}]}),
        ]) {
            scene.apply(authentication(&spec)).await?;
            scene.apply(object.clone()).await?;
            scene.until_replicas("web", replicas).await?;
            scene.ready("web").await?;
        }
        Ok(())
    });
}
