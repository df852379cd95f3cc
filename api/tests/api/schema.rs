//! The CRDs' schemas: which paths they have, and what they refuse.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use sakidori_api::crds;
use serde_json::{Value, json};

/// The schema of `kind`, as JSON.
pub fn of(kind: &str) -> Value {
    let is_kind = |crd: &&CustomResourceDefinition| crd.spec.names.kind == kind;
    let crds = crds::all();
    let crd = crds
        .iter()
        .find(is_kind)
        .unwrap_or_else(|| panic!("no CRD for {kind}"));
    serde_json::to_value(
        &crd.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema,
    )
    .unwrap()
}

/// Every field that a schema names, as `spec.triggers[].type`; the values of a map are `{}`.
pub fn paths(schema: &Value) -> BTreeSet<String> {
    fn walk(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            walk(property, &path, found);
            found.insert(path);
        }
        for (part, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
            if schema[part].is_object() {
                walk(&schema[part], &format!("{path}{suffix}"), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(schema, "", &mut found);
    found
}

/// What a schema has against a value, in the words of the API server where it has the same rule. Covers what the CRDs
/// use, but for the CEL rule and patterns.
fn refusals(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let of_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("{path}: unknown type {other}"),
        None if schema["x-kubernetes-preserve-unknown-fields"] == json!(true) => true,
        None => {
            schema["x-kubernetes-int-or-string"] == json!(true)
                && (value.is_i64() || value.is_string())
        }
    };
    if !of_type {
        return vec![format!("{path}: wrong type")];
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|values| !values.contains(value))
    {
        found.push(format!("{path}: Unsupported value"));
    }
    if let Some(number) = value.as_i64() {
        // The schema holds its bounds as floating point.
        let number = number as f64;
        if schema["minimum"]
            .as_f64()
            .is_some_and(|least| number < least)
        {
            found.push(format!(
                "{path}: should be greater than or equal to {}",
                schema["minimum"]
            ));
        }
        if schema["maximum"].as_f64().is_some_and(|most| number > most) {
            found.push(format!(
                "{path}: should be less than or equal to {}",
                schema["maximum"]
            ));
        }
    }
    let too_short = |limit: &str, length: usize| {
        schema[limit]
            .as_u64()
            .is_some_and(|least| (length as u64) < least)
    };
    if too_short("minLength", value.as_str().map_or(0, str::len))
        || too_short("minItems", value.as_array().map_or(0, Vec::len))
    {
        found.push(format!("{path}: too short"));
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        if value.get(required.as_str().unwrap()).is_none() {
            found.push(format!(
                "{path}.{}: Required value",
                required.as_str().unwrap()
            ));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => found.push(format!("{path}.{name}: unknown field")),
            (Value::Null, values) => {
                found.extend(refusals(values, field, &format!("{path}.{name}")))
            }
            (property, _) => found.extend(refusals(property, field, &format!("{path}.{name}"))),
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(refusals(
            &schema["items"],
            item,
            &format!("{path}[{index}]"),
        ));
    }
    found
}

/// What the CRD of `kind` has against a spec.
pub fn refused(kind: &str, spec: &Value) -> Vec<String> {
    refusals(&of(kind)["properties"]["spec"], spec, "spec")
}

/// A sound spec with `value` put at a JSON pointer.
fn changed(spec: &Value, pointer: &str, value: Value) -> Value {
    let mut spec = spec.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match spec
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {parent} in the sound spec"))
    {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        object => object[key] = value,
    }
    spec
}

#[test]
fn a_scaled_object_is_refused_where_keda_refuses_it() {
    let sound = json!({
        "scaleTargetRef": { "name": "orders" },
        "triggers": [{ "type": "cron", "metadata": {}, "authenticationRef": { "name": "a" } }],
        "fallback": { "failureThreshold": 1, "replicas": 1 },
        "advanced": {
            "horizontalPodAutoscalerConfig": { "behavior": { "scaleDown": {}, "scaleUp": {} } },
            "scalingModifiers": {},
        },
    });
    assert_eq!(refused("ScaledObject", &sound), Vec::<String>::new());
    let behavior = "/advanced/horizontalPodAutoscalerConfig/behavior";
    let cases = [
        (
            "/scaleTargetRef".into(),
            json!({}),
            "spec.scaleTargetRef.name: Required value",
        ),
        (
            "/scaleTargetRef/name".into(),
            json!(""),
            "spec.scaleTargetRef.name: too short",
        ),
        (
            "/pollingInterval".into(),
            json!(0),
            "spec.pollingInterval: should be greater than or equal to 1.0",
        ),
        (
            "/cooldownPeriod".into(),
            json!(-1),
            "spec.cooldownPeriod: should be greater than or equal to 0.0",
        ),
        (
            "/initialCooldownPeriod".into(),
            json!(-1),
            "spec.initialCooldownPeriod: should be greater than or equal to 0.0",
        ),
        (
            "/idleReplicaCount".into(),
            json!(-1),
            "spec.idleReplicaCount: should be greater than or equal to 0.0",
        ),
        (
            "/minReplicaCount".into(),
            json!(-1),
            "spec.minReplicaCount: should be greater than or equal to 0.0",
        ),
        (
            "/minReplicaCount".into(),
            Value::Null,
            "spec.minReplicaCount: wrong type",
        ),
        (
            "/maxReplicaCount".into(),
            json!(0),
            "spec.maxReplicaCount: should be greater than or equal to 1.0",
        ),
        ("/triggers".into(), json!([]), "spec.triggers: too short"),
        (
            "/triggers/0/type".into(),
            json!(""),
            "spec.triggers[0].type: too short",
        ),
        (
            "/triggers/0".into(),
            json!({ "type": "cron" }),
            "spec.triggers[0].metadata: Required value",
        ),
        (
            "/triggers/0/metadata".into(),
            json!({ "value": 5 }),
            "spec.triggers[0].metadata.value: wrong type",
        ),
        (
            "/triggers/0/authenticationRef".into(),
            json!({}),
            "spec.triggers[0].authenticationRef.name: Required value",
        ),
        (
            "/triggers/0/authenticationRef/kind".into(),
            json!("Secret"),
            "spec.triggers[0].authenticationRef.kind: Unsupported value",
        ),
        (
            "/fallback".into(),
            json!({ "replicas": 1 }),
            "spec.fallback.failureThreshold: Required value",
        ),
        (
            "/fallback/replicas".into(),
            json!(-1),
            "spec.fallback.replicas: should be greater than or equal to 0.0",
        ),
        (
            "/fallback/behavior".into(),
            json!("other"),
            "spec.fallback.behavior: Unsupported value",
        ),
        (
            "/advanced/scalingModifiers/metricType".into(),
            json!("Utilization"),
            "spec.advanced.scalingModifiers.metricType: Unsupported value",
        ),
        (
            format!("{behavior}/scaleUp/stabilizationWindowSeconds"),
            json!(3601),
            "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.stabilizationWindowSeconds: should be less than or equal to 3600.0",
        ),
        (
            format!("{behavior}/scaleDown/stabilizationWindowSeconds"),
            json!(-1),
            "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.stabilizationWindowSeconds: should be greater than or equal to 0.0",
        ),
    ];
    for (pointer, value, expected) in cases {
        let pointer: String = pointer;
        assert_eq!(
            refused("ScaledObject", &changed(&sound, &pointer, value)),
            [expected],
            "{pointer}"
        );
    }
}

#[test]
fn an_authentication_is_refused_where_keda_refuses_it() {
    let secret = json!({ "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } });
    let sound = json!({
        "podIdentity": { "provider": "none" },
        "secretTargetRef": [{ "parameter": "p", "name": "n", "key": "k" }],
        "hashiCorpVault": { "address": "a", "authentication": "token", "secrets": [{ "parameter": "p", "path": "p", "key": "k", "type": "" }] },
        "azureKeyVault": { "vaultUri": "u", "secrets": [{ "parameter": "p", "name": "n" }],
            "credentials": { "clientId": "c", "tenantId": "t", "clientSecret": secret } },
        "gcpSecretManager": { "secrets": [{ "parameter": "p", "id": "i" }] },
        "awsSecretManager": { "secrets": [{ "parameter": "p", "name": "n" }] },
        // `type` has a default.
        "oauth2": { "clientId": "c", "tokenUrl": "t" },
    });
    let cases = [
        (
            "/podIdentity/provider",
            json!("azure"),
            "spec.podIdentity.provider: Unsupported value",
        ),
        (
            "/podIdentity/identityOwner",
            json!("me"),
            "spec.podIdentity.identityOwner: Unsupported value",
        ),
        (
            "/secretTargetRef/0",
            json!({ "parameter": "p", "name": "n" }),
            "spec.secretTargetRef[0].key: Required value",
        ),
        (
            "/hashiCorpVault/authentication",
            json!("aws"),
            "spec.hashiCorpVault.authentication: Unsupported value",
        ),
        (
            "/hashiCorpVault/secrets",
            json!([]),
            "spec.hashiCorpVault.secrets: too short",
        ),
        (
            "/hashiCorpVault/secrets/0/type",
            json!("secretV1"),
            "spec.hashiCorpVault.secrets[0].type: Unsupported value",
        ),
        (
            "/azureKeyVault/secrets",
            json!([]),
            "spec.azureKeyVault.secrets: too short",
        ),
        (
            "/azureKeyVault/credentials/clientSecret",
            json!({}),
            "spec.azureKeyVault.credentials.clientSecret.valueFrom: Required value",
        ),
        (
            "/gcpSecretManager/secrets",
            json!([]),
            "spec.gcpSecretManager.secrets: too short",
        ),
        (
            "/awsSecretManager/secrets",
            json!([]),
            "spec.awsSecretManager.secrets: too short",
        ),
        (
            "/oauth2/type",
            json!("password"),
            "spec.oauth2.type: Unsupported value",
        ),
    ];
    for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
        assert_eq!(refused(kind, &sound), Vec::<String>::new());
        for (pointer, value, expected) in &cases {
            assert_eq!(
                refused(kind, &changed(&sound, pointer, value.clone())),
                [*expected],
                "{kind} {pointer}"
            );
        }
    }
}

#[test]
fn in_place_resize_is_refused_where_its_shape_is_wrong() {
    let sound = json!({
        "scaleTargetRef": { "name": "orders" },
        "triggers": [{ "type": "cron", "metadata": {} }],
        "advanced": { "sakidori": { "inPlaceResize": {
            "policies": [{ "container": "app", "when": "starting", "cpu": 0.5, "memory": "+1Gi" }],
            "maxConcurrent": 5,
            "onInfeasible": "Evict",
        } } },
    });
    let resize = "/advanced/sakidori/inPlaceResize";
    let path = "spec.advanced.sakidori.inPlaceResize";
    assert_eq!(refused("ScaledObject", &sound), Vec::<String>::new());
    for (pointer, value, expected) in [
        ("", json!({}), ".policies: Required value"),
        ("/policies", json!([]), ".policies: too short"),
        (
            "/policies/0/container",
            json!(""),
            ".policies[0].container: too short",
        ),
        (
            "/policies/0/when",
            json!("sale"),
            ".policies[0].when: Unsupported value",
        ),
        (
            "/policies/0",
            json!({"container": "app"}),
            ".policies[0].when: Required value",
        ),
        (
            "/policies/0",
            json!({"when": "starting"}),
            ".policies[0].container: Required value",
        ),
        (
            "/policies/0/cpus",
            json!(2),
            ".policies[0].cpus: unknown field",
        ),
        ("/maxConcurrent", json!(0.5), ".maxConcurrent: wrong type"),
        (
            "/onInfeasible",
            json!("skip"),
            ".onInfeasible: Unsupported value",
        ),
        ("/allowRestart", json!("yes"), ".allowRestart: wrong type"),
    ] {
        let changed = changed(&sound, &format!("{resize}{pointer}"), value);
        assert_eq!(
            refused("ScaledObject", &changed),
            [format!("{path}{expected}")],
            "{pointer}"
        );
    }
}

#[test]
fn defaults_are_in_the_schema_only_where_keda_has_them() {
    let spec = &of("ScaledObject")["properties"]["spec"];
    assert_eq!(
        spec["properties"]["fallback"]["properties"]["behavior"]["default"],
        "static"
    );
    let defaults = |kind| {
        of(kind)["properties"]["spec"]
            .to_string()
            .matches("\"default\":")
            .count()
    };
    assert_eq!(defaults("ScaledObject"), 1);
    assert_eq!(defaults("TriggerAuthentication"), 1);
    let oauth2 = &of("TriggerAuthentication")["properties"]["spec"]["properties"]["oauth2"];
    assert_eq!(oauth2["properties"]["type"]["default"], "clientCredentials");
}

#[test]
fn every_value_that_keda_accepts_is_accepted() {
    fn enums(schema: &Value, name: &str, found: &mut Vec<(String, Value)>) {
        if schema["enum"].is_array() {
            found.push((name.to_owned(), schema["enum"].clone()));
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            enums(property, name, found);
        }
        if schema["items"].is_object() {
            enums(&schema["items"], name, found);
        }
    }
    let found = |kind: &str| {
        let mut found = Vec::new();
        enums(&of(kind), "", &mut found);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        json!(found)
    };
    let behaviors = [
        "static",
        "currentReplicas",
        "currentReplicasIfHigher",
        "currentReplicasIfLower",
        "scalingModifiers",
    ];
    let expected = json!([
        ["behavior", behaviors],
        [
            "kind",
            ["TriggerAuthentication", "ClusterTriggerAuthentication"]
        ],
        ["metricType", ["AverageValue", "Value"]],
        // KEDA has no field of these two.
        ["onInfeasible", ["Skip", "Evict"]],
        ["when", ["prescale", "saturated", "starting"]],
    ]);
    assert_eq!(found("ScaledObject"), expected);
    let owners = json!(["identityOwner", ["keda", "workload"]]);
    let providers = json!([
        "provider",
        ["azure-workload", "gcp", "aws", "aws-eks", "none"]
    ]);
    let expected = json!([
        ["authentication", ["token", "kubernetes"]],
        // One pod identity of its own, and one for each cloud's secret store.
        owners,
        owners,
        owners,
        owners,
        providers,
        providers,
        providers,
        providers,
        ["type", ["", "secretV2", "secret", "pki"]],
        ["type", ["clientCredentials"]],
    ]);
    for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
        assert_eq!(found(kind), expected, "{kind}");
    }
}

#[test]
fn the_minimum_may_not_exceed_the_maximum() {
    let rules = &of("ScaledObject")["properties"]["spec"]["x-kubernetes-validations"];
    let expected = json!([{
        "rule": "!has(self.minReplicaCount) || self.minReplicaCount <= (has(self.maxReplicaCount) ? self.maxReplicaCount : 100)",
        "message": "minReplicaCount must be less than or equal to maxReplicaCount",
    }]);
    assert_eq!(rules, &expected);
    assert_eq!(
        sakidori_api::defaults::MAX_REPLICAS,
        100,
        "the rule repeats the default"
    );
}

#[test]
fn schemas_are_structural_and_know_no_null() {
    for crd in crds::all() {
        let text = serde_json::to_string(&crd.spec.versions[0].schema).unwrap();
        for keyword in [
            "\"$ref\"",
            "\"nullable\"",
            "\"oneOf\"",
            "\"anyOf\"",
            "\"title\"",
        ] {
            assert!(
                !text.contains(keyword),
                "{}: {keyword}",
                crd.spec.names.kind
            );
        }
    }
}
