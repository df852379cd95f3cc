//! `sakidori check` on a cluster: what is missing is told with what to do, and a whole installation is good.

use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_tests::webhooks::{self, WebhookSettings};
use sakidori_tests::{Operator, binary};
use tokio::process::Command;

/// What it prints, and whether all is good.
async fn check(cluster: &Cluster, arguments: &[&str]) -> Result<(String, bool)> {
    let output = Command::new(binary::sakidori()?)
        .arg("check")
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .await?;
    let printed = String::from_utf8(output.stdout)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!printed.is_empty(), "it prints nothing: {said}");
    Ok((printed, output.status.success()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_tells_what_is_missing_and_that_all_is_well() {
    let options = ClusterOptions {
        audit: false,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await.unwrap();
    let at_once = ["--wait-seconds=0"];
    let (printed, good) = check(&cluster, &at_once).await.unwrap();
    assert!(!good, "{printed}");
    for line in [
        "FAILED  keda.sh/v1alpha1: ",
        "FAILED  sakidori.dev/v1alpha1: ",
        "FAILED  leader: ",
        "FAILED  APIService v1beta1.external.metrics.k8s.io: it is not registered",
        "FAILED  external.metrics.k8s.io/v1beta1: ",
        "FAILED  admission webhooks: ",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }

    let elect = |settings: &mut sakidori_tests::OperatorSettings| settings.leader_elect = true;
    let operator = Operator::install_with(&cluster, elect).await.unwrap();
    cluster.create_namespace("shop").await.unwrap();
    let settings = WebhookSettings {
        name: "keda-admission",
        address: operator.webhook_address(),
        authority: Some(operator.authority()),
        failure_policy: "Ignore",
        timeout_seconds: 10,
        namespace: "shop",
        cluster_scoped: false,
    };
    webhooks::configure(&cluster.client(), &settings)
        .await
        .unwrap();
    let watched = tokio::time::timeout(
        Duration::from_secs(90),
        check(&cluster, &["--namespace=shop", "--wait-seconds=60"]),
    );
    let (printed, good) = watched.await.unwrap().unwrap();
    assert!(good, "{printed}");
    assert_eq!(printed.lines().count(), 6, "{printed}");
    assert!(!printed.contains("FAILED"), "{printed}");

    // Nobody looks at this namespace's objects.
    let (printed, good) = check(&cluster, &at_once).await.unwrap();
    assert!(!good, "{printed}");
    assert_eq!(printed.matches("FAILED").count(), 1, "{printed}");
    assert!(
        printed.contains("a ScaledObject that can't work was let through"),
        "{printed}"
    );
}
