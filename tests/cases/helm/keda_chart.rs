//! A chart that makes what KEDA's chart makes, as far as a hand-over can meet it: the kinds, names, labels and selectors are KEDA's, and so is
//! that the definitions are templates. In KEDA's place acts an operator that scales nothing: it watches a namespace without objects, and
//! has a Lease of its own. The adapter and the webhooks have no pods.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

/// KEDA's kinds, with their groups.
const KINDS: [(&str, &str, &str, &str); 6] = [
    ("keda.sh", "ScaledObject", "scaledobjects", "Namespaced"),
    ("keda.sh", "ScaledJob", "scaledjobs", "Namespaced"),
    (
        "keda.sh",
        "TriggerAuthentication",
        "triggerauthentications",
        "Namespaced",
    ),
    (
        "keda.sh",
        "ClusterTriggerAuthentication",
        "clustertriggerauthentications",
        "Cluster",
    ),
    (
        "eventing.keda.sh",
        "CloudEventSource",
        "cloudeventsources",
        "Namespaced",
    ),
    (
        "eventing.keda.sh",
        "ClusterCloudEventSource",
        "clustercloudeventsources",
        "Cluster",
    ),
];

/// What the operator's pods are known by.
pub const IMAGE: &str = "ghcr.io/kedacore/keda:2.20.2";

const OPERATOR: &str = "keda-operator";
const ADAPTER: &str = "keda-operator-metrics-apiserver";
const WEBHOOKS: &str = "keda-admission-webhooks";

/// Writes the chart into `folder`.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let chart = folder.join("keda");
    std::fs::create_dir_all(chart.join("templates"))?;
    let about =
        json!({"apiVersion": "v2", "name": "keda", "version": "2.20.2", "appVersion": "2.20.2"});
    std::fs::write(chart.join("Chart.yaml"), about.to_string())?;
    // What a user's values for KEDA's chart may say; the first is for keeping the definitions.
    let values = json!({
        "crds": {"additionalAnnotations": {}},
        "operator": {"replicaCount": 1},
        "logging": {"operator": {"level": "info"}},
    });
    std::fs::write(chart.join("values.yaml"), values.to_string())?;
    let mut objects = definitions();
    objects.extend(rights());
    objects.extend(workloads());
    objects.extend(registrations());
    for (number, object) in objects.iter().enumerate() {
        let text = serde_json::to_string_pretty(object)?
            // JSON has no place for them but in a text.
            .replace("\"REPLICAS\"", "{{ .Values.operator.replicaCount }}")
            .replace(
                "\"ANNOTATIONS\"",
                "{{ toJson .Values.crds.additionalAnnotations }}",
            );
        std::fs::write(chart.join(format!("templates/{number:02}.yaml")), text)?;
    }
    Ok(chart)
}

fn metadata(name: &str, app: &str) -> Value {
    json!({
        "name": name,
        "labels": {
            "app": app,
            "app.kubernetes.io/name": app,
            "app.kubernetes.io/component": "operator",
            "app.kubernetes.io/instance": "{{ .Release.Name }}",
            "app.kubernetes.io/managed-by": "{{ .Release.Service }}",
            "app.kubernetes.io/part-of": "keda-operator",
            "app.kubernetes.io/version": "2.20.2",
            "helm.sh/chart": "keda-2.20.2",
        },
    })
}

fn definitions() -> Vec<Value> {
    let definition = |(group, kind, plural, scope): (&str, &str, &str, &str)| {
        let mut metadata = metadata(&format!("{plural}.{group}"), OPERATOR);
        metadata["annotations"] = json!("ANNOTATIONS");
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": metadata,
            "spec": {
                "group": group,
                "scope": scope,
                "names": {
                    "kind": kind,
                    "listKind": format!("{kind}List"),
                    "plural": plural,
                    "singular": kind.to_lowercase(),
                },
                "versions": [{
                    "name": "v1alpha1",
                    "served": true,
                    "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": anything, "status": anything},
                    }},
                }],
            },
        })
    };
    KINDS.map(definition).into()
}

fn rights() -> Vec<Value> {
    let account = |name: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name, name)});
    let role = |name: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(name, name), "rules": rules});
    let binding = |kind: &str, name: &str, role: &str, account: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata(name, name),
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": kind.trim_end_matches("Binding"),
                "name": role,
            },
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "{{ .Release.Namespace }}"}],
        })
    };
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let external = json!([{"apiGroups": ["external.metrics.k8s.io"], "resources": ["externalmetrics"], "verbs": ["get"]}]);
    let mut reader = binding(
        "RoleBinding",
        "keda-operator-auth-reader",
        "extension-apiserver-authentication-reader",
        "keda-metrics-server",
    );
    reader["metadata"]["namespace"] = json!("kube-system");
    let mut controller = binding(
        "ClusterRoleBinding",
        "keda-operator-hpa-controller-external-metrics",
        "keda-operator-external-metrics-reader",
        "horizontal-pod-autoscaler",
    );
    controller["subjects"][0]["namespace"] = json!("kube-system");
    let mut certificates = role(
        "keda-operator-certs",
        json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "update"]}]),
    );
    certificates["kind"] = json!("Role");
    // As with watchNamespace, where the release's namespace is one of them.
    let mut watched = binding(
        "RoleBinding",
        "keda-operator",
        "keda-operator",
        "keda-operator",
    );
    watched["roleRef"]["kind"] = json!("ClusterRole");
    vec![
        account("keda-operator"),
        account("keda-metrics-server"),
        account("keda-webhook"),
        role("keda-operator", everything.clone()),
        role("keda-operator-external-metrics-reader", external),
        role("keda-operator-webhook", everything),
        certificates,
        binding(
            "ClusterRoleBinding",
            "keda-operator",
            "keda-operator",
            "keda-operator",
        ),
        binding(
            "ClusterRoleBinding",
            "keda-operator-webhook",
            "keda-operator-webhook",
            "keda-webhook",
        ),
        binding(
            "ClusterRoleBinding",
            "keda-operator-system-auth-delegator",
            "system:auth-delegator",
            "keda-metrics-server",
        ),
        binding(
            "RoleBinding",
            "keda-operator-certs",
            "keda-operator-certs",
            "keda-operator",
        ),
        watched,
        reader,
        controller,
    ]
}

fn workloads() -> Vec<Value> {
    let deployment = |app: &str, account: &str, replicas: Value| {
        let mut pod = metadata(app, app);
        pod["labels"]["name"] = json!(app);
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(app, app),
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": app}},
                "template": {"metadata": {"labels": pod["labels"]}, "spec": {
                    "serviceAccountName": account,
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": app,
                        "image": IMAGE,
                        "command": ["/sakidori", "operator", "--enable-cert-rotation=true"],
                        "args": ["--leader-elect=true", "--leader-election-id=stand-in.keda.sh"],
                        "env": [
                            {"name": "WATCH_NAMESPACE", "value": "kube-public"},
                            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                        ],
                        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8081}, "periodSeconds": 1},
                    }],
                }},
            },
        })
    };
    let service = |name: &str, app: &str, port: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(name, name),
            "spec": {"selector": {"app": app}, "ports": [port]},
        })
    };
    vec![
        deployment(OPERATOR, "keda-operator", json!("REPLICAS")),
        deployment(ADAPTER, "keda-metrics-server", json!(0)),
        deployment(WEBHOOKS, "keda-webhook", json!(0)),
        service(
            OPERATOR,
            OPERATOR,
            json!({"name": "metricsservice", "port": 9666, "targetPort": 9666}),
        ),
        service(
            ADAPTER,
            ADAPTER,
            json!({"name": "https", "port": 443, "targetPort": 6443}),
        ),
        service(
            WEBHOOKS,
            WEBHOOKS,
            json!({"name": "https", "port": 443, "targetPort": 9443}),
        ),
    ]
}

fn registrations() -> Vec<Value> {
    let webhook = |resource: &str| {
        json!({
            "name": format!("v{resource}.kb.io"),
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {
                "name": WEBHOOKS,
                "namespace": "{{ .Release.Namespace }}",
                "path": format!("/validate-keda-sh-v1alpha1-{resource}"),
            }},
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "rules": [{
                "apiGroups": ["keda.sh"],
                "apiVersions": ["v1alpha1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": [format!("{resource}s")],
            }],
        })
    };
    vec![
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": metadata("v1beta1.external.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"),
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": ADAPTER, "namespace": "{{ .Release.Namespace }}", "port": 443},
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": metadata("keda-admission", WEBHOOKS),
            "webhooks": [webhook("scaledobject"), webhook("scaledjob"), webhook("triggerauthentication")],
        }),
    ]
}
