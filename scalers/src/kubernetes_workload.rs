//! `kubernetes-workload`: the number of pods that a label selector finds in the ScaledObject's namespace.
//!
//! Pods that have ended (phase Succeeded or Failed) don't count; pods that are still Pending do. With `groupByNode` the
//! nodes that run such pods are counted instead, each once. Needs no credentials: the operator's own permission to list
//! pods of the namespace (`get`, `list`, `watch` on `pods`) is enough.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: proxy
//! spec:
//!   scaleTargetRef:
//!     name: proxy
//!   triggers:
//!     - type: kubernetes-workload
//!       metadata:
//!         podSelector: app in (frontend, backend), tier!=batch
//!         value: "4"
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::answers::Freshness;
use crate::metric::{MetricSpec, Reading};
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Cluster, Context, Pod, Scaler, ScalerError, Trigger};

/// The parameters of a `kubernetes-workload` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Workload {
    /// A label selector in Kubernetes' string form, such as `app=backend` or `app in (a, b), tier!=batch`.
    pod_selector: String,
    /// Pods (or nodes) per replica. Greater than 0.
    value: f64,
    /// The trigger is active above this number of pods.
    activation_value: f64,
    /// Counts the nodes with such pods instead of the pods.
    group_by_node: bool,
}

impl Parameters for Workload {
    const FIELDS: &'static [Field] = &[
        Field::required("podSelector", METADATA),
        Field::with_default("value", METADATA, "0"),
        Field::with_default("activationValue", METADATA, "0"),
        Field::with_default("groupByNode", METADATA, "false"),
    ];

    fn check_of(&self, trigger: &Trigger) -> Vec<String> {
        let mut broken = Vec::new();
        if self.value <= 0.0 && !trigger.is_part_of_a_formula {
            broken.push("value must be a float greater than 0".to_owned());
        }
        if let Err(error) = check_selector(&self.pod_selector) {
            broken.push(format!("error parsing pod selector: {error}"));
        }
        broken
    }
}

pub const KIND: Kind = Kind {
    name: "kubernetes-workload",
    label: "kubernetesWorkloadScaler",
    fields: Workload::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let workload: Workload = params::parse(trigger)?;
    let name = format!("workload-{}", trigger.namespace);
    Ok(Box::new(WorkloadScaler {
        metric: [MetricSpec::milli(trigger, &name, workload.value)?],
        namespace: trigger.namespace.clone(),
        cluster: Arc::clone(&context.cluster),
        workload,
    }))
}

struct WorkloadScaler {
    metric: [MetricSpec; 1],
    namespace: String,
    workload: Workload,
    cluster: Arc<dyn Cluster>,
}

#[async_trait]
impl Scaler for WorkloadScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, _: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let pods = self
            .cluster
            .pods(&self.namespace, &self.workload.pod_selector)
            .await
            .map_err(|error| {
                ScalerError::Unreachable(format!("error inspecting kubernetes workload: {error}"))
            })?;
        let value = count(&pods, self.workload.group_by_node) as f64;
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value,
            active: value > self.workload.activation_value,
        }])
    }
}

/// Whether the API server will understand a label selector: `a=b`, `a==b`, `a!=b`, `a in (b, c)`, `a notin (b)`, `a`, `!a`,
/// `a>1`, `a<1`, with commas between.
fn check_selector(selector: &str) -> Result<(), String> {
    let mut depth = 0;
    let requirements = selector.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    for requirement in requirements.map(str::trim) {
        if !is_requirement(requirement) {
            return Err(format!(
                "{requirement:?} is no requirement: expected a=b, a!=b, a in (b, c), a notin (b, c), a or !a"
            ));
        }
    }
    Ok(())
}

fn is_requirement(text: &str) -> bool {
    if let Some(key) = text.strip_prefix('!') {
        return is_name(key.trim(), "/");
    }
    if let Some(at) = text.find(['=', '!', '<', '>']) {
        let (key, rest) = text.split_at(at);
        let operator = ["==", "!=", "=", "<", ">"]
            .into_iter()
            .find(|operator| rest.starts_with(operator));
        let Some(value) = operator.map(|operator| rest[operator.len()..].trim()) else {
            return false;
        };
        return is_name(key.trim(), "/") && (value.is_empty() || is_name(value, ""));
    }
    let Some((head, values)) = text.split_once('(') else {
        return is_name(text, "/");
    };
    let (Some((key, operator)), Some(values)) = (
        head.trim().rsplit_once(char::is_whitespace),
        values.strip_suffix(')'),
    ) else {
        return false;
    };
    is_name(key.trim(), "/")
        && matches!(operator, "in" | "notin")
        && values
            .split(',')
            .map(str::trim)
            .all(|value| value.is_empty() || is_name(value, ""))
}

/// A label's key or value: letters, digits, `-`, `_`, `.` and what else is allowed.
fn is_name(text: &str, also: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c) || also.contains(c))
}

/// The pods that have not ended, or the nodes they are on. A pod without a node counts as a pod only.
fn count(pods: &[Pod], group_by_node: bool) -> usize {
    let counted = pods
        .iter()
        .filter(|pod| !matches!(pod.phase.as_str(), "Succeeded" | "Failed"));
    if group_by_node {
        let nodes: HashSet<&str> = counted
            .filter_map(|pod| pod.node.as_deref())
            .filter(|node| !node.is_empty())
            .collect();
        nodes.len()
    } else {
        counted.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn pod(phase: &str, node: Option<&str>) -> Pod {
        Pod {
            phase: phase.to_owned(),
            node: node.map(str::to_owned),
        }
    }

    fn pods() -> Vec<Pod> {
        vec![
            pod("Running", Some("a")),
            pod("Running", Some("a")),
            pod("Pending", Some("b")),
            pod("Pending", None),
            pod("Unknown", Some("c")),
            pod("Succeeded", Some("d")),
            pod("Failed", Some("e")),
        ]
    }

    #[test]
    fn ended_pods_do_not_count() {
        assert_eq!(count(&pods(), false), 5);
        assert_eq!(count(&pods(), true), 3);
        assert_eq!(count(&[], true), 0);
    }

    #[tokio::test]
    async fn the_example_works() {
        let mut triggers = example::triggers(include_str!("kubernetes_workload.rs"));
        triggers[0].namespace = "shop".to_owned();
        triggers[0].index = 1;
        let scaler = crate::build(&triggers[0], &example::context(pods())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s1-workload-shop");
        assert_eq!(scaler.metrics()[0].target.to_string(), "4");
        let reading = &scaler.read(&Freshness::now()).await.unwrap()[0];
        assert_eq!((reading.value, reading.active), (5.0, true));
    }

    #[tokio::test]
    async fn active_means_above_the_activation_value() {
        for (activation, group, active) in [
            ("4.5", "false", true),
            ("5", "false", false),
            ("2", "true", true),
            ("3", "true", false),
        ] {
            let trigger = Trigger::new("kubernetes-workload").metadata([
                ("podSelector", "app=backend"),
                ("value", "0.5"),
                ("activationValue", activation),
                ("groupByNode", group),
            ]);
            let scaler = build(&trigger, &example::context(pods())).unwrap();
            assert_eq!(scaler.metrics()[0].target.to_string(), "500m");
            assert_eq!(
                scaler.read(&Freshness::now()).await.unwrap()[0].active,
                active,
                "{activation}"
            );
        }
    }

    #[test]
    fn selectors_are_kubernetes() {
        for selector in [
            "app=backend",
            "app == backend",
            "app!=backend,tier",
            "!canary, app in (a,b)",
            "app notin (a)",
            "app=",
            "example.com/app=a_b.c",
            "replicas>1",
            "a in (),b",
        ] {
            assert_eq!(check_selector(selector), Ok(()), "{selector}");
        }
        for selector in [
            "app=backend,",
            "app in a",
            "app in (a",
            "app isin (a)",
            "app=a b",
            "=a",
            "!",
            "app===a",
            "ä=b",
            "app;b",
        ] {
            assert!(check_selector(selector).is_err(), "{selector}");
        }
        let trigger = Trigger::new("kubernetes-workload")
            .metadata([("podSelector", "app in a"), ("value", "1")]);
        let problem = build(&trigger, &example::context(Vec::new()))
            .err()
            .unwrap();
        assert!(
            problem
                .to_string()
                .starts_with(r#"error parsing pod selector: "app in a" is no requirement"#)
        );
    }

    #[test]
    fn a_value_above_zero_is_needed() {
        for value in ["", "0", "-1"] {
            let trigger = Trigger::new("kubernetes-workload")
                .metadata([("podSelector", "app=backend"), ("value", value)]);
            let problem = build(&trigger, &example::context(Vec::new()))
                .err()
                .unwrap();
            assert_eq!(problem.to_string(), "value must be a float greater than 0");
        }
    }
}
