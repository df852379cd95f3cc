//! KEDA's own values, all of them with their defaults, are taken as they are but for the image.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{folder, named, objects, of, with};

/// Each value of KEDA's chart and its default; `None` where it has none.
pub fn all() -> BTreeMap<String, Option<Value>> {
    let text = std::fs::read_to_string(folder().join("keda-values.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values: BTreeMap<_, _> = lines
        .map(|line| {
            let (path, default) = line.split_once(' ').unwrap();
            let default = (default != "unset").then(|| serde_json::from_str(default).unwrap());
            (path.to_owned(), default)
        })
        .collect();
    assert!(values.len() > 300, "{}", values.len());
    values
}

/// They as a values file, with an image of ours.
pub fn with_our_image() -> Value {
    let all = all();
    let mut values: Vec<_> = all
        .iter()
        .filter_map(|(path, default)| Some((path.as_str(), default.clone()?)))
        .collect();
    values.push(("image.keda.repository", "example.org/sakidori".into()));
    with(&values)
}

/// So does one take a default away, and KEDA's chart renders it.
#[tokio::test]
async fn a_null_is_as_good_as_nothing() {
    let nulls = [
        "additionalAnnotations",
        "additionalLabels",
        "crds.additionalAnnotations",
        "extraArgs.keda",
        "extraArgs.metricsAdapter",
        "operator.leaderElectionID",
        "podAnnotations.keda",
        "podAnnotations.metricsAdapter",
        "podDisruptionBudget.metricServer",
        "podLabels.keda",
        "podLabels.metricsAdapter",
        "prometheus.metricServer.enabled",
        "prometheus.operator.serviceMonitor.namespace",
        "prometheus.operator.serviceMonitor.relabellings",
        "prometheus.webhooks.serviceMonitor.relabellings",
        "rbac.enabledCustomScaledRefKinds",
        "resources.metricServer",
        "resources.operator.limits.cpu",
        "service.annotations",
        "serviceAccount.operator.annotations",
        "volumes.keda.extraVolumeMounts",
        "volumes.keda.extraVolumes",
        "volumes.metricsApiServer.extraVolumeMounts",
        "volumes.metricsApiServer.extraVolumes",
        "watchNamespace",
    ];
    let mut values: Vec<_> = nulls.map(|path| (path, Value::Null)).into();
    values.push(("metricsServer.separate", true.into()));
    values.push(("podDisruptionBudget.operator.minAvailable", 1.into()));
    values.push(("podDisruptionBudget.operator.maxUnavailable", Value::Null));
    let objects = objects(&with(&values)).await;
    let operator = named(&objects, "Deployment", "keda-operator");
    let container = &operator["spec"]["template"]["spec"]["containers"][0];
    let limits = container["resources"]["limits"].as_object().unwrap();
    assert_eq!(limits.keys().collect::<Vec<_>>(), ["memory"]);
    let flags = container["args"].to_string();
    assert!(flags.contains("--leader-election-id=operator.keda.sh"));
    let budget = named(&objects, "PodDisruptionBudget", "keda-operator");
    let budget = budget["spec"].as_object().unwrap();
    assert!(!budget.contains_key("maxUnavailable"), "{budget:?}");
    assert_eq!(budget["minAvailable"], 1);
}

/// What KEDA's defaults say differently from ours counts.
#[tokio::test]
async fn kedas_defaults_are_done_as_they_say() {
    let objects = objects(&with_our_image()).await;
    let operator = &of(&objects, "Deployment")[0]["spec"];
    assert_eq!(operator["replicas"], 1);
    let pod = &operator["template"]["spec"];
    assert_eq!(pod["enableServiceLinks"], true);
    let container = &pod["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["resources"]["limits"]["memory"], "1000Mi");
    let flags = container["args"].to_string();
    for flag in [
        "--log-format=text",
        "--metrics-bind-address=127.0.0.1:8080",
        "--webhook-bind-address=:9443",
    ] {
        assert!(flags.contains(flag), "{flags}");
    }
    // An empty map is no wish to leave the authority out.
    assert!(!flags.contains("enable-apiservice-patching"), "{flags}");
}
