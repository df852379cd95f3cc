//! The operator's ServiceAccount and rights as the chart gives them, so that every end-to-end test runs with exactly those. Helm fills
//! the templates in, as it does for a user.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use kube::core::DynamicObject;
use sakidori_test_cluster::{Cluster, python};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::operator::NAMESPACE;
use crate::{binary, manifests};

/// The ServiceAccount that the chart makes, in [`NAMESPACE`].
pub const SERVICE_ACCOUNT: &str = "keda-operator";

/// What says what somebody may do, and who that is.
const RIGHTS: [&str; 5] = [
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
];

/// Applies them, and gives a kubeconfig of that ServiceAccount. Besides what the chart allows by default the kinds of the tests can be
/// scaled.
///
/// # Errors
/// If Helm or the API server refuses something.
pub async fn service_account(cluster: &Cluster) -> Result<PathBuf> {
    let kinds: Vec<Value> = [
        ("", "replicationcontrollers"),
        ("sakidori.test", "workers"),
        ("sakidori.test", "latecomers"),
    ]
    .into_iter()
    .map(|(group, kind)| json!({"apiGroup": group, "kind": kind}))
    .collect();
    service_account_with(cluster, &json!({"rbac": {"scaledRefKinds": kinds}})).await
}

/// The same with these values of the chart.
///
/// # Errors
/// If Helm or the API server refuses something.
pub async fn service_account_with(cluster: &Cluster, values: &Value) -> Result<PathBuf> {
    let client = cluster.client();
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n");
    manifests::apply(&client, NAMESPACE, &namespace).await?;
    let rights = rights(values).await?;
    manifests::apply_objects(&client, NAMESPACE, &rights).await?;
    cluster
        .service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT)
        .await
}

/// What the chart's templates say of rights, with these values.
///
/// # Errors
/// If Helm can't be had, or can't fill them in.
pub async fn rights(values: &Value) -> Result<Vec<DynamicObject>> {
    let mut objects = render(values).await?;
    objects.retain(|object| {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        kind.is_some_and(|kind| RIGHTS.contains(&kind))
    });
    Ok(objects)
}

/// All that the chart installs, but the CRDs and what `helm test` runs.
///
/// # Errors
/// If Helm can't be had, or can't fill the templates in.
pub async fn render(values: &Value) -> Result<Vec<DynamicObject>> {
    let helm = tokio::task::spawn_blocking(python::helm).await??;
    let mut file = tempfile::NamedTempFile::new()?;
    // JSON is YAML, too.
    serde_json::to_writer(&mut file, values)?;
    let output = Command::new(&helm)
        .args(["template", "keda", "--namespace", NAMESPACE, "--skip-tests"])
        .args(["--set", "image.keda.repository=example.org/sakidori"])
        .args(["--set", "crds.install=false"])
        .arg("--values")
        .arg(file.path())
        .arg(binary::repository().join("charts/sakidori"))
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("can't start {}", helm.display()))?;
    ensure!(
        output.status.success(),
        "helm template: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    manifests::parse(std::str::from_utf8(&output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of everything in `objects` whose kind and name are these, each with its namespace.
    fn rules(objects: &[DynamicObject]) -> Vec<(String, Value)> {
        let roles = objects.iter().filter(|object| {
            let kind = object.types.as_ref().unwrap().kind.as_str();
            matches!(kind, "Role" | "ClusterRole")
        });
        roles
            .flat_map(|role| {
                let namespace = role.metadata.namespace.clone().unwrap_or_default();
                let rules = role.data["rules"].as_array().cloned().unwrap_or_default();
                rules.into_iter().map(move |rule| (namespace.clone(), rule))
            })
            .collect()
    }

    fn about<'r>(rules: &'r [(String, Value)], resource: &str) -> Vec<&'r (String, Value)> {
        let named = |rule: &Value| {
            let mut resources = rule["resources"].as_array().into_iter().flatten();
            resources.any(|named| named == resource)
        };
        rules.iter().filter(|(_, rule)| named(rule)).collect()
    }

    /// The operator's pod.
    async fn pod(values: &Value) -> Value {
        let objects = render(values).await.unwrap();
        let deployment = objects.iter().find(|object| {
            let kind = object.types.as_ref().unwrap().kind.as_str();
            kind == "Deployment"
        });
        deployment.unwrap().data["spec"]["template"]["spec"].clone()
    }

    #[tokio::test]
    async fn without_webhooks_their_port_is_closed() {
        for (enabled, address) in [(true, ":9443"), (false, "0")] {
            let pod = pod(&json!({"webhooks": {"enabled": enabled}})).await;
            let container = pod["containers"][0].to_string();
            let flag = format!("\"--webhook-bind-address={address}\"");
            assert!(container.contains(&flag), "{container}");
            assert_eq!(container.contains("9443"), enabled, "{container}");
            let patches = !container.contains("--enable-webhook-patching=false");
            assert_eq!(patches, enabled, "{container}");
        }
    }

    #[tokio::test]
    async fn files_are_mounted_beside_the_certificates() {
        let volume = json!({"name": "files", "configMap": {"name": "authority"}});
        let mount = json!({"name": "files", "mountPath": "/files"});
        let files = json!({"extraVolumes": [volume], "extraVolumeMounts": [mount]});
        for (generated, more, names) in [
            (true, false, vec![]),
            (true, true, vec!["files"]),
            (false, false, vec!["certificates"]),
            (false, true, vec!["certificates", "files"]),
        ] {
            let mut values = json!({"certificates": {"autoGenerated": generated}});
            if more {
                values["volumes"] = json!({"keda": files});
            }
            let pod = pod(&values).await;
            for list in [&pod["volumes"], &pod["containers"][0]["volumeMounts"]] {
                let listed = list.as_array().into_iter().flatten();
                let listed: Vec<_> = listed.map(|one| one["name"].clone()).collect();
                assert_eq!(listed, names, "{pod}");
            }
        }
    }

    #[tokio::test]
    async fn no_rule_has_a_wildcard_unless_it_is_asked_for() {
        for values in [
            json!({}),
            json!({"watchNamespace": "shop,web", "metricsServer": {"separate": true}}),
            json!({"rbac": {"secrets": [{"namespace": "shop", "names": ["mq"]}]}}),
            json!({"permissions": {"operator": {"restrict": {"secret": true}}}}),
        ] {
            let rules = rules(&rights(&values).await.unwrap());
            assert!(rules.len() > 10, "{rules:?}");
            for (namespace, rule) in rules {
                assert!(!rule.to_string().contains('*'), "{namespace}: {rule}");
            }
        }
        let wide = rules(&rights(&json!({"rbac": {"wide": true}})).await.unwrap());
        let with: Vec<_> = wide
            .iter()
            .filter(|(_, rule)| rule.to_string().contains('*'))
            .collect();
        assert_eq!(with.len(), 1, "{with:?}");
        assert_eq!(with[0].1["resources"], json!(["*/scale"]));
    }

    #[tokio::test]
    async fn secrets_are_those_that_are_named() {
        let of = async |values: Value| {
            let rules = rules(&rights(&values).await.unwrap());
            // Its certificate's Secret the operator may also make, which no rule can bind to a name.
            let reads = |rule: &Value| rule["verbs"] != json!(["create"]);
            let secrets = about(&rules, "secrets").into_iter();
            let secrets = secrets.filter(|(_, rule)| reads(rule));
            let named =
                secrets.map(|(namespace, rule)| (namespace.clone(), rule["resourceNames"].clone()));
            // The certificate's Secret is the operator's own.
            let named = named.filter(|(_, names)| *names != json!(["kedaorg-certs"]));
            named.collect::<Vec<_>>()
        };
        let all = (String::new(), Value::Null);
        assert_eq!(of(json!({})).await, [all]);
        let named = json!([{"namespace": "shop", "names": ["mq", "db"]}]);
        let shop = ("shop".to_owned(), json!(["mq", "db"]));
        assert_eq!(
            of(json!({"rbac": {"secrets": named}})).await,
            std::slice::from_ref(&shop)
        );
        let both = json!({"watchNamespace": "web", "rbac": {"secrets": named}});
        assert_eq!(of(both).await, [shop]);
        let restricted = json!({"permissions": {"operator": {"restrict": {"secret": true}}}});
        assert_eq!(of(restricted).await, [(NAMESPACE.to_owned(), Value::Null)]);
        // A namespace that stands there twice has one Role; and what is named is all, also of the operator's own namespace.
        let twice = json!([{"namespace": "shop", "names": ["mq"]}, {"namespace": "shop", "names": ["db", "mq"]}]);
        let twice = json!({"rbac": {"secrets": twice},
            "permissions": {"operator": {"restrict": {"secret": true}}}});
        assert_eq!(of(twice).await, [("shop".to_owned(), json!(["mq", "db"]))]);
    }

    /// A rule whose names are empty is a rule for everything: nothing of it is rendered.
    #[tokio::test]
    async fn what_is_no_name_is_refused_with_what_to_write() {
        let secrets = |element: Value| json!({"rbac": {"secrets": [element]}});
        let kinds = |element: Value| json!({"rbac": {"scaledRefKinds": [element]}});
        let tokens = |element: Value| json!({"permissions": {"operator": {"restrict": {"serviceAccountTokenCreationRoles": [element]}}}});
        let list = "expected a list with at least one name, as in {namespace: shop, names: [";
        let name = "is no name of an object: write one in full, such as";
        let plural = "is no resource: write the plural name in lower case";
        for (values, told) in [
            (secrets(json!({"namespace": "shop", "names": []})), list),
            (secrets(json!({"namespace": "shop"})), list),
            (secrets(json!({"namespace": "shop", "names": "mq"})), list),
            (
                secrets(json!({"namespace": "shop", "names": ["mq", ""]})),
                name,
            ),
            (secrets(json!({"namespace": "shop", "names": ["*"]})), name),
            (secrets(json!({"namespace": "shop", "names": [null]})), name),
            (secrets(json!({"namespace": "", "names": ["mq"]})), name),
            (
                secrets(json!({"names": ["mq"]})),
                "rbac.secrets: namespace: null",
            ),
            (
                secrets(json!("shop")),
                "expected elements such as {namespace: shop",
            ),
            (
                json!({"rbac": {"secrets": "shop"}}),
                "rbac.secrets: expected a list",
            ),
            (
                json!({"rbac": {"secrets": ""}}),
                "rbac.secrets: expected a list",
            ),
            (
                json!({"certificates": {"secretName": ""}}),
                "certificates.secretName: \"\"",
            ),
            (kinds(json!({"apiGroup": "argoproj.io"})), plural),
            (
                kinds(json!({"apiGroup": "argoproj.io", "kind": "Rollout"})),
                plural,
            ),
            (kinds(json!({"apiGroup": "", "kind": "secrets/"})), plural),
            (
                kinds(json!({"apiGroup": "", "kind": "secrets"})),
                "Secrets can't be scaled",
            ),
            (kinds(json!({"kind": "secrets"})), "Secrets can't be scaled"),
            (
                kinds(json!({"apiGroup": "*", "kind": "secrets"})),
                "Secrets can't be scaled",
            ),
            (tokens(json!({"namespace": "shop"})), name),
            (tokens(json!({"name": "orders"})), name),
        ] {
            match rights(&values).await {
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains(told), "{values}: {error}");
                }
                Ok(_) => panic!("{values} was rendered"),
            }
        }
    }

    #[tokio::test]
    async fn a_wildcard_in_kinds_lets_them_be_scaled_and_not_read() {
        for (group, kind, reads) in [
            ("*", "*", false),
            ("argoproj.io", "*", false),
            ("*", "rollouts", false),
            ("argoproj.io", "rollouts", true),
        ] {
            let kinds = json!([{"apiGroup": group, "kind": kind}]);
            let values = json!({"rbac": {"scaledRefKinds": kinds}});
            let rules = rules(&rights(&values).await.unwrap());
            let scale = about(&rules, &format!("{kind}/scale"));
            assert_eq!(scale.len(), 1, "{rules:?}");
            assert_eq!(scale[0].1["apiGroups"], json!([group]));
            assert_eq!(scale[0].1["verbs"], json!(["get", "update"]));
            assert_eq!(about(&rules, kind).len(), usize::from(reads), "{rules:?}");
        }
    }

    #[tokio::test]
    async fn what_is_turned_off_needs_no_right() {
        let of = async |values: Value| rules(&rights(&values).await.unwrap());
        let names = |rules: &[(String, Value)], name: &str| {
            let named = |rule: &Value| {
                let mut names = rule["resourceNames"].as_array().into_iter().flatten();
                names.any(|one| one == name)
            };
            rules.iter().filter(|(_, rule)| named(rule)).count()
        };
        let creates = |rules: &[(String, Value)]| {
            let secrets = about(rules, "secrets").into_iter();
            secrets
                .filter(|(_, rule)| rule["verbs"] == json!(["create"]))
                .count()
        };
        // The metrics adapter reads files: `ca.key` in that Secret is none of its business.
        let separate = json!({"metricsServer": {"separate": true}});
        let rules = of(separate).await;
        assert_eq!((names(&rules, "kedaorg-certs"), creates(&rules)), (1, 1));
        assert_eq!(names(&rules, "keda-admission"), 1);
        for certificates in [
            json!({"autoGenerated": false}),
            json!({"certManager": {"enabled": true}}),
        ] {
            let rules = of(json!({"certificates": certificates})).await;
            assert_eq!((names(&rules, "kedaorg-certs"), creates(&rules)), (0, 0));
        }
        let rules = of(json!({"webhooks": {"enabled": false}})).await;
        assert_eq!(names(&rules, "keda-admission"), 0);
        assert!(about(&rules, "validatingwebhookconfigurations").is_empty());
    }

    #[tokio::test]
    async fn what_can_be_scaled_by_default_can_be_read() {
        let rules = rules(&rights(&json!({})).await.unwrap());
        for kind in ["deployments", "statefulsets", "replicasets"] {
            let rules = about(&rules, kind);
            assert_eq!(rules.len(), 1, "{kind}");
            assert_eq!(rules[0].1["verbs"], json!(["get", "list", "watch"]));
        }
    }

    #[tokio::test]
    async fn one_role_for_each_account_whose_tokens_are_asked_for() {
        let orders = json!({"namespace": "shop", "name": "orders"});
        let restrict = json!({"serviceAccountTokenCreationRoles": [orders, orders, {"namespace": "web", "name": "orders"}]});
        let values = json!({"permissions": {"operator": {"restrict": restrict}}});
        let rules = rules(&rights(&values).await.unwrap());
        let namespaces: Vec<_> = about(&rules, "serviceaccounts/token")
            .into_iter()
            .map(|(namespace, _)| namespace.as_str())
            .collect();
        assert_eq!(namespaces, ["shop", "web"]);
    }

    #[tokio::test]
    async fn watched_namespaces_have_roles_and_the_cluster_none_for_what_is_in_them() {
        let rights = rights(&json!({"watchNamespace": " shop, web ,"}))
            .await
            .unwrap();
        let rules = rules(&rights);
        for resource in [
            "scaledobjects",
            "horizontalpodautoscalers",
            "deployments/scale",
            "pods",
            "salecalendars",
        ] {
            let namespaces: Vec<_> = about(&rules, resource)
                .into_iter()
                .map(|(namespace, _)| namespace.as_str())
                .collect();
            assert_eq!(namespaces, ["shop", "web"], "{resource}");
        }
        let secrets = about(&rules, "secrets").into_iter();
        let secrets: Vec<_> = secrets.map(|(namespace, _)| namespace.as_str()).collect();
        assert!(!secrets.contains(&""), "{secrets:?}");
        // Events of cluster-scoped objects are in `default`.
        let events = about(&rules, "events").into_iter();
        let events = events.filter(|(_, rule)| rule["apiGroups"] == json!(["events.k8s.io"]));
        let events: Vec<_> = events.map(|(namespace, _)| namespace.as_str()).collect();
        assert_eq!(events, ["shop", "web", "default"]);
    }

    #[tokio::test]
    async fn webhooks_are_asked_about_the_namespaces_that_are_watched() {
        let selected = async |watched: &str| {
            let objects = render(&json!({"watchNamespace": watched})).await.unwrap();
            let mut kinds = objects.iter().filter(|object| {
                let types = object.types.as_ref();
                types.is_some_and(|types| types.kind == "ValidatingWebhookConfiguration")
            });
            let webhooks = kinds.next().unwrap().data["webhooks"].clone();
            webhooks[0]["namespaceSelector"]["matchExpressions"][0]["values"].clone()
        };
        assert_eq!(selected(" shop, web ,shop,").await, json!(["shop", "web"]));
        assert_eq!(selected(",").await, Value::Null);
    }
}
