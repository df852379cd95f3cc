//! Values that can't be taken: each message names the value and says what was expected.

use sakidori_tests::chart::helm;
use serde_json::{Value, json};

use super::with;

/// What Helm says of values with this one.
async fn refusal(path: &str, value: Value) -> String {
    let values = with(&[(path, value.clone())]);
    let template = ["template", "keda", "--namespace", "keda"];
    match helm(&template, &values).await {
        Err(error) => format!("{error:#}"),
        Ok(_) => panic!("{path}: {value} was taken"),
    }
}

/// What the schema refuses is told with a JSON pointer, the value's path with slashes.
#[tokio::test]
async fn a_value_of_the_wrong_type_is_named_with_what_was_expected() {
    for (path, value, expected) in [
        (
            "operator.replicaCount",
            json!("two"),
            "got string, want integer",
        ),
        (
            "operator.replicaCount",
            json!(-1),
            "minimum: got -1, want 0",
        ),
        (
            "operator.replicaCount",
            json!(1.5),
            "got number, want integer",
        ),
        (
            "operator.useHostNetwork",
            json!("yes"),
            "got string, want boolean",
        ),
        ("operator.hostUsers", json!("no"), "got string, want"),
        ("operator.tolerations", json!({}), "got object, want array"),
        ("operator.nodeSelector", json!([]), "got array, want object"),
        (
            "operator.nodeSelector",
            json!({"a": true}),
            "got boolean, want string",
        ),
        (
            "operator.affinity",
            json!("near"),
            "got string, want object",
        ),
        ("operator.dnsPolicy", json!("Cluster"), "'ClusterFirst'"),
        (
            "operator.livenessProbe.periodSeconds",
            json!(0),
            "minimum: got 0, want 1",
        ),
        (
            "operator.startupProbe.timeoutSeconds",
            json!("1s"),
            "got string, want integer",
        ),
        (
            "metricsServer.separate",
            json!("true"),
            "got string, want boolean",
        ),
        (
            "metricsServer.readinessProbe.failureThreshold",
            json!(null_is_no_number()),
            "want integer",
        ),
        (
            "image.pullPolicy",
            json!("always"),
            "'Always', 'IfNotPresent', 'Never'",
        ),
        ("image.keda.tag", json!(1.2), "got number, want string"),
        (
            "imagePullSecrets",
            json!(["login"]),
            "got string, want object",
        ),
        (
            "global.image.registry",
            json!(5),
            "got number, want null or string",
        ),
        ("webhooks.failurePolicy", json!("Deny"), "'Ignore', 'Fail'"),
        (
            "webhooks.timeoutSeconds",
            json!(31),
            "maximum: got 31, want 30",
        ),
        ("webhooks.port", json!(70_000), "want 65,535"),
        (
            "service.type",
            json!("External"),
            "'ClusterIP', 'NodePort', 'LoadBalancer'",
        ),
        (
            "service.portHttps",
            json!("https"),
            "'https' does not match pattern",
        ),
        ("service.minTlsVersion", json!("TLS11"), "'TLS12', 'TLS13'"),
        ("http.minTlsVersion", json!("1.2"), "'TLS12', 'TLS13'"),
        ("http.timeout", json!("3s"), "'3s' does not match pattern"),
        (
            "logging.operator.format",
            json!("text"),
            "'json', 'console'",
        ),
        (
            "logging.metricServer.zapEncoder",
            json!("plain"),
            "'json', 'console'",
        ),
        (
            "networkPolicy.flavor",
            json!("calico"),
            "'cilium', 'kubernetes'",
        ),
        (
            "upgradeStrategy.operator",
            json!({"type": "Rolling"}),
            "'RollingUpdate', 'Recreate'",
        ),
        ("podLabels.keda", json!({"a": 1}), "got number, want string"),
        (
            "podAnnotations.keda",
            json!({"a": false}),
            "got boolean, want string",
        ),
        (
            "additionalLabels",
            json!({"a": null_is_no_number()}),
            "want string",
        ),
        (
            "resources.operator.limits.memory",
            json!([]),
            "got array, want null or number or string",
        ),
        ("extraArgs.keda", json!(["--a=b"]), "got array, want object"),
        ("env", json!({"A": "b"}), "got object, want array"),
        (
            "volumes.keda.extraVolumes",
            json!("files"),
            "got string, want array",
        ),
        ("extraObjects", json!("x"), "got string, want array"),
        ("watchNamespace", json!(["shop"]), "got array, want string"),
        ("crds.install", json!("false"), "got string, want boolean"),
        (
            "prometheus.operator.port",
            json!(0),
            "minimum: got 0, want 1",
        ),
        (
            "prometheus.operator.serviceMonitor.scheme",
            json!("tls"),
            "'http', 'https'",
        ),
        (
            "prometheus.operator.prometheusRules.alerts",
            json!({}),
            "got object, want array",
        ),
        (
            "dashboards.labels",
            json!("grafana"),
            "got string, want object",
        ),
        (
            "permissions.operator.restrict.namesAllowList",
            json!("mq"),
            "got string, want array",
        ),
        (
            "podIdentity.aws.irsa.tokenExpiration",
            json!("1h"),
            "'1h' does not match pattern",
        ),
    ] {
        let said = refusal(path, value.clone()).await;
        let pointer = path.replace('.', "/");
        assert!(
            said.contains(&format!("at '/{pointer}")) && said.contains(expected),
            "{path}: {value}: {said}"
        );
    }
}

/// A null would take the value away; this is one that no type of a number or a text is.
fn null_is_no_number() -> Value {
    json!([])
}

#[tokio::test]
async fn a_typing_error_is_no_silence() {
    for (path, key) in [
        ("operator.replicas", "replicas"),
        ("replicas", "replicas"),
        ("image.repository", "repository"),
        ("podMonitor", "podMonitor"),
        ("webhooks.failurepolicy", "failurepolicy"),
        ("resources.operator.limit", "limit"),
        ("operator.livenessProbe.period", "period"),
        ("podDisruptionBudget.operator.min", "min"),
        ("prometheus.operator.serviceMonitor.enable", "enable"),
        ("profiling.operator.enable", "enable"),
        ("networkPolicy.kubernetes.prometheuses", "prometheuses"),
        ("global.image.registri", "registri"),
    ] {
        let said = refusal(path, json!({})).await;
        let told = format!("additional properties '{key}' not allowed");
        assert!(said.contains(&told), "{path}: {said}");
    }
}

/// What the templates refuse is told with the value's path, and what to write.
#[tokio::test]
async fn what_no_type_says_is_told_with_what_to_write() {
    for (path, value, told) in [
        (
            "image.keda.repository",
            json!(""),
            "image.keda.repository: there is no published image yet: build one",
        ),
        (
            "image.keda.repository",
            json!("mirror/kedacore/keda"),
            "image.keda.repository: mirror/kedacore/keda is KEDA's image",
        ),
        (
            "image.keda.repository",
            json!("a/b:1"),
            "the tag is image.keda.tag",
        ),
        (
            "operator.name",
            json!("Keda"),
            "operator.name: \"Keda\": expected a name in small letters",
        ),
        (
            "operator.name",
            json!(""),
            "operator.name: \"\": expected a name",
        ),
        ("operator.name", json!("a".repeat(46)), "at most 45 of them"),
        (
            "operator.leaderElectionID",
            json!("a b"),
            "operator.leaderElectionID: \"a b\" is no name of an object",
        ),
        (
            "webhooks.name",
            json!("a_b"),
            "webhooks.name: \"a_b\": expected a name",
        ),
        (
            "serviceAccount.operator.name",
            json!("a b"),
            "serviceAccount.operator.name: \"a b\": expected",
        ),
        (
            "serviceAccount.metricServer.name",
            json!("."),
            "serviceAccount.metricServer.name: \".\": expected",
        ),
        (
            "clusterDomain",
            json!("local."),
            "clusterDomain: \"local.\": expected a domain",
        ),
        (
            "watchNamespace",
            json!("shop, Web"),
            "watchNamespace: \"Web\": expected namespaces, separated by commas",
        ),
        (
            "logging.operator.level",
            json!("verbose!"),
            "logging.operator.level: \"verbose!\": expected error, warn, info",
        ),
        (
            "logging.metricServer.zapLevel",
            json!("INFO"),
            "logging.metricServer.zapLevel: \"INFO\": expected error",
        ),
        (
            "certificates.mountPath",
            json!("certs"),
            "certificates.mountPath: \"certs\": expected a path",
        ),
        (
            "certificates.secretName",
            json!(""),
            "certificates.secretName: \"\" is no name of an object",
        ),
        (
            "certificates.certManager.duration",
            json!("1y"),
            "certificates.certManager.duration: \"1y\": expected a duration",
        ),
        (
            "certificates.certManager.renewBefore",
            json!(""),
            "certificates.certManager.renewBefore: \"\": expected a duration",
        ),
        (
            "certificates.certManager",
            json!({"enabled": true, "issuer": {"generate": false}}),
            "certificates.certManager.issuer.name: with issuer.generate false",
        ),
        (
            "certificates.operator.caDirs",
            json!(["/custom/ca"]),
            "name it with SSL_CERT_FILE in env",
        ),
        (
            "podDisruptionBudget.operator",
            json!({"minAvailable": 1, "maxUnavailable": 1}),
            "podDisruptionBudget.operator: minAvailable and maxUnavailable: expected one of the two",
        ),
        (
            "podDisruptionBudget.minAvailable",
            json!(1),
            "podDisruptionBudget.operator.minAvailable is the operator's",
        ),
        (
            "resources.limits",
            json!({"cpu": 1}),
            "resources.operator.limits is the operator's",
        ),
        (
            "securityContext.runAsUser",
            json!(1),
            "securityContext.operator.runAsUser is the operator's",
        ),
        (
            "serviceAccount.name",
            json!("x"),
            "serviceAccount.operator.name is the operator's",
        ),
        (
            "watchLabelSelector",
            json!("tier=gold"),
            "name their namespaces in watchNamespace",
        ),
        (
            "watchLabelSelectorForTriggerauth",
            json!("a"),
            "watchLabelSelectorForTriggerauth: \"a\": there is no filter by labels",
        ),
        (
            "opentelemetry.operator.enabled",
            json!(true),
            "opentelemetry.operator.enabled: metrics are not pushed",
        ),
        (
            "webhooks.useHostNetwork",
            json!(true),
            "write operator.useHostNetwork: true",
        ),
        (
            "metricsServer.useHostNetwork",
            json!(true),
            "or metricsServer.separate: true",
        ),
        (
            "webhooks.port",
            json!(6443),
            "webhooks.port: 6443 is the port of service.portHttpsTarget",
        ),
        (
            "prometheus.operator.port",
            json!(9666),
            "prometheus.operator.port: 9666 is the port of what replicas tell each other",
        ),
        (
            "service.portHttpsTarget",
            json!(8081),
            "service.portHttpsTarget: 8081 is the port of the probes",
        ),
        (
            "prometheus.operator.podMonitor.interval",
            json!("30 seconds"),
            "prometheus.operator.podMonitor.interval: \"30 seconds\": expected a duration such as 30s",
        ),
        (
            "prometheus.metricServer.serviceMonitor.scrapeTimeout",
            json!("x"),
            "prometheus.metricServer.serviceMonitor.scrapeTimeout: \"x\": expected",
        ),
        (
            "extraArgs.keda.metrics-addr",
            json!(":1"),
            "extraArgs.keda.metrics-addr: there is no flag --metrics-addr: expected one of advertise-address, ",
        ),
        (
            "extraArgs.metricsAdapter.webhook-bind-address",
            json!("0"),
            "extraArgs.metricsAdapter.webhook-bind-address: there is no flag",
        ),
        (
            "podIdentity.aws.irsa.enabled",
            json!(true),
            "podIdentity.aws.irsa.roleArn: with irsa.enabled, the ARN",
        ),
        (
            "permissions.operator.restrict.namesAllowList",
            json!(["mq", ""]),
            "permissions.operator.restrict.namesAllowList: \"\" is no name of an object",
        ),
    ] {
        let said = refusal(path, value.clone()).await;
        assert!(said.contains(told), "{path}: {value}: {said}");
    }
}

/// What another value makes wrong.
#[tokio::test]
async fn what_can_not_be_together_is_told_with_what_to_write() {
    for (path, value, told) in [
        (
            "prometheus.metricServer.port",
            json!(8081),
            "prometheus.metricServer.port: 8081 is the port of the probes",
        ),
        (
            "prometheus.metricServer.port",
            json!(6443),
            "prometheus.metricServer.port: 6443 is the port of service.portHttpsTarget",
        ),
        (
            "service.minTlsVersion",
            json!("TLS12"),
            "write TLS13, or metricsServer.separate: false",
        ),
        (
            "service.tlsCipherList",
            json!("TLS_AES_128_GCM_SHA256"),
            "write \"\", or metricsServer.separate: false",
        ),
    ] {
        let template = ["template", "keda", "--namespace", "keda"];
        let alone = with(&[(path, value.clone())]);
        helm(&template, &alone).await.unwrap();
        let values = with(&[
            (path, value.clone()),
            ("metricsServer.separate", json!(true)),
        ]);
        let said = match helm(&template, &values).await {
            Err(error) => format!("{error:#}"),
            Ok(_) => panic!("{path}: {value} was taken"),
        };
        assert!(said.contains(told), "{path}: {value}: {said}");
    }
}

/// KEDA's templates put them into quotes, or take them out, as it needs.
#[tokio::test]
async fn numbers_in_quotes_are_taken() {
    let objects = super::objects(&with(&[
        ("service.portHttps", json!("8443")),
        ("service.portHttpsTarget", json!("7443")),
        ("prometheus.operator.port", json!("8090")),
        ("webhooks.port", json!("9444")),
        ("http.timeout", json!("5000")),
    ]))
    .await;
    let service = super::named(&objects, "Service", "keda-operator-metrics-apiserver");
    assert_eq!(service["spec"]["ports"][0]["port"], 8443);
    let operator = super::named(&objects, "Deployment", "keda-operator");
    let container = &operator["spec"]["template"]["spec"]["containers"][0];
    let ports = container["ports"].as_array().unwrap().iter();
    let ports: Vec<_> = ports.map(|port| port["containerPort"].as_u64()).collect();
    assert_eq!(ports, [8090, 8081, 7443, 9666, 9444].map(Some));
    let environment = container["env"].to_string();
    assert!(environment.contains("\"5000\""), "{environment}");
}

/// A chart that has this one in it hands down values of its own.
#[tokio::test]
async fn what_a_parent_chart_hands_down_is_taken() {
    let values = with(&[
        ("enabled", json!(true)),
        ("global.storageClass", json!("fast")),
    ]);
    let template = ["template", "keda", "--namespace", "keda"];
    helm(&template, &values).await.unwrap();
}

#[tokio::test]
async fn helm_has_nothing_to_say_of_good_values() {
    for (set, values) in super::sets() {
        let said = helm(&["lint", "--strict"], &values).await;
        let said = said.unwrap_or_else(|error| panic!("{set}: {error:#}"));
        assert!(said.contains("0 chart(s) failed"), "{set}: {said}");
        assert!(!said.contains("WARNING"), "{set}: {said}");
    }
}
