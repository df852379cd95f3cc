//! What the chart lets the operator do, by its values: no wildcard, no name that is none, and less where a value says so.

use std::collections::BTreeSet;

use kube::core::DynamicObject;
use sakidori_tests::chart::{render, rights};
use sakidori_tests::operator::NAMESPACE;
use serde_json::{Value, json};

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
async fn pods_are_changed_for_in_place_resize_only() {
    let verbs = |rules: &[(String, Value)], resource: &str| {
        let of: Vec<_> = about(rules, resource).into_iter().collect();
        let verbs = of.iter().flat_map(|(namespace, rule)| {
            let verbs = rule["verbs"].as_array().into_iter().flatten();
            verbs.map(|verb| (namespace.clone(), verb.as_str().unwrap_or("").to_owned()))
        });
        verbs.collect::<BTreeSet<_>>()
    };
    let set = |namespaces: &[&str], verbs: &[&str]| {
        let verbs = |namespace: &&str| {
            let namespace = (*namespace).to_owned();
            let verbs = verbs.iter().copied();
            verbs.map(move |verb| (namespace.clone(), verb.to_owned()))
        };
        namespaces.iter().flat_map(verbs).collect::<BTreeSet<_>>()
    };
    for (watched, places) in [("", vec![""]), ("shop, web", vec!["shop", "web"])] {
        let of = async |rbac: Value| {
            let values = json!({"watchNamespace": watched, "rbac": rbac});
            rules(&rights(&values).await.unwrap())
        };
        for rules in [
            of(json!({})).await,
            of(json!({"inPlaceResize": true})).await,
        ] {
            for (resource, allowed) in [
                ("pods", &["get", "list", "watch", "patch"][..]),
                ("pods/resize", &["patch"]),
                ("pods/eviction", &["create"]),
                ("limitranges", &["list"]),
                ("resourcequotas", &["list"]),
            ] {
                let expected = set(&places, allowed);
                assert_eq!(verbs(&rules, resource), expected, "{watched}: {resource}");
            }
            // Nodes are in no namespace.
            assert_eq!(verbs(&rules, "nodes"), set(&[""], &["get"]));
        }
        let rules = of(json!({"inPlaceResize": false})).await;
        for resource in ["pods", "limitranges", "resourcequotas"] {
            assert_eq!(verbs(&rules, resource), set(&places, &["list"]));
        }
        for resource in ["pods/resize", "pods/eviction", "nodes"] {
            assert_eq!(verbs(&rules, resource), set(&[], &[]), "{resource}");
        }
    }
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

/// Where cluster-wide authentications are looked up, too.
#[tokio::test]
async fn tokens_of_all_accounts_are_those_of_the_releases_namespace_too() {
    for (watched, expected) in [
        ("", vec![""]),
        ("shop, web", vec!["shop", "web", NAMESPACE]),
    ] {
        let restrict = json!({"allowAllServiceAccountTokenCreation": true});
        let permissions = json!({"operator": {"restrict": restrict}});
        let values = json!({"watchNamespace": watched, "permissions": permissions});
        let rules = rules(&rights(&values).await.unwrap());
        let mut namespaces: Vec<_> = about(&rules, "serviceaccounts/token")
            .into_iter()
            .map(|(namespace, _)| namespace.as_str())
            .collect();
        namespaces.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(namespaces, expected);
    }
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
        let mut namespaces: Vec<_> = about(&rules, resource)
            .into_iter()
            .map(|(namespace, _)| namespace.as_str())
            .collect();
        // What in-place resize needs of pods is a rule of its own.
        namespaces.dedup();
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
