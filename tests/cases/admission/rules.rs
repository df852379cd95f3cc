//! Every rule of the webhooks with an object that breaks it, and its message: what `docs/admission.md` shows.

use serde_json::{Value, json};

use crate::scene::merge;

/// One broken rule.
pub struct Rule {
    /// What has to be there before.
    pub before: Vec<Value>,
    pub object: Value,
    /// The one problem's text.
    pub refused: &'static str,
}

/// One warning.
pub struct Warned {
    pub before: Vec<Value>,
    pub object: Value,
    pub warning: &'static str,
}

pub fn rule(object: Value, refused: &'static str) -> Rule {
    Rule {
        before: Vec::new(),
        object,
        refused,
    }
}

pub fn trigger(kind: &str, metadata: Value) -> Value {
    json!({"type": kind, "metadata": metadata})
}

/// A trigger that needs nothing.
pub fn cron() -> Value {
    trigger(
        "cron",
        json!({"timezone": "UTC", "start": "0 8 * * *", "end": "0 20 * * *", "desiredReplicas": "2"}),
    )
}

pub fn cpu() -> Value {
    json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}})
}

/// A ScaledObject of a Deployment of the same name; `spec` is merged over one that is right.
pub fn scaled_object(name: &str, spec: Value) -> Value {
    let mut whole = json!({"scaleTargetRef": {"name": name}, "triggers": [cron()]});
    merge(&mut whole, spec);
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name}, "spec": whole,
    })
}

pub fn triggers(name: &str, triggers: Value) -> Value {
    scaled_object(name, json!({"triggers": triggers}))
}

fn scaled_job(name: &str, triggers: Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": name},
        "spec": {"jobTargetRef": {"template": {}}, "triggers": triggers},
    })
}

pub fn authentication(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "keda.sh/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn event_source(kind: &str, name: &str, subscription: Value) -> Value {
    json!({
        "apiVersion": "eventing.keda.sh/v1alpha1", "kind": kind, "metadata": {"name": name},
        "spec": {"eventSubscription": subscription},
    })
}

pub fn hpa(name: &str, deployment: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
        },
    })
}

/// A Deployment of no pods, whose containers have these resources.
pub fn deployment(name: &str, containers: &[(&str, Value)]) -> Value {
    let containers: Vec<Value> = containers
        .iter()
        .map(|(name, resources)| json!({"name": name, "image": "example.org/none:1", "resources": resources}))
        .collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
        },
    })
}

fn with_request(name: &str) -> Value {
    deployment(name, &[("main", json!({"requests": {"cpu": "100m"}}))])
}

/// 55 letters: with KEDA's prefix one too many for a label.
const LONG: &str = "orders-orders-orders-orders-orders-orders-orders-orders";

/// A ScaledObject with the trigger `day` and a formula.
fn composed(name: &str, modifiers: Value) -> Value {
    let spec = json!({
        "triggers": [{"type": "cron", "name": "day", "metadata": cron()["metadata"]}],
        "advanced": {"scalingModifiers": modifiers},
    });
    scaled_object(name, spec)
}

pub fn of_scaled_objects() -> Vec<Rule> {
    let fallback = json!({"failureThreshold": 3, "replicas": 2});
    let named = |hpa: &str| json!({"horizontalPodAutoscalerConfig": {"name": hpa}});
    let transfer = json!({"metadata": {"annotations": {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}}});
    let mut transferred = scaled_object("transfer", json!({}));
    merge(&mut transferred, transfer);
    let longer = format!("{LONG}-checkout");
    let mut too_long = scaled_object(&longer, json!({"advanced": named("orders")}));
    too_long["spec"]["scaleTargetRef"]["name"] = json!("orders");
    let mut rules = vec![
        rule(
            scaled_object(
                "replicas",
                json!({"minReplicaCount": 3, "maxReplicaCount": 2}),
            ),
            "MinReplicaCount=3 must be less than MaxReplicaCount=2",
        ),
        rule(
            scaled_object("idle", json!({"minReplicaCount": 1, "idleReplicaCount": 1})),
            "IdleReplicaCount=1 must be less than MinReplicaCount=1",
        ),
        rule(
            too_long,
            "scaledobject name \"orders-orders-orders-orders-orders-orders-orders-orders-checkout\" is 64 characters long; must be no more than 63 characters because it is used as the \"scaledobject.keda.sh/name\" label value",
        ),
        rule(
            scaled_object(LONG, json!({})),
            "HPA name \"keda-hpa-orders-orders-orders-orders-orders-orders-orders-orders\" derived from scaledobject is 64 characters long; must be no more than 63 characters; set spec.advanced.horizontalPodAutoscalerConfig.name to a shorter name or shorten the scaledobject name",
        ),
        rule(
            scaled_object(
                "fallback",
                json!({"fallback": {"failureThreshold": -1, "replicas": 2}}),
            ),
            "FailureThreshold=-1 & Replicas=2 must both be greater than or equal to 0",
        ),
        Rule {
            before: vec![with_request("fallback-cpu")],
            ..rule(
                scaled_object(
                    "fallback-cpu",
                    json!({"fallback": fallback, "minReplicaCount": 1, "triggers": [cpu()]}),
                ),
                "at least one trigger (that is not cpu or memory) has to have the `AverageValue` type for the fallback to be enabled",
            )
        },
        rule(
            composed("formula-missing", json!({"target": "2"})),
            "error ScalingModifiers.Formula is mandatory",
        ),
        rule(
            composed("formula-target-missing", json!({"formula": "day"})),
            "error validating formula in ScalingModifiers: formula is given but target is empty",
        ),
        rule(
            composed(
                "formula-name",
                json!({"formula": "day > 3 ? dya : 1", "target": "2"}),
            ),
            "error validating formula in ScalingModifiers: unknown name \"dya\" at column 11, did you mean \"day\"?",
        ),
        rule(
            composed("formula-target", json!({"formula": "day", "target": "0"})),
            "error validating target in ScalingModifiers: error converting target for scalingModifiers (string->float) to valid target: \"0\" is no number above 0",
        ),
        rule(
            composed(
                "formula-activation",
                json!({"formula": "day", "target": "2", "activationTarget": "many"}),
            ),
            "scalingModifiers.ActivationTarget parsing error: \"many\" is no number",
        ),
        rule(
            composed(
                "formula-type",
                json!({"formula": "day", "target": "2", "metricType": "Utilization"}),
            ),
            "error validating target in ScalingModifiers: error trigger type is Utilization, but it needs to be AverageValue or Value for external metrics",
        ),
        rule(
            scaled_object(
                "fallback-formula",
                json!({"fallback": {"failureThreshold": 3, "replicas": 2, "behavior": "scalingModifiers"}}),
            ),
            "scalingModifiers fallback behavior requires scalingModifiers.formula to be defined",
        ),
        rule(
            triggers("none", json!([])),
            "no triggers defined in the ScaledObject/ScaledJob",
        ),
        rule(
            triggers(
                "cached",
                json!([{"type": "cron", "useCachedMetrics": true, "metadata": cron()["metadata"]}]),
            ),
            "property \"useCachedMetrics\" is not supported for \"cron\" scaler",
        ),
        rule(
            triggers(
                "twice",
                json!([
                    {"type": "cron", "name": "day", "metadata": cron()["metadata"]},
                    {"type": "cron", "name": "day", "metadata": cron()["metadata"]},
                ]),
            ),
            "triggerName \"day\" is defined multiple times in the ScaledObject/ScaledJob, but it must be unique",
        ),
        Rule {
            before: vec![hpa("by-hand", "scaled-by-hand")],
            ..rule(
                scaled_object("scaled-by-hand", json!({})),
                "the workload 'scaled-by-hand' of type 'apps/v1.Deployment' is already managed by the hpa 'by-hand'",
            )
        },
        Rule {
            before: vec![hpa("to-transfer", "transfer")],
            ..rule(
                transferred,
                "the existing hpa 'to-transfer' for workload 'transfer' of type 'apps/v1.Deployment' must be specified by name in advanced settings to enable ownership transfer",
            )
        },
        Rule {
            before: vec![scaled_object(
                "first",
                json!({"scaleTargetRef": {"name": "shared"}}),
            )],
            ..rule(
                scaled_object("second", json!({"scaleTargetRef": {"name": "shared"}})),
                "the workload 'shared' of type 'apps/v1.Deployment' is already managed by the ScaledObject 'first'",
            )
        },
        Rule {
            before: vec![scaled_object(
                "owner",
                json!({"advanced": named("shared-hpa")}),
            )],
            ..rule(
                scaled_object("other-owner", json!({"advanced": named("shared-hpa")})),
                "the HPA 'shared-hpa' is already managed by the ScaledObject 'owner'",
            )
        },
        Rule {
            before: vec![deployment(
                "bare",
                &[
                    ("app", json!({"requests": {"cpu": "100m"}})),
                    ("sidecar", json!({})),
                ],
            )],
            ..rule(
                scaled_object("bare", json!({"minReplicaCount": 1, "triggers": [cpu()]})),
                "the scaledobject has a cpu trigger but the container sidecar doesn't have the cpu request defined",
            )
        },
        Rule {
            before: vec![with_request("only-cpu")],
            ..rule(
                triggers("only-cpu", json!([cpu()])),
                "scaledobject has only cpu/memory triggers AND minReplica is 0 (scale to zero doesn't work in this case)",
            )
        },
        rule(
            scaled_object(
                "version",
                json!({"scaleTargetRef": {"name": "a", "apiVersion": "apps/v1/extra"}}),
            ),
            "unexpected GroupVersion string: apps/v1/extra",
        ),
        rule(
            scaled_object(
                "kind",
                json!({"scaleTargetRef": {"name": "a", "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}}),
            ),
            "no matches for kind \"Rollout\" in version \"argoproj.io/v1alpha1\"",
        ),
    ];
    rules.extend(of_parameters(triggers));
    rules.push(rule(
        triggers("quantity", json!([{"type": "cpu", "metricType": "AverageValue", "metadata": {"value": "lots"}}, cron()])),
        "trigger 0 (cpu): error parsing cpu metadata: parameter \"value\": \"lots\" is no quantity: expected a number such as 5, 2.5, 100m or 2Gi",
    ));
    rules.push(rule(
        triggers(
            "metric-type",
            json!([{"type": "cron", "metricType": "Average", "metadata": cron()["metadata"]}]),
        ),
        "trigger 0 (cron): metricType is \"Average\": expected \"AverageValue\" or \"Value\"",
    ));
    rules.push(rule(
        triggers("utilization", json!([{"type": "cron", "metricType": "Utilization", "metadata": cron()["metadata"]}])),
        "trigger 0 (cron): 'Utilization' metric type is unsupported for external metrics, allowed values are 'Value' or 'AverageValue'",
    ));
    rules
}

/// The rules about a trigger's type and parameters, for any kind that has triggers.
fn of_parameters(object: fn(&str, Value) -> Value) -> Vec<Rule> {
    let queue = |metadata: Value| trigger("rabbitmq", metadata);
    vec![
        rule(
            object("misspelt-type", json!([trigger("rabitmq", json!({}))])),
            "trigger 0 (rabitmq): no trigger type \"rabitmq\", did you mean \"rabbitmq\"?",
        ),
        rule(
            object("not-yet", json!([trigger("solarwinds", json!({}))])),
            "trigger 0 (solarwinds): the trigger type \"solarwinds\" of KEDA is not supported by this version",
        ),
        rule(
            object("no-host", json!([queue(json!({"queueName": "orders"}))])),
            "trigger 0 (rabbitmq): missing required parameter \"host\" in [triggerMetadata authParams resolvedEnv]",
        ),
        rule(
            object(
                "number",
                json!([
                    cron(),
                    queue(
                        json!({"queueName": "orders", "hostFromEnv": "RABBIT", "pageSize": "many"})
                    )
                ]),
            ),
            "trigger 1 (rabbitmq): parameter \"pageSize\" has the value \"many\": expected a whole number from -9223372036854775808 to 9223372036854775807",
        ),
        rule(
            object(
                "mode",
                json!([queue(
                    json!({"queueName": "orders", "hostFromEnv": "RABBIT", "mode": "QueueLength"})
                )]),
            ),
            "trigger 0 (rabbitmq): value must be specified",
        ),
        rule(
            object(
                "never",
                json!([trigger(
                    "cron",
                    json!({"timezone": "UTC", "start": "0 0 31 2 *", "end": "0 20 * * *", "desiredReplicas": "2"})
                )]),
            ),
            "trigger 0 (cron): error parsing start schedule: 0 0 31 2 * never fires: no month in it has such a day",
        ),
        rule(
            object(
                "reference",
                json!([{"type": "cron", "metadata": cron()["metadata"], "authenticationRef": {"name": "a", "kind": "Secret"}}]),
            ),
            "trigger 0 (cron): authenticationRef.kind is \"Secret\": expected \"TriggerAuthentication\" or \"ClusterTriggerAuthentication\"",
        ),
    ]
}

pub fn of_scaled_jobs() -> Vec<Rule> {
    let mut rules = vec![
        rule(
            scaled_job("none", json!([])),
            "no triggers defined in the ScaledObject/ScaledJob",
        ),
        rule(
            scaled_job(
                "cached",
                json!([{"type": "cron", "useCachedMetrics": true, "metadata": cron()["metadata"]}]),
            ),
            "property \"useCachedMetrics\" is not supported for \"cron\" scaler",
        ),
        rule(
            scaled_job(
                "twice",
                json!([
                    {"type": "cron", "name": "day", "metadata": cron()["metadata"]},
                    {"type": "cron", "name": "day", "metadata": cron()["metadata"]},
                ]),
            ),
            "triggerName \"day\" is defined multiple times in the ScaledObject/ScaledJob, but it must be unique",
        ),
        rule(
            scaled_job(
                "metric-type",
                json!([{"type": "cron", "metricType": "AverageValue", "metadata": cron()["metadata"]}]),
            ),
            "metricType is set in one of the ScaledJob scaler",
        ),
    ];
    rules.extend(of_parameters(scaled_job));
    rules
}

/// For a TriggerAuthentication or a ClusterTriggerAuthentication.
pub fn of_authentications(kind: &str) -> Vec<Rule> {
    let mut index = 0;
    let mut case = |spec: Value, refused| {
        index += 1;
        rule(authentication(kind, &format!("bad-{index}"), spec), refused)
    };
    let azure = |rest: Value| {
        let mut identity = json!({"provider": "azure-workload"});
        merge(&mut identity, rest);
        json!({"podIdentity": identity})
    };
    let aws = |rest: Value| {
        let mut identity = json!({"provider": "aws"});
        merge(&mut identity, rest);
        json!({"podIdentity": identity})
    };
    let oauth2 = |change: Value| {
        let mut grant = json!({"type": "clientCredentials", "clientId": "a", "tokenUrl": "https://login.example.org/token"});
        merge(&mut grant, change);
        json!({"oauth2": grant})
    };
    let mut beside_gcp = oauth2(json!({"clientId": null}));
    beside_gcp["podIdentity"] = json!({"provider": "gcp"});
    vec![
        case(
            azure(json!({"identityId": ""})),
            "identityId of PodIdentity should not be empty. If it's set, identityId has to be different than \"\"",
        ),
        case(
            azure(json!({"identityAuthorityHost": "https://login.example.org"})),
            "identityTenantID of PodIdentity should not be nil or empty when identityAuthorityHost of PodIdentity is set",
        ),
        case(
            azure(json!({"identityTenantId": ""})),
            "identityTenantId of PodIdentity should not be empty. If it's set, identityTenantId has to be different than \"\"",
        ),
        case(
            aws(json!({"roleArn": "arn:aws:iam::1:role/a", "identityOwner": "workload"})),
            "roleArn of PodIdentity can't be set if KEDA isn't identityOwner",
        ),
        case(
            aws(json!({"externalID": "a"})),
            "externalID of PodIdentity requires roleArn to be set",
        ),
        case(
            oauth2(json!({"type": "password"})),
            "oauth2.type must be 'clientCredentials', got 'password'",
        ),
        case(
            oauth2(json!({"clientId": null})),
            "oauth2.clientId is required when oauth2 is configured",
        ),
        case(
            oauth2(json!({"tokenUrl": ""})),
            "oauth2.tokenUrl is required when oauth2 is configured",
        ),
        case(
            oauth2(json!({"tokenUrl": "login.example.org"})),
            "oauth2.tokenUrl must be a valid http or https URL",
        ),
        case(
            beside_gcp,
            "oauth2.clientId is required when oauth2 is configured",
        ),
    ]
}

/// For a CloudEventSource or a ClusterCloudEventSource.
pub fn of_event_sources(kind: &str) -> Vec<Rule> {
    let ready = "keda.scaledobject.ready.v1";
    vec![
        rule(
            event_source(
                kind,
                "both",
                json!({"includedEventTypes": [ready], "excludedEventTypes": [ready]}),
            ),
            "setting included types and excluded types at the same time is not supported",
        ),
        rule(
            event_source(
                kind,
                "excluded",
                json!({"excludedEventTypes": ["keda.scaledobject.ready"]}),
            ),
            "excludedEventType: keda.scaledobject.ready in cloudeventsource/clustercloudeventsource spec is not supported",
        ),
        rule(
            event_source(
                kind,
                "included",
                json!({"includedEventTypes": ["keda.scaledobject.ready"]}),
            ),
            "includedEventType: keda.scaledobject.ready in cloudeventsource/clustercloudeventsource spec is not supported",
        ),
    ]
}

pub fn warnings() -> Vec<Warned> {
    let by = |kind: &str| json!({"name": "login", "kind": kind});
    let queue = |metadata: Value, reference: Value| json!({"type": "rabbitmq", "metadata": metadata, "authenticationRef": reference});
    let orders = json!({"queueName": "orders"});
    let warned = |name: &str, before: Vec<Value>, spec: Value, warning| {
        let mut all = vec![deployment(
            name,
            &[(
                "main",
                json!({"requests": {"cpu": "100m", "memory": "1Gi"}}),
            )],
        )];
        all.extend(before);
        Warned {
            before: all,
            object: scaled_object(name, spec),
            warning,
        }
    };
    vec![
        warned(
            "polling",
            vec![],
            json!({"minReplicaCount": 1, "pollingInterval": 30}),
            "PollingInterval is configured but is not relevant. PollingInterval is only relevant when minReplicaCount = 0, idleReplicaCount is set, or useCachedMetrics is enabled",
        ),
        warned(
            "cooldown",
            vec![],
            json!({"minReplicaCount": 1, "cooldownPeriod": 30}),
            "CooldownPeriod is configured but is not relevant. CooldownPeriod is only relevant when minReplicaCount = 0 or idleReplicaCount is set",
        ),
        warned(
            "unmatched",
            vec![],
            json!({"triggers": [trigger("rabbitmq", json!({"queueName": "orders", "hostFromEnv": "RABBIT", "vhostNam": "shop"}))]}),
            "trigger 0 (rabbitmq): Unmatched input property vhostNam in scaler rabbitmq, did you mean \"vhostName\"?",
        ),
        warned(
            "readable",
            vec![],
            json!({"triggers": [trigger("metrics-api", json!({"url": "http://stats.example", "valueLocation": "waiting", "targetValue": "10", "authModes": "apiKey", "apiKey": "hunter2"}))]}),
            "trigger 0 (metrics-api): parameter \"apiKey\" is a secret and stands readable in the trigger's metadata: put it into a TriggerAuthentication",
        ),
        warned(
            "deprecated",
            vec![],
            json!({"triggers": [trigger("rabbitmq", json!({"queueName": "orders", "hostFromEnv": "RABBIT", "queueLength": "5"}))]}),
            "trigger 0 (rabbitmq): parameter \"queueLength\" is deprecated: use mode and value",
        ),
        Warned {
            before: vec![],
            object: scaled_object("absent", json!({})),
            warning: "the scale target is not there yet: deployments.apps \"absent\" not found",
        },
        Warned {
            before: vec![],
            object: scaled_object(
                "no-scale",
                json!({"scaleTargetRef": {"name": "kube-root-ca.crt", "apiVersion": "v1", "kind": "ConfigMap"}}),
            ),
            warning: "configmaps \"kube-root-ca.crt\" doesn't expose the /scale subresource: only such kinds can be scaled",
        },
        warned(
            "login",
            vec![],
            json!({"triggers": [queue(orders.clone(), by("TriggerAuthentication"))]}),
            "trigger 0 (rabbitmq): the TriggerAuthentication \"login\" is not there yet",
        ),
        warned(
            "cluster-login",
            vec![],
            json!({"triggers": [queue(orders, by("ClusterTriggerAuthentication"))]}),
            "trigger 0 (rabbitmq): the ClusterTriggerAuthentication \"login\" is not there yet",
        ),
        warned(
            "container",
            vec![],
            json!({"minReplicaCount": 1, "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60", "containerName": "app"}}]}),
            "trigger 0 (cpu): the scale target has no container \"app\" (containerName)",
        ),
        Warned {
            before: vec![],
            object: scaled_job("job", json!([cron()])),
            warning: "this version of Sakidori checks ScaledJobs but does not run them yet",
        },
    ]
}
