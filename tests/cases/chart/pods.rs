//! The pods: what they run, with which flags and files, and what they can't do.

use sakidori_tests::binary;
use serde_json::{Value, json};

use super::{named, objects, of, sets, with};

/// The operator's pod.
async fn operator(values: &Value) -> Value {
    let objects = objects(values).await;
    let deployment = named(&objects, "Deployment", "keda-operator");
    deployment["spec"]["template"]["spec"].clone()
}

/// The specs of all pods that an installation has, that of `helm test` too.
fn pods(objects: &[Value]) -> Vec<Value> {
    let deployed = of(objects, "Deployment").into_iter();
    let deployed = deployed.map(|deployment| deployment["spec"]["template"]["spec"].clone());
    let alone = of(objects, "Pod").into_iter();
    deployed
        .chain(alone.map(|pod| pod["spec"].clone()))
        .collect()
}

/// Flags of a container, without their values.
fn flags(container: &Value) -> Vec<String> {
    let arguments = container["args"].as_array().into_iter().flatten();
    let arguments = arguments.map(|argument| argument.as_str().unwrap());
    let flags = arguments.map(|argument| argument.trim_start_matches("--").split('='));
    flags
        .map(|mut parts| parts.next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn none_can_do_more_than_it_needs() {
    for (set, values) in sets() {
        let pods = pods(&objects(&values).await);
        assert!(pods.len() > 1, "{set}");
        for pod in pods {
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{set}");
            let ours = pod["containers"].as_array().unwrap().iter();
            let ours = ours.filter(|container| container["name"] != "beside");
            for container in ours {
                let may = &container["securityContext"];
                assert_eq!(may["allowPrivilegeEscalation"], false, "{set}");
                assert_eq!(may["readOnlyRootFilesystem"], true, "{set}");
                assert_eq!(may["capabilities"]["drop"], json!(["ALL"]), "{set}");
                assert_eq!(may["seccompProfile"]["type"], "RuntimeDefault", "{set}");
                let memory = &container["resources"]["limits"]["memory"];
                assert!(memory.is_string(), "{set}: {memory}");
            }
        }
    }
}

/// A flag that there isn't would end the process, and a flag that stands there twice, too.
#[tokio::test]
async fn each_is_started_with_flags_that_there_are() {
    let known = binary::repository().join("charts/sakidori/files/flags.yaml");
    let known: Value = serde_saphyr::from_str(&std::fs::read_to_string(known).unwrap()).unwrap();
    let mut looked_at = 0;
    for (set, values) in sets() {
        for pod in pods(&objects(&values).await) {
            let container = &pod["containers"][0];
            let command = container["command"][1].as_str().unwrap();
            assert_eq!(container["command"][0], "/sakidori", "{set}");
            let known = match command {
                "operator" => &known["operator"],
                "metrics-adapter" => &known["metricsAdapter"],
                _ => continue,
            };
            let mut flags = flags(container);
            for flag in &flags {
                let there = known.as_array().unwrap().iter().any(|one| one == flag);
                assert!(there, "{set}: {command} --{flag}");
                looked_at += 1;
            }
            flags.sort();
            let all = flags.len();
            flags.dedup();
            assert_eq!(flags.len(), all, "{set}: {command}: {flags:?}");
        }
    }
    assert!(looked_at > 50, "{looked_at}");
}

#[tokio::test]
async fn flags_of_the_user_go_before_the_charts() {
    let flags =
        json!({"log-level": "debug", "external-metrics-wait-ms": 1_500_000, "kube-api-burst": 100});
    let pod = operator(&with(&[("extraArgs.keda", flags)])).await;
    let said = pod["containers"][0]["args"].to_string();
    for (text, times) in [
        ("--log-level=debug", 1),
        ("--log-level=info", 0),
        ("--external-metrics-wait-ms=1500000", 1),
        ("kube-api-burst", 0),
    ] {
        assert_eq!(said.matches(text).count(), times, "{text}: {said}");
    }
}

#[tokio::test]
async fn levels_and_formats_of_kedas_are_understood() {
    for (level, format, flags) in [
        (
            json!("info"),
            "json",
            ["--log-level=info", "--log-format=json"],
        ),
        (
            json!("debug"),
            "console",
            ["--log-level=debug", "--log-format=text"],
        ),
        (json!(1), "json", ["--log-level=debug", "--log-format=json"]),
        (
            json!("4"),
            "json",
            ["--log-level=trace", "--log-format=json"],
        ),
        (
            json!("0"),
            "json",
            ["--log-level=info", "--log-format=json"],
        ),
        (
            json!("info,sakidori_operator=debug"),
            "json",
            [
                "--log-level=info,sakidori_operator=debug",
                "--log-format=json",
            ],
        ),
    ] {
        let values = with(&[
            ("logging.operator.level", level),
            ("logging.operator.format", json!(format)),
        ]);
        let pod = operator(&values).await;
        let said = pod["containers"][0]["args"].to_string();
        for flag in flags {
            assert!(said.contains(&format!("\"{flag}\"")), "{flag}: {said}");
        }
    }
}

/// What selectors look at stays as it is, whatever labels a user gives the pods.
#[tokio::test]
async fn labels_of_the_user_come_beside_those_that_select() {
    let labels = json!({"app": "mine", "app.kubernetes.io/name": "mine", "team": "shop"});
    let objects = objects(&with(&[("podLabels.keda", labels)])).await;
    let deployment = named(&objects, "Deployment", "keda-operator");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for (label, value) in [
        ("app", "keda-operator"),
        ("app.kubernetes.io/name", "keda-operator"),
        ("team", "shop"),
    ] {
        assert_eq!(labels[label], value, "{labels}");
    }
}

#[tokio::test]
async fn the_adapter_gets_the_certificate_and_not_the_authoritys_key() {
    let objects = objects(&with(&[("metricsServer.separate", json!(true))])).await;
    let adapter = named(&objects, "Deployment", "keda-operator-metrics-apiserver");
    let volume = &adapter["spec"]["template"]["spec"]["volumes"][0]["secret"];
    let files = volume["items"].as_array().unwrap().iter();
    let files: Vec<_> = files.map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(files, ["ca.crt", "tls.crt", "tls.key"]);
    // The operator makes it, so it has no use for the files.
    let operator = named(&objects, "Deployment", "keda-operator");
    assert_eq!(operator["spec"]["template"]["spec"]["volumes"], Value::Null);
}

#[tokio::test]
async fn an_image_has_the_registry_that_is_said_last() {
    for (global, registry, tag, image) in [
        ("", "", "", "a/b:0.1.0"),
        ("", "one.example.com", "1.2", "one.example.com/a/b:1.2"),
        (
            "two.example.com/",
            "one.example.com",
            "",
            "two.example.com/a/b:0.1.0",
        ),
    ] {
        let values = with(&[
            ("global.image.registry", json!(global)),
            ("image.keda.registry", json!(registry)),
            ("image.keda.repository", json!("a/b")),
            ("image.keda.tag", json!(tag)),
        ]);
        assert_eq!(operator(&values).await["containers"][0]["image"], image);
    }
}

/// An API server takes no name twice where it is applied.
#[tokio::test]
async fn a_variable_that_the_user_has_is_the_users_alone() {
    let mine = [
        "POD_IP",
        "POD_NAMESPACE",
        "KEDA_HTTP_MIN_TLS_VERSION",
        "KEDA_SERVICE_MIN_TLS_VERSION",
        "MINE",
    ];
    let env = mine.map(|name| json!({"name": name, "value": "mine"}));
    let objects = objects(&with(&[
        ("env", json!(env)),
        ("metricsServer.separate", json!(true)),
    ]))
    .await;
    for deployment in of(&objects, "Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let variables = container["env"].as_array().unwrap();
        for name in mine {
            let named = variables.iter().filter(|variable| variable["name"] == name);
            let values: Vec<_> = named.map(|variable| &variable["value"]).collect();
            assert_eq!(values, ["mine"], "{name}");
        }
    }
}

/// On the node's network a second pod has no port to listen on, and ClusterFirst would be the node's own DNS.
#[tokio::test]
async fn on_the_nodes_network_an_old_pod_goes_first() {
    for (host, policy, surge) in [
        (false, "ClusterFirst", 1),
        (true, "ClusterFirstWithHostNet", 0),
    ] {
        let objects = objects(&with(&[
            ("operator.useHostNetwork", json!(host)),
            ("metricsServer.useHostNetwork", json!(host)),
            ("metricsServer.separate", json!(true)),
        ]))
        .await;
        for deployment in of(&objects, "Deployment") {
            let spec = &deployment["spec"];
            let rolling = json!({"maxSurge": surge, "maxUnavailable": 1 - surge});
            assert_eq!(spec["strategy"]["rollingUpdate"], rolling);
            let pod = &spec["template"]["spec"];
            assert_eq!(pod["dnsPolicy"], policy);
            assert_eq!(pod["hostNetwork"], host);
        }
        // The pod of `helm test` needs no port.
        for pod in of(&objects, "Pod") {
            assert_eq!(pod["spec"]["hostNetwork"], false);
        }
    }
}

#[tokio::test]
async fn without_webhooks_their_port_is_closed() {
    for (enabled, address) in [(true, ":9443"), (false, "0")] {
        let pod = operator(&with(&[("webhooks.enabled", json!(enabled))])).await;
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
        let mut values = with(&[("certificates.autoGenerated", json!(generated))]);
        if more {
            values["volumes"] = json!({"keda": files});
        }
        let pod = operator(&values).await;
        for list in [&pod["volumes"], &pod["containers"][0]["volumeMounts"]] {
            let listed = list.as_array().into_iter().flatten();
            let listed: Vec<_> = listed.map(|one| one["name"].clone()).collect();
            assert_eq!(listed, names, "{pod}");
        }
    }
}
