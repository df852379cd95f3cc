//! From a pod's container to the command that a kubelet would run: command line, environment, user and files.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::network::API_SERVER;

/// What the image says (`Dockerfile`) for containers that say nothing else: `ENTRYPOINT`, `USER` and `ENV`.
const ENTRYPOINT: &str = "/sakidori";
const IMAGE_USER: u64 = 65532;
const PATH: &str = "/";

/// Reads what stands in a Secret or ConfigMap: by its kind, name and key. `None` where there is none.
pub type ValueOf<'v> = dyn Fn(&str, &str, &str) -> Result<Option<String>> + 'v;

/// A container's process.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The command with its arguments.
    pub line: Vec<String>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    pub user: u64,
    pub group: u64,
    pub read_only_root: bool,
    pub may_gain_privileges: bool,
    /// Names of volumes, and where they are mounted.
    pub mounts: Vec<Mount>,
}

/// A volume in a container.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    pub volume: String,
    pub path: String,
    pub read_only: bool,
}

impl Invocation {
    /// What the first container of `pod`, which has this address, is started with; `services` are those of its namespace. Values that
    /// stand in a Secret or ConfigMap are read by `value_of(kind, name, key)`.
    ///
    /// # Errors
    /// If a kubelet would refuse it, or if it says something that is not understood here: nothing is left out silently.
    pub fn new(
        pod: &Value,
        address: Ipv4Addr,
        services: &[Value],
        value_of: &ValueOf<'_>,
    ) -> Result<Self> {
        let container = container(pod)?;
        let mut environment = BTreeMap::from([
            ("PATH".to_owned(), PATH.to_owned()),
            ("HOSTNAME".to_owned(), text(&pod["metadata"]["name"])),
            // Of all Services every pod is told of this one, also without enableServiceLinks.
            ("KUBERNETES_SERVICE_HOST".to_owned(), API_SERVER.to_owned()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
        ]);
        for service in services {
            environment.extend(service_links(service));
        }
        for variable in list(&container["env"]) {
            let name = text(&variable["name"]);
            if let Some(value) = value(pod, address, variable, value_of)
                .with_context(|| format!("the variable {name}"))?
            {
                let value = expand(&value, &environment);
                environment.insert(name, value);
            }
        }
        let words = |field: &str| {
            let words = list(&container[field]).iter();
            words
                .map(|word| expand(&text(word), &environment))
                .collect::<Vec<_>>()
        };
        let mut line = words("command");
        if line.is_empty() {
            line.push(ENTRYPOINT.to_owned());
        }
        line.extend(words("args"));

        let of_pod = &pod["spec"]["securityContext"];
        let own = &container["securityContext"];
        let user = number(own, of_pod, "runAsUser").unwrap_or(IMAGE_USER);
        let must_not_be_root = own["runAsNonRoot"]
            .as_bool()
            .or(of_pod["runAsNonRoot"].as_bool());
        ensure!(
            user != 0 || must_not_be_root != Some(true),
            "container has runAsNonRoot and would run as root"
        );
        let mounts = list(&container["volumeMounts"]).iter().map(|mount| {
            ensure!(
                mount["subPath"].is_null() && mount["subPathExpr"].is_null(),
                "subPath is not understood here: {mount}"
            );
            Ok(Mount {
                volume: text(&mount["name"]),
                path: text(&mount["mountPath"]),
                read_only: mount["readOnly"] == true,
            })
        });
        Ok(Self {
            mounts: mounts.collect::<Result<_>>()?,
            line,
            environment,
            user,
            group: number(own, of_pod, "runAsGroup").unwrap_or(IMAGE_USER),
            read_only_root: own["readOnlyRootFilesystem"] == true,
            may_gain_privileges: own["allowPrivilegeEscalation"] != false,
        })
    }
}

/// The one container of a pod.
///
/// # Errors
/// If there are others, or what only a kubelet knows how to do.
pub fn container(pod: &Value) -> Result<&Value> {
    let spec = &pod["spec"];
    let containers = list(&spec["containers"]);
    ensure!(
        containers.len() == 1 && list(&spec["initContainers"]).is_empty(),
        "pods with more than one container are not understood here"
    );
    ensure!(
        spec["hostNetwork"] != true,
        "hostNetwork is not understood here"
    );
    let container = &containers[0];
    ensure!(
        list(&container["envFrom"]).is_empty() && container["lifecycle"]["postStart"].is_null(),
        "envFrom and postStart are not understood here"
    );
    Ok(container)
}

fn number(own: &Value, of_pod: &Value, field: &str) -> Option<u64> {
    own[field].as_u64().or(of_pod[field].as_u64())
}

/// The value of a variable; none where an optional source isn't there.
fn value(
    pod: &Value,
    address: Ipv4Addr,
    variable: &Value,
    value_of: &ValueOf<'_>,
) -> Result<Option<String>> {
    let from = &variable["valueFrom"];
    if from.is_null() {
        return Ok(Some(text(&variable["value"])));
    }
    if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
        return field(pod, address, path).map(Some);
    }
    for (field, kind) in [
        ("secretKeyRef", "secrets"),
        ("configMapKeyRef", "configmaps"),
    ] {
        let source = &from[field];
        if !source.is_null() {
            let [name, key] = [text(&source["name"]), text(&source["key"])];
            let value = value_of(kind, &name, &key)?;
            ensure!(
                value.is_some() || source["optional"] == true,
                "{kind} {name} has no key {key}"
            );
            return Ok(value);
        }
    }
    bail!("{from} is not understood here")
}

/// A field of the pod, as in `fieldRef`.
///
/// # Errors
/// If it is none that a kubelet knows.
pub fn field(pod: &Value, address: Ipv4Addr, path: &str) -> Result<String> {
    Ok(match path {
        "metadata.name" => text(&pod["metadata"]["name"]),
        "metadata.namespace" => text(&pod["metadata"]["namespace"]),
        "metadata.uid" => text(&pod["metadata"]["uid"]),
        "spec.nodeName" => text(&pod["spec"]["nodeName"]),
        "spec.serviceAccountName" => text(&pod["spec"]["serviceAccountName"]),
        "status.podIP" => address.to_string(),
        _ => bail!("fieldPath {path} is not understood here"),
    })
}

/// The variables by which Docker's links told of a Service, which every pod still has.
fn service_links(service: &Value) -> Vec<(String, String)> {
    let (Some(name), Some(address), Some(port)) = (
        service["metadata"]["name"].as_str(),
        service["spec"]["clusterIP"].as_str(),
        service["spec"]["ports"][0]["port"].as_u64(),
    ) else {
        return Vec::new();
    };
    let name = name.to_uppercase().replace('-', "_");
    vec![
        (format!("{name}_SERVICE_HOST"), address.to_owned()),
        (format!("{name}_SERVICE_PORT"), port.to_string()),
        (format!("{name}_PORT"), format!("tcp://{address}:{port}")),
    ]
}

/// Replaces `$(NAME)` by a variable, where there is one of that name; `$$` is a dollar.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let named = after
            .strip_prefix('(')
            .and_then(|name| name.split_once(')'));
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = named
            && let Some(value) = environment.get(name)
        {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded + rest
}

/// The elements of a list, which are none where it isn't there.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text, which is empty where it isn't there.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);

    fn pod(container: Value) -> Value {
        json!({
            "metadata": {"name": "keda-operator-0", "namespace": "keda"},
            "spec": {"securityContext": {"runAsNonRoot": true, "runAsUser": 65532}, "containers": [container]},
        })
    }

    fn invocation(container: Value) -> Result<Invocation> {
        let service = json!({"metadata": {"name": "keda-operator"}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 9666}]}});
        Invocation::new(&pod(container), ADDRESS, &[service], &|_, _, key| {
            Ok((key == "there").then(|| "secret".to_owned()))
        })
    }

    #[test]
    fn variables_and_arguments_are_what_a_kubelet_makes_of_them() {
        let found = invocation(json!({
            "command": ["sakidori", "operator"],
            "args": ["--at=$(POD_IP)", "--price=$$5 $(NONE)"],
            "env": [
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "TOLD", "value": "$(POD_IP):$(KEDA_OPERATOR_SERVICE_PORT)"},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "there"}}},
                {"name": "NO", "valueFrom": {"secretKeyRef": {"name": "s", "key": "gone", "optional": true}}},
            ],
        }))
        .unwrap();
        let line = [
            "sakidori",
            "operator",
            "--at=198.18.0.10",
            "--price=$5 $(NONE)",
        ];
        assert_eq!(found.line, line);
        let told = |name: &str| found.environment.get(name).map(String::as_str);
        assert_eq!(told("TOLD"), Some("198.18.0.10:9666"));
        assert_eq!(told("KEY"), Some("secret"));
        assert_eq!(told("NO"), None);
        assert_eq!(told("HOSTNAME"), Some("keda-operator-0"));
        assert_eq!(told("KUBERNETES_SERVICE_HOST"), Some("10.96.0.1"));
    }

    #[test]
    fn what_a_kubelet_refuses_and_what_is_not_understood_is_told() {
        for (container, told) in [
            (json!({"securityContext": {"runAsUser": 0}}), "as root"),
            (json!({"envFrom": [{}]}), "not understood"),
            (
                json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "gone"}}}]}),
                "no key gone",
            ),
            (
                json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.nodes"}}}]}),
                "status.nodes",
            ),
        ] {
            let error = format!("{:#}", invocation(container).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
    }
}
