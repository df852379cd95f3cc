//! What is told after an installation: what to do next, and what somebody may regret.

use sakidori_tests::chart::helm;
use serde_json::{Value, json};

use super::with;

async fn notes(values: &Value) -> String {
    let install = [
        "install",
        "keda",
        "--namespace",
        "scaling",
        "--dry-run=client",
    ];
    let said = helm(&install, values).await.unwrap();
    let (_, notes) = said.split_once("NOTES:").unwrap();
    notes.to_owned()
}

#[tokio::test]
async fn they_say_what_to_do_next() {
    let notes = notes(&with(&[("watchNamespace", json!("shop, web"))])).await;
    for line in [
        "scales in shop, web.",
        "kubectl -n scaling rollout status deployment/keda-operator",
        "helm -n scaling test keda --logs",
        "kind: ScaledObject",
        "docs/first-scaled-object.md",
    ] {
        assert!(notes.contains(line), "{line}: {notes}");
    }
}

#[tokio::test]
async fn they_name_what_somebody_may_regret() {
    let careful = with(&[
        ("webhooks.failurePolicy", json!("Fail")),
        ("networkPolicy.enabled", json!(true)),
        ("prometheus.operator.prometheusRules.enabled", json!(true)),
    ]);
    let said = notes(&careful).await;
    assert!(!said.contains("Mind:"), "{said}");
    for (path, value, told) in [
        (
            "operator.replicaCount",
            json!(1),
            "operator.replicaCount is 1",
        ),
        (
            "podDisruptionBudget.operator.minAvailable",
            json!(2),
            "no node on which one runs can be drained",
        ),
        (
            "webhooks.failurePolicy",
            json!("Ignore"),
            "failurePolicy is Ignore",
        ),
        ("networkPolicy.enabled", json!(false), "port 9443"),
        (
            "networkPolicy.flavor",
            json!("kubernetes"),
            "networkPolicy.kubernetes.apiServer is empty",
        ),
        (
            "prometheus.operator.enabled",
            json!(false),
            "nobody is told",
        ),
        (
            "prometheus.operator.prometheusRules.enabled",
            json!(false),
            "no alert says",
        ),
        ("crds.keep", json!(false), "deletes every ScaledObject"),
        ("crds.install", json!(false), "sakidori crds"),
        ("rbac.create", json!(false), "can do nothing"),
        ("rbac.wide", json!(true), "rbac.wide is true"),
        (
            "permissions.operator.restrict.allowAllServiceAccountTokenCreation",
            json!(true),
            "act as any ServiceAccount",
        ),
        (
            "resources.operator.limits.cpu",
            json!("1"),
            "polls are late",
        ),
        (
            "image.keda.tag",
            json!("latest"),
            "image.keda.tag is latest",
        ),
        (
            "profiling.webhooks.enabled",
            json!(true),
            "profiling.webhooks.enabled does nothing",
        ),
        (
            "extraArgs.keda.kube-api-qps",
            json!(50),
            "extraArgs.keda.kube-api-qps does nothing",
        ),
    ] {
        let mut values = careful.clone();
        let mut place = &mut values;
        for key in path.split('.') {
            place = &mut place[key];
        }
        *place = value;
        let said = notes(&values).await;
        let (_, cautions) = said
            .split_once("Mind:")
            .unwrap_or_else(|| panic!("{path}: {said}"));
        assert!(cautions.contains(told), "{path}: {cautions}");
    }
}
