//! What belongs together in what the chart makes: selectors and labels, ports and their names, roles and who has them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{named, objects, of, sets, with};

/// Whether labels have all that a selector asks for.
fn matches(selector: &Value, labels: &Value) -> bool {
    let asked = selector.as_object().unwrap();
    assert!(!asked.is_empty(), "it selects everything");
    asked.iter().all(|(label, value)| labels[label] == *value)
}

/// The pods of the Deployments that a selector finds.
fn selected<'a>(objects: &'a [Value], selector: &Value) -> Vec<&'a Value> {
    let templates = of(objects, "Deployment").into_iter();
    let templates = templates.map(|deployment| &deployment["spec"]["template"]);
    let found = templates.filter(|pod| matches(selector, &pod["metadata"]["labels"]));
    found.collect()
}

/// The names of the ports of a pod.
fn ports(pod: &Value) -> Vec<&Value> {
    let containers = pod["spec"]["containers"].as_array().unwrap().iter();
    let ports = containers.filter_map(|container| container["ports"].as_array());
    ports.flatten().map(|port| &port["name"]).collect()
}

#[tokio::test]
async fn whatever_selects_pods_finds_those_of_one_deployment() {
    let mut looked_at = BTreeSet::new();
    for (set, values) in sets() {
        let objects = objects(&values).await;
        for object in &objects {
            let kind = object["kind"].as_str().unwrap();
            let spec = &object["spec"];
            let selector = match kind {
                "Service" => &spec["selector"],
                "Deployment" | "PodDisruptionBudget" | "PodMonitor" => {
                    &spec["selector"]["matchLabels"]
                }
                "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
                "CiliumNetworkPolicy" => &spec["endpointSelector"]["matchLabels"],
                _ => continue,
            };
            looked_at.insert(kind.to_owned());
            let pods = selected(&objects, selector);
            assert_eq!(pods.len(), 1, "{set}: {kind} {selector}");
            let names = ports(pods[0]);
            let targets: Vec<&Value> = match kind {
                "Service" => {
                    let ports = spec["ports"].as_array().unwrap().iter();
                    ports.map(|port| &port["targetPort"]).collect()
                }
                "PodMonitor" => vec![&spec["podMetricsEndpoints"][0]["port"]],
                _ => Vec::new(),
            };
            for target in targets {
                assert!(names.contains(&target), "{set}: {kind}: {target}");
            }
        }
    }
    assert_eq!(looked_at.len(), 6, "{looked_at:?}");
}

#[tokio::test]
async fn a_service_monitor_finds_a_service_with_its_port() {
    let mut looked_at = 0;
    for (set, values) in sets() {
        let objects = objects(&values).await;
        for monitor in of(&objects, "ServiceMonitor") {
            let spec = &monitor["spec"];
            let selector = &spec["selector"]["matchLabels"];
            let services = of(&objects, "Service").into_iter();
            let found = services.filter(|one| matches(selector, &one["metadata"]["labels"]));
            let found: Vec<_> = found.collect();
            assert_eq!(found.len(), 1, "{set}: {selector}");
            let endpoint = &spec["endpoints"][0];
            let (of_the_service, port) = match &endpoint["port"] {
                Value::Null => ("targetPort", &endpoint["targetPort"]),
                named => ("name", named),
            };
            let mut ports = found[0]["spec"]["ports"].as_array().unwrap().iter();
            assert!(
                ports.any(|one| one[of_the_service] == *port),
                "{set}: {endpoint}"
            );
            assert_eq!(endpoint["honorLabels"], true);
            looked_at += 1;
        }
    }
    assert!(looked_at > 2, "{looked_at}");
}

/// Roles that the cluster has by itself.
const THERE: [&str; 1] = ["extension-apiserver-authentication-reader"];

#[tokio::test]
async fn rights_are_given_to_who_runs_by_roles_that_there_are() {
    for (set, values) in sets() {
        let objects = objects(&values).await;
        let pods = of(&objects, "Deployment").into_iter();
        let pods = pods.map(|deployment| &deployment["spec"]["template"]["spec"]);
        let alone = of(&objects, "Pod").into_iter().map(|pod| &pod["spec"]);
        let accounts: BTreeSet<_> = pods
            .chain(alone)
            .map(|pod| pod["serviceAccountName"].as_str().unwrap())
            .collect();
        let mut bound = BTreeSet::new();
        for kind in ["RoleBinding", "ClusterRoleBinding"] {
            for binding in of(&objects, kind) {
                let subject = &binding["subjects"][0];
                let account = subject["name"].as_str().unwrap();
                assert_eq!(subject["namespace"], "keda", "{set}: {account}");
                bound.insert(account);
                let role = binding["roleRef"]["name"].as_str().unwrap();
                if THERE.contains(&role) {
                    continue;
                }
                let of_kind = binding["roleRef"]["kind"].as_str().unwrap();
                let namespace = &binding["metadata"]["namespace"];
                let mut roles = of(&objects, of_kind).into_iter();
                let there = roles.any(|one| {
                    one["metadata"]["name"] == role && one["metadata"]["namespace"] == *namespace
                });
                assert!(there, "{set}: no {of_kind} {role} in {namespace}");
            }
        }
        assert_eq!(accounts, bound, "{set}");
    }
}

/// The API server is sent to who serves, by one Service each, whose name the certificate is good for.
#[tokio::test]
async fn the_api_server_is_sent_to_who_serves() {
    for (separate, app) in [
        (false, "keda-operator"),
        (true, "keda-operator-metrics-apiserver"),
    ] {
        let objects = objects(&with(&[("metricsServer.separate", json!(separate))])).await;
        let registered = named(&objects, "APIService", "v1beta1.external.metrics.k8s.io");
        let service = registered["spec"]["service"]["name"].as_str().unwrap();
        let service = named(&objects, "Service", service);
        let of_app = |app: &str| json!({"app.kubernetes.io/name": app, "app.kubernetes.io/instance": "keda"});
        assert_eq!(service["spec"]["selector"], of_app(app));
        let admission = named(&objects, "ValidatingWebhookConfiguration", "keda-admission");
        let service = &admission["webhooks"][0]["clientConfig"]["service"];
        let service = named(&objects, "Service", service["name"].as_str().unwrap());
        assert_eq!(service["spec"]["selector"], of_app("keda-operator"));
    }
}

#[tokio::test]
async fn without_the_external_metrics_api_nothing_of_it_is_left() {
    let values = with(&[
        ("metricsServer.enabled", json!(false)),
        ("metricsServer.separate", json!(true)),
    ]);
    let objects = objects(&values).await;
    assert!(of(&objects, "APIService").is_empty());
    assert_eq!(of(&objects, "Deployment").len(), 1);
    let operator = named(&objects, "Deployment", "keda-operator").to_string();
    assert!(operator.contains("--enable-apiservice-patching=false"));
    let rights = named(&objects, "ClusterRole", "keda-operator").to_string();
    assert!(!rights.contains("apiservices"), "{rights}");
}

/// KEDA's selector: with another one, no release of KEDA's chart could be upgraded to this chart.
#[tokio::test]
async fn the_operators_selector_is_kedas() {
    let objects = objects(&with(&[])).await;
    let operator = named(&objects, "Deployment", "keda-operator");
    let selector = json!({"matchLabels": {"app": "keda-operator"}});
    assert_eq!(operator["spec"]["selector"], selector);
}

/// To what a binding leads can't be changed: those that KEDA's chart has, too, lead to the same.
#[tokio::test]
async fn bindings_with_kedas_names_lead_where_kedas_do() {
    let tokens = json!([{"namespace": "shop", "name": "orders"}]);
    let values = with(&[
        ("watchNamespace", json!("keda,shop")),
        ("metricsServer.separate", json!(true)),
        (
            "permissions.operator.restrict.serviceAccountTokenCreationRoles",
            tokens,
        ),
    ]);
    let objects = objects(&values).await;
    let operator = "keda-operator";
    let cluster = named(&objects, "ClusterRoleBinding", operator);
    assert_eq!(cluster["roleRef"]["kind"], "ClusterRole");
    assert_eq!(cluster["roleRef"]["name"], operator);
    for binding in of(&objects, "RoleBinding") {
        let name = binding["metadata"]["name"].as_str().unwrap();
        // In namespaces that are watched, KEDA's leads to a ClusterRole.
        assert_ne!(name, operator);
        let role = match name {
            "keda-operator-auth-reader" => "extension-apiserver-authentication-reader",
            "keda-operator-metrics-apiserver-auth-reader" => {
                "extension-apiserver-authentication-reader"
            }
            name => name,
        };
        assert_eq!(binding["roleRef"]["kind"], "Role", "{name}");
        assert_eq!(binding["roleRef"]["name"], role, "{name}");
    }
}

/// What each port of the operator's pod lets in.
#[tokio::test]
async fn a_network_policy_closes_what_nobody_needs() {
    let peers = json!([{"ipBlock": {"cidr": "10.0.0.0/28"}}]);
    for (flavor, port) in [("kubernetes", json!(9666)), ("cilium", json!("9666"))] {
        let values = with(&[
            ("networkPolicy.enabled", json!(true)),
            ("networkPolicy.flavor", json!(flavor)),
            ("networkPolicy.kubernetes.apiServer", peers.clone()),
        ]);
        let objects = objects(&values).await;
        let kind = match flavor {
            "cilium" => "CiliumNetworkPolicy",
            _ => "NetworkPolicy",
        };
        let policy = named(&objects, kind, "keda-operator");
        let rules = policy["spec"]["ingress"].as_array().unwrap();
        let of_port = |port: &Value| {
            let of = |rule: &&Value| {
                let ports = rule["ports"].as_array();
                let ports = ports.or_else(|| rule["toPorts"][0]["ports"].as_array());
                ports.unwrap().iter().any(|one| one["port"] == *port)
            };
            rules.iter().filter(of).collect::<Vec<_>>()
        };
        // Each port is open to somebody, and none to everybody.
        for rule in rules {
            let from = rule.as_object().unwrap().keys();
            assert!(
                from.clone().any(|key| key.starts_with("from")),
                "{flavor}: {rule}"
            );
        }
        let replicas = of_port(&port);
        assert_eq!(replicas.len(), 1, "{flavor}: {rules:?}");
        assert!(
            replicas[0]
                .to_string()
                .contains("\"app\":\"keda-operator\"")
        );
        for open in [6443, 9443, 8080] {
            let port = match flavor {
                "cilium" => json!(open.to_string()),
                _ => json!(open),
            };
            assert!(!of_port(&port).is_empty(), "{flavor}: {open}");
        }
    }
}

/// A cache for DNS on the node is no pod, and an API server's port is its own affair.
#[tokio::test]
async fn a_network_policy_leaves_dns_and_the_api_server_open() {
    let peers = json!([{"ipBlock": {"cidr": "10.0.0.0/28"}}]);
    for peers in [json!([]), peers] {
        let values = with(&[
            ("networkPolicy.enabled", json!(true)),
            ("networkPolicy.flavor", json!("kubernetes")),
            ("networkPolicy.kubernetes.apiServer", peers.clone()),
        ]);
        let objects = objects(&values).await;
        let policy = named(&objects, "NetworkPolicy", "keda-operator");
        let egress = policy["spec"]["egress"].as_array().unwrap();
        let server = match peers.as_array().unwrap().is_empty() {
            true => json!({"ports": [{"port": 443}, {"port": 6443}]}),
            false => json!({"to": peers}),
        };
        let dns = [("UDP", 53), ("TCP", 53)];
        let dns = dns.map(|(protocol, port)| json!({"port": port, "protocol": protocol}));
        for rule in [server, json!({"ports": dns})] {
            assert!(egress.contains(&rule), "{rule}: {egress:?}");
        }
    }
}

#[tokio::test]
async fn each_dashboard_is_a_config_map() {
    let objects = objects(&with(&[("dashboards.enabled", json!(true))])).await;
    let folder = sakidori_tests::binary::repository().join("charts/sakidori/dashboards");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let map = format!("keda-operator-dashboard-{}", name.trim_end_matches(".json"));
        let map = named(&objects, "ConfigMap", &map);
        let text = map["data"][name].as_str().unwrap();
        let dashboard: Value = serde_json::from_str(text).unwrap();
        let file = std::fs::read_to_string(&path).unwrap();
        assert_eq!(dashboard, serde_json::from_str::<Value>(&file).unwrap());
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        files += 1;
    }
    assert!(files > 0);
}

#[tokio::test]
async fn rules_are_the_charts_and_the_users() {
    let mine = json!([{"alert": "Mine", "expr": "up == 0"}]);
    let enabled = |shipped: bool| {
        let rules = json!({"enabled": true, "shipped": shipped, "alerts": mine});
        with(&[("prometheus.operator.prometheusRules", rules)])
    };
    let groups = async |values: &Value| -> Vec<String> {
        let objects = objects(values).await;
        let rule = named(&objects, "PrometheusRule", "keda-operator");
        let groups = rule["spec"]["groups"].as_array().unwrap().iter();
        groups
            .map(|group| group["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(groups(&enabled(false)).await, ["keda"]);
    let both = groups(&enabled(true)).await;
    assert!(
        both.len() > 1 && both.contains(&"keda".to_owned()),
        "{both:?}"
    );
    let elsewhere =
        json!({"enabled": true, "runbookBaseUrl": "https://wiki.example/it's & \"ours\"/"});
    let values = with(&[("prometheus.operator.prometheusRules", elsewhere)]);
    let objects_elsewhere = objects(&values).await;
    let rule = named(&objects_elsewhere, "PrometheusRule", "keda-operator");
    let first = &rule["spec"]["groups"][0]["rules"][0];
    assert_eq!(
        first["annotations"]["runbook_url"],
        format!(
            "https://wiki.example/it's & \"ours\"/{}.md",
            first["alert"].as_str().unwrap()
        )
    );
    let off = with(&[
        (
            "prometheus.operator.prometheusRules",
            json!({"enabled": true}),
        ),
        ("prometheus.operator.enabled", json!(false)),
    ]);
    assert!(of(&objects(&off).await, "PrometheusRule").is_empty());
}
